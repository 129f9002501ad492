//! Checkpoints that TensorFlow and Keras wrote, read value by value and written again byte by byte.
#![cfg(feature = "tf-checkpoint")]
#![allow(clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test ends where it fails")]

mod support;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use kw_formats::tf_checkpoint::{
    self, BundleBuilder, BundleReader, CheckpointState, Extent, OBJECT_GRAPH_KEY, ShardSlots, data_file_name,
};
use kw_model::{Cancel, Code, DType, Limits, LocalFilesystem, Location, MemorySink, Shape, WeightsReader, crc32c};
use serde_json::Value;
use support::{files_with_suffix, fixtures, hex, sha256};

fn open(prefix: &Path) -> BundleReader {
    tf_checkpoint::open_path(&LocalFilesystem, prefix, &Limits::default())
        .unwrap_or_else(|error| panic!("{}: {error}", prefix.display()))
}

fn read(reader: &BundleReader, index: usize) -> Vec<u8> {
    let entry = &reader.catalogue().entries()[index];
    let mut out = vec![0; usize::try_from(entry.byte_len).expect("small")];
    reader.read_into(index, &mut out, &Cancel::default()).unwrap_or_else(|error| panic!("{}: {error}", entry.path));
    if let Some(digest) = entry.digest {
        assert_eq!(crc32c(&out), digest, "{}", entry.path);
    }
    out
}

fn prefixes() -> Vec<PathBuf> {
    files_with_suffix(".index").into_iter().map(|path| path.with_extension("")).collect()
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).expect("readable")).expect("JSON")
}

fn shape(value: &Value) -> Shape {
    Shape::new(value.as_array().expect("axes").iter().map(|axis| axis.as_u64().expect("an axis")).collect::<Vec<_>>())
}

/// Plans the same tensors in the same order and writes them to memory: data files, then the index.
fn rewrite(reader: &BundleReader) -> (Vec<Vec<u8>>, Vec<u8>) {
    let entries = reader.catalogue().entries();
    let mut order: Vec<usize> = (0..entries.len()).collect();
    // Strings say nothing of their place; in what Keras writes the only one, the object graph, comes last.
    order.sort_by_key(|&index| match entries[index].location {
        Location::Range { source, offset } => (source, offset, entries[index].byte_len),
        Location::Decoded => (usize::MAX, 0, 0),
    });
    let mut builder = BundleBuilder::new();
    for &index in &order {
        let entry = &entries[index];
        if entry.dtype == DType::String {
            let strings = reader.read_strings(index).expect("strings");
            builder.strings(&entry.path, entry.shape.clone(), &strings).expect("plannable");
        } else {
            builder.tensor(&entry.path, entry.dtype, entry.shape.clone()).expect("plannable");
        }
    }
    let plan = builder.plan().expect("plannable");
    let (mut shards, mut digests) = (Vec::new(), Vec::new());
    for shard in 0..plan.num_shards() {
        let mut sink = MemorySink::new();
        let mut emitter = plan.emit_shard(shard, &mut sink).expect("begins");
        for (&index, planned) in order.iter().zip(plan.tensors()) {
            if planned.shard() == shard && !planned.is_known() {
                // Pieces that meet no boundary.
                for piece in read(reader, index).chunks(1000) {
                    emitter.write(piece).expect("fits");
                }
            }
        }
        digests.extend(emitter.finish().expect("complete"));
        assert_eq!(sink.bytes().len() as u64, plan.shard_len(shard));
        shards.push(sink.into_bytes());
    }
    (shards, plan.index(&digests, ShardSlots::fresh(plan.num_shards())).expect("an index"))
}

#[test]
fn every_checkpoint_of_keras_is_written_again_byte_for_byte() {
    let mut compared = 0;
    for prefix in prefixes() {
        // TensorFlow's own there, from many roots and in many shards.
        if prefix.components().any(|part| part.as_os_str() == "_tf" || part.as_os_str() == "tf_roots") {
            continue;
        }
        let reader = open(&prefix);
        let (shards, index) = rewrite(&reader);
        let name = prefix.to_str().expect("UTF-8");
        assert!(shards == [std::fs::read(data_file_name(name, 0, 1)).expect("data")], "data of {name}");
        assert!(index == std::fs::read(format!("{name}.index")).expect("index"), "index of {name}");
        let graph = reader.object_graph().expect("a graph").expect("Keras saves objects");
        let stored = reader.catalogue().require(OBJECT_GRAPH_KEY).expect("in the catalogue");
        assert!(reader.read_strings(stored).expect("one string") == [graph.encode()], "graph of {name}");
        compared += 1;
    }
    assert!(compared >= 20, "{compared}");
}

#[test]
fn every_value_is_the_one_that_tensorflow_reads() {
    let mut compared = 0;
    for path in files_with_suffix("/ckpt_keys.json") {
        for (prefix, wanted) in json(&path).as_object().expect("prefixes") {
            let prefix = path.with_file_name(prefix);
            if !prefix.with_extension("index").is_file() {
                continue;
            }
            let reader = open(&prefix);
            let keys = wanted["keys"].as_object().expect("keys");
            let found: Vec<&str> = reader.catalogue().entries().iter().map(|entry| entry.path.as_str()).collect();
            let wanted_keys: Vec<&str> = keys.keys().map(String::as_str).collect();
            assert_eq!(found, wanted_keys, "{}", prefix.display());
            for (index, entry) in reader.catalogue().entries().iter().enumerate() {
                let wanted = &keys[&entry.path];
                if let Some(bytes) = wanted.get("bytes") {
                    assert_eq!(
                        reader.read_strings(index).expect("strings")[0].len() as u64,
                        bytes.as_u64().expect("a size")
                    );
                    continue;
                }
                assert_eq!(entry.dtype.name(), wanted["dtype"].as_str().expect("a dtype"), "{}", entry.path);
                assert_eq!(entry.shape, shape(&wanted["shape"]), "{}", entry.path);
                assert_eq!(
                    sha256(&read(&reader, index)),
                    wanted["sha256"].as_str().expect("a digest"),
                    "{}",
                    entry.path
                );
                compared += 1;
            }
            let graph = reader.object_graph().expect("a graph").expect("objects");
            let nodes = wanted["object_graph"].as_array().expect("nodes");
            assert_eq!(graph.nodes.len(), nodes.len());
            for (node, wanted) in graph.nodes.iter().zip(nodes) {
                let children: BTreeMap<&str, u64> =
                    node.children.iter().map(|child| (child.local_name.as_str(), child.node_id as u64)).collect();
                let wanted: BTreeMap<&str, u64> = wanted["children"]
                    .as_object()
                    .expect("children")
                    .iter()
                    .map(|(name, id)| (name.as_str(), id.as_u64().expect("a number")))
                    .collect();
                assert_eq!(children, wanted, "{}", prefix.display());
            }
        }
    }
    assert!(compared > 200, "{compared}");
}

#[test]
fn what_tensorflow_alone_writes_is_read() {
    let folder = fixtures().join("_tf");
    let expected = json(&folder.join("expected.json"));
    for case in ["dtypes", "sliced", "merged", "sharded", "iterator"] {
        let reader = open(&folder.join(case));
        let wanted = expected[case]["tensors"].as_object().expect("tensors");
        let paths: Vec<&str> = reader.catalogue().entries().iter().map(|entry| entry.path.as_str()).collect();
        assert_eq!(paths.len(), wanted.len(), "{case}: {paths:?}");
        for (index, entry) in reader.catalogue().entries().iter().enumerate() {
            let wanted = &wanted[&entry.path];
            let name = match entry.attributes.get("dtype") {
                Some(kw_model::AttributeValue::Text(alias)) => alias.clone(),
                _ => entry.dtype.name(),
            };
            assert_eq!(name, wanted["dtype"].as_str().expect("a dtype"), "{case}: {}", entry.path);
            if name == "variant" {
                assert!(read(&reader, index).len() > 20);
                continue;
            }
            assert_eq!(entry.shape, shape(&wanted["shape"]), "{case}: {}", entry.path);
            if entry.dtype == DType::String {
                let found: Vec<String> =
                    reader.read_strings(index).expect("strings").iter().map(|text| hex(text)).collect();
                let wanted: Vec<&str> = wanted["strings"]
                    .as_array()
                    .expect("strings")
                    .iter()
                    .map(|text| text.as_str().expect("hex"))
                    .collect();
                assert_eq!(found, wanted, "{case}: {}", entry.path);
                let error = reader.read_into(index, &mut [], &Cancel::default()).expect_err("strings are no numbers");
                assert_eq!(error.code(), Code::DType);
            } else {
                assert_eq!(
                    sha256(&read(&reader, index)),
                    wanted["sha256"].as_str().expect("hex"),
                    "{case}: {}",
                    entry.path
                );
                assert_eq!(reader.read_strings(index).map_err(|error| error.code()), Err(Code::DType));
            }
        }
    }
    assert_eq!(open(&folder.join("merged")).num_shards(), 3);
}

#[test]
fn an_index_of_many_blocks_is_tensorflows_own() {
    let expected = json(&fixtures().join("_tf/expected.json"));
    let files = &expected["many"]["files"];
    let mut builder = BundleBuilder::new();
    for i in 0..4001_u32 {
        let i = i * 1237 % 4001;
        if i == 4000 {
            builder.tensor(&"z".repeat(700), DType::Float32, Shape::new([9])).expect("fine");
        } else {
            let name = format!("model/layer_{i:05}/{}", sha256(i.to_string().as_bytes()));
            builder.tensor(&name, DType::Int32, Shape::default()).expect("fine");
        }
    }
    let plan = builder.plan().expect("fine");
    let mut sink = MemorySink::new();
    let mut emitter = plan.emit_shard(0, &mut sink).expect("begins");
    for i in 0..4001_u32 {
        match i * 1237 % 4001 {
            4000 => (0..9).for_each(|_| emitter.write(&0.5_f32.to_le_bytes()).expect("fits")),
            i => emitter.write(&i.to_le_bytes()).expect("fits"),
        }
    }
    let digests = emitter.finish().expect("complete");
    let index = plan.index(&digests, ShardSlots::fresh(1)).expect("fine");
    assert!(index.len() > 300_000, "several blocks");
    assert_eq!(sha256(sink.bytes()), files["many.data-00000-of-00001"].as_str().expect("hex"));
    assert_eq!(sha256(&index), files["many.index"].as_str().expect("hex"));
}

#[test]
fn slices_are_written_as_tensorflow_writes_them() {
    let folder = fixtures().join("_tf");
    let part = |start, len| Extent::Part { start, len };
    let mut builder = BundleBuilder::new();
    let full = Shape::new([10, 7]);
    let tensors: [(&str, Vec<Vec<Extent>>); 4] = [
        ("rows", vec![vec![part(0, 4), Extent::Full], vec![part(4, 6), Extent::Full]]),
        ("columns", vec![vec![Extent::Full, part(0, 3)], vec![Extent::Full, part(3, 4)]]),
        ("explicit", vec![vec![part(0, 5), part(0, 7)], vec![part(5, 5), part(0, 7)]]),
        (
            "grid",
            vec![
                vec![part(0, 6), part(0, 2)],
                vec![part(0, 6), part(2, 5)],
                vec![part(6, 4), part(0, 5)],
                vec![part(6, 4), part(5, 2)],
            ],
        ),
    ];
    for (name, slices) in &tensors {
        builder.sliced(name, DType::Float32, full.clone(), slices).expect("tiles");
    }
    builder.tensor("plain", DType::Float32, full).expect("fine");
    let plan = builder.plan().expect("fine");
    let data = std::fs::read(folder.join("sliced.data-00000-of-00001")).expect("data");
    let mut sink = MemorySink::new();
    let mut emitter = plan.emit_shard(0, &mut sink).expect("begins");
    emitter.write(&data).expect("fits");
    let digests = emitter.finish().expect("complete");
    let index = plan.index(&digests, ShardSlots::fresh(1)).expect("fine");
    assert!(index == std::fs::read(folder.join("sliced.index")).expect("index"));
}

#[test]
fn the_first_format_is_refused_by_name() {
    let error = tf_checkpoint::open_path(&LocalFilesystem, &fixtures().join("_tf/v1"), &Limits::default())
        .expect_err("not read");
    assert_eq!(error.code(), Code::Unsupported);
    assert!(error.message().contains("V1"), "{error}");
    let error = tf_checkpoint::open_path(&LocalFilesystem, &fixtures().join("_tf/nothing"), &Limits::default())
        .expect_err("not there");
    assert_eq!(error.code(), Code::NotFound);
    assert!(error.context().file.as_deref().is_some_and(|file| file.ends_with("_tf/nothing.index")), "{error:?}");
}

#[test]
fn state_files_are_written_as_keras_writes_them() {
    for prefix in prefixes() {
        let path = prefix.with_file_name("checkpoint");
        let Ok(text) = std::fs::read(&path) else { continue };
        let state = CheckpointState::parse(&text).expect("a state");
        assert_eq!(state.to_text().as_bytes(), text, "{}", path.display());
        let name = prefix.file_name().expect("a name").to_str().expect("UTF-8");
        assert!(state.all_model_checkpoint_paths.iter().any(|listed| listed == name), "{name} in {}", path.display());
        assert_eq!(state.all_model_checkpoint_paths.last(), Some(&state.model_checkpoint_path), "{}", path.display());
    }
}
