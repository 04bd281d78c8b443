//! Vectors of a codebook, taken apart into codes of single weights: what the tables in
//! [`super::super::format`] are for.
//!
//! Eight weights are bytes of a `u64` here, the first lowest, so that a vector is spread and given its
//! signs in a few steps.

use super::{BIT, RowBlocks, half, two_bits, word};
use crate::blocks::{all_signs, grids, scale_iq1_m};

/// Eight two-bit digits, a byte each.
#[inline(always)]
fn spread_pairs(entry: u16) -> u64 {
    let mut x = u64::from(entry);
    x = (x | x << 24) & 0x0000_00ff_0000_00ff;
    x = (x | x << 12) & 0x000f_000f_000f_000f;
    (x | x << 6) & 0x0303_0303_0303_0303
}

/// Four three-bit digits, a byte each.
#[inline(always)]
fn spread_triples(entry: u16) -> u64 {
    let mut x = u64::from(entry);
    x = (x | x << 10) & 0x003f_003f;
    (x | x << 5) & 0x0707_0707
}

/// Eight bits, a byte each.
#[inline(always)]
fn spread_bits(bits: u8) -> u64 {
    let mut x = u64::from(bits);
    x = (x | x << 28) & 0x0000_000f_0000_000f;
    x = (x | x << 14) & 0x0003_0003_0003_0003;
    (x | x << 7) & 0x0101_0101_0101_0101
}

/// Puts the codes of a block, eight at a time, into words of four.
#[inline(always)]
fn words(eights: [u64; 4]) -> [u32; 8] {
    std::array::from_fn(|g| (eights[g / 2] >> (g % 2 * 32)) as u32)
}

/// A block's codes of three bits.
#[inline(always)]
fn put_three(eights: [u64; 4], out: &mut [u32; 8]) {
    let codes = words(eights);
    two_bits(&codes, out);
    out[2] = (0..8).fold(0, |acc, g| acc | ((codes[g] >> 2 & BIT) << g));
}

/// A block's codes of four bits.
#[inline(always)]
fn put_four(eights: [u64; 4], out: &mut [u32; 8]) {
    let codes = words(eights);
    for v in 0..4 {
        out[v] = codes[v] | codes[v + 4] << 4;
    }
}

/// Magnitudes with signs, as `IQ2`'s table has them.
#[inline(always)]
fn iq2_vector(entry: u16, signs: u8) -> u64 {
    spread_pairs(entry) | spread_bits(signs) << 2
}

pub(crate) fn iq2_xxs(src: &[u8], out: &mut RowBlocks) {
    out.d = half(src, 0);
    for b in 0..8 {
        let qs = &src[2 + 8 * b..10 + 8 * b];
        let rest = word(qs, 1);
        out.scales[b] = 2 * (rest >> 28) as u8 + 1;
        let vector = |v: usize| {
            let signs = all_signs((rest >> (7 * v) & 127) as u8);
            iq2_vector(grids::IQ2_XXS[usize::from(qs[v])], signs)
        };
        put_three(std::array::from_fn(vector), &mut out.codes[b]);
    }
}

/// A scale for each sixteen weights, two nibbles to a byte.
#[inline(always)]
fn odd_scales(src: &[u8], scales: &mut [u8]) {
    for (i, scale) in scales.iter_mut().enumerate() {
        *scale = 2 * (src[i / 2] >> (i % 2 * 4) & 15) + 1;
    }
}

pub(crate) fn iq2_xs(src: &[u8], out: &mut RowBlocks) {
    out.d = half(src, 0);
    odd_scales(&src[66..74], &mut out.scales);
    for b in 0..8 {
        let vector = |v: usize| {
            let q = half(src, 2 + 8 * b + 2 * v);
            iq2_vector(grids::IQ2_XS[usize::from(q & 511)], all_signs((q >> 9) as u8))
        };
        put_three(std::array::from_fn(vector), &mut out.codes[b]);
    }
}

pub(crate) fn iq2_s(src: &[u8], out: &mut RowBlocks) {
    out.d = half(src, 0);
    odd_scales(&src[74..82], &mut out.scales);
    for b in 0..8 {
        let vector = |v: usize| {
            let at = 4 * b + v;
            let number = usize::from(src[2 + at]) | usize::from(src[66 + b] >> (2 * v) & 3) << 8;
            iq2_vector(grids::IQ2_S[number], src[34 + at])
        };
        put_three(std::array::from_fn(vector), &mut out.codes[b]);
    }
}

/// Two vectors of four magnitudes with signs, as `IQ3`'s tables have them.
#[inline(always)]
fn iq3_vectors(entries: [u16; 2], signs: u8) -> u64 {
    spread_triples(entries[0]) | spread_triples(entries[1]) << 32 | spread_bits(signs) << 3
}

pub(crate) fn iq3_xxs(src: &[u8], out: &mut RowBlocks) {
    out.d = half(src, 0);
    for b in 0..8 {
        let rest = word(&src[66..98], b);
        out.scales[b] = 2 * (rest >> 28) as u8 + 1;
        let vector = |v: usize| {
            let entry = |i| grids::IQ3_XXS[usize::from(src[2 + 8 * b + 2 * v + i])];
            let signs = all_signs((rest >> (7 * v) & 127) as u8);
            iq3_vectors([entry(0), entry(1)], signs)
        };
        put_four(std::array::from_fn(vector), &mut out.codes[b]);
    }
}

pub(crate) fn iq3_s(src: &[u8], out: &mut RowBlocks) {
    out.d = half(src, 0);
    odd_scales(&src[106..110], &mut out.scales[..8]);
    for b in 0..8 {
        let vector = |v: usize| {
            let entry = |i: usize| {
                let high = usize::from(src[66 + b] >> (2 * v + i) & 1);
                grids::IQ3_S[usize::from(src[2 + 8 * b + 2 * v + i]) | high << 8]
            };
            iq3_vectors([entry(0), entry(1)], src[74 + 4 * b + v])
        };
        put_four(std::array::from_fn(vector), &mut out.codes[b]);
    }
}

/// Digits that are moved an eighth, as `IQ1`'s table has them.
#[inline(always)]
fn iq1_vector(number: usize, down: bool) -> u64 {
    spread_pairs(grids::IQ1[number]) | if down { 0x0404_0404_0404_0404 } else { 0 }
}

pub(crate) fn iq1_s(src: &[u8], out: &mut RowBlocks) {
    out.d = half(src, 0);
    for b in 0..8 {
        let high = half(src, 34 + 2 * b);
        // IQ1_M, as which it lies in memory, has a scale for each half.
        out.scales[2 * b..2 * b + 2].fill(2 * (high >> 12 & 7) as u8 + 1);
        let vector = |v: usize| {
            let number = usize::from(src[2 + 4 * b + v]) | usize::from(high >> (3 * v) & 7) << 8;
            iq1_vector(number, high >> 15 == 1)
        };
        put_three(std::array::from_fn(vector), &mut out.codes[b]);
    }
}

pub(crate) fn iq1_m(src: &[u8], out: &mut RowBlocks) {
    out.d = scale_iq1_m(src[48..56].try_into().expect("a block"));
    for (i, scale) in out.scales.iter_mut().enumerate() {
        *scale = 2 * (half(src, 48 + i / 4 * 2) >> (i % 4 * 3) & 7) as u8 + 1;
    }
    for b in 0..8 {
        let vector = |v: usize| {
            let high = src[32 + 2 * b + v / 2] >> (v % 2 * 4);
            let number = usize::from(src[4 * b + v]) | usize::from(high & 7) << 8;
            iq1_vector(number, high >> 3 & 1 == 1)
        };
        put_three(std::array::from_fn(vector), &mut out.codes[b]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_spread() {
        for bit in 0..16 {
            assert_eq!(spread_pairs(1 << bit), 1 << (bit / 2 * 8 + bit % 2), "bit {bit}");
        }
        for bit in 0..12 {
            assert_eq!(spread_triples(1 << bit), 1 << (bit / 3 * 8 + bit % 3), "bit {bit}");
        }
        for bit in 0..8 {
            assert_eq!(spread_bits(1 << bit), 1 << (8 * bit), "bit {bit}");
        }
    }
}
