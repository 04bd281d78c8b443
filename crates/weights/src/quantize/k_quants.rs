//! `Q2_K` to `Q6_K`: a search per sub-block, then the scales found are themselves rounded to
//! integers under a common half, and the weights rounded again to the scales as a reader will
//! see them.
//!
//! A sub-block whose scale comes out as zero keeps the integers of the search; they mean nothing.
//!
//! Without an importance matrix a weight counts by its own magnitude, one way or another. With one
//! (`weighted_*`) it counts by the importance of its column, more if it is large itself; the scales are
//! searched for more patiently, and rounded with regard to how much each sub-block counts.

use std::array::from_fn;

use kernels::blocks::{pack_scales_mins, pack_scales_q3_k};

use super::search::{
    NEGLIGIBLE, Trials, fit_scales_and_mins, fit_signed, fit_signed_scales, fit_three_bits,
    fit_unsigned, nearest,
};
use super::{extreme, mean_square, put_f16, weigh};

const Q2_TRIALS: Trials = Trials { highest: 3.0, first: -0.5, step: 0.1, further: 15 };
const Q4_TRIALS: Trials = Trials { highest: 15.0, first: -1.0, step: 0.1, further: 20 };
const Q5_TRIALS: Trials = Trials { highest: 31.0, first: -0.5, step: 0.1, further: 15 };

pub(super) fn square(x: f32) -> f32 {
    x * x
}

/// Errors are weighed by the weight's magnitude and count linearly, not squared.
pub(super) fn quantize_q2_k(x: &[f32; 256], block: &mut [u8; 84]) {
    let x: [[f32; 16]; 16] = parted(x);
    let mut q = [[0; 16]; 16];
    let magnitudes = x.map(|x| x.map(f32::abs));
    let (scales, mins) = fit_scales_and_mins(&x, &magnitudes, &Q2_TRIALS, f32::abs, &mut q);
    store_q2_k(&x, round_scales(&scales, 15.0), round_scales(&mins, 15.0), q, block);
}

/// With an importance for each weight.
pub(super) fn weighted_q2_k(x: &[f32; 256], importance: &[f32; 256], block: &mut [u8; 84]) {
    let weights = weigh(x, importance, mean_square(x));
    let (x, weights): ([[f32; 16]; 16], [[f32; 16]; 16]) = (parted(x), parted(&weights));
    let mut q = [[0; 16]; 16];
    let (scales, mins) = fit_scales_and_mins(&x, &weights, &patient(3.0), square, &mut q);
    let sums = weights.map(|weights| sum(&weights));
    store_q2_k(&x, weigh_scales(&scales, &sums, 15.0), weigh_scales(&mins, &sums, 15.0), q, block);
}

/// `scales` and `mins` are each a unit and multiples of it.
fn store_q2_k(
    x: &[[f32; 16]],
    (d, scales): (f32, [u8; 16]),
    (dmin, mins): (f32, [u8; 16]),
    mut q: [[u8; 16]; 16],
    block: &mut [u8; 84],
) {
    let d = put_f16(block, 80, d);
    let dmin = put_f16(block, 82, dmin);
    for s in 0..16 {
        block[s] = scales[s] | mins[s] << 4;
        round_with_min(&x[s], d * f32::from(scales[s]), dmin * f32::from(mins[s]), 3.0, &mut q[s]);
    }
    pack_two_bits(q.as_flattened(), &mut block[16..80]);
}

/// Signed: the extreme weight of a sub-block becomes -4.
pub(super) fn quantize_q3_k(x: &[f32; 256], block: &mut [u8; 110]) {
    let mut q = [[0; 16]; 16];
    let mut scales = [0.0; 16];
    let (x, _) = x.as_chunks::<16>();
    for (s, x) in x.iter().enumerate() {
        scales[s] = fit_three_bits(x, &mut q[s]);
    }

    let (d, scales) = round_signed_scales(&scales, 32.0);
    store_q3_k(x, d, scales, q, block);
    // A block of nothing but zeros keeps zero bytes here too, though they read as -32.
    if scales == [0; 16] {
        block[96..108].fill(0);
    }
}

/// With an importance for each weight.
pub(super) fn weighted_q3_k(x: &[f32; 256], importance: &[f32; 256], block: &mut [u8; 110]) {
    let weights = weigh(x, importance, 2.0 * mean_square(x));
    let (x, weights): ([[f32; 16]; 16], [[f32; 16]; 16]) = (parted(x), parted(&weights));
    let mut q = [[0; 16]; 16];
    let scales = fit_signed_scales(&x, &weights, 4.0, &mut q);
    let sums = weights.map(|weights| sum(&weights));
    let mut rounded = [0; 16];
    let d = fit_signed(&scales, &sums, 32.0, &mut rounded);
    store_q3_k(&x, d, rounded.map(|scale| (i16::from(scale) - 32) as i8), q, block);
}

fn store_q3_k(
    x: &[[f32; 16]],
    d: f32,
    scales: [i8; 16],
    mut q: [[u8; 16]; 16],
    block: &mut [u8; 110],
) {
    let d = put_f16(block, 108, d);
    for s in 0..16 {
        round_signed(&x[s], d * f32::from(scales[s]), 4.0, &mut q[s]);
    }
    let q = q.as_flattened();
    let (high_bits, _) = block.split_at_mut(32);
    high_bits.fill(0);
    for (j, q) in q.iter().enumerate() {
        high_bits[j % 32] |= (q >> 2) << (j / 32);
    }
    pack_two_bits(q, &mut block[32..96]);
    block[96..108].copy_from_slice(&pack_scales_q3_k(&scales));
}

/// Errors are weighed by magnitude, with the sub-block's root mean square added so that small
/// weights count too.
pub(super) fn quantize_q4_k(x: &[f32; 256], block: &mut [u8; 144]) {
    store_q4_k(fit_with_six_bit_scales(x, &Q4_TRIALS), block);
}

/// With an importance for each weight.
pub(super) fn weighted_q4_k(x: &[f32; 256], importance: &[f32; 256], block: &mut [u8; 144]) {
    store_q4_k(weigh_with_six_bit_scales(x, importance, 15.0), block);
}

fn store_q4_k((header, q): ([u8; 16], [u8; 256]), block: &mut [u8; 144]) {
    block[..16].copy_from_slice(&header);
    pack_four_bits(&q, &mut block[16..]);
}

/// As `Q4_K`, with a fifth bit stored apart.
pub(super) fn quantize_q5_k(x: &[f32; 256], block: &mut [u8; 176]) {
    store_q5_k(fit_with_six_bit_scales(x, &Q5_TRIALS), block);
}

/// With an importance for each weight.
pub(super) fn weighted_q5_k(x: &[f32; 256], importance: &[f32; 256], block: &mut [u8; 176]) {
    store_q5_k(weigh_with_six_bit_scales(x, importance, 31.0), block);
}

fn store_q5_k((header, q): ([u8; 16], [u8; 256]), block: &mut [u8; 176]) {
    block[..16].copy_from_slice(&header);
    let high_bits = &mut block[16..48];
    high_bits.fill(0);
    for (j, q) in q.iter().enumerate() {
        high_bits[j % 32] |= (q >> 4) << (j / 32);
    }
    pack_four_bits(&q, &mut block[48..]);
}

/// What `Q4_K` and `Q5_K` have in common: the first 16 bytes of the block, and its integers.
fn fit_with_six_bit_scales(x: &[f32; 256], trials: &Trials) -> ([u8; 16], [u8; 256]) {
    let x: [[f32; 32]; 8] = parted(x);
    let importance = x.map(|x| {
        let root_mean_square = mean_square(&x).sqrt();
        x.map(|x| root_mean_square + x.abs())
    });
    let mut q = [[0; 32]; 8];
    let (scales, mins) = fit_scales_and_mins(&x, &importance, trials, square, &mut q);
    let (scales, mins) = (round_scales(&scales, 63.0), round_scales(&mins, 63.0));
    header_and_integers(&x, trials.highest, scales, mins, q)
}

/// The same with an importance for each weight, and integers of 0 to `highest`.
fn weigh_with_six_bit_scales(
    x: &[f32; 256],
    importance: &[f32; 256],
    highest: f32,
) -> ([u8; 16], [u8; 256]) {
    let weights = weigh(x, importance, 2.0 * mean_square(x));
    let (x, weights): ([[f32; 32]; 8], [[f32; 32]; 8]) = (parted(x), parted(&weights));
    let mut q = [[0; 32]; 8];
    let (scales, mins) = fit_scales_and_mins(&x, &weights, &patient(highest), square, &mut q);
    let sums = weights.map(|weights| sum(&weights));
    let (scales, mins) = (weigh_scales(&scales, &sums, 63.0), weigh_scales(&mins, &sums, 63.0));
    header_and_integers(&x, highest, scales, mins, q)
}

/// `scales` and `mins` are each a unit and multiples of it.
fn header_and_integers(
    x: &[[f32; 32]],
    highest: f32,
    (d, scales): (f32, [u8; 8]),
    (dmin, mins): (f32, [u8; 8]),
    mut q: [[u8; 32]; 8],
) -> ([u8; 16], [u8; 256]) {
    let mut header = [0; 16];
    let d = put_f16(&mut header, 0, d);
    let dmin = put_f16(&mut header, 2, dmin);
    header[4..].copy_from_slice(&pack_scales_mins(&scales, &mins));
    for s in 0..8 {
        let (scale, min) = (d * f32::from(scales[s]), dmin * f32::from(mins[s]));
        round_with_min(&x[s], scale, min, highest, &mut q[s]);
    }
    let mut flat = [0; 256];
    flat.copy_from_slice(q.as_flattened());
    (header, flat)
}

/// Signed: the extreme weight of a sub-block becomes about -32. A weight's error counts by its
/// `importance` alone: with so many bits its size no longer matters.
pub(super) fn quantize_q6_k(x: &[f32; 256], importance: &[f32; 256], block: &mut [u8; 210]) {
    let (x, importance): ([[f32; 16]; 16], [[f32; 16]; 16]) = (parted(x), parted(importance));
    let mut q = [[0; 16]; 16];
    let scales = fit_signed_scales(&x, &importance, 32.0, &mut q);
    if extreme(&scales).abs() < NEGLIGIBLE {
        block.fill(0);
        return;
    }

    let (d, scales) = round_signed_scales(&scales, 128.0);
    let d = put_f16(block, 208, d);
    for s in 0..16 {
        block[192 + s] = scales[s] as u8;
        round_signed(&x[s], d * f32::from(scales[s]), 32.0, &mut q[s]);
    }
    let q = q.as_flattened();
    for half in 0..2 {
        for j in 0..32 {
            let q: [u8; 4] = std::array::from_fn(|k| q[half * 128 + k * 32 + j]);
            block[half * 64 + j] = q[0] & 15 | q[2] << 4;
            block[half * 64 + 32 + j] = q[1] & 15 | q[3] << 4;
            block[128 + half * 32 + j] =
                q[0] >> 4 | q[1] >> 4 << 2 | q[2] >> 4 << 4 | q[3] >> 4 << 6;
        }
    }
}

/// A block's sub-blocks.
fn parted<const L: usize, const N: usize>(x: &[f32; 256]) -> [[f32; N]; L] {
    from_fn(|l| from_fn(|i| x[l * N + i]))
}

/// The patient search that an importance matrix is worth.
pub(super) fn patient(highest: f32) -> Trials {
    Trials { highest, first: -0.9, step: 0.05, further: 36 }
}

/// From the first to the last.
fn sum(x: &[f32]) -> f32 {
    x.iter().fold(0.0, |sum, x| sum + x)
}

/// A unit for `scales`, and them as integers of 0 to `highest`, each error counting by its weight.
fn weigh_scales<const S: usize>(
    scales: &[f32; S],
    weights: &[f32; S],
    highest: f32,
) -> (f32, [u8; S]) {
    let mut rounded = [0; S];
    (fit_unsigned(scales, weights, highest, &mut rounded), rounded)
}

/// The unit under which the greatest of `scales` becomes `highest`, and all of them as integers of
/// 0 to `highest`.
fn round_scales<const S: usize>(scales: &[f32; S], highest: f32) -> (f32, [u8; S]) {
    let greatest = scales.iter().fold(0.0, |most, &s| if s > most { s } else { most });
    if greatest == 0.0 {
        return (0.0, [0; S]);
    }
    let inverse = highest / greatest;
    (greatest / highest, scales.map(|s| nearest(inverse * s, 0.0, highest) as u8))
}

/// The unit under which the extreme of `scales` becomes `-half`, and all of them as integers of
/// `-half` to `half - 1`.
fn round_signed_scales(scales: &[f32; 16], half: f32) -> (f32, [i8; 16]) {
    let extreme = extreme(scales);
    if extreme == 0.0 {
        return (0.0, [0; 16]);
    }
    let inverse = -half / extreme;
    (1.0 / inverse, scales.map(|s| nearest(inverse * s, -half, half - 1.0) as i8))
}

/// The integers that bring `scale * q - min` closest to `x`.
fn round_with_min<const N: usize>(x: &[f32; N], scale: f32, min: f32, high: f32, q: &mut [u8; N]) {
    if scale != 0.0 {
        *q = x.map(|x| nearest((x + min) / scale, 0.0, high) as u8);
    }
}

/// The integers that bring `scale * (q - half)` closest to `x`.
fn round_signed(x: &[f32; 16], scale: f32, half: f32, q: &mut [u8; 16]) {
    if scale != 0.0 {
        *q = x.map(|x| (nearest(x / scale, -half, half - 1.0) + half) as u8);
    }
}

/// The two low bits of 256 integers: byte `j` of each half holds weights `j`, `j + 32`, `j + 64`
/// and `j + 96` of that half, the first lowest.
fn pack_two_bits(q: &[u8], bytes: &mut [u8]) {
    for (q, bytes) in q.chunks_exact(128).zip(bytes.chunks_exact_mut(32)) {
        for (j, byte) in bytes.iter_mut().enumerate() {
            *byte = (0..4).fold(0, |byte, k| byte | (q[j + 32 * k] & 3) << (2 * k));
        }
    }
}

/// The four low bits of 256 integers: every 32 bytes hold 32 of them low and the next 32 high.
fn pack_four_bits(q: &[u8; 256], bytes: &mut [u8]) {
    for (q, bytes) in q.chunks_exact(64).zip(bytes.chunks_exact_mut(32)) {
        for (j, byte) in bytes.iter_mut().enumerate() {
            *byte = q[j] & 15 | q[j + 32] << 4;
        }
    }
}
