//! An opened file: its catalogue, and its tensors as views or copies.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock};

use kw_map::{
    Access, PlaceOptions, Wanted, What, WindowPlan, check_digest, check_unchanged, explained, map_window, place,
    plan_views, settle_view,
};
use kw_model::{
    AttributeValue, Cancel, Code, Crc32c, DType, Location, Result, TensorEntry, WeightsError, WeightsReader,
};
use serde::Serialize;

use crate::buffers::{Shared, Values};
use crate::failure::to_json;
use crate::job::Watch;
use crate::opening::{Opened, Origin, open};
use crate::options::{ReadOptions, Verify};
use crate::pool::lock;

/// Bytes that a verification reads at once.
const PIECE: usize = 1 << 20;

/// What every job and every view of one opened file shares.
pub struct FileState {
    opened: Opened,
    placing: PlaceOptions,
    verify: Verify,
    /// Planned when the first view is asked for.
    views: OnceLock<WindowPlan>,
    windows: Mutex<HashMap<usize, Arc<Shared>>>,
    verified: Mutex<HashSet<usize>>,
}

/// A tensor inside a window of the file.
#[derive(Debug, Clone, Copy)]
pub struct Seen {
    /// Number of the window, for [`FileState::window`].
    pub window: usize,
    /// Bytes from its start.
    pub offset: u64,
    /// Bytes.
    pub byte_len: u64,
}

/// A tensor that was read.
pub enum Fetched {
    /// It lies in a window.
    Seen(Seen),
    /// It has its own memory.
    Copied(Values),
}

/// What comparing all digests found.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct VerifyReport {
    format: String,
    /// Tensors with a digest that fits.
    verified: u64,
    /// Bytes of tensors with a digest.
    bytes: u64,
    /// Paths of tensors without a digest.
    without_digest: Vec<String>,
    failed: Vec<Mismatch>,
}

impl VerifyReport {
    /// Notes what does not fit its checksum; any other error ends the verification.
    fn fail(&mut self, path: &str, error: WeightsError) -> Result<()> {
        if error.code() != Code::Digest {
            return Err(error);
        }
        let found = error.message().to_owned();
        self.failed.push(Mismatch { path: path.to_owned(), expected: String::new(), found });
        Ok(())
    }
}

#[derive(Debug, Serialize)]
struct Mismatch {
    path: String,
    expected: String,
    found: String,
}

/// Path, dtype, shape, bytes, digest in hexadecimal, and whether it could be seen in place.
#[derive(Serialize)]
struct Row<'a>(&'a str, String, &'a [u64], u64, Option<String>, bool);

impl FileState {
    /// Opens a file and reads its metadata.
    ///
    /// # Errors
    /// Whatever opening causes.
    pub fn open(origin: Origin, options: &ReadOptions, watch: &Watch) -> Result<Self> {
        let verify = options.verify(Verify::Lazy);
        let placing = options.placing(verify != Verify::Off, true)?;
        let state = FileState {
            opened: open(origin, &options.limits())?,
            placing,
            verify,
            views: OnceLock::new(),
            windows: Mutex::new(HashMap::new()),
            verified: Mutex::new(HashSet::new()),
        };
        if state.placing.access == Access::Map {
            // Says at once, and not at the first tensor, that this cannot be mapped.
            state.views()?;
        }
        if verify == Verify::Load {
            state.verify_or_fail(watch).map_err(|error| explained(state.reader(), error))?;
        }
        Ok(state)
    }

    fn reader(&self) -> &dyn WeightsReader {
        self.opened.file.reader.as_ref()
    }

    /// The opened file.
    pub fn opened(&self) -> &Opened {
        &self.opened
    }

    /// Format, as in reports.
    pub fn format(&self) -> &'static str {
        self.opened.file.format.name()
    }

    /// What should be known of the file, such as a suffix that disagrees.
    pub fn note(&self) -> Option<&str> {
        self.opened.file.note.as_deref()
    }

    /// Bytes read so far, mapped pages not counted.
    pub fn bytes_read(&self) -> u64 {
        self.opened.bytes_read()
    }

    /// The catalogue as JSON: one row a tensor.
    ///
    /// # Errors
    /// [`Code::Internal`].
    pub fn entries(&self) -> Result<String> {
        let rows: Vec<Row<'_>> = self
            .reader()
            .catalogue()
            .entries()
            .iter()
            .map(|entry| {
                Row(
                    &entry.path,
                    entry.dtype.name(),
                    entry.shape.axes(),
                    entry.byte_len,
                    entry.digest.map(|digest| format!("{digest:08x}")),
                    matches!(entry.location, Location::Range { .. }),
                )
            })
            .collect();
        to_json(&rows)
    }

    /// What a whole-model file says beside its weights.
    ///
    /// # Errors
    /// [`Code::Digest`] for texts that changed since we wrote them.
    pub fn whole_model(&self) -> Result<kw_keras::WholeModel> {
        if self.verify != Verify::Off {
            kw_keras::check_texts(&self.opened.file)?;
        }
        Ok(kw_keras::whole_model(&self.opened.file))
    }

    /// The paths of all groups as JSON.
    ///
    /// # Errors
    /// [`Code::Internal`].
    pub fn groups(&self) -> Result<String> {
        to_json(&self.reader().catalogue().groups().keys().collect::<Vec<_>>())
    }

    /// The attributes of a group or tensor as a JSON object.
    ///
    /// # Errors
    /// [`Code::Missing`].
    pub fn attributes(&self, path: &str) -> Result<String> {
        let catalogue = self.reader().catalogue();
        let attributes = match (catalogue.group(path), catalogue.find(path)) {
            (Some(group), _) => &group.attributes,
            (None, Some(index)) => &catalogue.entry(index)?.attributes,
            (None, None) => {
                return Err(WeightsError::new(
                    Code::Missing,
                    format!("there is no group or tensor {path:?} in the file"),
                )
                .weight(path));
            }
        };
        let values: BTreeMap<&str, serde_json::Value> =
            attributes.iter().map(|(name, value)| (name.as_str(), attribute(value))).collect();
        to_json(&values)
    }

    fn entry(&self, index: usize) -> Result<&TensorEntry> {
        let entry = self.reader().catalogue().entry(index)?;
        if entry.dtype == DType::String {
            return Err(WeightsError::new(Code::DType, format!("{} holds strings and no numbers", entry.path))
                .weight(&entry.path)
                .found(DType::String.name()));
        }
        Ok(entry)
    }

    fn views(&self) -> Result<&WindowPlan> {
        if let Some(plan) = self.views.get() {
            return Ok(plan);
        }
        let entries = self.reader().catalogue().entries();
        let wanted: Vec<Option<(usize, usize)>> =
            entries.iter().enumerate().map(|(index, entry)| Some((index, entry.dtype.alignment()))).collect();
        let plan = plan_views(self.reader(), &wanted, self.placing.access, self.placing.window_limit)?;
        Ok(self.views.get_or_init(|| plan))
    }

    /// One window, mapped when it is first needed; `None` when somebody began to write to the file before that.
    ///
    /// # Errors
    /// As [`kw_map::Region::map`]; [`Code::Changed`] when its values could not be kept.
    pub fn window(&self, number: usize) -> Result<Option<Arc<Shared>>> {
        let mut windows = lock(&self.windows);
        if let Some(shared) = windows.get(&number) {
            shared.region().check_kept()?;
            return Ok(Some(Arc::clone(shared)));
        }
        let plan = self.views()?;
        let window = plan
            .windows
            .get(number)
            .copied()
            .ok_or_else(|| WeightsError::new(Code::Internal, format!("there is no window {number}")))?;
        let Some(region) = map_window(window, plan, self.reader().catalogue().sources())? else { return Ok(None) };
        let shared = Shared::new(region);
        windows.insert(number, Arc::clone(&shared));
        Ok(Some(shared))
    }

    /// Where a tensor lies in a window; `None` when it has to be copied.
    ///
    /// # Errors
    /// [`Code::DType`] for strings, [`Code::Digest`], and what mapping causes.
    pub fn see(&self, index: usize, page_in: bool, cancel: &Cancel) -> Result<Option<Seen>> {
        let entry = self.entry(index)?;
        let Some(view) = self.views()?.views.get(index).copied().flatten() else { return Ok(None) };
        let Some(shared) = self.window(view.window)? else { return Ok(None) };
        let verify = self.must_verify(index);
        let offset = usize::try_from(view.offset)
            .map_err(|_| WeightsError::new(Code::Internal, "a view lies beyond what can be addressed"))?;
        let options = PlaceOptions { verify, page_in, ..self.placing.clone() };
        settle_view(self.reader(), index, shared.region(), offset, &options, cancel)
            .map_err(|error| explained(self.reader(), error))?;
        self.set_verified(index, verify);
        Ok(Some(Seen { window: view.window, offset: view.offset, byte_len: entry.byte_len }))
    }

    /// A tensor in memory of its own.
    ///
    /// # Errors
    /// [`Code::DType`] for strings, [`Code::Digest`], [`Code::Memory`], and what reading causes.
    pub fn copy(&self, index: usize, watch: &Watch) -> Result<Values> {
        let entry = self.entry(index)?;
        let verify = self.must_verify(index);
        let wanted =
            [Wanted { what: What::Entry(index), byte_len: entry.byte_len, alignment: entry.dtype.alignment() }];
        let options = PlaceOptions { access: Access::Copy, verify, ..self.placing.clone() };
        watch.expect(entry.byte_len);
        let placed = place(self.reader(), &wanted, &options, &watch.cancel, &|bytes| watch.advance(bytes))?;
        self.set_verified(index, verify);
        Ok(Values::from(placed))
    }

    /// A tensor, paged in or copied.
    ///
    /// # Errors
    /// As [`FileState::see`] and [`FileState::copy`].
    pub fn fetch(&self, index: usize, watch: &Watch) -> Result<Fetched> {
        match self.see(index, true, &watch.cancel)? {
            Some(seen) => Ok(Fetched::Seen(seen)),
            None => Ok(Fetched::Copied(self.copy(index, watch)?)),
        }
    }

    fn must_verify(&self, index: usize) -> bool {
        self.verify != Verify::Off && !lock(&self.verified).contains(&index)
    }

    fn set_verified(&self, index: usize, verified: bool) {
        if verified {
            lock(&self.verified).insert(index);
        }
    }

    /// The digest of what is stored, read in small pieces.
    fn digest(&self, index: usize, entry: &TensorEntry, watch: &Watch) -> Result<u32> {
        let mut crc = Crc32c::default();
        if let Location::Range { source, offset } = entry.location
            && let Some(source) = self.reader().catalogue().sources().get(source)
        {
            let mut scratch = vec![0; PIECE];
            let mut done = 0;
            while done < entry.byte_len {
                watch.cancel.check()?;
                let size = usize::try_from(entry.byte_len - done).unwrap_or(PIECE).min(PIECE);
                let Some(piece) = scratch.get_mut(..size) else { break };
                source.read_exact_at(offset.saturating_add(done), piece).map_err(|error| error.weight(&entry.path))?;
                crc.update(piece);
                done += size as u64;
                watch.advance(size as u64);
            }
        } else {
            let mut region = kw_map::Region::allocate(entry.byte_len)?;
            self.reader().read_into(index, region.bytes_mut(), &watch.cancel)?;
            crc.update(region.bytes_mut());
            watch.advance(entry.byte_len);
        }
        Ok(crc.value())
    }

    /// Compares all digests and reports.
    ///
    /// # Errors
    /// [`Code::Aborted`] and what reading causes; a digest that does not fit is in the report.
    pub fn verify(&self, watch: &Watch) -> Result<String> {
        let entries = self.reader().catalogue().entries();
        let bytes = entries.iter().filter(|entry| entry.digest.is_some()).map(|entry| entry.byte_len).sum();
        watch.expect(bytes);
        let mut report = VerifyReport {
            format: self.format().to_owned(),
            verified: 0,
            bytes,
            without_digest: Vec::new(),
            failed: Vec::new(),
        };
        for (index, entry) in entries.iter().enumerate() {
            let Some(expected) = entry.digest else {
                match self.verify_otherwise(index, entry, watch) {
                    Ok(true) => report.verified += 1,
                    Ok(false) => report.without_digest.push(entry.path.clone()),
                    Err(error) => report.fail(&entry.path, explained(self.reader(), error))?,
                }
                continue;
            };
            let found = self.digest(index, entry, watch).map_err(|error| explained(self.reader(), error))?;
            if found == expected {
                report.verified += 1;
            } else {
                report.failed.push(Mismatch {
                    path: entry.path.clone(),
                    expected: format!("{expected:08x}"),
                    found: format!("{found:08x}"),
                });
            }
        }
        if let Err(error) = kw_keras::check_texts(&self.opened.file) {
            report.fail("", error)?;
        }
        check_unchanged(self.reader())?;
        to_json(&report)
    }

    /// Compares a tensor without a digest with what else the file keeps: the CRC-32 of an archive's member.
    fn verify_otherwise(&self, index: usize, entry: &TensorEntry, watch: &Watch) -> Result<bool> {
        if entry.dtype == DType::String && self.opened.file.format == kw_keras::Format::TfCheckpoint {
            // Reading texts compares the checksum that a bundle has of them.
            return self.reader().read_strings(index).map(|_| true);
        }
        let has_sum = self.reader().verify_stored(index, &watch.cancel)?;
        if has_sum && !matches!(entry.location, Location::Range { .. }) {
            // What is compressed is compared as it is inflated.
            self.digest(index, entry, watch)?;
        }
        Ok(has_sum)
    }

    fn verify_or_fail(&self, watch: &Watch) -> Result<()> {
        for (index, entry) in self.reader().catalogue().entries().iter().enumerate() {
            if entry.digest.is_some() {
                check_digest(entry, &self.opened.file.source_name, self.digest(index, entry, watch)?)?;
                self.set_verified(index, true);
            }
        }
        Ok(())
    }
}

fn attribute(value: &AttributeValue) -> serde_json::Value {
    use serde_json::json;
    match value {
        AttributeValue::Text(text) => json!(text),
        AttributeValue::Texts(texts) => json!(texts),
        // Beyond 2^53 a JavaScript number would be another number.
        AttributeValue::Int(int) if int.unsigned_abs() > (1 << 53) => json!({ "int": int.to_string() }),
        AttributeValue::Int(int) => json!(int),
        AttributeValue::Float(float) if float.is_finite() => json!(float),
        AttributeValue::Float(float) => json!({ "float": float.to_string() }),
        AttributeValue::Other(what) => json!({ "other": what }),
    }
}

/// A file on disk.
pub fn on_disk(path: &str) -> Origin {
    Origin::Path(Path::new(path).to_path_buf())
}
