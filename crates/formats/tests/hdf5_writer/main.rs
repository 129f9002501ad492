//! What the HDF5 writer promises, judged byte by byte by a strict reader of these tests
//! and through our own reader.
#![cfg(feature = "hdf5")]
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests may fail")]

mod compression;
mod limits;
mod random_trees;
mod strict;
mod values;

use std::sync::Arc;

use kw_formats::hdf5::writer::{H5Builder, H5Plan, PlannedDataset};
use kw_model::{Cancel, Catalogue, DType, Limits, Location, MemorySink, MemorySource, Result, WeightsReader, crc32c};

/// Values that differ from byte to byte; for bool, only 0 and 1.
fn pattern(dataset: &PlannedDataset, seed: usize) -> Vec<u8> {
    let modulus = if dataset.dtype == DType::Bool { 2 } else { 251 };
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
    let values = patterns(&plan);
    let bytes = emit(&plan, &values, 1000).unwrap();
    keep(&bytes);
    read_back(&plan, &values, &bytes, |_| {});
    (plan, bytes)
}

/// Reads a file back with our own reader, and compares every dataset of the plan with what was given.
fn read_back(plan: &H5Plan, values: &[Vec<u8>], bytes: &[u8], check: impl Fn(&Catalogue)) {
    let source = Arc::new(MemorySource::new(bytes.to_vec(), "written"));
    let reader = kw_formats::hdf5::open(source, &Limits::default()).unwrap();
    let catalogue = reader.catalogue();
    assert_eq!(catalogue.entries().len(), plan.datasets().len());
    for (planned, values) in plan.datasets().iter().zip(values) {
        let index = catalogue.find(&planned.path).unwrap_or_else(|| panic!("{} is not found", planned.path));
        let entry = catalogue.entry(index).unwrap();
        // HDF5 does not say what its opaque bytes are; Keras adds an attribute for bfloat16.
        let dtype = match planned.dtype {
            DType::BFloat16 => DType::Opaque(2),
            DType::Float8E4M3 | DType::Float8E5M2 => DType::Opaque(1),
            dtype => dtype,
        };
        assert_eq!((entry.dtype, &entry.shape, entry.byte_len), (dtype, &planned.shape, planned.byte_len));
        assert_eq!(entry.digest, planned.digest.then(|| crc32c(values)), "{}", planned.path);
        if planned.is_chunked {
            assert_eq!(entry.location, Location::Decoded, "{}", planned.path);
        } else if planned.byte_len > 0 {
            assert_eq!(entry.location, Location::Range { source: 0, offset: planned.offset }, "{}", planned.path);
        }
        let mut found = vec![0; values.len()];
        reader.read_into(index, &mut found, &Cancel::default()).unwrap();
        assert!(found == *values, "values of {}", planned.path);
    }
    check(catalogue);
}

/// For a judge from outside: with `KERAS_WEIGHTS_KEEP=folder`, every file made here is kept there.
fn keep(bytes: &[u8]) {
    if let Some(folder) = std::env::var_os("KERAS_WEIGHTS_KEEP") {
        let name = format!("{:08x}-{}.h5", crc32c(bytes), bytes.len());
        std::fs::write(std::path::Path::new(&folder).join(name), bytes).unwrap();
    }
}
