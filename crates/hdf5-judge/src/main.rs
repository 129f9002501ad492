//! Does our HDF5 code agree with libhdf5? For every `.h5` file below the folders given as arguments:
//!
//! 1. both readers must find the same groups, attributes, datasets and values, or both refuse the file;
//! 2. the file written again by our writer must be read alike by both, and hold what the original held.

mod facts;
mod libhdf5;
mod ours;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use facts::Facts;

/// Files that libhdf5 can only read since a later version than Debian's 1.10.8, and why.
const NEEDS_LATER_LIBHDF5: &[(&str, (u8, u8, u8))] = &[
    // Version 4 of the datatype message.
    ("attributes_latest.h5", (1, 12, 0)),
];

#[derive(Default)]
struct Tally {
    files: usize,
    refused: usize,
    datasets: usize,
    attributes: usize,
    left_out: usize,
    too_new: usize,
    failed: usize,
}

fn main() -> ExitCode {
    let mut files = Vec::new();
    for folder in std::env::args_os().skip(1) {
        collect(Path::new(&folder), &mut files);
    }
    files.sort();
    if files.is_empty() {
        eprintln!("no .h5 files: name folders that hold some");
        return ExitCode::from(2);
    }
    // libhdf5 prints its own error stack for every file that it refuses.
    hdf5_metno::silence_errors(true);

    let mut tally = Tally::default();
    let scratch = std::env::temp_dir().join(format!("hdf5-judge-{}.h5", std::process::id()));
    for file in &files {
        let lines = judge(file, &scratch, &mut tally);
        if !lines.is_empty() {
            tally.failed += 1;
            println!("{}", file.display());
            for line in lines {
                println!("  {line}");
            }
        }
    }
    let _ = std::fs::remove_file(&scratch);
    println!(
        "libhdf5 {:?}: {} files with {} datasets and {} attributes read alike and written again, {} refused by both, \
         {} too new for this libhdf5, {} values of kinds that our writer has no form for",
        hdf5_metno::library_version(),
        tally.files,
        tally.datasets,
        tally.attributes,
        tally.refused,
        tally.too_new,
        tally.left_out,
    );
    println!("{} passed, {} failed", files.len() - tally.failed, tally.failed);
    if tally.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn too_new(file: &Path) -> bool {
    let version = hdf5_metno::library_version();
    NEEDS_LATER_LIBHDF5.iter().any(|(name, needs)| file.ends_with(name) && version < *needs)
}

fn judge(file: &Path, scratch: &Path, tally: &mut Tally) -> Vec<String> {
    let (theirs, mine) = match (libhdf5::read(file), ours::read(file)) {
        (Ok(theirs), Ok(mine)) => (theirs, mine),
        (Err(_), Err(_)) => {
            tally.refused += 1;
            return Vec::new();
        }
        (Ok(_), Err(error)) => return vec![format!("only we refuse it: {error}")],
        (Err(_), Ok(_)) if too_new(file) => {
            tally.too_new += 1;
            return Vec::new();
        }
        (Err(error), Ok(_)) => return vec![format!("only libhdf5 refuses it: {error}")],
    };
    let mut lines = theirs.differences(["libhdf5", "we"], &mine);

    match ours::rewrite(file).and_then(|(bytes, left_out)| {
        std::fs::write(scratch, bytes).map_err(|error| kw_model::WeightsError::io("write", scratch, &error))?;
        Ok(left_out)
    }) {
        Err(error) => lines.push(format!("our writer refuses what our reader found: {error}")),
        Ok(left_out) => {
            tally.left_out += left_out;
            lines.extend(judge_rewritten(scratch, &mine));
        }
    }
    tally.files += 1;
    tally.datasets += mine.datasets.len();
    tally.attributes += mine.groups.values().map(std::collections::BTreeMap::len).sum::<usize>();
    lines
}

fn judge_rewritten(scratch: &Path, original: &Facts) -> Vec<String> {
    let (theirs, mine) = match (libhdf5::read(scratch), ours::read(scratch)) {
        (Ok(theirs), Ok(mine)) => (theirs, mine),
        (Err(error), _) => return vec![format!("libhdf5 cannot read what we wrote: {error}")],
        (_, Err(error)) => return vec![format!("we cannot read what we wrote: {error}")],
    };
    let mut lines = theirs.differences(["libhdf5 on our file", "we on our file"], &mine);
    for (path, dataset) in &original.datasets {
        // Datasets that the writer has no form for (strings) are not in the new file.
        let Some(written) = mine.datasets.get(path) else { continue };
        // HDF5 as h5py 3 writes it has no 8-bit floats: they become opaque.
        let same_type = written.dtype == dataset.dtype || written.dtype.starts_with("opaque");
        if !same_type || (&written.shape, &written.values) != (&dataset.shape, &dataset.values) {
            lines.push(format!("dataset '{path}' was {dataset:?} and is now {written:?}"));
        }
    }
    for (path, attributes) in &original.groups {
        for (name, value) in attributes {
            match mine.groups.get(path).and_then(|group| group.get(name)) {
                Some(written) if written == value => {}
                None if matches!(value, facts::Attribute::Float(_) | facts::Attribute::Other) => {}
                found => lines.push(format!("attribute {name} of '{path}' was {value:?} and is now {found:?}")),
            }
        }
    }
    lines
}

fn collect(path: &Path, files: &mut Vec<PathBuf>) {
    // Attacks are for us alone: libhdf5 allocates what they ask for, and this process ends.
    if path.file_name().is_some_and(|name| name == "_museum") {
        return;
    }
    if path.is_dir() {
        for entry in std::fs::read_dir(path).into_iter().flatten().flatten() {
            collect(&entry.path(), files);
        }
    } else if path.extension().is_some_and(|suffix| suffix == "h5") {
        files.push(path.to_owned());
    }
}
