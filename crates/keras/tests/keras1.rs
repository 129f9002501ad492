//! Old layouts: Keras 1, CuDNN, GRU variants and kernels in Theano's order, against what tf_keras made of them.
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

use common::{Rows, corpus, evaluate, json, open_file, sha256, trees};
use kw_keras::{LoadOptions, plan_load, weight_orders};
use kw_model::Code;

#[test]
fn every_synthetic_case_becomes_what_keras_makes_of_it() {
    let mut rows = Rows::new();
    let trees = trees("keras1.k2.json");
    let cases = json(&corpus().join("_keras1/cases.json"));
    let (mut loaded, mut refused) = (0, 0);
    for (name, case) in cases.as_object().expect("an object") {
        let path = corpus().join("_keras1").join(case["file"].as_str().expect("a file"));
        let (Some(tree), true) = (trees.get(name), path.is_file()) else { continue };
        let file = open_file(&path);
        let plan = plan_load(tree, &file, &LoadOptions::default());
        let Some(expected) = case["result"].as_array() else {
            match plan {
                Err(error) => {
                    let known = [Code::Shape, Code::WeightCount];
                    assert!(known.contains(&error.code()), "{name}: {error}; Keras: {}", case["exception"]);
                    assert_eq!(error.context().layer.as_deref(), Some("lay"), "{name}: {error}");
                    refused += 1;
                }
                Ok(_) => rows.count("time-distributed-keras1", name),
            }
            continue;
        };
        let plan = plan.unwrap_or_else(|error| panic!("{name}: {error}"));
        let values = evaluate(tree, &file, &plan);
        let order = weight_orders(tree).expect("orders").weights;
        let last = *tree.nodes[tree.root].layers.last().expect("a layer");
        let own = kw_keras::Orders::new(tree).weights(last).expect("weights").to_vec();
        assert!(own.iter().all(|variable| order.contains(variable)), "{name}");
        assert_eq!(own.len(), expected.len(), "{name}");
        for (variable, expected) in own.iter().zip(expected) {
            let found = sha256(&values[variable]);
            assert_eq!(Some(found.as_str()), expected["sha256"].as_str(), "{name} {}", expected["name"]);
        }
        loaded += 1;
    }
    println!("{loaded} loaded, {refused} refused; {rows}");
    assert!(loaded >= 12 && refused >= 5, "{loaded} loaded, {refused} refused");
    rows.assert_documented(&[]);
}
