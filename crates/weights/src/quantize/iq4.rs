//! `IQ4_NL` and `IQ4_XS`: a search for the scale of each 32 weights, then the nearest table
//! entries under it.

use kernels::blocks::pack_scales_iq4_xs;

use super::search::{fit_table_scale, nearest, nearest_entry};
use super::{extreme, inverse, put_f16};

/// The entries are chosen for the scale before it is rounded to a half, as ggml does.
pub(super) fn quantize_iq4_nl(x: &[f32; 32], importance: &[f32; 32], block: &mut [u8; 18]) {
    let scale = fit_table_scale(x, importance);
    put_f16(block, 0, scale);
    pack_entries(x, scale, &mut block[2..]);
}

/// The entries are chosen for the rounded scales, but under the unit `d` before it is rounded to a
/// half, as ggml does.
pub(super) fn quantize_iq4_xs(x: &[f32; 256], importance: &[f32; 256], block: &mut [u8; 136]) {
    let (x, _) = x.as_chunks::<32>();
    let (importance, _) = importance.as_chunks::<32>();
    let found: [f32; 8] = std::array::from_fn(|s| fit_table_scale(&x[s], &importance[s]));
    let d = extreme(&found) / -32.0;
    put_f16(block, 0, d);
    let id = inverse(d);
    let scales = found.map(|scale| nearest(id * scale, -32.0, 31.0));
    block[2..8].copy_from_slice(&pack_scales_iq4_xs(&scales.map(|scale| scale as i8)));
    for ((x, scale), bytes) in x.iter().zip(scales).zip(block[8..].chunks_exact_mut(16)) {
        pack_entries(x, d * scale, bytes);
    }
}

/// The table entries nearest to `x / scale`: byte `j` gets that of weight `j` and, above it, that
/// of weight `j + 16`.
fn pack_entries(x: &[f32; 32], scale: f32, bytes: &mut [u8]) {
    let id = inverse(scale);
    for (j, byte) in bytes.iter_mut().enumerate() {
        *byte = nearest_entry(id * x[j]) | nearest_entry(id * x[j + 16]) << 4;
    }
}
