//! Where the slices of one tensor lie in it, and whether together they make it up.

use kw_model::{Code, Result, Shape, WeightsError};

use super::corrupt;

/// Comparisons that a tensor's slices may cost. Slices along one axis, which is all that TensorFlow's
/// partitioners and sharding policies make, cost none; a million slices laid crosswise would cost hours.
const MAX_COMPARISONS: u64 = 20_000_000;

/// What a slice takes of one axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// All of it, without saying how much that is.
    Full,
    /// `len` elements from `start` on. A part may cover the whole axis; it is stored differently then.
    Part {
        /// First element.
        start: u64,
        /// Number of elements.
        len: u64,
    },
}

/// A box of elements in a tensor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Region {
    pub(super) starts: Vec<u64>,
    pub(super) lens: Vec<u64>,
}

impl Region {
    /// The elements that `extents` mean in a tensor of shape `full`.
    pub(super) fn new(extents: &[Extent], full: &Shape) -> Result<Self> {
        if extents.len() != full.rank() {
            return Err(corrupt(format!("a slice of {} axes cannot lie in a tensor of shape {full}", extents.len())));
        }
        let mut region = Region { starts: Vec::new(), lens: Vec::new() };
        for (extent, &axis) in extents.iter().zip(full.axes()) {
            let (start, len) = match *extent {
                Extent::Full => (0, axis),
                Extent::Part { start, len } => (start, len),
            };
            if start.checked_add(len).is_none_or(|end| end > axis) {
                return Err(corrupt(format!(
                    "a slice of {len} elements from {start} on reaches past the end of an axis of {axis}"
                )));
            }
            region.starts.push(start);
            region.lens.push(len);
        }
        Ok(region)
    }

    /// Shape of the slice.
    pub(super) fn shape(&self) -> Shape {
        Shape::new(self.lens.clone())
    }

    fn overlaps(&self, other: &Region) -> bool {
        let ours = self.starts.iter().zip(&self.lens);
        let theirs = other.starts.iter().zip(&other.lens);
        // A region with an axis of 0 holds nothing and overlaps nothing.
        ours.zip(theirs).all(|((&a, &a_len), (&b, &b_len))| a < b.saturating_add(b_len) && b < a.saturating_add(a_len))
    }

    /// Runs of consecutive elements: the elements in each, and where in the tensor each begins, in C order.
    pub(super) fn runs(&self, full: &Shape) -> Runs {
        let mut strides = vec![1_u64; full.rank()];
        let mut stride = 1_u64;
        for (slot, &axis) in strides.iter_mut().zip(full.axes()).rev() {
            *slot = stride;
            stride = stride.saturating_mul(axis);
        }
        // Axes behind the last one that is cut belong to one run.
        let cut = self.lens.iter().zip(full.axes()).rposition(|(len, axis)| len != axis);
        let inner = cut.unwrap_or(0);
        let run = self.lens.iter().skip(inner).fold(1_u64, |product, &len| product.saturating_mul(len));
        let origin = self.starts.iter().zip(&strides).map(|(start, stride)| start.saturating_mul(*stride)).sum();
        let outer: Vec<(u64, u64)> = self.lens.iter().copied().zip(strides).take(inner).collect();
        let done = run == 0 || outer.iter().any(|(len, _)| *len == 0);
        Runs { run, position: origin, counters: vec![0; outer.len()], outer, done }
    }
}

/// See [`Region::runs`].
pub(super) struct Runs {
    /// Elements in each run.
    pub(super) run: u64,
    position: u64,
    counters: Vec<u64>,
    /// Length and stride of each outer axis.
    outer: Vec<(u64, u64)>,
    done: bool,
}

impl Iterator for Runs {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        if self.done {
            return None;
        }
        let current = self.position;
        self.done = true;
        // An odometer: the innermost axis turns fastest.
        for (counter, &(len, stride)) in self.counters.iter_mut().zip(&self.outer).rev() {
            *counter += 1;
            self.position = self.position.saturating_add(stride);
            if *counter < len {
                self.done = false;
                break;
            }
            self.position = self.position.saturating_sub(stride.saturating_mul(len));
            *counter = 0;
        }
        Some(current)
    }
}

/// Fails unless every element of a tensor of shape `full` lies in exactly one region.
pub(super) fn check_tiling(full: &Shape, regions: &[Region]) -> Result<()> {
    let mut covered = 0_u64;
    for region in regions {
        covered = covered.saturating_add(region.shape().num_elements()?);
    }
    let wanted = full.num_elements()?;
    if covered != wanted {
        return Err(corrupt(format!(
            "the slices of a tensor of shape {full} hold {covered} elements together, not {wanted}"
        ))
        .expected(wanted)
        .found(covered));
    }
    check_disjoint(full, regions)
}

/// Sorted along the axis that is cut most often, only neighbours can overlap.
fn check_disjoint(full: &Shape, regions: &[Region]) -> Result<()> {
    let bounds = |region: &Region, axis: usize| {
        let start = region.starts.get(axis).copied().unwrap_or_default();
        (start, start.saturating_add(region.lens.get(axis).copied().unwrap_or(1)))
    };
    let distinct = |axis: usize| {
        let mut starts: Vec<u64> = regions.iter().map(|region| bounds(region, axis).0).collect();
        starts.sort_unstable();
        starts.dedup();
        starts.len()
    };
    let axis = (0..full.rank()).max_by_key(|&axis| distinct(axis)).unwrap_or(0);
    let mut sorted: Vec<&Region> = regions.iter().filter(|region| !region.lens.contains(&0)).collect();
    sorted.sort_by_key(|region| bounds(region, axis).0);
    let mut comparisons = 0_u64;
    for (position, region) in sorted.iter().enumerate() {
        let (_, end) = bounds(region, axis);
        for other in sorted.iter().skip(position + 1).take_while(|other| bounds(other, axis).0 < end) {
            comparisons += 1;
            if comparisons > MAX_COMPARISONS {
                return Err(WeightsError::limit(
                    "the slices of one tensor lie crosswise",
                    comparisons,
                    MAX_COMPARISONS,
                    "comparisons",
                )
                .format(super::FORMAT));
            }
            if region.overlaps(other) {
                return Err(WeightsError::new(
                    Code::Corrupt,
                    format!("two slices of a tensor of shape {full} overlap"),
                )
                .format(super::FORMAT));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use kw_model::{Code, Shape};

    use super::{Extent, Region, check_tiling};

    type Parts<'a> = &'a [[(u64, u64); 2]];

    fn region(full: &Shape, parts: &[(u64, u64)]) -> Region {
        let extents: Vec<_> = parts.iter().map(|&(start, len)| Extent::Part { start, len }).collect();
        Region::new(&extents, full).expect("inside")
    }

    #[test]
    fn runs_visit_every_element_of_the_region_in_order() {
        let full = Shape::new([4, 3, 5]);
        for parts in [
            vec![(0, 4), (0, 3), (0, 5)],
            vec![(1, 2), (0, 3), (0, 5)],
            vec![(0, 4), (1, 1), (0, 5)],
            vec![(1, 3), (1, 2), (2, 2)],
            vec![(3, 1), (2, 1), (4, 1)],
            vec![(2, 0), (0, 3), (0, 5)],
            vec![(0, 4), (0, 3), (5, 0)],
        ] {
            let region = region(&full, &parts);
            let runs = region.runs(&full);
            let run = runs.run;
            let found: Vec<u64> = runs.flat_map(|start| start..start + run).collect();
            let mut wanted = Vec::new();
            for (a, b, c) in (0..4).flat_map(|a| (0..3).flat_map(move |b| (0..5).map(move |c| (a, b, c)))) {
                if [a, b, c].iter().zip(&parts).all(|(x, (start, len))| (*start..start + len).contains(x)) {
                    wanted.push((a * 3 + b) * 5 + c);
                }
            }
            assert_eq!(found, wanted, "{parts:?}");
        }
        let scalar = Region::new(&[], &Shape::default()).expect("scalar");
        assert_eq!(scalar.runs(&Shape::default()).collect::<Vec<_>>(), [0]);
    }

    #[test]
    fn tilings_are_exact() {
        let full = Shape::new([4, 4]);
        let cases: [(&str, Parts<'_>, bool); 7] = [
            ("two halves", &[[(0, 2), (0, 4)], [(2, 2), (0, 4)]], true),
            ("other axis, other order", &[[(0, 4), (3, 1)], [(0, 4), (0, 3)]], true),
            (
                "pinwheel",
                &[[(0, 1), (0, 3)], [(0, 3), (3, 1)], [(3, 1), (1, 3)], [(1, 3), (0, 1)], [(1, 2), (1, 2)]],
                true,
            ),
            ("with an empty one", &[[(0, 4), (0, 4)], [(1, 0), (0, 4)]], true),
            ("gap", &[[(0, 2), (0, 4)], [(3, 1), (0, 4)]], false),
            ("twice the same half", &[[(0, 2), (0, 4)], [(0, 2), (0, 4)]], false),
            ("overlap that makes up for a gap", &[[(0, 3), (0, 2)], [(2, 2), (0, 4)], [(0, 1), (2, 2)]], false),
        ];
        for (name, parts, fits) in cases {
            let regions: Vec<_> = parts.iter().map(|parts| region(&full, parts)).collect();
            let result = check_tiling(&full, &regions).map_err(|error| error.code());
            assert_eq!(result, if fits { Ok(()) } else { Err(Code::Corrupt) }, "{name}");
        }
    }

    #[test]
    fn slices_stay_inside() {
        let full = Shape::new([4]);
        for (extents, fits) in [
            (&[Extent::Full][..], true),
            (&[Extent::Part { start: 4, len: 0 }], true),
            (&[Extent::Part { start: 4, len: 1 }], false),
            (&[Extent::Part { start: u64::MAX, len: 2 }], false),
            (&[], false),
            (&[Extent::Full, Extent::Full], false),
        ] {
            assert_eq!(Region::new(extents, &full).is_ok(), fits, "{extents:?}");
        }
    }
}
