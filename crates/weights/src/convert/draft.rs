//! A model about to be written: metadata, and tensors that are read a few rows at a time.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kernels::Pool;
use kernels::blocks::BlockType;
use kernels::ops::RopeLayout;

use super::output;
use super::rows::{FileRows, Reordered, Rows, ScaledRows, Shifted, fill_pieces};
use crate::gguf::{Gguf, GgufWriter, Metadata, TensorSpec};
use crate::pull::Progress;
use crate::quantize::{
    Importance, QuantizeError, is_writable, quantize_row, quantize_weighted_row,
};
use crate::tensor::{self, shorten};
use crate::{Checkpoint, Error};

/// Weights that a thread takes at a time.
const CHUNK: usize = 1 << 16;
/// Chunks between two writes.
const CHUNKS: usize = 64;

/// A tensor about to be written.
pub struct DraftTensor<'a> {
    /// GGUF's name for it.
    pub name: String,
    /// Dimensions, outermost first.
    pub shape: Vec<usize>,
    /// What it is to be stored as.
    pub ty: BlockType,
    /// Where its weights come from.
    pub rows: Box<dyn Rows + 'a>,
}

impl DraftTensor<'_> {
    pub(crate) fn cols(&self) -> usize {
        self.shape.last().copied().unwrap_or(1)
    }

    pub(crate) fn row_count(&self) -> usize {
        self.shape.iter().rev().skip(1).product()
    }

    pub(crate) fn field(&self) -> String {
        format!("tensor `{}`", shorten(&self.name))
    }

    /// Of `all` importances of the tensor, those of the expert that a row belongs to.
    pub(crate) fn importance_of_row<'i>(&self, all: &'i [f32], row: usize) -> &'i [f32] {
        let expert = row / self.shape.iter().rev().nth(1).copied().unwrap_or(1).max(1);
        all.get(expert * self.cols()..(expert + 1) * self.cols()).unwrap_or_default()
    }
}

/// A model about to be written, in GGUF's terms: its keys, its names, its order of rows.
pub struct Draft<'a> {
    /// What it is made from; for messages.
    pub path: PathBuf,
    /// GGUF's metadata.
    pub metadata: Metadata,
    /// Every tensor, in the order in which it will be written.
    pub tensors: Vec<DraftTensor<'a>>,
    /// What the matrices it knows are quantised with.
    pub importance: Option<Arc<Importance>>,
}

impl<'a> Draft<'a> {
    /// An open GGUF model, as it is. What describes the splitting of a file is left out.
    ///
    /// # Errors
    /// `checkpoint` is no GGUF model.
    pub fn of_gguf(checkpoint: &'a Checkpoint) -> Result<Draft<'a>, Error> {
        let Checkpoint::Gguf(file) = checkpoint else {
            let problem = "this is no GGUF model";
            let remedy = "convert it first";
            return Err(Error::unsupported(checkpoint.path(), "file", problem, remedy));
        };
        Ok(Draft {
            path: file.path().to_owned(),
            metadata: unsplit(file),
            tensors: file
                .tensors()
                .iter()
                .filter_map(|t| of_file(checkpoint, &t.name).transpose())
                .collect::<Result<_, Error>>()?,
            importance: None,
        })
    }

    /// Bytes of all tensors in the types that they are to have.
    ///
    /// # Errors
    /// A row is no whole number of blocks.
    pub fn bytes(&self) -> Result<u64, Error> {
        self.tensors.iter().try_fold(0, |sum, t| Ok(sum + self.bytes_as(t, t.ty)?))
    }

    /// Bytes of a tensor stored as `ty`.
    pub(crate) fn bytes_as(&self, t: &DraftTensor<'_>, ty: BlockType) -> Result<u64, Error> {
        let bytes = tensor::size(&t.shape, ty);
        Ok(bytes.map_err(|why| Error::malformed(&self.path, t.field(), why))? as u64)
    }

    /// Writes the GGUF file `path`, which is there only once it is whole.
    ///
    /// However large the model, memory holds a few MiB of it at a time.
    ///
    /// # Errors
    /// A tensor can't be read or stored as its type, there is no room, or the file can't be written.
    pub fn write_gguf(
        &self,
        path: &Path,
        pool: &Pool,
        progress: &dyn Progress,
    ) -> Result<(), Error> {
        for t in &self.tensors {
            if !is_writable(t.ty) && (t.rows.stored().is_none() || t.rows.ty() != t.ty) {
                return Err(self.unstorable(t, 0, QuantizeError::ReadOnly { ty: t.ty }));
            }
        }
        let total = self.bytes()?;
        output::check_room(path, total)?;
        let specs = self.tensors.iter().map(|t| TensorSpec {
            name: t.name.clone(),
            shape: t.shape.clone(),
            ty: t.ty,
        });
        let mut writer = GgufWriter::create(path, &self.metadata, specs.collect())?;
        progress.begin(&output::title(path), Some(total));
        let mut written = 0;
        for t in &self.tensors {
            let mut failed = None;
            let outcome = writer.stream_tensor(&t.name, |out| {
                self.stream(t, pool, &mut |bytes| {
                    out.write_all(bytes)?;
                    written += bytes.len() as u64;
                    progress.at(written);
                    Ok(())
                })
                .map_err(|error| match error {
                    Broken::Write(error) => error,
                    Broken::Source(error) => {
                        failed = Some(error);
                        io::Error::other("the source can't be read")
                    }
                })
            });
            if let Some(error) = failed {
                return Err(error);
            }
            outcome?;
        }
        writer.commit()?;
        progress.end();
        Ok(())
    }

    /// Hands the bytes of a tensor, as it is to be stored, to `put` piece by piece.
    pub(super) fn stream(
        &self,
        t: &DraftTensor<'_>,
        pool: &Pool,
        put: &mut dyn FnMut(&[u8]) -> io::Result<()>,
    ) -> Result<(), Broken> {
        let (rows, cols) = (t.row_count(), t.cols());
        let row_bytes = t.ty.row_bytes(cols).ok_or_else(|| {
            let problem = format!("rows of {cols} can't be stored as {}", t.ty);
            Broken::Source(Error::malformed(&self.path, t.field(), problem))
        })?;
        let rows_of_chunk = (CHUNK / cols.max(1)).max(1);
        let stored = t.rows.stored().filter(|_| t.rows.ty() == t.ty);
        let mut buffer = Vec::new();
        for first in (0..rows).step_by(rows_of_chunk * CHUNKS) {
            let end = rows.min(first + rows_of_chunk * CHUNKS);
            match stored.and_then(|bytes| bytes.get(first * row_bytes..end * row_bytes)) {
                Some(bytes) => put(bytes)?,
                None => {
                    buffer.resize((end - first) * row_bytes, 0);
                    self.store(t, pool, first, rows_of_chunk, &mut buffer)?;
                    put(&buffer)?;
                }
            }
            t.rows.release(first..end);
        }
        Ok(())
    }

    /// Fills `out` with the rows from `first` on, as they are to be stored.
    fn store(
        &self,
        t: &DraftTensor<'_>,
        pool: &Pool,
        first: usize,
        rows_of_chunk: usize,
        out: &mut [u8],
    ) -> Result<(), Error> {
        let cols = t.cols();
        let row_bytes = t.ty.row_bytes(cols).unwrap_or(1);
        fill_pieces(pool, out, rows_of_chunk * row_bytes, |chunk, out| {
            self.store_chunk(t, first + chunk * rows_of_chunk, out)
        })
    }

    fn store_chunk(&self, t: &DraftTensor<'_>, first: usize, out: &mut [u8]) -> Result<(), Error> {
        let cols = t.cols();
        let row_bytes = t.ty.row_bytes(cols).unwrap_or(1);
        let mut values = vec![0.0; out.len() / row_bytes * cols];
        t.rows.read(first, &mut values)?;
        let importance = match &self.importance {
            Some(importance) => importance.of(&t.name, &t.shape)?,
            None => None,
        };
        for (r, (row, out)) in
            values.chunks_exact(cols).zip(out.chunks_exact_mut(row_bytes)).enumerate()
        {
            let own = importance.map(|all| t.importance_of_row(all, first + r));
            self.quantize(t, t.ty, first + r, row, own, out)?;
        }
        Ok(())
    }

    /// Stores a row of a tensor as `ty`, with an importance for each of its columns or without.
    pub(crate) fn quantize(
        &self,
        t: &DraftTensor<'_>,
        ty: BlockType,
        row: usize,
        values: &[f32],
        importance: Option<&[f32]>,
        out: &mut [u8],
    ) -> Result<(), Error> {
        let stored = match importance {
            Some(importance) => quantize_weighted_row(ty, values, importance, out),
            None => quantize_row(ty, values, out),
        };
        stored.map_err(|error| self.unstorable(t, row, error))
    }

    fn unstorable(&self, t: &DraftTensor<'_>, row: usize, error: QuantizeError) -> Error {
        let (problem, remedy) = match error {
            QuantizeError::TooLarge { position, value, limit, ty } => (
                format!("weight {position} of row {row} is {value:e}, and {ty} ends at {limit:e}"),
                "store it as BF16 or F32",
            ),
            QuantizeError::NotFinite { position, value, .. } => (
                format!("weight {position} of row {row} is {value}"),
                "the file is damaged, fetch it again",
            ),
            other => (other.to_string(), "store it as another type"),
        };
        Error::unsupported(&self.path, t.field(), problem, remedy)
    }
}

/// Why streaming stopped: the one side or the other.
pub(super) enum Broken {
    Source(Error),
    Write(io::Error),
}

impl From<Error> for Broken {
    fn from(error: Error) -> Broken {
        Broken::Source(error)
    }
}

impl From<io::Error> for Broken {
    fn from(error: io::Error) -> Broken {
        Broken::Write(error)
    }
}

/// A tensor of an open model, to be written as it is, or as BF16 if it is in FP8.
pub(super) fn of_file<'a>(
    checkpoint: &'a Checkpoint,
    name: &str,
) -> Result<Option<DraftTensor<'a>>, Error> {
    let (Some(tensor), Some(rows)) = (checkpoint.tensor(name), FileRows::of(checkpoint, name))
    else {
        return Ok(None);
    };
    let rows: Box<dyn Rows + 'a> = match ScaledRows::of(checkpoint, name)? {
        Some(rows) => Box::new(rows),
        None => Box::new(rows),
    };
    let (name, shape) = (name.to_owned(), tensor.info.shape.clone());
    Ok(Some(DraftTensor { name, shape, ty: rows.ty(), rows }))
}

/// The same tensor with the rows of each head in the order `to`.
pub(super) fn reordered<'a>(
    t: DraftTensor<'a>,
    head_dim: usize,
    to: RopeLayout,
) -> DraftTensor<'a> {
    let (rows, cols) = match t.shape[..] {
        [elements] => (elements, 1),
        _ => (t.row_count(), t.cols()),
    };
    DraftTensor { rows: Box::new(Reordered { inner: t.rows, cols, rows, head_dim, to }), ..t }
}

/// The same tensor with `by` added to each of its numbers.
pub(super) fn shifted(t: DraftTensor<'_>, by: f32) -> DraftTensor<'_> {
    DraftTensor { rows: Box::new(Shifted { inner: t.rows, by }), ..t }
}

fn unsplit(file: &Gguf) -> Metadata {
    let mut metadata = Metadata::new();
    for (key, value) in file.metadata().iter().filter(|(key, _)| !key.starts_with("split.")) {
        metadata.insert(key, value.clone());
    }
    metadata
}
