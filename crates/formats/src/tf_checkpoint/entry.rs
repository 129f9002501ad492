//! The values of the index: one header, then one entry for each tensor or slice.

use kw_model::{Code, Result, Shape, WeightsError};

use super::corrupt;
use super::slices::Extent;
use super::wire::{Fields, Value, put_fixed32, put_message, put_varint, put_varint_always};

/// TensorFlow itself has no more axes than this.
const MAX_RANK: usize = 254;
/// The version of the format that is written, and the newest `min_consumer` that is read.
const VERSION: u64 = 1;

/// `BundleHeaderProto`, under the empty key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    /// Number in the names of the data files.
    pub(super) num_shards: u32,
    /// Whether numbers in the data files are big-endian.
    pub(super) big_endian: bool,
}

impl Header {
    pub(super) fn decode(message: &[u8]) -> Result<Self> {
        let mut header = Header { num_shards: 0, big_endian: false };
        let mut fields = Fields::new(message, "the header of the checkpoint");
        while let Some(field) = fields.next()? {
            match field {
                (1, Value::Varint(value)) => {
                    header.num_shards = u32::try_from(value)
                        .ok()
                        .filter(|count| i32::try_from(*count).is_ok())
                        .ok_or_else(|| corrupt(format!("the checkpoint claims {value} data files")))?;
                }
                (2, Value::Varint(value @ 0..=1)) => header.big_endian = value == 1,
                (2, Value::Varint(value)) => {
                    return Err(corrupt(format!("byte order {value} is neither little- nor big-endian")));
                }
                (3, Value::Bytes(version)) => check_version(version)?,
                (1..=3, _) => return Err(corrupt("a field of the checkpoint's header has the wrong wire type")),
                _ => {}
            }
        }
        Ok(header)
    }

    pub(super) fn encode(self) -> Vec<u8> {
        let mut version = Vec::new();
        put_varint(&mut version, 1, VERSION);
        let mut out = Vec::new();
        put_varint(&mut out, 1, u64::from(self.num_shards));
        put_varint(&mut out, 2, u64::from(self.big_endian));
        put_message(&mut out, 3, &version);
        out
    }
}

fn check_version(message: &[u8]) -> Result<()> {
    let mut fields = Fields::new(message, "the version of the checkpoint");
    while let Some(field) = fields.next()? {
        if let (2, Value::Varint(min_consumer)) = field
            && min_consumer > VERSION
        {
            return Err(WeightsError::new(
                Code::Unsupported,
                format!("the checkpoint asks for a reader of version {min_consumer}; version {VERSION} is known"),
            )
            .format(super::FORMAT)
            .expected(VERSION)
            .found(min_consumer));
        }
    }
    Ok(())
}

/// `BundleEntryProto`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Entry {
    /// TensorFlow's `DataType`.
    pub(super) dtype: u64,
    /// Elements per axis.
    pub(super) shape: Shape,
    /// Number of the data file.
    pub(super) shard: u32,
    /// First byte in it.
    pub(super) offset: u64,
    /// Bytes in it.
    pub(super) size: u64,
    /// Masked CRC32C of these bytes.
    pub(super) crc: u32,
    /// For a tensor that lies in pieces: each piece, as extents per axis. Such an entry has no bytes itself.
    pub(super) slices: Vec<Vec<Extent>>,
}

impl Entry {
    pub(super) fn decode(message: &[u8]) -> Result<Self> {
        let mut entry = Entry::default();
        let mut axes = Vec::new();
        let mut fields = Fields::new(message, "an entry of the checkpoint");
        while let Some(field) = fields.next()? {
            match field {
                (1, Value::Varint(value)) => entry.dtype = value,
                (2, Value::Bytes(shape)) => decode_shape(shape, &mut axes)?,
                (3, Value::Varint(value)) => {
                    entry.shard =
                        u32::try_from(value).map_err(|_| corrupt(format!("there is no data file number {value}")))?;
                }
                (4, Value::Varint(value)) => entry.offset = non_negative(value, "offset")?,
                (5, Value::Varint(value)) => entry.size = non_negative(value, "size")?,
                (6, Value::Fixed32(value)) => entry.crc = value,
                (7, Value::Bytes(slice)) => entry.slices.push(decode_slice(slice)?),
                (1..=7, _) => return Err(corrupt("a field of an entry has the wrong wire type")),
                _ => {}
            }
        }
        entry.shape = Shape::new(axes);
        Ok(entry)
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut shape = Vec::new();
        for &axis in self.shape.axes() {
            let mut dim = Vec::new();
            put_varint(&mut dim, 1, axis);
            put_message(&mut shape, 2, &dim);
        }
        let mut out = Vec::new();
        put_varint(&mut out, 1, self.dtype);
        put_message(&mut out, 2, &shape);
        put_varint(&mut out, 3, u64::from(self.shard));
        put_varint(&mut out, 4, self.offset);
        put_varint(&mut out, 5, self.size);
        put_fixed32(&mut out, 6, self.crc);
        for slice in &self.slices {
            let mut message = Vec::new();
            for extent in slice {
                let mut part = Vec::new();
                if let Extent::Part { start, len } = *extent {
                    put_varint(&mut part, 1, start);
                    put_varint_always(&mut part, 2, len);
                }
                put_message(&mut message, 1, &part);
            }
            put_message(&mut out, 7, &message);
        }
        out
    }
}

fn non_negative(value: u64, what: &str) -> Result<u64> {
    if i64::try_from(value).is_ok() {
        Ok(value)
    } else {
        Err(corrupt(format!("an entry has the negative {what} {}", value.cast_signed())))
    }
}

fn decode_shape(message: &[u8], axes: &mut Vec<u64>) -> Result<()> {
    let mut fields = Fields::new(message, "the shape of a tensor");
    while let Some(field) = fields.next()? {
        match field {
            (2, Value::Bytes(dim)) => {
                if axes.len() == MAX_RANK {
                    return Err(corrupt(format!("a tensor has more than {MAX_RANK} axes")));
                }
                let mut size = 0;
                let mut dim = Fields::new(dim, "an axis of a tensor");
                while let Some(field) = dim.next()? {
                    if let (1, Value::Varint(value)) = field {
                        size = non_negative(value, "axis")?;
                    }
                }
                axes.push(size);
            }
            (3, Value::Varint(unknown)) if unknown != 0 => {
                return Err(corrupt("a tensor in the checkpoint has no known rank"));
            }
            _ => {}
        }
    }
    Ok(())
}

fn decode_slice(message: &[u8]) -> Result<Vec<Extent>> {
    let mut extents = Vec::new();
    let mut fields = Fields::new(message, "a slice of a tensor");
    while let Some(field) = fields.next()? {
        let (1, Value::Bytes(extent)) = field else { continue };
        if extents.len() == MAX_RANK {
            return Err(corrupt(format!("a slice has more than {MAX_RANK} axes")));
        }
        let (mut start, mut len) = (0, None);
        let mut extent = Fields::new(extent, "an extent of a slice");
        while let Some(field) = extent.next()? {
            match field {
                (1, Value::Varint(value)) => start = non_negative(value, "start of a slice")?,
                // A member of a `oneof`: whether it is there matters, not only its value.
                (2, Value::Varint(value)) => len = Some(non_negative(value, "length of a slice")?),
                _ => {}
            }
        }
        extents.push(match (start, len) {
            (start, Some(len)) => Extent::Part { start, len },
            (0, None) => Extent::Full,
            (start, None) => return Err(corrupt(format!("a slice starts at {start} and has no length"))),
        });
    }
    Ok(extents)
}

#[cfg(test)]
mod tests {
    use kw_model::{Code, Shape};

    use super::{Entry, Header};
    use crate::tf_checkpoint::slices::Extent;

    #[test]
    fn the_header_is_what_tensorflow_writes() {
        let header = Header { num_shards: 1, big_endian: false };
        assert_eq!(header.encode(), [0x08, 1, 0x1a, 2, 0x08, 1]);
        assert_eq!(Header::decode(&header.encode()).expect("ours"), header);
        // No version at all is fine, a min_consumer of 2 is not.
        assert_eq!(Header::decode(&[0x08, 1]).expect("older"), header);
        let code = |bytes: &[u8]| Header::decode(bytes).map_err(|error| error.code());
        assert_eq!(code(&[0x08, 1, 0x1a, 2, 0x10, 2]), Err(Code::Unsupported));
        assert_eq!(code(&[0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]), Err(Code::Corrupt));
        assert_eq!(code(&[0x10, 2]), Err(Code::Corrupt));
        assert_eq!(code(&[0x0a, 0]), Err(Code::Corrupt));
    }

    #[test]
    fn entries_read_back() {
        let scalar = Entry { dtype: 9, size: 8, crc: 5, ..Entry::default() };
        assert_eq!(scalar.encode(), [0x08, 9, 0x12, 0, 0x28, 8, 0x35, 5, 0, 0, 0]);
        let sliced = Entry {
            dtype: 1,
            shape: Shape::new([0, 1000]),
            slices: vec![vec![Extent::Full, Extent::Part { start: 0, len: 0 }], vec![]],
            ..Entry::default()
        };
        let placed = Entry { shard: 3, offset: 1 << 40, size: 1 << 41, crc: u32::MAX, ..scalar.clone() };
        for entry in [scalar, sliced, placed, Entry::default()] {
            assert_eq!(Entry::decode(&entry.encode()).expect("ours"), entry);
        }
    }

    #[test]
    fn refuses_negative_and_unknown_sizes() {
        let minus_one = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1];
        let cases: [(&str, Vec<u8>); 6] = [
            ("axis -1", [&[0x12, 13, 0x12, 11, 0x08][..], &minus_one].concat()),
            ("offset -1", [&[0x20][..], &minus_one].concat()),
            ("size -1", [&[0x28][..], &minus_one].concat()),
            ("data file -1", [&[0x18][..], &minus_one].concat()),
            ("unknown rank", vec![0x12, 2, 0x18, 1]),
            ("start without length", vec![0x3a, 4, 0x0a, 2, 0x08, 1]),
        ];
        for (name, bytes) in cases {
            assert_eq!(Entry::decode(&bytes).map_err(|error| error.code()), Err(Code::Corrupt), "{name}");
        }
        let many = [0x12, 0].repeat(255);
        let mut message = Vec::new();
        crate::tf_checkpoint::wire::put_message(&mut message, 2, &many);
        assert_eq!(Entry::decode(&message).map_err(|error| error.code()), Err(Code::Corrupt));
    }
}
