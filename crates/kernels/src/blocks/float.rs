//! The formats without blocks: one number, one weight.

use half::{bf16, f16};

/// `F32`: a little-endian single.
pub fn dequantize_f32(block: &[u8; 4], weight: &mut [f32; 1]) {
    weight[0] = f32::from_le_bytes(*block);
}

/// `F16`: an IEEE half.
pub fn dequantize_f16(block: &[u8; 2], weight: &mut [f32; 1]) {
    weight[0] = f16::from_le_bytes(*block).to_f32();
}

/// `BF16`: the upper half of a single.
pub fn dequantize_bf16(block: &[u8; 2], weight: &mut [f32; 1]) {
    weight[0] = bf16::from_le_bytes(*block).to_f32();
}
