//! Which filters can be undone, and their names in errors.

use hdf5_reader::filters::{
    FILTER_DEFLATE, FILTER_FLETCHER32, FILTER_LZ4, FILTER_NBIT, FILTER_SCALEOFFSET, FILTER_SHUFFLE, FILTER_SZIP,
};
use hdf5_reader::messages::filter_pipeline::FilterPipelineMessage;
use kw_model::{Code, Result, WeightsError};

/// Filters of one dataset; HDF5's own limit, one bit of a chunk's mask each.
const MAX_FILTERS: usize = 32;

/// Numbers from the HDF Group's list of registered filters.
const NAMES: [(u16, &str); 17] = [
    (FILTER_DEFLATE, "gzip"),
    (FILTER_SHUFFLE, "shuffle"),
    (FILTER_FLETCHER32, "fletcher32"),
    (FILTER_SZIP, "szip"),
    (FILTER_NBIT, "nbit"),
    (FILTER_SCALEOFFSET, "scaleoffset"),
    (305, "lzo"),
    (307, "bzip2"),
    (32000, "lzf"),
    (32001, "blosc"),
    (FILTER_LZ4, "lz4"),
    (32008, "bitshuffle"),
    (32013, "zfp"),
    (32015, "zstd"),
    (32017, "sz"),
    (32019, "jpeg"),
    (32026, "blosc2"),
];

/// Fails when the decoder cannot undo one of these filters.
pub(super) fn check(pipeline: &FilterPipelineMessage) -> Result<()> {
    if pipeline.filters.len() > MAX_FILTERS {
        return Err(WeightsError::new(Code::Corrupt, format!("a dataset with {} filters", pipeline.filters.len())));
    }
    let known =
        [FILTER_DEFLATE, FILTER_SHUFFLE, FILTER_FLETCHER32, FILTER_SZIP, FILTER_NBIT, FILTER_SCALEOFFSET, FILTER_LZ4];
    match pipeline.filters.iter().find(|filter| !known.contains(&filter.id)) {
        None => Ok(()),
        Some(filter) => Err(WeightsError::new(
            Code::Unsupported,
            format!(
                "it is compressed with the filter {}, which cannot be undone here: write it again uncompressed or with gzip",
                name(filter.id)
            ),
        )
        .found(name(filter.id))),
    }
}

/// True when one stored byte may stand for any number of decoded ones:
/// scaleoffset and nbit store a constant chunk as its parameters.
pub(super) fn any_ratio(pipeline: &FilterPipelineMessage) -> bool {
    pipeline.filters.iter().any(|filter| matches!(filter.id, FILTER_SCALEOFFSET | FILTER_NBIT))
}

fn name(id: u16) -> String {
    match NAMES.iter().find(|(known, _)| *known == id) {
        Some((_, name)) => format!("{name} ({id})"),
        None => format!("number {id}"),
    }
}

#[cfg(test)]
mod tests {
    use hdf5_reader::messages::filter_pipeline::{FilterDescription, FilterPipelineMessage};
    use kw_model::Code;

    use super::check;

    fn pipeline(ids: &[u16]) -> FilterPipelineMessage {
        let filters = ids.iter().map(|&id| FilterDescription { id, name: None, client_data: Vec::new() }).collect();
        FilterPipelineMessage { filters }
    }

    #[test]
    fn unknown_filters_are_named() {
        check(&pipeline(&[2, 1, 3])).expect("the common ones");
        let error = check(&pipeline(&[2, 32000])).expect_err("lzf");
        assert_eq!(error.code(), Code::Unsupported);
        assert!(error.message().contains("lzf (32000)"), "{error}");
        assert!(check(&pipeline(&[777])).expect_err("unknown").message().contains("number 777"));
        assert_eq!(check(&pipeline(&[1; 33])).map_err(|e| e.code()), Err(Code::Corrupt));
    }
}
