//! The K-quants: 256 weights in 8 or 16 sub-blocks, whose small integer scales (and mins) are
//! themselves scaled by one or two halves per block.
//!
//! `Q2_K`, `Q3_K` and `Q6_K` have 16 sub-blocks of 16 weights, `Q4_K` and `Q5_K` 8 of 32. The
//! bits of the weights are spread over the block so that a vector register loaded from it holds
//! weights 32 (or 64) apart at its different shifts; the index arithmetic below says where.

use super::f16_at;

/// `Q2_K`: `scales: [u8; 16], qs: [u8; 64], d: f16, dmin: f16`.
///
/// A scale byte holds the sub-block's scale low and its min high; weight =
/// `d * scale * q - dmin * min`.
pub fn dequantize_q2_k(block: &[u8; 84], weights: &mut [f32; 256]) {
    let (scales, qs) = (&block[..16], &block[16..80]);
    let d = f16_at(block, 80);
    let dmin = f16_at(block, 82);
    for (s, weights) in weights.chunks_exact_mut(16).enumerate() {
        let scale = d * f32::from(scales[s] & 15);
        let min = dmin * f32::from(scales[s] >> 4);
        let (qs, shift) = two_bits_of(qs, s);
        for (weight, q) in weights.iter_mut().zip(qs) {
            *weight = scale * f32::from(q >> shift & 3) - min;
        }
    }
}

/// `Q3_K`: `hmask: [u8; 32], qs: [u8; 64], scales: [u8; 12], d: f16`.
///
/// Weight = `d * scale * (q - 4)`, where the third bit of `q` comes from `hmask` and the scales
/// are those of [`unpack_scales_q3_k`].
pub fn dequantize_q3_k(block: &[u8; 110], weights: &mut [f32; 256]) {
    let (hmask, qs) = (&block[..32], &block[32..96]);
    let scales = unpack_scales_q3_k(block[96..108].try_into().expect("twelve bytes"));
    let d = f16_at(block, 108);
    for (s, weights) in weights.chunks_exact_mut(16).enumerate() {
        let scale = d * f32::from(scales[s]);
        let (qs, shift) = two_bits_of(qs, s);
        let hmask = &hmask[s % 2 * 16..][..16];
        for ((weight, q), h) in weights.iter_mut().zip(qs).zip(hmask) {
            let q = q >> shift & 3 | (h >> (s / 2) & 1) << 2;
            *weight = scale * f32::from(q as i8 - 4);
        }
    }
}

/// `Q4_K`: `d: f16, dmin: f16, scales: [u8; 12], qs: [u8; 128]`.
///
/// Weight = `d * scale * q - dmin * min` with the scales and mins of [`unpack_scales_mins`]. Each
/// 32 bytes of `qs` hold one sub-block low and the next high.
pub fn dequantize_q4_k(block: &[u8; 144], weights: &mut [f32; 256]) {
    let d = f16_at(block, 0);
    let dmin = f16_at(block, 2);
    let (scales, mins) = unpack_scales_mins(block[4..16].try_into().expect("twelve bytes"));
    let qs = &block[16..];
    for (s, weights) in weights.chunks_exact_mut(32).enumerate() {
        let scale = d * f32::from(scales[s]);
        let min = dmin * f32::from(mins[s]);
        let qs = &qs[s / 2 * 32..][..32];
        for (weight, q) in weights.iter_mut().zip(qs) {
            *weight = scale * f32::from(q >> (s % 2 * 4) & 15) - min;
        }
    }
}

/// `Q5_K`: `d: f16, dmin: f16, scales: [u8; 12], qh: [u8; 32], qs: [u8; 128]`.
///
/// As [`dequantize_q4_k`], with a fifth bit: bit `s` of `qh[j]` for weight `j` of sub-block `s`.
pub fn dequantize_q5_k(block: &[u8; 176], weights: &mut [f32; 256]) {
    let d = f16_at(block, 0);
    let dmin = f16_at(block, 2);
    let (scales, mins) = unpack_scales_mins(block[4..16].try_into().expect("twelve bytes"));
    let (qh, qs) = (&block[16..48], &block[48..]);
    for (s, weights) in weights.chunks_exact_mut(32).enumerate() {
        let scale = d * f32::from(scales[s]);
        let min = dmin * f32::from(mins[s]);
        let qs = &qs[s / 2 * 32..][..32];
        for ((weight, q), h) in weights.iter_mut().zip(qs).zip(qh) {
            let q = q >> (s % 2 * 4) & 15 | (h >> s & 1) << 4;
            *weight = scale * f32::from(q) - min;
        }
    }
}

/// `Q6_K`: `ql: [u8; 128], qh: [u8; 64], scales: [i8; 16], d: f16`.
///
/// Weight = `d * scale * (q - 32)`. Each half of 128 weights has its own 64 bytes of `ql` and 32
/// of `qh`; within it, weight `j` finds its upper bits in `qh[j % 32]` at shift `2 * (j / 32)`,
/// its lower bits in `ql[j % 64]`, low for the first 64 weights and high for the others.
pub fn dequantize_q6_k(block: &[u8; 210], weights: &mut [f32; 256]) {
    let (ql, qh, scales) = (&block[..128], &block[128..192], &block[192..208]);
    let d = f16_at(block, 208);
    for (s, weights) in weights.chunks_exact_mut(16).enumerate() {
        let scale = d * f32::from(scales[s] as i8);
        let (half, j) = (s / 8, s % 8 * 16);
        let ql = &ql[half * 64 + j % 64..][..16];
        let qh = &qh[half * 32 + j % 32..][..16];
        for ((weight, l), h) in weights.iter_mut().zip(ql).zip(qh) {
            let q = l >> (j / 64 * 4) & 15 | (h >> (j / 32 * 2) & 3) << 4;
            *weight = scale * f32::from(q as i8 - 32);
        }
    }
}

/// The 16 bytes of `qs` and the shift at which `Q2_K` and `Q3_K` keep the two low bits of
/// sub-block `s`.
fn two_bits_of(qs: &[u8], s: usize) -> (&[u8], usize) {
    (&qs[s / 8 * 32 + s % 2 * 16..][..16], s % 8 / 2 * 2)
}

/// The eight six-bit scales and mins of a `Q4_K` or `Q5_K` block.
///
/// The first four scales are the low six bits of bytes 0-3, the first four mins those of bytes
/// 4-7. Of the last four, the low four bits are the two halves of bytes 8-11, and the high two
/// are what the first eight bytes have left.
pub fn unpack_scales_mins(packed: &[u8; 12]) -> ([u8; 8], [u8; 8]) {
    let (mut scales, mut mins) = ([0; 8], [0; 8]);
    for j in 0..4 {
        scales[j] = packed[j] & 63;
        mins[j] = packed[j + 4] & 63;
        scales[j + 4] = packed[j + 8] & 15 | packed[j] >> 6 << 4;
        mins[j + 4] = packed[j + 8] >> 4 | packed[j + 4] >> 6 << 4;
    }
    (scales, mins)
}

/// The inverse of [`unpack_scales_mins`]; every number must be below 64.
pub fn pack_scales_mins(scales: &[u8; 8], mins: &[u8; 8]) -> [u8; 12] {
    let mut packed = [0; 12];
    for j in 0..4 {
        packed[j] = scales[j] | scales[j + 4] >> 4 << 6;
        packed[j + 4] = mins[j] | mins[j + 4] >> 4 << 6;
        packed[j + 8] = scales[j + 4] & 15 | mins[j + 4] << 4;
    }
    packed
}

/// The sixteen scales of a `Q3_K` block, -32 to 31.
///
/// The low four bits of scale `j` are in byte `j % 8`, the first eight low and the others high;
/// the upper two are in byte `8 + j % 4` at shift `2 * (j / 4)`.
pub fn unpack_scales_q3_k(packed: &[u8; 12]) -> [i8; 16] {
    std::array::from_fn(|j| {
        let low = packed[j % 8] >> (j / 8 * 4) & 15;
        let high = packed[8 + j % 4] >> (j / 4 * 2) & 3;
        (low | high << 4) as i8 - 32
    })
}

/// The inverse of [`unpack_scales_q3_k`]; every scale must be in -32..=31.
pub fn pack_scales_q3_k(scales: &[i8; 16]) -> [u8; 12] {
    let mut packed = [0; 12];
    for (j, scale) in scales.iter().enumerate() {
        let scale = (scale + 32) as u8;
        packed[j % 8] |= (scale & 15) << (j / 8 * 4);
        packed[8 + j % 4] |= scale >> 4 << (j / 4 * 2);
    }
    packed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packing_scales_undoes_unpacking() {
        // Every bit alone, so that none can hide behind another.
        for bit in 0..96 {
            let mut packed = [0u8; 12];
            packed[bit / 8] = 1 << (bit % 8);
            let (scales, mins) = unpack_scales_mins(&packed);
            let ones: u32 = scales.iter().chain(&mins).map(|v| v.count_ones()).sum();
            assert_eq!(ones, 1, "bit {bit} is read once");
            assert_eq!(pack_scales_mins(&scales, &mins), packed, "bit {bit}");
            assert_eq!(pack_scales_q3_k(&unpack_scales_q3_k(&packed)), packed, "bit {bit}");
        }
    }
}
