//! Walks the groups of a file and lists every dataset.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use kw_model::{
    AttributeValue, ByteSource, Catalogue, CatalogueBuilder, Code, DType, Group, Limits, Location, Result, TensorEntry,
    WeightsError,
};

use super::dataset::{self, Dataset, Layout, Stored};
use super::element_type::ElementType;
use super::file::File;
use super::links::{self, Member, Target};
use super::{attributes, raw_messages};
use crate::hdf5::writer::DIGEST_ATTRIBUTE;

/// Paths below groups that were listed under another path already. Hard links to groups are legal and rare;
/// a few levels of them, each linking the next one twice, would list without end.
const MAX_ALIASED_PATHS: u64 = 1 << 12;

/// Decoded bytes that no ratio to the file's length forbids: a tiny file may hold a never-written dataset.
const HARMLESS_BYTES: u64 = 64 << 20;

/// How the values of one entry are stored, beside its index in the catalogue.
#[derive(Debug)]
pub(super) struct Values {
    /// What an element is.
    pub(super) element: ElementType,
    /// Where it is.
    pub(super) stored: Stored,
}

/// Lists the whole file.
pub(super) fn list(file: &File, source: Arc<dyn ByteSource>) -> Result<(Catalogue, Vec<Values>)> {
    let inflated = source.len().saturating_mul(file.limits().max_inflate_ratio).max(HARMLESS_BYTES);
    let mut walk = Walk {
        file,
        builder: CatalogueBuilder::new(vec![source], file.limits().clone()),
        values: Vec::new(),
        seen: HashSet::new(),
        aliased_paths: 0,
        decoded: 0,
        max_decoded: inflated,
    };
    let root = file.root_address();
    let mut stack = vec![walk.group(String::new(), root, false)?];
    while let Some(frame) = stack.last_mut() {
        let Some(member) = frame.members.next() else {
            stack.pop();
            continue;
        };
        let path = if frame.path.is_empty() { member.name } else { format!("{}/{}", frame.path, member.name) };
        let aliased = frame.aliased;
        walk.count_alias(aliased)?;
        let address = match member.target {
            Target::Object(address) => address,
            Target::Elsewhere(what) => {
                walk.refuse(path, unsupported(&format!("{what}, which is never followed")))?;
                continue;
            }
        };
        if stack.iter().any(|frame| frame.address == address) {
            walk.refuse(path, unsupported("a link back to a group around it"))?;
            continue;
        }
        let depth = stack.len() as u64;
        if let Some(frame) = walk.object(path, address, aliased)? {
            Limits::check("groups within groups", depth, u64::from(file.limits().max_depth), "levels")?;
            stack.push(frame);
        }
    }
    Ok((walk.builder.finish(), walk.values))
}

/// A group whose members are being listed.
struct Frame {
    path: String,
    address: u64,
    members: std::vec::IntoIter<Member>,
    /// It was listed before, under another path.
    aliased: bool,
}

struct Walk<'a> {
    file: &'a File,
    builder: CatalogueBuilder,
    values: Vec<Values>,
    /// Addresses of the groups listed so far.
    seen: HashSet<u64>,
    aliased_paths: u64,
    /// Bytes of all tensors that are not stored as they are.
    decoded: u64,
    max_decoded: u64,
}

fn unsupported(message: &str) -> WeightsError {
    WeightsError::new(Code::Unsupported, message)
}

impl Walk<'_> {
    fn count_alias(&mut self, aliased: bool) -> Result<()> {
        self.aliased_paths += u64::from(aliased);
        Limits::check("paths through hard links to groups", self.aliased_paths, MAX_ALIASED_PATHS, "paths")
    }

    fn refuse(&mut self, path: String, reason: WeightsError) -> Result<()> {
        let reason = reason.at(&path).weight(path.as_str()).format("hdf5");
        self.builder.refuse(path, reason)
    }

    /// Lists a dataset; begins a group; leaves out what we do not read.
    fn object(&mut self, path: String, address: u64, aliased: bool) -> Result<Option<Frame>> {
        let listed = self.file.header(address).and_then(|messages| {
            if dataset::is_group(&messages) {
                return self.group_with(path.clone(), address, aliased, &messages).map(Some);
            }
            if dataset::is_dataset(&messages) {
                let attributes = attributes::read(self.file, &messages)?;
                let raw = raw_messages::find(self.file.storage(), address, self.file.widths())?;
                let dataset = dataset::parse(self.file, &messages, &raw)?;
                self.tensor(&path, dataset, attributes)?;
            } else if !dataset::is_named_type(&messages) {
                return Err(unsupported("an object that is no group, dataset or type"));
            }
            Ok(None)
        });
        match listed {
            Err(error) if error.code() == Code::Unsupported => self.refuse(path, error).map(|()| None),
            Err(error) => Err(error.at(&path).weight(path)),
            Ok(frame) => Ok(frame),
        }
    }

    fn group(&mut self, path: String, address: u64, aliased: bool) -> Result<Frame> {
        let messages = self.file.header(address)?;
        if !dataset::is_group(&messages) {
            return Err(WeightsError::new(Code::Corrupt, "the root is not a group").offset(address));
        }
        self.group_with(path, address, aliased, &messages)
    }

    fn group_with(
        &mut self,
        path: String,
        address: u64,
        aliased: bool,
        messages: &[hdf5_reader::messages::HdfMessage],
    ) -> Result<Frame> {
        let attributes = attributes::read(self.file, messages)?;
        let members = links::members(self.file, messages)?.into_iter();
        let aliased = !self.seen.insert(address) || aliased;
        self.builder.group(path.clone(), Group { attributes });
        Ok(Frame { path, address, members, aliased })
    }

    fn tensor(&mut self, path: &str, dataset: Dataset, attributes: BTreeMap<String, AttributeValue>) -> Result<()> {
        let Dataset { element, shape, stored } = dataset;
        let dtype = match element {
            ElementType::Number { dtype: DType::Opaque(2), .. } if is_bfloat16(&attributes) => DType::BFloat16,
            ElementType::Number { dtype, .. } => dtype,
            ElementType::FixedString { .. } | ElementType::HeapString { .. } => DType::String,
        };
        let location = match stored.layout {
            Layout::Run(offset) if dtype != DType::String && stored.swap == 1 => Location::Range { source: 0, offset },
            _ => Location::Decoded,
        };
        if !matches!(stored.layout, Layout::Run(_)) {
            let decoded = self.decoded.saturating_add(stored.byte_len);
            if decoded > self.max_decoded {
                let limit = WeightsError::limit("tensors stored in fewer bytes", decoded, self.max_decoded, "bytes");
                return self.refuse(path.to_owned(), limit);
            }
            self.decoded = decoded;
        }
        let digest = match attributes.get(DIGEST_ATTRIBUTE) {
            Some(AttributeValue::Int(digest)) => u32::try_from(*digest).ok(),
            _ => None,
        };
        let byte_len = stored.byte_len;
        self.builder.tensor(TensorEntry {
            path: path.to_owned(),
            dtype,
            shape,
            byte_len,
            location,
            digest,
            attributes,
        })?;
        self.values.push(Values { element, stored });
        Ok(())
    }
}

/// Keras 3 marks bfloat16, for which HDF5 had no type, by an attribute.
fn is_bfloat16(attributes: &BTreeMap<String, AttributeValue>) -> bool {
    matches!(attributes.get("dtype"), Some(AttributeValue::Text(name)) if name == "bfloat16")
}
