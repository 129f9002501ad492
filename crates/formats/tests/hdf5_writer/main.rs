//! What the HDF5 writer promises, judged byte by byte by a strict reader of these tests
//! and through our own reader.
#![cfg(feature = "hdf5")]
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests may fail")]

mod limits;
mod random_trees;
mod strict;
mod values;

use kw_formats::hdf5::writer::{H5Builder, H5Plan};
use kw_model::{MemorySink, Result, crc32c};

/// Values that differ from byte to byte; for bool, only 0 and 1.
fn pattern(dataset: &kw_formats::hdf5::writer::PlannedDataset, seed: usize) -> Vec<u8> {
    let modulus = if dataset.dtype == kw_model::DType::Bool { 2 } else { 251 };
    (0..usize::try_from(dataset.byte_len).unwrap()).map(|n| u8::try_from((n * 7 + seed) % modulus).unwrap()).collect()
}

/// Values for all datasets of a plan.
fn patterns(plan: &H5Plan) -> Vec<Vec<u8>> {
    plan.datasets().iter().enumerate().map(|(seed, dataset)| pattern(dataset, seed)).collect()
}

fn digests(values: &[Vec<u8>]) -> Vec<u32> {
    values.iter().map(|bytes| crc32c(bytes)).collect()
}

/// Emits a file, the values in pieces of a given size.
fn emit(plan: &H5Plan, values: &[Vec<u8>], piece: usize) -> Result<Vec<u8>> {
    let mut sink = MemorySink::new();
    let mut emitter = plan.emit(&mut sink, &digests(values))?;
    for piece in values.concat().chunks(piece) {
        emitter.write(piece)?;
    }
    emitter.finish()?;
    assert_eq!(sink.bytes().len() as u64, plan.file_len());
    Ok(sink.into_bytes())
}

/// Plans and emits with patterns as values.
fn file_of(builder: H5Builder) -> (H5Plan, Vec<u8>) {
    let plan = builder.plan().unwrap();
    let bytes = emit(&plan, &patterns(&plan), 1000).unwrap();
    keep(&bytes);
    (plan, bytes)
}

/// For a judge from outside: with `KERAS_WEIGHTS_KEEP=folder`, every file made here is kept there.
fn keep(bytes: &[u8]) {
    if let Some(folder) = std::env::var_os("KERAS_WEIGHTS_KEEP") {
        let name = format!("{:08x}-{}.h5", crc32c(bytes), bytes.len());
        std::fs::write(std::path::Path::new(&folder).join(name), bytes).unwrap();
    }
}
