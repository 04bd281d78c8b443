//! A tensor in a file: its name, shape, type and place.

use std::ops::Range;
use std::path::Path;

use kernels::blocks::BlockType;
use kernels::matmul::Matrix;

use crate::Error;

/// What a file says about one tensor, checked against the file's length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorInfo {
    /// The name, unique in the model.
    pub name: String,
    /// Dimensions, outermost first: a matrix is `[rows, cols]`, its rows contiguous. (GGUF writes
    /// them the other way round.) Never empty, never a zero, the product fits `usize`.
    pub shape: Vec<usize>,
    /// How the weights are stored.
    pub ty: BlockType,
    /// Length of the data in bytes.
    pub bytes: usize,
    /// Which file of a split model holds the data, counted from 0.
    pub part: usize,
    /// Where in that file the data starts.
    pub offset: usize,
}

impl TensorInfo {
    /// Number of weights: the product of the shape.
    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }

    /// Length of a row, the innermost dimension.
    pub fn cols(&self) -> usize {
        self.shape.last().copied().unwrap_or(1)
    }

    /// Number of rows: everything but the innermost dimension.
    pub fn rows(&self) -> usize {
        self.elements() / self.cols().max(1)
    }

    /// Bytes it takes in memory once loaded: a vector in f32, matrices repacked (of more than two dimensions,
    /// the outer ones count matrices), or as many as in the file where it can't be repacked.
    pub fn loaded_bytes(&self) -> u64 {
        let shape: Vec<u64> = self.shape.iter().map(|n| *n as u64).collect();
        loaded_bytes(Some(self.ty), &shape, self.bytes as u64)
    }

    /// Where in the file these of the tensor's own bytes are.
    pub(crate) fn part_of(&self, bytes: Range<usize>) -> Range<usize> {
        self.offset + bytes.start.min(self.bytes)..self.offset + bytes.end.min(self.bytes)
    }

    pub(crate) fn range(&self) -> Range<usize> {
        self.offset..self.offset + self.bytes
    }
}

/// A tensor's description together with its bytes in the mapped file.
#[derive(Clone, Copy, Debug)]
pub struct Tensor<'a> {
    /// Name, shape and type.
    pub info: &'a TensorInfo,
    /// `info.bytes` bytes: rows of blocks of `info.ty`, little-endian.
    pub data: &'a [u8],
}

/// [`TensorInfo::loaded_bytes`] of what is only known from a header, of a type perhaps unknown.
pub(crate) fn loaded_bytes(ty: Option<BlockType>, shape: &[u64], bytes: u64) -> u64 {
    // What is in FP8 is loaded as BF16.
    let ty = ty.map(|ty| if ty == BlockType::F8_E4M3 { BlockType::BF16 } else { ty });
    let matrices = || {
        let [outer @ .., rows, cols] = shape else { return None };
        let (rows, cols) = (usize::try_from(*rows).ok()?, usize::try_from(*cols).ok()?);
        let one = Matrix::bytes_of(ty?, rows, cols)? as u64;
        Some(outer.iter().fold(one, |n, &matrices| n.saturating_mul(matrices)))
    };
    match shape {
        [elements] => elements.saturating_mul(4),
        _ => matrices().unwrap_or(bytes),
    }
}

/// The tensors of a model in file order, found by name.
#[derive(Debug)]
pub(crate) struct Table {
    tensors: Vec<TensorInfo>,
    /// Indices into `tensors`, sorted by name.
    by_name: Vec<u32>,
}

impl Table {
    /// Fails with the name where two tensors have the same.
    pub(crate) fn new(tensors: Vec<TensorInfo>) -> Result<Table, String> {
        let mut by_name: Vec<u32> = (0..tensors.len() as u32).collect();
        by_name.sort_unstable_by_key(|&i| tensors[i as usize].name.as_str());
        let name = |i: u32| tensors[i as usize].name.as_str();
        match by_name.windows(2).find(|pair| name(pair[0]) == name(pair[1])) {
            Some(pair) => Err(name(pair[0]).to_owned()),
            None => Ok(Table { tensors, by_name }),
        }
    }

    pub(crate) fn tensors(&self) -> &[TensorInfo] {
        &self.tensors
    }

    pub(crate) fn get(&self, name: &str) -> Option<&TensorInfo> {
        let at = self
            .by_name
            .binary_search_by(|&i| self.tensors[i as usize].name.as_str().cmp(name))
            .ok()?;
        Some(&self.tensors[self.by_name[at] as usize])
    }
}

/// Bytes needed by a tensor of this shape (outermost first), or why there is no such tensor.
pub(crate) fn size(shape: &[usize], ty: BlockType) -> Result<usize, String> {
    let Some(&cols) = shape.last() else {
        return Err("has no dimensions".to_owned());
    };
    if shape.contains(&0) {
        return Err(format!("has a dimension of 0 in its shape {shape:?}"));
    }
    let row = match ty.row_bytes(cols) {
        Some(row) => row,
        None if cols % ty.block_len() != 0 => {
            return Err(format!(
                "rows of {cols} are not a whole number of {ty:?} blocks of {}",
                ty.block_len()
            ));
        }
        None => return Err(format!("shape {shape:?} is too large")),
    };
    // The element count must fit as well, not only the bytes: callers multiply shapes.
    let elements = shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d));
    let bytes = shape[..shape.len() - 1].iter().try_fold(row, |n, &d| n.checked_mul(d));
    match (elements, bytes) {
        (Some(_), Some(bytes)) => Ok(bytes),
        _ => Err(format!("shape {shape:?} is too large")),
    }
}

/// Two tensors of one file must not share bytes.
pub(crate) fn refuse_overlaps(tensors: &[TensorInfo], path: &Path) -> Result<(), Error> {
    let mut by_offset: Vec<&TensorInfo> = tensors.iter().collect();
    by_offset.sort_unstable_by_key(|t| t.offset);
    match by_offset.windows(2).find(|pair| pair[0].range().end > pair[1].offset) {
        Some(pair) => Err(Error::malformed(
            path,
            format!("tensor `{}`", shorten(&pair[1].name)),
            format!("its data overlaps that of `{}`", shorten(&pair[0].name)),
        )),
        None => Ok(()),
    }
}

/// A name as it may appear in a message: a hostile file must not fill the terminal, or speak to
/// it in control characters.
pub(crate) fn shorten(name: &str) -> String {
    const LONGEST: usize = 100;
    let mut short = String::new();
    for c in name.chars().take(LONGEST) {
        if c.is_control() {
            short.extend(c.escape_default());
        } else {
            short.push(c);
        }
    }
    if name.chars().nth(LONGEST).is_some() {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_of_sound_shapes() {
        assert_eq!(size(&[3, 64], BlockType::Q4_0), Ok(3 * 2 * 18));
        assert_eq!(size(&[5], BlockType::F32), Ok(20));
        assert_eq!(size(&[2, 3, 256], BlockType::Q6_K), Ok(6 * 210));
    }

    #[test]
    fn impossible_shapes_are_refused() {
        let huge = usize::MAX / 2;
        for (shape, ty, why) in [
            (&[][..], BlockType::F32, "no dimensions"),
            (&[4, 0], BlockType::F32, "dimension of 0"),
            (&[2, 33], BlockType::Q8_0, "whole number of Q8_0 blocks of 32"),
            (&[huge, 4], BlockType::F16, "too large"),
            (&[4, huge], BlockType::F16, "too large"),
            // Fits as 18-byte blocks of 32, but not as a number of weights.
            (&[usize::MAX / 64, 96], BlockType::Q4_0, "too large"),
        ] {
            let error = size(shape, ty).expect_err(&format!("{shape:?}"));
            assert!(error.contains(why), "{shape:?}: {error}");
        }
    }
}
