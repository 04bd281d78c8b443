//! The formats of weights that are -1, 0 or 1 times one scale for 256 of them.

use super::f16_at;

/// `TQ1_0`: `qs: [u8; 48], qh: [u8; 4], d: f16`; weight = `d * (digit - 1)`.
///
/// Five weights to a byte, four to those of `qh` ([`digits_tq1_0`]).
pub fn dequantize_tq1_0(block: &[u8; 54], weights: &mut [f32; 256]) {
    let d = f16_at(block, 52);
    let digits = digits_tq1_0(block[..52].try_into().expect("52 bytes"));
    for (weight, digit) in weights.iter_mut().zip(digits) {
        *weight = d * f32::from(digit as i8 - 1);
    }
}

/// The digits 0 to 2 that the bytes of a `TQ1_0` block are made of.
///
/// A byte is a fraction of 256: times three, what passes 256 is the first digit, what is left holds the
/// others. Each `n`-th digit of the first 32 bytes comes before each next; then likewise those of the 16
/// bytes that follow, then the first four of the last four.
pub fn digits_tq1_0(bytes: &[u8; 52]) -> [u8; 256] {
    let mut digits = [0; 256];
    let mut at = 0;
    for (range, count) in [(0..32, 5), (32..48, 5), (48..52, 4)] {
        let mut left = *bytes;
        for _ in 0..count {
            for byte in &mut left[range.clone()] {
                let tripled = 3 * u16::from(*byte);
                digits[at] = (tripled >> 8) as u8;
                *byte = tripled as u8;
                at += 1;
            }
        }
    }
    digits
}

/// `TQ2_0`: `qs: [u8; 64], d: f16`; weight = `d * (q - 1)`.
///
/// 32 bytes hold 128 weights, 32 apart at their four shifts.
pub fn dequantize_tq2_0(block: &[u8; 66], weights: &mut [f32; 256]) {
    let d = f16_at(block, 64);
    for (j, weight) in weights.iter_mut().enumerate() {
        let q = block[j / 128 * 32 + j % 32] >> (j / 32 % 4 * 2) & 3;
        *weight = d * f32::from(q as i8 - 1);
    }
}
