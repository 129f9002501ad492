//! Where the tests of this crate find real files.
#![allow(dead_code, reason = "each test binary uses some of it")]
#![allow(clippy::expect_used, reason = "a test ends where it fails")]

use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

/// The repository's own fixtures.
pub(crate) fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../__test__/fixtures")
}

/// Every folder with real files: the larger corpus, where there is one, and always the fixtures.
pub(crate) fn roots() -> Vec<PathBuf> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpus");
    let corpus = std::env::var_os("KERAS_WEIGHTS_CORPUS").map_or_else(beside, PathBuf::from);
    [corpus, fixtures()].into_iter().filter(|root| root.is_dir()).collect()
}

/// Every file below the roots whose name ends in `suffix`.
pub(crate) fn files_with_suffix(suffix: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = roots();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.to_str().is_some_and(|path| path.ends_with(suffix)) {
                found.push(path);
            }
        }
    }
    found.sort();
    assert!(!found.is_empty(), "no {suffix} file anywhere: the fixtures are missing");
    found
}

/// SHA-256 in hexadecimal.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// Bytes in hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}

/// Parses a JSON file.
pub(crate) fn json(path: &Path) -> serde_json::Value {
    serde_json::from_slice(&std::fs::read(path).expect("readable")).expect("JSON")
}

/// A shape from a JSON list.
pub(crate) fn shape(value: &serde_json::Value) -> kw_model::Shape {
    let axes = value.as_array().expect("axes").iter().map(|axis| axis.as_u64().expect("an axis"));
    kw_model::Shape::new(axes.collect::<Vec<_>>())
}

/// Path, dtype, shape and bytes of a tensor.
pub(crate) type Found = (String, kw_model::DType, kw_model::Shape, Vec<u8>);

/// All tensors of a reader.
pub(crate) fn read_all(reader: &dyn kw_model::WeightsReader) -> kw_model::Result<Vec<Found>> {
    let entries = reader.catalogue().entries().iter().enumerate();
    entries
        .map(|(index, entry)| {
            let mut out = vec![0; usize::try_from(entry.byte_len).expect("small")];
            reader.read_into(index, &mut out, &kw_model::Cancel::default())?;
            Ok((entry.path.clone(), entry.dtype, entry.shape.clone(), out))
        })
        .collect()
}
