//! What a file is by its first bytes, whatever it is called.

use kw_model::{ByteSource, Code, Result, WeightsError};

const JSON: &str = "JSON text";
const HDF5_SIGNATURE: &[u8] = b"\x89HDF\r\n\x1a\n";

/// What the content is, or looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// HDF5.
    Hdf5,
    /// A zip archive: `.keras`, `.npz`, or something else that is zipped.
    Zip,
    /// A safetensors file.
    Safetensors,
    /// JSON text: the index of sharded weights, or something else.
    Json,
    /// Something that holds no weights we can read.
    Other {
        /// What it looks like, as the end of "it looks like …".
        looks_like: &'static str,
        /// What to do about it.
        hint: &'static str,
    },
    /// No bytes at all.
    Empty,
}

/// Looks at the content.
///
/// # Errors
/// What reading causes.
pub fn detect(source: &dyn ByteSource) -> Result<Content> {
    let len = source.len();
    if len == 0 {
        return Ok(Content::Empty);
    }
    let mut head = [0_u8; 1024];
    let take = usize::try_from(len).unwrap_or(usize::MAX).min(head.len());
    let Some(head) = head.get_mut(..take) else { return Ok(Content::Empty) };
    source.read_exact_at(0, head)?;
    if head.starts_with(HDF5_SIGNATURE) {
        return Ok(Content::Hdf5);
    }
    if head.starts_with(b"PK\x03\x04") {
        return Ok(Content::Zip);
    }
    // safetensors: the length of the header in eight bytes, then JSON.
    if head.get(8..10) == Some(b"{\"") && head.get(5..8) == Some(&[0, 0, 0]) {
        return Ok(Content::Safetensors);
    }
    // After the containers: the HDF5 member of an archive may lie where a user block would end.
    if has_user_block(source, len)? {
        return Ok(Content::Hdf5);
    }
    let (looks_like, hint) = other(head);
    Ok(if looks_like == JSON { Content::Json } else { Content::Other { looks_like, hint } })
}

/// HDF5 may begin after a block of somebody else's, at 512 bytes or any doubling of that.
fn has_user_block(source: &dyn ByteSource, len: u64) -> Result<bool> {
    let mut offset = 512_u64;
    while offset.saturating_add(8) <= len {
        let mut found = [0; 8];
        source.read_exact_at(offset, &mut found)?;
        if found == HDF5_SIGNATURE {
            return Ok(true);
        }
        offset = offset.saturating_mul(2);
    }
    Ok(false)
}

fn other(head: &[u8]) -> (&'static str, &'static str) {
    const MAGIC: [(&[u8], &str, &str); 12] = [
        (
            b"version https://git-lfs.github.com/spec",
            "a git-lfs pointer",
            "the weights were not downloaded: run `git lfs pull`",
        ),
        (b"PK\x05\x06", "an empty zip archive", ""),
        (b"\x80\x02", "a Python pickle", "pickles can run code and are never read"),
        (b"\x80\x03", "a Python pickle", "pickles can run code and are never read"),
        (b"\x80\x04", "a Python pickle", "pickles can run code and are never read"),
        (b"\x80\x05", "a Python pickle", "pickles can run code and are never read"),
        (b"\x89PNG", "a PNG image", ""),
        (b"\xff\xd8\xff", "a JPEG image", ""),
        (b"\x1f\x8b", "a gzip file", "unpack it first"),
        (b"\x93NUMPY", "a NumPy .npy array", "one array has no name: weights are read from .npz files"),
        (b"%PDF", "a PDF document", ""),
        (b"TFL3", "a TensorFlow Lite model", ""),
    ];
    for (magic, looks_like, hint) in MAGIC {
        if head.starts_with(magic) {
            return (looks_like, hint);
        }
    }
    if head.get(4..8) == Some(b"TFL3") {
        return ("a TensorFlow Lite model", "");
    }
    if head.iter().all(|byte| *byte == 0) {
        return ("nothing but zeros", "the download or copy did not finish");
    }
    text(head)
}

fn text(head: &[u8]) -> (&'static str, &'static str) {
    // A character cut at the end of what was read is not held against a text.
    let readable = match std::str::from_utf8(head) {
        Ok(text) => text,
        Err(error) if error.error_len().is_none() => {
            head.get(..error.valid_up_to()).and_then(|valid| std::str::from_utf8(valid).ok()).unwrap_or_default()
        }
        Err(_) => "",
    };
    let control = |c: char| c.is_control() && !c.is_whitespace();
    let start = readable.trim_start_matches('\u{feff}').trim_start();
    if start.is_empty() || readable.chars().any(control) {
        return ("nothing that is known here", "");
    }
    let lower: String = start.chars().take(16).collect::<String>().to_lowercase();
    if lower.starts_with("<!doctype html") || lower.starts_with("<html") || lower.starts_with("<head") {
        return ("an HTML page", "a download probably answered with a page instead of the file");
    }
    if lower.starts_with("<?xml") {
        return ("an XML document", "a download probably answered with an error message");
    }
    if lower.starts_with(['{', '[']) {
        return (JSON, "");
    }
    ("text", "")
}

/// The error for a file that holds no weights we can read.
pub(crate) fn refusal(content: Content, source: &dyn ByteSource) -> WeightsError {
    let name = source.name();
    let message = match content {
        Content::Hdf5 => format!("{name} is an HDF5 file"),
        Content::Zip => format!(
            "{name} is no weights file: it is a zip archive that holds neither a Keras model ({}) nor numpy arrays",
            crate::archive::WEIGHTS
        ),
        Content::Safetensors => format!("{name} is a safetensors file"),
        Content::Json => format!(
            "{name} is no weights file: it looks like {JSON} ({} bytes) without a \"weight_map\"; a model's architecture or an \
             error message, not its weights",
            source.len()
        ),
        Content::Empty => format!("{name} is empty (0 bytes)"),
        Content::Other { looks_like, hint: "" } => {
            format!("{name} is no weights file: it looks like {looks_like} ({} bytes)", source.len())
        }
        Content::Other { looks_like, hint } => {
            format!("{name} is no weights file: it looks like {looks_like} ({} bytes); {hint}", source.len())
        }
    };
    WeightsError::new(Code::NotWeights, message).file(name)
}

#[cfg(test)]
mod tests {
    use kw_model::MemorySource;

    use super::{Content, HDF5_SIGNATURE, detect, refusal};

    #[test]
    fn says_what_a_file_looks_like() {
        let mut block = vec![b'#'; 2048];
        block.extend_from_slice(b"\x89HDF\r\n\x1a\n and so on");
        let cases: [(&[u8], &str); 14] = [
            (b"\x89HDF\r\n\x1a\n\0\0", "is an HDF5 file"),
            (&block, "is an HDF5 file"),
            (b"", "is empty (0 bytes)"),
            (b"\n <!DOCTYPE html>\n<html>", "an HTML page (24 bytes); a download probably answered"),
            (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "a git-lfs pointer"),
            (b"PK\x03\x04\x14\0", "it is a zip archive that holds neither"),
            (b"\x80\x04\x95", "a Python pickle"),
            (b"{\"class_name\": \"Sequential\"}", "JSON text"),
            (b"\x89PNG\r\n\x1a\n", "a PNG image"),
            (b"\x40\0\0\0\0\0\0\0{\"__metadata__\"", "a safetensors file"),
            (b"this is not hdf5 \xc3", "looks like text (18 bytes)"),
            (&[0; 100], "nothing but zeros"),
            (&[1, 2, 3], "nothing that is known here"),
            (b"<?xml version=\"1.0\"?><Error/>", "an XML document"),
        ];
        for (bytes, expected) in cases {
            let source = MemorySource::new(bytes, "w.h5");
            let content = detect(&source).expect("reads");
            let message = refusal(content, &source).message().to_owned();
            assert!(message.contains(expected), "{message:?} should contain {expected:?}");
            assert_eq!(content == Content::Hdf5, expected == "is an HDF5 file");
        }
    }

    #[test]
    fn an_archive_with_hdf5_at_a_round_offset_is_an_archive() {
        let mut bytes = vec![0; 1024];
        bytes[..4].copy_from_slice(b"PK\x03\x04");
        bytes[512..520].copy_from_slice(HDF5_SIGNATURE);
        assert_eq!(detect(&MemorySource::new(bytes.clone(), "m.keras")).expect("reads"), Content::Zip);
        bytes[..4].copy_from_slice(b"mine");
        assert_eq!(detect(&MemorySource::new(bytes, "m.h5")).expect("reads"), Content::Hdf5);
    }
}
