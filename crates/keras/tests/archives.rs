//! `.keras` archives in all their forms, and the indexes of weights in several files.
#![allow(clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "helpers of the tests")]

mod common;

use std::path::Path;
use std::sync::Arc;

use common::{Scratch, corpus, evaluate, open_file, tree};
use kw_formats::zip::Archive;
use kw_keras::Flavor::{self, Keras2, Keras3};
use kw_keras::{Format, LoadOptions, OpenedFile, open, open_bytes, plan_load, whole_model};
use kw_model::{Cancel, Code, FileSource, Limits, LocalFilesystem, Location, Result, crc32};

fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn archive(flavor: Flavor) -> std::path::PathBuf {
    corpus().join(if flavor == Keras2 { "cnn_bn/k2/v3.keras" } else { "cnn_bn/k3/model.keras" })
}

fn members(path: &Path) -> Vec<(String, Vec<u8>)> {
    let source = Arc::new(FileSource::open(path).expect("a file"));
    let archive = Archive::open(source, &Limits::default()).expect("an archive");
    (0..archive.members().len())
        .map(|index| {
            let source = archive.source(index, &Cancel::default()).expect("a member");
            let mut bytes = vec![0; usize::try_from(source.len()).expect("small")];
            source.read_exact_at(0, &mut bytes).expect("reads");
            (archive.members()[index].name().to_owned(), bytes)
        })
        .collect()
}

/// A zip archive whose members are deflated, in blocks that compress nothing.
fn deflated(members: &[(String, Vec<u8>)]) -> Vec<u8> {
    let (mut out, mut directory) = (Vec::new(), Vec::new());
    let short = |number: usize| u16::try_from(number).expect("short").to_le_bytes();
    let long = |number: usize| u32::try_from(number).expect("small").to_le_bytes();
    for (name, bytes) in members {
        let mut body = Vec::new();
        let mut blocks = bytes.chunks(60_000).peekable();
        while let Some(block) = blocks.next() {
            body.push(u8::from(blocks.peek().is_none()));
            body.extend(short(block.len()));
            body.extend((!u16::from_le_bytes(short(block.len()))).to_le_bytes());
            body.extend(block);
        }
        let mut common = vec![20, 0, 0, 0, 8, 0, 0, 0, 0x21, 0];
        for number in [crc32(bytes) as usize, body.len(), bytes.len()] {
            common.extend(long(number));
        }
        common.extend(short(name.len()));
        common.extend([0, 0]);
        directory.extend(b"PK\x01\x02\x14\x00");
        directory.extend(&common);
        directory.extend([0; 10]);
        directory.extend(long(out.len()));
        directory.extend(name.as_bytes());
        out.extend(b"PK\x03\x04");
        out.extend(&common);
        out.extend(name.as_bytes());
        out.extend(body);
    }
    let offset = out.len();
    out.extend(&directory);
    out.extend(b"PK\x05\x06\0\0\0\0");
    out.extend(short(members.len()));
    out.extend(short(members.len()));
    out.extend(long(directory.len()));
    out.extend(long(offset));
    out.extend([0, 0]);
    out
}

fn values(file: &OpenedFile, flavor: Flavor) -> Result<std::collections::BTreeMap<usize, Vec<u8>>> {
    let tree = tree("cnn_bn", flavor).expect("a tree");
    let plan = plan_load(&tree, file, &LoadOptions::default())?;
    assert!(plan.report.missing.is_empty() && plan.report.unexpected.is_empty(), "{:?}", plan.report);
    Ok(evaluate(&tree, file, &plan))
}

#[test]
fn stored_deflated_and_unzipped_forms_give_the_same() {
    let scratch = Scratch::new("archive-forms");
    for flavor in [Keras2, Keras3] {
        let stored = open_file(&archive(flavor));
        let expected = values(&stored, flavor).expect("loads");
        let ranges = |file: &OpenedFile| {
            let entries = file.reader.catalogue().entries().iter();
            entries.filter(|entry| matches!(entry.location, Location::Range { .. })).count()
        };
        // Read in place: the member is a part of the file.
        assert_eq!(ranges(&stored), expected.len());
        assert!(stored.reader.catalogue().sources()[0].file().is_some_and(|(_, offset)| offset > 0));

        let members = members(&archive(flavor));
        let inflated = open_bytes(deflated(&members), "m.keras", &Limits::default()).expect("opens");
        assert_eq!((inflated.format, inflated.note.as_ref()), (Format::Keras, None));
        assert_eq!(values(&inflated, flavor).expect("loads"), expected);
        assert_eq!(whole_model(&inflated), whole_model(&stored));
        let tight = Limits { max_tensor_bytes: 1000, ..Limits::default() };
        let refused = open_bytes(deflated(&members), "m.keras", &tight).expect_err("too large to inflate");
        assert_eq!(refused.code(), Code::Limit);

        let folder = scratch.0.join(format!("{flavor:?}.keras"));
        std::fs::create_dir_all(folder.join("assets/layers")).expect("a folder");
        for (name, bytes) in &members {
            std::fs::write(folder.join(name), bytes).expect("writes");
        }
        std::fs::write(folder.join("assets/layers/words.txt"), "a\nb").expect("writes");
        let unzipped = open_file(&folder);
        assert_eq!(unzipped.format, Format::Keras);
        assert_eq!(values(&unzipped, flavor).expect("loads"), expected);
        assert_eq!(whole_model(&unzipped), whole_model(&stored));
        let parts = unzipped.archive.as_ref().expect("an archive");
        assert_eq!(parts.assets(), ["assets/layers/words.txt"]);
        let asset = parts.asset("assets/layers/words.txt", &LocalFilesystem, &Cancel::default()).expect("an asset");
        assert_eq!(asset.len(), 3);
    }
}

#[test]
fn an_archive_says_what_it_holds() {
    let file = open_file(&archive(Keras3));
    let model = whole_model(&file);
    assert_eq!(model.keras_version.as_deref(), Some("3.15.1"));
    assert!(model.model_config.as_deref().is_some_and(|config| config.contains("\"class_name\"")));
    assert_eq!(model.training_config, None);
    let parts = file.archive.as_ref().expect("an archive");
    assert!(parts.assets().is_empty());
    assert!(parts.metadata().is_some_and(|text| text.contains("date_saved")));
    let compiled = whole_model(&open_file(&corpus().join("compiled_adam/k3/model.keras")));
    assert!(compiled.training_config.is_some_and(|config| config.contains("Adam") || config.contains("adam")));
    let words = open_file(&corpus().join("text_vectorization/k3/model.keras"));
    let assets = words.archive.as_ref().expect("an archive").assets();
    assert!(assets.contains(&"assets/layers/text_vectorization/vocabulary.txt".to_owned()), "{assets:?}");
}

#[test]
fn a_flipped_bit_does_not_fit_the_checksum() {
    let path = archive(Keras3);
    let mut bytes = read(&path);
    let file = open_file(&path);
    let (index, entry) = file.reader.catalogue().entries().iter().enumerate().next_back().expect("a tensor");
    assert!(file.reader.verify_stored(index, &Cancel::default()).expect("fits"), "there is a checksum");
    let Location::Range { source, offset } = entry.location else { panic!("{entry:?}") };
    let (_, base) = file.reader.catalogue().sources()[source].file().expect("a file");
    bytes[usize::try_from(base + offset).expect("small") + 5] ^= 4;
    let damaged = open_bytes(bytes, "damaged.keras", &Limits::default()).expect("the structure is whole");
    let error = damaged.reader.verify_stored(0, &Cancel::default()).expect_err("a flipped bit");
    assert_eq!(error.code(), Code::Digest);
    // Found again, not taken for verified.
    assert!(damaged.reader.verify_stored(1, &Cancel::default()).is_err());
}

#[test]
fn archives_that_are_none_say_so() {
    let small = |name: &str| vec![(name.to_owned(), b"text".to_vec())];
    let cases: [(Vec<u8>, Code, &str); 4] = [
        (deflated(&small("photo.txt")), Code::NotWeights, "holds neither"),
        (deflated(&small("config.json")), Code::Missing, "holds no model.weights.h5"),
        (read(&archive(Keras3))[..5000].to_vec(), Code::Truncated, "its end"),
        (b"this is not a zip".to_vec(), Code::NotWeights, "looks like text"),
    ];
    for (bytes, code, words) in cases {
        let error = open_bytes(bytes, "m.keras", &Limits::default()).expect_err("refused");
        assert_eq!((error.code(), error.message().contains(words)), (code, true), "{error}");
    }
    let options = LoadOptions { objects_to_skip: vec![1], ..LoadOptions::default() };
    let tree = tree("cnn_bn", Keras3).expect("a tree");
    let error = plan_load(&tree, &open_file(&archive(Keras3)), &options).expect_err("as Keras");
    assert_eq!(error.code(), Code::Argument);
}

#[test]
fn shards_lie_beside_their_index_and_nowhere_else() {
    let scratch = Scratch::new("shards");
    for name in std::fs::read_dir(corpus().join("_broken")).expect("a folder") {
        let name = name.expect("an entry");
        if name.file_name().to_string_lossy().starts_with("k3_shard") {
            std::fs::copy(name.path(), scratch.0.join(name.file_name())).expect("copies");
        }
    }
    let index = scratch.0.join("k3_shard.weights.json");
    let text = String::from_utf8(read(&index)).expect("text");
    let file = open_file(&index);
    assert_eq!((file.format, file.note), (Format::Sharded, None));
    let try_open = |text: &str| {
        std::fs::write(&index, text).expect("writes");
        open(&index, &LocalFilesystem, &Limits::default()).expect_err("refused")
    };
    let shard = "k3_shard_00000.weights.h5";
    let cases = [
        (text.replace(shard, "../k3_shard_00000.weights.h5"), Code::Corrupt, "does not lie beside it"),
        (text.replace(shard, "/etc/passwd"), Code::Corrupt, "does not lie beside it"),
        (text.replace(shard, "k3_shard_00009.weights.h5"), Code::NotFound, "names the shard k3_shard_00009.weights.h5"),
        (text.replacen("/vars\"", "/varz\"", 1), Code::Corrupt, "but it does not"),
        ("{\"class_name\": \"Sequential\"}".to_owned(), Code::NotWeights, "JSON text"),
    ];
    for (text, code, words) in cases {
        let error = try_open(&text);
        assert_eq!((error.code(), error.message().contains(words)), (code, true), "{error}");
    }
    let error = open_bytes(text.into_bytes(), "w.weights.json", &Limits::default()).expect_err("no files beside it");
    assert_eq!(error.code(), Code::Argument);
}
