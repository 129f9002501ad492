//! Every pair of dtypes on values that are hard to round, against numpy.
#![allow(clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "helpers of the tests")]

mod common;

use common::{fixtures, json};
use kw_keras::cast::{can_cast, cast};
use kw_model::{Code, DType};

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len() / 2).map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).expect("hexadecimal")).collect()
}

/// NaN has many faces; only that it is one counts.
fn is_nan(dtype: DType, element: &[u8]) -> bool {
    let mut wide = [0; 8];
    dtype.is_float() && {
        cast(element, dtype, DType::Float64, &mut wide).expect("a float");
        f64::from_le_bytes(wide).is_nan()
    }
}

#[test]
fn values_change_as_numpy_changes_them() {
    let cases = json(&fixtures().join("casts.json"));
    let (mut pairs, mut values) = (0, 0);
    for case in cases.as_array().expect("a list") {
        let text = |at: usize| case[at].as_str().expect("text");
        let dtype = |at: usize| DType::from_name(text(at)).expect("a dtype");
        let (from, to, input, expected) = (dtype(0), dtype(1), bytes(text(2)), bytes(text(3)));
        assert!(can_cast(from, to));
        let mut found = vec![0; expected.len()];
        cast(&input, from, to, &mut found).expect("casts");
        let elements = input.chunks(from.size()).zip(found.chunks(to.size())).zip(expected.chunks(to.size()));
        for ((input, found), expected) in elements {
            // Parts of complex numbers are compared one by one.
            let part = if matches!(to, DType::Complex64 | DType::Complex128) { to.size() / 2 } else { to.size() };
            let real = match to {
                DType::Complex64 => DType::Float32,
                DType::Complex128 => DType::Float64,
                other => other,
            };
            for (found, expected) in found.chunks(part).zip(expected.chunks(part)) {
                let same = found == expected || (is_nan(real, found) && is_nan(real, expected));
                assert!(same, "{from} {input:02x?} to {to}: {found:02x?}, numpy has {expected:02x?}");
            }
            values += 1;
        }
        pairs += 1;
    }
    assert_eq!(pairs, 17 * 16);
    assert!(values > 6_000, "{values} values");
}

#[test]
fn what_has_no_meaning_is_refused() {
    let code = |from, to, input: usize, output: usize| {
        cast(&vec![0; input], from, to, &mut vec![0; output]).map_err(|error| error.code()).err()
    };
    assert_eq!(code(DType::Opaque(2), DType::Float32, 2, 4), Some(Code::DType));
    assert_eq!(code(DType::String, DType::Float32, 4, 4), Some(Code::DType));
    assert_eq!(code(DType::Float32, DType::Float64, 7, 8), Some(Code::Argument));
    assert_eq!(code(DType::Float32, DType::Float64, 8, 8), Some(Code::Argument));
    assert_eq!(code(DType::Float32, DType::Float32, 8, 4), Some(Code::Argument));
    assert_eq!(code(DType::Float32, DType::Float64, 8, 16), None);
}
