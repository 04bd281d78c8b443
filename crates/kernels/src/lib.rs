//! Arithmetic on quantised, half-precision and f32 blocks: what a transformer layer needs, and
//! nothing else. Goes in: slices of numbers and weights in the block formats of [`blocks`].
//! Comes out: slices of numbers. This crate knows nothing about files, models or tokens.
//!
//! Every kernel is written once, over the sixteen-lane vectors of the module `simd`, and compiled
//! for each instruction set; [`Isa::detect`] chooses at run time.

// Index loops over registers and shapes read like the formulas they come from.
#![allow(clippy::needless_range_loop)]

pub mod attention;
pub mod blocks;
pub mod gemm;
pub mod grad;
mod isa;
pub mod matmul;
mod memory;
pub mod ops;
mod pool;
pub mod roofline;
mod simd;

pub use isa::{Isa, IsaError};
pub(crate) use memory::SendPtr;
pub use memory::{Aligned, Arena};
pub use pool::Pool;
