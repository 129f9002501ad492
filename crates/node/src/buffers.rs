//! `ArrayBuffer`s over our memory, and the way back from a typed array to that memory.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock, Weak};

use kw_map::{Placed, Region};
use kw_model::{Code, Result, WeightsError};
use napi::Env;
use napi::bindgen_prelude::ArrayBuffer;

use crate::failure::number;
use crate::pool::lock;

/// A region that JavaScript has seen or may see. It is known by its address as long as it lives.
#[derive(Debug)]
pub struct Shared {
    region: Region,
}

/// All shared regions by address: a saved typed array that lies inside one is read through its owner.
static KNOWN: Mutex<BTreeMap<usize, Weak<Shared>>> = Mutex::new(BTreeMap::new());

impl Shared {
    /// Makes a filled region known.
    pub fn new(region: Region) -> Arc<Self> {
        let shared = Arc::new(Shared { region });
        if !shared.region.is_empty() {
            lock(&KNOWN).insert(shared.address(), Arc::downgrade(&shared));
        }
        shared
    }

    /// The memory.
    pub fn region(&self) -> &Region {
        &self.region
    }

    fn address(&self) -> usize {
        self.region.base().as_ptr() as usize
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // Before the memory goes back: its address may be given out again at once.
        if !self.region.is_empty() {
            lock(&KNOWN).remove(&self.address());
        }
    }
}

/// The region that wholly holds `bytes` of JavaScript, and where in it they begin.
pub fn owner_of(bytes: &[u8]) -> Option<(Arc<Shared>, usize)> {
    let start = bytes.as_ptr() as usize;
    let known = lock(&KNOWN);
    let owner = known.range(..=start).next_back()?.1.upgrade();
    // Released first: should this be the last reference, its drop takes the lock.
    drop(known);
    let owner = owner?;
    let offset = start.checked_sub(owner.address())?;
    (offset.checked_add(bytes.len())? <= owner.region.len()).then_some((owner, offset))
}

/// What depends on the version of Node.
#[derive(Clone, Copy)]
struct Runtime {
    /// Bytes of the largest buffer over foreign memory: 4 GiB up to Node 21.
    foreign_limit: usize,
    /// Whether buffers over pages of a file may be taken out of V8's sum of external memory.
    discounts: bool,
}

fn runtime(env: &Env) -> Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    *RUNTIME.get_or_init(|| {
        let major = env.get_node_version().map_or(0, |version| version.major);
        Runtime {
            foreign_limit: if major >= 22 { usize::MAX } else { usize::try_from(1_u64 << 32).unwrap_or(usize::MAX) },
            // V8 takes a buffer's length off the sum before the finalizer can put the discount back. From
            // Node 24 on it ends the process when the sum would become negative in between.
            discounts: (20..=22).contains(&major),
        }
    })
}

/// One `ArrayBuffer` over a whole region. It keeps the region alive until it is collected.
/// Where the runtime allows no foreign memory the bytes are copied.
///
/// # Errors
/// [`Code::Memory`] when JavaScript cannot make the buffer.
pub fn array_buffer<'env>(env: &'env Env, shared: &Arc<Shared>) -> Result<ArrayBuffer<'env>> {
    let region = shared.region();
    let refused = |error: napi::Error| {
        WeightsError::new(
            Code::Memory,
            format!("JavaScript could not make a buffer of {} bytes: {}", region.len(), error.reason),
        )
        .expected(region.len() as u64)
    };
    if region.is_empty() {
        return ArrayBuffer::from_data(env, Vec::new()).map_err(refused);
    }
    let runtime = runtime(env);
    if region.len() > runtime.foreign_limit {
        // Windows are never that large: this is memory of our own that JavaScript has not seen yet.
        // SAFETY: valid for `len` bytes, and nobody writes to it before it is shared.
        let bytes = unsafe { std::slice::from_raw_parts(region.base().as_ptr(), region.len()) };
        return ArrayBuffer::copy_from(env, bytes).map_err(refused);
    }
    // Pages of a file cost no memory that a collection could win back; V8 would collect in vain for them.
    let discount =
        if region.is_mapped() && runtime.discounts { i64::try_from(region.len()).unwrap_or(i64::MAX) } else { 0 };
    let keep = Arc::clone(shared);
    // SAFETY: the memory is valid and stays where it is as long as `keep` lives, which the finalizer drops.
    let buffer = unsafe {
        ArrayBuffer::from_external(env, region.base().as_ptr(), region.len(), keep, move |env: Env, keep| {
            if discount > 0 {
                let _ = env.adjust_external_memory(discount);
            }
            drop(keep);
        })
    }
    .map_err(refused)?;
    if discount > 0 {
        let _ = env.adjust_external_memory(-discount);
    }
    Ok(buffer)
}

/// Values on their way to JavaScript.
#[derive(Debug, Default)]
pub struct Values {
    regions: Vec<Arc<Shared>>,
    /// Region, offset and bytes of each value, flat; region −1 for a value without bytes.
    pub places: Vec<f64>,
}

impl From<Placed> for Values {
    fn from(placed: Placed) -> Self {
        let flat = placed
            .places
            .iter()
            .flat_map(|place| {
                let region = place.region.map_or(-1.0, |region| number(region as u64));
                [region, number(place.offset as u64), number(place.byte_len as u64)]
            })
            .collect();
        Values { regions: placed.regions.into_iter().map(Shared::new).collect(), places: flat }
    }
}

impl Values {
    /// One value a region.
    pub fn of_regions(regions: Vec<Region>) -> Self {
        Values { regions: regions.into_iter().map(Shared::new).collect(), places: Vec::new() }
    }

    /// The buffers that [`Values::places`] speaks of.
    ///
    /// # Errors
    /// As [`array_buffer`].
    pub fn buffers<'env>(&self, env: &'env Env) -> Result<Vec<ArrayBuffer<'env>>> {
        self.regions.iter().map(|shared| array_buffer(env, shared)).collect()
    }
}

#[cfg(test)]
mod tests {
    use kw_map::Region;

    use super::{Shared, owner_of};

    #[test]
    fn memory_of_ours_is_recognized_and_nothing_else() {
        let mut region = Region::allocate(1000).expect("had");
        region.bytes_mut().fill(3);
        let base = region.base().as_ptr();
        let shared = Shared::new(region);
        // SAFETY: inside the region, which nobody writes to here.
        let view = |offset: usize, len: usize| unsafe { std::slice::from_raw_parts(base.add(offset), len) };
        let found = |offset, len| owner_of(view(offset, len)).map(|(_, offset)| offset);
        assert_eq!(found(0, 1000), Some(0));
        assert_eq!(found(10, 900), Some(10));
        assert_eq!(found(999, 1), Some(999));
        assert_eq!(owner_of(&[1, 2, 3]).map(|(_, offset)| offset), None);
        let (owner, _) = owner_of(view(0, 1)).expect("known");
        drop(shared);
        assert_eq!(found(0, 1), Some(0), "still held");
        drop(owner);
    }
}
