//! The facts as libhdf5 states them. Values come through the C interface, because the safe one wants to know the
//! element type at compile time.

use std::collections::BTreeMap;
use std::ffi::{CStr, c_char, c_void};
use std::path::Path;

use hdf5_metno as hdf5;
use hdf5_metno_sys::{h5a, h5d, h5i::hid_t, h5p::H5P_DEFAULT, h5s::H5S_ALL, h5t};

use crate::facts::{Attribute, Dataset, Facts, Values};

/// Reads everything.
pub fn read(path: &Path) -> hdf5::Result<Facts> {
    let file = hdf5::File::open(path)?;
    let mut facts = Facts::default();
    walk(&file, "", &mut Vec::new(), &mut facts)?;
    Ok(facts)
}

/// `above` holds the groups on the way to this one: a link back to one of them is not followed.
fn walk(group: &hdf5::Group, path: &str, above: &mut Vec<hdf5::LocationToken>, facts: &mut Facts) -> hdf5::Result<()> {
    let here = group.loc_info()?.token;
    if above.contains(&here) {
        facts.refused.insert(path.to_owned());
        return Ok(());
    }
    above.push(here);
    facts.groups.insert(path.to_owned(), attributes(group)?);
    for name in group.member_names()? {
        let child = if path.is_empty() { name.clone() } else { format!("{path}/{name}") };
        if let Ok(dataset) = group.dataset(&name) {
            facts.datasets.insert(child, read_dataset(&dataset)?);
        } else if let Ok(below) = group.group(&name) {
            walk(&below, &child, above, facts)?;
        } else {
            // A link that leads nowhere or out of the file, or a named datatype.
            facts.refused.insert(child);
        }
    }
    above.pop();
    Ok(())
}

fn axes(shape: &[usize]) -> Vec<u64> {
    shape.iter().map(|&axis| axis as u64).collect()
}

fn read_dataset(dataset: &hdf5::Dataset) -> hdf5::Result<Dataset> {
    let dtype = dataset.dtype()?;
    let kind = Kind::of(dtype.id())?;
    let count = dataset.size();
    let id = dataset.id();
    let read = read_values(&kind, count, dtype.id(), |memory, buffer| {
        // SAFETY: `buffer` has room for `count` elements of the memory type, which is what H5S_ALL selects.
        unsafe { h5d::H5Dread(id, memory, H5S_ALL, H5S_ALL, H5P_DEFAULT, buffer) }
    });
    let values = read.unwrap_or(Values::Unreadable);
    Ok(Dataset { shape: axes(&dataset.shape()), dtype: kind.name(), values, attributes: attributes(dataset)? })
}

fn attributes(object: &hdf5::Location) -> hdf5::Result<BTreeMap<String, Attribute>> {
    object.attr_names()?.into_iter().map(|name| Ok((name.clone(), read_attribute(&object.attr(&name)?)?))).collect()
}

fn read_attribute(attribute: &hdf5::Attribute) -> hdf5::Result<Attribute> {
    let dtype = attribute.dtype()?;
    let count = attribute.size();
    let rank = attribute.ndim();
    if count == 0 || attribute.space()?.is_null() {
        return Ok(Attribute::Texts(Vec::new()));
    }
    let kind = Kind::of(dtype.id())?;
    let id = attribute.id();
    let values = read_values(&kind, count, dtype.id(), |memory, buffer| {
        // SAFETY: `buffer` has room for all elements of the attribute.
        unsafe { h5a::H5Aread(id, memory, buffer) }
    })?;
    Ok(match (values, &kind) {
        (Values::Strings(strings), _) => {
            let mut texts: Vec<String> =
                strings.iter().map(|text| String::from_utf8_lossy(text).into_owned()).collect();
            match (rank, texts.pop()) {
                (0, Some(only)) => Attribute::Text(only),
                (1, Some(last)) => {
                    texts.push(last);
                    Attribute::Texts(texts)
                }
                _ => Attribute::Other,
            }
        }
        (Values::Bytes(bytes), Kind::Number { class: "int", .. }) if rank == 0 => {
            let negative = bytes.last().is_some_and(|byte| byte & 0x80 != 0);
            Attribute::Int(i64::from_le_bytes(widened(&bytes, if negative { 0xff } else { 0 })))
        }
        (Values::Bytes(bytes), Kind::Number { class: "uint", .. }) if rank == 0 => {
            i64::try_from(u64::from_le_bytes(widened(&bytes, 0))).map_or(Attribute::Other, Attribute::Int)
        }
        (Values::Bytes(bytes), Kind::Number { class: "float", size }) if rank == 0 => match size {
            4 => Attribute::Float(f64::from(f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))),
            8 => Attribute::Float(f64::from_le_bytes(widened(&bytes, 0))),
            _ => Attribute::Other,
        },
        _ => Attribute::Other,
    })
}

fn widened(bytes: &[u8], filler: u8) -> [u8; 8] {
    let mut wide = [filler; 8];
    wide[..bytes.len()].copy_from_slice(bytes);
    wide
}

/// The classes of element types that weights files use.
enum Kind {
    Number {
        class: &'static str,
        size: usize,
    },
    /// A float of another layout than IEEE's; HDF5 would convert it to one of those.
    SmallFloat {
        name: &'static str,
    },
    Complex {
        size: usize,
    },
    Bool,
    Opaque {
        size: usize,
    },
    FixedString {
        padding: h5t::H5T_str_t,
    },
    VariableString,
    Unknown,
}

impl Kind {
    fn of(dtype: hid_t) -> hdf5::Result<Kind> {
        // SAFETY: these only look at a datatype, which the caller holds open.
        let (class, size, sign, variable) = unsafe {
            (h5t::H5Tget_class(dtype), h5t::H5Tget_size(dtype), h5t::H5Tget_sign(dtype), h5t::H5Tis_variable_str(dtype))
        };
        // SAFETY: as above.
        let bits = unsafe { h5t::H5Tget_precision(dtype) };
        Ok(match class {
            h5t::H5T_class_t::H5T_FLOAT => Kind::of_float(dtype, size),
            h5t::H5T_class_t::H5T_INTEGER if bits != 8 * size => Kind::Unknown,
            h5t::H5T_class_t::H5T_INTEGER if sign == h5t::H5T_sign_t::H5T_SGN_NONE => {
                Kind::Number { class: "uint", size }
            }
            h5t::H5T_class_t::H5T_INTEGER => Kind::Number { class: "int", size },
            // h5py's bool has the members FALSE and TRUE; any other enumeration is its numbers.
            // SAFETY: as above.
            h5t::H5T_class_t::H5T_ENUM if size == 1 && unsafe { h5t::H5Tget_nmembers(dtype) } == 2 => Kind::Bool,
            h5t::H5T_class_t::H5T_ENUM => Kind::Number { class: "int", size },
            h5t::H5T_class_t::H5T_OPAQUE => Kind::Opaque { size },
            // h5py's complex numbers: a real and an imaginary part.
            // SAFETY: as above.
            h5t::H5T_class_t::H5T_COMPOUND if unsafe { h5t::H5Tget_nmembers(dtype) } == 2 => Kind::Complex { size },
            h5t::H5T_class_t::H5T_STRING if variable > 0 => Kind::VariableString,
            // SAFETY: as above.
            h5t::H5T_class_t::H5T_STRING => Kind::FixedString { padding: unsafe { h5t::H5Tget_strpad(dtype) } },
            _ => Kind::Unknown,
        })
    }

    fn of_float(dtype: hid_t, size: usize) -> Kind {
        let (mut sign, mut exponent, mut mantissa) = (0, (0, 0), (0, 0));
        // SAFETY: the datatype is an open float, and each pointer is to a value of ours.
        unsafe {
            h5t::H5Tget_fields(dtype, &mut sign, &mut exponent.0, &mut exponent.1, &mut mantissa.0, &mut mantissa.1);
        }
        match (size, exponent, mantissa) {
            (2, (10, 5), (0, 10)) | (4, (23, 8), (0, 23)) | (8, (52, 11), (0, 52)) => {
                Kind::Number { class: "float", size }
            }
            // What our reader calls bfloat16, whichever way it is stored.
            (2, (7, 8), (0, 7)) => Kind::SmallFloat { name: "opaque2" },
            (1, (2, 5), (0, 2)) => Kind::SmallFloat { name: "float8_e5m2" },
            (1, (3, 4), (0, 3)) => Kind::SmallFloat { name: "float8_e4m3fn" },
            _ => Kind::Unknown,
        }
    }

    fn name(&self) -> String {
        match self {
            Kind::Number { class, size } => format!("{class}{}", size * 8),
            Kind::SmallFloat { name } => (*name).to_owned(),
            Kind::Complex { size } => format!("complex{}", size * 8),
            Kind::Bool => "bool".to_owned(),
            Kind::Opaque { size } => format!("opaque{size}"),
            Kind::FixedString { .. } | Kind::VariableString => "string".to_owned(),
            Kind::Unknown => "unknown".to_owned(),
        }
    }
}

/// Reads `count` elements with `fetch(memory type, buffer)`.
fn read_values(
    kind: &Kind,
    count: usize,
    file_type: hid_t,
    fetch: impl Fn(hid_t, *mut c_void) -> i32,
) -> hdf5::Result<Values> {
    let check = |status: i32| if status < 0 { Err(hdf5::Error::from("libhdf5 could not read")) } else { Ok(()) };
    if let Kind::VariableString = kind {
        let mut pointers: Vec<*mut c_char> = vec![std::ptr::null_mut(); count];
        check(fetch(file_type, pointers.as_mut_ptr().cast()))?;
        // The strings stay with libhdf5's allocator: a few kilobytes for the life of this process.
        let text = |&pointer: &*mut c_char| match pointer.is_null() {
            true => Vec::new(),
            // SAFETY: libhdf5 has put a NUL-terminated string at every pointer that is not null.
            false => unsafe { CStr::from_ptr(pointer) }.to_bytes().to_vec(),
        };
        return Ok(Values::Strings(pointers.iter().map(text).collect()));
    }
    if let Kind::Unknown = kind {
        return Ok(Values::Unreadable);
    }
    // SAFETY: `file_type` is an open datatype, and the copy is ours. Values are asked for as they are stored, but little
    // endian; the "native" type would turn 16-bit floats into 32-bit ones.
    let memory = unsafe {
        let copy = h5t::H5Tcopy(file_type);
        if let Kind::Number { .. } | Kind::Complex { .. } | Kind::Bool = kind {
            h5t::H5Tset_order(copy, h5t::H5T_order_t::H5T_ORDER_LE);
        }
        copy
    };
    // SAFETY: as above.
    let size = unsafe { h5t::H5Tget_size(memory) };
    let mut bytes = vec![0u8; size * count];
    let status = fetch(memory, bytes.as_mut_ptr().cast());
    // SAFETY: we opened it above and nobody else has it.
    unsafe { h5t::H5Tclose(memory) };
    check(status)?;
    Ok(match kind {
        Kind::FixedString { padding } => {
            Values::Strings(bytes.chunks_exact(size.max(1)).map(|text| unpadded(text, *padding).to_vec()).collect())
        }
        _ => Values::Bytes(bytes),
    })
}

/// A string of fixed length without what fills it up.
fn unpadded(text: &[u8], padding: h5t::H5T_str_t) -> &[u8] {
    let filler = match padding {
        h5t::H5T_str_t::H5T_STR_NULLTERM => {
            return text.iter().position(|&byte| byte == 0).map_or(text, |end| &text[..end]);
        }
        h5t::H5T_str_t::H5T_STR_SPACEPAD => b' ',
        _ => 0,
    };
    text.iter().rposition(|&byte| byte != filler).map_or(&[], |last| &text[..=last])
}
