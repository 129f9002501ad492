//! What a save plan puts where, against the files that Keras wrote of the same models.

mod common;

use std::collections::BTreeMap;

use common::{corpus, expected_weights, json, models, short, tree};
use kw_keras::Flavor::{Keras2, Keras3};
use kw_keras::{ModelTree, SaveOptions, plan_save, weight_orders};
use kw_model::Code;
use std::path::Path;

/// Digest of each variable's value, where the corpus records it.
fn digests(tree: &ModelTree, folder: &Path) -> BTreeMap<usize, String> {
    let weights = weight_orders(tree).expect("orders").weights;
    let recorded = expected_weights(folder, weights.len());
    weights.into_iter().zip(recorded).filter_map(|(variable, digest)| Some((variable, digest?))).collect()
}

#[test]
fn datasets_are_keras_own() {
    let cases = [
        (Keras3, "model.weights.h5", "w.weights.h5", "model.weights.h5", false),
        (Keras3, "legacy_weights.h5", "w.h5", "h5w", false),
        (Keras3, "legacy_full.h5", "w.h5", "h5", true),
        (Keras2, "weights.h5", "w.h5", "h5", false),
        (Keras2, "full.h5", "w.h5", "full_h5", true),
        (Keras2, "v3.weights.h5", "w.weights.h5", "v3", false),
    ];
    let (mut files, mut datasets, mut refused) = (0, 0, 0);
    for (flavor, file, target, _, whole) in cases {
        for model in models(flavor) {
            let folder = corpus().join(&model).join(short(flavor));
            let label = format!("{model} {flavor:?} {file}");
            let trees_of_files = json(&folder.join("h5_trees.json"));
            let tree = tree(&model, flavor).expect("a tree");
            let options = SaveOptions { model_config: whole.then(|| "{}".to_owned()), ..SaveOptions::default() };
            let plan = plan_save(&tree, Path::new(target), &options);
            let Some(recorded) = trees_of_files[file]["datasets"].as_object() else {
                // Keras could not write it: two weights of one layer have one name, or the model has no config.
                if let Err(error) = plan {
                    assert_eq!(error.code(), Code::Name, "{label}: {error}");
                    refused += 1;
                }
                continue;
            };
            let plan = plan.unwrap_or_else(|error| panic!("{label}: {error}"));
            let known = digests(&tree, &folder);
            let mut found: Vec<&str> = Vec::new();
            for (number, variable) in plan.variables().iter().enumerate() {
                let path = plan.path(number).expect("a path");
                found.push(path);
                let dataset = &recorded.get(path).unwrap_or_else(|| panic!("{label}: Keras has no {path}"));
                let axes: Vec<u64> = dataset["shape"].as_array().expect("axes").iter().filter_map(serde_json::Value::as_u64).collect();
                assert_eq!(tree.variables[*variable].shape.axes(), axes, "{label} {path}");
                if let Some(digest) = known.get(variable) {
                    assert_eq!(dataset["sha256"].as_str(), Some(digest.as_str()), "{label} {path}");
                }
                datasets += 1;
            }
            found.sort_unstable();
            let mut expected: Vec<&str> = recorded.keys().map(String::as_str).collect();
            expected.sort_unstable();
            assert_eq!(found, expected, "{label}");
            files += 1;
        }
    }
    assert!(files > 40 && datasets > 800 && refused >= 1, "{files} files, {datasets} datasets, {refused} refused");
}
