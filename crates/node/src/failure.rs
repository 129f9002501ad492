//! The only place where our errors become JavaScript's, and where panics stop.

use std::panic::{AssertUnwindSafe, catch_unwind};

use kw_model::{Code, Detail, Result, WeightsError};
use napi::bindgen_prelude::{JsObjectValue, JsValue, Object};
use napi::{Env, Error, Status};

/// Runs `work`; what it panics with becomes an error, because an unwinding panic that
/// leaves Rust ends the process.
///
/// # Errors
/// [`Code::Internal`] for a panic, else those of `work`.
pub fn guarded<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|payload| {
        let text = payload
            .downcast_ref::<&str>()
            .map(|text| (*text).to_owned())
            .or_else(|| payload.downcast_ref::<String>().cloned())
            .unwrap_or_else(|| "no message".to_owned());
        Err(WeightsError::new(Code::Internal, format!("a defect in keras-weights: {text}")))
    })
}

/// The body of every export: `work`, with panics stopped and errors converted.
///
/// # Errors
/// An error object with `code` and the fields of [`kw_model::Context`].
pub fn export<T>(env: &Env, work: impl FnOnce() -> Result<T>) -> napi::Result<T> {
    guarded(work).map_err(|error| to_js(env, &error))
}

/// One of our errors as JavaScript sees it.
pub fn to_js(env: &Env, error: &WeightsError) -> Error {
    match to_object(env, error) {
        Ok(object) => Error::from(object.to_unknown()),
        // JavaScript is out of memory or ending: the sentence is all that can be saved.
        Err(_) => Error::new(Status::GenericFailure, error.to_string()),
    }
}

fn to_object<'env>(env: &'env Env, error: &WeightsError) -> napi::Result<Object<'env>> {
    let mut object = env.create_error(Error::new(Status::GenericFailure, error.message().to_owned()))?;
    object.set_named_property("code", error.code().as_str())?;
    let context = error.context();
    let texts =
        [("file", &context.file), ("format", &context.format), ("layer", &context.layer), ("weight", &context.weight)];
    for (name, text) in texts {
        if let Some(text) = text {
            object.set_named_property(name, text.as_str())?;
        }
    }
    for (name, detail) in [("expected", &context.expected), ("found", &context.found)] {
        match detail {
            None => {}
            Some(Detail::Shape(shape)) => {
                let axes: Vec<f64> = shape.axes().iter().map(|&axis| number(axis)).collect();
                object.set_named_property(name, axes)?;
            }
            Some(Detail::Count(count)) => object.set_named_property(name, number(*count))?,
            Some(Detail::Text(text)) => object.set_named_property(name, text.as_str())?,
        }
    }
    if let Some(offset) = context.offset {
        object.set_named_property("offset", number(offset))?;
    }
    Ok(object)
}

/// A count as a JavaScript number. No file of ours reaches 2^53 bytes; beyond it the last digits go.
#[expect(clippy::cast_precision_loss, reason = "only what a damaged file claims is that large")]
pub fn number(count: u64) -> f64 {
    count as f64
}

/// A JavaScript number as an index or size.
///
/// # Errors
/// [`Code::Argument`] for what is no whole number of 0 to 2^53.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "range and fraction were checked")]
pub fn whole(value: f64, what: &str) -> Result<u64> {
    if (0.0..=9_007_199_254_740_992.0).contains(&value) && value.fract() == 0.0 {
        return Ok(value as u64);
    }
    Err(WeightsError::new(Code::Argument, format!("{what} is a whole number of at least 0, not {value}")))
}

/// Reads JSON that our own TypeScript wrote.
///
/// # Errors
/// [`Code::Argument`] with what does not fit.
pub fn from_json<'text, T: serde::Deserialize<'text>>(text: &'text str, what: &str) -> Result<T> {
    serde_json::from_str(text)
        .map_err(|error| WeightsError::new(Code::Argument, format!("{what} cannot be understood: {error}")))
}

/// Writes JSON for our own TypeScript.
///
/// # Errors
/// [`Code::Internal`].
pub fn to_json<T: serde::Serialize>(value: &T) -> Result<String> {
    serde_json::to_string(value)
        .map_err(|error| WeightsError::new(Code::Internal, format!("a report could not be written: {error}")))
}

#[cfg(test)]
mod tests {
    use kw_model::Code;

    use super::{guarded, whole};

    #[test]
    fn a_panic_becomes_an_error() {
        let error = guarded::<()>(|| panic!("number {}", 7)).expect_err("panicked");
        assert_eq!((error.code(), error.message()), (Code::Internal, "a defect in keras-weights: number 7"));
        let error = guarded::<u8>(|| Ok([1_u8, 2][std::hint::black_box(2)])).expect_err("panicked");
        assert_eq!(error.code(), Code::Internal);
    }

    #[test]
    fn only_whole_numbers_are_sizes() {
        assert_eq!(whole(4096.0, "n").ok(), Some(4096));
        for bad in [-1.0, 0.5, f64::NAN, f64::INFINITY, 1e17] {
            assert_eq!(whole(bad, "n").map_err(|error| error.code()), Err(Code::Argument));
        }
    }
}
