//! Damaged and lying HDF5 files: an error or right values, never a panic, a hang or much memory.

#![cfg(feature = "hdf5")]
#![allow(clippy::expect_used, reason = "a test ends where it fails")]

mod hdf5_support;
mod support;

use std::path::PathBuf;
use std::sync::Arc;

use hdf5_support::{bytes_of, open};
use kw_formats::hdf5;
use kw_model::{Code, Limits, MemorySource, Result, WeightsReader};
use support::fixtures;

/// Above this no tensor of a small file is read: the caller would have refused such a shape.
const MAX_VALUES: u64 = 16 << 20;
/// What all of this may need at its peak, the test program itself included.
const MAX_RESIDENT: u64 = 512 << 20;

/// One file of every way of storing things.
const SEEDS: [&str; 12] = [
    "mnist_dense/k3/model.weights.h5",
    "lstm/k2/full.h5",
    "pure_bfloat16/k3/model.weights.h5",
    "hdf5_kinds/numbers.h5",
    "hdf5_kinds/filters.h5",
    "hdf5_kinds/filters_latest.h5",
    "hdf5_kinds/chunk_indexes.h5",
    "hdf5_kinds/attributes_latest.h5",
    "hdf5_kinds/groups_latest.h5",
    "hdf5_kinds/strings.h5",
    "hdf5_kinds/links.h5",
    "hdf5_kinds/userblock_latest.h5",
];

fn seed(name: &str) -> Vec<u8> {
    std::fs::read(fixtures().join(name)).expect("a fixture")
}

/// Path, dtype, shape and bytes of every tensor; an error inside stays with its tensor.
type Contents = Vec<(String, String, Result<Vec<u8>>)>;

fn contents(bytes: Vec<u8>) -> Result<Contents> {
    let limits = Limits { max_tensor_bytes: 1 << 30, max_header_bytes: 64 << 20, ..Limits::default() };
    let reader = hdf5::open(Arc::new(MemorySource::new(bytes, "mutant")), &limits)?;
    let entries = reader.catalogue().entries();
    let read = |(index, entry): (usize, &kw_model::TensorEntry)| {
        let bytes = if entry.byte_len > MAX_VALUES { Ok(Vec::new()) } else { bytes_of(&reader, index) };
        (entry.path.clone(), format!("{} {}", entry.dtype, entry.shape), bytes)
    };
    Ok(entries.iter().enumerate().map(read).collect())
}

fn assert_decoder_did_not_panic(what: &str, contents: &Result<Contents>) {
    let errors: Vec<_> = match contents {
        Err(error) => vec![error],
        Ok(tensors) => tensors.iter().filter_map(|(_, _, bytes)| bytes.as_ref().err()).collect(),
    };
    for error in errors {
        assert!(!error.message().contains("gave up"), "{what}: {error}");
        assert_ne!(error.code(), Code::Internal, "{what}: {error}");
    }
}

fn assert_modest_memory() {
    // Only Linux tells; elsewhere the limits of the table tests stand alone.
    let Ok(status) = std::fs::read_to_string("/proc/self/status") else { return };
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("the peak of memory");
    let kib: u64 = peak.trim().trim_end_matches(" kB").parse().expect("a number");
    assert!(kib << 10 < MAX_RESIDENT, "{kib} KiB resident at the peak");
}

/// Marsaglia's xorshift64: the same mutants in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % end as u64).expect("below end")
    }
}

#[test]
fn what_is_no_hdf5_says_so() {
    let cases: [(&str, Vec<u8>, Code); 6] = [
        ("empty", Vec::new(), Code::NotWeights),
        ("one byte", vec![0x89], Code::NotWeights),
        ("text", b"<!DOCTYPE html><html>".repeat(100), Code::NotWeights),
        ("zip", b"PK\x03\x04".to_vec(), Code::NotWeights),
        ("zeros", vec![0; 100_000], Code::NotWeights),
        ("signature only", b"\x89HDF\r\n\x1a\n".to_vec(), Code::Truncated),
    ];
    for (name, bytes, code) in cases {
        let error = contents(bytes).expect_err(name);
        // The superblock of a signature alone is looked for behind the end.
        assert_eq!(error.code(), code, "{name}: {error}");
    }
    for name in ["_broken/empty.weights.h5", "_broken/garbage.h5"] {
        assert_eq!(open(&fixtures().join(name)).map(|_| ()).map_err(|e| e.code()), Err(Code::NotWeights), "{name}");
    }
    for name in ["_broken/k2_truncated.weights.h5", "_broken/k3_truncated.weights.h5"] {
        let error = open(&fixtures().join(name)).expect_err(name);
        assert_eq!(error.code(), Code::Truncated, "{name}: {error}");
        assert!(error.context().expected.is_some() && error.context().found.is_some(), "{name}");
        assert_eq!(error.context().file.as_ref().map(PathBuf::from), Some(fixtures().join(name)));
    }
}

#[test]
fn truncated_anywhere() {
    for name in SEEDS {
        let whole = seed(name);
        for part in 0..50 {
            let len = whole.len() * part / 50;
            let error = contents(whole[..len].to_vec()).expect_err("a part of a file");
            let expected = [Code::Truncated, Code::NotWeights];
            assert!(expected.contains(&error.code()), "{name} cut at {len}: {error}");
        }
        let longer = [whole.clone(), vec![0; 100]].concat();
        assert!(contents(longer).is_ok(), "{name}: bytes behind the end are nobody's");
    }
    assert_modest_memory();
}

#[test]
fn flipped_bits_anywhere_in_the_metadata() {
    let mut random = Random(0x5eed_0001);
    for name in SEEDS {
        let whole = seed(name);
        for _ in 0..300 {
            let mut mutant = whole.clone();
            for _ in 0..=random.below(3) {
                let at = random.below(mutant.len());
                mutant[at] ^= 1 << random.below(8);
            }
            assert_decoder_did_not_panic(name, &contents(mutant));
        }
    }
    assert_modest_memory();
}

#[test]
fn numbers_replaced_by_extremes() {
    let mut random = Random(0x5eed_0002);
    let extremes: [&[u8]; 6] = [&[0xff; 8], &[0; 8], &[0xff; 4], &[0xff, 0xff, 0xff, 0x7f], &[0x01], &[0xff]];
    for name in SEEDS {
        let whole = seed(name);
        for _ in 0..200 {
            let mut mutant = whole.clone();
            let extreme = extremes[random.below(extremes.len())];
            // Headers gather at the front of small files.
            let front = if random.below(2) == 0 { 2048.min(mutant.len()) } else { mutant.len() };
            let at = random.below(front);
            let end = (at + extreme.len()).min(mutant.len());
            mutant[at..end].copy_from_slice(&extreme[..end - at]);
            assert_decoder_did_not_panic(name, &contents(mutant));
        }
    }
    assert_modest_memory();
}
