//! Orbax checkpoints that Keras wrote, on one and on several devices, and hostile ones.
#![cfg(all(feature = "orbax", feature = "npy"))]
#![allow(clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test ends where it fails")]

mod support;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use kw_formats::npy;
use kw_formats::orbax::{self, FilesystemFolder, Folder, OrbaxReader};
use kw_model::{
    ByteSource, Cancel, Code, FileSource, Limits, LocalFilesystem, MemorySource, Result, WeightsError,
    WeightsReader as _, crc32c,
};
use support::{fixtures, json, roots, sha256, shape};

/// A folder in memory.
#[derive(Clone, Default)]
struct Memory(BTreeMap<String, Vec<u8>>);

impl Memory {
    fn load(path: &Path) -> Self {
        let mut files = BTreeMap::new();
        let mut folders = vec![path.to_path_buf()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).expect("a folder") {
                let entry = entry.expect("an entry").path();
                if entry.is_dir() {
                    folders.push(entry);
                } else {
                    let name = entry.strip_prefix(path).expect("below").to_str().expect("UTF-8").to_owned();
                    files.insert(name, std::fs::read(&entry).expect("readable"));
                }
            }
        }
        Memory(files)
    }
}

impl Folder for Memory {
    fn open(&self, name: &str) -> Result<Arc<dyn ByteSource>> {
        let bytes = self.0.get(name).ok_or_else(|| WeightsError::new(Code::NotFound, format!("no {name}")))?;
        Ok(Arc::new(MemorySource::new(bytes.as_slice(), name)))
    }

    fn names(&self) -> Result<Vec<String>> {
        let mut names: Vec<String> =
            self.0.keys().map(|name| name.split('/').next().unwrap_or_default().to_owned()).collect();
        names.dedup();
        Ok(names)
    }

    fn name(&self) -> String {
        "memory".to_owned()
    }
}

type Values = BTreeMap<String, (String, kw_model::Shape, Vec<u8>)>;

fn read(reader: &OrbaxReader) -> Result<Values> {
    let mut values = Values::new();
    for (index, entry) in reader.catalogue().entries().iter().enumerate() {
        let mut out = vec![0; usize::try_from(entry.byte_len).expect("small")];
        reader.read_into(index, &mut out, &Cancel::default())?;
        values.insert(entry.path.clone(), (entry.dtype.name(), entry.shape.clone(), out));
    }
    Ok(values)
}

fn open(folder: impl Folder + 'static, limits: &Limits) -> Result<Values> {
    let folder: Arc<dyn Folder> = Arc::new(folder);
    read(&orbax::open(&folder, limits)?)
}

fn check_arrays(values: &Values, expected: &Path) {
    let expected = json(expected);
    let arrays = expected["arrays"].as_array().expect("arrays");
    assert_eq!(values.len(), arrays.len());
    for array in arrays {
        let path: Vec<&str> =
            array["path"].as_array().expect("a path").iter().map(|part| part.as_str().expect("text")).collect();
        let (dtype, found, bytes) = &values[&path.join("/")];
        assert_eq!(dtype, array["dtype"].as_str().expect("a dtype"), "{path:?}");
        assert_eq!(*found, shape(&array["shape"]), "{path:?}");
        assert_eq!(sha256(bytes), array["sha256"].as_str().expect("hex"), "{path:?}");
    }
}

#[test]
fn checkpoints_of_one_and_of_two_processes_are_read() {
    for root in roots() {
        for name in ["jax_one", "jax_multi"] {
            let path = root.join("_orbax").join(name);
            if !path.is_dir() {
                assert_ne!((name, &root), ("jax_multi", &fixtures()), "the fixture is missing");
                continue;
            }
            let item = path.join("1/pytree");
            let values =
                open(FilesystemFolder::new(Arc::new(LocalFilesystem), &item), &Limits::default()).expect("good");
            check_arrays(&values, &path.join("expected.json"));
        }
    }
}

#[test]
fn databases_of_the_processes_stand_in_for_the_merged_one() {
    let path = fixtures().join("_orbax/jax_multi");
    let mut folder = Memory::load(&path.join("1/pytree"));
    folder.0.remove("manifest.ocdbt").expect("was there");
    check_arrays(&open(folder.clone(), &Limits::default()).expect("good"), &path.join("expected.json"));
    // One process alone has only its own chunks.
    folder.0.retain(|name, _| !name.starts_with("ocdbt.process_1"));
    assert_eq!(open(folder.clone(), &Limits::default()).map_err(|error| error.code()), Err(Code::Corrupt));
    folder.0.retain(|name, _| !name.starts_with("ocdbt"));
    assert_eq!(open(folder.clone(), &Limits::default()).map_err(|error| error.code()), Err(Code::NotFound));
    folder.0.remove("_METADATA");
    assert_eq!(open(folder, &Limits::default()).map_err(|error| error.code()), Err(Code::NotFound));
}

#[test]
fn a_checkpoint_of_keras_holds_its_weights_and_its_architecture() {
    let root = fixtures().join("_orbax");
    let values = open(Memory::load(&root.join("full/1/pytree")), &Limits::default()).expect("good");
    let expected = FileSource::open(&root.join("full.expected.npz")).expect("there");
    let expected = npy::open_npz(Arc::new(expected), &Limits::default()).expect("good");
    let paths = [
        "trainable_variables/sequential/dense/kernel",
        "trainable_variables/sequential/dense/bias",
        "trainable_variables/sequential/batch_normalization/gamma",
        "trainable_variables/sequential/batch_normalization/beta",
        "non_trainable_variables/sequential/batch_normalization/moving_mean",
        "non_trainable_variables/sequential/batch_normalization/moving_variance",
        "trainable_variables/sequential/dense_1/kernel",
        "trainable_variables/sequential/dense_1/bias",
    ];
    for (index, path) in paths.iter().enumerate() {
        let entry = &expected.catalogue().entries()[index];
        let mut bytes = vec![0; usize::try_from(entry.byte_len).expect("small")];
        expected.read_into(index, &mut bytes, &Cancel::default()).expect("good");
        assert_eq!(values[*path], ("float32".to_owned(), entry.shape.clone(), bytes), "{path}");
    }
    assert!(values.contains_key("optimizer_variables/adam/iteration"));
    let config =
        orbax::read_strings(&Memory::load(&root.join("full/1/model_config")), &Limits::default()).expect("good");
    assert!(config["config"].contains("\"class_name\": \"Sequential\""));
    let folder: Arc<dyn Folder> = Arc::new(Memory::load(&root.join("full/1/model_config")));
    let reader = orbax::open(&folder, &Limits::default()).map_err(|error| error.code());
    // An item of texts only has no database.
    assert!(matches!(reader, Err(Code::NotFound) | Ok(_)), "{reader:?}");
}

#[test]
fn damage_is_found_where_there_is_a_checksum_and_harmless_elsewhere() {
    let good = Memory::load(&fixtures().join("_orbax/full/1/pytree"));
    let wanted = open(good.clone(), &Limits::default()).expect("good");
    for name in good.0.keys().filter(|name| *name != "_METADATA") {
        for position in (0..good.0[name].len()).step_by(13) {
            let mut damaged = good.clone();
            damaged.0.get_mut(name).expect("there")[position] ^= 1 << (position % 8);
            match open(damaged, &Limits::default()) {
                Ok(values) if name.ends_with("manifest.ocdbt") => assert_eq!(values, wanted, "{name}: byte {position}"),
                // Chunks in data files have no checksum of their own but zstd's structure.
                Ok(values) => assert_eq!(values.len(), wanted.len()),
                Err(error) => assert_ne!(error.code(), Code::Internal, "{name}: byte {position}: {error}"),
            }
        }
        if name.starts_with("d/") {
            let mut damaged = good.clone();
            damaged.0.remove(name);
            assert_eq!(open(damaged, &Limits::default()).map_err(|error| error.code()), Err(Code::NotFound), "{name}");
        }
        for len in (0..good.0[name].len()).step_by(9) {
            let mut damaged = good.clone();
            damaged.0.get_mut(name).expect("there").truncate(len);
            if let Ok(values) = open(damaged, &Limits::default()) {
                // A process' own database is not needed where there is a merged one.
                assert_eq!(values, wanted, "{name} cut to {len}");
            }
        }
    }
    let text = good.0["_METADATA"].clone();
    for position in (0..text.len()).step_by(61) {
        let mut damaged = good.clone();
        damaged.0.get_mut("_METADATA").expect("there")[position] ^= 1 << (position % 8);
        if let Err(error) = open(damaged, &Limits::default()) {
            assert_ne!(error.code(), Code::Internal, "byte {position}: {error}");
        }
    }
}

const TREE: &str = r#"{"tree_metadata": {"x": {"key_metadata": [{"key": "a", "key_type": 2}, {"key": 0, "key_type": 1}],
    "value_metadata": {"value_type": "np.ndarray"}}}, "use_ocdbt": false}"#;

/// One array `a.0` in plain files.
fn plain(description: &str, chunks: &[(&str, Vec<u8>)]) -> Memory {
    let name = if description.contains("\"zarr_format\": 2") { "a.0/.zarray" } else { "a.0/zarr.json" };
    let mut files = Memory::default();
    files.0.insert("_METADATA".to_owned(), TREE.into());
    files.0.insert(name.to_owned(), description.into());
    files.0.extend(chunks.iter().map(|(key, bytes)| (format!("a.0/{key}"), bytes.clone())));
    files
}

fn zarr3(shape: &str, chunk: &str, codecs: &str) -> String {
    format!(
        r#"{{"zarr_format": 3, "node_type": "array", "shape": {shape}, "data_type": "uint8", "fill_value": 0,
        "chunk_grid": {{"name": "regular", "configuration": {{"chunk_shape": {chunk}}}}},
        "chunk_key_encoding": {{"name": "default"}}, "codecs": {codecs}}}"#
    )
}

const BYTES: &str = r#"[{"name": "bytes", "configuration": {"endian": "little"}}]"#;

#[test]
fn plain_files_of_both_versions_are_put_together() {
    let zarr2 = r#"{"zarr_format": 2, "shape": [3, 3], "chunks": [2, 2], "dtype": "|u1", "compressor": null, "order": "C",
        "filters": null, "fill_value": 0}"#;
    let chunks = [vec![1, 2, 4, 5], vec![3, 99, 6, 99], vec![7, 8, 99, 99], vec![9, 99, 99, 99]];
    let keyed = |keys: [&'static str; 4]| keys.into_iter().zip(chunks.clone()).collect::<Vec<_>>();
    let wanted = (1..=9).collect::<Vec<u8>>();
    let folder = plain(&zarr3("[3,3]", "[2,2]", BYTES), &keyed(["c/0/0", "c/0/1", "c/1/0", "c/1/1"]));
    assert_eq!(open(folder, &Limits::default()).expect("good")["a/0"].2, wanted);
    let folder = plain(zarr2, &keyed(["0.0", "0.1", "1.0", "1.1"]));
    assert_eq!(open(folder, &Limits::default()).expect("good")["a/0"].2, wanted);
    let scalar = plain(&zarr3("[]", "[]", BYTES), &[("c", vec![5])]);
    assert_eq!(open(scalar, &Limits::default()).expect("good")["a/0"].2, [5]);
    // A shard of two chunks, with and without a checksum of its index.
    for (crc, at_end) in [(true, true), (false, false)] {
        let mut index: Vec<u8> = Vec::new();
        let base: u64 = if at_end { 0 } else { 32 };
        for (offset, len) in [(base + 2, 2_u64), (base, 2_u64)] {
            index.extend(offset.to_le_bytes());
            index.extend(len.to_le_bytes());
        }
        if crc {
            index.extend(crc32c(&index).to_le_bytes());
        }
        let shard = if at_end { [&[3, 4, 1, 2][..], &index].concat() } else { [&index[..], &[3, 4, 1, 2]].concat() };
        let index_codecs = if crc { r#"[{"name": "bytes"}, {"name": "crc32c"}]"# } else { r#"[{"name": "bytes"}]"# };
        let place = if at_end { "end" } else { "start" };
        let codecs = format!(
            r#"[{{"name": "sharding_indexed", "configuration": {{"chunk_shape": [2], "codecs": {BYTES},
            "index_codecs": {index_codecs}, "index_location": "{place}"}}}}]"#
        );
        let folder = plain(&zarr3("[4]", "[4]", &codecs), &[("c/0", shard)]);
        assert_eq!(open(folder, &Limits::default()).expect("good")["a/0"].2, [1, 2, 3, 4]);
    }
}

#[test]
fn descriptions_that_lie_are_refused() {
    let chunk = || [("c/0", vec![1, 2, 3, 4])];
    let one = |shape: &str, chunk_shape: &str, codecs: &str| plain(&zarr3(shape, chunk_shape, codecs), &chunk());
    let zstd = r#"[{"name": "bytes"}, {"name": "zstd"}]"#;
    let cases: Vec<(&str, Memory, Code)> = vec![
        ("chunk that is missing", one("[8]", "[4]", BYTES), Code::Corrupt),
        ("chunk of another length", one("[3]", "[3]", BYTES), Code::Corrupt),
        ("a shape that no chunks back", one("[1099511627776]", "[4]", BYTES), Code::Limit),
        ("a chunk shape that no bytes back", one("[4]", "[1099511627776]", BYTES), Code::Corrupt),
        ("a shape beyond 64 bits", plain(&zarr3("[4294967296,4294967296]", "[1,1]", BYTES), &[]), Code::Corrupt),
        ("a chunk of no elements", one("[4]", "[0]", BYTES), Code::Corrupt),
        ("a chunk of another rank", one("[4]", "[4,1]", BYTES), Code::Corrupt),
        ("a negative axis", one("[-4]", "[4]", BYTES), Code::Corrupt),
        ("no codecs", one("[4]", "[4]", "[]"), Code::Corrupt),
        ("no zstd frame", one("[4]", "[4]", zstd), Code::Corrupt),
        ("a bomb by its own word", one("[1073741824]", "[1073741824]", zstd), Code::Limit),
        ("no JSON", plain("{", &chunk()), Code::Corrupt),
        ("no description", Memory([("_METADATA".to_owned(), TREE.into())].into()), Code::Corrupt),
        ("no tree", Memory([("_METADATA".to_owned(), b"[]".to_vec())].into()), Code::Corrupt),
    ];
    for (name, folder, code) in cases {
        assert_eq!(open(folder, &Limits::default()).map_err(|error| error.code()), Err(code), "{name}");
    }
    for (name, folder) in [
        ("big-endian", one("[4]", "[4]", r#"[{"name": "bytes", "configuration": {"endian": "big"}}]"#)),
        ("a codec that nobody knows", one("[4]", "[4]", r#"[{"name": "bytes"}, {"name": "blosc"}]"#)),
        ("a transposed array", one("[4]", "[4]", r#"[{"name": "transpose"}, {"name": "bytes"}]"#)),
        ("another grid", plain(&zarr3("[4]", "[4]", BYTES).replace("regular", "other"), &chunk())),
        ("another dtype", plain(&zarr3("[4]", "[4]", BYTES).replace("uint8", "string"), &chunk())),
    ] {
        // Such an array does not spoil others: it is left out with its reason.
        let folder: Arc<dyn Folder> = Arc::new(folder);
        let reader = orbax::open(&folder, &Limits::default()).expect("the rest is fine");
        assert_eq!(reader.catalogue().require("a/0").map_err(|error| error.code()), Err(Code::Unsupported), "{name}");
    }
    for name in ["../x", "/x", "..", "a//b", "C:x"] {
        let mut folder = Memory::default();
        let tree = TREE.replace("\"a\"", &format!("{name:?}")).replace("{\"key\": 0, \"key_type\": 1}", "");
        folder.0.insert("_METADATA".to_owned(), tree.replace("}, ]", "}]").into());
        let folder: Arc<dyn Folder> = Arc::new(folder);
        let reader = orbax::open(&folder, &Limits::default()).expect("left out");
        assert!(reader.catalogue().entries().is_empty(), "{name}");
    }
}
