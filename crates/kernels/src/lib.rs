//! Arithmetic on quantised, half-precision and f32 blocks: what a transformer layer needs, and
//! nothing else. Goes in: slices of numbers and weights in the block formats of [`blocks`].
//! Comes out: slices of numbers. This crate knows nothing about files, models or tokens.

pub mod blocks;
