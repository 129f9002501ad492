//! Datasets and attributes arrive as they were given, and every way of giving them wrongly is seen.

use kw_formats::hdf5::writer::{DATA_ALIGNMENT, DIGEST_ATTRIBUTE, DatasetOptions, H5Attribute, H5Builder};
use kw_model::{ByteSink, Code, CountingSink, DType, MemorySink, Result, Shape, crc32c};

use sha2::{Digest, Sha256};

use super::strict::{self, Value};
use super::{digests, emit, file_of, patterns};

const DIGEST: DatasetOptions = DatasetOptions { digest: true };

fn small() -> H5Builder {
    let mut builder = H5Builder::new();
    builder.dataset("layers/dense/vars/0", DType::Float32, Shape::new([3, 5]), DIGEST).unwrap();
    builder.dataset("layers/dense/vars/1", DType::Float32, Shape::new([5]), DIGEST).unwrap();
    builder.group("layers/dropout/vars").unwrap();
    builder.attribute("layers/dense/vars", "name", H5Attribute::Utf8("dense".into())).unwrap();
    builder.attribute("", "backend", H5Attribute::Ascii("none".into())).unwrap();
    builder
}

#[test]
fn every_dtype_and_shape_arrives() {
    // First bytes of the datatype message, up to its size, and the size.
    let dtypes: [(DType, [u8; 4], u32); 15] = [
        (DType::Float16, [0x11, 0x20, 0x0f, 0], 2),
        (DType::BFloat16, [0x15, 0, 0, 0], 2),
        (DType::Float32, [0x11, 0x20, 0x1f, 0], 4),
        (DType::Float64, [0x11, 0x20, 0x3f, 0], 8),
        (DType::Float8E4M3, [0x15, 0, 0, 0], 1),
        (DType::Float8E5M2, [0x15, 0, 0, 0], 1),
        (DType::Int8, [0x10, 8, 0, 0], 1),
        (DType::Int16, [0x10, 8, 0, 0], 2),
        (DType::Int32, [0x10, 8, 0, 0], 4),
        (DType::Int64, [0x10, 8, 0, 0], 8),
        (DType::UInt8, [0x10, 0, 0, 0], 1),
        (DType::UInt16, [0x10, 0, 0, 0], 2),
        (DType::UInt32, [0x10, 0, 0, 0], 4),
        (DType::UInt64, [0x10, 0, 0, 0], 8),
        (DType::Bool, [0x18, 2, 0, 0], 1),
    ];
    let shapes: [&[u64]; 8] = [&[], &[0], &[1], &[7], &[3, 0, 4], &[2, 3, 5], &[1; 32], &[65]];
    let mut builder = H5Builder::new();
    let mut expected = Vec::new();
    for (dtype, head, size) in dtypes {
        for (number, &shape) in shapes.iter().enumerate() {
            let path = format!("{dtype}/{number}");
            let options = DatasetOptions { digest: number % 2 == 0 };
            let index = builder.dataset(&path, dtype, shape.into(), options).unwrap();
            assert_eq!(index, expected.len());
            expected.push((path, head, size, shape));
        }
    }
    let (plan, bytes) = file_of(builder);
    let values = patterns(&plan);
    let found = strict::read(&bytes);
    for ((planned, (path, head, size, shape)), values) in plan.datasets().iter().zip(expected).zip(&values) {
        let object = &found.objects[&path];
        assert_eq!((object.shape.as_slice(), &object.datatype[..4]), (shape, &head[..]), "{path}");
        assert_eq!(object.datatype[4..8], size.to_le_bytes(), "{path}");
        assert_eq!(planned.path, path);
        match &object.values {
            Some(range) => {
                assert_eq!(&bytes[range.clone()], values, "{path}");
                assert_eq!(range.start as u64, planned.offset, "{path}");
                assert_eq!(planned.offset % DATA_ALIGNMENT, 0, "{path}");
            }
            None => assert_eq!((planned.offset, planned.byte_len), (0, 0), "{path}"),
        }
        let attributes: Vec<_> = object.attributes.iter().map(|(name, found)| (name.as_str(), &found.value)).collect();
        let digest = Value::Bytes(crc32c(values).to_le_bytes().to_vec());
        assert_eq!(attributes, if planned.digest { vec![(DIGEST_ATTRIBUTE, &digest)] } else { vec![] }, "{path}");
    }
}

#[test]
fn datatypes_are_those_of_h5py_to_the_last_byte() {
    let full: [(DType, &[u8]); 4] = [
        (DType::Float32, &[0x11, 0x20, 0x1f, 0, 4, 0, 0, 0, 0, 0, 32, 0, 23, 8, 0, 23, 127, 0, 0, 0, 0, 0, 0, 0]),
        (DType::Float16, &[0x11, 0x20, 0x0f, 0, 2, 0, 0, 0, 0, 0, 16, 0, 10, 5, 0, 10, 15, 0, 0, 0, 0, 0, 0, 0]),
        (DType::Int64, &[0x10, 8, 0, 0, 8, 0, 0, 0, 0, 0, 64, 0, 0, 0, 0, 0]),
        (
            DType::Bool,
            &[
                0x18, 2, 0, 0, 1, 0, 0, 0, 0x10, 8, 0, 0, 1, 0, 0, 0, 0, 0, 8, 0, b'F', b'A', b'L', b'S', b'E', 0, 0,
                0, b'T', b'R', b'U', b'E', 0, 0, 0, 0, 0, 1, 0, 0,
            ],
        ),
    ];
    for (dtype, wanted) in full {
        let mut builder = H5Builder::new();
        builder.dataset("x", dtype, Shape::new([2]), DatasetOptions::default()).unwrap();
        assert_eq!(strict::read(&file_of(builder).1).objects["x"].datatype, wanted, "{dtype}");
    }
}

#[test]
fn every_kind_of_attribute_arrives() {
    const ASCII: u8 = 0;
    const UTF8: u8 = 1;
    let texts = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect::<Vec<String>>();
    let variable =
        |utf8: u8| [vec![0x19, 1, utf8, 0, 16, 0, 0, 0], vec![0x10, 0, 0, 0, 1, 0, 0, 0, 0, 0, 8, 0]].concat();
    let fixed = |size: u8, utf8: u8| vec![0x13, 1 | utf8 << 4, 0, 0, size, 0, 0, 0];
    let float64 = vec![0x11, 0x20, 0x3f, 0, 8, 0, 0, 0, 0, 0, 64, 0, 52, 11, 0, 52, 255, 3, 0, 0];
    let cases = [
        ("text", H5Attribute::Utf8("größer".into()), variable(UTF8), vec![], Value::Texts(texts(&["größer"]))),
        ("no text", H5Attribute::Utf8(String::new()), variable(UTF8), vec![], Value::Texts(texts(&[""]))),
        ("bytes", H5Attribute::Ascii("{}".into()), variable(ASCII), vec![], Value::Texts(texts(&["{}"]))),
        ("bytes beyond ASCII", H5Attribute::Ascii("é".into()), variable(UTF8), vec![], Value::Texts(texts(&["é"]))),
        (
            "list",
            H5Attribute::TextList(texts(&["a", "", "dense_1/kernel:0"])),
            variable(ASCII),
            vec![3],
            Value::Texts(texts(&["a", "", "dense_1/kernel:0"])),
        ),
        (
            "list beyond ASCII",
            H5Attribute::TextList(texts(&["a", "層"])),
            variable(UTF8),
            vec![2],
            Value::Texts(texts(&["a", "層"])),
        ),
        ("empty list", H5Attribute::TextList(vec![]), float64.clone(), vec![0], Value::Bytes(vec![])),
        (
            "fixed",
            H5Attribute::FixedList(texts(&["ab", "", "abcde"])),
            fixed(5, ASCII),
            vec![3],
            Value::Bytes(b"ab\0\0\0\0\0\0\0\0abcde".to_vec()),
        ),
        (
            "fixed beyond ASCII",
            H5Attribute::FixedList(texts(&["é", "a"])),
            fixed(2, UTF8),
            vec![2],
            Value::Bytes(vec![0xc3, 0xa9, b'a', 0]),
        ),
        (
            "fixed but empty",
            H5Attribute::FixedList(texts(&["", ""])),
            fixed(1, ASCII),
            vec![2],
            Value::Bytes(vec![0, 0]),
        ),
        ("no fixed", H5Attribute::FixedList(vec![]), float64, vec![0], Value::Bytes(vec![])),
        (
            "int",
            H5Attribute::Int(-2),
            vec![0x10, 8, 0, 0, 8, 0, 0, 0, 0, 0, 64, 0],
            vec![],
            Value::Bytes((-2_i64).to_le_bytes().to_vec()),
        ),
        (
            "uint32",
            H5Attribute::UInt32(0xfedc_ba98),
            vec![0x10, 0, 0, 0, 4, 0, 0, 0, 0, 0, 32, 0],
            vec![],
            Value::Bytes(vec![0x98, 0xba, 0xdc, 0xfe]),
        ),
    ];
    let mut builder = H5Builder::new();
    builder.dataset("group/data", DType::Int8, Shape::new([1]), DIGEST).unwrap();
    for object in ["", "group", "group/data"] {
        for (name, value, ..) in &cases {
            builder.attribute(object, name, value.clone()).unwrap();
        }
    }
    let found = strict::read(&file_of(builder).1);
    for object in ["", "group", "group/data"] {
        let attributes = &found.objects[object].attributes;
        for ((name, _, datatype, shape, value), (found_name, found)) in cases.iter().zip(attributes) {
            assert_eq!(
                (*name, &found.datatype, &found.shape, &found.value),
                (found_name.as_str(), datatype, shape, value)
            );
        }
        let digests = usize::from(object == "group/data");
        assert_eq!(attributes.len(), cases.len() + digests, "{object}");
    }
}

#[test]
fn the_same_input_gives_the_same_bytes_in_pieces_of_any_size() {
    let plan = small().plan().unwrap();
    let values = patterns(&plan);
    let whole = emit(&plan, &values, usize::MAX).unwrap();
    for piece in [1, 3, 59, 60, 61, 64] {
        assert!(emit(&plan, &values, piece).unwrap() == whole, "pieces of {piece}");
        assert!(emit(&small().plan().unwrap(), &values, piece).unwrap() == whole, "planned again");
    }
    // A change of this digest is a change of the format that we write: it has to be meant.
    let digest = format!("{:x}", Sha256::digest(&whole));
    assert_eq!(
        (whole.len(), digest.as_str()),
        (10_260, "61ef83ed3d84ea6c3e3eecd1960e2ea3877b0c48c7ffd45c8b614710303c0009")
    );
}

#[test]
fn the_file_may_begin_anywhere_in_the_sink() {
    let plan = small().plan().unwrap();
    let values = patterns(&plan);
    let mut sink = MemorySink::new();
    sink.write_all(b"before").unwrap();
    let mut emitter = plan.emit(&mut sink, &digests(&values)).unwrap();
    emitter.write(&values.concat()).unwrap();
    emitter.finish().unwrap();
    assert_eq!(sink.bytes()[6..], emit(&plan, &values, 10).unwrap());
}

#[test]
fn values_that_changed_between_the_passes_are_seen() {
    let plan = small().plan().unwrap();
    let values = patterns(&plan);
    let digests = digests(&values);
    let run = |values: &[u8], sink: &mut dyn ByteSink| -> Result<()> {
        let mut emitter = plan.emit(sink, &digests)?;
        emitter.write(values)?;
        emitter.finish()
    };
    let good = values.concat();
    run(&good, &mut CountingSink::default()).unwrap();
    for (at, weight) in [(0, "layers/dense/vars/0"), (59, "layers/dense/vars/0"), (60, "layers/dense/vars/1")] {
        let mut bad = good.clone();
        bad[at] ^= 0x10;
        let error = run(&bad, &mut CountingSink::default()).unwrap_err();
        assert_eq!((error.code(), error.context().weight.as_deref()), (Code::Changed, Some(weight)));
    }
    let short = run(&good[..79], &mut CountingSink::default()).unwrap_err();
    assert_eq!((short.code(), short.context().weight.as_deref()), (Code::Changed, Some("layers/dense/vars/1")));
    assert_eq!((short.context().expected.clone(), short.context().found.clone()), (Some(20.into()), Some(19.into())));
    let long = run(&[&good[..], &[0]].concat(), &mut CountingSink::default()).unwrap_err();
    assert_eq!(long.code(), Code::Changed);
    let none = run(&[], &mut CountingSink::default()).unwrap_err();
    assert_eq!(none.code(), Code::Changed);
    // What the sink says comes through, at every moment.
    for limit in 0..plan.file_len() {
        let error = run(&good, &mut CountingSink::with_limit(limit)).unwrap_err();
        assert_eq!(error.code(), Code::Io, "{limit}");
    }
}

#[test]
fn an_empty_dataset_has_a_digest_too() {
    let mut builder = H5Builder::new();
    builder.dataset("a", DType::Float32, Shape::new([0]), DIGEST).unwrap();
    let plan = builder.plan().unwrap();
    plan.emit(&mut CountingSink::default(), &[0]).unwrap().finish().unwrap();
    let error = plan.emit(&mut CountingSink::default(), &[1]).err().unwrap();
    assert_eq!(error.code(), Code::Changed);
}

#[test]
fn there_is_one_digest_for_each_dataset_or_none_for_none() {
    let plan = small().plan().unwrap();
    for digests in [&[][..], &[1], &[1, 2, 3]] {
        let error = plan.emit(&mut CountingSink::default(), digests).err().unwrap();
        assert_eq!(error.code(), Code::Argument, "{digests:?}");
    }
    let mut builder = H5Builder::new();
    builder.dataset("a", DType::Int8, Shape::new([2]), DatasetOptions::default()).unwrap();
    let plan = builder.plan().unwrap();
    for digests in [&[][..], &[7]] {
        let mut sink = CountingSink::default();
        let mut emitter = plan.emit(&mut sink, digests).unwrap();
        emitter.write(&[1, 2]).unwrap();
        emitter.finish().unwrap();
    }
}

#[test]
fn an_empty_file_is_a_file() {
    let (plan, bytes) = file_of(H5Builder::new());
    assert_eq!(plan.file_len(), 96 + 16 + 24 + 544 + 40);
    assert_eq!(strict::read(&bytes).objects.len(), 1);
}
