//! numpy's files: real ones, our own, and hostile ones.
#![cfg(feature = "npy")]
#![allow(clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test ends where it fails")]

mod support;

use std::sync::Arc;

use kw_formats::npy::{self, NpzBuilder, NpzReader};
use kw_formats::zip::ArchiveBuilder;
use kw_model::{
    ByteSource, Cancel, Code, DType, FileSource, Limits, Location, MemorySink, MemorySource, Result, Shape,
    WeightsReader as _,
};
use support::{files_with_suffix, fixtures, json, read_all, sha256, shape};

fn file(name: &str) -> Arc<dyn ByteSource> {
    Arc::new(FileSource::open(&fixtures().join("_arrays").join(name)).expect("there"))
}

fn memory(bytes: &[u8]) -> Arc<dyn ByteSource> {
    Arc::new(MemorySource::new(bytes, "memory"))
}

#[test]
fn single_arrays_by_numpy_are_read() {
    let expected = json(&fixtures().join("_arrays/expected.json"));
    for (name, wanted) in expected["npy"].as_object().expect("arrays") {
        let reader = npy::open_npy(file(&format!("{name}.npy")), &Limits::default()).expect("good");
        let tensors = read_all(&reader).expect("good");
        let [(path, dtype, found_shape, bytes)] = tensors.as_slice() else { panic!("one array") };
        assert_eq!(path, npy::ARRAY_PATH);
        assert_eq!(dtype.name(), wanted["dtype"].as_str().expect("a dtype"), "{name}");
        assert_eq!(*found_shape, shape(&wanted["shape"]), "{name}");
        assert_eq!(sha256(bytes), wanted["sha256"].as_str().expect("hex"), "{name}");
        let plain = !name.starts_with("big_") && !name.starts_with("fortran");
        let one_byte = dtype.size() == 1;
        let mapped = reader.catalogue().entries()[0].location != Location::Decoded;
        assert_eq!(mapped, plain || one_byte || name == "fortran_vector", "{name}");
    }
}

#[test]
fn what_is_no_number_is_refused() {
    for name in ["object", "record", "text", "date", "bytes"] {
        let error = npy::open_npy(file(&format!("{name}.npy")), &Limits::default()).expect_err("refused");
        assert_eq!(error.code(), Code::Unsupported, "{name}: {error}");
    }
}

#[test]
fn archives_by_numpy_are_read() {
    let expected = json(&fixtures().join("_arrays/expected.json"));
    for name in ["stored.npz", "deflated.npz"] {
        let reader = npy::open_npz(file(name), &Limits::default()).expect("good");
        let tensors = read_all(&reader).expect("good");
        // Everything but the two files of other header versions, which numpy put in as plain arrays, too.
        assert!(tensors.len() > 30);
        for (index, (path, dtype, found_shape, bytes)) in tensors.iter().enumerate() {
            let wanted = &expected["npy"][path];
            assert_eq!(dtype.name(), wanted["dtype"].as_str().expect("a dtype"), "{path}");
            assert_eq!(*found_shape, shape(&wanted["shape"]), "{path}");
            assert_eq!(sha256(bytes), wanted["sha256"].as_str().expect("hex"), "{path}");
            reader.verify(index, &Cancel::default()).expect("good");
        }
    }
}

#[test]
fn every_answer_of_keras_is_read() {
    for path in files_with_suffix("expected.npz") {
        let open = || Arc::new(FileSource::open(&path).expect("there"));
        let reader =
            npy::open_npz(open(), &Limits::default()).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        read_all(&reader).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert!(!reader.catalogue().entries().is_empty());
        // The weights are those whose digests Keras' run left beside them.
        let Ok(text) = std::fs::read(path.with_file_name("expected.json")) else { continue };
        let expected: serde_json::Value = serde_json::from_slice(&text).expect("JSON");
        for weight in expected["get_weights"].as_array().map_or(&[][..], Vec::as_slice) {
            let name = format!("w{:04}", weight["index"].as_u64().expect("a number"));
            let Some(index) = reader.catalogue().find(&name) else { continue };
            let entry = &reader.catalogue().entries()[index];
            let mut bytes = vec![0; usize::try_from(entry.byte_len).expect("small")];
            reader.read_into(index, &mut bytes, &Cancel::default()).expect("good");
            assert_eq!(sha256(&bytes), weight["sha256"].as_str().expect("hex"), "{}: {name}", path.display());
        }
    }
}

#[test]
fn headers_are_numpys_own() {
    for name in ["float32", "bool", "complex128", "uint16", "scalar", "empty"] {
        let bytes = std::fs::read(fixtures().join(format!("_arrays/{name}.npy"))).expect("there");
        let reader = npy::open_npy(memory(&bytes), &Limits::default()).expect("good");
        let entry = &reader.catalogue().entries()[0];
        let header = npy::npy_header(entry.dtype, &entry.shape).expect("fine");
        assert!(bytes.starts_with(&header), "{name}");
        assert_eq!(bytes.len() as u64, header.len() as u64 + entry.byte_len);
    }
    // Every length of header ends on a boundary.
    for digits in 0..40 {
        let header = npy::npy_header(DType::Float32, &Shape::new(vec![1; digits])).expect("fine");
        assert_eq!((header.len() % 64, header.last()), (0, Some(&b'\n')));
    }
}

/// An array as anybody might write it.
fn raw(version: u8, header: &str, data: usize) -> Vec<u8> {
    let len = u32::try_from(header.len()).expect("small").to_le_bytes();
    let len = if version == 1 { &len[..2] } else { &len[..] };
    [b"\x93NUMPY", &[version, 0][..], len, header.as_bytes(), &vec![7; data]].concat()
}

#[test]
fn headers_that_lie_are_refused() {
    let header = |descr: &str, shape: &str| format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}}}");
    assert!(npy::open_npy(memory(&raw(1, &header("<f4", "(2,)"), 8)), &Limits::default()).is_ok());
    let good = header("<f4", "(2,)");
    let cases: Vec<(&str, Vec<u8>, Code)> = vec![
        ("nothing", vec![], Code::NotWeights),
        ("a page", b"<!DOCTYPE html>".to_vec(), Code::NotWeights),
        ("version 0", raw(0, &good, 8), Code::Unsupported),
        ("version 4", raw(4, &good, 8), Code::Unsupported),
        ("start only", b"\x93NUMPY\x01\x00".to_vec(), Code::Truncated),
        ("header beyond the file", b"\x93NUMPY\x01\x00\xff\xff{}".to_vec(), Code::Truncated),
        ("header of 4 GiB", b"\x93NUMPY\x02\x00\xff\xff\xff\xff{}".to_vec(), Code::Limit),
        ("data cut off", raw(1, &good, 7), Code::Truncated),
        ("data left over", raw(1, &good, 9), Code::Corrupt),
        ("no literal", raw(1, "__import__('os').system('x')", 0), Code::Corrupt),
        ("no keys", raw(1, "{}", 0), Code::Corrupt),
        ("a key too many", raw(1, &good.replace('}', ", 'x': 1}"), 8), Code::Corrupt),
        ("a key twice", raw(1, &good.replace('}', ", 'shape': (2,)}"), 8), Code::Corrupt),
        ("order that is no truth", raw(1, &good.replace("False", "0"), 8), Code::Corrupt),
        ("negative axis", raw(1, &header("<f4", "(-2,)"), 8), Code::Corrupt),
        ("axis of text", raw(1, &header("<f4", "('2',)"), 8), Code::Corrupt),
        ("shape beyond 64 bits", raw(2, &header("<f4", "(4294967296, 4294967296)"), 8), Code::Corrupt),
        ("shape beyond the file", raw(2, &header("<f4", "(1099511627776,)"), 8), Code::Truncated),
        ("100 axes", raw(2, &header("<f4", &format!("({})", "1,".repeat(100))), 4), Code::Corrupt),
        ("object", raw(1, &header("|O", "(1,)"), 8), Code::Unsupported),
        ("no UTF-8", raw(1, "{'descr': '\u{fffd}', 'shape': ()}", 8), Code::Corrupt),
    ];
    for (name, bytes, code) in cases {
        let found = npy::open_npy(memory(&bytes), &Limits::default()).map(|_| ()).map_err(|error| error.code());
        assert_eq!(found, Err(code), "{name}");
    }
}

#[test]
fn damage_is_found_or_harmless() {
    for name in ["fortran_big.npy", "version3.npy"] {
        let good = std::fs::read(fixtures().join("_arrays").join(name)).expect("there");
        for len in 0..good.len() {
            assert!(npy::open_npy(memory(&good[..len]), &Limits::default()).is_err(), "{name} cut to {len}");
        }
        for position in 0..good.len() {
            for bit in 0..8 {
                let mut damaged = good.clone();
                damaged[position] ^= 1 << bit;
                // The format has no checksum: no crash and no reading outside is all that can be asked.
                if let Ok(reader) = npy::open_npy(memory(&damaged), &Limits::default()) {
                    read_all(&reader).expect("inside");
                }
            }
        }
    }
}

#[test]
fn a_damaged_archive_is_found_by_its_checksum() {
    let good = std::fs::read(fixtures().join("_arrays/deflated.npz")).expect("there");
    let read = |bytes: &[u8]| npy::open_npz(memory(bytes), &Limits::default()).and_then(|reader| read_all(&reader));
    let wanted = read(&good).expect("good");
    for position in (0..good.len()).step_by(11) {
        let mut damaged = good.clone();
        damaged[position] ^= 1 << (position % 8);
        if let Ok(found) = read(&damaged) {
            let same = found.iter().all(|tensor| wanted.contains(tensor));
            assert!(same, "byte {position}");
        }
    }
}

fn write(arrays: &[(&str, DType, Shape)]) -> Vec<u8> {
    let mut builder = NpzBuilder::new();
    for (name, dtype, shape) in arrays {
        builder.tensor(name, *dtype, shape.clone()).expect("fine");
    }
    let plan = builder.plan().expect("fine");
    let mut sink = MemorySink::new();
    let mut emitter = plan.emit(&mut sink).expect("begins");
    let total: u64 = plan.tensors().iter().map(npy::PlannedArray::byte_len).sum();
    let bytes: Vec<u8> = (0..total).map(|i| u8::try_from(i % 251).expect("small")).collect();
    bytes.chunks(13).for_each(|piece| emitter.write(piece).expect("fits"));
    emitter.finish().expect("complete");
    assert_eq!(sink.bytes().len() as u64, plan.file_len());
    sink.into_bytes()
}

#[test]
fn what_we_write_reads_back_aligned() {
    let arrays: Vec<(String, DType)> =
        DType::NUMERIC.into_iter().map(|dtype| (format!("layers/dense/{dtype}"), dtype)).collect();
    let mut arrays: Vec<(&str, DType, Shape)> =
        arrays.iter().map(|(name, dtype)| (name.as_str(), *dtype, Shape::new([5, 3]))).collect();
    arrays.insert(3, ("empty", DType::Int64, Shape::new([0])));
    arrays.push(("scalar", DType::Float64, Shape::default()));
    arrays.push(("last and empty", DType::Int8, Shape::new([2, 0])));
    let bytes = write(&arrays);
    assert_eq!(bytes, write(&arrays), "the same bytes each time");
    let reader: NpzReader = npy::open_npz(memory(&bytes), &Limits::default()).expect("ours");
    let mut position = 0_u64;
    for ((path, dtype, found_shape, bytes), (name, wanted, wanted_shape)) in
        read_all(&reader).expect("ours").iter().zip(&arrays)
    {
        assert_eq!((path.as_str(), found_shape), (*name, wanted_shape));
        let same = match wanted {
            DType::BFloat16 => DType::Opaque(2),
            DType::Float8E4M3 | DType::Float8E5M2 => DType::Opaque(1),
            other => *other,
        };
        assert_eq!(*dtype, same);
        for (index, byte) in (position..).zip(bytes) {
            assert_eq!(u64::from(*byte), index % 251, "{name}");
        }
        position += bytes.len() as u64;
    }
    for (index, entry) in reader.catalogue().entries().iter().enumerate() {
        let Location::Range { offset, .. } = entry.location else { panic!("{} is not mapped", entry.path) };
        assert_eq!(offset % 64, 0, "{}", entry.path);
        reader.verify(index, &Cancel::default()).expect("ours");
    }
}

#[test]
fn the_writer_refuses_what_it_cannot_write() {
    let mut builder = NpzBuilder::new();
    let code = |result: Result<usize>| result.map_err(|error| error.code());
    assert_eq!(code(builder.tensor("a", DType::Int8, Shape::new([2]))), Ok(0));
    assert_eq!(code(builder.tensor("a", DType::Int8, Shape::new([2]))), Err(Code::Name));
    assert_eq!(code(builder.tensor("../a", DType::Int8, Shape::new([2]))), Err(Code::Name));
    assert_eq!(code(builder.tensor("b", DType::String, Shape::new([2]))), Err(Code::DType));
    assert_eq!(code(builder.tensor("b", DType::Float64, Shape::new([1 << 62]))), Err(Code::Corrupt));
    let plan = builder.plan().expect("fine");
    let mut sink = MemorySink::new();
    let mut emitter = plan.emit(&mut sink).expect("begins");
    assert_eq!(emitter.write(&[1, 2, 3]).map_err(|error| error.code()), Err(Code::Argument));
    let mut sink = MemorySink::new();
    let emitter = plan.emit(&mut sink).expect("begins");
    assert_eq!(emitter.finish().map_err(|error| error.code()), Err(Code::Argument));
}

#[test]
fn other_members_do_not_spoil_the_arrays() {
    let mut builder = ArchiveBuilder::new();
    let array = std::fs::read(fixtures().join("_arrays/float32.npy")).expect("there");
    builder.bytes("a.npy", array).expect("fine");
    builder.bytes("readme.txt", b"no array at all".to_vec()).expect("fine");
    builder.bytes("object.npy", std::fs::read(fixtures().join("_arrays/object.npy")).expect("there")).expect("fine");
    let plan = builder.plan().expect("fine");
    let mut sink = MemorySink::new();
    plan.emit(&mut sink).and_then(kw_formats::zip::ArchiveEmitter::finish).expect("known members");
    let reader = npy::open_npz(memory(sink.bytes()), &Limits::default()).expect("one array");
    assert_eq!(reader.catalogue().entries().len(), 1);
    assert_eq!(reader.catalogue().require("readme.txt").map_err(|error| error.code()), Err(Code::NotWeights));
    assert_eq!(reader.catalogue().require("object").map_err(|error| error.code()), Err(Code::Unsupported));
}
