//! Names, counts and sizes up to where HDF5 ends, and one further.

use kw_formats::hdf5::writer::{DatasetOptions, H5Attribute, H5Builder};
use kw_model::{Code, CountingSink, DType, Shape};

use super::file_of;
use super::strict::{self, Value};

const PLAIN: DatasetOptions = DatasetOptions { digest: false };

#[test]
fn groups_of_every_interesting_size_are_found_by_their_keys() {
    // 8 members fill a leaf, 32 leaves a node: 256 and 8,192 members fill trees of one and two levels.
    for count in [0, 1, 2, 7, 8, 9, 16, 255, 256, 257, 5000, 8191, 8192, 8193, 8449] {
        let mut builder = H5Builder::new();
        builder.group("parent").unwrap();
        for number in 0..count {
            let path = format!("parent/{}", number * 7919 % 10_007);
            if number % 3 == 0 {
                builder.group(&path).unwrap();
            } else {
                builder.dataset(&path, DType::UInt8, Shape::new([u64::from(number == 1)]), PLAIN).unwrap();
            }
        }
        let (_, bytes) = file_of(builder);
        let found = strict::read(&bytes);
        assert_eq!(found.objects.len(), 2 + count, "{count}");
        for number in 0..count {
            let object = &found.objects[&format!("parent/{}", number * 7919 % 10_007)];
            assert_eq!(object.is_group, number % 3 == 0, "{number} of {count}");
        }
    }
}

#[test]
fn names_are_bytes_and_sorted_as_bytes() {
    let long = "n".repeat(3000);
    let names = [
        "a", "B", "Z", "_", "0", "10", "9", "ab", "a b", "a.b", "..", "...", "é", "e\u{301}", "層", "Слой", "🧠",
        "\u{7f}", "a:0", "\n", "-", &long,
    ];
    let mut builder = H5Builder::new();
    for name in names {
        builder.dataset(&format!("groups/{name}/{name}"), DType::Int16, Shape::new([2]), PLAIN).unwrap();
        builder.attribute(&format!("groups/{name}"), name, H5Attribute::Utf8(name.to_owned())).unwrap();
    }
    let (_, bytes) = file_of(builder);
    let found = strict::read(&bytes);
    assert_eq!(found.objects.len(), 2 + 2 * names.len());
    for name in names {
        assert!(found.objects[&format!("groups/{name}/{name}")].values.is_some());
        let (attribute, value) = &found.objects[&format!("groups/{name}")].attributes[0];
        assert_eq!((attribute.as_str(), &value.value), (name, &Value::Texts(vec![name.to_owned()])));
    }
}

#[test]
fn deep_trees_need_no_stack_to_write() {
    let mut builder = H5Builder::new();
    let path = vec!["g"; 100].join("/");
    builder.dataset(&path, DType::Int8, Shape::new([1]), PLAIN).unwrap();
    let (_, bytes) = file_of(builder);
    assert!(strict::read(&bytes).objects.contains_key(&path));

    // Deeper than any stack; the strict reader of these tests has one.
    let mut builder = H5Builder::new();
    builder.group(&vec!["g"; 3000].join("/")).unwrap();
    let plan = builder.plan().unwrap();
    plan.emit(&mut CountingSink::default(), &[]).unwrap().finish().unwrap();
}

#[test]
fn paths_that_hdf5_cannot_hold_are_refused() {
    for path in ["", "/", "/a", "a/", "a//b", ".", "a/./b", "a/.", "a\0b", "a/\0"] {
        let mut builder = H5Builder::new();
        let error = builder.dataset(path, DType::Int8, Shape::default(), PLAIN).unwrap_err();
        assert_eq!(error.code(), Code::Name, "{path:?}");
        if !path.is_empty() {
            assert_eq!(builder.group(path).unwrap_err().code(), Code::Name, "{path:?}");
        }
    }
}

#[test]
fn two_things_cannot_have_one_name() {
    let mut builder = H5Builder::new();
    builder.dataset("a/b", DType::Int8, Shape::default(), DatasetOptions { digest: true }).unwrap();
    builder.group("a/g").unwrap();
    builder.group("a/g").unwrap();
    for path in ["a", "a/b", "a/g", "a/b/c", "a/b/c/d"] {
        let error = builder.dataset(path, DType::Int8, Shape::default(), PLAIN).unwrap_err();
        assert_eq!(error.code(), Code::Name, "{path}");
    }
    for path in ["a/b", "a/b/c", "a/b/c/d"] {
        assert_eq!(builder.group(path).unwrap_err().code(), Code::Name, "{path}");
    }
    builder.attribute("a/b", "x", H5Attribute::Int(1)).unwrap();
    for (object, name, code) in [
        ("a/b", "x", Code::Name),
        ("a/b", "kw_crc32c", Code::Name),
        ("a/b", "", Code::Name),
        ("a/b", "x\0", Code::Name),
        ("a/c", "x", Code::Missing),
    ] {
        let error = builder.attribute(object, name, H5Attribute::Int(1)).unwrap_err();
        assert_eq!(error.code(), code, "{object} {name:?}");
    }
    let nul = H5Attribute::TextList(vec!["a".into(), "b\0".into()]);
    assert_eq!(builder.attribute("a", "nul", nul).unwrap_err().code(), Code::Name);
    builder.attribute("a", "x", H5Attribute::Int(1)).unwrap();
    strict::read(&file_of(builder).1);
}

#[test]
fn what_keras_does_not_store_in_hdf5_is_refused() {
    for dtype in [DType::Complex64, DType::Complex128, DType::String, DType::Opaque(0)] {
        let error = H5Builder::new().dataset("x", dtype, Shape::default(), PLAIN).unwrap_err();
        assert_eq!((error.code(), error.context().weight.as_deref()), (Code::Unsupported, Some("x")), "{dtype}");
    }
    let error = H5Builder::new().dataset("x", DType::Int8, Shape::new([1; 33]), PLAIN).unwrap_err();
    assert_eq!(error.code(), Code::Unsupported);
    let mut builder = H5Builder::new();
    builder.dataset("x", DType::Opaque(3), Shape::new([2]), PLAIN).unwrap();
    strict::read(&file_of(builder).1);
}

#[test]
fn an_attribute_ends_at_65528_bytes() {
    // 8 bytes of head, 8 of name, 8 of datatype, 16 of dataspace; the rest is the text.
    let room = 65_528 - 40;
    for (len, fits) in [(room, true), (room + 1, false), (room - 1, true), (70_000, false)] {
        let mut builder = H5Builder::new();
        builder.attribute("", "fixed", H5Attribute::FixedList(vec!["x".repeat(len)])).unwrap();
        if fits {
            let found = strict::read(&file_of(builder).1);
            assert_eq!(found.objects[""].attributes[0].1.value, Value::Bytes(vec![b'x'; len]));
        } else {
            let error = builder.plan().unwrap_err();
            assert_eq!(error.code(), Code::Unsupported, "{len}");
            assert!(error.message().contains("split it"), "{error}");
            assert_eq!(error.context().expected, Some(65_528.into()));
        }
    }
    // Texts of variable length take 16 bytes each, however long they are.
    for (count, fits) in [(4092, true), (4093, false)] {
        let mut builder = H5Builder::new();
        builder.attribute("", "names", H5Attribute::TextList(vec!["layer".into(); count])).unwrap();
        assert_eq!(builder.plan().is_ok(), fits, "{count}");
    }
    let mut builder = H5Builder::new();
    builder.attribute("", &"n".repeat(70_000), H5Attribute::Int(1)).unwrap();
    assert_eq!(builder.plan().unwrap_err().code(), Code::Name);
}

#[test]
fn an_object_has_at_most_65535_messages() {
    for (count, fits) in [(65_534, true), (65_535, false)] {
        let mut builder = H5Builder::new();
        for number in 0..count {
            builder.attribute("", &number.to_string(), H5Attribute::Int(number)).unwrap();
        }
        if fits {
            assert_eq!(strict::read(&file_of(builder).1).objects[""].attributes.len(), 65_534);
        } else {
            assert_eq!(builder.plan().unwrap_err().code(), Code::Unsupported);
        }
    }
}

#[test]
fn texts_of_every_length_find_room_in_the_heap() {
    // A collection of 4,096 bytes has room for one text of 4,064.
    let lengths = [0, 1, 7, 8, 9, 2000, 2024, 2025, 4040, 4047, 4048, 4055, 4056, 4063, 4064, 4065, 5000, 300_000];
    let mut builder = H5Builder::new();
    let text =
        |number: usize, len: usize| char::from(b'a' + u8::try_from(number % 26).unwrap()).to_string().repeat(len);
    let mut wanted = Vec::new();
    for first in 0..lengths.len() {
        for (number, len) in lengths.into_iter().cycle().skip(first).take(lengths.len()).enumerate() {
            let (name, text) = (format!("{first}-{number}"), text(first + number, len));
            builder.attribute("", &name, H5Attribute::Utf8(text.clone())).unwrap();
            wanted.push((name, Value::Texts(vec![text])));
        }
    }
    builder.attribute("", "many", H5Attribute::TextList(vec![String::new(); 1000])).unwrap();
    wanted.push(("many".into(), Value::Texts(vec![String::new(); 1000])));
    let found = strict::read(&file_of(builder).1);
    for ((found_name, found), (name, value)) in found.objects[""].attributes.iter().zip(&wanted) {
        assert!((found_name, &found.value) == (name, value), "{name}");
    }
}

#[test]
fn offsets_beyond_4_gib_are_planned_and_kept() {
    let gib = 1_u64 << 30;
    let mut builder = H5Builder::new();
    builder.dataset("large", DType::Float32, Shape::new([gib + 1, 5]), PLAIN).unwrap();
    builder.dataset("after", DType::Float64, Shape::new([3]), PLAIN).unwrap();
    builder.dataset("bytes", DType::UInt8, Shape::new([2 * gib + 3]), PLAIN).unwrap();
    builder.dataset("last", DType::Float16, Shape::default(), PLAIN).unwrap();
    let plan = builder.plan().unwrap();
    let offsets: Vec<u64> = plan.datasets().iter().map(|dataset| dataset.offset).collect();
    let next = |offset: u64, len: u64| (offset + len).next_multiple_of(64);
    let after = next(offsets[0], 20 * gib + 20);
    let bytes = next(after, 24);
    let last = next(bytes, 2 * gib + 3);
    assert_eq!(offsets[1..], [after, bytes, last]);
    assert_eq!(plan.file_len(), last + 2);

    let mut sink = CountingSink::default();
    let mut emitter = plan.emit(&mut sink, &[]).unwrap();
    let zeros = vec![0; 256 << 20];
    let mut rest: u64 = plan.datasets().iter().map(|dataset| dataset.byte_len).sum();
    while rest > 0 {
        let piece = usize::try_from(rest).unwrap_or(usize::MAX).min(zeros.len());
        emitter.write(&zeros[..piece]).unwrap();
        rest -= piece as u64;
    }
    emitter.finish().unwrap();
    assert_eq!(kw_model::ByteSink::position(&sink), plan.file_len());
}

#[test]
fn sizes_beyond_64_bits_are_refused() {
    let mut builder = H5Builder::new();
    let error = builder.dataset("x", DType::Float64, Shape::new([1 << 62]), PLAIN).unwrap_err();
    assert_eq!(error.code(), Code::Corrupt);
    builder.dataset("y", DType::Int8, Shape::new([1 << 63]), PLAIN).unwrap();
    builder.dataset("z", DType::Int8, Shape::new([1 << 63]), PLAIN).unwrap();
    let error = builder.plan().unwrap_err();
    assert_eq!((error.code(), error.context().weight.as_deref()), (Code::Unsupported, Some("z")));
}
