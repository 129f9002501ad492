//! Files that do not fit: thirteen models against every kind of file and every pair of options, case by case with what
//! Keras did, or with a row of `docs/compatibility.md`.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::doc_markdown,
    clippy::case_sensitive_file_extension_comparisons,
    reason = "helpers of the tests, which say how much they compared"
)]

mod common;

use std::collections::{BTreeMap, BTreeSet};

use common::{Rows, corpus, evaluate, json, open_file, sha256, short, trees};
use kw_keras::Flavor::{self, Keras2, Keras3};
use kw_keras::{LoadOptions, LoadPlan, ModelTree, plan_load, weight_orders};
use kw_model::{Code, Result};
use serde_json::Value as Json;

/// Kinds of files; the others come with their formats.
const KNOWN: [&str; 10] = [
    "h5",
    "full_h5",
    "v3weights",
    "weights_h5",
    "legacy_full_h5",
    "k2_weights_h5",
    "k2_v3weights",
    "keras",
    "sharded",
    "k2_v3keras",
];

#[test]
fn every_case_of_the_matrices_is_keras_or_a_row() {
    let mut rows = Rows::new();
    let mut cases = 0;
    for flavor in [Keras2, Keras3] {
        let matrix = json(&corpus().join(format!("_broken/{}_matrix.json", short(flavor))));
        let targets = trees(&format!("broken.{}.json", short(flavor)));
        let source: BTreeMap<String, String> = matrix["source_weights"]
            .as_array()
            .expect("a list")
            .iter()
            .map(|weight| (text(&weight[2]), text(&weight[0])))
            .collect();
        for case in matrix["cases"].as_array().expect("a list") {
            let path = corpus().join("_broken").join(text(&case["file"]));
            if !KNOWN.contains(&case["format"].as_str().expect("a format")) || !path.is_file() {
                continue;
            }
            compare(flavor, case, &targets[&text(&case["target"])], &path, &source, &mut rows);
            cases += 1;
        }
    }
    println!("{cases} cases; {rows}");
    assert!(cases >= 100, "{cases} cases");
    rows.assert_documented(&["transaction", "whole-layer-skip", "by-name-no-match"]);
}

fn text(value: &Json) -> String {
    value.as_str().expect("text").to_owned()
}

/// Keras' name of a weight, as the matrix writes the states of a target's weights.
type States = Vec<(String, String)>;

fn compare(
    flavor: Flavor,
    case: &Json,
    tree: &ModelTree,
    path: &std::path::Path,
    source: &BTreeMap<String, String>,
    rows: &mut Rows,
) {
    let label = format!("{flavor:?} {} {} {}", case["target"], case["format"], case["kwargs"]);
    let options = LoadOptions {
        skip_mismatch: case["kwargs"]["skip_mismatch"] == true,
        by_name: case["kwargs"]["by_name"] == true,
        ..LoadOptions::default()
    };
    let file = open_file(path);
    let plan = plan_load(tree, &file, &options);
    let keras: States = case["weights_after"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|weight| (text(&weight[0]), text(&weight[2])))
        .collect();
    let untouched = keras.iter().all(|(_, state)| state == "unchanged");
    let raised = !case["exception"].is_null();
    match &plan {
        Err(error) if raised => {
            check_code(&label, case, error.code());
            if !untouched {
                rows.count("transaction", &label);
            }
        }
        Err(error) => {
            assert_eq!(error.code(), Code::NoMatch, "{label}: Keras loads this: {error}");
            assert!(untouched && options.by_name, "{label}: Keras changed weights");
            rows.count("by-name-no-match", &label);
        }
        Ok(_) if raised => panic!("{label}: Keras raises {}", case["exception"]),
        Ok(plan) => {
            let ours = states(tree, &evaluate(tree, &file, plan), source);
            check_warnings(&label, flavor, case, plan);
            if ours != keras {
                let skipped: BTreeSet<&str> = plan.report.skipped.iter().map(|skip| skip.layer.as_str()).collect();
                for ((name, ours), (_, keras)) in ours.iter().zip(&keras) {
                    if ours != keras {
                        assert_eq!(ours, "unchanged", "{label} {name}: Keras has {keras}");
                        assert!(skipped.iter().any(|layer| name.contains(layer)), "{label} {name}");
                    }
                }
                rows.count("whole-layer-skip", &label);
            }
        }
    }
}

fn states(tree: &ModelTree, values: &BTreeMap<usize, Vec<u8>>, source: &BTreeMap<String, String>) -> States {
    let order = weight_orders(tree).expect("orders").weights;
    order
        .into_iter()
        .map(|variable| {
            let state = match values.get(&variable) {
                None => "unchanged".to_owned(),
                Some(value) => format!("loaded:{}", source.get(&sha256(value)).map_or("?", String::as_str)),
            };
            (tree.variables[variable].path.clone(), state)
        })
        .collect()
}

/// The code says what Keras' sentence says.
fn check_code(label: &str, case: &Json, code: Code) {
    let message = text(&case["exception"]["message"]);
    let expected: &[Code] = if message.contains("Layer count mismatch") {
        &[Code::LayerCount]
    } else if message.contains("only supports loading legacy") || message.contains("skip_mismatch can only be set") {
        &[Code::Argument]
    } else if message.contains("Weight count mismatch") || message.contains("variables during loading") {
        &[Code::WeightCount]
    } else if message.contains("objects could not be loaded") {
        &[Code::WeightCount, Code::Shape]
    } else if message.to_lowercase().contains("shape mismatch") || message.contains("incompatible") {
        &[Code::Shape]
    } else {
        panic!("{label}: no code for {message}")
    };
    assert!(expected.contains(&code), "{label}: {code:?} for {message}");
}

/// The layers Keras warned of; tf_keras' object-path loader does not name them, only counts.
fn check_warnings(label: &str, flavor: Flavor, case: &Json, plan: &LoadPlan) {
    let warnings = case["warnings"].as_array().into_iter().flatten().map(|warning| text(&warning["message"]));
    let log = case["log"].as_array().into_iter().flatten().map(text);
    let (mut named, mut unnamed) = (BTreeSet::new(), 0);
    for message in warnings.chain(log) {
        if let Some((_, listed)) = message.split_once("List of objects that could not be loaded:") {
            named.extend(listed.split("name=").skip(1).filter_map(|rest| Some(rest.split_once(',')?.0.to_owned())));
        } else if let Some((_, rest)) = message.split_once("(named ") {
            named.extend(rest.split_once(')').map(|(name, _)| name.to_owned()));
        } else if message.starts_with("Could not load weights in object") {
            unnamed += 1;
        } else {
            assert!(message.contains("nested container"), "{label}: {message}");
        }
    }
    let ours: BTreeSet<String> = plan
        .warnings
        .iter()
        .filter(|warning| warning.layer.is_some())
        .filter_map(|warning| warning.layer.clone())
        .collect();
    if unnamed > 0 {
        assert_eq!((ours.len(), flavor), (unnamed, Keras2), "{label} {ours:?}");
    } else {
        assert_eq!(ours, named, "{label}");
    }
}

#[test]
fn damaged_and_foreign_files_say_what_they_are() {
    let tree = &trees("broken.k3.json")["same"];
    let fail = |name: &str| -> Result<LoadPlan> {
        let path = corpus().join("_broken").join(name);
        let file = kw_keras::open(&path, &kw_model::LocalFilesystem, &kw_model::Limits::default())?;
        plan_load(tree, &file, &LoadOptions::default())
    };
    let cases = [
        ("garbage.weights.h5", Code::NotWeights, "looks like text (1600 bytes)"),
        ("empty.weights.h5", Code::NotWeights, "is empty (0 bytes)"),
        ("does_not_exist.h5", Code::NotFound, "does_not_exist.h5"),
        ("no_attrs.h5", Code::LayerCount, "3 layers with weights, the file has 0"),
        ("no_attrs.weights.h5", Code::WeightCount, "the layer a has 2 weights in the model and 0 in the file"),
        ("k3_truncated.weights.h5", Code::Truncated, "17760"),
        ("k3_shard_00000.weights.h5", Code::WeightCount, "2 objects could not be loaded: bn, b"),
    ];
    for (name, code, says) in cases {
        let error = fail(name).err().unwrap_or_else(|| panic!("{name} loads"));
        assert_eq!(error.code(), code, "{name}: {error}");
        assert!(error.message().contains(says), "{name}: {error}");
        assert!(error.context().file.as_deref().is_some_and(|file| file.ends_with(name)), "{name}: {error:?}");
    }
    let truncated = fail("k3_truncated.weights.h5").expect_err("half a file");
    assert_eq!(truncated.context().expected, Some(17_760_u64.into()));
    assert_eq!(truncated.context().found, Some(8_880_u64.into()));
}

#[test]
fn content_comes_before_the_suffix() {
    let mut rows = Rows::new();
    for flavor in [Keras2, Keras3] {
        let short = short(flavor);
        let tree = &trees(&format!("broken.{short}.json"))["same"];
        let misc = json(&corpus().join(format!("_broken/{short}_misc.json")));
        for (name, record) in
            [("legacy_renamed.weights.h5", "load_legacy_h5_named_.weights.h5"), ("v3_renamed.h5", "load_v3_named_.h5")]
        {
            assert!(!misc[record]["exception"].is_null(), "Keras raises");
            let file = open_file(&corpus().join(format!("_broken/{short}_{name}")));
            assert!(file.note.is_some(), "{name}");
            let plan = plan_load(tree, &file, &LoadOptions::default()).expect("loads by content");
            assert_eq!((plan.assignments.len(), plan.report.note.is_some()), (8, true), "{name}");
            rows.count("content-before-suffix", name);
        }
    }
    rows.assert_documented(&["content-before-suffix"]);
}

#[test]
fn objects_to_skip_keep_their_values() {
    let tree = &trees("broken.k3.json")["same"];
    let misc = json(&corpus().join("_broken/k3_misc.json"));
    let expected: Vec<String> =
        misc["load_objects_to_skip"]["changed"].as_array().expect("a list").iter().map(text).collect();
    let first = tree.nodes[tree.root].layers[0];
    let options = LoadOptions { objects_to_skip: vec![first], ..LoadOptions::default() };
    let plan = plan_load(tree, &open_file(&corpus().join("_broken/k3.weights.h5")), &options).expect("loads");
    assert_eq!(plan.report.loaded, expected);
    let legacy = plan_load(tree, &open_file(&corpus().join("_broken/k2_weights.h5")), &options);
    assert_eq!(legacy.expect_err("as in Keras").code(), Code::Argument);
}

#[test]
fn an_unbuilt_model_is_told_to_get_an_input_shape() {
    for (flavor, name) in
        [(Keras2, "k2_v3.weights.h5"), (Keras2, "k2_weights.h5"), (Keras3, "k3.weights.h5"), (Keras3, "k2_weights.h5")]
    {
        let tree = &trees(&format!("broken.{}.json", short(flavor)))["unbuilt"];
        let error = plan_load(tree, &open_file(&corpus().join("_broken").join(name)), &LoadOptions::default())
            .expect_err("no variables");
        assert_eq!(error.code(), Code::Unbuilt);
        assert!(error.message().contains("input shape"), "{error}");
        let saved = kw_keras::plan_save(tree, std::path::Path::new("w.weights.h5"), &kw_keras::SaveOptions::default());
        assert_eq!(saved.err().map(|error| error.code()), Some(Code::Unbuilt));
    }
}
