//! The formats of less than two bits whose weights come eight at a time: vectors of -1, 0 and 1,
//! all moved an eighth up or down.

use super::{f16_at, grids};

/// `IQ1_S`: `d: f16, qs: [u8; 32], qh: [u16; 8]`.
///
/// A vector's number has eight bits in `qs` and three in `qh`, those of the first of four vectors
/// lowest. Above these twelve bits `qh` has three bits `s`, and one that is set where the 32 weights
/// are moved down. Weight = `d * (2s + 1) * (digit ± 1/8)`.
pub fn dequantize_iq1_s(block: &[u8; 50], weights: &mut [f32; 256]) {
    let d = f16_at(block, 0);
    let (qs, qh) = (&block[2..34], &block[34..]);
    for (v, weights) in weights.chunks_exact_mut(8).enumerate() {
        let h = u16::from_le_bytes([qh[v / 4 * 2], qh[v / 4 * 2 + 1]]);
        let number = usize::from(qs[v]) | usize::from(h >> (v % 4 * 3) & 7) << 8;
        let scale = d * f32::from(2 * (h >> 12 & 7) + 1);
        vector(scale, grids::IQ1[number], h >> 15 == 1, weights);
    }
}

/// `IQ1_M`: `qs: [u8; 32], qh: [u8; 16], scales: [u16; 4]`.
///
/// A nibble of `qh` for each vector: three bits of its number, and one that is set where its eight
/// weights are moved down. A `u16` of `scales` has `s` of four times 16 weights in its lower twelve
/// bits; the upper four of all of them are the f16 `d` ([`scale_iq1_m`]).
pub fn dequantize_iq1_m(block: &[u8; 56], weights: &mut [f32; 256]) {
    let (qs, qh, scales) = (&block[..32], &block[32..48], &block[48..]);
    let d = half::f16::from_bits(scale_iq1_m(scales.try_into().expect("eight bytes"))).to_f32();
    for (v, weights) in weights.chunks_exact_mut(8).enumerate() {
        let h = qh[v / 2] >> (v % 2 * 4);
        let number = usize::from(qs[v]) | usize::from(h & 7) << 8;
        let s = u16::from_le_bytes([scales[v / 8 * 2], scales[v / 8 * 2 + 1]]) >> (v / 2 % 4 * 3);
        vector(d * f32::from(2 * (s & 7) + 1), grids::IQ1[number], h >> 3 & 1 == 1, weights);
    }
}

/// The bits of an `IQ1_M` block's f16 scale, which its four `scales: u16` have in their upper four,
/// the lowest first.
pub fn scale_iq1_m(scales: &[u8; 8]) -> u16 {
    (0..4).fold(0, |d, i| d | u16::from(scales[2 * i + 1] >> 4) << (4 * i))
}

/// Eight weights of digits `entry`, moved down or up.
fn vector(scale: f32, entry: u16, down: bool, weights: &mut [f32]) {
    let middle = if down { 1.125 } else { 0.875 };
    for (j, weight) in weights.iter_mut().enumerate() {
        *weight = scale * (f32::from(entry >> (2 * j) & 3) - middle);
    }
}
