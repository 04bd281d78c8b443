//! How quantised matrices lie in memory once loaded.
//!
//! Rows are taken sixteen at a time, as a *panel*; lane `r` of every vector belongs to row `r`.
//! Along a row, weights are taken in *blocks* of 32, and blocks in *segments*: the eight of a
//! K-quant's 256, or one or two, so that a segment is a whole number of cache lines. A panel is one
//! segment after the other, and all are read front to back, once: a single stream of memory from a
//! matrix's first byte to its last, which is what the hardware's prefetchers run ahead of. In a
//! segment come first
//!
//! * the **codes**, for each block the 16 × 32 integers. Byte `4r + j` of a 64-byte vector belongs to
//!   row `r`; four neighbours along the row stand together, which is what the 8-bit dot-product
//!   instructions (and AMX tiles) take. With `g` in 0..8 the group of four `k = 4g + j`:
//!   - nibbles: four vectors `v`; group `v` in the low, group `v + 4` in the high half;
//!   - a fifth bit: one more vector, bit `g`;
//!   - two bits: two vectors `h`; group `4h + f` in bits `2f` and `2f + 1`;
//!   - bytes: eight vectors, vector `g` holding group `g`.
//! * then the **scales**, for each *chunk* (one block, or the eight of a K-quant's 256): sixteen f16
//!   `d`, then sixteen f16 minima where the format has them, then, for chunks of eight, for each
//!   block the 8-bit scales of the sixteen rows (twice sixteen where a scale covers 16 weights) and
//!   likewise the 8-bit minima.
//!
//! Nothing is rounded: a packed matrix takes as many bytes as its source, within 3 %, and holds the
//! same numbers. What a last segment has no blocks for is zero.

use super::unpack::{self, RowBlocks};
use crate::blocks::BlockType;

/// Rows in a panel.
pub(crate) const PANEL: usize = 16;
/// Weights in a block, along the row.
pub(crate) const BLOCK: usize = 32;

/// How the integers are laid out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Codes {
    /// Two bits.
    Two,
    /// Two bits and a third.
    Three,
    /// A nibble.
    Four,
    /// A nibble that stands for an entry of the IQ4 codebook.
    Table,
    /// A nibble and a fifth bit.
    Five,
    /// A nibble and two bits.
    Six,
    /// A signed byte.
    Byte,
}

impl Codes {
    /// Bytes for a block of sixteen rows.
    pub(crate) const fn bytes(self) -> usize {
        64 * match self {
            Codes::Two => 2,
            Codes::Three => 3,
            Codes::Four | Codes::Table => 4,
            Codes::Five => 5,
            Codes::Six => 6,
            Codes::Byte => 8,
        }
    }
}

/// What tells the formats apart. A weight is `scale · (code - ZERO) + minimum`.
pub(crate) trait Format {
    /// The type in the file.
    const TYPE: BlockType;
    /// How the integers are laid out.
    const CODES: Codes;
    /// What is taken off each code, as a power of two.
    const ZERO: Option<u32> = None;
    /// There is a minimum.
    const MINIMUM: bool = false;
    /// `d` covers eight blocks, which have 8-bit scales of their own.
    const NESTED: bool = false;
    /// A scale covers 16 weights, not 32.
    const HALVES: bool = false;

    /// Scales of a block.
    const PARTS: usize = if Self::HALVES { 2 } else { 1 };
    /// Blocks a `d` covers.
    const CHUNK: usize = if Self::NESTED { 8 } else { 1 };
    /// 8-bit scales of one block and sixteen rows, in bytes; the minima take as many again.
    const NESTED_BYTES: usize = Self::PARTS * PANEL;
    /// Bytes of the scales of a chunk.
    const SCALE_BYTES: usize = {
        let kinds = if Self::MINIMUM { 2 } else { 1 };
        kinds * (2 * PANEL + if Self::NESTED { 8 * Self::NESTED_BYTES } else { 0 })
    };

    /// Blocks in a segment.
    const SEGMENT: usize = if Self::NESTED {
        8
    } else if Self::SCALE_BYTES.is_multiple_of(64) {
        1
    } else {
        2
    };
    /// Bytes of a segment's codes: where its scales begin.
    const SEGMENT_CODES: usize = Self::SEGMENT * Self::CODES.bytes();
    /// Bytes of a segment.
    const SEGMENT_BYTES: usize = (Self::SEGMENT_CODES
        + Self::SEGMENT / Self::CHUNK * Self::SCALE_BYTES)
        .next_multiple_of(64);

    /// The `block`-th block of a panel: its codes, its segment's scales, and its number among the
    /// segment's blocks.
    #[inline(always)]
    fn block(panel: &[u8], block: usize) -> (&[u8], &[u8], usize) {
        let b = block % Self::SEGMENT;
        let segment = &panel[block / Self::SEGMENT * Self::SEGMENT_BYTES..][..Self::SEGMENT_BYTES];
        let (codes, scales) = segment.split_at(Self::SEGMENT_CODES);
        (&codes[b * Self::CODES.bytes()..], scales, b)
    }

    /// Takes one chunk of one row apart.
    fn unpack(src: &[u8], out: &mut RowBlocks);
}

macro_rules! format {
    ($name:ident, $codes:ident, $unpack:path $(, $key:ident = $value:expr)*) => {
        #[allow(non_camel_case_types)]
        pub(crate) struct $name;

        impl Format for $name {
            const TYPE: BlockType = BlockType::$name;
            const CODES: Codes = Codes::$codes;
            $(const $key: format!(@type $key) = $value;)*

            #[inline(always)]
            fn unpack(src: &[u8], out: &mut RowBlocks) {
                $unpack(src, out);
            }
        }
    };
    (@type ZERO) => { Option<u32> };
    (@type $key:ident) => { bool };
}

format!(Q4_0, Four, unpack::q4_0, ZERO = Some(3));
format!(Q4_1, Four, unpack::q4_1, MINIMUM = true);
format!(Q5_0, Five, unpack::q5_0, ZERO = Some(4));
format!(Q5_1, Five, unpack::q5_1, MINIMUM = true);
format!(Q8_0, Byte, unpack::q8_0);
format!(Q2_K, Two, unpack::q2_k, MINIMUM = true, NESTED = true, HALVES = true);
format!(Q3_K, Three, unpack::q3_k, ZERO = Some(2), NESTED = true, HALVES = true);
format!(Q4_K, Four, unpack::q4_k, MINIMUM = true, NESTED = true);
format!(Q5_K, Five, unpack::q5_k, MINIMUM = true, NESTED = true);
format!(Q6_K, Six, unpack::q6_k, ZERO = Some(5), NESTED = true, HALVES = true);
format!(IQ4_NL, Table, unpack::iq4_nl);
format!(IQ4_XS, Table, unpack::iq4_xs, NESTED = true);

/// Calls `$f::<Format>($args)` for the quantised type `$ty`.
macro_rules! with_format {
    ($ty:expr, $f:ident($($arg:expr),* $(,)?), float => $float:expr) => {
        match $ty {
            BlockType::Q4_0 => $f::<format::Q4_0>($($arg),*),
            BlockType::Q4_1 => $f::<format::Q4_1>($($arg),*),
            BlockType::Q5_0 => $f::<format::Q5_0>($($arg),*),
            BlockType::Q5_1 => $f::<format::Q5_1>($($arg),*),
            BlockType::Q8_0 => $f::<format::Q8_0>($($arg),*),
            BlockType::Q2_K => $f::<format::Q2_K>($($arg),*),
            BlockType::Q3_K => $f::<format::Q3_K>($($arg),*),
            BlockType::Q4_K => $f::<format::Q4_K>($($arg),*),
            BlockType::Q5_K => $f::<format::Q5_K>($($arg),*),
            BlockType::Q6_K => $f::<format::Q6_K>($($arg),*),
            BlockType::IQ4_NL => $f::<format::IQ4_NL>($($arg),*),
            BlockType::IQ4_XS => $f::<format::IQ4_XS>($($arg),*),
            BlockType::F32 | BlockType::F16 | BlockType::BF16 => $float,
        }
    };
}
pub(crate) use with_format;
