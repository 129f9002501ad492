//! Every file of every model, both Kerases: loaded bit for bit in order, and written again as Keras wrote it.
#![allow(clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "helpers of the tests")]

mod common;

use std::collections::BTreeMap;

use common::{Scratch, corpus, evaluate, expected_weights, models, open_file, save, sha256, short, tree};
use kw_keras::Flavor::{self, Keras2, Keras3};
use kw_keras::{Format, LoadOptions, OpenedFile, SaveOptions, plan_load, plan_save, weight_orders};
use kw_model::{AttributeValue, Cancel, Code, DType};

const FILES: [(Flavor, &str, Format); 9] = [
    (Keras3, "model.weights.h5", Format::Keras3H5),
    (Keras3, "legacy_weights.h5", Format::LegacyH5),
    (Keras3, "legacy_full.h5", Format::LegacyH5),
    (Keras2, "weights.h5", Format::LegacyH5),
    (Keras2, "full.h5", Format::LegacyH5),
    (Keras2, "v3.weights.h5", Format::Keras3H5),
    (Keras3, "model.keras", Format::Keras),
    (Keras2, "v3.keras", Format::Keras),
    (Keras3, "shard/model.weights.json", Format::Sharded),
];

/// Weights that Keras itself leaves out of a file.
fn lost(model: &str, flavor: Flavor, file: &str) -> usize {
    match (model, flavor, file) {
        // An extra layer held by an attribute is not in Keras 3's model.layers.
        ("functional_with_attrs", Keras3, "legacy_weights.h5" | "legacy_full.h5") => 2,
        // Low-rank updates are merged into their kernels.
        ("lora" | "lora_int8", Keras3, "model.weights.h5" | "model.keras" | "shard/model.weights.json") => 8,
        _ => 0,
    }
}

/// Weights whose value in the file is not the one `get_weights` gave: a kernel with its low-rank update merged in.
fn merged(model: &str) -> bool {
    matches!(model, "lora" | "lora_int8")
}

#[test]
fn every_file_gives_every_weight_and_comes_out_the_same() {
    let scratch = Scratch::new("corpus");
    let (mut files, mut weights, mut written) = (0, 0, 0);
    for (flavor, name, format) in FILES {
        for model in models(flavor) {
            let folder = corpus().join(&model).join(short(flavor));
            let path = folder.join(name);
            if !path.is_file() {
                continue;
            }
            let label = format!("{model} {flavor:?} {name}");
            let tree = tree(&model, flavor).unwrap_or_else(|| panic!("no tree for {model}"));
            let file = open_file(&path);
            assert_eq!(file.format, format, "{label}");
            assert_eq!(file.note, None, "{label}");
            let options = LoadOptions { include_optimizer: Some(true), ..LoadOptions::default() };
            let plan = plan_load(&tree, &file, &options).unwrap_or_else(|error| panic!("{label}: {error}"));
            assert_eq!(plan.warnings, [], "{label}");
            assert!(plan.report.skipped.is_empty() && plan.report.cast.is_empty(), "{label}");
            assert_eq!(plan.report.unexpected, Vec::<String>::new(), "{label}");
            assert_eq!(plan.report.missing.len(), lost(&model, flavor, name), "{label} {:?}", plan.report.missing);
            let mut values = evaluate(&tree, &file, &plan);
            for (index, variable) in tree.variables.iter().enumerate() {
                if let Some(real) = variable.stands_for {
                    values.insert(index, values[&real].clone());
                }
            }
            let order = weight_orders(&tree).expect("orders").weights;
            let expected = expected_weights(&folder, order.len());
            for (variable, expected) in order.iter().zip(expected) {
                if let (Some(value), Some(expected), false) = (values.get(variable), expected, merged(&model)) {
                    assert_eq!(sha256(value), expected, "{label} {}", tree.variables[*variable].path);
                    weights += 1;
                }
            }
            files += 1;
            // Archives and shards hold what one file with object paths holds.
            let target = scratch.0.join(if format == Format::LegacyH5 { "w.h5" } else { "w.weights.h5" });
            save(&tree, &target, &as_saved(&file, flavor), &values).unwrap_or_else(|error| panic!("{label}: {error}"));
            same(&label, &file, &open_file(&target));
            written += 1;
        }
    }
    assert!(files >= 60 && written == files && weights > 450, "{files} files, {weights} weights, {written} written");
}

/// The options that make the same kind of file.
fn as_saved(file: &OpenedFile, flavor: Flavor) -> SaveOptions {
    let text = |name: &str| match file.reader.catalogue().group("").and_then(|root| root.attributes.get(name)) {
        Some(AttributeValue::Text(text)) => Some(text.clone()),
        _ => None,
    };
    let version = if flavor == Keras2 { "2.21.0" } else { "3.15.1" };
    SaveOptions {
        model_config: text("model_config"),
        training_config: text("training_config"),
        keras_version: Some(version.to_owned()),
        ..SaveOptions::default()
    }
}

/// The same groups, attributes and tensors, but for our digests and our mark on bfloat16.
fn same(label: &str, keras: &OpenedFile, ours: &OpenedFile) {
    let (keras, ours) = (keras.reader.as_ref(), ours.reader.as_ref());
    let groups = |reader: &dyn kw_model::WeightsReader| reader.catalogue().groups().keys().cloned().collect::<Vec<_>>();
    assert_eq!(groups(ours), groups(keras), "{label} groups");
    for (path, group) in keras.catalogue().groups() {
        let mut found = ours.catalogue().groups()[path].clone();
        let digest = found.attributes.remove("kw_crc32c");
        assert!(digest.is_none() || path.is_empty(), "{label} digest of {path:?}");
        assert_eq!(&found, group, "{label} attributes of {path:?}");
    }
    let index = |reader: &dyn kw_model::WeightsReader| -> BTreeMap<String, usize> {
        reader.catalogue().entries().iter().enumerate().map(|(index, entry)| (entry.path.clone(), index)).collect()
    };
    let (our_index, keras_index) = (index(ours), index(keras));
    assert_eq!(our_index.keys().collect::<Vec<_>>(), keras_index.keys().collect::<Vec<_>>(), "{label} tensors");
    for (path, keras_entry) in keras_index {
        let entry = our_index[&path];
        let (a, b) = (&ours.catalogue().entries()[entry], &keras.catalogue().entries()[keras_entry]);
        assert_eq!(a.shape, b.shape, "{label} {path}");
        assert!(a.dtype == b.dtype || (a.dtype == DType::BFloat16 && b.dtype == DType::Opaque(2)), "{label} {path}");
        let read = |reader: &dyn kw_model::WeightsReader, index: usize, len: u64| {
            let mut bytes = vec![0; usize::try_from(len).expect("small")];
            reader.read_into(index, &mut bytes, &Cancel::default()).expect("reads");
            bytes
        };
        let value = read(ours, entry, a.byte_len);
        assert_eq!(value, read(keras, keras_entry, b.byte_len), "{label} {path}");
        assert_eq!(a.digest, Some(kw_model::crc32c(&value)), "{label} {path}");
        let mut attributes = a.attributes.clone();
        attributes.retain(|name, _| b.attributes.contains_key(name));
        assert_eq!(attributes, b.attributes, "{label} {path}");
    }
}

#[test]
fn what_keras_cannot_name_we_do_not_write_either() {
    let tree = tree("subclassed", Keras2).expect("a tree");
    let error = plan_save(&tree, std::path::Path::new("w.h5"), &SaveOptions::default()).err().expect("one name twice");
    assert_eq!(error.code(), Code::Name);
    assert_eq!(error.context().layer.as_deref(), Some("block"));
    assert_eq!(error.context().weight.as_deref(), Some("block/sub/block/gamma:0"));
}
