//! Memory that JavaScript may look into, and the decision which tensor lies where.
//!
//! Tensors that are stored as they are needed become views on a few private, writable
//! mappings of the file; all others are read, decoded or computed into aligned memory of
//! our own, small ones packed together. Everything unsafe below the binding is in
//! [`Region`]; the rest of the crate is arithmetic.

mod guard;
mod place;
mod region;
mod window;

pub use guard::{Access, Mapping, may_map};
pub use place::{
    Compute, Place, PlaceOptions, Placed, Wanted, What, check_digest, place, plan_views, read_entry, settle_view,
};
pub use region::Region;
pub use window::{RangeRequest, View, WINDOW_ALIGNMENT, Window, WindowPlan, map_window, plan_windows};

/// Work looks at its cancel flag after at most this many bytes.
pub const PIECE: usize = 8 << 20;
