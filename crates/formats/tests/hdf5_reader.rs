//! The HDF5 reader against h5py: every Keras file there is, and a file for every way of storing things.

#![allow(clippy::expect_used, reason = "a test ends where it fails")]

mod hdf5_support;
mod support;

use std::collections::BTreeMap;

use hdf5_support::{json, lines, open};
use kw_model::{Location, WeightsReader};
use serde_json::Value;
use support::{fixtures, sha256};

fn assert_same(name: &str, expected: &[String], found: &[String]) {
    let missing: Vec<_> = expected.iter().filter(|line| !found.contains(line)).take(5).collect();
    let extra: Vec<_> = found.iter().filter(|line| !expected.contains(line)).take(5).collect();
    assert!(missing.is_empty() && extra.is_empty(), "{name}\n missing: {missing:#?}\n not expected: {extra:#?}");
    assert_eq!(expected.len(), found.len(), "{name}");
}

fn expected_lines(value: &Value) -> Vec<String> {
    let mut lines: Vec<String> =
        value["lines"].as_array().expect("lines").iter().map(|line| line.as_str().expect("text").to_owned()).collect();
    lines.sort();
    lines
}

#[test]
fn every_kind_of_file_equals_h5py() {
    let folder = fixtures().join("hdf5_kinds");
    let expected = json(&folder.join("expected.json"));
    let kinds = expected.as_object().expect("an object");
    assert!(kinds.len() >= 25, "only {} kinds", kinds.len());
    for (name, kind) in kinds {
        let reader = open(&folder.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_same(name, &expected_lines(kind), &lines(&reader));
        let refused: BTreeMap<&str, &Value> =
            kind["refused"].as_object().expect("refused").iter().map(|(path, why)| (path.as_str(), why)).collect();
        let found: Vec<&str> = reader.catalogue().refusals().keys().map(String::as_str).collect();
        assert_eq!(found, refused.keys().copied().collect::<Vec<_>>(), "{name}");
        for (path, why) in refused {
            let error = reader.catalogue().require(path).expect_err("refused");
            assert_eq!(error.code().as_str(), why[0], "{name} {path}: {error}");
            assert!(error.message().contains(why[1].as_str().expect("a word")), "{name} {path}: {error}");
            assert_eq!(error.context().weight.as_deref(), Some(path), "{name}");
        }
    }
}

#[test]
fn every_keras_fixture_equals_h5py() {
    let trees = json(&fixtures().join("hdf5_kinds/keras_trees.json"));
    let trees = trees.as_object().expect("an object");
    assert!(trees.len() >= 150, "only {} files", trees.len());
    for (name, digest) in trees {
        let reader = open(&fixtures().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(sha256(lines(&reader).join("\n").as_bytes()), digest.as_str().expect("text"), "{name}");
        assert!(reader.catalogue().refusals().is_empty(), "{name}: {:?}", reader.catalogue().refusals());
        for entry in reader.catalogue().entries() {
            let mappable = matches!(entry.location, Location::Range { source: 0, .. });
            assert_eq!(mappable, entry.byte_len > 0, "{name} {}: Keras writes contiguous data", entry.path);
        }
    }
}
