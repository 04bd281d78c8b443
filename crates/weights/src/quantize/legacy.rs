//! `Q4_0` to `Q8_0`: the scale follows from the extremes of the 32 weights, no search; with an importance
//! for each weight (`weighted_*`) it is searched for as in the newer formats.

use super::k_quants::{patient, square};
use super::search::{fit_scale_and_min, fit_signed};
use super::{extreme, inverse, put_f16};

/// The extreme weight becomes -8 exactly, whichever its sign.
pub(super) fn quantize_q4_0(x: &[f32; 32], block: &mut [u8; 18]) {
    let d = extreme(x) / -8.0;
    put_f16(block, 0, d);
    let id = inverse(d);
    pack_nibbles(&x.map(|x| (x * id + 8.5).min(15.0) as u8), &mut block[2..]);
}

/// The least weight becomes 0, the greatest 15.
pub(super) fn quantize_q4_1(x: &[f32; 32], block: &mut [u8; 20]) {
    let (least, greatest) = range(x);
    let d = (greatest - least) / 15.0;
    put_f16(block, 0, d);
    put_f16(block, 2, least);
    let id = inverse(d);
    pack_nibbles(&x.map(|x| ((x - least) * id + 0.5).min(15.0) as u8), &mut block[4..]);
}

/// The extreme weight becomes -16 exactly, whichever its sign.
pub(super) fn quantize_q5_0(x: &[f32; 32], block: &mut [u8; 22]) {
    let d = extreme(x) / -16.0;
    put_f16(block, 0, d);
    let id = inverse(d);
    let q = x.map(|x| (x * id + 16.5).min(31.0) as u8);
    block[2..6].copy_from_slice(&fifth_bits(&q));
    pack_nibbles(&q, &mut block[6..]);
}

/// The least weight becomes 0, the greatest 31.
pub(super) fn quantize_q5_1(x: &[f32; 32], block: &mut [u8; 24]) {
    let (least, greatest) = range(x);
    let d = (greatest - least) / 31.0;
    put_f16(block, 0, d);
    put_f16(block, 2, least);
    let id = inverse(d);
    let q = x.map(|x| ((x - least) * id + 0.5).min(31.0) as u8);
    block[4..8].copy_from_slice(&fifth_bits(&q));
    pack_nibbles(&q, &mut block[8..]);
}

/// The integers are those of the search: its scale is not rounded before they are chosen.
pub(super) fn weighted_q4_0(x: &[f32; 32], importance: &[f32; 32], block: &mut [u8; 18]) {
    let mut q = [0; 32];
    let d = fit_signed(x, importance, 8.0, &mut q);
    put_f16(block, 0, d);
    pack_nibbles(&q, &mut block[2..]);
}

/// As [`weighted_q4_0`], with a min.
pub(super) fn weighted_q4_1(x: &[f32; 32], importance: &[f32; 32], block: &mut [u8; 20]) {
    let mut q = [0; 32];
    let (d, min) = fit_scale_and_min(x, importance, &patient(15.0), square, &mut q);
    put_f16(block, 0, d);
    put_f16(block, 2, -min);
    pack_nibbles(&q, &mut block[4..]);
}

/// As [`weighted_q4_0`], with a fifth bit.
pub(super) fn weighted_q5_0(x: &[f32; 32], importance: &[f32; 32], block: &mut [u8; 22]) {
    let mut q = [0; 32];
    let d = fit_signed(x, importance, 16.0, &mut q);
    put_f16(block, 0, d);
    block[2..6].copy_from_slice(&fifth_bits(&q));
    pack_nibbles(&q, &mut block[6..]);
}

/// As [`weighted_q4_1`], with a fifth bit.
pub(super) fn weighted_q5_1(x: &[f32; 32], importance: &[f32; 32], block: &mut [u8; 24]) {
    let mut q = [0; 32];
    let (d, min) = fit_scale_and_min(x, importance, &patient(31.0), square, &mut q);
    put_f16(block, 0, d);
    put_f16(block, 2, -min);
    block[4..8].copy_from_slice(&fifth_bits(&q));
    pack_nibbles(&q, &mut block[8..]);
}

/// The extreme weight becomes 127 or -127; ties are rounded away from zero.
pub(super) fn quantize_q8_0(x: &[f32; 32], block: &mut [u8; 34]) {
    let d = extreme(x).abs() / 127.0;
    put_f16(block, 0, d);
    let id = inverse(d);
    for (q, x) in block[2..].iter_mut().zip(x) {
        *q = (x * id).round() as i8 as u8;
    }
}

/// The least and the greatest weight.
fn range(x: &[f32; 32]) -> (f32, f32) {
    x.iter().fold((x[0], x[0]), |(least, greatest), &x| {
        (if x < least { x } else { least }, if x > greatest { x } else { greatest })
    })
}

/// Byte `j` gets the low four bits of number `j` and, above them, those of number `j + 16`.
fn pack_nibbles(q: &[u8; 32], bytes: &mut [u8]) {
    for (j, byte) in bytes.iter_mut().enumerate() {
        *byte = q[j] & 15 | q[j + 16] << 4;
    }
}

/// Bit `j` is the fifth bit of number `j`.
fn fifth_bits(q: &[u8; 32]) -> [u8; 4] {
    let bits = q.iter().enumerate().fold(0, |bits, (j, q)| bits | u32::from(q >> 4 & 1) << j);
    bits.to_le_bytes()
}
