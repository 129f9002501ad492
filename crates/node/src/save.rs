//! A save: values come in twice, first for their digests, then for the file.
//!
//! Metadata with the digests stands before the values in a file that is written once from front to
//! back. That the second pass must fit the digests of the first also proves that the values were not
//! changed in between.

use std::path::Path;
use std::sync::{Arc, Mutex};

use kw_keras::{Asset, ModelTree, SaveOptions, SavePlan, ValueStream, execute_save, plan_save_with};
use kw_map::Region;
use kw_model::{Cancel, Code, Crc32c, LocalFilesystem, Result, WeightsError, crc32c};

use crate::buffers::{Shared, owner_of};
use crate::failure::to_json;
use crate::job::Watch;
use crate::pool::lock;
use crate::ring::{PIECE, Ring};

/// Bytes that are copied out of our own memory at once.
const SCRATCH: usize = 256 << 10;

/// Where the values of one tensor come from.
#[derive(Clone)]
enum Values {
    /// Not said yet.
    Unknown,
    /// Memory of ours, which JavaScript may see and change.
    Ours { owner: Arc<Shared>, offset: usize },
    /// JavaScript's memory: it brings the bytes itself.
    Theirs,
}

struct Tensor {
    values: Values,
    digest: Option<u32>,
}

/// The first pass over a tensor of JavaScript's.
struct Partial {
    tensor: usize,
    done: usize,
    crc: Crc32c,
}

/// One save from its plan to its end.
pub struct SaveState {
    plan: SavePlan,
    tensors: Mutex<Vec<Tensor>>,
    partial: Mutex<Option<Partial>>,
    ring: Ring,
}

fn changed(text: impl Into<String>) -> WeightsError {
    WeightsError::new(Code::Changed, text)
}

impl SaveState {
    /// Plans the file.
    ///
    /// # Errors
    /// As [`plan_save_with`].
    pub fn plan(tree: &str, path: &str, options: &SaveOptions, assets: Vec<Asset>) -> Result<Self> {
        let tree = ModelTree::from_json(tree)?;
        let plan = plan_save_with(&tree, Path::new(path), options, assets)?;
        let tensors = plan.variables().iter().map(|_| Tensor { values: Values::Unknown, digest: None }).collect();
        Ok(SaveState { plan, tensors: Mutex::new(tensors), partial: Mutex::new(None), ring: Ring::default() })
    }

    /// The variable of each tensor in the order of writing.
    pub fn variables(&self) -> &[usize] {
        self.plan.variables()
    }

    /// Format of the file, as in reports.
    pub fn format(&self) -> &'static str {
        self.plan.format().name()
    }

    /// The ring of the second pass.
    pub fn ring(&self) -> &Ring {
        &self.ring
    }

    fn size(&self, tensor: usize) -> Result<usize> {
        if tensor >= self.plan.variables().len() {
            return Err(WeightsError::new(Code::Internal, format!("the file has no tensor number {tensor}")));
        }
        usize::try_from(self.plan.byte_len(tensor))
            .map_err(|_| WeightsError::new(Code::Internal, "a tensor is larger than this machine can address"))
    }

    /// An array must be as long as its tensor: a detached or resized one is not.
    fn check(&self, tensor: usize, bytes: &[u8]) -> Result<()> {
        let expected = self.size(tensor)?;
        if bytes.len() == expected {
            return Ok(());
        }
        let path = self.plan.path(tensor).unwrap_or_default();
        Err(changed(format!(
            "the array for {path} has {} bytes instead of {expected}: it was resized or transferred while being saved",
            bytes.len()
        ))
        .weight(path)
        .expected(expected as u64)
        .found(bytes.len() as u64))
    }

    fn set(&self, tensor: usize, values: Values, digest: Option<u32>) {
        if let Some(slot) = lock(&self.tensors).get_mut(tensor) {
            *slot = Tensor { values, digest };
        }
    }

    /// Takes an array that lies in memory of ours, to be read on a thread of the pool; false for any other.
    ///
    /// # Errors
    /// [`Code::Changed`] for an array of another length.
    pub fn offer(&self, tensor: usize, bytes: &[u8]) -> Result<bool> {
        self.check(tensor, bytes)?;
        if bytes.is_empty() {
            self.set(tensor, Values::Theirs, Some(crc32c(&[])));
            return Ok(true);
        }
        let Some((owner, offset)) = owner_of(bytes) else { return Ok(false) };
        self.set(tensor, Values::Ours { owner, offset }, None);
        Ok(true)
    }

    /// Copies an array as it is now: what happens to it later does not matter.
    ///
    /// # Errors
    /// [`Code::Changed`] for an array of another length, [`Code::Memory`].
    pub fn keep(&self, tensor: usize, bytes: &[u8]) -> Result<()> {
        self.check(tensor, bytes)?;
        if bytes.is_empty() {
            self.set(tensor, Values::Theirs, Some(crc32c(&[])));
            return Ok(());
        }
        let mut region = Region::allocate(bytes.len() as u64)?;
        region.bytes_mut().copy_from_slice(bytes);
        self.set(tensor, Values::Ours { owner: Shared::new(region), offset: 0 }, Some(crc32c(bytes)));
        Ok(())
    }

    /// Takes the next piece of an array into its digest and says how far it is.
    ///
    /// # Errors
    /// [`Code::Changed`] for an array of another length.
    pub fn digest_piece(&self, tensor: usize, bytes: &[u8]) -> Result<usize> {
        self.check(tensor, bytes)?;
        let mut slot = lock(&self.partial);
        let mut partial = slot.take().filter(|partial| partial.tensor == tensor).unwrap_or_else(|| Partial {
            tensor,
            done: 0,
            crc: Crc32c::default(),
        });
        let end = partial.done.saturating_add(PIECE).min(bytes.len());
        partial.crc.update(bytes.get(partial.done..end).unwrap_or_default());
        partial.done = end;
        if end == bytes.len() {
            self.set(tensor, Values::Theirs, Some(partial.crc.value()));
        } else {
            *slot = Some(partial);
        }
        Ok(end)
    }

    /// Digests of what lies in memory of ours.
    ///
    /// # Errors
    /// [`Code::Aborted`].
    pub fn digest_ours(&self, watch: &Watch) -> Result<()> {
        let count = lock(&self.tensors).len();
        for tensor in 0..count {
            let ours = match lock(&self.tensors).get(tensor) {
                Some(Tensor { values: Values::Ours { owner, offset }, digest: None }) => {
                    Some((Arc::clone(owner), *offset))
                }
                _ => None,
            };
            let Some((owner, offset)) = ours else { continue };
            let digest = owner.region().digest(offset, self.size(tensor)?, &watch.cancel)?;
            self.set(tensor, Values::Ours { owner, offset }, Some(digest));
        }
        Ok(())
    }

    /// Copies the piece of an array that begins at `offset` into the ring; the bytes that went in, 0 when it is full.
    ///
    /// # Errors
    /// [`Code::Changed`] for an array of another length, [`Code::Memory`].
    pub fn feed(&self, tensor: usize, bytes: &[u8], offset: usize) -> Result<usize> {
        self.check(tensor, bytes)?;
        let end = offset.saturating_add(PIECE).min(bytes.len());
        let piece = bytes.get(offset..end).unwrap_or_default();
        Ok(if self.ring.put(tensor, piece)? { piece.len() } else { 0 })
    }

    fn digests(&self) -> Result<Vec<u32>> {
        let tensors = lock(&self.tensors);
        tensors
            .iter()
            .map(|tensor| tensor.digest)
            .collect::<Option<Vec<u32>>>()
            .ok_or_else(|| WeightsError::new(Code::Internal, "a tensor was not digested before it is written"))
    }

    /// Writes and commits the file. Waits for JavaScript where it brings the values.
    ///
    /// # Errors
    /// As [`execute_save`].
    pub fn write(&self, watch: &Watch) -> Result<String> {
        watch.expect(self.total());
        let outcome = self.digests().and_then(|digests| {
            let mut stream = Stream { state: self, cancel: &watch.cancel, scratch: Vec::new() };
            execute_save(&self.plan, &LocalFilesystem, &digests, &mut stream, &watch.cancel, &mut |written| {
                watch.reach(written);
            })
        });
        // Whoever still waits for room must learn that there will be none.
        self.ring.close();
        to_json(&outcome?)
    }

    fn total(&self) -> u64 {
        (0..self.plan.variables().len()).map(|tensor| self.plan.byte_len(tensor)).sum()
    }

    /// The whole save here and now, straight from JavaScript's arrays: nobody else runs meanwhile.
    ///
    /// # Errors
    /// As [`execute_save`]; [`Code::Changed`] for an array of another length.
    pub fn run(&self, arrays: &[&[u8]]) -> Result<String> {
        if arrays.len() != self.plan.variables().len() {
            return Err(WeightsError::new(Code::Internal, "a save needs one array for each tensor"));
        }
        let mut digests = Vec::with_capacity(arrays.len());
        for (tensor, bytes) in arrays.iter().enumerate() {
            self.check(tensor, bytes)?;
            digests.push(crc32c(bytes));
        }
        let cancel = Cancel::default();
        let report = execute_save(&self.plan, &LocalFilesystem, &digests, &mut Direct(arrays), &cancel, &mut |_| ())?;
        to_json(&report)
    }
}

/// Values for the second pass.
struct Stream<'s> {
    state: &'s SaveState,
    cancel: &'s Cancel,
    scratch: Vec<u8>,
}

impl ValueStream for Stream<'_> {
    fn pump(&mut self, tensor: usize, out: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let size = self.state.size(tensor)?;
        let values = lock(&self.state.tensors).get(tensor).map_or(Values::Unknown, |tensor| tensor.values.clone());
        let mut done = 0;
        match values {
            Values::Ours { owner, offset } => {
                self.scratch.resize(SCRATCH, 0);
                while done < size {
                    let Some(piece) = self.scratch.get_mut(..SCRATCH.min(size - done)) else { break };
                    owner.region().copy_out(offset.saturating_add(done), piece)?;
                    done += piece.len();
                    out(piece)?;
                }
            }
            Values::Theirs => {
                while done < size {
                    self.cancel.check()?;
                    self.state.ring.take(&mut |fed, bytes| {
                        if fed != tensor || bytes.len() > size - done {
                            return Err(WeightsError::new(Code::Internal, "values came in another order than planned"));
                        }
                        done += bytes.len();
                        out(bytes)
                    })?;
                }
            }
            Values::Unknown => {
                return Err(WeightsError::new(Code::Internal, "nobody said where the values of a tensor are"));
            }
        }
        Ok(())
    }
}

struct Direct<'a>(&'a [&'a [u8]]);

impl ValueStream for Direct<'_> {
    fn pump(&mut self, tensor: usize, out: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        self.0.get(tensor).map_or(Ok(()), |bytes| out(bytes))
    }
}
