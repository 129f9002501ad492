//! Files of other Kerases: one flavour's file in the other's model, and files of Keras 2.12 and 3.0.5.
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

use std::collections::BTreeMap;

use common::{Rows, corpus, evaluate, json, open_file, sha256, short, tree};
use kw_keras::Flavor::{Keras2, Keras3};
use kw_keras::{LoadOptions, plan_load, weight_orders};

#[test]
fn every_recorded_cross_load_is_keras_or_a_row() {
    let mut rows = Rows::new();
    let (mut cases, mut weights) = (0, 0);
    for flavor in [Keras2, Keras3] {
        let loads = json(&corpus().join(format!("_cross/{}_loads.json", short(flavor))));
        for (path, record) in loads.as_object().expect("an object") {
            let file = corpus().join(path);
            // Files of other kinds come with their formats; some models Keras itself could not build from there.
            if !path.ends_with(".h5") && !path.ends_with(".keras") && !path.ends_with(".json")
                || !file.is_file()
                || !record["build"].is_null()
            {
                continue;
            }
            let label = format!("{flavor:?} {path}");
            let folder = file.parent().expect("a folder");
            let model = path.split('/').rev().nth(if path.starts_with("_old") { 1 } else { 2 }).expect("a model");
            // The model was compiled but not trained there: no optimizer state, no metrics yet.
            let model = if model == "compiled_adam" { "compiled_untrained" } else { model };
            let tree = tree(model, flavor).unwrap_or_else(|| panic!("no tree for {model}"));
            let opened = open_file(&file);
            let plan = plan_load(&tree, &opened, &LoadOptions::default());
            let loaded = record["loaded"] == true;
            cases += 1;
            let plan = match (plan, loaded) {
                (Err(_), false) => {
                    if record["matched"].as_u64() != Some(0) {
                        rows.count("transaction", &label);
                    }
                    continue;
                }
                (Err(error), true) => panic!("{label}: Keras loads this: {error}"),
                (Ok(plan), false) => {
                    let row = match (model, flavor) {
                        ("pure_bfloat16", _) => "opaque-bfloat16",
                        ("subclassed", Keras2) => "other-walks",
                        _ => "keras-2.12-names",
                    };
                    rows.count(row, &label);
                    plan
                }
                (Ok(plan), true) => plan,
            };
            let recorded = json(&folder.join("expected.json"));
            let mut names: BTreeMap<String, String> = BTreeMap::new();
            for weight in recorded["get_weights"].as_array().expect("a list") {
                let name = weight["path"].as_str().or(weight["name"].as_str()).expect("a name").to_owned();
                names.entry(weight["sha256"].as_str().expect("a digest").to_owned()).or_insert(name);
            }
            let values = evaluate(&tree, &opened, &plan);
            let order = weight_orders(&tree).expect("orders").weights;
            let map = record["map"].as_array().expect("a list");
            assert_eq!(order.len(), map.len(), "{label}");
            for (variable, pair) in order.iter().zip(map) {
                let ours =
                    values.get(variable).and_then(|value| names.get(&sha256(value))).map_or("<none>", String::as_str);
                if loaded {
                    assert_eq!(ours, pair[1].as_str().expect("a name"), "{label} {}", pair[0]);
                } else {
                    assert_ne!(ours, "<none>", "{label} {}", pair[0]);
                }
                weights += 1;
            }
            if !loaded {
                // Every weight has its own value, so all of them being there means each in its place.
                let mut own: Vec<&str> =
                    order.iter().map(|variable| names[&sha256(&values[variable])].as_str()).collect();
                let mut listed: Vec<&str> = recorded["get_weights"]
                    .as_array()
                    .expect("a list")
                    .iter()
                    .map(|weight| names[weight["sha256"].as_str().expect("a digest")].as_str())
                    .collect();
                // The two Kerases order composite layers differently.
                if model == "subclassed" {
                    own.sort_unstable();
                    listed.sort_unstable();
                }
                assert_eq!(own, listed, "{label}");
            }
        }
    }
    println!("{cases} files, {weights} weights; {rows}");
    assert!(cases >= 60 && weights > 400, "{cases} files, {weights} weights");
    rows.assert_documented(&["transaction", "keras-2.12-names"]);
}
