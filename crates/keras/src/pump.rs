//! The values of a save on their way into a container.

use kw_model::{Cancel, Code, Crc32c, Result, WeightsError};

use crate::save::ValueStream;

/// Brings one tensor after the other, counts, and compares each with the digest it had before.
pub(crate) struct Pump<'a> {
    pub(crate) values: &'a mut dyn ValueStream,
    pub(crate) digests: &'a [u32],
    pub(crate) cancel: &'a Cancel,
    pub(crate) progress: &'a mut dyn FnMut(u64),
    /// Bytes so far.
    pub(crate) written: u64,
}

impl Pump<'_> {
    /// Hands the bytes of a tensor on. Containers that compare digests themselves leave `verify` out.
    ///
    /// # Errors
    /// [`Code::Aborted`]; [`Code::Changed`] for other values than were digested; what the values and `out` cause.
    pub(crate) fn tensor(
        &mut self,
        tensor: usize,
        verify: bool,
        out: &mut dyn FnMut(&[u8]) -> Result<()>,
    ) -> Result<()> {
        let (cancel, progress, written) = (self.cancel, &mut self.progress, &mut self.written);
        let mut crc = Crc32c::default();
        self.values.pump(tensor, &mut |bytes| {
            cancel.check()?;
            if verify {
                crc.update(bytes);
            }
            out(bytes)?;
            *written = written.saturating_add(bytes.len() as u64);
            progress(*written);
            Ok(())
        })?;
        cancel.check()?;
        let expected = self.digests.get(tensor).copied();
        if verify && expected.is_some_and(|expected| expected != crc.value()) {
            return Err(WeightsError::new(
                Code::Changed,
                format!("the values of tensor number {tensor} changed while they were being saved"),
            ));
        }
        Ok(())
    }
}
