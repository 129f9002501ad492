//! What JavaScript asks for, as JSON.

use kw_map::{Access, PlaceOptions};
use kw_model::{Code, Limits, Result, WeightsError};
use serde::Deserialize;

/// Ceilings; what is left out keeps its default.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[expect(clippy::struct_field_names, reason = "the names of the options")]
pub struct LimitOptions {
    max_total_bytes: Option<u64>,
    max_tensor_bytes: Option<u64>,
    max_tensors: Option<u64>,
    max_attribute_bytes: Option<u64>,
    max_depth: Option<u32>,
    max_header_bytes: Option<u64>,
    max_inflate_ratio: Option<u64>,
}

impl LimitOptions {
    /// The ceilings to keep.
    pub fn limits(&self) -> Limits {
        let default = Limits::default();
        Limits {
            max_total_bytes: self.max_total_bytes.unwrap_or(default.max_total_bytes),
            max_tensor_bytes: self.max_tensor_bytes.unwrap_or(default.max_tensor_bytes),
            max_tensors: self.max_tensors.unwrap_or(default.max_tensors),
            max_attribute_bytes: self.max_attribute_bytes.unwrap_or(default.max_attribute_bytes),
            max_depth: self.max_depth.unwrap_or(default.max_depth),
            max_header_bytes: self.max_header_bytes.unwrap_or(default.max_header_bytes),
            max_inflate_ratio: self.max_inflate_ratio.unwrap_or(default.max_inflate_ratio),
        }
    }
}

/// When digests are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verify {
    /// All, before the values are handed out.
    Load,
    /// Each at the first touch of its tensor.
    Lazy,
    /// Never.
    Off,
}

/// How a file is opened and its values brought.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ReadOptions {
    access: Option<String>,
    pub verify: Option<Verify>,
    #[serde(default)]
    limits: LimitOptions,
    /// Bytes of the largest buffer over foreign memory, where the runtime has such a limit.
    window_limit: Option<u64>,
}

impl ReadOptions {
    /// The ceilings to keep.
    pub fn limits(&self) -> Limits {
        self.limits.limits()
    }

    /// When digests are compared, unless said otherwise at `default`.
    pub fn verify(&self, default: Verify) -> Verify {
        self.verify.unwrap_or(default)
    }

    /// How values are placed; whether digests count is up to the caller.
    ///
    /// # Errors
    /// [`Code::Argument`] for an unknown `access`.
    pub fn placing(&self, verify: bool, page_in: bool) -> Result<PlaceOptions> {
        let access = self.access.as_deref().map_or(Ok(Access::default()), Access::from_name)?;
        let window_limit = self.window_limit.unwrap_or(u64::MAX);
        if window_limit == 0 {
            return Err(WeightsError::new(Code::Argument, "windowLimit is at least one byte"));
        }
        Ok(PlaceOptions { access, window_limit, verify, page_in })
    }
}

#[cfg(test)]
mod tests {
    use kw_map::Access;
    use kw_model::Code;

    use super::{ReadOptions, Verify};
    use crate::failure::from_json;

    #[test]
    fn what_is_left_out_has_a_default() {
        let options: ReadOptions = from_json("{}", "options").expect("understood");
        assert_eq!(options.verify(Verify::Lazy), Verify::Lazy);
        let placing = options.placing(true, false).expect("valid");
        assert_eq!((placing.access, placing.window_limit), (Access::Auto, u64::MAX));
        assert_eq!(options.limits().max_depth, 128);
    }

    #[test]
    fn what_is_given_counts_and_what_is_unknown_is_refused() {
        let options: ReadOptions =
            from_json(r#"{"access":"copy","verify":"off","limits":{"maxTensors":3}}"#, "options").expect("understood");
        assert_eq!(options.verify(Verify::Load), Verify::Off);
        assert_eq!(options.limits().max_tensors, 3);
        assert_eq!(options.placing(true, true).expect("valid").access, Access::Copy);
        for bad in [r#"{"acess":"copy"}"#, r#"{"limits":{"maxTensors":-1}}"#, r#"{"verify":"maybe"}"#] {
            let error = from_json::<ReadOptions>(bad, "options").expect_err("refused");
            assert_eq!(error.code(), Code::Argument);
        }
        let options: ReadOptions = from_json(r#"{"access":"mmap"}"#, "options").expect("a word");
        assert_eq!(options.placing(true, true).map_err(|error| error.code()).err(), Some(Code::Argument));
    }
}
