//! Checkpoints that no TensorFlow wrote: other byte order, damage, lies. TensorFlow 2.21 aborts, hangs or
//! returns wrong numbers on several of these (its bundle reader trusts the index).

use std::collections::HashMap;
use std::sync::Arc;

use kw_model::{ByteSource, Cancel, Code, DType, Limits, MemorySource, Result, Shape, WeightsError, WeightsReader};

use super::entry::{Entry, Header};
use super::slices::Extent;
use super::table::TableBuilder;
use super::{BundleBuilder, BundleReader, ShardSlots, checksum, open, slice_key::slice_key, strings, wire};

type Files = HashMap<String, Vec<u8>>;

fn open_files(files: &Files) -> Result<BundleReader> {
    open(
        "w",
        &|name| match files.get(name) {
            Some(bytes) => Ok(Arc::new(MemorySource::new(bytes.as_slice(), name)) as Arc<dyn ByteSource>),
            None => Err(WeightsError::new(Code::NotFound, format!("no {name}"))),
        },
        &Limits::default(),
    )
}

fn index(header: Header, mut entries: Vec<(Vec<u8>, Vec<u8>)>) -> Vec<u8> {
    entries.sort();
    let mut table = TableBuilder::new(4096);
    table.add(&[], &header.encode()).expect("first");
    for (key, value) in entries {
        table.add(&key, &value).expect("rising");
    }
    table.finish().expect("small")
}

const LITTLE: Header = Header { num_shards: 1, big_endian: false };

fn files(header: Header, entries: Vec<(Vec<u8>, Vec<u8>)>, data: &[u8]) -> Files {
    let data_name = super::data_file_name("w", 0, header.num_shards);
    HashMap::from([("w.index".into(), index(header, entries)), (data_name, data.to_vec())])
}

fn read_all(reader: &BundleReader) -> Result<Vec<(String, Vec<u8>)>> {
    let mut all = Vec::new();
    for (number, entry) in reader.catalogue().entries().iter().enumerate() {
        if entry.dtype == DType::String {
            all.push((entry.path.clone(), reader.read_strings(number)?.concat()));
            continue;
        }
        let mut out = vec![0; usize::try_from(entry.byte_len).expect("small")];
        reader.read_into(number, &mut out, &Cancel::default())?;
        if entry.digest.is_some_and(|digest| digest != kw_model::crc32c(&out)) {
            return Err(WeightsError::new(Code::Digest, "the digest of the catalogue"));
        }
        all.push((entry.path.clone(), out));
    }
    reader.object_graph()?;
    Ok(all)
}

/// A float32 tensor of shape (2, 3) at offset 0.
fn good() -> Entry {
    Entry { dtype: 1, shape: Shape::new([2, 3]), size: 24, crc: checksum::masked(&[7; 24]), ..Entry::default() }
}

fn only(entry: &Entry) -> Files {
    files(LITTLE, vec![(b"v".to_vec(), entry.encode())], &[7; 24])
}

#[test]
fn lies_in_entries_are_refused() {
    assert_eq!(read_all(&open_files(&only(&good())).expect("good")).expect("good"), [("v".to_owned(), vec![7; 24])]);
    let entry = |change: &dyn Fn(&mut Entry)| {
        let mut entry = good();
        change(&mut entry);
        only(&entry)
    };
    let cases: [(&str, Files, Code); 12] = [
        ("size below shape", entry(&|e| e.size = 20), Code::Corrupt),
        ("shape beyond size", entry(&|e| e.shape = Shape::new([1 << 40, 1 << 20])), Code::Corrupt),
        ("shape beyond 64 bits", entry(&|e| e.shape = Shape::new([1 << 40, 1 << 40])), Code::Corrupt),
        ("offset past the end", entry(&|e| e.offset = 1), Code::Truncated),
        ("offset near 2^63", entry(&|e| e.offset = i64::MAX.cast_unsigned()), Code::Truncated),
        ("data file 1 of 1", entry(&|e| e.shard = 1), Code::Corrupt),
        ("data file 2^32 - 1", entry(&|e| e.shard = u32::MAX), Code::Corrupt),
        ("slices that are missing", entry(&|e| e.slices = vec![vec![Extent::Full; 2]]), Code::Corrupt),
        ("slice of another rank", entry(&|e| e.slices = vec![vec![Extent::Full]]), Code::Corrupt),
        ("no header", HashMap::from([("w.index".into(), index_without_header())]), Code::Corrupt),
        ("name is no text", files(LITTLE, vec![(vec![0xff], good().encode())], &[7; 24]), Code::Corrupt),
        ("slice that nobody asked for", files(LITTLE, vec![(vec![0, 1], good().encode())], &[7; 24]), Code::Corrupt),
    ];
    for (name, files, code) in cases {
        let found = open_files(&files).and_then(|reader| read_all(&reader)).map_err(|error| error.code());
        assert_eq!(found, Err(code), "{name}");
    }
}

fn index_without_header() -> Vec<u8> {
    let mut table = TableBuilder::new(4096);
    table.add(b"v", &good().encode()).expect("first");
    table.finish().expect("small")
}

#[test]
fn a_type_that_is_no_data_is_left_out_with_its_reason() {
    for dtype in [0, 20, 34, 101, u64::MAX] {
        let odd = Entry { dtype, ..good() };
        let reader = open_files(&files(
            LITTLE,
            vec![(b"odd".to_vec(), odd.encode()), (b"v".to_vec(), good().encode())],
            &[7; 24],
        ))
        .expect("the other tensor is fine");
        assert_eq!(reader.catalogue().entries().len(), 1);
        assert_eq!(reader.catalogue().require("odd").map_err(|error| error.code()), Err(Code::Unsupported));
    }
}

type Change<'a> = &'a dyn Fn(&mut Entry, &mut Vec<(Vec<Extent>, Entry)>);

/// A tensor of shape (4,) of uint8 in two slices.
fn sliced(change: Change<'_>) -> Files {
    let part = |start: u64, len: u64| vec![Extent::Part { start, len }];
    let data = [1, 2, 3, 4];
    let slice = |offset: usize| Entry {
        dtype: 4,
        shape: Shape::new([2]),
        offset: offset as u64,
        size: 2,
        crc: checksum::masked(&data[offset..offset + 2]),
        ..Entry::default()
    };
    let mut full = Entry { dtype: 4, shape: Shape::new([4]), slices: vec![part(0, 2), part(2, 2)], ..Entry::default() };
    let mut slices = vec![(part(0, 2), slice(0)), (part(2, 2), slice(2))];
    change(&mut full, &mut slices);
    let mut entries = vec![(b"v".to_vec(), full.encode())];
    entries.extend(slices.iter().map(|(extents, entry)| (slice_key(b"v", extents), entry.encode())));
    files(LITTLE, entries, &data)
}

#[test]
fn slices_must_make_up_their_tensor() {
    let part = |start: u64, len: u64| vec![Extent::Part { start, len }];
    let whole = open_files(&sliced(&|_, _| {})).and_then(|reader| read_all(&reader)).expect("good");
    assert_eq!(whole, [("v".to_owned(), vec![1, 2, 3, 4])]);
    let cases: [(&str, Change<'_>, Code); 10] = [
        (
            "gap",
            &|full, slices| {
                full.slices.pop();
                slices.pop();
            },
            Code::Corrupt,
        ),
        ("tensor larger than its slices", &|full, _| full.shape = Shape::new([1 << 40]), Code::Corrupt),
        ("tensor smaller than its slices", &|full, _| full.shape = Shape::new([3]), Code::Corrupt),
        ("one slice twice", &|full, _| full.slices[1] = part(0, 2), Code::Corrupt),
        (
            "slice that is missing",
            &|_, slices| {
                slices.pop();
            },
            Code::Corrupt,
        ),
        (
            "slice that is too many",
            &|_, slices| {
                let more = slices[0].1.clone();
                slices.push((part(1, 2), more));
            },
            Code::Corrupt,
        ),
        ("slice of another dtype", &|_, slices| slices[0].1.dtype = 6, Code::Corrupt),
        ("slice of another shape", &|_, slices| slices[0].1.shape = Shape::new([1, 2]), Code::Corrupt),
        ("slice with fewer bytes", &|_, slices| slices[0].1.size = 1, Code::Corrupt),
        ("slice with another checksum", &|_, slices| slices[0].1.crc ^= 1, Code::Digest),
    ];
    for (name, change, code) in cases {
        let found = open_files(&sliced(change)).and_then(|reader| read_all(&reader)).map_err(|error| error.code());
        assert_eq!(found, Err(code), "{name}");
    }
}

#[test]
fn big_endian_files_give_little_endian_values() {
    let header = Header { num_shards: 1, big_endian: true };
    let mut data = Vec::new();
    let mut entries = Vec::new();
    let mut add = |name: &str, dtype: u64, axes: &[u64], bytes: &[u8]| {
        let entry = Entry {
            dtype,
            shape: Shape::from(axes),
            offset: data.len() as u64,
            size: bytes.len() as u64,
            crc: checksum::masked(bytes),
            ..Entry::default()
        };
        data.extend_from_slice(bytes);
        entries.push((name.as_bytes().to_vec(), entry.encode()));
    };
    add("bool", 10, &[2], &[1, 0]);
    add("complex128", 18, &[1], &[1.5_f64.to_be_bytes(), 2.5_f64.to_be_bytes()].concat());
    add("complex64", 8, &[1], &[1.5_f32.to_be_bytes(), 2.5_f32.to_be_bytes()].concat());
    add("float32", 1, &[2], &[1.5_f32.to_be_bytes(), 2.5_f32.to_be_bytes()].concat());
    add("half", 19, &[1], &[0x3c, 0x01]);
    add("int64", 9, &[], &7_i64.to_be_bytes());
    let reader = open_files(&files(header, entries.clone(), &data)).expect("good");
    let wanted: [(&str, Vec<u8>); 6] = [
        ("bool", vec![1, 0]),
        ("complex128", [1.5_f64.to_le_bytes(), 2.5_f64.to_le_bytes()].concat()),
        ("complex64", [1.5_f32.to_le_bytes(), 2.5_f32.to_le_bytes()].concat()),
        ("float32", [1.5_f32.to_le_bytes(), 2.5_f32.to_le_bytes()].concat()),
        ("half", vec![0x01, 0x3c]),
        ("int64", 7_i64.to_le_bytes().to_vec()),
    ];
    assert_eq!(read_all(&reader).expect("good"), wanted.map(|(name, bytes)| (name.to_owned(), bytes)));
    let mut damaged = data;
    damaged[20] ^= 1;
    let reader = open_files(&files(header, entries, &damaged)).expect("the index is good");
    assert_eq!(read_all(&reader).map_err(|error| error.code()), Err(Code::Digest));
}

/// A bundle of several data files with numbers, strings and a graph, by our writer.
fn bundle(alignment: u64) -> Files {
    let mut builder = BundleBuilder::new();
    builder.max_shard_bytes(64).alignment(alignment);
    builder.tensor("b/kernel", DType::Float32, Shape::new([3, 5])).expect("fine");
    builder.tensor("a", DType::Int64, Shape::default()).expect("fine");
    builder.tensor("none", DType::Float16, Shape::new([0])).expect("fine");
    builder.strings("words", Shape::new([2]), &["one", "two"]).expect("fine");
    let mut graph = Vec::new();
    wire::put_message(&mut graph, 1, &[]);
    builder.strings(super::OBJECT_GRAPH_KEY, Shape::default(), &[graph]).expect("fine");
    let plan = builder.plan().expect("fine");
    let slots = ShardSlots { first: 4, count: 9 };
    let mut files = Files::new();
    let mut digests = Vec::new();
    for shard in 0..plan.num_shards() {
        let mut sink = kw_model::MemorySink::new();
        let mut emitter = plan.emit_shard(shard, &mut sink).expect("begins");
        for tensor in plan.tensors().iter().filter(|tensor| tensor.shard() == shard && !tensor.is_known()) {
            emitter.write(&vec![9; usize::try_from(tensor.byte_len()).expect("small")]).expect("fits");
        }
        digests.extend(emitter.finish().expect("complete"));
        files.insert(slots.file_name("w", shard), sink.into_bytes());
    }
    files.insert("w.index".into(), plan.index(&digests, slots).expect("fine"));
    files
}

#[test]
fn a_bundle_in_any_slots_reads_back() {
    let files = bundle(64);
    let mut names: Vec<&str> = files.keys().map(String::as_str).collect();
    names.sort_unstable();
    let data = (4..8).map(|shard| format!("w.data-{shard:05}-of-00009"));
    assert_eq!(names, data.chain(["w.index".to_owned()]).collect::<Vec<_>>());
    let reader = open_files(&files).expect("ours");
    let all = read_all(&reader).expect("ours");
    assert_eq!(all[1], ("a".to_owned(), vec![9; 8]));
    assert_eq!(all[2], ("b/kernel".to_owned(), vec![9; 60]));
    assert_eq!(all[3], ("none".to_owned(), vec![]));
    assert_eq!(all[4], ("words".to_owned(), b"onetwo".to_vec()));
}

#[test]
fn every_flipped_bit_is_found() {
    let files = bundle(1);
    read_all(&open_files(&files).expect("ours")).expect("ours");
    for name in files.keys() {
        for position in 0..files[name].len() {
            for bit in 0..8 {
                let mut damaged = files.clone();
                damaged.get_mut(name).expect("there")[position] ^= 1 << bit;
                let result = open_files(&damaged).and_then(|reader| read_all(&reader));
                assert!(result.is_err(), "{name}: bit {bit} of byte {position}");
            }
        }
    }
}

#[test]
fn every_cut_is_found() {
    let files = bundle(1);
    for name in files.keys() {
        for len in 0..files[name].len() {
            let mut damaged = files.clone();
            damaged.get_mut(name).expect("there").truncate(len);
            let error = open_files(&damaged).and_then(|reader| read_all(&reader)).expect_err("cut");
            let codes = [Code::Truncated, Code::NotWeights, Code::Corrupt];
            assert!(codes.contains(&error.code()), "{name} cut to {len}: {error}");
        }
        let mut missing = files.clone();
        missing.remove(name);
        let error = open_files(&missing).map(|_| ()).expect_err("gone");
        assert_eq!((error.code(), error.context().file.as_deref()), (Code::NotFound, Some(name.as_str())));
    }
}

#[test]
fn strings_that_lie_are_refused() {
    let (stored, crc) = strings::encode(&["kernel", "bias"]);
    let entry = |size: u64, axes: &[u64]| Entry {
        dtype: 7,
        shape: Shape::from(axes),
        size,
        crc: checksum::mask(crc),
        ..Entry::default()
    };
    let size = stored.len() as u64;
    for (name, entry, fits) in [
        ("good", entry(size, &[2]), true),
        ("three strings", entry(size, &[3]), false),
        ("2^60 strings", entry(size, &[1 << 60]), false),
        ("more strings than 64 bits count", entry(size, &[1 << 60, 1 << 60]), false),
        ("a byte less", entry(size - 1, &[2]), false),
    ] {
        let found = open_files(&files(LITTLE, vec![(b"v".to_vec(), entry.encode())], &stored))
            .and_then(|reader| read_all(&reader));
        assert_eq!(found.is_ok(), fits, "{name}");
    }
    // A length of 2^60, with checksums that fit.
    let mut lying = Vec::new();
    crate::varint::put(&mut lying, 1 << 60);
    let mut crc = kw_model::Crc32c::default();
    crc.update(&(1_u64 << 60).to_le_bytes());
    lying.extend_from_slice(&checksum::mask(crc.value()).to_le_bytes());
    crc.update(&lying[lying.len() - 4..]);
    let entry = Entry { dtype: 7, size: lying.len() as u64, crc: checksum::mask(crc.value()), ..Entry::default() };
    let reader = open_files(&files(LITTLE, vec![(b"v".to_vec(), entry.encode())], &lying)).expect("the index is good");
    assert_eq!(read_all(&reader).map_err(|error| error.code()), Err(Code::Corrupt));
}

#[test]
fn a_reader_whose_data_file_is_gone_looks_at_the_index_once_more() {
    let (old, new) = (only(&good()), bundle(1));
    let opened = std::sync::atomic::AtomicUsize::new(0);
    // Between index and data of the first try, another process commits a new generation.
    let reader = open(
        "w",
        &|name| {
            let first = opened.fetch_add(1, std::sync::atomic::Ordering::Relaxed) == 0;
            let files = if first { &old } else { &new };
            let bytes = files.get(name).ok_or_else(|| WeightsError::new(Code::NotFound, "gone"))?;
            Ok(Arc::new(MemorySource::new(bytes.as_slice(), name)))
        },
        &Limits::default(),
    );
    assert_eq!(reader.expect("the new one").num_shards(), 9);
}

#[test]
fn limits_hold() {
    let files = bundle(1);
    for (name, limits) in [
        ("tensors", Limits { max_tensors: 4, ..Limits::default() }),
        ("one tensor", Limits { max_tensor_bytes: 59, ..Limits::default() }),
        ("all tensors", Limits { max_total_bytes: 60, ..Limits::default() }),
        ("header", Limits { max_header_bytes: 100, ..Limits::default() }),
    ] {
        let result = open(
            "w",
            &|name| Ok(Arc::new(MemorySource::new(files[name].as_slice(), name)) as Arc<dyn ByteSource>),
            &limits,
        );
        assert_eq!(result.map(|_| ()).map_err(|error| error.code()), Err(Code::Limit), "{name}");
    }
}

#[test]
fn the_writer_refuses_what_it_cannot_write() {
    let code = |result: Result<usize>| result.map_err(|error| error.code());
    let mut builder = BundleBuilder::new();
    assert_eq!(code(builder.tensor("a", DType::Float32, Shape::new([2]))), Ok(0));
    assert_eq!(code(builder.tensor("a", DType::Float32, Shape::new([2]))), Err(Code::Name));
    assert_eq!(code(builder.tensor("", DType::Float32, Shape::new([2]))), Err(Code::Name));
    assert_eq!(code(builder.tensor("b", DType::Opaque(3), Shape::new([2]))), Err(Code::DType));
    assert_eq!(code(builder.tensor("b", DType::String, Shape::new([2]))), Err(Code::DType));
    assert_eq!(code(builder.tensor("b", DType::Float32, Shape::new([1 << 40, 1 << 40]))), Err(Code::Corrupt));
    assert_eq!(code(builder.strings("b", Shape::new([2]), &["one"])), Err(Code::Argument));
    let half = vec![Extent::Part { start: 0, len: 1 }];
    assert_eq!(code(builder.sliced("b", DType::Float32, Shape::new([2]), &[half])), Err(Code::Corrupt));
    let plan = builder.plan().expect("one tensor");
    let mut sink = kw_model::MemorySink::new();
    let mut emitter = plan.emit_shard(0, &mut sink).expect("begins");
    emitter.write(&[0; 7]).expect("fits");
    assert_eq!(emitter.finish().map_err(|error| error.code()), Err(Code::Argument));
    let mut sink = kw_model::MemorySink::new();
    let mut emitter = plan.emit_shard(0, &mut sink).expect("begins");
    assert_eq!(emitter.write(&[0; 9]).map_err(|error| error.code()), Err(Code::Argument));
    let slots = ShardSlots { first: 1, count: 1 };
    assert_eq!(plan.index(&[0], slots).map_err(|error| error.code()), Err(Code::Argument));
    assert_eq!(plan.index(&[], ShardSlots::fresh(1)).map_err(|error| error.code()), Err(Code::Argument));
}
