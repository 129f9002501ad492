//! What a save writes: one of the containers, laid out, and how its bytes get to the disk.

use std::path::Path;
use std::sync::Arc;

use kw_formats::hdf5::writer::H5Plan;
use kw_formats::npy::NpzPlan;
use kw_formats::safetensors::SafetensorsPlan;
use kw_formats::tf_checkpoint::BundlePlan;
use kw_formats::zip::{ArchiveBuilder, ArchivePlan};
use kw_model::{ByteSink, ByteSource, Filesystem, Result, commit_file};

use crate::archive;
use crate::compressed::CompressedPlan;
use crate::pump::Pump;
use crate::shard_commit::{self, ShardSet};
use crate::tf_commit;

/// Bytes of an asset that are copied at once.
const PIECE: usize = 256 << 10;

/// The container, laid out.
pub(crate) enum Content {
    Hdf5(H5Plan),
    Compressed(Box<CompressedPlan>),
    Archive(KerasPlan),
    /// Files with an index.
    Several(Box<dyn ShardSet>),
    Safetensors(SafetensorsPlan),
    Npz(NpzPlan),
    Checkpoint(BundlePlan),
}

/// A file that an archive holds for a layer, such as a vocabulary.
pub struct Asset {
    /// Its path in the archive, which begins with `assets/`.
    pub path: String,
    /// Its bytes.
    pub source: Arc<dyn ByteSource>,
}

/// A `.keras` archive.
pub(crate) struct KerasPlan {
    zip: ArchivePlan,
    weights: H5Plan,
    assets: Vec<Asset>,
}

impl KerasPlan {
    /// Lays an archive out: the texts, the weights, the assets, in Keras' order.
    ///
    /// # Errors
    /// [`kw_model::Code::Name`] for assets of one name or outside the archive.
    pub(crate) fn new(metadata: String, config: String, weights: H5Plan, assets: Vec<Asset>) -> Result<Self> {
        let mut zip = ArchiveBuilder::new();
        zip.bytes(archive::METADATA, metadata.into_bytes())?;
        zip.bytes(archive::CONFIG, config.into_bytes())?;
        zip.member(archive::WEIGHTS, weights.file_len(), None)?;
        for asset in &assets {
            zip.member(&asset.path, asset.source.len(), None)?;
        }
        Ok(KerasPlan { zip: zip.plan()?, weights, assets })
    }

    fn write(&self, sink: &mut dyn ByteSink, pump: &mut Pump<'_>) -> Result<()> {
        let mut zip = self.zip.emit(sink)?;
        write_hdf5(&self.weights, 0, &mut zip.member_sink()?, pump)?;
        let mut buffer = vec![0; PIECE];
        for asset in &self.assets {
            let mut done = 0;
            while done < asset.source.len() {
                pump.cancel.check()?;
                let left = usize::try_from(asset.source.len().saturating_sub(done)).unwrap_or(PIECE).min(PIECE);
                let Some(piece) = buffer.get_mut(..left) else { break };
                asset.source.read_exact_at(done, piece)?;
                zip.write(piece)?;
                done = done.saturating_add(left as u64);
            }
        }
        zip.finish()
    }
}

impl Content {
    pub(crate) fn byte_len(&self, tensor: usize) -> u64 {
        match self {
            Content::Hdf5(file) | Content::Archive(KerasPlan { weights: file, .. }) => {
                file.datasets().get(tensor).map_or(0, |dataset| dataset.byte_len)
            }
            Content::Compressed(file) => file.plain.datasets().get(tensor).map_or(0, |dataset| dataset.byte_len),
            Content::Several(set) => set.tensor(tensor).map_or(0, |(_, len)| len),
            Content::Safetensors(plan) => {
                plan.tensors().get(tensor).map_or(0, kw_formats::safetensors::PlannedTensor::byte_len)
            }
            Content::Npz(plan) => plan.tensors().get(tensor).map_or(0, kw_formats::npy::PlannedArray::byte_len),
            Content::Checkpoint(bundle) => {
                bundle.tensors().get(tensor).map_or(0, kw_formats::tf_checkpoint::PlannedTensor::byte_len)
            }
        }
    }

    pub(crate) fn path(&self, tensor: usize) -> Option<&str> {
        match self {
            Content::Hdf5(file) | Content::Archive(KerasPlan { weights: file, .. }) => {
                file.datasets().get(tensor).map(|dataset| dataset.path.as_str())
            }
            Content::Compressed(file) => file.plain.datasets().get(tensor).map(|dataset| dataset.path.as_str()),
            Content::Several(set) => set.tensor(tensor).map(|(name, _)| name),
            Content::Safetensors(plan) => plan.tensors().get(tensor).map(kw_formats::safetensors::PlannedTensor::name),
            Content::Npz(plan) => plan.tensors().get(tensor).map(kw_formats::npy::PlannedArray::name),
            Content::Checkpoint(bundle) => {
                bundle.tensors().get(tensor).map(kw_formats::tf_checkpoint::PlannedTensor::name)
            }
        }
    }

    /// Bytes of all files but an index.
    pub(crate) fn file_len(&self) -> u64 {
        match self {
            Content::Hdf5(file) => file.file_len(),
            Content::Compressed(file) => file.plain.file_len(),
            Content::Archive(plan) => plan.zip.file_len(),
            Content::Several(set) => (0..set.count()).map(|shard| set.shard_len(shard)).sum(),
            Content::Safetensors(plan) => plan.file_len(),
            Content::Npz(plan) => plan.file_len(),
            Content::Checkpoint(bundle) => (0..bundle.num_shards()).map(|shard| bundle.shard_len(shard)).sum(),
        }
    }

    /// Writes everything and puts it in place.
    ///
    /// # Errors
    /// As [`commit_file`]; whatever the values cause.
    pub(crate) fn commit(
        &self,
        target: &Path,
        overwrite: bool,
        fs: &dyn Filesystem,
        pump: &mut Pump<'_>,
    ) -> Result<()> {
        match self {
            Content::Compressed(file) => return file.commit(target, overwrite, fs, pump),
            Content::Several(set) => return shard_commit::commit(set.as_ref(), target, overwrite, fs, pump),
            Content::Checkpoint(bundle) => return tf_commit::commit(bundle, target, overwrite, fs, pump),
            _ => {}
        }
        commit_file(fs, target, overwrite, Some(self.file_len()), &mut |sink| match self {
            Content::Hdf5(file) => write_hdf5(file, 0, sink, pump),
            Content::Archive(plan) => plan.write(sink, pump),
            Content::Compressed(_) | Content::Several(_) | Content::Checkpoint(_) => Ok(()),
            Content::Safetensors(plan) => {
                let mut emitter = plan.emit(sink, pump.digests)?;
                for tensor in 0..plan.tensors().len() {
                    pump.tensor(tensor, true, &mut |bytes| emitter.write(bytes))?;
                }
                emitter.finish()
            }
            Content::Npz(plan) => {
                let mut emitter = plan.emit(sink)?;
                for tensor in 0..plan.tensors().len() {
                    pump.tensor(tensor, true, &mut |bytes| emitter.write(bytes))?;
                }
                emitter.finish()
            }
        })
    }
}

/// Writes an HDF5 file whose first tensor has the number `first` among all; it compares the digests itself.
pub(crate) fn write_hdf5(file: &H5Plan, first: usize, sink: &mut dyn ByteSink, pump: &mut Pump<'_>) -> Result<()> {
    let count = file.datasets().len();
    let digests = pump.digests.get(first..).and_then(|digests| digests.get(..count)).unwrap_or_default();
    let mut emitter = file.emit(sink, digests)?;
    for tensor in 0..count {
        pump.tensor(first.saturating_add(tensor), false, &mut |bytes| emitter.write(bytes))?;
    }
    emitter.finish()
}
