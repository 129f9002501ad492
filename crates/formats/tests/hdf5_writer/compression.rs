//! Compressed datasets: chunks, filters and the tree over them.

use std::io::Read;
use std::sync::Arc;

use kw_formats::hdf5::writer::{ChunkWriter, Chunks, Compression, DatasetOptions, H5Builder};
use kw_model::{ByteSink, Code, CountingSink, DType, MemorySink, MemorySource, Result, Shape, crc32c};

use super::strict::{self, Object};
use super::{keep, read_back};

/// Values that compress somewhat, as weights do: the upper bytes of numbers repeat.
fn weights(dtype: DType, shape: &[u64]) -> Vec<u8> {
    let len = usize::try_from(Shape::from(shape).byte_len(dtype).unwrap()).unwrap();
    let size = dtype.size();
    let modulus = if dtype == DType::Bool { 2 } else { 199 };
    (0..len)
        .map(|n| if n % size + 1 == size { n / size % 3 % modulus } else { (n * n + n / 7) % modulus })
        .map(|byte| u8::try_from(byte).unwrap())
        .collect()
}

fn compress(
    spool: &mut dyn ByteSink,
    (dtype, shape): (DType, &[u64]),
    values: &[u8],
    compression: Compression,
    piece: usize,
) -> Result<Chunks> {
    let mut writer = ChunkWriter::new(spool, dtype, &shape.into(), compression)?;
    for piece in values.chunks(piece) {
        writer.write(piece)?;
    }
    writer.finish()
}

/// Undoes the filters and puts the chunks together, element by element.
fn values_of(object: &Object, bytes: &[u8]) -> Vec<u8> {
    let size = u32::from_le_bytes(object.datatype[4..8].try_into().unwrap()) as usize;
    let count = usize::try_from(object.shape.iter().product::<u64>()).unwrap();
    let mut out = vec![0xaa; count * size];
    for (start, range) in &object.chunks {
        let mut chunk = Vec::new();
        flate2::read::ZlibDecoder::new(&bytes[range.clone()]).read_to_end(&mut chunk).unwrap();
        let elements = usize::try_from(object.chunk.iter().product::<u64>()).unwrap();
        assert_eq!(chunk.len(), elements * size);
        if object.filters[0].0 == 2 {
            chunk = (0..chunk.len()).map(|n| chunk[n % size * elements + n / size]).collect();
        }
        for element in 0..elements {
            let mut rest = element as u64;
            let mut place = Some(0);
            let mut stride = 1;
            for axis in (0..start.len()).rev() {
                let at = start[axis] + rest % object.chunk[axis];
                rest /= object.chunk[axis];
                place = place.filter(|_| at < object.shape[axis]).map(|place| place + at * stride);
                stride *= object.shape[axis];
            }
            let element = &chunk[element * size..][..size];
            match place {
                Some(place) => out[usize::try_from(place).unwrap() * size..][..size].copy_from_slice(element),
                None => assert!(element.iter().all(|&byte| byte == 0), "beyond the edge there are zeros"),
            }
        }
    }
    out
}

#[test]
fn compressed_values_arrive_whatever_their_shape() {
    let cases: [(DType, &[u64]); 9] = [
        (DType::Float32, &[50, 60]),
        (DType::Float32, &[400_001]),
        (DType::Float16, &[3, 1, 300, 700]),
        (DType::Float64, &[3, 90_000]),
        (DType::BFloat16, &[5000]),
        (DType::Int64, &[1, 1100, 1]),
        (DType::UInt8, &[2, 600_000]),
        (DType::Bool, &[9000]),
        (DType::Float8E4M3, &[100, 100]),
    ];
    let compressions =
        [Compression::default(), Compression { level: 1, shuffle: false }, Compression { level: 9, shuffle: true }];
    for compression in compressions {
        let mut spool = MemorySink::new();
        spool.write_all(b"something before").unwrap();
        let chunks: Vec<Chunks> = cases
            .iter()
            .map(|&case| compress(&mut spool, case, &weights(case.0, case.1), compression, 700_001).unwrap())
            .collect();
        let spool = Arc::new(MemorySource::new(spool.into_bytes(), "spool"));
        let mut builder = H5Builder::new();
        builder.dataset("first", DType::Int16, Shape::new([3]), DatasetOptions { digest: true }).unwrap();
        for (number, chunks) in chunks.into_iter().enumerate() {
            let options = DatasetOptions { digest: number % 2 == 0 };
            builder.chunked_dataset(&format!("c/{number}"), chunks.read_from(spool.clone()), options).unwrap();
            builder.dataset(&format!("p/{number}"), DType::Int8, Shape::new([5]), DatasetOptions::default()).unwrap();
        }
        let plan = builder.plan().unwrap();
        assert!(plan.datasets().iter().all(|dataset| dataset.offset % 64 == 0));
        // One digest for each dataset; those of compressed ones are known already.
        let mut digests = vec![0; plan.datasets().len()];
        digests[0] = crc32c(&[1, 2, 3, 4, 5, 6]);
        let mut sink = MemorySink::new();
        let mut emitter = plan.emit(&mut sink, &digests).unwrap();
        emitter.write(&[1, 2, 3, 4, 5, 6]).unwrap();
        for _ in 0..cases.len() {
            emitter.write(b"plain").unwrap();
        }
        emitter.finish().unwrap();
        let bytes = sink.into_bytes();
        assert_eq!(bytes.len() as u64, plan.file_len());
        keep(&bytes);
        let mut given = vec![vec![1, 2, 3, 4, 5, 6]];
        given.extend(cases.iter().flat_map(|&(dtype, shape)| [weights(dtype, shape), b"plain".to_vec()]));
        read_back(&plan, &given, &bytes, |_| {});
        let found = strict::read(&bytes);
        for (number, &(dtype, shape)) in cases.iter().enumerate() {
            let object = &found.objects[&format!("c/{number}")];
            let values = weights(dtype, shape);
            assert_eq!(object.shape, shape);
            assert!(values_of(object, &bytes) == values, "{dtype} {shape:?}");
            let shuffled = compression.shuffle && dtype.size() > 1;
            let deflate = (1, u32::from(compression.level));
            let size = u32::try_from(dtype.size()).unwrap();
            assert_eq!(object.filters, if shuffled { vec![(2, size), deflate] } else { vec![deflate] });
            let beside = found.objects[&format!("p/{number}")].values.clone().unwrap();
            assert_eq!(&bytes[beside], b"plain");
        }
    }
}

#[test]
fn chunks_beyond_one_node_are_found() {
    // 64 chunks fill a node; a row of just over half a mebibyte is a chunk of its own.
    let row = (1 << 19) + 8;
    for rows in [1_u64, 64, 65] {
        let shape = [rows, 1, row];
        let zeros = vec![0; 1 << 19];
        let mut spool = MemorySink::new();
        let mut writer =
            ChunkWriter::new(&mut spool, DType::Int8, &shape[..].into(), Compression { level: 1, shuffle: true })
                .unwrap();
        for _ in 0..rows {
            writer.write(&zeros).unwrap();
            writer.write(&[1; 8]).unwrap();
        }
        let chunks = writer.finish().unwrap();
        let spool = Arc::new(MemorySource::new(spool.into_bytes(), "spool"));
        let mut builder = H5Builder::new();
        builder.chunked_dataset("x", chunks.read_from(spool), DatasetOptions { digest: true }).unwrap();
        let (plan, bytes) = {
            let plan = builder.plan().unwrap();
            let mut sink = MemorySink::new();
            plan.emit(&mut sink, &[]).unwrap().finish().unwrap();
            (plan, sink.into_bytes())
        };
        keep(&bytes);
        let found = strict::read(&bytes);
        let starts: Vec<_> = found.objects["x"].chunks.iter().map(|(start, _)| start.clone()).collect();
        assert_eq!(starts, (0..rows).map(|row| vec![row, 0, 0]).collect::<Vec<_>>(), "{rows}");
        assert!(plan.datasets()[0].stored_len < plan.datasets()[0].byte_len / 50);
    }
}

#[test]
fn wrong_amounts_and_levels_are_refused() {
    let case = (DType::Float32, &[300_000_u64][..]);
    let values = weights(case.0, case.1);
    let run = |values: &[u8], level: u8| {
        compress(&mut CountingSink::default(), case, values, Compression { level, shuffle: true }, 1 << 20)
            .map(|chunks| chunks.digest())
            .map_err(|error| error.code())
    };
    assert_eq!(run(&values, 4), Ok(crc32c(&values)));
    assert_eq!(run(&values[1..], 4), Err(Code::Changed));
    assert_eq!(run(&[&values[..], &[0]].concat(), 4), Err(Code::Changed));
    assert_eq!(run(&[], 4), Err(Code::Changed));
    for level in [0, 10] {
        assert_eq!(run(&values, level), Err(Code::Argument), "{level}");
    }
    for shape in [&[][..], &[0], &[2047]] {
        let shape = Shape::from(shape);
        assert!(!Compression::default().applies_to(DType::Float32, &shape));
        let new = ChunkWriter::new(&mut CountingSink::default(), DType::Float32, &shape, Compression::default()).err();
        assert_eq!(new.map(|error| error.code()), Some(Code::Argument));
    }
    assert!(Compression::default().applies_to(DType::Float32, &Shape::new([2048])));
    assert!(!Compression::default().applies_to(DType::Complex64, &Shape::new([2048])));
}

#[test]
fn a_spool_that_was_cut_is_seen() {
    let mut spool = MemorySink::new();
    let case = (DType::Float32, &[5000_u64][..]);
    let chunks = compress(&mut spool, case, &weights(case.0, case.1), Compression::default(), 1000).unwrap();
    let mut bytes = spool.into_bytes();
    bytes.pop();
    let mut builder = H5Builder::new();
    let spooled = chunks.read_from(Arc::new(MemorySource::new(bytes, "spool")));
    builder.chunked_dataset("x", spooled, DatasetOptions::default()).unwrap();
    let plan = builder.plan().unwrap();
    let error = plan.emit(&mut CountingSink::default(), &[]).err().unwrap();
    assert_eq!(error.code(), Code::Truncated);
}
