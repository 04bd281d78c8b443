//! The four-bit formats whose numbers stand for places in a table rather than for themselves.

use super::f16_at;

/// What the sixteen four-bit numbers of `IQ4_NL` and `IQ4_XS` stand for: finer near zero, where
/// most weights are.
pub const KVALUES_IQ4NL: [i8; 16] =
    [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];

/// `IQ4_NL`: `d: f16, qs: [u8; 16]`; weight = `d * table[q]`, nibbles as in `Q4_0`.
pub fn dequantize_iq4_nl(block: &[u8; 18], weights: &mut [f32; 32]) {
    look_up(f16_at(block, 0), &block[2..], weights);
}

/// `IQ4_XS`: `d: f16, scales_h: u16, scales_l: [u8; 4], qs: [u8; 128]`.
///
/// Eight sub-blocks of 32 weights, each laid out as in [`dequantize_iq4_nl`]; weight =
/// `d * scale * table[q]` with the scales of [`unpack_scales_iq4_xs`].
pub fn dequantize_iq4_xs(block: &[u8; 136], weights: &mut [f32; 256]) {
    let d = f16_at(block, 0);
    let scales = unpack_scales_iq4_xs(block[2..8].try_into().expect("six bytes"));
    let qs = block[8..].chunks_exact(16);
    for ((weights, qs), scale) in weights.chunks_exact_mut(32).zip(qs).zip(scales) {
        look_up(d * f32::from(scale), qs, weights);
    }
}

/// Two weights for each byte of `qs`: the low half of byte `j` is weight `j`, the high half
/// weight `j + 16`.
fn look_up(scale: f32, qs: &[u8], weights: &mut [f32]) {
    let (low, high) = weights.split_at_mut(16);
    for ((q, low), high) in qs.iter().zip(low).zip(high) {
        *low = scale * f32::from(KVALUES_IQ4NL[usize::from(q & 15)]);
        *high = scale * f32::from(KVALUES_IQ4NL[usize::from(q >> 4)]);
    }
}

/// The eight scales of an `IQ4_XS` block, -32 to 31, from its fields `scales_h: u16` (two high
/// bits each) and `scales_l: [u8; 4]` (four low bits each), which follow one another.
pub fn unpack_scales_iq4_xs(packed: &[u8; 6]) -> [i8; 8] {
    std::array::from_fn(|j| {
        let low = packed[2 + j / 2] >> (j % 2 * 4) & 15;
        let high = packed[j / 4] >> (j % 4 * 2) & 3;
        (low | high << 4) as i8 - 32
    })
}

/// The inverse of [`unpack_scales_iq4_xs`]; every scale must be in -32..=31.
pub fn pack_scales_iq4_xs(scales: &[i8; 8]) -> [u8; 6] {
    let mut packed = [0; 6];
    for (j, scale) in scales.iter().enumerate() {
        let scale = (scale + 32) as u8;
        packed[2 + j / 2] |= (scale & 15) << (j % 2 * 4);
        packed[j / 4] |= scale >> 4 << (j % 4 * 2);
    }
    packed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packing_scales_undoes_unpacking() {
        for bit in 0..48 {
            let mut packed = [0u8; 6];
            packed[bit / 8] = 1 << (bit % 8);
            assert_eq!(pack_scales_iq4_xs(&unpack_scales_iq4_xs(&packed)), packed, "bit {bit}");
        }
    }
}
