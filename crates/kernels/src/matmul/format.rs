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
//!
//! The exceptions in size are the formats whose weights come as numbers of whole vectors in a codebook
//! (IQ1 to IQ3) or in base three (TQ1_0). A kernel would wait for a look-up in a table of kilobytes for
//! each vector, so each weight gets a code of its own, which [`Format::TABLE`] says the meaning of: three
//! bits in IQ1 and IQ2, four in IQ3, two in the ternary formats. With their scales that is 3.4 bits a weight
//! for IQ2_XXS, 3.6 for the other IQ2 and IQ1, 4.4 for IQ3 and 2.9 for TQ ([`super::Matrix::bytes_of`]).

use super::unpack::{self, RowBlocks, codebooks};
use crate::blocks::{
    BlockType, IQ2_MAGNITUDES, IQ3_S_MAGNITUDES, IQ3_XXS_MAGNITUDES, KVALUES_IQ4NL,
};

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
            Codes::Four => 4,
            Codes::Five => 5,
            Codes::Six => 6,
            Codes::Byte => 8,
        }
    }
}

/// What tells the formats apart. A weight is `scale · (code - ZERO) + minimum`, or
/// `scale · TABLE[code]` where there is a table.
///
/// In any case the integers that meet activations are within ±128, which is what all kernels allow for:
/// a 16-bit sum of two products of bytes stays below `2 · 127 · 128`, a block's sum of 32 products with
/// 15 bits below `32 · 128 · 16256`, less than 2²⁶. Below 128 and without a sign (a `ZERO` sees to that also
/// where a table has negative entries) they cost less on AVX2.
pub(crate) trait Format {
    /// The type in the file.
    const TYPE: BlockType;
    /// How the integers are laid out.
    const CODES: Codes;
    /// What is taken off each code, as a power of two.
    const ZERO: Option<u32> = None;
    /// What codes of up to four bits stand for. A `ZERO` is added to all of it on the way through the
    /// kernels and taken off the sum.
    const TABLE: Option<[i8; 16]> = None;
    /// What `d` is multiplied with: a power of two, where f16 might not hold the product.
    const UNIT: f32 = 1.0;
    /// There is a minimum.
    const MINIMUM: bool = false;
    /// `d` covers eight blocks, which have 8-bit scales of their own.
    const NESTED: bool = false;
    /// A scale covers 16 weights, not 32.
    const HALVES: bool = false;

    /// The integers have a sign.
    const SIGNED: bool =
        matches!(Self::CODES, Codes::Byte) || (Self::TABLE.is_some() && Self::ZERO.is_none());
    /// What is looked up: `TABLE`, `ZERO` added.
    const LOOK_UP: [i8; 16] = match (Self::TABLE, Self::ZERO) {
        (Some(table), Some(shift)) => raised(table, 1 << shift),
        (Some(table), None) => table,
        (None, _) => [0; 16],
    };

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

/// Each entry and `by`, none of which may leave 0..128.
const fn raised(table: [i8; 16], by: i16) -> [i8; 16] {
    let mut all = [0; 16];
    let mut i = 0;
    while i < 16 {
        let sum = table[i] as i16 + by;
        assert!(
            0 <= sum && sum < 128,
            "with its zero an entry is no unsigned number of seven bits"
        );
        all[i] = sum as i8;
        i += 1;
    }
    all
}

/// Magnitudes, then the same as negative numbers.
const fn signed<const N: usize>(magnitudes: [i8; N], half: usize) -> [i8; 16] {
    let mut all = [0; 16];
    let mut i = 0;
    while i < N {
        all[i] = magnitudes[i];
        all[half + i] = -magnitudes[i];
        i += 1;
    }
    all
}

/// A place in `IQ2`'s magnitudes, and 4 where the weight is negative.
const IQ2: [i8; 16] = signed(IQ2_MAGNITUDES, 4);
/// A digit -1, 0, 1 from 0 on, and 4 where it is moved down an eighth and not up: in eighths.
const IQ1: [i8; 16] = [-7, 1, 9, 0, -9, -1, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0];

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
    ($name:ident as $same:ident, $unpack:path) => {
        #[allow(non_camel_case_types)]
        pub(crate) struct $name;

        impl Format for $name {
            const TYPE: BlockType = BlockType::$name;
            const CODES: Codes = $same::CODES;
            const ZERO: Option<u32> = $same::ZERO;
            const TABLE: Option<[i8; 16]> = $same::TABLE;
            const UNIT: f32 = $same::UNIT;
            const MINIMUM: bool = $same::MINIMUM;
            const NESTED: bool = $same::NESTED;
            const HALVES: bool = $same::HALVES;

            #[inline(always)]
            fn unpack(src: &[u8], out: &mut RowBlocks) {
                $unpack(src, out);
            }
        }
    };
    (@type ZERO) => { Option<u32> };
    (@type TABLE) => { Option<[i8; 16]> };
    (@type UNIT) => { f32 };
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
format!(IQ4_NL, Four, unpack::iq4_nl, TABLE = Some(KVALUES_IQ4NL));
format!(IQ4_XS, Four, unpack::iq4_xs, TABLE = Some(KVALUES_IQ4NL), NESTED = true);
format!(
    IQ1_M,
    Three,
    codebooks::iq1_m,
    TABLE = Some(IQ1),
    ZERO = Some(4),
    UNIT = 0.125,
    NESTED = true,
    HALVES = true
);
format!(
    IQ2_XXS,
    Three,
    codebooks::iq2_xxs,
    TABLE = Some(IQ2),
    ZERO = Some(6),
    UNIT = 0.125,
    NESTED = true
);
format!(
    IQ2_S,
    Three,
    codebooks::iq2_s,
    TABLE = Some(IQ2),
    ZERO = Some(6),
    UNIT = 0.125,
    NESTED = true,
    HALVES = true
);
format!(
    IQ3_XXS,
    Four,
    codebooks::iq3_xxs,
    TABLE = Some(signed(IQ3_XXS_MAGNITUDES, 8)),
    ZERO = Some(6),
    UNIT = 0.25,
    NESTED = true
);
format!(
    IQ3_S,
    Four,
    codebooks::iq3_s,
    TABLE = Some(signed(IQ3_S_MAGNITUDES, 8)),
    ZERO = Some(4),
    NESTED = true
);

// Types that lie in memory as another does: it is they that differ, not the kernels.
format!(IQ1_S as IQ1_M, codebooks::iq1_s);
format!(IQ2_XS as IQ2_S, codebooks::iq2_xs);
format!(TQ1_0 as Q2_K, unpack::tq1_0);
format!(TQ2_0 as Q2_K, unpack::tq2_0);

/// Calls `$f::<Format>($args)` for the quantised type `$ty`.
macro_rules! with_format {
    ($ty:expr, $f:ident($($arg:expr),* $(,)?), float => $float:expr) => {
        match $ty {
            BlockType::IQ1_S => $f::<format::IQ1_S>($($arg),*),
            BlockType::IQ2_XS => $f::<format::IQ2_XS>($($arg),*),
            BlockType::TQ1_0 => $f::<format::TQ1_0>($($arg),*),
            BlockType::TQ2_0 => $f::<format::TQ2_0>($($arg),*),
            ty => with_layout!(ty, F => { $f::<F>($($arg),*) }, float => { $float }),
        }
    };
}
pub(crate) use with_format;

/// Evaluates `$body` with `$name` standing for the format as which weights of type `$ty` lie in memory.
macro_rules! with_layout {
    ($ty:expr, $name:ident => $body:block, float => $float:block) => {
        $crate::matmul::format::with_layout!(@match $ty, $name, $body, $float,
            Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q2_K + TQ1_0 + TQ2_0, Q3_K, Q4_K, Q5_K, Q6_K, IQ4_NL, IQ4_XS,
            IQ1_M + IQ1_S, IQ2_XXS, IQ2_S + IQ2_XS, IQ3_XXS, IQ3_S)
    };
    (@match $ty:expr, $name:ident, $body:block, $float:block,
        $($format:ident $(+ $same:ident)*),*
    ) => {
        match $ty {
            $(BlockType::$format $(| BlockType::$same)* => {
                type $name = $crate::matmul::format::$format;
                $body
            })*
            // No matrix is made of `F8_E4M3`.
            BlockType::F32 | BlockType::F16 | BlockType::BF16 | BlockType::F8_E4M3 => $float,
        }
    };
}
pub(crate) use with_layout;
