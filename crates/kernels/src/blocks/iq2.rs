//! The two-bit formats whose weights come eight at a time: magnitudes from a codebook of vectors,
//! and signs.
//!
//! A block is 256 weights in 32 vectors. Every weight is `d / 8 * (2s + 1) * magnitude`, positive or
//! negative, with a four-bit `s` for 16 or 32 weights.

use super::{f16_at, grids};

/// What the two-bit digits of the `IQ2` codebooks stand for.
pub const IQ2_MAGNITUDES: [i8; 3] = [8, 25, 43];

/// `IQ2_XXS`: `d: f16, qs: [[u8; 8]; 8]`.
///
/// Eight bytes for 32 weights: the numbers of four vectors, then a `u32` with seven bits of signs
/// for each of them ([`all_signs`]) and `s` in its upper four.
pub fn dequantize_iq2_xxs(block: &[u8; 66], weights: &mut [f32; 256]) {
    let d = f16_at(block, 0);
    for (qs, weights) in block[2..].chunks_exact(8).zip(weights.chunks_exact_mut(32)) {
        let rest = u32::from_le_bytes([qs[4], qs[5], qs[6], qs[7]]);
        let scale = scale(d, (rest >> 28) as u8);
        for (v, weights) in weights.chunks_exact_mut(8).enumerate() {
            let entry = grids::IQ2_XXS[usize::from(qs[v])];
            vector(scale, entry, all_signs((rest >> (7 * v) & 127) as u8), weights);
        }
    }
}

/// `IQ2_XS`: `d: f16, qs: [u16; 32], scales: [u8; 8]`.
///
/// A `u16` for each vector: its number, and above nine bits of that seven of signs ([`all_signs`]).
/// A scale byte holds `s` of 16 weights low and of the next 16 high.
pub fn dequantize_iq2_xs(block: &[u8; 74], weights: &mut [f32; 256]) {
    let d = f16_at(block, 0);
    let (qs, scales) = (&block[2..66], &block[66..]);
    for (v, weights) in weights.chunks_exact_mut(8).enumerate() {
        let q = u16::from_le_bytes([qs[2 * v], qs[2 * v + 1]]);
        let scale = scale(d, scales[v / 4] >> (v / 2 % 2 * 4) & 15);
        vector(scale, grids::IQ2_XS[usize::from(q & 511)], all_signs((q >> 9) as u8), weights);
    }
}

/// `IQ2_S`: `d: f16, qs: [u8; 32], signs: [u8; 32], qh: [u8; 8], scales: [u8; 8]`.
///
/// A vector's number has eight bits in `qs` and two in `qh`, that of the first of four vectors lowest;
/// scales as in [`dequantize_iq2_xs`].
pub fn dequantize_iq2_s(block: &[u8; 82], weights: &mut [f32; 256]) {
    let d = f16_at(block, 0);
    let (qs, signs) = (&block[2..34], &block[34..66]);
    let (qh, scales) = (&block[66..74], &block[74..]);
    for (v, weights) in weights.chunks_exact_mut(8).enumerate() {
        let high = usize::from(qh[v / 4] >> (v % 4 * 2) & 3);
        let entry = grids::IQ2_S[usize::from(qs[v]) | high << 8];
        vector(scale(d, scales[v / 4] >> (v / 2 % 2 * 4) & 15), entry, signs[v], weights);
    }
}

fn scale(d: f32, s: u8) -> f32 {
    d * f32::from(2 * s + 1) * 0.125
}

/// Eight signs from the seven that are stored: an even number of them is negative. Bit `j` is set
/// where weight `j` is.
pub(crate) fn all_signs(seven: u8) -> u8 {
    seven | (seven.count_ones() as u8 & 1) << 7
}

/// Eight weights of magnitudes `entry` and the signs whose bits are set.
fn vector(scale: f32, entry: u16, signs: u8, weights: &mut [f32]) {
    for (j, weight) in weights.iter_mut().enumerate() {
        let magnitude = f32::from(IQ2_MAGNITUDES[usize::from(entry >> (2 * j) & 3)]);
        *weight = scale * if signs >> j & 1 == 1 { -magnitude } else { magnitude };
    }
}
