//! The formats without blocks: one number, one weight.

use half::{bf16, f16};

/// `F32`: a little-endian single.
pub fn dequantize_f32(block: &[u8; 4], weight: &mut [f32; 1]) {
    weight[0] = f32::from_le_bytes(*block);
}

/// `F16`: an IEEE half.
pub fn dequantize_f16(block: &[u8; 2], weight: &mut [f32; 1]) {
    weight[0] = f16::from_le_bytes(*block).to_f32();
}

/// `BF16`: the upper half of a single.
pub fn dequantize_bf16(block: &[u8; 2], weight: &mut [f32; 1]) {
    weight[0] = bf16::from_le_bytes(*block).to_f32();
}

/// What each byte of `F8_E4M3` is.
static E4M3: [f32; 256] = {
    let (mut values, mut bits) = ([0.0; 256], 0);
    while bits < 256 {
        let (exponent, mantissa) = (bits as u32 >> 3 & 15, bits as u32 & 7);
        let magnitude = match (exponent, mantissa) {
            (15, 7) => f32::NAN,
            // The smallest have the exponent of the next and no leading one.
            (0, _) => mantissa as f32 / 512.0,
            _ => f32::from_bits((exponent + 120) << 23 | mantissa << 20),
        };
        values[bits] = if bits < 128 { magnitude } else { -magnitude };
        bits += 1;
    }
    values
};

/// `F8_E4M3`: a sign, four bits of an exponent and three of a mantissa, without infinities (Micikevicius et
/// al. 2022, arXiv:2209.05433). What it is to be multiplied with is elsewhere.
pub fn dequantize_f8_e4m3(block: &[u8; 1], weight: &mut [f32; 1]) {
    weight[0] = E4M3[usize::from(block[0])];
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eights_of_a_float_are_those_of_the_paper() {
        let value = |bits: u8| {
            let mut weight = [0.0];
            dequantize_f8_e4m3(&[bits], &mut weight);
            weight[0]
        };
        for (bits, want) in [
            (0x00, 0.0),
            (0x01, 0.001_953_125),
            (0x07, 0.013_671_875),
            (0x08, 0.015_625),
            (0x38, 1.0),
            (0x3c, 1.5),
            (0x7e, 448.0),
            (0xc1, -2.25),
        ] {
            assert_eq!(value(bits), want, "{bits:#x}");
            assert_eq!(value(bits ^ 0x80), -want);
        }
        assert!(value(0x7f).is_nan() && value(0xff).is_nan());
        let rising: Vec<f32> = (0..0x7f).map(value).collect();
        assert!(rising.windows(2).all(|pair| pair[0] < pair[1]));
    }
}
