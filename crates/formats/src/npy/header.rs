//! The header of one array.
//!
//! ```text
//! "\x93NUMPY" major minor  header length (u16 in version 1, u32 in 2 and 3)  header, ends with a newline
//! ```

use kw_model::{Code, DType, Limits, Result, Shape, WeightsError};

use super::descr::{self, Descr};
use super::literal::{Literal, parse_dict};
use super::{FORMAT, corrupt};

const MAGIC: &[u8; 6] = b"\x93NUMPY";
/// Magic, version and the longest header length.
pub(super) const START_LEN: usize = 12;
/// Header and start together are padded to a multiple of this.
const ALIGNMENT: usize = 64;
/// numpy leaves room for the first axis to grow to this many digits.
const GROWTH_DIGITS: usize = 21;
/// numpy arrays have no more axes.
const MAX_RANK: usize = 64;

/// What a header says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) descr: Descr,
    pub(super) fortran: bool,
    pub(super) shape: Shape,
    /// Bytes before the array's own.
    pub(super) data_offset: u64,
}

/// Where a header ends, by its first [`START_LEN`] bytes.
///
/// # Errors
/// [`Code::NotWeights`] without numpy's mark, [`Code::Unsupported`] for another version, [`Code::Limit`].
pub(super) fn end(start: &[u8], limits: &Limits) -> Result<u64> {
    let rest = start
        .strip_prefix(MAGIC)
        .ok_or_else(|| WeightsError::new(Code::NotWeights, "it does not begin as a numpy array does").format(FORMAT))?;
    let len = match *rest {
        [1, _, a, b, ..] => 10 + u64::from(u16::from_le_bytes([a, b])),
        [2 | 3, _, a, b, c, d] => 12 + u64::from(u32::from_le_bytes([a, b, c, d])),
        [major @ (0 | 4..), minor, ..] => {
            return Err(WeightsError::new(
                Code::Unsupported,
                format!("it is of version {major}.{minor} of numpy's format; 1, 2 and 3 are known"),
            )
            .format(FORMAT));
        }
        _ => return Err(WeightsError::new(Code::Truncated, "a numpy array ends within its header").format(FORMAT)),
    };
    Limits::check("the header of a numpy array", len, limits.max_header_bytes, "bytes")?;
    Ok(len)
}

/// Parses a whole header, start included.
///
/// # Errors
/// [`Code::Corrupt`] for anything but the three keys; [`Code::Unsupported`] for arrays that hold no numbers.
pub(super) fn parse(bytes: &[u8]) -> Result<Header> {
    let malformed = || corrupt("the header of a numpy array cannot be understood");
    let start = if bytes.get(6) == Some(&1) { 10 } else { 12 };
    // Version 1 and 2 are Latin-1, version 3 is UTF-8; what we understand is ASCII.
    let text = bytes.get(start..).and_then(|text| std::str::from_utf8(text).ok()).ok_or_else(malformed)?;
    let entries = parse_dict(text).ok_or_else(malformed)?;
    let (mut descr, mut fortran, mut shape) = (None, None, None);
    for (key, value) in entries {
        let again = match (key.as_str(), value) {
            ("descr", value) => descr.replace(value).is_some(),
            ("fortran_order", Literal::Bool(value)) => fortran.replace(value).is_some(),
            ("shape", Literal::Sequence(axes)) => shape.replace(axes).is_some(),
            _ => true,
        };
        if again {
            return Err(malformed());
        }
    }
    let (Some(descr), Some(fortran), Some(axes)) = (descr, fortran, shape) else { return Err(malformed()) };
    if axes.len() > MAX_RANK {
        return Err(corrupt(format!("a numpy array has {} axes; {MAX_RANK} are the most", axes.len())));
    }
    let axes: Option<Vec<u64>> =
        axes.iter().map(|axis| if let Literal::Int(axis) = axis { Some(*axis) } else { None }).collect();
    let descr = match descr {
        Literal::Text(text) => descr::parse(&text)?,
        Literal::Sequence(_) => {
            return Err(WeightsError::new(Code::Unsupported, "an array of records is not read: only numbers are")
                .format(FORMAT));
        }
        _ => return Err(malformed()),
    };
    let shape = Shape::new(axes.ok_or_else(malformed)?);
    Ok(Header { descr, fortran, shape, data_offset: bytes.len() as u64 })
}

/// The header of an array in C order, byte for byte as numpy writes it.
///
/// # Errors
/// [`Code::DType`] for strings, [`Code::Limit`] for a header beyond version 1, which no array of 64 axes reaches.
pub(super) fn encode(dtype: DType, shape: &Shape) -> Result<Vec<u8>> {
    let mut text = format!("{{'descr': '{}', 'fortran_order': False, 'shape': {shape}, }}", descr::format(dtype)?);
    if let Some(first) = shape.axes().first() {
        let digits = first.to_string().len();
        text.push_str(&" ".repeat(GROWTH_DIGITS.saturating_sub(digits)));
    }
    let unpadded = 10 + text.len() + 1;
    // As numpy counts: a header that fits already gets a whole line of blanks.
    text.push_str(&" ".repeat(ALIGNMENT - unpadded % ALIGNMENT));
    text.push('\n');
    let len = u16::try_from(text.len()).map_err(|_| {
        WeightsError::limit("the header of a numpy array", text.len() as u64, u64::from(u16::MAX), "bytes")
    })?;
    let mut out = MAGIC.to_vec();
    out.extend_from_slice(&[1, 0]);
    out.extend_from_slice(&len.to_le_bytes());
    out.extend_from_slice(text.as_bytes());
    Ok(out)
}
