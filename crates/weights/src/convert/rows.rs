//! Where the rows of a tensor come from while a file is made of them: a few at a time, as f32.

use std::ops::Range;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use kernels::Pool;
use kernels::blocks::{BlockType, dequantize_f8_e4m3, dequantize_row};
use kernels::ops::RopeLayout;

use crate::safetensors::Scaled;
use crate::tensor::shorten;
use crate::{Checkpoint, Error, TensorInfo};

/// A tensor that can be read in pieces, from several threads at once.
pub trait Rows: Sync {
    /// What the weights are stored as where they come from.
    fn ty(&self) -> BlockType;

    /// Fills `out`, a whole number of rows, with the rows from number `first` on.
    ///
    /// # Errors
    /// The rows can't be read.
    fn read(&self, first: usize, out: &mut [f32]) -> Result<(), Error>;

    /// The whole tensor as it is stored, where [`Rows::read`] gives nothing but that.
    fn stored(&self) -> Option<&[u8]> {
        None
    }

    /// These rows won't be asked for again: their memory can be given back.
    fn release(&self, rows: Range<usize>) {
        let _ = rows;
    }
}

/// Fills `out`, `piece` bytes at a time, on all the pool's threads; `fill` is told the number of the piece.
///
/// # Errors
/// One of those of `fill`.
pub(crate) fn fill_pieces(
    pool: &Pool,
    out: &mut [u8],
    piece: usize,
    fill: impl Fn(usize, &mut [u8]) -> Result<(), Error> + Sync,
) -> Result<(), Error> {
    let pieces: Vec<Mutex<&mut [u8]>> = out.chunks_mut(piece).map(Mutex::new).collect();
    let failed = Mutex::new(None);
    pool.for_each_chunk(pieces.len(), 1, |which| {
        for number in which {
            let mut out = pieces[number].lock().unwrap_or_else(PoisonError::into_inner);
            if let Err(error) = fill(number, &mut out) {
                *failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
            }
        }
    });
    match failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some(error) => Err(error),
        None => Ok(()),
    }
}

/// A tensor of an open model.
pub(super) struct FileRows<'a> {
    checkpoint: &'a Checkpoint,
    info: &'a TensorInfo,
    data: &'a [u8],
}

impl<'a> FileRows<'a> {
    /// The tensor that GGUF calls `name`, if there is one.
    pub(super) fn of(checkpoint: &'a Checkpoint, name: &str) -> Option<FileRows<'a>> {
        let tensor = checkpoint.tensor(name)?;
        Some(FileRows { checkpoint, info: tensor.info, data: tensor.data })
    }

    fn row_bytes(&self) -> usize {
        self.info.bytes / self.info.rows().max(1)
    }

    /// The bytes of some rows.
    fn bytes(&self, rows: Range<usize>) -> Result<&'a [u8], Error> {
        let bytes = rows.start * self.row_bytes()..rows.end * self.row_bytes();
        self.data.get(bytes).ok_or_else(|| self.malformed(format!("has no rows {rows:?}")))
    }

    fn malformed(&self, problem: impl ToString) -> Error {
        let field = format!("tensor `{}`", shorten(&self.info.name));
        Error::malformed(self.checkpoint.path(), field, problem.to_string())
    }
}

impl Rows for FileRows<'_> {
    fn ty(&self) -> BlockType {
        self.info.ty
    }

    fn read(&self, first: usize, out: &mut [f32]) -> Result<(), Error> {
        let bytes = self.bytes(first..first + out.len() / self.info.cols())?;
        dequantize_row(self.info.ty, bytes, out).map_err(|error| self.malformed(error))
    }

    fn stored(&self) -> Option<&[u8]> {
        Some(self.data)
    }

    fn release(&self, rows: Range<usize>) {
        let bytes = rows.start * self.row_bytes()..rows.end * self.row_bytes();
        self.checkpoint.release_part(&self.info.name, bytes);
    }
}

/// A matrix in FP8 of an open model, its scales multiplied in: what it comes to is written as BF16.
pub(crate) struct ScaledRows<'a> {
    inner: FileRows<'a>,
    scaled: Scaled,
}

impl<'a> ScaledRows<'a> {
    /// The tensor that GGUF calls `name`, if it is in FP8.
    pub(crate) fn of(
        checkpoint: &'a Checkpoint,
        name: &str,
    ) -> Result<Option<ScaledRows<'a>>, Error> {
        let Checkpoint::Safetensors(dir) = checkpoint else { return Ok(None) };
        let (Some(inner), Some(scaled)) = (FileRows::of(checkpoint, name), dir.scaled(name)?)
        else {
            return Ok(None);
        };
        Ok(Some(ScaledRows { inner, scaled }))
    }

    pub(crate) fn info(&self) -> &TensorInfo {
        self.inner.info
    }
}

impl Rows for ScaledRows<'_> {
    fn ty(&self) -> BlockType {
        BlockType::BF16
    }

    fn read(&self, first: usize, out: &mut [f32]) -> Result<(), Error> {
        let bytes = self.inner.bytes(first..first + out.len() / self.inner.info.cols())?;
        for (bits, x) in bytes.as_chunks().0.iter().zip(out.as_chunks_mut().0) {
            dequantize_f8_e4m3(bits, x);
        }
        self.scaled.multiply(first, out);
        Ok(())
    }

    fn release(&self, rows: Range<usize>) {
        self.inner.release(rows);
    }
}

/// Numbers that are in memory already.
pub struct Made {
    /// All of them, row after row.
    pub values: Vec<f32>,
    /// Length of a row.
    pub cols: usize,
}

impl Rows for Made {
    fn ty(&self) -> BlockType {
        BlockType::F32
    }

    fn read(&self, first: usize, out: &mut [f32]) -> Result<(), Error> {
        let start = first * self.cols;
        match self.values.get(start..start + out.len()) {
            Some(values) => out.copy_from_slice(values),
            None => {
                let problem = format!("there are no {} numbers from {start} on", out.len());
                return Err(Error::malformed(Path::new("(in memory)"), "rows", problem));
            }
        }
        Ok(())
    }
}

/// The same numbers with another added to each.
pub(super) struct Shifted<'a> {
    pub(super) inner: Box<dyn Rows + 'a>,
    pub(super) by: f32,
}

impl Rows for Shifted<'_> {
    fn ty(&self) -> BlockType {
        self.inner.ty()
    }

    fn read(&self, first: usize, out: &mut [f32]) -> Result<(), Error> {
        self.inner.read(first, out)?;
        out.iter_mut().for_each(|x| *x += self.by);
        Ok(())
    }

    fn release(&self, rows: Range<usize>) {
        self.inner.release(rows);
    }
}

/// The rows of q or k in the order of the other layout. Of a bias it is the elements.
pub(super) struct Reordered<'a> {
    pub(super) inner: Box<dyn Rows + 'a>,
    /// Length of a row, and 1 where the tensor is a bias.
    pub(super) cols: usize,
    /// The tensor's rows, or the bias's elements.
    pub(super) rows: usize,
    pub(super) head_dim: usize,
    /// The layout that they are to have.
    pub(super) to: RopeLayout,
}

impl Rows for Reordered<'_> {
    fn ty(&self) -> BlockType {
        self.inner.ty()
    }

    fn read(&self, first: usize, out: &mut [f32]) -> Result<(), Error> {
        if self.cols == 1 {
            let mut all = vec![0.0; self.rows];
            self.inner.read(0, &mut all)?;
            for (r, out) in out.iter_mut().enumerate() {
                *out = all[row_of(r, self.head_dim, self.to)];
            }
            return Ok(());
        }
        for (r, out) in out.chunks_exact_mut(self.cols).enumerate() {
            self.inner.read(row_of(first + r, self.head_dim, self.to), out)?;
        }
        Ok(())
    }

    fn release(&self, rows: Range<usize>) {
        // What is read lies in the same heads, but anywhere in them.
        let whole = |r: usize| r / self.head_dim * self.head_dim;
        self.inner.release(whole(rows.start)..whole(rows.end));
    }
}

/// Which row of the other layout belongs at row `r` of layout `to`. Interleaved has each rotary
/// pair side by side, `2i` and `2i + 1`; in halves they are `i` and `i + head_dim / 2`.
pub fn row_of(r: usize, head_dim: usize, to: RopeLayout) -> usize {
    let (head, at) = (r / head_dim * head_dim, r % head_dim);
    let half = head_dim / 2;
    head + match to {
        RopeLayout::Interleaved => at % 2 * half + at / 2,
        RopeLayout::Halves => at % half * 2 + at / half,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_go_where_the_converter_puts_them_and_back() {
        // What `reshape(heads, 2, head_dim / 2).swapaxes(1, 2)` makes of two heads of eight rows.
        let converted = [0, 4, 1, 5, 2, 6, 3, 7, 8, 12, 9, 13, 10, 14, 11, 15];
        for (r, source) in converted.into_iter().enumerate() {
            assert_eq!(row_of(r, 8, RopeLayout::Interleaved), source);
            assert_eq!(row_of(source, 8, RopeLayout::Halves), r);
        }
    }
}
