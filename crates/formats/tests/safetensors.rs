//! safetensors files: by the official writer, our own, and hostile ones.
#![cfg(feature = "safetensors")]
#![allow(clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test ends where it fails")]

mod support;

use std::sync::Arc;

use kw_formats::safetensors::{self as st, SafetensorsBuilder, SafetensorsReader};
use kw_model::{
    AttributeValue, ByteSource, Cancel, Code, CountingSource, DType, FileSource, Limits, Location, MemorySink,
    MemorySource, Result, Shape, WeightsError, WeightsReader as _, crc32c,
};
use support::{fixtures, json, read_all, sha256, shape};

fn open_bytes(bytes: &[u8]) -> Result<SafetensorsReader> {
    st::open(Arc::new(MemorySource::new(bytes, "a.safetensors")), &Limits::default())
}

fn check_against_expected(reader: &SafetensorsReader) {
    let expected = &json(&fixtures().join("_arrays/expected.json"))["safetensors"];
    let tensors = read_all(reader).expect("good");
    assert_eq!(tensors.len(), expected.as_object().expect("tensors").len());
    for (path, dtype, found_shape, bytes) in tensors {
        let wanted = &expected[&path];
        assert_eq!(dtype.name(), wanted["dtype"].as_str().expect("a dtype"), "{path}");
        assert_eq!(found_shape, shape(&wanted["shape"]), "{path}");
        assert_eq!(sha256(&bytes), wanted["sha256"].as_str().expect("hex"), "{path}");
    }
}

#[test]
fn files_of_the_official_writer_are_read() {
    let path = fixtures().join("_arrays/all.safetensors");
    let counted = Arc::new(CountingSource::new(Arc::new(FileSource::open(&path).expect("there"))));
    let reader = st::open(Arc::clone(&counted) as Arc<dyn ByteSource>, &Limits::default()).expect("good");
    let data: u64 = reader.catalogue().entries().iter().map(|entry| entry.byte_len).sum();
    assert!(counted.bytes_read() <= counted.len() - data + 1, "no tensor is touched by opening");
    check_against_expected(&reader);
    let root = reader.catalogue().group("").expect("always");
    assert_eq!(root.attributes["naïve"], AttributeValue::Text("\"text\"\n".to_owned()));
    assert!(reader.catalogue().entries().iter().all(|entry| entry.location != Location::Decoded));
    assert_eq!(reader.read_strings(0).map_err(|error| error.code()), Err(Code::DType));
    let error = reader.read_into(0, &mut [0; 3], &Cancel::default()).expect_err("too short");
    assert_eq!(error.code(), Code::Argument);
}

#[test]
fn shards_are_one_catalogue() {
    let folder = fixtures().join("_arrays");
    let index = FileSource::open(&folder.join("model.safetensors.index.json")).expect("there");
    let open = |name: &str| -> Result<Arc<dyn ByteSource>> { Ok(Arc::new(FileSource::open(&folder.join(name))?)) };
    let reader = st::open_sharded(&index, &open, &Limits::default()).expect("good");
    assert_eq!(reader.catalogue().sources().len(), 2);
    check_against_expected(&reader);
}

#[test]
fn indexes_that_lie_are_refused() {
    let folder = fixtures().join("_arrays");
    let open = |name: &str| -> Result<Arc<dyn ByteSource>> { Ok(Arc::new(FileSource::open(&folder.join(name))?)) };
    let shard = "model-00001-of-00002.safetensors";
    let cases = [
        ("way out", r#"{"weight_map": {"a": "../a"}}"#.to_owned(), Code::Corrupt),
        ("absolute", r#"{"weight_map": {"a": "/etc/passwd"}}"#.to_owned(), Code::Corrupt),
        ("Windows' way out", r#"{"weight_map": {"a": "..\\a"}}"#.to_owned(), Code::Corrupt),
        ("folder", r#"{"weight_map": {"a": ".."}}"#.to_owned(), Code::Corrupt),
        ("no name", r#"{"weight_map": {"a": ""}}"#.to_owned(), Code::Corrupt),
        ("file that is missing", r#"{"weight_map": {"a": "b"}}"#.to_owned(), Code::NotFound),
        ("tensor that is missing", format!(r#"{{"weight_map": {{"a": "{shard}"}}}}"#), Code::Corrupt),
        ("no map", r#"{"metadata": {}}"#.to_owned(), Code::Corrupt),
        ("no JSON", "<html>".to_owned(), Code::Corrupt),
        ("too deep", "[".repeat(100_000), Code::Corrupt),
    ];
    for (name, text, code) in cases {
        let index = MemorySource::new(text.as_bytes(), "index");
        let found = st::open_sharded(&index, &open, &Limits::default());
        assert_eq!(found.map(|_| ()).map_err(|error| error.code()), Err(code), "{name}");
    }
    // A tensor that the index does not name is left out, with the reason.
    let index = MemorySource::new(format!(r#"{{"weight_map": {{"bool": "{shard}"}}}}"#).as_bytes(), "index");
    let reader = st::open_sharded(&index, &open, &Limits::default()).expect("good");
    assert_eq!(reader.catalogue().entries().len(), 1);
    let error = reader.catalogue().require("bfloat16").expect_err("left out");
    assert_eq!(error.code(), Code::Corrupt);
}

fn file(header: &str, data: usize) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &vec![7; data]].concat()
}

#[test]
fn headers_that_lie_are_refused() {
    let entry = |dtype: &str, shape: &str, start: u64, end: u64| {
        format!(r#"{{"dtype":"{dtype}","shape":{shape},"data_offsets":[{start},{end}]}}"#)
    };
    let one = |entry: String| format!(r#"{{"a":{entry}}}"#);
    let two = |a: String, b: String| format!(r#"{{"a":{a},"b":{b}}}"#);
    assert!(open_bytes(&file(&one(entry("F32", "[2]", 0, 8)), 8)).is_ok());
    assert!(open_bytes(&file("{}", 0)).is_ok());
    let same = two(entry("U8", "[8]", 0, 8), entry("U8", "[8]", 8, 16)).replace("\"b\"", "\"a\"");
    let cases: Vec<(&str, Vec<u8>, Code)> = vec![
        ("nothing", vec![], Code::NotWeights),
        ("a page", b"<!DOCTYPE html><html>".to_vec(), Code::NotWeights),
        ("a list", file("[]", 0), Code::NotWeights),
        ("header beyond the file", [&100_u64.to_le_bytes()[..], b"{}"].concat(), Code::Truncated),
        ("header of 2^63", [&(1_u64 << 63).to_le_bytes()[..], b"{}"].concat(), Code::NotWeights),
        ("no JSON", file("{\"a\":", 0), Code::Corrupt),
        ("no UTF-8", [&3_u64.to_le_bytes()[..], b"{\xff}"].concat(), Code::Corrupt),
        ("too deep", file(&format!("{{\"a\":{}", "[".repeat(100_000)), 0), Code::Corrupt),
        ("data cut off", file(&one(entry("F32", "[2]", 0, 8)), 7), Code::Truncated),
        ("data left over", file(&one(entry("F32", "[2]", 0, 8)), 9), Code::Corrupt),
        ("size of another shape", file(&one(entry("F32", "[3]", 0, 8)), 8), Code::Corrupt),
        ("shape beyond 64 bits", file(&one(entry("F32", "[4294967296,4294967296]", 0, 8)), 8), Code::Corrupt),
        ("negative axis", file(&one(entry("F32", "[-2]", 0, 8)), 8), Code::Corrupt),
        ("gap before the first", file(&one(entry("U8", "[8]", 1, 9)), 9), Code::Corrupt),
        ("gap between two", file(&two(entry("U8", "[4]", 0, 4), entry("U8", "[4]", 5, 9)), 9), Code::Corrupt),
        ("overlap", file(&two(entry("U8", "[4]", 0, 4), entry("U8", "[4]", 3, 7)), 7), Code::Corrupt),
        ("end before start", file(&one(entry("U8", "[0]", 8, 0)), 8), Code::Corrupt),
        ("offset of 2^64 - 1", file(&one(entry("U8", "[1]", 0, u64::MAX)), 8), Code::Corrupt),
        ("unknown dtype", file(&one(entry("F31", "[2]", 0, 8)), 8), Code::Corrupt),
        ("two of one name", file(&same, 16), Code::Corrupt),
        ("metadata that is no text", file(r#"{"__metadata__":{"a":1}}"#, 0), Code::Corrupt),
        ("metadata twice", file(r#"{"__metadata__":{},"__metadata__":{}}"#, 0), Code::Corrupt),
        ("one text twice", file(r#"{"__metadata__":{"a":"1","a":"2"}}"#, 0), Code::Corrupt),
    ];
    for (name, bytes, code) in cases {
        assert_eq!(open_bytes(&bytes).map(|_| ()).map_err(|error| error.code()), Err(code), "{name}");
    }
    let small = open_bytes(&file(&two(entry("F4", "[4]", 0, 2), entry("F8_E8M0", "[3]", 2, 5)), 5)).expect("legal");
    assert_eq!(small.catalogue().require("a").map_err(|error| error.code()), Err(Code::Unsupported));
    let opaque = &small.catalogue().entries()[0];
    assert_eq!((opaque.path.as_str(), opaque.dtype), ("b", DType::Opaque(1)));
}

#[test]
fn damage_to_a_header_never_gives_tensors_that_overlap_or_reach_out() {
    let good = std::fs::read(fixtures().join("_arrays/all.safetensors")).expect("there");
    let header_end = 8 + usize::try_from(u64::from_le_bytes(good[..8].try_into().expect("8"))).expect("small");
    for len in 0..good.len() {
        assert!(open_bytes(&good[..len]).is_err(), "cut to {len}");
    }
    for position in 0..header_end {
        for bit in 0..8 {
            let mut damaged = good.clone();
            damaged[position] ^= 1 << bit;
            if let Ok(reader) = open_bytes(&damaged) {
                let data: u64 = reader.catalogue().entries().iter().map(|entry| entry.byte_len).sum();
                assert!(data <= (good.len() - header_end) as u64);
                read_all(&reader).expect("inside");
            }
        }
    }
}

fn builder() -> SafetensorsBuilder {
    let mut builder = SafetensorsBuilder::new();
    builder.metadata("b", "\"2\"").metadata("a", "1");
    for dtype in DType::NUMERIC {
        if dtype != DType::Complex128 {
            builder.tensor(&format!("t/{dtype}\n"), dtype, Shape::new([3, 1])).expect("fine");
        }
    }
    builder.tensor("scalar", DType::Float32, Shape::default()).expect("fine");
    builder.tensor("empty", DType::Int64, Shape::new([0, 4])).expect("fine");
    builder
}

fn write(plan: &st::SafetensorsPlan) -> Vec<u8> {
    let mut sink = MemorySink::new();
    let mut emitter = plan.emit(&mut sink, &[]).expect("begins");
    for tensor in plan.tensors() {
        emitter.write(&content(tensor.name(), tensor.byte_len())).expect("fits");
    }
    emitter.finish().expect("complete");
    assert_eq!(sink.bytes().len() as u64, plan.file_len());
    sink.into_bytes()
}

fn content(name: &str, len: u64) -> Vec<u8> {
    (0..len).map(|i| sha256(name.as_bytes()).as_bytes()[usize::try_from(i).expect("small") % 64]).collect()
}

#[test]
fn what_we_write_reads_back_aligned() {
    let plan = builder().plan().expect("fine");
    let bytes = write(&plan);
    assert_eq!(bytes, write(&builder().plan().expect("fine")), "the same bytes each time");
    let reader = open_bytes(&bytes).expect("ours");
    for (tensor, entry) in plan.tensors().iter().zip(reader.catalogue().entries()) {
        assert_eq!((tensor.name(), tensor.dtype(), tensor.shape()), (entry.path.as_str(), entry.dtype, &entry.shape));
        assert_eq!(entry.location, Location::Range { source: 0, offset: tensor.offset() });
        assert_eq!(tensor.offset() % entry.dtype.alignment() as u64, 0, "{}", entry.path);
    }
    assert_eq!(plan.tensors()[0].offset() % 64, 0);
    for (path, _, _, bytes) in read_all(&reader).expect("ours") {
        assert_eq!(bytes, content(&path, bytes.len() as u64), "{path}");
    }
    let texts = &reader.catalogue().group("").expect("always").attributes;
    assert_eq!(texts["b"], AttributeValue::Text("\"2\"".to_owned()));
    // The order is the official one: the widest dtypes first, then by name.
    let names: Vec<&str> = plan.tensors().iter().map(st::PlannedTensor::name).collect();
    assert_eq!(names[..4], ["t/uint64\n", "empty", "t/int64\n", "t/float64\n"]);
}

#[test]
fn digests_go_with_the_tensors() {
    let mut builder = builder();
    // A text that looks like the key does not get the digests.
    builder.metadata("0", "\"kw_crc32c\":\"").with_digests();
    let plan = builder.plan().expect("fine");
    let contents: Vec<Vec<u8>> =
        plan.tensors().iter().map(|tensor| content(tensor.name(), tensor.byte_len())).collect();
    let digests: Vec<u32> = contents.iter().map(|bytes| crc32c(bytes)).collect();
    let mut sink = MemorySink::new();
    assert!(plan.emit(&mut sink, &digests[1..]).is_err(), "one for each");
    let mut sink = MemorySink::new();
    let mut emitter = plan.emit(&mut sink, &digests).expect("begins");
    for bytes in &contents {
        emitter.write(bytes).expect("fits");
    }
    emitter.finish().expect("complete");
    let bytes = sink.into_bytes();
    assert_eq!(bytes.len() as u64, plan.file_len());
    let found = |bytes: &[u8]| -> Vec<Option<u32>> {
        open_bytes(bytes).expect("ours").catalogue().entries().iter().map(|entry| entry.digest).collect()
    };
    assert_eq!(found(&bytes), digests.iter().copied().map(Some).collect::<Vec<_>>());
    let reader = open_bytes(&bytes).expect("ours");
    let texts = &reader.catalogue().group("").expect("always").attributes;
    assert_eq!(texts.keys().collect::<Vec<_>>(), ["0", "a", "b"]);

    // Digits that are none fit no tensor; a text for another number of tensors is nobody's.
    let digits = format!("{:08x}", digests[2]);
    let at = bytes.windows(8).position(|window| window == digits.as_bytes()).expect("in the header");
    let mut damaged = bytes.clone();
    damaged[at] = b'x';
    assert_eq!(found(&damaged)[2], Some(0));
    damaged.splice(at..at + 8, *b"");
    let header = u64::from_le_bytes(*damaged.first_chunk().expect("eight")) - 8;
    damaged[..8].copy_from_slice(&header.to_le_bytes());
    assert!(found(&damaged).iter().all(Option::is_none));
}

#[test]
fn shards_that_we_write_read_back() {
    let plan = builder().plan_sharded(20).expect("fine");
    let names: Vec<String> = (0..plan.files().len()).map(|number| format!("w-{number}.safetensors")).collect();
    let files: Vec<(String, Vec<u8>)> = names.iter().cloned().zip(plan.files().iter().map(write)).collect();
    assert!(files.len() > 3);
    let open = |name: &str| -> Result<Arc<dyn ByteSource>> {
        let (_, bytes) = files.iter().find(|(file, _)| file == name).ok_or(WeightsError::new(Code::NotFound, name))?;
        Ok(Arc::new(MemorySource::new(bytes.as_slice(), name)))
    };
    let index = MemorySource::new(plan.index(&names).expect("fine").into_bytes(), "index");
    let reader = st::open_sharded(&index, &open, &Limits::default()).expect("ours");
    assert_eq!(reader.catalogue().entries().len(), 18);
    for (path, _, _, bytes) in read_all(&reader).expect("ours") {
        assert_eq!(bytes, content(&path, bytes.len() as u64), "{path}");
    }
}

#[test]
fn the_writer_refuses_what_it_cannot_write() {
    let mut builder = SafetensorsBuilder::new();
    let code = |result: Result<usize>| result.map_err(|error| error.code());
    assert_eq!(code(builder.tensor("a", DType::Int8, Shape::new([2]))), Ok(0));
    assert_eq!(code(builder.tensor("a", DType::Int8, Shape::new([2]))), Err(Code::Name));
    assert_eq!(code(builder.tensor("__metadata__", DType::Int8, Shape::new([2]))), Err(Code::Name));
    assert_eq!(code(builder.tensor("b", DType::Complex128, Shape::new([2]))), Err(Code::DType));
    assert_eq!(code(builder.tensor("b", DType::Float64, Shape::new([1 << 62]))), Err(Code::Corrupt));
    let plan = builder.plan().expect("fine");
    let mut sink = MemorySink::new();
    let mut emitter = plan.emit(&mut sink, &[]).expect("begins");
    assert_eq!(emitter.write(&[1, 2, 3]).map_err(|error| error.code()), Err(Code::Argument));
    let mut sink = MemorySink::new();
    let emitter = plan.emit(&mut sink, &[]).expect("begins");
    assert_eq!(emitter.finish().map_err(|error| error.code()), Err(Code::Argument));
}
