//! Real files and Keras' recorded answers.
#![allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::missing_panics_doc,
    reason = "helpers of several test binaries, each of which uses a part"
)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use kw_keras::{Flavor, ModelTree};
use serde_json::Value as Json;
use sha2::Digest as _;

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("the repository")
}

/// The fixtures of the repository, which are always there.
pub fn fixtures() -> PathBuf {
    repository().join("__test__/fixtures")
}

/// The large corpus if it is there, else the fixtures, which have the same folders for a part of it.
pub fn corpus() -> PathBuf {
    if let Some(path) = std::env::var_os("KERAS_WEIGHTS_CORPUS") {
        return PathBuf::from(path);
    }
    let beside = repository().join("../shared/corpus");
    if beside.join("README.md").is_file() { beside } else { fixtures() }
}

pub fn json(path: &Path) -> Json {
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// `k2` or `k3`.
pub fn short(flavor: Flavor) -> &'static str {
    match flavor {
        Flavor::Keras2 => "k2",
        Flavor::Keras3 => "k3",
    }
}

/// The golden tree of a model of the zoo.
pub fn tree(model: &str, flavor: Flavor) -> Option<ModelTree> {
    let path = fixtures().join(format!("trees/{model}.{}.json", short(flavor)));
    let text = std::fs::read_to_string(path).ok()?;
    Some(ModelTree::from_json(&text).unwrap_or_else(|error| panic!("{model}: {error}")))
}

/// Trees kept together in one file, by name.
pub fn trees(file: &str) -> BTreeMap<String, ModelTree> {
    let all = json(&fixtures().join("trees").join(file));
    let parse = |(name, tree): (&String, &Json)| (name.clone(), ModelTree::from_json(&tree.to_string()).expect("a tree"));
    all.as_object().expect("an object").iter().map(parse).collect()
}

/// Keras' own orders for the golden trees.
pub fn orders(flavor: Flavor) -> BTreeMap<String, Json> {
    let all = json(&fixtures().join(format!("trees/orders.{}.json", short(flavor))));
    all.as_object().expect("an object").iter().map(|(name, value)| (name.clone(), value.clone())).collect()
}

pub fn indices(value: &Json) -> Vec<usize> {
    let index = |value: &Json| usize::try_from(value.as_u64().expect("an index")).expect("small");
    value.as_array().expect("a list").iter().map(index).collect()
}

pub fn sha256(bytes: &[u8]) -> String {
    sha2::Sha256::digest(bytes).iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}

/// The models for which the corpus has a folder of this Keras.
pub fn models(flavor: Flavor) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(corpus())
        .expect("the corpus")
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("a name"))
        .filter(|name| corpus().join(name).join(short(flavor)).join("expected.json").is_file())
        .collect();
    names.sort();
    assert!(names.len() >= 10, "only {names:?}");
    names
}

/// The recorded SHA-256 of each weight in `get_weights` order; with a gap in the middle for models of over 200 weights.
pub fn expected_weights(folder: &Path, count: usize) -> Vec<Option<String>> {
    let recorded = json(&folder.join("expected.json"));
    let mut weights = vec![None; count];
    for weight in recorded["get_weights"].as_array().expect("a list") {
        let index = usize::try_from(weight["index"].as_u64().expect("an index")).expect("small");
        weights[index] = Some(weight["sha256"].as_str().expect("a digest").to_owned());
    }
    assert!(weights.iter().flatten().count() >= 1);
    weights
}
