//! One run of memory: allocated by us, or a private mapping of a part of a file.

use std::fs::File;
use std::ptr::NonNull;
use std::sync::Arc;

use kw_model::{Cancel, Code, Crc32c, Result, WeightsError};
use memmap2::{Advice, MmapOptions, MmapRaw};

use crate::{Lease, LeaseState, PIECE};

/// Alignment of every allocation, bytes: a cache line, and enough for every typed array.
const LINE: usize = 64;
/// Allocations from this size on come straight from the system: they are zeroed lazily and
/// go back to it at once.
const PAGES_FROM: usize = 1 << 20;
/// Pages this large save most of the page faults of a big copy, where the system offers them.
const HUGE_PAGES_FROM: usize = 4 << 20;
/// Bytes that [`Region::digest`] looks at in one go: small enough for the first cache.
const SCRATCH: usize = 16 << 10;

#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([u8; LINE]);

enum Memory {
    Heap(#[expect(dead_code, reason = "only its drop matters")] Vec<Line>),
    Pages(#[expect(dead_code, reason = "only its drop matters")] MmapRaw),
    File(Arc<Pages>, Option<Arc<Lease>>),
}

/// A private mapping of a part of a file.
pub(crate) struct Pages(MmapRaw);

impl Pages {
    /// The first byte.
    pub(crate) fn base(&self) -> NonNull<u8> {
        // The system never maps at 0.
        NonNull::new(self.0.as_mut_ptr()).unwrap_or(NonNull::dangling())
    }

    /// Bytes.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

/// A run of writable memory that stays where it is until dropped.
///
/// While one owner holds it, [`Region::bytes_mut`] fills it. Once it is shared (in an `Arc`),
/// JavaScript may write to it at any time, so nobody gets a slice any more:
/// Rust reads it with [`Region::copy_out`] and [`Region::digest`], through raw pointers.
pub struct Region {
    memory: Memory,
    base: NonNull<u8>,
    len: usize,
}

// SAFETY: the memory is owned by this value and does not move. Through a shared reference it is
// only ever read, by raw-pointer copies into private buffers, so no Rust reference aliases it.
unsafe impl Send for Region {}
// SAFETY: as above.
unsafe impl Sync for Region {}

impl std::fmt::Debug for Region {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Region").field("len", &self.len).field("mapped", &self.is_mapped()).finish_non_exhaustive()
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        if let Memory::File(pages, Some(lease)) = &self.memory {
            lease.leave(pages);
        }
    }
}

fn no_memory(len: u64) -> WeightsError {
    WeightsError::new(Code::Memory, format!("{len} bytes of memory could not be had")).expected(len)
}

impl Region {
    /// Zeroed memory of our own, aligned to 64 bytes.
    ///
    /// # Errors
    /// [`Code::Memory`] when the system refuses, also for sizes this machine cannot address.
    pub fn allocate(len: u64) -> Result<Self> {
        let size =
            usize::try_from(len).ok().filter(|&size| isize::try_from(size).is_ok()).ok_or_else(|| no_memory(len))?;
        if size >= PAGES_FROM {
            let pages = MmapOptions::new().len(size).map_anon().map_err(|_| no_memory(len))?;
            #[cfg(target_os = "linux")]
            if size >= HUGE_PAGES_FROM {
                // A hint: systems without huge pages refuse it and nothing is lost.
                let _ = pages.advise(Advice::HugePage);
            }
            let pages = MmapRaw::from(pages);
            let base = NonNull::new(pages.as_mut_ptr()).ok_or_else(|| no_memory(len))?;
            return Ok(Region { memory: Memory::Pages(pages), base, len: size });
        }
        let mut lines: Vec<Line> = Vec::new();
        let count = size.div_ceil(LINE);
        lines.try_reserve_exact(count).map_err(|_| no_memory(len))?;
        lines.resize(count, Line([0; LINE]));
        let base = NonNull::from(lines.as_mut_slice()).cast();
        Ok(Region { memory: Memory::Heap(lines), base, len: size })
    }

    /// `len` bytes of `file` from `offset`, private and writable: stores change this memory only.
    /// `offset` is a multiple of [`crate::WINDOW_ALIGNMENT`], so alignments in the file hold in memory.
    /// `None` when the lease under which it should be mapped has gone.
    ///
    /// # Errors
    /// [`Code::Truncated`] when the file has become shorter, [`Code::Memory`] or [`Code::Io`] when it cannot be mapped.
    pub fn map(file: &File, offset: u64, len: u64, name: &str, lease: Option<&Arc<Lease>>) -> Result<Option<Self>> {
        let size =
            usize::try_from(len).ok().filter(|&size| isize::try_from(size).is_ok()).ok_or_else(|| no_memory(len))?;
        let end = offset.checked_add(len).ok_or_else(|| no_memory(len))?;
        check_len(file, end, name)?;
        // SAFETY: the mapping is private, and nothing takes its bytes as immutable: they are read by
        // raw copies or by JavaScript. A file that shrinks afterwards is `may_map`'s concern.
        let pages = unsafe { MmapOptions::new().offset(offset).len(size).no_reserve_swap().map_copy(file) }.map_err(
            |error| {
                let code = if error.kind() == std::io::ErrorKind::OutOfMemory { Code::Memory } else { Code::Io };
                WeightsError::new(code, format!("could not map {len} bytes of {name}: {error}"))
                    .file(name)
                    .offset(offset)
            },
        )?;
        // Shrunk between the look and the mapping: better an error now than a fault later.
        check_len(file, end, name)?;
        let pages = Arc::new(Pages(MmapRaw::from(pages)));
        if lease.is_some_and(|lease| !lease.enter(&pages)) {
            return Ok(None);
        }
        Ok(Some(Region { base: pages.base(), memory: Memory::File(pages, lease.cloned()), len: size }))
    }

    /// Bytes in all.
    pub fn len(&self) -> usize {
        self.len
    }

    /// True when there are no bytes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// True for pages of a file, which cost no memory of their own until written to.
    pub fn is_mapped(&self) -> bool {
        matches!(self.memory, Memory::File(..))
    }

    /// Fails when the file under a mapping was changed and the values could not be kept.
    ///
    /// # Errors
    /// [`Code::Changed`].
    pub fn check_kept(&self) -> Result<()> {
        match &self.memory {
            Memory::File(_, Some(lease)) => lease.check(),
            _ => Ok(()),
        }
    }

    /// The first byte; valid for reads and writes of `len` bytes as long as this value lives.
    pub fn base(&self) -> NonNull<u8> {
        self.base
    }

    /// All bytes, while nobody else can see them.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: `base` is valid for `len` initialised bytes, and `&mut self` proves that nobody shares them.
        unsafe { std::slice::from_raw_parts_mut(self.base.as_ptr(), self.len) }
    }

    fn check(&self, offset: usize, len: usize) -> Result<()> {
        if offset.checked_add(len).is_none_or(|end| end > self.len) {
            return Err(WeightsError::new(
                Code::Internal,
                format!("{len} bytes at {offset} are outside a region of {} bytes", self.len),
            ));
        }
        self.check_kept()
    }

    /// Copies bytes that JavaScript may be changing meanwhile; what comes out is then a mixture.
    ///
    /// # Errors
    /// [`Code::Internal`] when the range is not inside the region; as [`Region::check_kept`].
    pub fn copy_out(&self, offset: usize, out: &mut [u8]) -> Result<()> {
        self.check(offset, out.len())?;
        // SAFETY: the range was checked; `out` is a distinct, exclusively borrowed buffer, because slices of
        // this memory are only handed out by `bytes_mut`, which cannot be alive together with `&self`.
        unsafe { std::ptr::copy_nonoverlapping(self.base.as_ptr().add(offset), out.as_mut_ptr(), out.len()) };
        // It may have been lost in the middle.
        self.check_kept()
    }

    /// CRC32C of a range.
    ///
    /// # Errors
    /// [`Code::Internal`] when the range is not inside the region, [`Code::Aborted`].
    pub fn digest(&self, offset: usize, len: usize, cancel: &Cancel) -> Result<u32> {
        self.check(offset, len)?;
        let mut crc = Crc32c::default();
        let mut scratch = [0; SCRATCH];
        let mut done = 0;
        while done < len {
            if done % PIECE == 0 {
                cancel.check()?;
            }
            let size = SCRATCH.min(len - done);
            let Some(piece) = scratch.get_mut(..size) else { break };
            self.copy_out(offset + done, piece)?;
            crc.update(piece);
            done += size;
        }
        Ok(crc.value())
    }

    /// Brings a range of a mapping into memory, so that its first reader does not wait for the disk.
    /// Nothing to do for memory of our own.
    ///
    /// # Errors
    /// [`Code::Truncated`] when the file no longer has these bytes, [`Code::Aborted`].
    pub fn page_in(
        &self,
        offset: usize,
        len: usize,
        file: &File,
        file_end: u64,
        name: &str,
        cancel: &Cancel,
    ) -> Result<()> {
        self.check(offset, len)?;
        let Memory::File(pages, lease) = &self.memory else { return Ok(()) };
        let mut done = 0;
        while done < len {
            cancel.check()?;
            let size = PIECE.min(len - done);
            let brought = check_len(file, file_end, name)
                .and_then(|()| populate(&pages.0, offset + done, size, file, file_end, name));
            match (brought, lease) {
                (Ok(true), _) => {}
                (Ok(false), _) => self.touch(offset + done, size),
                // The file was cut after its pages had become memory of our own.
                (Err(_), Some(lease)) if lease.state() == LeaseState::Private => return Ok(()),
                (Err(error), _) => {
                    self.check_kept()?;
                    return Err(error);
                }
            }
            done += size;
        }
        self.check_kept()
    }

    /// Reads one byte of every page.
    fn touch(&self, offset: usize, len: usize) {
        const PAGE: usize = 4096;
        for at in (offset..offset + len).step_by(PAGE) {
            // SAFETY: `at` is inside the region: callers pass checked ranges.
            let _ = unsafe { self.base.as_ptr().add(at).read_volatile() };
        }
    }
}

/// Asks the system to page a range in; false when it cannot be asked that way.
/// Unlike a touch, this reports a file that shrank as an error instead of a fault.
#[cfg(target_os = "linux")]
fn populate(pages: &MmapRaw, offset: usize, len: usize, file: &File, file_end: u64, name: &str) -> Result<bool> {
    if pages.advise_range(Advice::PopulateRead, offset, len).is_ok() {
        return Ok(true);
    }
    check_len(file, file_end, name)?;
    Ok(false)
}

#[cfg(all(unix, not(target_os = "linux")))]
#[expect(clippy::unnecessary_wraps, reason = "one signature on every platform")]
fn populate(pages: &MmapRaw, offset: usize, len: usize, _: &File, _: u64, _: &str) -> Result<bool> {
    let _ = pages.advise_range(Advice::WillNeed, offset, len);
    Ok(false)
}

#[cfg(not(unix))]
#[expect(clippy::unnecessary_wraps, reason = "one signature on every platform")]
fn populate(_: &MmapRaw, _: usize, _: usize, _: &File, _: u64, _: &str) -> Result<bool> {
    Ok(false)
}

fn check_len(file: &File, end: u64, name: &str) -> Result<()> {
    let found = file
        .metadata()
        .map_err(|error| WeightsError::new(Code::Io, format!("could not inspect {name}: {error}")).file(name))?
        .len();
    if found < end {
        return Err(WeightsError::new(
            Code::Truncated,
            format!("{name} has {found} bytes, but {end} are needed: it became shorter while it was open"),
        )
        .file(name)
        .expected(end)
        .found(found));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use kw_model::{Cancel, Code, crc32c};

    use super::Region;

    fn temporary(bytes: &[u8]) -> (std::path::PathBuf, std::fs::File) {
        static COUNT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("kw-region-{}-{number}", std::process::id()));
        std::fs::File::create(&path).expect("created").write_all(bytes).expect("written");
        let file = std::fs::File::open(&path).expect("opened");
        (path, file)
    }

    #[test]
    fn allocations_are_zeroed_aligned_and_may_fail() {
        for len in [0_u64, 1, 63, 64, 65, (1 << 20) - 1, 1 << 20, 5 << 20] {
            let mut region = Region::allocate(len).expect("had");
            assert_eq!(region.len() as u64, len);
            assert_eq!(region.base().as_ptr() as usize % 64, 0, "{len}");
            assert!(region.bytes_mut().iter().all(|&byte| byte == 0));
            assert!(!region.is_mapped());
        }
        for len in [u64::MAX, 1 << 60] {
            assert_eq!(Region::allocate(len).map_err(|error| error.code()).err(), Some(Code::Memory));
        }
    }

    #[test]
    fn stores_into_a_mapping_leave_the_file_alone() {
        let bytes: Vec<u8> = (0..200_000_u32).map(|k| (k % 251) as u8).collect();
        let (path, file) = temporary(&bytes);
        let mut region = Region::map(&file, 65_536, 100_000, "f", None).expect("mapped").expect("no lease");
        let cancel = Cancel::default();
        region.page_in(10, 90_000, &file, 165_536, "f", &cancel).expect("paged in");
        assert!(region.is_mapped());
        assert_eq!(region.digest(7, 50_000, &cancel).expect("inside"), crc32c(&bytes[65_543..115_543]));
        region.bytes_mut().fill(9);
        assert_eq!(std::fs::read(&path).expect("read"), bytes);
        assert_eq!(region.digest(99_999, 2, &cancel).map_err(|e| e.code()), Err(Code::Internal));
        cancel.cancel();
        assert_eq!(region.digest(0, 5, &cancel).map_err(|e| e.code()), Err(Code::Aborted));
        std::fs::remove_file(path).expect("removed");
    }

    #[test]
    fn a_file_that_shrank_is_an_error_and_no_fault() {
        let (path, file) = temporary(&vec![1; 300_000]);
        assert_eq!(Region::map(&file, 0, 300_001, "f", None).map_err(|e| e.code()).err(), Some(Code::Truncated));
        let region = Region::map(&file, 0, 300_000, "f", None).expect("mapped").expect("no lease");
        std::fs::OpenOptions::new().write(true).open(&path).expect("opened").set_len(70_000).expect("cut");
        let error = region.page_in(0, 300_000, &file, 300_000, "f", &Cancel::default()).expect_err("too short");
        assert_eq!(error.code(), Code::Truncated);
        std::fs::remove_file(path).expect("removed");
    }
}
