//! Bytes of an array that come in file order, put where C order wants them.

use kw_model::{Code, Result, WeightsError};

use super::header::Header;
use crate::buffers::swap_bytes;

/// Takes the bytes of one array in pieces of any length that is a multiple of the element size.
pub(super) struct Decoder<'a> {
    out: &'a mut [u8],
    swap_width: usize,
    order: Order,
}

enum Order {
    /// File order is C order: the next byte goes to this position.
    C { position: usize },
    /// The first axis turns fastest.
    Fortran { width: usize, position: usize, counters: Vec<u64>, axes: Vec<(u64, usize)> },
}

impl<'a> Decoder<'a> {
    /// `out` has exactly the array's length.
    pub(super) fn new(header: &Header, out: &'a mut [u8]) -> Self {
        let width = header.descr.dtype.size();
        let shape = header.shape.axes();
        // One axis that counts is the same in both orders.
        let order = if header.fortran && shape.iter().filter(|axis| **axis != 1).count() > 1 {
            let mut stride = width;
            let mut axes = Vec::new();
            for &axis in shape.iter().rev() {
                axes.push((axis, stride));
                // The product of all axes is the length of `out`, which fits.
                stride = stride.saturating_mul(usize::try_from(axis).unwrap_or(usize::MAX));
            }
            axes.reverse();
            Order::Fortran { width, position: 0, counters: vec![0; axes.len()], axes }
        } else {
            Order::C { position: 0 }
        };
        Decoder { out, swap_width: header.descr.swap_width(), order }
    }

    /// Puts the next bytes in their places; they may be turned round on the way.
    pub(super) fn write(&mut self, bytes: &mut [u8]) -> Result<()> {
        let misfit = || WeightsError::new(Code::Internal, "an array does not fit its buffer").format(super::FORMAT);
        swap_bytes(bytes, self.swap_width);
        match &mut self.order {
            Order::C { position } => {
                let end = position.checked_add(bytes.len()).ok_or_else(misfit)?;
                self.out.get_mut(*position..end).ok_or_else(misfit)?.copy_from_slice(bytes);
                *position = end;
            }
            Order::Fortran { width, position, counters, axes } => {
                for element in bytes.chunks_exact(*width) {
                    let end = position.checked_add(*width).ok_or_else(misfit)?;
                    self.out.get_mut(*position..end).ok_or_else(misfit)?.copy_from_slice(element);
                    for (counter, &(axis, stride)) in counters.iter_mut().zip(axes.iter()) {
                        *counter += 1;
                        *position = position.saturating_add(stride);
                        if *counter < axis {
                            break;
                        }
                        let back = usize::try_from(axis).unwrap_or(usize::MAX).saturating_mul(stride);
                        *position = position.saturating_sub(back);
                        *counter = 0;
                    }
                }
            }
        }
        Ok(())
    }
}

/// Bytes of the largest piece that is handed over at once: a multiple of every element size up to 16,
/// and of the given one.
pub(super) fn piece_len(width: usize) -> usize {
    let elements = (crate::buffers::PIECE / width.max(1)).max(1);
    elements.saturating_mul(width.max(1))
}

/// Whether the file's bytes are already what a reader wants.
pub(super) fn is_plain(header: &Header) -> bool {
    header.descr.swap_width() == 1
        && (!header.fortran || header.shape.axes().iter().filter(|axis| **axis != 1).count() <= 1)
}
