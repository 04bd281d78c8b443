//! The formats with one scale for 32 weights: `Q4_0` to `Q8_0`.
//!
//! The `_0` formats are `d * (q - offset)`, the `_1` formats `d * q + m`. Four-bit numbers lie in
//! `qs` so that byte `j` holds weight `j` low and weight `j + 16` high; the fifth bits of the
//! five-bit formats are the 32 bits of `qh`, weight 0 lowest.

use super::f16_at;

/// `Q4_0`: `d: f16, qs: [u8; 16]`; weight = `d * (q - 8)`.
pub fn dequantize_q4_0(block: &[u8; 18], weights: &mut [f32; 32]) {
    let d = f16_at(block, 0);
    let qs = &block[2..];
    for j in 0..16 {
        weights[j] = d * f32::from((qs[j] & 15) as i8 - 8);
        weights[j + 16] = d * f32::from((qs[j] >> 4) as i8 - 8);
    }
}

/// `Q4_1`: `d: f16, m: f16, qs: [u8; 16]`; weight = `d * q + m`.
pub fn dequantize_q4_1(block: &[u8; 20], weights: &mut [f32; 32]) {
    let d = f16_at(block, 0);
    let m = f16_at(block, 2);
    let qs = &block[4..];
    for j in 0..16 {
        weights[j] = d * f32::from(qs[j] & 15) + m;
        weights[j + 16] = d * f32::from(qs[j] >> 4) + m;
    }
}

/// `Q5_0`: `d: f16, qh: u32, qs: [u8; 16]`; weight = `d * (q - 16)`.
pub fn dequantize_q5_0(block: &[u8; 22], weights: &mut [f32; 32]) {
    let d = f16_at(block, 0);
    let qh = u32::from_le_bytes([block[2], block[3], block[4], block[5]]);
    let qs = &block[6..];
    for j in 0..16 {
        weights[j] = d * f32::from((qs[j] & 15 | fifth_bit(qh, j)) as i8 - 16);
        weights[j + 16] = d * f32::from((qs[j] >> 4 | fifth_bit(qh, j + 16)) as i8 - 16);
    }
}

/// `Q5_1`: `d: f16, m: f16, qh: u32, qs: [u8; 16]`; weight = `d * q + m`.
pub fn dequantize_q5_1(block: &[u8; 24], weights: &mut [f32; 32]) {
    let d = f16_at(block, 0);
    let m = f16_at(block, 2);
    let qh = u32::from_le_bytes([block[4], block[5], block[6], block[7]]);
    let qs = &block[8..];
    for j in 0..16 {
        weights[j] = d * f32::from(qs[j] & 15 | fifth_bit(qh, j)) + m;
        weights[j + 16] = d * f32::from(qs[j] >> 4 | fifth_bit(qh, j + 16)) + m;
    }
}

/// `Q8_0`: `d: f16, qs: [i8; 32]`; weight = `d * q`.
pub fn dequantize_q8_0(block: &[u8; 34], weights: &mut [f32; 32]) {
    let d = f16_at(block, 0);
    for (weight, q) in weights.iter_mut().zip(&block[2..]) {
        *weight = d * f32::from(*q as i8);
    }
}

/// Bit `weight` of `qh`, moved to where it is worth 16.
fn fifth_bit(qh: u32, weight: usize) -> u8 {
    ((qh >> weight & 1) << 4) as u8
}
