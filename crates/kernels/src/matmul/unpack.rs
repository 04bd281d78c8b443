//! A file's blocks, taken apart.
//!
//! Each format has one function here that takes a chunk of a row apart into [`RowBlocks`]: scales
//! and, for each group of four weights, a word with the codes. They work on four codes at a time
//! in a `u32`, since a model's half a gigabyte is packed while its user waits.

pub(crate) mod codebooks;

use crate::blocks::digits_tq1_0;

/// One row's chunk, taken apart: up to eight blocks of 32.
pub(crate) struct RowBlocks {
    /// The f16 scale.
    pub(crate) d: u16,
    /// The f16 minimum.
    pub(crate) m: u16,
    /// 8-bit scales, two to a block where they cover 16 weights.
    pub(crate) scales: [u8; 16],
    /// 8-bit minima.
    pub(crate) minima: [u8; 16],
    /// For each block, the vectors' words of this row.
    pub(crate) codes: [[u32; 8]; 8],
}

impl RowBlocks {
    pub(crate) const EMPTY: RowBlocks =
        RowBlocks { d: 0, m: 0, scales: [0; 16], minima: [0; 16], codes: [[0; 8]; 8] };
}

#[inline(always)]
fn word(src: &[u8], i: usize) -> u32 {
    u32::from_le_bytes([src[4 * i], src[4 * i + 1], src[4 * i + 2], src[4 * i + 3]])
}

#[inline(always)]
fn half(src: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([src[at], src[at + 1]])
}

const LOW: u32 = 0x0f0f_0f0f;
const PAIR: u32 = 0x0303_0303;
const BIT: u32 = 0x0101_0101;

/// The sixteen bytes of a legacy block hold `k` and `k + 16` side by side, as a panel does.
#[inline(always)]
fn nibbles(src: &[u8], out: &mut [u32; 8]) {
    for (v, o) in out[..4].iter_mut().enumerate() {
        *o = word(src, v);
    }
}

/// Thirty-two bytes of which one half (`shift` 0 or 4) is a block's nibbles.
#[inline(always)]
fn split_nibbles(src: &[u8], shift: u32, out: &mut [u32; 8]) {
    for (v, o) in out[..4].iter_mut().enumerate() {
        *o = ((word(src, v) >> shift) & LOW) | (((word(src, v + 4) >> shift) & LOW) << 4);
    }
}

/// Thirty-two bytes of which bit `shift` is a block's extra bit: byte `j` collects groups' bits.
#[inline(always)]
fn gather_bit(src: &[u8], shift: u32) -> u32 {
    (0..8).fold(0, |acc, g| acc | (((word(src, g as usize) >> shift) & BIT) << g))
}

/// The same from a legacy block's bit field, bit `k` for weight `k`.
#[inline(always)]
fn spread_bits(field: u32) -> u32 {
    // An 8 × 4 bit transposition in three steps of the perfect unshuffle: bit 4g + j goes to 8j + g.
    let swap = |x: u32, mask: u32, by: u32| {
        let t = ((x >> by) ^ x) & mask;
        x ^ t ^ (t << by)
    };
    // Gather even and odd bits within 32 bits twice: (k = 4g + j) → j's two bits to the top.
    let mut x = field;
    for _ in 0..2 {
        x = swap(x, 0x2222_2222, 1);
        x = swap(x, 0x0c0c_0c0c, 2);
        x = swap(x, 0x00f0_00f0, 4);
        x = swap(x, 0x0000_ff00, 8);
    }
    x
}

/// Thirty-two bytes of which bits `shift` and `shift + 1` are a block's upper bits.
#[inline(always)]
fn gather_pairs(src: &[u8], shift: u32, h: usize) -> u32 {
    (0..4).fold(0, |acc, f| acc | (((word(src, 4 * h + f) >> shift) & PAIR) << (2 * f)))
}

pub(crate) fn q4_0(src: &[u8], out: &mut RowBlocks) {
    out.d = half(src, 0);
    nibbles(&src[2..18], &mut out.codes[0]);
}

pub(crate) fn q4_1(src: &[u8], out: &mut RowBlocks) {
    out.d = half(src, 0);
    out.m = half(src, 2);
    nibbles(&src[4..20], &mut out.codes[0]);
}

pub(crate) fn q5_0(src: &[u8], out: &mut RowBlocks) {
    out.d = half(src, 0);
    nibbles(&src[6..22], &mut out.codes[0]);
    out.codes[0][4] = spread_bits(word(&src[2..6], 0));
}

pub(crate) fn q5_1(src: &[u8], out: &mut RowBlocks) {
    out.d = half(src, 0);
    out.m = half(src, 2);
    nibbles(&src[8..24], &mut out.codes[0]);
    out.codes[0][4] = spread_bits(word(&src[4..8], 0));
}

pub(crate) fn q8_0(src: &[u8], out: &mut RowBlocks) {
    out.d = half(src, 0);
    for g in 0..8 {
        out.codes[0][g] = word(&src[2..34], g);
    }
}

pub(crate) fn iq4_nl(src: &[u8], out: &mut RowBlocks) {
    q4_0(src, out);
}

pub(crate) fn iq4_xs(src: &[u8], out: &mut RowBlocks) {
    out.d = half(src, 0);
    let high = half(src, 2);
    for b in 0..8 {
        let low = (src[4 + b / 2] >> (4 * (b % 2))) & 15;
        let top = ((high >> (2 * b)) & 3) as u8;
        out.scales[b] = (low | top << 4).wrapping_sub(32);
        nibbles(&src[8 + 16 * b..24 + 16 * b], &mut out.codes[b]);
    }
}

pub(crate) fn q2_k(src: &[u8], out: &mut RowBlocks) {
    out.d = half(src, 80);
    out.m = half(src, 82);
    for i in 0..16 {
        out.scales[i] = src[i] & 15;
        out.minima[i] = src[i] >> 4;
    }
    for b in 0..8 {
        let bytes = &src[16 + 32 * (b / 4)..48 + 32 * (b / 4)];
        for h in 0..2 {
            out.codes[b][h] = gather_pairs(bytes, 2 * (b as u32 % 4), h);
        }
    }
}

pub(crate) fn q3_k(src: &[u8], out: &mut RowBlocks) {
    out.d = half(src, 108);
    for i in 0..16 {
        let low = (src[96 + i % 8] >> (4 * (i / 8))) & 15;
        let high = (src[104 + i % 4] >> (2 * (i / 4))) & 3;
        out.scales[i] = (low | high << 4).wrapping_sub(32);
    }
    for b in 0..8 {
        let bytes = &src[32 + 32 * (b / 4)..64 + 32 * (b / 4)];
        for h in 0..2 {
            out.codes[b][h] = gather_pairs(bytes, 2 * (b as u32 % 4), h);
        }
        out.codes[b][2] = gather_bit(&src[..32], b as u32);
    }
}

/// The twelve bytes in which Q4_K and Q5_K keep eight 6-bit scales and eight 6-bit minima.
#[inline(always)]
fn six_bit_scales(src: &[u8], out: &mut RowBlocks) {
    for i in 0..4 {
        out.scales[i] = src[i] & 63;
        out.minima[i] = src[i + 4] & 63;
        out.scales[i + 4] = (src[i + 8] & 15) | (src[i] >> 6) << 4;
        out.minima[i + 4] = (src[i + 8] >> 4) | (src[i + 4] >> 6) << 4;
    }
}

pub(crate) fn q4_k(src: &[u8], out: &mut RowBlocks) {
    out.d = half(src, 0);
    out.m = half(src, 2);
    six_bit_scales(&src[4..16], out);
    for b in 0..8 {
        let bytes = &src[16 + 32 * (b / 2)..48 + 32 * (b / 2)];
        split_nibbles(bytes, 4 * (b as u32 % 2), &mut out.codes[b]);
    }
}

pub(crate) fn q5_k(src: &[u8], out: &mut RowBlocks) {
    out.d = half(src, 0);
    out.m = half(src, 2);
    six_bit_scales(&src[4..16], out);
    for b in 0..8 {
        let bytes = &src[48 + 32 * (b / 2)..80 + 32 * (b / 2)];
        split_nibbles(bytes, 4 * (b as u32 % 2), &mut out.codes[b]);
        out.codes[b][4] = gather_bit(&src[16..48], b as u32);
    }
}

pub(crate) fn q6_k(src: &[u8], out: &mut RowBlocks) {
    out.d = half(src, 208);
    out.scales.copy_from_slice(&src[192..208]);
    for b in 0..8 {
        // Half of 128: four blocks, the first two in the low nibbles of 64 bytes, the next two in
        // the high ones; their upper bits in 32 bytes, two bits a block.
        let (n, s) = (b / 4, b % 4);
        let low = &src[64 * n + 32 * (s % 2)..64 * n + 32 * (s % 2) + 32];
        split_nibbles(low, 4 * (s as u32 / 2), &mut out.codes[b]);
        let high = &src[128 + 32 * n..160 + 32 * n];
        for h in 0..2 {
            out.codes[b][4 + h] = gather_pairs(high, 2 * s as u32, h);
        }
    }
}

/// Takes the codes of a block from four to a word in order.
#[inline(always)]
fn two_bits(codes: &[u32; 8], out: &mut [u32; 8]) {
    for h in 0..2 {
        out[h] = (0..4).fold(0, |acc, f| acc | ((codes[4 * h + f] & PAIR) << (2 * f)));
    }
}

/// Ternary weights are `d * q - d`, as Q2_K has it.
#[inline(always)]
fn ternary(d: u16, out: &mut RowBlocks) {
    (out.d, out.m) = (d, d);
    (out.scales, out.minima) = ([1; 16], [1; 16]);
}

pub(crate) fn tq1_0(src: &[u8], out: &mut RowBlocks) {
    ternary(half(src, 52), out);
    let digits = digits_tq1_0(src[..52].try_into().expect("a block"));
    for (b, digits) in digits.chunks_exact(32).enumerate() {
        two_bits(&std::array::from_fn(|g| word(digits, g)), &mut out.codes[b]);
    }
}

pub(crate) fn tq2_0(src: &[u8], out: &mut RowBlocks) {
    ternary(half(src, 64), out);
    for b in 0..8 {
        for h in 0..2 {
            out.codes[b][h] = gather_pairs(&src[32 * (b / 4)..], 2 * (b as u32 % 4), h);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::spread_bits;

    #[test]
    fn bits_are_transposed() {
        for k in 0..32 {
            assert_eq!(spread_bits(1 << k), 1 << (8 * (k % 4) + k / 4), "bit {k}");
        }
    }
}
