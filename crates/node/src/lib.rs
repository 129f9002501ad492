//! The Node addon. Options come in as JSON, values go out as `ArrayBuffer`s over memory of ours.
//!
//! Only `ts/native.ts` sees what is exported here; it is no public interface.
#![cfg_attr(test, allow(dead_code, reason = "in tests nothing is exported to Node"))]
#![expect(
    clippy::needless_pass_by_value,
    clippy::trivially_copy_pass_by_ref,
    reason = "exports take what napi hands them: strings by value, the environment by reference"
)]
#![expect(unreachable_pub, reason = "the modules are private, and napi's macros need their items public")]

mod buffers;
mod failure;
mod file;
mod job;
mod lease_events;
mod load;
mod native_convert;
mod native_file;
mod native_job;
mod native_load;
mod native_save;
mod opening;
mod options;
mod pool;
mod ring;
mod save;

/// The version of the addon; TypeScript compares it with its own.
#[napi_derive::napi(catch_unwind)]
pub fn version() -> &'static str {
    env!("CARGO_PKG_VERSION")
}

/// Every error code that Rust can give; a test compares them with those TypeScript knows.
#[napi_derive::napi(catch_unwind)]
pub fn error_codes() -> Vec<&'static str> {
    kw_model::Code::ALL.iter().map(|code| code.as_str()).collect()
}
