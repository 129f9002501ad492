//! Saves that go wrong leave the old file; saves that go right give the same bytes each time.
#![allow(clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "helpers of the tests")]

mod common;

use std::collections::BTreeMap;

use common::{Held, Scratch, evaluate, open_file, save, tree, trees};
use kw_keras::Flavor::{Keras2, Keras3};
use kw_keras::{
    LoadOptions, ModelTree, SaveOptions, ValueStream, WarningCode, check_texts, execute_save, plan_load, plan_save,
    whole_model,
};
use kw_model::{Cancel, Code, LocalFilesystem, Result, crc32c};

fn numbered(tree: &ModelTree) -> BTreeMap<usize, Vec<u8>> {
    let bytes = |(index, variable): (usize, &kw_keras::Variable)| {
        let len = variable.shape.byte_len(variable.dtype).expect("small");
        (index, (0..len).map(|at| u8::try_from((at + index as u64) % 251).expect("small")).collect())
    };
    tree.variables.iter().enumerate().map(bytes).collect()
}

fn digests(plan: &kw_keras::SavePlan, values: &BTreeMap<usize, Vec<u8>>) -> Vec<u32> {
    plan.variables().iter().map(|variable| crc32c(&values[variable])).collect()
}

#[test]
fn the_same_weights_give_the_same_bytes() {
    let scratch = Scratch::new("same-bytes");
    for flavor in [Keras2, Keras3] {
        let tree = tree("mha_transformer", flavor).expect("a tree");
        let values = numbered(&tree);
        for name in ["a.weights.h5", "a.h5"] {
            let target = scratch.0.join(name);
            let mut written = Vec::new();
            for _ in 0..2 {
                save(&tree, &target, &SaveOptions::default(), &values).expect("saves");
                written.push(std::fs::read(&target).expect("reads"));
            }
            assert_eq!(written[0], written[1], "{name}");
            let plan = plan_save(&tree, &target, &SaveOptions::default()).expect("plans");
            assert_eq!(plan.file_len(), written[0].len() as u64);
        }
    }
}

/// Gives other values than were digested.
struct Changing<'a>(Held<'a>);

impl ValueStream for Changing<'_> {
    fn pump(&mut self, tensor: usize, out: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let mut bytes = self.0.values[&self.0.variables[tensor]].clone();
        if tensor == 2 {
            bytes[0] ^= 1;
        }
        out(&bytes)
    }
}

#[test]
fn a_save_that_fails_leaves_the_old_file() {
    let scratch = Scratch::new("failing");
    let tree = tree("mnist_dense", Keras3).expect("a tree");
    let values = numbered(&tree);
    let target = scratch.0.join("w.weights.h5");
    std::fs::write(&target, "the old file").expect("writes");
    let plan = plan_save(&tree, &target, &SaveOptions::default()).expect("plans");
    let held = || Held { variables: plan.variables().to_vec(), values: &values };
    let run = |stream: &mut dyn ValueStream, cancel: &Cancel, stop_at: u64| {
        let mut progress = |written: u64| {
            if written >= stop_at {
                cancel.cancel();
            }
        };
        execute_save(&plan, &LocalFilesystem, &digests(&plan, &values), stream, cancel, &mut progress)
            .map_err(|error| error.code())
            .err()
    };
    assert_eq!(run(&mut Changing(held()), &Cancel::default(), u64::MAX), Some(Code::Changed));
    assert_eq!(run(&mut held(), &Cancel::default(), 5_000), Some(Code::Aborted));
    assert_eq!(std::fs::read(&target).expect("still there"), b"the old file");
    let keep = SaveOptions { overwrite: false, ..SaveOptions::default() };
    assert_eq!(save(&tree, &target, &keep, &values).map_err(|error| error.code()), Err(Code::Exists));
    let nowhere = scratch.0.join("no/such/folder/w.weights.h5");
    assert_eq!(save(&tree, &nowhere, &keep, &values).map_err(|error| error.code()), Err(Code::NotFound));
    let names: Vec<_> =
        std::fs::read_dir(&scratch.0).expect("lists").map(|e| e.expect("an entry").file_name()).collect();
    assert_eq!(names, ["w.weights.h5"], "no litter");
    assert_eq!(run(&mut held(), &Cancel::default(), u64::MAX), None);
    let file = open_file(&target);
    assert_eq!(evaluate(&tree, &file, &plan_load(&tree, &file, &LoadOptions::default()).expect("loads")), values);
}

#[test]
fn any_layer_and_any_nested_model_goes_alone() {
    let scratch = Scratch::new("parts");
    for flavor in [Keras2, Keras3] {
        let whole = tree("nested_functional", flavor).expect("a tree");
        let values = numbered(&whole);
        for (node, count) in [("inner", 8), ("stem", 2), ("s0", 2)] {
            let root = whole.nodes.iter().position(|found| found.name.as_deref() == Some(node)).expect(node);
            let part = ModelTree { root, ..whole.clone() };
            for name in ["p.weights.h5", "p.h5"] {
                let target = scratch.0.join(name);
                save(&part, &target, &SaveOptions::default(), &values).expect("saves");
                let file = open_file(&target);
                let plan = plan_load(&part, &file, &LoadOptions::default()).expect("loads");
                let loaded = evaluate(&part, &file, &plan);
                assert_eq!(loaded.len(), count, "{node} {name}");
                assert!(loaded.iter().all(|(variable, value)| &values[variable] == value), "{node} {name}");
            }
        }
    }
}

#[test]
fn the_optimizer_goes_where_keras_puts_it() {
    let scratch = Scratch::new("optimizer");
    let trained = tree("compiled_adam", Keras3).expect("a tree");
    let untrained = tree("compiled_untrained", Keras3).expect("a tree");
    let values = numbered(&trained);
    let tensors = |name: &str, options: &SaveOptions| {
        save(&trained, &scratch.0.join(name), options, &values).expect("saves").tensors
    };
    let without = SaveOptions { include_optimizer: Some(false), ..SaveOptions::default() };
    let whole = SaveOptions { model_config: Some("{\"é\": 1}".into()), ..SaveOptions::default() };
    assert_eq!(tensors("a.weights.h5", &SaveOptions::default()), 8 + 14);
    assert_eq!(tensors("b.weights.h5", &without), 8);
    assert_eq!(tensors("c.h5", &SaveOptions::default()), 8);
    assert_eq!(tensors("d.h5", &whole), 8 + 14);
    let file = open_file(&scratch.0.join("d.h5"));
    assert_eq!(whole_model(&file).model_config.as_deref(), Some("{\"é\": 1}"));
    assert_eq!(whole_model(&file).keras_version.as_deref(), Some("3.15.1"));
    check_texts(&file).expect("as written");
    let bytes = std::fs::read(scratch.0.join("d.h5")).expect("reads");
    // A config, a version or the optimizer's name that changed would load as another model, or as an untrained one.
    for text in ["{\"é\": 1}", "3.15.1", "optimizer_weights\0"] {
        let text = text.as_bytes();
        for at in (0..bytes.len() - text.len()).filter(|&at| bytes[at..].starts_with(text)) {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            let opened = kw_keras::open_bytes(damaged, "d.h5", &kw_model::Limits::default());
            let same =
                |file: &kw_keras::OpenedFile| whole_model(file) == whole_model(&open_file(&scratch.0.join("d.h5")));
            let is_group = text.ends_with(b"\0");
            match opened.map(|file| (same(&file) && !is_group, check_texts(&file).map_err(|error| error.code()))) {
                Ok((unharmed, checked)) => assert!(unharmed || checked == Err(Code::Digest), "{at}: {checked:?}"),
                Err(error) => assert_eq!(error.code(), Code::Corrupt),
            }
        }
    }
    // An optimizer of another size keeps its state, with a warning.
    let file = open_file(&scratch.0.join("a.weights.h5"));
    let plan = plan_load(&untrained, &file, &LoadOptions::default()).expect("loads");
    let codes: Vec<_> = plan.warnings.iter().map(|warning| (warning.code, warning.layer.as_deref())).collect();
    assert_eq!(codes, [(WarningCode::SkippedOptimizer, Some("adam"))]);
    assert_eq!((plan.report.loaded.len(), plan.report.unexpected.len()), (8, 14));
}

#[test]
fn walks_end_whatever_the_tree_looks_like() {
    // Every level reaches the next by two names, so there are 2^200 paths to the last one, which never fits.
    let levels = 200;
    let nodes: Vec<String> = (0..=levels)
        .map(|level| {
            let below = (level + 1).min(levels);
            format!(
                r#"{{"class":"Level","name":"l{level}","kind":"layer","trainableVariables":[{}],"sublayers":[{below},0],
                    "attributes":[["a",{{"node":{below}}}],["b",{{"list":[{{"node":{below}}},{{"node":0}}]}}]]}}"#,
                if level == levels { "0" } else { "" }
            )
        })
        .collect();
    for flavor in ["keras2", "keras3"] {
        let text = format!(
            r#"{{"version":1,"flavor":"{flavor}","root":0,"nodes":[{}],
                "variables":[{{"name":"w","path":"w","dtype":"float32","shape":[3],"trainable":true}}]}}"#,
            nodes.join(",")
        );
        let tree = ModelTree::from_json(&text).expect("a tree");
        let other = &trees("broken.k3.json")["same"];
        let scratch = Scratch::new("endless");
        save(other, &scratch.0.join("w.weights.h5"), &SaveOptions::default(), &numbered(other)).expect("saves");
        let walk = move || {
            let error = plan_load(&tree, &open_file(&scratch.0.join("w.weights.h5")), &LoadOptions::default());
            assert_eq!(error.expect_err("nothing fits").code(), Code::WeightCount);
            assert_eq!(kw_keras::weight_orders(&tree).expect("orders").weights, [0]);
            let plan = plan_save(&tree, std::path::Path::new("w.weights.h5"), &SaveOptions::default()).expect("plans");
            assert_eq!(plan.variables(), [0]);
        };
        // As small as the stacks of worker threads get.
        std::thread::Builder::new().stack_size(1 << 20).spawn(walk).expect("a thread").join().expect("no overflow");
    }
}

#[test]
fn trees_that_are_too_deep_are_refused() {
    let nodes: Vec<String> = (0..2_000)
        .map(|level: usize| {
            let below = (level + 1).min(1_999);
            format!(
                r#"{{"class":"Sequential","kind":"sequential","layers":[{below}],"sublayers":[{below}],
                    "attributes":[["a",{{"node":{below}}}]]}}"#
            )
        })
        .collect();
    for flavor in ["keras2", "keras3"] {
        let text =
            format!(r#"{{"version":1,"flavor":"{flavor}","root":0,"nodes":[{}],"variables":[]}}"#, nodes.join(","));
        let tree = ModelTree::from_json(&text).expect("a tree");
        let walk = move || {
            assert_eq!(kw_keras::weight_orders(&tree).map_err(|error| error.code()), Err(Code::Limit));
            let plan = plan_save(&tree, std::path::Path::new("w.weights.h5"), &SaveOptions::default());
            assert_eq!(plan.err().map(|error| error.code()), Some(Code::Limit));
        };
        std::thread::Builder::new().stack_size(2 << 20).spawn(walk).expect("a thread").join().expect("no overflow");
    }
}
