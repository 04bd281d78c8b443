//! Dequantised weights against those of the `gguf` Python package, and against any bytes at all.

use std::path::Path;

use kernels::blocks::{BlockType, dequantize_row};
use proptest::prelude::*;

#[test]
fn weights_are_bit_for_bit_those_of_the_gguf_package() {
    let goldens = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens/dequantize");
    for ty in BlockType::ALL {
        let file = std::fs::read(goldens.join(format!("{ty}.bin"))).expect("a committed golden");
        let (n, rest) = file.split_first_chunk::<4>().expect("a count");
        let n = u32::from_le_bytes(*n) as usize;
        let (blocks, weights) = rest.split_at(n * ty.block_bytes());
        let expected: Vec<u32> =
            weights.as_chunks::<4>().0.iter().map(|w| u32::from_le_bytes(*w)).collect();
        assert!(n > 0 && expected.len() == n * ty.block_len());

        let mut got = vec![0.0; expected.len()];
        dequantize_row(ty, blocks, &mut got).unwrap();
        for (i, (got, expected)) in got.iter().zip(&expected).enumerate() {
            assert_eq!(
                got.to_bits(),
                *expected,
                "{ty} weight {i}: {got:e} for {:e}",
                f32::from_bits(*expected)
            );
        }
    }
}

proptest! {
    #[test]
    fn any_bytes_are_a_row(
        ty in prop::sample::select(&BlockType::ALL[..]),
        seed in prop::collection::vec(any::<u8>(), 3 * 210),
    ) {
        let src = &seed[..3 * ty.block_bytes()];
        let mut dst = vec![0.0; 3 * ty.block_len()];
        prop_assert_eq!(dequantize_row(ty, src, &mut dst), Ok(()));
    }

    /// A block's weights do not depend on its neighbours.
    #[test]
    fn rows_fall_apart_into_blocks(
        ty in prop::sample::select(&BlockType::ALL[..]),
        seed in prop::collection::vec(any::<u8>(), 3 * 210),
    ) {
        let src = &seed[..3 * ty.block_bytes()];
        let mut whole = vec![0.0; 3 * ty.block_len()];
        dequantize_row(ty, src, &mut whole).unwrap();
        let mut single = vec![0.0; ty.block_len()];
        let blocks = src.chunks(ty.block_bytes());
        for (block, expected) in blocks.zip(whole.chunks(ty.block_len())) {
            dequantize_row(ty, block, &mut single).unwrap();
            for (single, expected) in single.iter().zip(expected) {
                prop_assert_eq!(single.to_bits(), expected.to_bits());
            }
        }
    }

    /// A NaN or infinite scale reaches the weights rather than being lost on the way.
    #[test]
    fn a_scale_of_nan_gives_nan(q in any::<u8>()) {
        let mut block = [q; 18];
        block[..2].copy_from_slice(&half::f16::NAN.to_le_bytes());
        for ty in [BlockType::Q4_0, BlockType::IQ4_NL] {
            let mut weights = [0.0; 32];
            dequantize_row(ty, &block, &mut weights).unwrap();
            prop_assert!(weights.iter().all(|w| w.is_nan()));
        }
    }
}
