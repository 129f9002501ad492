//! Puts private memory in the place of a file's pages, under the same addresses, while JavaScript reads them.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::Instant;

use memmap2::MmapOptions;

use crate::PIECE;
use crate::region::Pages;

/// Bytes that are replaced at once; each costs a memory area, of which a process has 65,530.
const STEP: usize = 64 << 20;
/// Bytes of the pattern that marks lost values.
const PATTERN: usize = 2 << 20;

/// Replaces all pages by copies of what they show, with what JavaScript stored into them, and gives how many
/// bytes were done at `until`.
///
/// A reader sees the same values before, during and after. A store that falls between the copy of its page and
/// the replacement is lost: views are to be read.
pub(super) fn seal(pages: &Pages, until: Instant, between: &dyn Fn()) -> usize {
    let mut done = 0;
    // Read through the system and not through pointers: where the file has become shorter that is an error, no fault.
    if let Ok(memory) = File::open("/proc/self/mem") {
        while done < pages.len() {
            let len = STEP.min(pages.len() - done);
            if !copy(&memory, pages, done, len, until) {
                break;
            }
            done += len;
            between();
        }
    }
    done
}

/// Whether so many bytes can be had without bringing the machine down. A guess: others may want them, too.
pub(super) fn has_memory(bytes: usize) -> bool {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let available =
        text.lines().find_map(|line| line.strip_prefix("MemAvailable:")?.trim().strip_suffix(" kB")?.parse().ok());
    available.is_none_or(|kilobytes: usize| bytes >> 10 < kilobytes)
}

fn copy(memory: &File, pages: &Pages, offset: usize, len: usize, until: Instant) -> bool {
    let Ok(mut fresh) = MmapOptions::new().len(len).map_anon() else { return false };
    let mut at = pages.base().as_ptr() as u64 + offset as u64;
    for piece in fresh.chunks_mut(PIECE) {
        if Instant::now() >= until || memory.read_exact_at(piece, at).is_err() {
            return false;
        }
        at += piece.len() as u64;
    }
    // SAFETY: `fresh` is a whole mapping of `len` bytes that nobody else knows; `offset` is a multiple of a page, and
    // the target is inside `pages`, which stay mapped as long as they live. The move replaces them in one step.
    let moved = unsafe {
        libc::mremap(
            fresh.as_mut_ptr().cast(),
            len,
            len,
            libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED,
            pages.base().as_ptr().add(offset).cast::<libc::c_void>(),
        )
    };
    if moved == libc::MAP_FAILED {
        return false;
    }
    // It now belongs to `pages`, which unmap it.
    std::mem::forget(fresh);
    true
}

/// Makes everything from `offset` on NaN (all bits set; -1 in integers). It takes little memory: that may be what is missing.
pub(super) fn spoil(pages: &Pages, offset: usize) -> std::io::Result<()> {
    if offset >= pages.len() {
        return Ok(());
    }
    // So that a huge mapping does not need more memory areas than there are.
    let size = ((pages.len() - offset) / 4096).next_multiple_of(PATTERN).max(PATTERN);
    let pattern = File::from(rustix::fs::memfd_create("keras-weights", rustix::fs::MemfdFlags::CLOEXEC)?);
    let ones = [0xff; 4096];
    for at in (0..size).step_by(ones.len()) {
        pattern.write_all_at(&ones, at as u64)?;
    }
    for at in (offset..pages.len()).step_by(size) {
        let len = size.min(pages.len() - at);
        // SAFETY: the target is inside `pages`, and a multiple of a page from their start. Private, so that stores of
        // JavaScript stay where they are made.
        let target = unsafe {
            libc::mmap(
                pages.base().as_ptr().add(at).cast(),
                len,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_FIXED | libc::MAP_NORESERVE,
                std::os::fd::AsRawFd::as_raw_fd(&pattern),
                0,
            )
        };
        if target == libc::MAP_FAILED {
            return Err(std::io::Error::last_os_error());
        }
    }
    Ok(())
}
