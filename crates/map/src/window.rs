//! Which parts of which files are mapped, so that many tensors share few mappings.

use std::sync::Arc;

use kw_model::{ByteSource, Code, Result, WeightsError};

use crate::{Lease, Region};

/// Windows begin at multiples of this many bytes of the file: the coarsest granularity of any
/// platform (Windows), and a multiple of every page size in use.
pub const WINDOW_ALIGNMENT: u64 = 1 << 16;

/// A stored tensor that somebody would like to see in place.
#[derive(Debug, Clone, Copy)]
pub struct RangeRequest {
    /// Index of the source.
    pub source: usize,
    /// Byte offset in the file behind the source.
    pub file_offset: u64,
    /// Bytes.
    pub byte_len: u64,
    /// What the address must be a multiple of, bytes.
    pub alignment: usize,
}

/// A part of a file that is mapped as one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Index of the source.
    pub source: usize,
    /// Byte offset in the file, a multiple of [`WINDOW_ALIGNMENT`].
    pub file_offset: u64,
    /// Bytes.
    pub len: u64,
}

/// Where a request lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct View {
    /// Index into [`WindowPlan::windows`].
    pub window: usize,
    /// Bytes from the window's start.
    pub offset: u64,
}

/// The result of [`plan_windows`].
#[derive(Debug, Default)]
pub struct WindowPlan {
    /// What to map.
    pub windows: Vec<Window>,
    /// One a request, in the order of the requests; `None` = has to be copied.
    pub views: Vec<Option<View>>,
    /// One a source that is mapped under a lease.
    pub leases: Vec<Option<Arc<Lease>>>,
}

/// Puts aligned, non-empty requests into as few windows of at most `limit` bytes as possible,
/// cut at tensor boundaries; a tensor that fits in no window is left to be copied.
pub fn plan_windows(requests: &[RangeRequest], limit: u64) -> WindowPlan {
    let mut order: Vec<(usize, &RangeRequest)> = requests
        .iter()
        .enumerate()
        .filter(|(_, request)| {
            let alignment = request.alignment.max(1) as u64;
            request.byte_len > 0
                && request.file_offset.is_multiple_of(alignment)
                && WINDOW_ALIGNMENT.is_multiple_of(alignment)
        })
        .collect();
    order.sort_by_key(|(_, request)| (request.source, request.file_offset));
    let mut plan = WindowPlan { windows: Vec::new(), views: vec![None; requests.len()], leases: Vec::new() };
    for (index, request) in order {
        let Some(end) = request.file_offset.checked_add(request.byte_len) else { continue };
        let open = plan
            .windows
            .last()
            .copied()
            .filter(|window| window.source == request.source && end.saturating_sub(window.file_offset) <= limit);
        let window = open.unwrap_or(Window {
            source: request.source,
            file_offset: request.file_offset - request.file_offset % WINDOW_ALIGNMENT,
            len: 0,
        });
        let len = window.len.max(end - window.file_offset);
        if len > limit {
            continue;
        }
        if open.is_some() {
            plan.windows.pop();
        }
        plan.windows.push(Window { len, ..window });
        if let Some(view) = plan.views.get_mut(index) {
            *view = Some(View { window: plan.windows.len() - 1, offset: request.file_offset - window.file_offset });
        }
    }
    plan
}

/// Maps one window; `None` when its lease has gone, and the tensors have to be copied.
///
/// # Errors
/// [`Code::Internal`] when the window belongs to no mappable source; as [`Region::map`].
pub fn map_window(window: Window, plan: &WindowPlan, sources: &[Arc<dyn ByteSource>]) -> Result<Option<Region>> {
    let source = sources.get(window.source);
    let Some((source, (file, _))) = source.and_then(|source| Some((source, source.file()?))) else {
        return Err(WeightsError::new(Code::Internal, "a window lies over something that is no file"));
    };
    let lease = plan.leases.get(window.source).and_then(Option::as_ref);
    Region::map(&file, window.file_offset, window.len, &source.name(), lease)
}

#[cfg(test)]
mod tests {
    use super::{RangeRequest, View, Window, plan_windows};

    fn request(source: usize, file_offset: u64, byte_len: u64, alignment: usize) -> RangeRequest {
        RangeRequest { source, file_offset, byte_len, alignment }
    }

    #[test]
    fn one_window_a_source_when_there_is_no_limit() {
        let plan = plan_windows(
            &[request(1, 70_000, 4, 4), request(0, 2048, 100, 4), request(0, 200_000, 8, 8), request(0, 4096, 16, 1)],
            u64::MAX,
        );
        assert_eq!(
            plan.windows,
            [Window { source: 0, file_offset: 0, len: 200_008 }, Window { source: 1, file_offset: 65_536, len: 4_468 }]
        );
        let view = |window, offset| Some(View { window, offset });
        assert_eq!(plan.views, [view(1, 4_464), view(0, 2048), view(0, 200_000), view(0, 4096)]);
    }

    #[test]
    fn windows_are_cut_between_tensors_and_too_large_ones_are_left() {
        let plan = plan_windows(
            &[
                request(0, 0, 60_000, 4),
                request(0, 60_000, 40_000, 4),
                request(0, 100_000, 500_000, 4),
                request(0, 600_000, 10, 1),
            ],
            100_000,
        );
        assert_eq!(
            plan.windows,
            [
                Window { source: 0, file_offset: 0, len: 100_000 },
                Window { source: 0, file_offset: 589_824, len: 10_186 }
            ]
        );
        assert_eq!(plan.views[2], None);
        assert_eq!(plan.views[3], Some(View { window: 1, offset: 10_176 }));
    }

    #[test]
    fn misaligned_and_empty_ones_are_left() {
        let plan = plan_windows(&[request(0, 2, 4, 4), request(0, 8, 0, 4), request(0, u64::MAX, 2, 1)], u64::MAX);
        assert!(plan.windows.is_empty());
        assert_eq!(plan.views, [None, None, None]);
    }

    #[test]
    fn a_tensor_inside_another_shares_its_window() {
        let plan = plan_windows(&[request(0, 0, 1000, 4), request(0, 100, 8, 4)], 1000);
        assert_eq!(plan.windows, [Window { source: 0, file_offset: 0, len: 1000 }]);
        assert_eq!(plan.views[1], Some(View { window: 0, offset: 100 }));
    }
}
