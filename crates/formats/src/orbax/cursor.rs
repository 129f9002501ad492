//! Numbers and keys of the database's records.

use kw_model::{Code, Result, WeightsError};

use super::corrupt;
use crate::varint;

/// Takes fields off the front of a record.
pub(super) struct Cursor<'a> {
    pub(super) rest: &'a [u8],
    what: &'static str,
}

impl<'a> Cursor<'a> {
    /// Reads `record`; `what` names it in errors.
    pub(super) fn new(record: &'a [u8], what: &'static str) -> Self {
        Cursor { rest: record, what }
    }

    pub(super) fn malformed(&self) -> WeightsError {
        corrupt(format!("{} is malformed", self.what))
    }

    pub(super) fn varint(&mut self) -> Result<u64> {
        varint::take(&mut self.rest).ok_or_else(|| self.malformed())
    }

    /// A number of things of which each takes a byte at least.
    pub(super) fn count(&mut self) -> Result<usize> {
        let count = self.varint()?;
        usize::try_from(count).ok().filter(|count| *count <= self.rest.len()).ok_or_else(|| self.malformed())
    }

    /// A column of numbers.
    pub(super) fn varints(&mut self, count: usize) -> Result<Vec<u64>> {
        let mut column = Vec::new();
        column
            .try_reserve_exact(count)
            .map_err(|_| WeightsError::new(Code::Memory, format!("no memory for {count} numbers")))?;
        for _ in 0..count {
            column.push(self.varint()?);
        }
        Ok(column)
    }

    pub(super) fn take(&mut self, len: u64) -> Result<&'a [u8]> {
        let split = usize::try_from(len).ok().and_then(|len| self.rest.split_at_checked(len));
        let (bytes, rest) = split.ok_or_else(|| self.malformed())?;
        self.rest = rest;
        Ok(bytes)
    }

    pub(super) fn byte(&mut self) -> Result<u8> {
        let (&byte, rest) = self.rest.split_first().ok_or_else(|| self.malformed())?;
        self.rest = rest;
        Ok(byte)
    }

    /// Keys that are written as what differs from the key before. With `extra`, one more column of numbers
    /// stands before the keys' bytes.
    pub(super) fn keys(&mut self, count: usize, extra: bool, budget: &mut u64) -> Result<(Vec<Vec<u8>>, Vec<u64>)> {
        let prefixes = self.varints(count.saturating_sub(1))?;
        let suffixes = self.varints(count)?;
        let extra = if extra { self.varints(count)? } else { Vec::new() };
        let mut keys: Vec<Vec<u8>> = Vec::new();
        for (prefix, suffix) in std::iter::once(0).chain(prefixes).zip(suffixes) {
            let last = keys.last().map_or(&[][..], Vec::as_slice);
            let prefix =
                usize::try_from(prefix).ok().and_then(|len| last.get(..len)).ok_or_else(|| self.malformed())?;
            let len = (prefix.len() as u64).saturating_add(suffix);
            // A key may repeat the whole key before it, so a few bytes could ask for a lot of memory.
            *budget = budget.checked_sub(len).ok_or_else(|| {
                WeightsError::new(Code::Limit, "the keys of the database are too long (option `limits`)")
            })?;
            keys.push([prefix, self.take(suffix)?].concat());
        }
        Ok((keys, extra))
    }

    pub(super) fn end(&self) -> Result<()> {
        if self.rest.is_empty() { Ok(()) } else { Err(self.malformed()) }
    }
}
