//! Just enough of protocol buffers: walking the fields of a message and appending fields to one.
//!
//! Rules: <https://protobuf.dev/programming-guides/encoding/>. Fields that a reader does not know are skipped;
//! a writer leaves out fields that hold their default, as proto3 does.

use kw_model::Result;

use super::corrupt;
use crate::varint;

/// The value of one field as it stands on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Value<'a> {
    /// Integers, enums, booleans.
    Varint(u64),
    /// `fixed64`, `double`.
    Fixed64(u64),
    /// Strings, bytes, messages.
    Bytes(&'a [u8]),
    /// `fixed32`, `float`.
    Fixed32(u32),
}

/// The fields of one message, in the order of the wire.
pub(super) struct Fields<'a> {
    rest: &'a [u8],
    what: &'static str,
}

impl<'a> Fields<'a> {
    /// Walks `message`; `what` names it in errors.
    pub(super) fn new(message: &'a [u8], what: &'static str) -> Self {
        Fields { rest: message, what }
    }

    /// The next field number and value, or `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<(u64, Value<'a>)>> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let field = self.take();
        field.map(Some).ok_or_else(|| corrupt(format!("{} cannot be parsed as a protocol buffer", self.what)))
    }

    fn take(&mut self) -> Option<(u64, Value<'a>)> {
        let key = varint::take(&mut self.rest)?;
        let number = key >> 3;
        if number == 0 || number >= 1 << 29 {
            return None;
        }
        let value = match key & 7 {
            0 => Value::Varint(varint::take(&mut self.rest)?),
            1 => {
                let (bytes, tail) = self.rest.split_first_chunk()?;
                self.rest = tail;
                Value::Fixed64(u64::from_le_bytes(*bytes))
            }
            2 => {
                let len = varint::take_len(&mut self.rest)?;
                let (bytes, tail) = self.rest.split_at_checked(len)?;
                self.rest = tail;
                Value::Bytes(bytes)
            }
            5 => {
                let (bytes, tail) = self.rest.split_first_chunk()?;
                self.rest = tail;
                Value::Fixed32(u32::from_le_bytes(*bytes))
            }
            _ => return None,
        };
        Some((number, value))
    }
}

/// Text of a string field.
pub(super) fn text(bytes: &[u8], what: &str) -> Result<String> {
    String::from_utf8(bytes.to_vec()).map_err(|_| corrupt(format!("{what} is not valid UTF-8")))
}

/// Appends an integer field unless it is 0.
pub(super) fn put_varint(out: &mut Vec<u8>, number: u64, value: u64) {
    if value != 0 {
        put_varint_always(out, number, value);
    }
}

/// Appends an integer field even if it is 0 (members of a `oneof` have presence).
pub(super) fn put_varint_always(out: &mut Vec<u8>, number: u64, value: u64) {
    varint::put(out, number << 3);
    varint::put(out, value);
}

/// Appends a message, even an empty one: messages have presence.
pub(super) fn put_message(out: &mut Vec<u8>, number: u64, message: &[u8]) {
    varint::put(out, number << 3 | 2);
    varint::put(out, message.len() as u64);
    out.extend_from_slice(message);
}

/// Appends a string unless it is empty.
pub(super) fn put_text(out: &mut Vec<u8>, number: u64, text: &str) {
    if !text.is_empty() {
        put_message(out, number, text.as_bytes());
    }
}

/// Appends a `fixed32` field unless it is 0.
pub(super) fn put_fixed32(out: &mut Vec<u8>, number: u64, value: u32) {
    if value != 0 {
        varint::put(out, number << 3 | 5);
        out.extend_from_slice(&value.to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::{Fields, Value, put_fixed32, put_message, put_text, put_varint, put_varint_always};

    #[test]
    fn fields_read_back_and_defaults_are_left_out() {
        let mut out = Vec::new();
        put_varint(&mut out, 1, 0);
        put_text(&mut out, 2, "");
        put_fixed32(&mut out, 3, 0);
        assert!(out.is_empty());
        put_varint_always(&mut out, 1, 0);
        put_message(&mut out, 2, &[]);
        put_varint(&mut out, 3, u64::MAX);
        put_fixed32(&mut out, 6, 7);
        put_text(&mut out, 200, "é");
        let mut fields = Fields::new(&out, "a test");
        let mut seen = Vec::new();
        while let Some(field) = fields.next().expect("well-formed") {
            seen.push(field);
        }
        let wanted = [
            (1, Value::Varint(0)),
            (2, Value::Bytes(&[])),
            (3, Value::Varint(u64::MAX)),
            (6, Value::Fixed32(7)),
            (200, Value::Bytes("é".as_bytes())),
        ];
        assert_eq!(seen, wanted);
    }

    #[test]
    fn refuses_what_is_not_a_message() {
        // Field 0; a group; a length beyond the end; a cut-off fixed32, fixed64 and varint.
        for bytes in [&[0x00, 0][..], &[0x0b], &[0x12, 5, 1], &[0x35, 1, 2, 3], &[0x09, 1], &[0x08, 0x80], &[0x80]] {
            assert!(Fields::new(bytes, "a test").next().is_err(), "{bytes:?}");
        }
    }
}
