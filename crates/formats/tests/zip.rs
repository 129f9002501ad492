//! Archives: real ones by Keras and numpy, our own, and hostile ones.
#![cfg(feature = "zip")]
#![allow(clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test ends where it fails")]

mod support;

use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;

use kw_formats::zip::{Archive, ArchiveBuilder};
use kw_model::{ByteSink as _, ByteSource, Cancel, Code, FileSource, Limits, MemorySink, MemorySource, Result, crc32};
use support::files_with_suffix;

type Files = Vec<(String, Vec<u8>)>;

fn read(source: Arc<dyn ByteSource>) -> Result<Files> {
    let archive = Archive::open(source, &Limits::default())?;
    let mut files = Vec::new();
    for (index, member) in archive.members().iter().enumerate() {
        archive.verify(index, &Cancel::default())?;
        let source = archive.source(index, &Cancel::default())?;
        assert_eq!(source.len(), member.len());
        let mut bytes = vec![0; usize::try_from(source.len()).expect("small")];
        source.read_exact_at(0, &mut bytes)?;
        files.push((member.name().to_owned(), bytes));
    }
    Ok(files)
}

fn read_bytes(bytes: &[u8]) -> Result<Files> {
    read(Arc::new(MemorySource::new(bytes, "archive")))
}

/// By our writer: small members known, others streamed, every other one with its checksum given.
fn write(files: &Files) -> Vec<u8> {
    let mut builder = ArchiveBuilder::new();
    for (index, (name, bytes)) in files.iter().enumerate() {
        let added = match index % 3 {
            0 => builder.bytes(name, bytes.clone()),
            1 => builder.member(name, bytes.len() as u64, Some(crc32(bytes))),
            _ => builder.member(name, bytes.len() as u64, None),
        };
        assert_eq!(added.expect("fine"), index);
    }
    let plan = builder.plan().expect("fine");
    let mut sink = MemorySink::new();
    let mut emitter = plan.emit(&mut sink).expect("begins");
    for (index, (_, bytes)) in files.iter().enumerate() {
        if index % 3 > 0 {
            for piece in bytes.chunks(777) {
                emitter.write(piece).expect("fits");
            }
        }
    }
    emitter.finish().expect("complete");
    assert_eq!(sink.bytes().len() as u64, plan.file_len());
    for (planned, (name, bytes)) in plan.members().iter().zip(files) {
        assert_eq!(planned.name(), name);
        assert_eq!(planned.offset() % 64, 0, "{name}");
        let start = usize::try_from(planned.offset()).expect("small");
        assert!(sink.bytes()[start..].starts_with(bytes), "{name}");
    }
    sink.into_bytes()
}

#[test]
fn every_archive_of_keras_and_numpy_is_read_and_written_again() {
    for suffix in [".keras", ".npz"] {
        for path in files_with_suffix(suffix) {
            let open = |path: &Path| -> Arc<dyn ByteSource> { Arc::new(FileSource::open(path).expect("there")) };
            // Keras 2 writes HDF5 into files of any name, and some are broken on purpose.
            let start = std::fs::read(&path).expect("there");
            if !start.starts_with(b"PK") {
                let error = read(open(&path)).expect_err("no archive");
                assert_eq!(error.code(), Code::NotWeights, "{}", path.display());
                continue;
            }
            let files = read(open(&path)).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            assert!(!files.is_empty(), "{}", path.display());
            if suffix == ".keras" {
                let names: Vec<&str> = files.iter().map(|(name, _)| name.as_str()).collect();
                assert!(names.contains(&"config.json") && names.contains(&"model.weights.h5"), "{names:?}");
            }
            let again = write(&files);
            assert_eq!(again, write(&files), "the same bytes each time");
            assert!(read_bytes(&again).expect("ours") == files, "{}", path.display());
        }
    }
}

fn files() -> Files {
    let name = |name: &str| name.to_owned();
    vec![
        (name("config.json"), b"{\"a\": 1}".to_vec()),
        (name("weights"), (0..150_u32).flat_map(u32::to_le_bytes).collect()),
        (name("assets/ünïcode"), vec![5; 100]),
        (name("empty"), vec![]),
        (name("also empty"), vec![]),
        (name("still empty"), vec![]),
    ]
}

#[test]
fn archives_of_no_and_of_many_members_read_back() {
    for count in [0, 1, 2, 70_000] {
        let files: Files = (0..count).map(|i: u32| (format!("arr_{i}"), i.to_le_bytes().to_vec())).collect();
        let bytes = write(&files);
        assert!(read_bytes(&bytes).expect("ours") == files, "{count}");
    }
}

#[test]
fn stored_members_are_ranges_of_the_archive() {
    let archive =
        Archive::open(Arc::new(MemorySource::new(write(&files()), "a.keras")), &Limits::default()).expect("ours");
    let index = archive.require("weights").expect("there");
    assert!(archive.members()[index].is_stored());
    let source = archive.source(index, &Cancel::default()).expect("stored");
    assert_eq!(source.name(), "a.keras!weights");
    assert!(source.bytes().is_some_and(|bytes| bytes == files()[1].1));
    assert_eq!(archive.require("weight").map_err(|error| error.code()), Err(Code::Missing));
}

#[test]
fn cuts_are_found_and_flipped_bits_change_no_value() {
    let good = write(&files());
    for len in 0..good.len() {
        let error = read_bytes(&good[..len]).expect_err("cut");
        let wanted = if len < 4 { Code::NotWeights } else { Code::Truncated };
        assert_eq!(error.code(), wanted, "cut to {len}: {error}");
    }
    for position in 0..good.len() {
        let mut damaged = good.clone();
        damaged[position] ^= 1 << (position % 8);
        if let Ok(found) = read_bytes(&damaged) {
            assert!(found == files(), "byte {position}");
        }
    }
}

/// An archive as anybody might write it, record by record.
struct Raw<'a> {
    name: &'a str,
    local_name: &'a str,
    method: u16,
    flags: u16,
    crc: u32,
    stored: Vec<u8>,
    len: u32,
    stored_len: u32,
    mode: u32,
    /// In place of where the local header is.
    offset: Option<u32>,
}

fn stored<'a>(name: &'a str, bytes: &[u8]) -> Raw<'a> {
    let len = u32::try_from(bytes.len()).expect("small");
    Raw {
        name,
        local_name: name,
        method: 0,
        flags: 0,
        crc: crc32(bytes),
        stored: bytes.to_vec(),
        len,
        stored_len: len,
        mode: 0o100_644,
        offset: None,
    }
}

fn deflated<'a>(name: &'a str, bytes: &[u8]) -> Raw<'a> {
    let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).expect("memory");
    let packed = encoder.finish().expect("memory");
    let stored_len = u32::try_from(packed.len()).expect("small");
    Raw { method: 8, stored: packed, stored_len, ..stored(name, bytes) }
}

fn raw(members: &[Raw<'_>]) -> Vec<u8> {
    fn put(out: &mut Vec<u8>, shorts: &[u16]) {
        out.extend(shorts.iter().flat_map(|short| short.to_le_bytes()));
    }
    fn put_wide(out: &mut Vec<u8>, longs: &[u32]) {
        out.extend(longs.iter().flat_map(|long| long.to_le_bytes()));
    }
    let short = |len: usize| u16::try_from(len).expect("small");
    let long = |len: usize| u32::try_from(len).expect("small");
    let (mut out, mut directory) = (Vec::new(), Vec::new());
    for member in members {
        let offset = member.offset.unwrap_or(long(out.len()));
        put_wide(&mut out, &[0x0403_4b50]);
        put(&mut out, &[20, member.flags, member.method, 0, 33]);
        put_wide(&mut out, &[member.crc, member.stored_len, member.len]);
        put(&mut out, &[short(member.local_name.len()), 0]);
        out.extend_from_slice(member.local_name.as_bytes());
        out.extend_from_slice(&member.stored);
        put_wide(&mut directory, &[0x0201_4b50]);
        put(&mut directory, &[0x0314, 20, member.flags, member.method, 0, 33]);
        put_wide(&mut directory, &[member.crc, member.stored_len, member.len]);
        put(&mut directory, &[short(member.name.len()), 0, 0, 0, 0]);
        put_wide(&mut directory, &[member.mode << 16, offset]);
        directory.extend_from_slice(member.name.as_bytes());
    }
    let (start, len, count) = (long(out.len()), long(directory.len()), short(members.len()));
    out.extend_from_slice(&directory);
    put_wide(&mut out, &[0x0605_4b50]);
    put(&mut out, &[0, 0, count, count]);
    put_wide(&mut out, &[len, start]);
    put(&mut out, &[0]);
    out
}

#[test]
fn deflated_members_are_inflated() {
    let long: Vec<u8> = (0..3_000_000_u32).map(|i| u8::try_from(i / 7 % 251).expect("small")).collect();
    for bytes in [&b""[..], b"x", &vec![0; 100_000], &long] {
        assert_eq!(read_bytes(&raw(&[deflated("a", bytes)])).expect("good"), [("a".to_owned(), bytes.to_vec())]);
    }
}

#[test]
fn hostile_archives_are_refused() {
    let a = || stored("a", b"12345");
    let b = || stored("b", b"678");
    let cases: Vec<(&str, Vec<Raw<'_>>, Code)> = vec![
        ("two of one name", vec![a(), a()], Code::Corrupt),
        ("a file and a folder of one name", vec![a(), stored("a/", b"")], Code::Corrupt),
        ("one place for two", vec![a(), Raw { offset: Some(0), ..stored("a", b"12345") }], Code::Corrupt),
        ("members that overlap", vec![Raw { stored_len: 20, len: 20, ..a() }, b()], Code::Corrupt),
        ("other name in the header", vec![Raw { local_name: "b", ..a() }], Code::Corrupt),
        ("way out", vec![stored("../a", b"")], Code::Corrupt),
        ("absolute name", vec![stored("/a", b"")], Code::Corrupt),
        ("Windows' way out", vec![stored("..\\a", b"")], Code::Corrupt),
        ("header past the end", vec![Raw { offset: Some(u32::MAX - 1), ..a() }], Code::Corrupt),
        ("header in the directory", vec![Raw { offset: Some(36), ..a() }], Code::Corrupt),
        ("data past the directory", vec![Raw { stored_len: 6, len: 6, ..a() }], Code::Corrupt),
        ("4 GiB of data", vec![Raw { stored_len: u32::MAX - 1, len: u32::MAX - 1, ..a() }], Code::Corrupt),
        ("zip64 number that is missing", vec![Raw { stored_len: u32::MAX, len: u32::MAX, ..a() }], Code::Corrupt),
        ("stored, yet of another length", vec![Raw { len: 4, ..a() }], Code::Corrupt),
        ("wrong checksum", vec![Raw { crc: 1, ..a() }], Code::Digest),
        ("wrong checksum, deflated", vec![Raw { crc: 1, ..deflated("a", b"12345") }], Code::Digest),
        ("encrypted", vec![Raw { flags: 1, ..a() }], Code::Unsupported),
        ("unknown method", vec![Raw { method: 14, ..a() }], Code::Unsupported),
        ("symbolic link", vec![Raw { mode: 0o120_777, ..a() }], Code::Unsupported),
        ("longer than said", vec![Raw { len: 4, ..deflated("a", b"12345") }], Code::Corrupt),
        ("shorter than said", vec![Raw { len: 6, ..deflated("a", b"12345") }], Code::Corrupt),
        ("bomb by its own word", vec![Raw { len: u32::MAX - 1, ..deflated("a", b"12345") }], Code::Limit),
        (
            "no deflate stream",
            vec![Raw { stored: vec![0xff; 7], stored_len: 7, ..deflated("a", b"12345") }],
            Code::Corrupt,
        ),
    ];
    for (name, members, code) in cases {
        assert_eq!(read_bytes(&raw(&members)).map_err(|error| error.code()), Err(code), "{name}");
    }
    let good = raw(&[a(), b()]);
    assert_eq!(read_bytes(&good).expect("good").len(), 2);
    assert_eq!(read_bytes(&[b"x", &good[..]].concat()).map_err(|error| error.code()), Err(Code::Corrupt), "shifted");
    assert_eq!(read_bytes(&[&good[..], b"x"].concat()).map_err(|error| error.code()), Err(Code::Truncated), "tail");
    assert_eq!(read_bytes(b"<!DOCTYPE html>").map_err(|error| error.code()), Err(Code::NotWeights));
    let end = good.len() - 22;
    for (name, position, value) in
        [("more entries", 8, 3), ("fewer entries", 8, 1), ("directory elsewhere", 16, 0), ("shorter directory", 12, 46)]
    {
        let mut damaged = good.clone();
        damaged[end + position] = value;
        if position == 8 {
            damaged[end + 10] = value;
        }
        assert_eq!(read_bytes(&damaged).map_err(|error| error.code()), Err(Code::Corrupt), "{name}");
    }
}

#[test]
fn limits_hold() {
    let bytes = raw(&[deflated("zeros", &vec![0; 1 << 20]), stored("b", b"1")]);
    let open = |limits: &Limits| {
        let archive = Archive::open(Arc::new(MemorySource::new(bytes.as_slice(), "bomb")), limits)?;
        archive.source(0, &Cancel::default()).map(|source| source.len())
    };
    assert_eq!(open(&Limits::default()).expect("deflate's own ratio"), 1 << 20);
    for limits in [
        Limits { max_inflate_ratio: 500, ..Limits::default() },
        Limits { max_tensor_bytes: 1 << 19, ..Limits::default() },
        Limits { max_tensors: 1, ..Limits::default() },
        Limits { max_header_bytes: 50, ..Limits::default() },
    ] {
        assert_eq!(open(&limits).map_err(|error| error.code()), Err(Code::Limit), "{limits:?}");
    }
    let cancel = Cancel::default();
    cancel.cancel();
    let archive =
        Archive::open(Arc::new(MemorySource::new(bytes.as_slice(), "bomb")), &Limits::default()).expect("good");
    assert_eq!(archive.source(0, &cancel).map(|_| ()).map_err(|error| error.code()), Err(Code::Aborted));
    assert_eq!(archive.verify(1, &cancel).map_err(|error| error.code()), Err(Code::Aborted));
}

#[test]
fn the_writer_refuses_what_it_cannot_write() {
    let mut builder = ArchiveBuilder::new();
    builder.member("a", 5, Some(crc32(b"12345"))).expect("fine");
    for name in ["a", "", "../a", "/a", "a/", &"n".repeat(65_536)] {
        assert_eq!(builder.member(name, 1, None).map_err(|error| error.code()), Err(Code::Name), "{name}");
    }
    let plan = builder.plan().expect("fine");
    let code = |pieces: &[&[u8]]| {
        let mut sink = MemorySink::new();
        let mut emitter = plan.emit(&mut sink).expect("begins");
        pieces.iter().try_for_each(|piece| emitter.write(piece))?;
        emitter.finish()
    };
    assert!(code(&[b"123", b"45"]).is_ok());
    for (pieces, wanted) in [
        (&[&b"123456"[..]][..], Code::Argument),
        (&[b"1234"], Code::Argument),
        (&[b"12346"], Code::Changed),
        (&[], Code::Argument),
    ] {
        assert_eq!(code(pieces).map_err(|error| error.code()), Err(wanted), "{pieces:?}");
    }
    // A member as a sink: it knows its own position and length.
    let mut sink = MemorySink::new();
    let mut emitter = plan.emit(&mut sink).expect("begins");
    let mut member = emitter.member_sink().expect("one");
    member.write_all(b"123").expect("fits");
    assert_eq!(member.position(), 3);
    assert_eq!(member.write_all(b"456").map_err(|error| error.code()), Err(Code::Argument));
    member.write_all(b"45").expect("fits");
    assert!(emitter.member_sink().is_err());
    emitter.finish().expect("complete");
    assert_eq!(read_bytes(sink.bytes()).expect("ours"), [("a".to_owned(), b"12345".to_vec())]);
}
