//! Archives, shards, safetensors and npz as we write them: everything comes back, and a save that fails costs nothing.
#![allow(clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "helpers of the tests")]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::path::Path;

use common::{Held, Scratch, corpus, evaluate, expected_weights, models, open_file, save, sha256, short, tree};
use kw_keras::Flavor::{self, Keras2, Keras3};
use kw_keras::{
    Asset, Format, LoadOptions, ModelTree, OpenedFile, SaveOptions, execute_save, open, plan_load, plan_save,
    plan_save_with, weight_orders, whole_model,
};
use kw_model::faults::{Fault, FaultyFilesystem};
use kw_model::{AttributeValue, Cancel, Code, DType, Limits, LocalFilesystem, Location, MemorySource, crc32c};

type Values = BTreeMap<usize, Vec<u8>>;

/// Every element is small and different from its neighbours, whatever the dtype.
fn numbered(tree: &ModelTree, seed: u64) -> Values {
    let bytes = |(index, variable): (usize, &kw_keras::Variable)| {
        let len = variable.shape.byte_len(variable.dtype).expect("small");
        let one = |at: u64| match variable.dtype {
            DType::Bool => u8::try_from(at % 2).expect("small"),
            _ => u8::try_from((at * 7 + index as u64 + seed) % 101).expect("small"),
        };
        (index, (0..len).map(one).collect())
    };
    tree.variables.iter().enumerate().map(bytes).collect()
}

fn loaded(tree: &ModelTree, file: &OpenedFile) -> Values {
    let plan = plan_load(tree, file, &LoadOptions::default()).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!((plan.report.missing.len(), plan.report.unexpected.len()), (0, 0), "{:?}", plan.report);
    assert!(plan.report.cast.is_empty() && plan.report.skipped.is_empty(), "{:?}", plan.report);
    evaluate(tree, file, &plan)
}

fn same_weights(tree: &ModelTree, found: &Values, expected: &Values, label: &str) {
    for &weight in &weight_orders(tree).expect("orders").weights {
        assert_eq!(found.get(&weight), expected.get(&weight), "{label} {}", tree.variables[weight].path);
    }
}

#[test]
fn every_model_goes_through_every_container() {
    let scratch = Scratch::new("containers");
    let (mut files, mut shared_names) = (0, BTreeSet::new());
    for flavor in [Keras2, Keras3] {
        for model in models(flavor) {
            // Merged kernels are no weights, and the file has fewer values than the model has weights.
            let Some(tree) = tree(&model, flavor).filter(|_| !model.starts_with("lora")) else { continue };
            let values = numbered(&tree, 0);
            for (name, format) in [
                ("w.keras", Format::Keras),
                ("w.weights.json", Format::Sharded),
                ("w.safetensors", Format::Safetensors),
                ("w.npz", Format::Npz),
            ] {
                let label = format!("{model} {flavor:?} {name}");
                let target = scratch.0.join(name);
                let options = SaveOptions {
                    model_config: (format == Format::Keras).then(|| "{\"class_name\": \"Functional\"}".to_owned()),
                    max_shard_size: (format == Format::Sharded).then_some(0.001),
                    ..SaveOptions::default()
                };
                let report = match save(&tree, &target, &options, &values) {
                    // Two layers of one name, which only an object path can tell apart.
                    Err(error) if error.code() == Code::Name && format != Format::Keras => {
                        shared_names.insert(model.clone());
                        continue;
                    }
                    saved => saved.unwrap_or_else(|error| panic!("{label}: {error}")),
                };
                assert_eq!(report.format, format, "{label}");
                let file = open_file(&target);
                assert_eq!((file.format, &file.note), (format, &None), "{label}");
                same_weights(&tree, &loaded(&tree, &file), &values, &label);
                files += 1;
            }
        }
    }
    assert!(files > 60, "{files} files");
    assert!(shared_names.len() <= 2, "{shared_names:?}");
}

#[test]
fn an_archive_is_aligned_and_keeps_what_belongs_to_it() {
    let scratch = Scratch::new("archive-writing");
    let tree = tree("cnn_bn", Keras3).expect("a tree");
    let values = numbered(&tree, 0);
    let target = scratch.0.join("m.keras");
    let options = SaveOptions {
        model_config: Some("{\"class_name\": \"Sequential\", \"module\": \"keras\"}".to_owned()),
        keras_version: Some("3.9.9".to_owned()),
        date_saved: Some("2024-02-29@12:00:00".to_owned()),
        ..SaveOptions::default()
    };
    let asset = |path: &str| Asset {
        path: path.to_owned(),
        source: std::sync::Arc::new(MemorySource::new(*b"one\ntwo", "vocabulary")),
    };
    let plan = plan_save_with(&tree, &target, &options, vec![asset("assets/layers/a/vocabulary.txt")]).expect("plans");
    let digests: Vec<u32> = plan.variables().iter().map(|variable| crc32c(&values[variable])).collect();
    let mut held = Held { variables: plan.variables().to_vec(), values: &values };
    execute_save(&plan, &LocalFilesystem, &digests, &mut held, &Cancel::default(), &mut |_| ()).expect("saves");
    assert_eq!(std::fs::metadata(&target).expect("a file").len(), plan.file_len());
    let file = open_file(&target);
    let model = whole_model(&file);
    assert_eq!(model.model_config, options.model_config);
    assert_eq!(model.keras_version.as_deref(), Some("3.9.9"));
    let parts = file.archive.as_ref().expect("an archive");
    assert_eq!(parts.metadata(), Some("{\"keras_version\": \"3.9.9\", \"date_saved\": \"2024-02-29@12:00:00\"}"));
    assert_eq!(parts.assets(), ["assets/layers/a/vocabulary.txt"]);
    assert_eq!(parts.asset(&parts.assets()[0], &LocalFilesystem, &Cancel::default()).expect("it").len(), 7);
    let base = file.reader.catalogue().sources()[0].file().expect("a file").1;
    for entry in file.reader.catalogue().entries() {
        let Location::Range { offset, .. } = entry.location else { panic!("{entry:?}") };
        assert_eq!((base + offset) % 64, 0, "{}", entry.path);
        assert!(entry.digest.is_some());
    }
    same_weights(&tree, &loaded(&tree, &file), &values, "archive");
    let code = |result: kw_model::Result<_>| result.map(|_: kw_keras::SavePlan| ()).map_err(|error| error.code());
    let configless = SaveOptions { save_format: Some("keras".to_owned()), ..SaveOptions::default() };
    assert_eq!(code(plan_save(&tree, &target, &configless)), Err(Code::Argument));
    assert_eq!(code(plan_save(&tree, &target, &SaveOptions::default())), Err(Code::Format));
    let h5 = scratch.0.join("w.weights.h5");
    assert_eq!(code(plan_save_with(&tree, &h5, &SaveOptions::default(), vec![asset("assets/a")])), Err(Code::Argument));
    assert_eq!(code(plan_save_with(&tree, &target, &options, vec![asset("../a")])), Err(Code::Name));
}

fn sharded(max_shard_bytes: u64) -> SaveOptions {
    SaveOptions { max_shard_bytes: Some(max_shard_bytes), ..SaveOptions::default() }
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .expect("a folder")
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("text"))
        .collect();
    names.sort();
    names
}

#[test]
fn shards_are_filled_as_keras_fills_them() {
    let scratch = Scratch::new("as-keras-shards");
    for (model, max_bytes) in [("_broken", 200)] {
        let folder = corpus().join(model);
        let keras = serde_json::from_str::<serde_json::Value>(
            &std::fs::read_to_string(folder.join("k3_shard.weights.json")).expect("an index"),
        )
        .expect("JSON");
        let targets = common::trees("broken.k3.json");
        let tree = &targets["same"];
        let target = scratch.0.join("k3_shard.weights.json");
        let mut ours = serde_json::Value::Null;
        // Keras' limit is not recorded; one of these is it.
        for limit in (max_bytes / 10..max_bytes * 3).step_by(4) {
            let _ = std::fs::remove_file(&target);
            for name in names(&scratch.0) {
                std::fs::remove_file(scratch.0.join(name)).expect("removes");
            }
            if save(tree, &target, &sharded(limit), &numbered(tree, 0)).is_err() {
                continue;
            }
            let text = std::fs::read_to_string(&target).expect("an index");
            ours = serde_json::from_str(&text).expect("JSON");
            if ours == keras {
                assert!(text.starts_with("{\n    \"metadata\": {\n        \"total_size\": "), "{text}");
                break;
            }
        }
        assert_eq!(ours, keras);
    }
}

#[test]
fn shards_are_replaced_as_a_whole() {
    let scratch = Scratch::new("shards-replaced");
    let tree = tree("cnn_bn", Keras3).expect("a tree");
    let (old, new) = (numbered(&tree, 0), numbered(&tree, 1));
    let target = scratch.0.join("w.weights.json");
    let largest = tree.variables.iter().map(|v| v.shape.byte_len(v.dtype).expect("small")).max().expect("some");
    let error = save(&tree, &target, &sharded(largest - 1), &old).expect_err("one weight is larger");
    assert_eq!(error.code(), Code::Argument);
    let named = error.context().weight.clone().expect("which");
    assert!(tree.variables.iter().any(|variable| variable.path == named), "{named}");
    let missing = save(&tree, &target, &SaveOptions::default(), &old).expect_err("no size given, as in Keras");
    assert_eq!(missing.code(), Code::Argument);

    save(&tree, &target, &sharded(largest), &old).expect("saves");
    let first = names(&scratch.0);
    assert!(first.contains(&"w_00000.weights.h5".to_owned()) && first.len() >= 3, "{first:?}");
    let refused = SaveOptions { overwrite: false, ..sharded(largest) };
    assert_eq!(save(&tree, &target, &refused, &new).expect_err("exists").code(), Code::Exists);
    assert_eq!(names(&scratch.0), first);
    same_weights(&tree, &loaded(&tree, &open_file(&target)), &old, "old");

    // Opened before, read after: the old shards are gone from the folder, not from the open files.
    let opened = open_file(&target);
    save(&tree, &target, &sharded(largest * 2), &new).expect("saves");
    same_weights(&tree, &loaded(&tree, &opened), &old, "still open");
    same_weights(&tree, &loaded(&tree, &open_file(&target)), &new, "new");
    let second = names(&scratch.0);
    // Keras 3 opens the file of this name whatever the index says.
    assert!(second.contains(&"w_00000.weights.h5".to_owned()), "{second:?}");
    let old_ones = |name: &&String| name.starts_with("w_0") && *name != "w_00000.weights.h5";
    assert_eq!(second.iter().filter(old_ones).count(), 0, "{second:?}");
    assert!(second.iter().any(|name| name.starts_with("w_g1_")), "{second:?}");
    assert!(open_file(&scratch.0.join("w_00000.weights.h5")).reader.catalogue().entries().is_empty());

    save(&tree, &target, &sharded(largest), &old).expect("saves");
    let third = names(&scratch.0);
    assert!(third.iter().all(|name| !name.contains("_g1_")), "{third:?}");
    same_weights(&tree, &loaded(&tree, &open_file(&target)), &old, "third");
}

/// Whatever fails, the folder holds the old weights or the new, and the next save leaves no litter.
#[test]
fn a_failure_at_any_step_leaves_loadable_shards() {
    let scratch = Scratch::new("shards-faults");
    let tree = tree("cnn_bn", Keras3).expect("a tree");
    let (old, new) = (numbered(&tree, 0), numbered(&tree, 1));
    let target = scratch.0.join("w.weights.json");
    let largest = tree.variables.iter().map(|v| v.shape.byte_len(v.dtype).expect("small")).max().expect("some");
    let plan = plan_save(&tree, &target, &sharded(largest)).expect("plans");
    let run = |fs: &FaultyFilesystem, values: &Values| {
        let digests: Vec<u32> = plan.variables().iter().map(|variable| crc32c(&values[variable])).collect();
        let mut held = Held { variables: plan.variables().to_vec(), values };
        execute_save(&plan, fs, &digests, &mut held, &Cancel::default(), &mut |_| ())
    };
    let clean = || {
        for name in names(&scratch.0) {
            std::fs::remove_file(scratch.0.join(name)).expect("removes");
        }
        run(&FaultyFilesystem::new(LocalFilesystem), &old).expect("saves");
        run(&FaultyFilesystem::new(LocalFilesystem), &old).expect("saves again");
    };
    clean();
    let settled = names(&scratch.0).len();
    let counting = FaultyFilesystem::new(LocalFilesystem);
    run(&counting, &old).expect("saves");
    let steps = counting.count();
    let (mut olds, mut news) = (0, 0);
    for fault in [Fault::Error(ErrorKind::StorageFull), Fault::DoneButFailed(ErrorKind::Other), Fault::Killed] {
        for step in 1..=steps {
            clean();
            let outcome = run(&FaultyFilesystem::new(LocalFilesystem).fail_at(step, fault), &new);
            let found = loaded(&tree, &open_file(&target));
            let weight = weight_orders(&tree).expect("orders").weights[0];
            let is_new = found[&weight] == new[&weight];
            same_weights(&tree, &found, if is_new { &new } else { &old }, &format!("{fault:?} at {step}"));
            assert!(outcome.is_err() || is_new, "{fault:?} at {step}: a save that did nothing");
            if is_new {
                news += 1;
            } else {
                olds += 1;
            }
            run(&FaultyFilesystem::new(LocalFilesystem), &new).expect("the next save");
            let left = names(&scratch.0);
            assert_eq!(left.len(), settled, "{fault:?} at {step}: litter in {left:?}");
        }
    }
    assert!(olds > 20 && news > 3, "{olds} old, {news} new");
}

#[test]
fn arrays_without_paths_go_by_their_numbers() {
    let (mut files, mut weights) = (0, 0);
    for flavor in [Keras2, Keras3] {
        for model in models(flavor) {
            let folder = corpus().join(&model).join(short(flavor));
            let Some(tree) = tree(&model, flavor) else { continue };
            if !folder.join("expected.npz").is_file() || model == "many_weights" {
                continue;
            }
            let file = open_file(&folder.join("expected.npz"));
            assert_eq!(file.format, Format::Npz);
            let plan = plan_load(&tree, &file, &LoadOptions::default());
            let order = weight_orders(&tree).expect("orders").weights;
            if order.iter().any(|&weight| tree.variables[weight].dtype == DType::BFloat16) {
                // The recorder kept the bits of bfloat16 as integers.
                let error = plan.expect_err("bits or numbers?");
                assert_eq!(error.code(), Code::DType, "{model}");
                continue;
            }
            let plan = plan.unwrap_or_else(|error| panic!("{model} {flavor:?}: {error}"));
            let values = evaluate(&tree, &file, &plan);
            for (weight, expected) in order.iter().zip(expected_weights(&folder, order.len())) {
                if let Some(expected) = expected {
                    assert_eq!(sha256(&values[weight]), expected, "{model} {flavor:?}");
                    weights += 1;
                }
            }
            files += 1;
        }
    }
    assert!(files >= 10 && weights > 80, "{files} files, {weights} weights");
}

#[test]
fn paths_decide_where_there_are_any() {
    let scratch = Scratch::new("by-path");
    let flavors: [(Flavor, &str); 2] = [(Keras2, "/kernel"), (Keras3, "/kernel")];
    for (flavor, end) in flavors {
        let tree = tree("cnn_bn", flavor).expect("a tree");
        let values = numbered(&tree, 0);
        let target = scratch.0.join("w.safetensors");
        let metadata = BTreeMap::from([("note".to_owned(), "kept".to_owned())]);
        save(&tree, &target, &SaveOptions { metadata, ..SaveOptions::default() }, &values).expect("saves");
        let file = open_file(&target);
        let catalogue = file.reader.catalogue();
        assert!(catalogue.entries().iter().all(|entry| !entry.path.contains(':')));
        assert!(catalogue.entries().iter().any(|entry| entry.path.ends_with(end)));
        let text = |name: &str| catalogue.group("").and_then(|root| root.attributes.get(name)).cloned();
        assert_eq!(text("note"), Some(AttributeValue::Text("kept".to_owned())));
        assert_eq!(text("format"), Some(AttributeValue::Text("keras".to_owned())));

        // One weight of another name: its layer is missing something.
        let mut other = tree.clone();
        let renamed = weight_orders(&tree).expect("orders").weights[0];
        other.variables[renamed].path = "elsewhere/kernel".to_owned();
        let load = |options: &LoadOptions| plan_load(&other, &file, options);
        let error = load(&LoadOptions::default()).expect_err("a weight is missing");
        assert_eq!((error.code(), error.context().weight.as_deref()), (Code::Missing, Some("elsewhere/kernel")));
        let skipped = load(&LoadOptions { skip_mismatch: true, ..LoadOptions::default() }).expect("the others");
        assert_eq!(skipped.report.skipped.len(), 1);
        let named = load(&LoadOptions { by_name: true, ..LoadOptions::default() }).expect("those that have a name");
        assert_eq!(named.report.missing, ["elsewhere/kernel"]);
        assert_eq!(named.report.unexpected.len(), 1);
        // The model's name before every path, or before none.
        let mut named = tree.clone();
        named.nodes[named.root].name = Some("outer".to_owned());
        for variable in &mut named.variables {
            variable.path = format!("outer/{}", variable.path);
        }
        same_weights(&tree, &loaded(&named, &file), &values, "with the model's name");
        let outer = scratch.0.join("outer.safetensors");
        save(&named, &outer, &SaveOptions::default(), &values).expect("saves");
        same_weights(&tree, &loaded(&tree, &open_file(&outer)), &values, "without the model's name");

        for variable in &mut other.variables {
            variable.path = format!("x/{}", variable.path);
        }
        let error = plan_load(&other, &file, &LoadOptions::default()).expect_err("nothing fits");
        assert_eq!(error.code(), Code::NoMatch);
    }
}

#[test]
fn shards_that_vanish_are_looked_up_once_more() {
    let scratch = Scratch::new("vanishing");
    let tree = tree("cnn_bn", Keras3).expect("a tree");
    let target = scratch.0.join("w.weights.json");
    save(&tree, &target, &sharded(1 << 20), &numbered(&tree, 0)).expect("saves");
    std::fs::remove_file(scratch.0.join("w_00000.weights.h5")).expect("removes");
    let error = open(&target, &LocalFilesystem, &Limits::default()).expect_err("a shard is missing");
    assert_eq!(error.code(), Code::NotFound);
    assert!(error.message().contains("w_00000.weights.h5"), "{error}");
}
