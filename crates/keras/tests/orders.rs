//! Every order of every golden tree against what Keras said of the live model.

mod common;

use common::{corpus, indices, json, models, orders, short, tree};
use kw_keras::Flavor::{Keras2, Keras3};
use kw_keras::{Orders, weight_orders};

#[test]
fn weights_and_legacy_orders_are_keras_own() {
    let mut nodes = 0;
    for flavor in [Keras2, Keras3] {
        for (model, expected) in orders(flavor) {
            let label = format!("{model} {flavor:?}");
            let tree = tree(&model, flavor).expect("a tree for every record");
            let found = weight_orders(&tree).expect("orders");
            assert_eq!(found.weights, indices(&expected["weights"]), "{label} weights");
            assert_eq!(found.trainable, indices(&expected["trainable"]), "{label} trainable");
            assert_eq!(found.non_trainable, indices(&expected["nonTrainable"]), "{label} non-trainable");
            let orders = Orders::new(&tree);
            for (node, expected) in expected["nodes"].as_object().expect("an object") {
                let node: usize = node.parse().expect("an index");
                let label = format!("{label}, {}", tree.nodes[node].label());
                assert_eq!(orders.weights(node).expect("weights").to_vec(), indices(&expected["weights"]), "{label}");
                assert_eq!(orders.legacy_weights(node).expect("legacy"), indices(&expected["legacy"]), "{label}");
                nodes += 1;
            }
        }
    }
    assert!(nodes > 400, "compared {nodes} objects");
}

#[test]
fn trees_and_recorded_weights_name_the_same_things() {
    let mut compared = 0;
    for flavor in [Keras2, Keras3] {
        for model in models(flavor) {
            let folder = corpus().join(&model).join(short(flavor));
            let recorded = json(&folder.join("expected.json"));
            let tree = tree(&model, flavor).unwrap_or_else(|| panic!("no tree for {model}"));
            let weights = weight_orders(&tree).expect("orders").weights;
            for weight in recorded["get_weights"].as_array().expect("a list") {
                let index = usize::try_from(weight["index"].as_u64().expect("an index")).expect("small");
                let variable = &tree.variables[weights[index]];
                let label = format!("{model} {flavor:?} {index}");
                assert_eq!(variable.dtype.name(), weight["dtype"].as_str().expect("a dtype"), "{label}");
                let axes: Vec<u64> = indices(&weight["shape"]).into_iter().map(|axis| axis as u64).collect();
                assert_eq!(variable.shape.axes(), axes, "{label}");
                compared += 1;
            }
        }
    }
    assert!(compared > 250, "compared {compared} weights");
}
