//! Element types changing as `assign` changes them in Keras: numpy's `astype`.
//!
//! Floats round to nearest, ties to even; floats become integers towards zero; integers wrap; `bool` is "not zero".
//! A float outside the integer's range is undefined in numpy; here it becomes the nearest integer, NaN becomes 0.

use kw_model::{Code, DType, Result, WeightsError};

/// Whether Keras would take values of `from` for a variable of `to`.
pub fn can_cast(from: DType, to: DType) -> bool {
    let numeric = |dtype: DType| !matches!(dtype, DType::String | DType::Opaque(_));
    from == to || (numeric(from) && numeric(to))
}

/// The dtype that bytes of an unmarked opaque type have, if the variable says so: legacy files store bfloat16
/// and float8 as opaque bytes of their size.
pub fn reinterpreted(file: DType, variable: DType) -> Option<DType> {
    match (file, variable) {
        (DType::Opaque(2), DType::BFloat16) | (DType::Opaque(1), DType::Float8E4M3 | DType::Float8E5M2) => {
            Some(variable)
        }
        _ => None,
    }
}

/// Converts little-endian elements.
///
/// # Errors
/// [`Code::DType`] when [`can_cast`] says no, [`Code::Argument`] when the lengths do not belong together.
pub fn cast(bytes: &[u8], from: DType, to: DType, out: &mut [u8]) -> Result<()> {
    if !can_cast(from, to) {
        return Err(WeightsError::new(Code::DType, format!("{from} values cannot become {to}"))
            .expected(to.name())
            .found(from.name()));
    }
    if from == to {
        if bytes.len() != out.len() {
            return Err(lengths(bytes.len(), out.len(), from, to));
        }
        out.copy_from_slice(bytes);
        return Ok(());
    }
    let (input, output) = (bytes.chunks_exact(from.size()), out.len() / to.size());
    if input.len() != output || !input.remainder().is_empty() || !out.len().is_multiple_of(to.size()) {
        return Err(lengths(bytes.len(), out.len(), from, to));
    }
    // Integers to integers must not pass through floats; everything else does.
    match (integer_reader(from), integer_writer(to)) {
        (Some(read), Some(write)) => {
            for (element, place) in input.zip(out.chunks_exact_mut(to.size())) {
                write(read(element), place);
            }
        }
        (Some(read), None) => {
            let write = float_writer(to);
            for (element, place) in input.zip(out.chunks_exact_mut(to.size())) {
                write(Number::Int(read(element)), place);
            }
        }
        (None, _) => {
            let (read, write) = (float_reader(from), float_writer(to));
            for (element, place) in input.zip(out.chunks_exact_mut(to.size())) {
                write(Number::Float(read(element)), place);
            }
        }
    }
    Ok(())
}

fn lengths(input: usize, output: usize, from: DType, to: DType) -> WeightsError {
    WeightsError::new(Code::Argument, format!("{input} bytes of {from} are not {output} bytes of {to}"))
}

/// A value on its way: integers stay exact, complex values have both parts.
#[derive(Clone, Copy)]
enum Number {
    Int(i128),
    Float((f64, f64)),
}

fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut out = [0; N];
    for (place, byte) in out.iter_mut().zip(bytes) {
        *place = *byte;
    }
    out
}

type ReadInt = fn(&[u8]) -> i128;

fn integer_reader(dtype: DType) -> Option<ReadInt> {
    Some(match dtype {
        DType::Int8 => |b| i8::from_le_bytes(array(b)).into(),
        DType::Int16 => |b| i16::from_le_bytes(array(b)).into(),
        DType::Int32 => |b| i32::from_le_bytes(array(b)).into(),
        DType::Int64 => |b| i64::from_le_bytes(array(b)).into(),
        DType::UInt8 => |b| u8::from_le_bytes(array(b)).into(),
        DType::UInt16 => |b| u16::from_le_bytes(array(b)).into(),
        DType::UInt32 => |b| u32::from_le_bytes(array(b)).into(),
        DType::UInt64 => |b| u64::from_le_bytes(array(b)).into(),
        DType::Bool => |b| i128::from(b.first().is_some_and(|byte| *byte != 0)),
        _ => return None,
    })
}

type WriteInt = fn(i128, &mut [u8]);

fn integer_writer(dtype: DType) -> Option<WriteInt> {
    Some(match dtype {
        DType::Bool => |value, out| out.copy_from_slice(&[u8::from(value != 0)]),
        DType::Int8 | DType::Int16 | DType::Int32 | DType::Int64 | DType::UInt8 | DType::UInt16 | DType::UInt32
        // The low bytes of a two's complement number are the wrapped number of any narrower type.
        | DType::UInt64 => |value, out| {
            for (place, byte) in out.iter_mut().zip(value.to_le_bytes()) {
                *place = byte;
            }
        },
        _ => return None,
    })
}

type ReadFloat = fn(&[u8]) -> (f64, f64);

fn float_reader(dtype: DType) -> ReadFloat {
    match dtype {
        DType::Float16 => |b| (half_to_f64(u16::from_le_bytes(array(b)), 5, 10, true), 0.0),
        DType::BFloat16 => |b| (f32::from_bits(u32::from(u16::from_le_bytes(array(b))) << 16).into(), 0.0),
        DType::Float64 => |b| (f64::from_le_bytes(array(b)), 0.0),
        DType::Float8E4M3 => |b| (half_to_f64(u8::from_le_bytes(array(b)).into(), 4, 3, false), 0.0),
        DType::Float8E5M2 => |b| (half_to_f64(u8::from_le_bytes(array(b)).into(), 5, 2, true), 0.0),
        DType::Complex64 => |b| {
            let (real, imaginary) = b.split_at(b.len() / 2);
            (f32::from_le_bytes(array(real)).into(), f32::from_le_bytes(array(imaginary)).into())
        },
        DType::Complex128 => |b| {
            let (real, imaginary) = b.split_at(b.len() / 2);
            (f64::from_le_bytes(array(real)), f64::from_le_bytes(array(imaginary)))
        },
        _ => |b| (f32::from_le_bytes(array(b)).into(), 0.0),
    }
}

type WriteNumber = fn(Number, &mut [u8]);

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "casting values is what this does"
)]
fn float_writer(dtype: DType) -> WriteNumber {
    fn real(value: Number) -> f64 {
        match value {
            Number::Int(value) => value as f64,
            Number::Float((value, _)) => value,
        }
    }
    // An integer becomes a float32 in one rounding, not by way of a float64.
    fn single(value: Number) -> f32 {
        match value {
            Number::Int(value) => value as f32,
            Number::Float((value, _)) => value as f32,
        }
    }
    match dtype {
        DType::Float16 => |value, out| out.copy_from_slice(&f64_to_half(real(value), 5, 10, true).to_le_bytes()),
        DType::BFloat16 => |value, out| out.copy_from_slice(&f32_to_bfloat16(single(value)).to_le_bytes()),
        DType::Float32 => |value, out| out.copy_from_slice(&single(value).to_le_bytes()),
        DType::Float64 => |value, out| out.copy_from_slice(&real(value).to_le_bytes()),
        DType::Float8E4M3 => |value, out| {
            let [low, _] = f64_to_half(real(value), 4, 3, false).to_le_bytes();
            out.copy_from_slice(&[low]);
        },
        DType::Float8E5M2 => |value, out| {
            let [low, _] = f64_to_half(real(value), 5, 2, true).to_le_bytes();
            out.copy_from_slice(&[low]);
        },
        DType::Complex64 => |value, out| {
            let imaginary = if let Number::Float((_, part)) = value { part as f32 } else { 0.0 };
            let (first, second) = out.split_at_mut(4);
            first.copy_from_slice(&single(value).to_le_bytes());
            second.copy_from_slice(&imaginary.to_le_bytes());
        },
        DType::Complex128 => |value, out| {
            let imaginary = if let Number::Float((_, part)) = value { part } else { 0.0 };
            let (first, second) = out.split_at_mut(8);
            first.copy_from_slice(&real(value).to_le_bytes());
            second.copy_from_slice(&imaginary.to_le_bytes());
        },
        DType::Bool => |value, out| {
            let set = match value {
                Number::Int(value) => value != 0,
                Number::Float((real, imaginary)) => real != 0.0 || imaginary != 0.0,
            };
            out.copy_from_slice(&[u8::from(set)]);
        },
        DType::Int8 => |value, out| out.copy_from_slice(&(real(value) as i8).to_le_bytes()),
        DType::Int16 => |value, out| out.copy_from_slice(&(real(value) as i16).to_le_bytes()),
        DType::Int32 => |value, out| out.copy_from_slice(&(real(value) as i32).to_le_bytes()),
        DType::Int64 => |value, out| out.copy_from_slice(&(real(value) as i64).to_le_bytes()),
        DType::UInt8 => |value, out| out.copy_from_slice(&(real(value) as u8).to_le_bytes()),
        DType::UInt16 => |value, out| out.copy_from_slice(&(real(value) as u16).to_le_bytes()),
        DType::UInt32 => |value, out| out.copy_from_slice(&(real(value) as u32).to_le_bytes()),
        _ => |value, out| out.copy_from_slice(&(real(value) as u64).to_le_bytes()),
    }
}

/// Upper half of a float32, rounded to nearest even; NaN stays NaN.
fn f32_to_bfloat16(value: f32) -> u16 {
    let bits = value.to_bits();
    let upper = (bits >> 16) as u16;
    if value.is_nan() {
        return upper | 0x0040;
    }
    let rounding = 0x7fff_u32 + u32::from(upper & 1);
    (bits.wrapping_add(rounding) >> 16) as u16
}

/// A small IEEE-like float. `infinities` false means `float8_e4m3fn`: the top exponent holds numbers, all ones is NaN.
fn half_to_f64(bits: u16, exponent_bits: i32, mantissa_bits: i32, infinities: bool) -> f64 {
    let sign = if bits >> (exponent_bits + mantissa_bits) & 1 == 1 { -1.0 } else { 1.0 };
    let exponent_mask = (1_u16 << exponent_bits) - 1;
    let mantissa_mask = (1_u16 << mantissa_bits) - 1;
    let (exponent, mantissa) = (bits >> mantissa_bits & exponent_mask, bits & mantissa_mask);
    let middle = (1 << (exponent_bits - 1)) - 1;
    if exponent == exponent_mask && (infinities || mantissa == mantissa_mask) {
        return if infinities && mantissa == 0 { sign * f64::INFINITY } else { f64::NAN.copysign(sign) };
    }
    let scale = |power: i32| 2.0_f64.powi(power - mantissa_bits);
    if exponent == 0 {
        sign * f64::from(mantissa) * scale(1 - middle)
    } else {
        sign * f64::from(mantissa + mantissa_mask + 1) * scale(i32::from(exponent) - middle)
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the rounded number is small and positive")]
fn f64_to_half(value: f64, exponent_bits: i32, mantissa_bits: i32, infinities: bool) -> u16 {
    let sign = u16::from(value.is_sign_negative()) << (exponent_bits + mantissa_bits);
    let middle = (1 << (exponent_bits - 1)) - 1;
    let top = ((1_u16 << exponent_bits) - 1) << mantissa_bits;
    let not_a_number =
        sign | if infinities { top | 1 << (mantissa_bits - 1) } else { top | ((1 << mantissa_bits) - 1) };
    // e4m3fn has no infinity: what is too large is not a number.
    let too_large = if infinities { sign | top } else { not_a_number };
    if value.is_nan() {
        return not_a_number;
    }
    let magnitude = value.abs();
    if magnitude.is_infinite() {
        return too_large;
    }
    // The exponent of a float64 is exact here; subnormals of float64 are far below every small float.
    let exponent = ((magnitude.to_bits() >> 52) as i32 - 1023).max(1 - middle);
    // In units of the last place: at most 2^(mantissa_bits + 1), so exact in float64.
    let units = (magnitude * 2.0_f64.powi(mantissa_bits - exponent)).round_ties_even() as u32;
    let bits = (exponent - 1 + middle) as u32 * (1 << mantissa_bits) + units;
    let last = if infinities { u32::from(top) } else { u32::from(top | ((1 << mantissa_bits) - 1)) };
    if exponent > middle + 1 || bits >= last { too_large } else { sign | bits as u16 }
}
