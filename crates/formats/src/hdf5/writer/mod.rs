//! The planned HDF5 writer.
