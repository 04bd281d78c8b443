//! The three-bit formats whose weights come four at a time: magnitudes from a codebook of vectors,
//! and signs.

use super::iq2::all_signs;
use super::{f16_at, grids};

/// What the three-bit digits of `IQ3_XXS`'s codebook stand for.
pub const IQ3_XXS_MAGNITUDES: [i8; 8] = [4, 12, 20, 28, 36, 44, 52, 62];
/// What those of `IQ3_S`'s codebook stand for.
pub const IQ3_S_MAGNITUDES: [i8; 8] = [1, 3, 5, 7, 9, 11, 13, 15];

/// `IQ3_XXS`: `d: f16, qs: [u8; 64], rest: [u32; 8]`.
///
/// The numbers of 64 vectors of four; then for each 32 weights seven bits of signs for each eight
/// ([`all_signs`]) and four bits `s`. Weight = `d / 4 * (2s + 1) * magnitude`.
pub fn dequantize_iq3_xxs(block: &[u8; 98], weights: &mut [f32; 256]) {
    let d = f16_at(block, 0);
    let (qs, rest) = (&block[2..66], &block[66..]);
    for (v, weights) in weights.chunks_exact_mut(4).enumerate() {
        let at = v / 8 * 4;
        let rest = u32::from_le_bytes([rest[at], rest[at + 1], rest[at + 2], rest[at + 3]]);
        let scale = d * (2 * (rest >> 28) + 1) as f32 * 0.25;
        let signs = all_signs((rest >> (v / 2 % 4 * 7) & 127) as u8) >> (v % 2 * 4);
        let entry = grids::IQ3_XXS[usize::from(qs[v])];
        vector(scale, &IQ3_XXS_MAGNITUDES, entry, signs, weights);
    }
}

/// `IQ3_S`: `d: f16, qs: [u8; 64], qh: [u8; 8], signs: [u8; 32], scales: [u8; 4]`.
///
/// A vector's number has eight bits in `qs` and a ninth in `qh`, that of the first of eight vectors
/// lowest. A scale byte holds `s` of 32 weights low and of the next 32 high; weight =
/// `d * (2s + 1) * magnitude`.
pub fn dequantize_iq3_s(block: &[u8; 110], weights: &mut [f32; 256]) {
    let d = f16_at(block, 0);
    let (qs, qh) = (&block[2..66], &block[66..74]);
    let (signs, scales) = (&block[74..106], &block[106..]);
    for (v, weights) in weights.chunks_exact_mut(4).enumerate() {
        let s = scales[v / 16] >> (v / 8 % 2 * 4) & 15;
        let entry = grids::IQ3_S[usize::from(qs[v]) | usize::from(qh[v / 8] >> (v % 8) & 1) << 8];
        let signs = signs[v / 2] >> (v % 2 * 4);
        vector(d * f32::from(2 * s + 1), &IQ3_S_MAGNITUDES, entry, signs, weights);
    }
}

/// Four weights of magnitudes `entry` and the signs whose bits are set.
fn vector(scale: f32, magnitudes: &[i8; 8], entry: u16, signs: u8, weights: &mut [f32]) {
    for (j, weight) in weights.iter_mut().enumerate() {
        let magnitude = f32::from(magnitudes[usize::from(entry >> (3 * j) & 7)]);
        *weight = scale * if signs >> j & 1 == 1 { -magnitude } else { magnitude };
    }
}
