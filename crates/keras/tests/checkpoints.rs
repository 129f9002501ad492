//! TensorFlow checkpoints and `SavedModel`s by real Keras 2: loaded bit for bit, saved, overwritten under faults.
#![allow(clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "helpers of the tests")]

mod common;

use std::collections::BTreeMap;
use std::path::Path;

use common::{Held, Scratch, corpus, evaluate, expected_weights, models, open_file, save, sha256, tree};
use kw_keras::Flavor::{Keras2, Keras3};
use kw_keras::{
    Format, LoadOptions, ModelTree, SaveOptions, TfLayout, execute_save, latest_checkpoint, plan_load, plan_save,
    weight_orders,
};
use kw_model::faults::{Fault, FaultyFilesystem};
use kw_model::{Cancel, Code, Filesystem, Limits, LocalFilesystem, crc32c};

fn numbered(tree: &ModelTree, seed: u64) -> BTreeMap<usize, Vec<u8>> {
    let bytes = |(index, variable): (usize, &kw_keras::Variable)| {
        let len = variable.shape.byte_len(variable.dtype).expect("small");
        (index, (0..len).map(|at| u8::try_from((at + seed + index as u64) % 251).expect("small")).collect())
    };
    tree.variables.iter().enumerate().map(bytes).collect()
}

fn load(tree: &ModelTree, path: &Path) -> kw_model::Result<BTreeMap<usize, Vec<u8>>> {
    let file = kw_keras::open(path, &LocalFilesystem, &Limits::default())?;
    let plan = plan_load(tree, &file, &LoadOptions::default())?;
    assert_eq!(plan.report.missing, Vec::<String>::new(), "{}", path.display());
    Ok(evaluate(tree, &file, &plan))
}

#[test]
fn every_checkpoint_and_saved_model_gives_every_weight() {
    let (mut files, mut weights) = (0, 0);
    for model in models(Keras2) {
        let folder = corpus().join(&model).join("k2");
        for path in ["ckpt/w", "savedmodel"] {
            let present = folder.join("ckpt/w.index").is_file() && path == "ckpt/w";
            if !present && !folder.join(path).join("variables/variables.index").is_file() {
                continue;
            }
            // Its table is no weight, and its tree belongs to the archives.
            let Some(tree) = tree(&model, Keras2) else { continue };
            let label = format!("{model} {path}");
            let file = open_file(&folder.join(path));
            assert_eq!(file.format, Format::TfCheckpoint, "{label}");
            let plan =
                plan_load(&tree, &file, &LoadOptions::default()).unwrap_or_else(|error| panic!("{label}: {error}"));
            assert_eq!(plan.report.missing, Vec::<String>::new(), "{label}");
            assert_eq!(plan.report.unexpected, Vec::<String>::new(), "{label}");
            let values = evaluate(&tree, &file, &plan);
            let order = weight_orders(&tree).expect("orders").weights;
            for (variable, expected) in order.iter().zip(expected_weights(&folder, order.len())) {
                if let Some(expected) = expected {
                    assert_eq!(sha256(&values[variable]), expected, "{label} {}", tree.variables[*variable].path);
                    weights += 1;
                }
            }
            files += 1;
        }
    }
    assert!(files >= 5 && weights > 60, "{files} files, {weights} weights");
}

#[test]
fn each_layout_of_each_model_reads_back() {
    let scratch = Scratch::new("tf-layouts");
    let mut written = 0;
    for flavor in [Keras2, Keras3] {
        for model in models(flavor) {
            let Some(tree) = tree(&model, flavor) else { continue };
            let values = numbered(&tree, 7);
            for layout in [TfLayout::SaveWeights, TfLayout::Checkpoint, TfLayout::Universal] {
                for max_shard_bytes in [None, Some(100)] {
                    let target = scratch.0.join(format!("w{written}"));
                    let options = SaveOptions { tf_layout: Some(layout), max_shard_bytes, ..SaveOptions::default() };
                    save(&tree, &target, &options, &values)
                        .unwrap_or_else(|error| panic!("{model} {flavor:?}: {error}"));
                    let again =
                        load(&tree, &target).unwrap_or_else(|error| panic!("{model} {flavor:?} {layout:?}: {error}"));
                    for (variable, value) in again {
                        assert_eq!(value, values[&variable], "{model} {flavor:?} {layout:?}");
                    }
                    written += 1;
                }
            }
        }
    }
    assert!(written >= 100, "{written}");
    let latest = latest_checkpoint(&scratch.0, &LocalFilesystem, &Limits::default()).expect("reads");
    assert_eq!(latest, Some(scratch.0.join(format!("w{}", written - 1))));
}

#[test]
fn checkpoints_go_from_one_keras_to_the_other() {
    let scratch = Scratch::new("tf-cross");
    for model in ["mnist_dense", "cnn_bn", "nested_functional", "lstm", "mha_transformer"] {
        let (two, three) = (tree(model, Keras2).expect("a tree"), tree(model, Keras3).expect("a tree"));
        for (from, to) in [(&two, &three), (&three, &two)] {
            let values = numbered(from, 3);
            for (layout, name) in
                [(TfLayout::SaveWeights, "a"), (TfLayout::Checkpoint, "b"), (TfLayout::Universal, "c")]
            {
                let target = scratch.0.join(name);
                let options = SaveOptions { tf_layout: Some(layout), ..SaveOptions::default() };
                save(from, &target, &options, &values).expect("saves");
                let loaded = load(to, &target).unwrap_or_else(|error| panic!("{model} {layout:?}: {error}"));
                let order = |tree: &ModelTree| {
                    let all = weight_orders(tree).expect("orders").weights;
                    all.into_iter().filter(|v| !tree.variables[*v].path.contains("seed")).collect::<Vec<_>>()
                };
                let (from_order, to_order) = (order(from), order(to));
                let sorted = |values: Vec<Vec<u8>>| {
                    let mut values = values;
                    values.sort();
                    values
                };
                // Keras 2 and 3 order some weights differently; as many of the same must arrive.
                assert_eq!(
                    sorted(to_order.iter().map(|v| loaded[v].clone()).collect()),
                    sorted(from_order.iter().map(|v| values[v].clone()).collect()),
                    "{model} {layout:?}"
                );
            }
        }
    }
}

#[test]
fn an_overwrite_leaves_old_or_new_at_every_step() {
    // Small, so that a sweep over every step stays quick.
    let tree = tree("shared_layers", Keras2).expect("a tree");
    let (old, new) = (numbered(&tree, 1), numbered(&tree, 2));
    let faults = [
        Fault::Error(std::io::ErrorKind::StorageFull),
        Fault::Short(std::io::ErrorKind::StorageFull),
        Fault::DoneButFailed(std::io::ErrorKind::Other),
        Fault::Killed,
    ];
    let count_data = |folder: &Path| {
        let names = LocalFilesystem.list(folder).expect("lists");
        (names.iter().filter(|name| name.to_string_lossy().contains(".data-")).count(), names.len())
    };
    for (shard_bytes, overwritten) in [(None, true), (Some(100), true), (None, false)] {
        let clean = Scratch::new("tf-faults-clean");
        let options = SaveOptions { max_shard_bytes: shard_bytes, ..SaveOptions::default() };
        save(&tree, &clean.0.join("w"), &options, &old).expect("saves");
        let (shards, _) = count_data(&clean.0);
        assert_eq!(shards > 1, shard_bytes.is_some());
        for fault in faults {
            let mut step = 1;
            loop {
                let scratch = Scratch::new(&format!("tf-faults-{step}"));
                let target = scratch.0.join("w");
                if overwritten {
                    save(&tree, &target, &options, &old).expect("saves");
                }
                let plan = plan_save(&tree, &target, &options).expect("plans");
                let digests: Vec<u32> = plan.variables().iter().map(|variable| crc32c(&new[variable])).collect();
                let fs = FaultyFilesystem::new(LocalFilesystem).fail_at(step, fault);
                let mut held = Held { variables: plan.variables().to_vec(), values: &new };
                let outcome = execute_save(&plan, &fs, &digests, &mut held, &Cancel::default(), &mut |_| ());
                let ended = fs.count() < step;
                let label = format!("{fault:?} at step {step} of {}: {outcome:?}", fs.count());
                match load(&tree, &target) {
                    Ok(found) if found == new => {}
                    Ok(found) => assert!(found == old && outcome.is_err() && overwritten, "{label}"),
                    Err(error) => {
                        assert!(!overwritten && outcome.is_err() && error.code() == Code::NotFound, "{label}: {error}");
                    }
                }
                // Whatever it left behind, the next save works and cleans up.
                save(&tree, &target, &options, &old).unwrap_or_else(|error| panic!("{label}: {error}"));
                assert_eq!(load(&tree, &target).expect("loads"), old, "{label}");
                assert_eq!(count_data(&scratch.0), (shards, shards + 2), "{label}");
                step += 1;
                if ended {
                    assert!(step > 10, "the sweep saw {step} steps only");
                    break;
                }
            }
        }
    }
}

#[test]
fn what_does_not_fit_is_said() {
    let tree2 = |model: &str| tree(model, Keras2).expect("a tree");
    let scratch = Scratch::new("tf-misfit");
    let model = tree2("mnist_dense");
    let values = numbered(&model, 1);
    let target = scratch.0.join("w");
    save(&model, &target, &SaveOptions::default(), &values).expect("saves");
    let plan = |tree: &ModelTree, options: &LoadOptions| {
        let file = open_file(&target);
        plan_load(tree, &file, options).map_err(|error| error.code())
    };
    let default = LoadOptions::default();
    let mut other = model.clone();
    other.variables[0].shape = kw_model::Shape::new([784, 65]);
    assert_eq!(plan(&other, &default).err(), Some(Code::Shape));
    let mut half = model.clone();
    half.variables[0].dtype = kw_model::DType::Float16;
    assert_eq!(plan(&half, &default).err(), Some(Code::DType));
    let cast = plan(&half, &LoadOptions { cast: true, ..LoadOptions::default() }).expect("casts");
    assert_eq!(cast.report.cast.len(), 1);
    for options in [
        LoadOptions { by_name: true, ..LoadOptions::default() },
        LoadOptions { skip_mismatch: true, ..LoadOptions::default() },
        LoadOptions { objects_to_skip: vec![0], ..LoadOptions::default() },
    ] {
        assert_eq!(plan(&model, &options).err(), Some(Code::Argument));
    }
    assert_eq!(plan(&tree2("subclassed"), &default).err(), Some(Code::NoMatch));
    let open = |name: &str| {
        kw_keras::open(&scratch.0.join(name), &LocalFilesystem, &Limits::default()).map_err(|e| e.code()).err()
    };
    assert_eq!(open("w.index"), Some(Code::Argument));
    assert_eq!(open("v"), Some(Code::NotFound));
    assert_eq!(open(""), Some(Code::NotWeights));
    std::fs::copy(scratch.0.join("w.index"), scratch.0.join("v1")).expect("copies");
    assert_eq!(open("v1"), Some(Code::Unsupported));
    std::fs::remove_file(scratch.0.join("w.data-00000-of-00001")).expect("removes");
    assert_eq!(open("w"), Some(Code::NotFound));
}
