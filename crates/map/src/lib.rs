//! Memory that JavaScript may look into, and the decision which tensor lies where.
//!
//! Tensors that are stored as they are needed become views on a few private, writable
//! mappings of the file; all others are read, decoded or computed into aligned memory of
//! our own, small ones packed together. Everything unsafe below the binding is in
//! [`Region`] and [`Lease`]; the rest of the crate is arithmetic.

mod access;
mod lease;
mod place;
mod region;
mod window;

pub use access::{Access, Mapping, may_map};
pub use lease::{Lease, LeaseEvent, LeaseState, on_lease_event};
pub use place::{
    Compute, Place, PlaceOptions, Placed, Wanted, What, check_digest, check_unchanged, explained, place, plan_views,
    read_entry, settle_view,
};
pub use region::Region;
pub use window::{RangeRequest, View, WINDOW_ALIGNMENT, Window, WindowPlan, map_window, plan_windows};

/// Work looks at its cancel flag after at most this many bytes.
pub const PIECE: usize = 8 << 20;
