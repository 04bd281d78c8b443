//! Where the block formats keep their half-precision scales.

use kernels::blocks::BlockType;

/// Writes the bits that `scale` gives wherever a block of type `ty` has an f16 scale or minimum.
pub fn set_scales(ty: BlockType, block: &mut [u8], mut scale: impl FnMut() -> u16) {
    let places: &[usize] = match ty {
        BlockType::F32 | BlockType::F16 | BlockType::BF16 => &[],
        BlockType::Q4_1 | BlockType::Q5_1 | BlockType::Q4_K | BlockType::Q5_K => &[0, 2],
        BlockType::Q2_K => &[80, 82],
        BlockType::Q3_K => &[108],
        BlockType::Q6_K => &[208],
        BlockType::TQ1_0 => &[52],
        BlockType::TQ2_0 => &[64],
        BlockType::IQ1_M => {
            // In the upper halves of four bytes.
            let bits = scale();
            for i in 0..4 {
                let byte = &mut block[49 + 2 * i];
                *byte = *byte & 15 | ((bits >> (4 * i) & 15) as u8) << 4;
            }
            return;
        }
        _ => &[0],
    };
    for at in places {
        block[*at..at + 2].copy_from_slice(&scale().to_le_bytes());
    }
}
