//! How a page lies in memory, and writing to it.
//!
//! A page is the keys of all heads, then the values of all heads, [`PAGE`] positions of one layer.
//! A head's numbers are `[group of 16 positions][head_dim][16]` for keys and
//! `[position][head_dim]` for values: either way in vectors of sixteen, each a [`Cell`]. In 8 and 4
//! bits, the scales of the head follow its numbers, `[block of 32 elements][position]` in half
//! precision: a vector of scales is that of sixteen positions, as a vector of keys is.
//!
//! Where values are the beginnings of their keys ([`KvShape::latent`]) there are keys alone.

use std::marker::PhantomData;
use std::ops::Range;

use half::f16;

use super::rotate::rotate;
use crate::Isa;
use crate::simd::{Kernel, LANES, Simd};

/// Positions in a page.
pub const PAGE: usize = 64;

/// Counts how often what is stored in a page has changed: its order, how it is rounded or turned, or
/// what of keys and values is kept apart. Pages in files are good for one such version only.
pub const PAGE_VERSION: u32 = 1;

/// Elements of a head that share a scale in [`KvType::Q8_0`] and [`KvType::Q4_0`].
pub const SCALE_BLOCK: usize = 32;

/// How keys and values are stored.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum KvType {
    /// Half precision.
    #[default]
    F16,
    /// Single precision: for comparing with references.
    F32,
    /// 8-bit integers and a half-precision scale for each [`SCALE_BLOCK`] elements of a head:
    /// 8.5 bits a number.
    Q8_0,
    /// 4-bit integers and such a scale, after a Hadamard matrix has spread what is large over the
    /// head: 4.5 bits a number.
    Q4_0,
}

impl KvType {
    /// Whether numbers are rounded to integers.
    pub const fn is_rounded(self) -> bool {
        matches!(self, KvType::Q8_0 | KvType::Q4_0)
    }

    /// Whether heads are turned before they are stored.
    pub(super) const fn is_rotated(self) -> bool {
        matches!(self, KvType::Q4_0)
    }
}

/// A name that is none of a [`KvType`]'s.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{0}` is no type of a cache; choose one of f16, f32, q8_0, q4_0")]
pub struct UnknownKvType(String);

impl std::str::FromStr for KvType {
    type Err = UnknownKvType;

    fn from_str(name: &str) -> Result<KvType, UnknownKvType> {
        match name.to_ascii_lowercase().as_str() {
            "f16" => Ok(KvType::F16),
            "f32" => Ok(KvType::F32),
            "q8_0" => Ok(KvType::Q8_0),
            "q4_0" => Ok(KvType::Q4_0),
            _ => Err(UnknownKvType(name.to_owned())),
        }
    }
}

impl std::fmt::Display for KvType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            KvType::F16 => "f16",
            KvType::F32 => "f32",
            KvType::Q8_0 => "q8_0",
            KvType::Q4_0 => "q4_0",
        })
    }
}

/// Heads of a layer and how its cache is stored.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KvShape {
    /// Query heads; a multiple of `kv_heads`.
    pub heads: usize,
    /// Key-value heads (grouped-query attention, arXiv:2305.13245).
    pub kv_heads: usize,
    /// Elements of a head; a multiple of [`KvShape::head_dim_step`].
    pub head_dim: usize,
    /// Elements of a value that is the beginning of its key and not stored again, as in multi-head latent
    /// attention (DeepSeek-AI 2024, arXiv:2405.04434): such a multiple too. None where values are as long as keys
    /// and stored beside them.
    pub latent: Option<usize>,
    /// Storage type.
    pub ty: KvType,
}

/// A shape attention can't work with.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum KvShapeError {
    /// Query heads can't be shared out evenly.
    #[error("{heads} query heads are no multiple of {kv_heads} key-value heads")]
    Heads {
        /// Query heads.
        heads: usize,
        /// Key-value heads.
        kv_heads: usize,
    },
    /// The head has no whole number of vectors, or of blocks with a scale.
    #[error(
        "a head of {head_dim} elements can't be cached as {ty}: it must be a multiple of {step}"
    )]
    HeadDim {
        /// Elements of a head.
        head_dim: usize,
        /// What it should be a multiple of.
        step: usize,
        /// Storage type.
        ty: KvType,
    },
    /// Values can't be the beginnings of keys that are shorter, or end within a vector or a block.
    #[error(
        "values of {value_dim} elements can't be the beginnings of keys of {head_dim} cached as {ty}: \
         they must be no longer, and a multiple of {step}"
    )]
    Latent {
        /// Elements of a value.
        value_dim: usize,
        /// Elements of a key.
        head_dim: usize,
        /// What the former should be a multiple of.
        step: usize,
        /// Storage type.
        ty: KvType,
    },
}

impl KvShape {
    /// Checks that attention can work with this shape.
    ///
    /// # Errors
    /// It can't; the message says what is wrong.
    pub fn check(&self) -> Result<(), KvShapeError> {
        let KvShape { heads, kv_heads, head_dim, ty, .. } = *self;
        let (step, value_dim) = (self.head_dim_step(), self.value_dim());
        if kv_heads == 0 || heads == 0 || !heads.is_multiple_of(kv_heads) {
            return Err(KvShapeError::Heads { heads, kv_heads });
        }
        if head_dim == 0 || !head_dim.is_multiple_of(step) {
            return Err(KvShapeError::HeadDim { head_dim, step, ty });
        }
        if value_dim == 0 || value_dim > head_dim || !value_dim.is_multiple_of(step) {
            return Err(KvShapeError::Latent { value_dim, head_dim, step, ty });
        }
        Ok(())
    }

    /// Elements of a value.
    pub const fn value_dim(&self) -> usize {
        match self.latent {
            Some(value_dim) => value_dim,
            None => self.head_dim,
        }
    }

    /// Elements that are turned together: of keys that begin with values, none of what is theirs alone comes into
    /// the values.
    pub(super) const fn turned(&self) -> usize {
        1 << (self.head_dim | self.value_dim()).trailing_zeros()
    }

    /// What `head_dim` must be a multiple of.
    pub const fn head_dim_step(&self) -> usize {
        match self.ty {
            KvType::F16 | KvType::F32 => LANES,
            KvType::Q8_0 | KvType::Q4_0 => SCALE_BLOCK,
        }
    }

    /// Bytes of a page: keys and values of [`PAGE`] positions of one layer.
    pub const fn page_bytes(&self) -> usize {
        let stored = if self.latent.is_some() { 1 } else { 2 };
        stored * self.kv_heads * self.head_bytes()
    }

    /// Bytes of the keys (or the values) of one head in a page.
    pub(super) const fn head_bytes(&self) -> usize {
        let numbers = PAGE * self.head_dim;
        match self.ty {
            KvType::F16 => numbers * 2,
            KvType::F32 => numbers * 4,
            KvType::Q8_0 => numbers + numbers / SCALE_BLOCK * 2,
            KvType::Q4_0 => numbers / 2 + numbers / SCALE_BLOCK * 2,
        }
    }

    /// Where the keys of a head start in a page.
    pub(super) const fn keys_at(&self, kv_head: usize) -> usize {
        kv_head * self.head_bytes()
    }

    /// Where the values of a head start in a page, if they are stored.
    pub(super) const fn values_at(&self, kv_head: usize) -> usize {
        (self.kv_heads + kv_head) * self.head_bytes()
    }
}

/// Writes the keys and values of consecutive positions into a page, from slot `slot` on.
///
/// `k` and `v` are `[positions, kv_heads, head_dim]`; `v` is empty where keys begin with their values. Sixteen
/// positions from a multiple of sixteen on are written fastest.
///
/// # Panics
/// If the shape is none attention can work with, lengths don't agree or the page ends before the
/// positions do.
pub fn store_kv(isa: Isa, shape: &KvShape, page: &mut [u8], slot: usize, k: &[f32], v: &[f32]) {
    assert_eq!(shape.check(), Ok(()));
    let row = shape.kv_heads * shape.head_dim;
    let positions = k.len() / row;
    let beside = if shape.latent.is_some() { 0 } else { k.len() };
    assert!(k.len() == positions * row && v.len() == beside && page.len() == shape.page_bytes());
    assert!(slot + positions <= PAGE, "{positions} positions from slot {slot} on");
    let turned = |x: &[f32]| {
        let mut x = x.to_vec();
        rotate(isa, &mut x, shape.turned());
        x
    };
    let turned = shape.ty.is_rotated().then(|| (turned(k), turned(v)));
    let (k, v) = turned.as_ref().map_or((k, v), |(k, v)| (k, v));
    // SAFETY: `isa` is available, and the shapes were just checked.
    unsafe {
        match shape.ty {
            KvType::F16 => {
                isa.run_without_tiles(StoreKv::<F16> { shape, page, slot, k, v, of: PhantomData })
            }
            KvType::F32 => {
                isa.run_without_tiles(StoreKv::<F32> { shape, page, slot, k, v, of: PhantomData })
            }
            KvType::Q8_0 => {
                isa.run_without_tiles(StoreKv::<Q8> { shape, page, slot, k, v, of: PhantomData })
            }
            KvType::Q4_0 => {
                isa.run_without_tiles(StoreKv::<Q4> { shape, page, slot, k, v, of: PhantomData })
            }
        }
    }
}

/// The keys and the values of one position, `[kv_heads, head_dim]` and `[kv_heads, value_dim]`: what attention sees
/// of them. Slow; for tests and for looking into a cache.
///
/// # Panics
/// If the page or the slot don't fit the shape.
pub fn read_kv(shape: &KvShape, page: &[u8], slot: usize) -> (Vec<f32>, Vec<f32>) {
    assert!(slot < PAGE && page.len() == shape.page_bytes());
    let dim = shape.head_dim;
    let half = |at: usize| f16::from_le_bytes([page[at], page[at + 1]]).to_f32();
    let number = |start: usize, i: usize, element: usize| match shape.ty {
        KvType::F16 => half(start + 2 * i),
        KvType::F32 => {
            let at = start + 4 * i;
            f32::from_le_bytes([page[at], page[at + 1], page[at + 2], page[at + 3]])
        }
        KvType::Q8_0 => {
            let scale = PAGE * dim + (element / SCALE_BLOCK * PAGE + slot) * 2;
            f32::from(page[start + i] as i8) * half(start + scale)
        }
        KvType::Q4_0 => {
            let scale = PAGE * dim / 2 + (element / SCALE_BLOCK * PAGE + slot) * 2;
            let pair = page[start + i / LANES * HALF + i % HALF];
            let bits = if i % LANES < HALF { pair & 15 } else { pair >> 4 };
            (f32::from(bits) - 8.0) * half(start + scale)
        }
    };
    let (mut k, mut v) = (Vec::new(), Vec::new());
    for h in 0..shape.kv_heads {
        for d in 0..dim {
            let i = (slot / LANES * dim + d) * LANES + slot % LANES;
            k.push(number(shape.keys_at(h), i, d));
            if shape.latent.is_none() {
                v.push(number(shape.values_at(h), slot * dim + d, d));
            }
        }
    }
    if shape.ty.is_rotated() {
        rotate(Isa::Scalar, &mut k, shape.turned());
        rotate(Isa::Scalar, &mut v, shape.turned());
    }
    if let Some(value_dim) = shape.latent {
        v.extend(k.chunks_exact(dim).flat_map(|key| &key[..value_dim]));
    }
    (k, v)
}

/// Half a vector.
const HALF: usize = LANES / 2;

/// Sixteen numbers as they lie in a page, which may start anywhere.
pub(super) trait Cell: Copy {
    /// One of them, before it is put among the others.
    type Number: Copy + Default;

    /// Whether each [`SCALE_BLOCK`] numbers have a scale.
    const SCALED: bool;

    /// The numbers, still to be multiplied by their scale if they have one.
    ///
    /// # Safety
    /// `p` is valid for a cell, and the machine has the instructions of `S`.
    unsafe fn load<S: Simd>(p: *const Self) -> S::F;

    /// Rounds `n` numbers (a block, or sixteen where there are no scales), and says their scale.
    ///
    /// # Safety
    /// `x` and `out` are valid for `n` numbers, and the machine has the instructions of `S`.
    unsafe fn round<S: Simd>(x: *const f32, n: usize, out: *mut Self::Number) -> u16;

    /// A cell of these.
    fn pack(numbers: [Self::Number; LANES]) -> Self;

    /// The same cell with one number changed.
    fn with(self, lane: usize, number: Self::Number) -> Self;
}

/// Half precision.
pub(super) type F16 = [u16; LANES];
/// Single precision.
pub(super) type F32 = [f32; LANES];
/// 8-bit integers.
pub(super) type Q8 = [i8; LANES];
/// 4-bit integers, each 8 more than its value: those of the first half in the low halves of bytes.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(super) struct Q4([u8; HALF]);

/// [`Cell::pack`] and [`Cell::with`] of a cell that is an array of its numbers.
macro_rules! plain_cell {
    ($number:ty) => {
        type Number = $number;

        #[inline(always)]
        fn pack(numbers: [$number; LANES]) -> Self {
            numbers
        }

        #[inline(always)]
        fn with(mut self, lane: usize, number: $number) -> Self {
            self[lane] = number;
            self
        }
    };
}

impl Cell for F16 {
    const SCALED: bool = false;
    plain_cell!(u16);

    #[inline(always)]
    unsafe fn load<S: Simd>(p: *const F16) -> S::F {
        // SAFETY: as the caller vouches.
        unsafe { S::load_f16(p.cast()) }
    }

    #[inline(always)]
    unsafe fn round<S: Simd>(x: *const f32, n: usize, out: *mut u16) -> u16 {
        for i in (0..n).step_by(LANES) {
            // SAFETY: as the caller vouches.
            unsafe { S::store_f16(out.add(i), S::load(x.add(i))) };
        }
        0
    }
}

impl Cell for F32 {
    const SCALED: bool = false;
    plain_cell!(f32);

    #[inline(always)]
    unsafe fn load<S: Simd>(p: *const F32) -> S::F {
        // SAFETY: as the caller vouches.
        unsafe { S::load(p.cast()) }
    }

    #[inline(always)]
    unsafe fn round<S: Simd>(x: *const f32, n: usize, out: *mut f32) -> u16 {
        // SAFETY: as the caller vouches.
        unsafe { out.copy_from_nonoverlapping(x, n) };
        0
    }
}

impl Cell for Q8 {
    const SCALED: bool = true;
    plain_cell!(i8);

    #[inline(always)]
    unsafe fn load<S: Simd>(p: *const Q8) -> S::F {
        // SAFETY: as the caller vouches.
        unsafe { S::load_i8(p.cast()) }
    }

    #[inline(always)]
    unsafe fn round<S: Simd>(x: *const f32, n: usize, out: *mut i8) -> u16 {
        debug_assert_eq!(n, SCALE_BLOCK);
        // SAFETY: as the caller vouches: two vectors.
        unsafe {
            let (a, b) = (S::load(x), S::load(x.add(LANES)));
            let largest = S::largest(S::max(S::abs(a), S::abs(b)));
            round_block::<S>([a, b], largest / 127.0, [-127.0, 127.0], out)
        }
    }
}

impl Cell for Q4 {
    type Number = i8;
    const SCALED: bool = true;

    #[inline(always)]
    unsafe fn load<S: Simd>(p: *const Q4) -> S::F {
        // SAFETY: as the caller vouches.
        unsafe { S::load_i4(p.cast()) }
    }

    /// The number that is furthest from zero becomes -8, as in llama.cpp's type of that name.
    #[inline(always)]
    unsafe fn round<S: Simd>(x: *const f32, n: usize, out: *mut i8) -> u16 {
        debug_assert_eq!(n, SCALE_BLOCK);
        // SAFETY: as the caller vouches: two vectors.
        unsafe {
            let (a, b) = (S::load(x), S::load(x.add(LANES)));
            let most = S::largest(S::max(a, b));
            let least = -S::largest(S::max(S::sub(S::splat(0.0), a), S::sub(S::splat(0.0), b)));
            let furthest = if most > -least { most } else { least };
            round_block::<S>([a, b], furthest / -8.0, [-8.0, 7.0], out)
        }
    }

    #[inline(always)]
    fn pack(numbers: [i8; LANES]) -> Q4 {
        Q4(std::array::from_fn(|i| biased(numbers[i]) | biased(numbers[HALF + i]) << 4))
    }

    #[inline(always)]
    fn with(mut self, lane: usize, number: i8) -> Q4 {
        let (pair, bits) = (&mut self.0[lane % HALF], biased(number));
        *pair = if lane < HALF { *pair & 0xf0 | bits } else { *pair & 0x0f | bits << 4 };
        self
    }
}

/// A 4-bit integer as it is stored.
#[inline(always)]
fn biased(number: i8) -> u8 {
    number.wrapping_add(8) as u8
}

/// Rounds a block to whole multiples of a scale, and says the scale's bits.
///
/// # Safety
/// `out` is valid for a block, and the machine has the instructions of `S`.
#[inline(always)]
unsafe fn round_block<S: Simd>(x: [S::F; 2], scale: f32, limits: [f32; 2], out: *mut i8) -> u16 {
    let scale = f16::from_f32(scale);
    // The rounded scale divides, so that only one rounding is left. It may be too small by much
    // where it is close to zero.
    let d = scale.to_f32();
    // SAFETY: as the caller vouches.
    unsafe {
        let inverse = S::splat(if d != 0.0 { 1.0 / d } else { 0.0 });
        let [least, most] = limits.map(|limit| S::splat(limit));
        for (i, x) in x.into_iter().enumerate() {
            let q = S::min(S::max(S::mul(x, inverse), least), most);
            S::store_i8(out.add(i * LANES), q);
        }
    }
    scale.to_bits()
}

struct StoreKv<'a, C> {
    shape: &'a KvShape,
    page: &'a mut [u8],
    slot: usize,
    k: &'a [f32],
    v: &'a [f32],
    of: PhantomData<C>,
}

impl<C: Cell> Kernel for StoreKv<'_, C> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let StoreKv { shape, page, slot, k, v, of: _ } = self;
        let dim = shape.head_dim;
        let row = shape.kv_heads * dim;
        let positions = k.len() / row;
        let step = shape.head_dim_step();
        let base = page.as_mut_ptr();
        let mut tile = [[C::Number::default(); SCALE_BLOCK]; LANES];
        let mut row_of_values = [C::Number::default(); SCALE_BLOCK];
        for h in 0..shape.kv_heads {
            // Both from one pointer: a second borrow of the page would end the first.
            let keys = base.wrapping_add(shape.keys_at(h));
            let values = base.wrapping_add(shape.values_at(h));
            let mut first = slot;
            while first < slot + positions {
                let n = (LANES - first % LANES).min(slot + positions - first);
                for d in (0..dim).step_by(step) {
                    let from = (first - slot) * row + h * dim + d;
                    let scale =
                        PAGE * dim / LANES * size_of::<C>() + (d / SCALE_BLOCK * PAGE + first) * 2;
                    // SAFETY: `k` and `v` hold these positions and elements; numbers and scales
                    // of each lie within the head's part of the page, which has PAGE positions.
                    unsafe {
                        for i in 0..if shape.latent.is_some() { 0 } else { n } {
                            let x = from_at(v, from + i * row, step);
                            let bits = C::round::<S>(x, step, row_of_values.as_mut_ptr());
                            let out = values.cast::<C>().add(((first + i) * dim + d) / LANES);
                            for (j, numbers) in row_of_values.as_chunks::<LANES>().0[..step / LANES]
                                .iter()
                                .enumerate()
                            {
                                out.add(j).write_unaligned(C::pack(*numbers));
                            }
                            if C::SCALED {
                                values
                                    .add(scale)
                                    .cast::<u16>()
                                    .add(i)
                                    .write_unaligned(bits.to_le());
                            }
                        }
                        for i in 0..n {
                            let x = from_at(k, from + i * row, step);
                            let bits = C::round::<S>(x, step, tile[i].as_mut_ptr());
                            if C::SCALED {
                                keys.add(scale).cast::<u16>().add(i).write_unaligned(bits.to_le());
                            }
                        }
                        let out = keys.cast::<C>().add(first / LANES * dim + d);
                        if n == LANES {
                            across(&tile, step, out);
                        } else {
                            let lanes = first % LANES..first % LANES + n;
                            across_some(&tile, lanes, step, out);
                        }
                    }
                }
                first += n;
            }
        }
    }
}

/// Where `n` numbers from the `at`-th on start.
#[inline(always)]
fn from_at(x: &[f32], at: usize, n: usize) -> *const f32 {
    x[at..at + n].as_ptr()
}

/// Writes sixteen positions of `elements` numbers each so that positions are side by side.
///
/// # Safety
/// `out` is valid for so many cells.
#[inline(always)]
unsafe fn across<C: Cell>(tile: &[[C::Number; SCALE_BLOCK]; LANES], elements: usize, out: *mut C) {
    for d in 0..elements {
        // SAFETY: as the caller vouches.
        unsafe { out.add(d).write_unaligned(C::pack(std::array::from_fn(|i| tile[i][d]))) };
    }
}

/// [`across`] for some of sixteen positions; the others stay what they are.
///
/// # Safety
/// As for [`across`].
#[inline(always)]
unsafe fn across_some<C: Cell>(
    tile: &[[C::Number; SCALE_BLOCK]; LANES],
    lanes: Range<usize>,
    elements: usize,
    out: *mut C,
) {
    for d in 0..elements {
        // SAFETY: as the caller vouches.
        unsafe {
            let mut cell = out.add(d).read_unaligned();
            for (i, lane) in lanes.clone().enumerate() {
                cell = cell.with(lane, tile[i][d]);
            }
            out.add(d).write_unaligned(cell);
        }
    }
}
