//! Quantized values, made whole as TensorFlow.js makes them.

use kw_model::DType;

use super::manifest::Quantization;

/// Makes `out`, four bytes an element, of stored elements. The caller has seen to the lengths.
pub(super) fn dequantize(stored: &[u8], how: Quantization, dtype: DType, out: &mut [u8]) {
    let width = usize::try_from(how.width()).unwrap_or(1);
    for (element, place) in stored.chunks_exact(width).zip(out.as_chunks_mut::<4>().0) {
        let [low, high] = [element.first(), element.get(1)].map(|byte| byte.copied().unwrap_or_default());
        let bits = u16::from_le_bytes([low, high]);
        *place = match how {
            Quantization::Float16 => half(bits).to_le_bytes(),
            Quantization::Affine { scale, min, .. } => number(f64::from(bits) * scale + min, dtype),
        };
    }
}

#[expect(clippy::cast_possible_truncation, reason = "as Float32Array and Int32Array of JavaScript take numbers")]
fn number(value: f64, dtype: DType) -> [u8; 4] {
    if dtype == DType::Int32 {
        // Math.round: halves go up. Int32Array: modulo 2³².
        let below = value.floor();
        let rounded = if value - below >= 0.5 { below + 1.0 } else { below };
        return (rounded as i64 as i32).to_le_bytes();
    }
    (value as f32).to_le_bytes()
}

/// A number in half precision.
fn half(bits: u16) -> f32 {
    let sign = u32::from(bits & 0x8000) << 16;
    let (exponent, digits) = (u32::from(bits >> 10 & 0x1f), u32::from(bits & 0x3ff));
    let magnitude = match exponent {
        // Without the leading one: the number of 2⁻²⁴.
        0 => (f32::from(bits & 0x3ff) / 16_777_216.0).to_bits(),
        31 => 0x7f80_0000 | digits << 13,
        _ => (exponent + 112) << 23 | digits << 13,
    };
    f32::from_bits(sign | magnitude)
}

#[cfg(test)]
mod tests {
    use kw_model::DType;

    use super::{Quantization, dequantize, half};

    #[test]
    fn halves_are_numpys() {
        let cases = [(0x0000, 0.0), (0x3c00, 1.0), (0xc000, -2.0), (0x7bff, 65504.0), (0x0001, 5.960_464_5e-8)];
        for (bits, value) in cases {
            assert_eq!(half(bits).to_bits(), f32::to_bits(value), "{bits:#x}");
        }
        assert_eq!(half(0x8000).to_bits(), 0x8000_0000);
        assert_eq!(half(0x03ff).to_bits(), 0x387f_c000);
        assert!(half(0xfc00) == f32::NEG_INFINITY && half(0x7e00).is_nan());
    }

    #[test]
    fn whole_numbers_round_as_in_javascript() {
        let mut out = [0; 16];
        let how = Quantization::Affine { width: 1, scale: 0.5, min: -1.0 };
        dequantize(&[0, 1, 3, 255], how, DType::Int32, &mut out);
        let ints: Vec<i32> = out.as_chunks::<4>().0.iter().map(|bytes| i32::from_le_bytes(*bytes)).collect();
        assert_eq!(ints, [-1, 0, 1, 127], "Math.round(-0.5) is 0, Math.round(0.5) is 1");
        dequantize(&[0, 1, 3, 255], how, DType::Float32, &mut out);
        let floats: Vec<f32> = out.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
        assert_eq!(floats, [-1.0, -0.5, 0.5, 126.5]);
    }
}
