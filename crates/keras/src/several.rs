//! Weights in several files with an index, beside Keras' own: safetensors, and layers models of TensorFlow.js.

use std::collections::BTreeSet;

use kw_formats::safetensors::{SafetensorsPlan, ShardedPlan};
use kw_formats::tfjs_layers::{Manifest, TfjsPlan};
use kw_model::{ByteSink, ByteSource, Limits, Result};

use crate::pump::Pump;
use crate::shard_commit::{ShardSet, Style};
use crate::sharded_save::files_of;

/// safetensors files under `….safetensors.index.json`.
pub(crate) struct SafetensorsShards(pub(crate) ShardedPlan);

impl SafetensorsShards {
    /// The tensors of all files, one after the other.
    pub(crate) fn tensors(&self) -> impl Iterator<Item = &kw_formats::safetensors::PlannedTensor> {
        self.0.files().iter().flat_map(SafetensorsPlan::tensors)
    }
}

impl ShardSet for SafetensorsShards {
    fn style(&self) -> Style {
        Style::Safetensors
    }

    fn count(&self) -> usize {
        self.0.files().len()
    }

    fn shard_len(&self, shard: usize) -> u64 {
        self.0.files().get(shard).map_or(0, SafetensorsPlan::file_len)
    }

    fn tensor(&self, tensor: usize) -> Option<(&str, u64)> {
        self.tensors().nth(tensor).map(|tensor| (tensor.name(), tensor.byte_len()))
    }

    fn write(&self, shard: usize, sink: &mut dyn ByteSink, pump: &mut Pump<'_>) -> Result<()> {
        let before = self.0.files().iter().take(shard).map(|file| file.tensors().len()).sum::<usize>();
        let Some(file) = self.0.files().get(shard) else { return Ok(()) };
        let digests = pump.digests.get(before..before.saturating_add(file.tensors().len())).unwrap_or_default();
        let mut emitter = file.emit(sink, digests)?;
        for tensor in 0..file.tensors().len() {
            pump.tensor(before.saturating_add(tensor), true, &mut |bytes| emitter.write(bytes))?;
        }
        emitter.finish()
    }

    fn index(&self, names: &[String]) -> Result<String> {
        self.0.index(names)
    }

    fn named_by(&self, index: &dyn ByteSource) -> BTreeSet<String> {
        files_of(index)
    }
}

/// `model.json` and its files.
pub(crate) struct LayersModel {
    pub(crate) plan: TfjsPlan,
    /// JSON of the architecture, in the words of TensorFlow.js.
    pub(crate) topology: Option<String>,
    /// JSON of how the model was compiled.
    pub(crate) training: Option<String>,
}

impl ShardSet for LayersModel {
    fn style(&self) -> Style {
        Style::Tfjs
    }

    fn count(&self) -> usize {
        self.plan.num_shards()
    }

    fn shard_len(&self, shard: usize) -> u64 {
        self.plan.shard_len(shard)
    }

    fn tensor(&self, tensor: usize) -> Option<(&str, u64)> {
        self.plan.tensors().get(tensor).map(|tensor| (tensor.name(), tensor.byte_len()))
    }

    fn write(&self, shard: usize, sink: &mut dyn ByteSink, pump: &mut Pump<'_>) -> Result<()> {
        for tensor in self.plan.shard(shard) {
            pump.tensor(tensor, true, &mut |bytes| sink.write_all(bytes))?;
        }
        Ok(())
    }

    fn index(&self, names: &[String]) -> Result<String> {
        self.plan.json(names, self.topology.as_deref(), self.training.as_deref())
    }

    fn named_by(&self, index: &dyn ByteSource) -> BTreeSet<String> {
        let manifest = Manifest::read(index, &Limits::default()).ok().flatten();
        manifest.iter().flat_map(Manifest::files).map(str::to_owned).collect()
    }
}
