//! Several files read as one.

use std::sync::Arc;

use kw_model::{
    Cancel, Catalogue, CatalogueBuilder, Code, Group, Limits, Location, Result, WeightsError, WeightsReader,
};

/// Readers side by side under one catalogue.
pub(crate) struct CompositeReader {
    catalogue: Catalogue,
    parts: Vec<Arc<dyn WeightsReader>>,
    /// For each tensor: its part, and its number there.
    places: Vec<(usize, usize)>,
    format: &'static str,
}

impl CompositeReader {
    /// Joins `parts`. `belongs` says whether a tensor of a part counts; one that does not is left out, for the reason given.
    /// Of a group that several parts have, the attributes of the first count.
    ///
    /// # Errors
    /// [`Code::Corrupt`] when two parts have a tensor of one path, [`Code::Limit`].
    pub(crate) fn join(
        parts: Vec<Arc<dyn WeightsReader>>,
        format: &'static str,
        limits: &Limits,
        belongs: &dyn Fn(usize, &str) -> Result<()>,
    ) -> Result<Self> {
        let sources = parts.iter().flat_map(|part| part.catalogue().sources()).cloned().collect();
        let mut builder = CatalogueBuilder::new(sources, limits.clone());
        let mut groups: std::collections::BTreeMap<&str, Group> = std::collections::BTreeMap::new();
        let (mut places, mut left_out) = (Vec::new(), Vec::new());
        let mut first_source = 0_usize;
        for (part, reader) in parts.iter().enumerate() {
            let catalogue = reader.catalogue();
            for (path, group) in catalogue.groups() {
                let joined = groups.entry(path).or_default();
                for (name, value) in &group.attributes {
                    joined.attributes.entry(name.clone()).or_insert_with(|| value.clone());
                }
            }
            for (index, entry) in catalogue.entries().iter().enumerate() {
                if let Err(reason) = belongs(part, &entry.path) {
                    left_out.push((entry.path.clone(), reason));
                    continue;
                }
                let mut entry = entry.clone();
                if let Location::Range { source, .. } = &mut entry.location {
                    *source = source.saturating_add(first_source);
                }
                builder.tensor(entry)?;
                places.push((part, index));
            }
            left_out.extend(catalogue.refusals().iter().map(|(path, reason)| (path.clone(), reason.clone())));
            first_source = first_source.saturating_add(catalogue.sources().len());
        }
        for (path, reason) in left_out {
            builder.refuse(path, reason)?;
        }
        for (path, group) in groups {
            builder.group(path, group);
        }
        let catalogue = builder.finish();
        Ok(CompositeReader { catalogue, parts, places, format })
    }

    fn place(&self, index: usize) -> Result<(&dyn WeightsReader, usize)> {
        self.places
            .get(index)
            .and_then(|(part, index)| Some((self.parts.get(*part)?.as_ref(), *index)))
            .ok_or_else(|| WeightsError::new(Code::Missing, format!("there is no tensor number {index}")))
    }
}

impl WeightsReader for CompositeReader {
    fn catalogue(&self) -> &Catalogue {
        &self.catalogue
    }

    fn read_into(&self, index: usize, out: &mut [u8], cancel: &Cancel) -> Result<()> {
        let (part, index) = self.place(index)?;
        part.read_into(index, out, cancel)
    }

    fn read_strings(&self, index: usize) -> Result<Vec<Vec<u8>>> {
        let (part, index) = self.place(index)?;
        part.read_strings(index)
    }

    fn verify_stored(&self, index: usize, cancel: &Cancel) -> Result<bool> {
        let (part, index) = self.place(index)?;
        part.verify_stored(index, cancel)
    }

    fn format(&self) -> &'static str {
        self.format
    }
}
