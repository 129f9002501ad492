//! The HDF5 reader against h5py: every Keras file there is, and a file for every way of storing things.

#![cfg(feature = "hdf5")]
#![allow(clippy::expect_used, clippy::panic, reason = "a test ends where it fails")]

mod hdf5_support;
mod support;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use hdf5_support::{bytes_of, json, lines, open};
use kw_formats::hdf5;
use kw_formats::hdf5::writer::{DatasetOptions, H5Attribute, H5Builder};
use kw_model::{
    AttributeValue, ByteSource, Cancel, Code, CountingSource, DType, FileSource, Limits, Location, MemorySink,
    MemorySource, Shape, SliceSource, WeightsReader, crc32c,
};
use serde_json::Value;
use support::{files_with_suffix, fixtures, sha256};

fn kind(name: &str) -> PathBuf {
    fixtures().join("hdf5_kinds").join(name)
}

fn assert_same(name: &str, expected: &[String], found: &[String]) {
    let missing: Vec<_> = expected.iter().filter(|line| !found.contains(line)).take(5).collect();
    let extra: Vec<_> = found.iter().filter(|line| !expected.contains(line)).take(5).collect();
    assert!(missing.is_empty() && extra.is_empty(), "{name}\n missing: {missing:#?}\n not expected: {extra:#?}");
    assert_eq!(expected.len(), found.len(), "{name}");
}

fn expected_lines(value: &Value) -> Vec<String> {
    let mut lines: Vec<String> =
        value["lines"].as_array().expect("lines").iter().map(|line| line.as_str().expect("text").to_owned()).collect();
    lines.sort();
    lines
}

#[test]
fn every_kind_of_file_equals_h5py() {
    let folder = fixtures().join("hdf5_kinds");
    let expected = json(&folder.join("expected.json"));
    let kinds = expected.as_object().expect("an object");
    assert!(kinds.len() >= 25, "only {} kinds", kinds.len());
    for (name, kind) in kinds {
        if let Some(why) = kind.get("error") {
            let error = open(&folder.join(name)).expect_err(name);
            assert_eq!(error.code().as_str(), why[0], "{name}: {error}");
            assert!(error.message().contains(why[1].as_str().expect("a word")), "{name}: {error}");
            continue;
        }
        let reader = open(&folder.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_same(name, &expected_lines(kind), &lines(&reader));
        let refused: BTreeMap<&str, &Value> =
            kind["refused"].as_object().expect("refused").iter().map(|(path, why)| (path.as_str(), why)).collect();
        let found: Vec<&str> = reader.catalogue().refusals().keys().map(String::as_str).collect();
        assert_eq!(found, refused.keys().copied().collect::<Vec<_>>(), "{name}");
        for (path, why) in refused {
            let error = reader.catalogue().require(path).expect_err("refused");
            assert_eq!(error.code().as_str(), why[0], "{name} {path}: {error}");
            assert!(error.message().contains(why[1].as_str().expect("a word")), "{name} {path}: {error}");
            assert_eq!(error.context().weight.as_deref(), Some(path), "{name}");
        }
    }
}

#[test]
fn every_keras_fixture_equals_h5py() {
    let trees = json(&fixtures().join("hdf5_kinds/keras_trees.json"));
    let trees = trees.as_object().expect("an object");
    assert!(trees.len() >= 150, "only {} files", trees.len());
    for (name, digest) in trees {
        let reader = open(&fixtures().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(&sha256(lines(&reader).join("\n").as_bytes())[..16], digest.as_str().expect("text"), "{name}");
        assert!(reader.catalogue().refusals().is_empty(), "{name}: {:?}", reader.catalogue().refusals());
        for entry in reader.catalogue().entries() {
            let mappable = matches!(entry.location, Location::Range { source: 0, .. });
            assert_eq!(mappable, entry.byte_len > 0, "{name} {}: Keras writes contiguous data", entry.path);
        }
    }
}

/// The corpus keeps Keras' own answers beside every file; the fixtures do not, and are compared above.
#[test]
fn every_corpus_file_equals_its_tree() {
    let mut files = 0;
    for tree in files_with_suffix(".json").iter().filter(|path| path.ends_with("h5_trees.json")) {
        for (name, tree_of_file) in json(tree).as_object().expect("an object") {
            // Members of archives are the archive reader's; old Kerases have answers that are exceptions.
            let path = tree.with_file_name(name);
            if name.contains('!') || tree_of_file.is_string() || !path.is_file() {
                continue;
            }
            let reader = open(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            assert_tree(&path.display().to_string(), tree_of_file, &reader);
            files += 1;
        }
    }
    // Without a corpus there is nothing to compare; the fixtures' trees are in keras_trees.json.
    assert!(files == 0 || files > 100, "only {files} files");
}

fn assert_tree(name: &str, tree: &Value, reader: &dyn WeightsReader) {
    let catalogue = reader.catalogue();
    let datasets = tree["datasets"].as_object().expect("datasets");
    assert_eq!(catalogue.entries().len(), datasets.len(), "{name}");
    for (path, expected) in datasets {
        let index = catalogue.require(path).unwrap_or_else(|error| panic!("{name}: {error}"));
        let entry = catalogue.entry(index).expect("found");
        assert_eq!(Value::from(entry.shape.axes()), expected["shape"], "{name} {path}");
        let dtype = match expected["dtype"].as_str().expect("a dtype") {
            "|V2" if entry.attributes.contains_key("dtype") => "bfloat16",
            "|V2" => "opaque2",
            other => other,
        };
        assert_eq!(entry.dtype.name(), dtype, "{name} {path}");
        let bytes = bytes_of(reader, index).unwrap_or_else(|error| panic!("{name} {path}: {error}"));
        assert_eq!(Value::from(sha256(&bytes)), expected["sha256"], "{name} {path}");
    }
    for path in
        tree["groups"].as_array().expect("groups").iter().filter_map(Value::as_str).filter(|path| *path != "...")
    {
        assert!(catalogue.group(path).is_some(), "{name}: no group {path}");
    }
    for (path, attributes) in tree["attrs"].as_object().expect("attributes") {
        let path = if path == "/" { "" } else { path };
        let found = match (catalogue.group(path), catalogue.find(path)) {
            (Some(group), _) => &group.attributes,
            (None, Some(index)) => &catalogue.entry(index).expect("found").attributes,
            (None, None) => panic!("{name}: nothing at {path}"),
        };
        for (attribute, expected) in attributes.as_object().expect("attributes") {
            assert_attribute(&format!("{name} {path}@{attribute}"), &found[attribute], expected);
        }
    }
}

fn assert_attribute(name: &str, found: &AttributeValue, expected: &Value) {
    match found {
        AttributeValue::Text(text) => match expected.get("value") {
            Some(value) => assert_eq!(text, value, "{name}"),
            None => assert_eq!(expected["first"], text.chars().take(60).collect::<String>(), "{name}"),
        },
        AttributeValue::Texts(texts) => {
            if let Some(value) = expected.get("value") {
                assert_eq!(Value::from(texts.clone()), *value, "{name}");
                return;
            }
            assert_eq!(texts.len() as u64, expected["count"], "{name}");
            assert_eq!(texts.first().map(String::as_str), expected["first"].as_str(), "{name}");
            assert_eq!(texts.last().map(String::as_str), expected["last"].as_str(), "{name}");
        }
        AttributeValue::Int(value) => assert_eq!(Value::from(*value), expected["value"], "{name}"),
        AttributeValue::Float(value) => assert_eq!(Value::from(*value), expected["value"], "{name}"),
        AttributeValue::Other(what) => panic!("{name}: {what}"),
    }
}

#[test]
fn opening_reads_metadata_only() {
    let cases = [
        // 200 KB of kernel between the headers.
        (fixtures().join("mnist_dense/k3/model.weights.h5"), 24 << 10),
        (fixtures().join("mnist_dense/k2/weights.h5"), 24 << 10),
    ];
    for (path, allowed) in cases {
        let file: Arc<dyn ByteSource> = Arc::new(FileSource::open(&path).expect("a fixture"));
        let counted = Arc::new(CountingSource::new(file));
        let reader = hdf5::open(Arc::clone(&counted) as Arc<dyn ByteSource>, &Limits::default()).expect("opens");
        let opened = counted.bytes_read();
        assert!(opened <= allowed, "{}: {opened} bytes read", path.display());
        for (index, entry) in reader.catalogue().entries().iter().enumerate() {
            let before = counted.bytes_read();
            bytes_of(&reader, index).expect("values");
            assert_eq!(counted.bytes_read() - before, entry.byte_len, "{} {}", path.display(), entry.path);
        }
    }
}

#[test]
fn a_file_inside_another_source_reads_alike() {
    for name in ["numbers.h5", "filters.h5", "chunk_indexes.h5", "userblock_latest.h5", "strings.h5"] {
        let bytes = std::fs::read(kind(name)).expect("a fixture");
        let plain = lines(&open(&kind(name)).expect("opens"));
        let mut archive = vec![0x50; 777];
        archive.extend_from_slice(&bytes);
        archive.extend_from_slice(&[0x50; 99]);
        let whole: Arc<dyn ByteSource> = Arc::new(MemorySource::new(archive, "archive"));
        let len = bytes.len() as u64;
        let member = Arc::new(SliceSource::new(whole, 777, len, "member").expect("inside"));
        let reader = hdf5::open(Arc::clone(&member) as Arc<dyn ByteSource>, &Limits::default()).expect("opens");
        assert_eq!(lines(&reader), plain, "{name} in memory");
        for entry in reader.catalogue().entries() {
            if let Location::Range { offset, .. } = entry.location {
                assert!(offset + entry.byte_len <= len, "{name} {}", entry.path);
            }
        }
        // The counting source hides that the bytes are in memory, so the block cache serves them.
        let counted = Arc::new(CountingSource::new(member));
        let reader = hdf5::open(counted, &Limits::default()).expect("opens");
        assert_eq!(lines(&reader), plain, "{name} through the cache");
    }
}

#[test]
fn reads_say_what_they_cannot_do() {
    let reader = open(&kind("strings.h5")).expect("opens");
    let text = reader.catalogue().require("fixed").expect("there");
    let code = |result: kw_model::Result<()>| result.map_err(|error| error.code());
    assert_eq!(code(reader.read_into(text, &mut [0; 16], &Cancel::default())), Err(Code::DType));

    let path = kind("filters.h5");
    let reader = open(&path).expect("opens");
    for (index, entry) in reader.catalogue().entries().iter().enumerate() {
        let len = usize::try_from(entry.byte_len).expect("small");
        for wrong in [0, 1, len - 1, len + 1] {
            let error = reader.read_into(index, &mut vec![0; wrong], &Cancel::default()).expect_err("wrong length");
            assert_eq!(error.code(), Code::Argument, "{} with {wrong} bytes", entry.path);
            assert_eq!(error.context().weight.as_deref(), Some(entry.path.as_str()));
            assert_eq!(error.context().file.as_deref(), Some(path.to_str().expect("a path")));
        }
        let cancel = Cancel::default();
        cancel.cancel();
        let aborted = reader.read_into(index, &mut vec![0; len], &cancel);
        assert_eq!(code(aborted), Err(Code::Aborted), "{}", entry.path);
        assert_eq!(reader.read_strings(index).map_err(|error| error.code()), Err(Code::DType), "{}", entry.path);
    }
    let beyond = reader.catalogue().entries().len();
    assert_eq!(code(reader.read_into(beyond, &mut [], &Cancel::default())), Err(Code::Missing));
    assert_eq!(code(reader.catalogue().require("no/such").map(|_| ())), Err(Code::Missing));
}

#[test]
fn every_limit_is_kept() {
    let default = Limits::default();
    let cases = [
        ("numbers.h5", Limits { max_tensors: 20, ..default.clone() }),
        ("numbers.h5", Limits { max_tensor_bytes: 100, ..default.clone() }),
        ("numbers.h5", Limits { max_total_bytes: 1000, ..default.clone() }),
        ("numbers.h5", Limits { max_header_bytes: 10_000, ..default.clone() }),
        ("attributes.h5", Limits { max_attribute_bytes: 2000, ..default.clone() }),
        ("attributes_latest.h5", Limits { max_attribute_bytes: 10_000, ..default.clone() }),
        ("groups.h5", Limits { max_depth: 10, ..default.clone() }),
    ];
    for (name, limits) in cases {
        let source = Arc::new(FileSource::open(&kind(name)).expect("a fixture"));
        let error = hdf5::open(source, &limits).expect_err("too small a limit");
        assert_eq!(error.code(), Code::Limit, "{name} {limits:?}: {error}");
        assert!(error.message().contains("limits"), "{name}: {error}");
    }
    // The ratio is a matter of the chunk that is read.
    let limits = Limits { max_inflate_ratio: 200, ..default };
    let source = Arc::new(FileSource::open(&kind("shape_bombs.h5")).expect("a fixture"));
    let reader = hdf5::open(source, &limits).expect("opens");
    let zeros = reader.catalogue().require("zeros").expect("there");
    let error = reader.read_into(zeros, &mut vec![0; 1 << 20], &Cancel::default()).expect_err("too good a ratio");
    assert_eq!(error.code(), Code::Limit, "{error}");
}

#[test]
fn what_our_writer_wrote_reads_back_mapped_and_with_its_digest() {
    let mut builder = H5Builder::new();
    builder.group("layers/dense/vars").expect("a group");
    builder.attribute("layers/dense/vars", "name", H5Attribute::Utf8("dense ä".into())).expect("an attribute");
    builder.attribute("", "layer_names", H5Attribute::TextList(vec!["a".into(), "b".into()])).expect("an attribute");
    builder.attribute("layers", "weight_names", H5Attribute::TextList(Vec::new())).expect("an attribute");
    let values: Vec<(&str, DType, Shape, Vec<u8>)> = vec![
        ("layers/dense/vars/0", DType::Float32, Shape::new([5, 7]), (0..140).collect()),
        ("layers/dense/vars/1", DType::BFloat16, Shape::new([3]), vec![1, 2, 3, 4, 5, 6]),
        ("layers/dense/vars/2", DType::Bool, Shape::default(), vec![1]),
        ("layers/dense/vars/3", DType::Int64, Shape::new([0, 4]), Vec::new()),
    ];
    for (path, dtype, shape, _) in &values {
        let options = DatasetOptions { digest: true };
        builder.dataset(path, *dtype, shape.clone(), options).expect("a dataset");
    }
    builder.attribute("layers/dense/vars/1", "dtype", H5Attribute::Utf8("bfloat16".into())).expect("Keras' mark");
    let plan = builder.plan().expect("a plan");
    let of = |path: &str| &values.iter().find(|value| value.0 == path).expect("planned").3;
    let digests: Vec<u32> = plan.datasets().iter().map(|planned| crc32c(of(&planned.path))).collect();
    let mut sink = MemorySink::new();
    let mut emitter = plan.emit(&mut sink, &digests).expect("metadata");
    for planned in plan.datasets() {
        emitter.write(of(&planned.path)).expect("values");
    }
    emitter.finish().expect("the end");

    let source = Arc::new(MemorySource::new(sink.into_bytes(), "written"));
    let reader = hdf5::open(source, &Limits::default()).expect("opens");
    let catalogue = reader.catalogue();
    assert_eq!(catalogue.entries().len(), values.len());
    for (path, dtype, shape, bytes) in &values {
        let index = catalogue.require(path).expect("written");
        let entry = catalogue.entry(index).expect("there");
        assert_eq!((entry.dtype, &entry.shape, entry.digest), (*dtype, shape, Some(crc32c(bytes))), "{path}");
        assert_eq!(&bytes_of(&reader, index).expect("values"), bytes, "{path}");
        match entry.location {
            Location::Range { offset, .. } => assert_eq!(offset % 64, 0, "{path}"),
            Location::Decoded => assert!(bytes.is_empty(), "{path}"),
        }
    }
    let attribute = |group: &str, name: &str| catalogue.group(group).expect("a group").attributes[name].clone();
    assert_eq!(attribute("layers/dense/vars", "name"), AttributeValue::Text("dense ä".into()));
    assert_eq!(attribute("", "layer_names"), AttributeValue::Texts(vec!["a".into(), "b".into()]));
    assert_eq!(attribute("layers", "weight_names"), AttributeValue::Texts(Vec::new()));
}
