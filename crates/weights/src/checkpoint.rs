//! A model's weights whatever their container, under one set of tensor names: GGUF's
//! (`token_embd.weight`, `blk.N.attn_q.weight`, `output_norm.weight`).
//!
//! The bytes are those of the file. For the `llama` architecture that leaves one difference to
//! the caller: see [`crate::safetensors::names`].

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use half::bf16;
use kernels::Pool;
use sha2::{Digest, Sha256};

use crate::Error;
use crate::convert::rows::{Rows, ScaledRows, fill_pieces};
use crate::gguf::Gguf;
use crate::pull::part::hex;
use crate::safetensors::SafetensorsDir;
use crate::tensor::{Tensor, TensorInfo};

/// Rows of a matrix in FP8 that a thread takes at a time.
const ROWS: usize = 16;

/// An open model.
#[derive(Debug)]
pub enum Checkpoint {
    /// From a GGUF file, perhaps split.
    Gguf(Gguf),
    /// From safetensors files with JSON files beside them.
    Safetensors(SafetensorsDir),
}

/// What kind of model a path holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// This GGUF file (the first part where the model is split).
    Gguf(PathBuf),
    /// This safetensors file or directory.
    Safetensors(PathBuf),
}

impl Checkpoint {
    /// Opens a GGUF file, a safetensors file, or a directory with either in it.
    pub fn open(path: &Path) -> Result<Checkpoint, Error> {
        match kind(path)? {
            Kind::Gguf(file) => Gguf::open(&file).map(Checkpoint::Gguf),
            Kind::Safetensors(path) => SafetensorsDir::open(&path).map(Checkpoint::Safetensors),
        }
    }

    /// The file or directory that was opened.
    pub fn path(&self) -> &Path {
        match self {
            Checkpoint::Gguf(gguf) => gguf.path(),
            Checkpoint::Safetensors(dir) => dir.path(),
        }
    }

    /// Size of the weight files in bytes.
    pub fn file_bytes(&self) -> u64 {
        match self {
            Checkpoint::Gguf(gguf) => gguf.file_bytes(),
            Checkpoint::Safetensors(dir) => dir.file_bytes(),
        }
    }

    /// Every tensor in file order, under GGUF's names.
    pub fn tensors(&self) -> &[TensorInfo] {
        match self {
            Checkpoint::Gguf(gguf) => gguf.tensors(),
            Checkpoint::Safetensors(dir) => dir.gguf_tensors(),
        }
    }

    /// The tensor that GGUF calls `name`, with its bytes.
    pub fn tensor(&self, name: &str) -> Option<Tensor<'_>> {
        match self {
            Checkpoint::Gguf(gguf) => gguf.tensor(name),
            Checkpoint::Safetensors(dir) => dir.gguf_tensor(name),
        }
    }

    /// The weights of a matrix in FP8 as BF16, with the scales that other tensors have for them; none if the tensor is of
    /// another type. (Scales as powers of two, as newer models have them, make that exact.)
    ///
    /// # Errors
    /// Scales can't be read.
    pub fn in_bf16(&self, pool: &Pool, name: &str) -> Result<Option<Vec<u8>>, Error> {
        let Some(rows) = ScaledRows::of(self, name)? else { return Ok(None) };
        let mut out = vec![0; 2 * rows.info().elements()];
        fill_pieces(pool, &mut out, 2 * ROWS * rows.info().cols(), |piece, out| {
            let mut values = vec![0.0; out.len() / 2];
            rows.read(piece * ROWS, &mut values)?;
            for (x, out) in values.iter().zip(out.as_chunks_mut().0) {
                *out = bf16::from_f32(*x).to_le_bytes();
            }
            Ok(())
        })?;
        Ok(Some(out))
    }

    /// SHA-256, in hexadecimal, of every tensor's name, type, shape and sixteen samples of its bytes,
    /// both ends among them: tells models apart without reading all of them.
    pub fn fingerprint(&self) -> String {
        const SAMPLES: usize = 16;
        const SAMPLE: usize = 512;
        let mut digest = Sha256::new();
        for info in self.tensors() {
            digest.update(format!("{} {:?} {:?};", info.name, info.ty, info.shape));
            let bytes = self.tensor(&info.name).map_or(&[][..], |tensor| tensor.data);
            let last = bytes.len().saturating_sub(SAMPLE);
            for i in 0..SAMPLES {
                let at = (last as u128 * i as u128 / (SAMPLES as u128 - 1)) as usize;
                digest.update(&bytes[at..(at + SAMPLE).min(bytes.len())]);
            }
        }
        hex(digest)
    }

    /// Gives the memory of a tensor's bytes back to the system; see [`Gguf::release`].
    pub fn release(&self, name: &str) {
        match self {
            Checkpoint::Gguf(gguf) => gguf.release(name),
            Checkpoint::Safetensors(dir) => dir.release(name),
        }
    }

    /// The same for a part of a tensor: `bytes`, counted from its first.
    pub fn release_part(&self, name: &str, bytes: std::ops::Range<usize>) {
        match self {
            Checkpoint::Gguf(gguf) => gguf.release_part(name, bytes),
            Checkpoint::Safetensors(dir) => dir.release_part(name, bytes),
        }
    }

    /// Asks the system to read a tensor's bytes ahead of their use.
    pub fn prefetch(&self, name: &str) {
        match self {
            Checkpoint::Gguf(gguf) => gguf.prefetch(name),
            Checkpoint::Safetensors(dir) => dir.prefetch(name),
        }
    }
}

/// Looks at `path` just closely enough to know which reader should have it.
pub(crate) fn kind(path: &Path) -> Result<Kind, Error> {
    let metadata = std::fs::metadata(path).map_err(Error::io(path, "open"))?;
    if metadata.is_dir() {
        return directory_kind(path);
    }
    let extension = path.extension().and_then(|e| e.to_str());
    match extension {
        Some("gguf") => return Ok(Kind::Gguf(path.to_owned())),
        Some("safetensors") => return Ok(Kind::Safetensors(path.to_owned())),
        _ => {}
    }
    // Content-addressed stores keep models under names without an extension.
    let mut magic = [0; 4];
    if metadata.is_file() {
        let mut file = File::open(path).map_err(Error::io(path, "open"))?;
        if file.read_exact(&mut magic).is_ok() && magic == *b"GGUF" {
            return Ok(Kind::Gguf(path.to_owned()));
        }
    }
    Err(Error::unsupported(
        path,
        "file",
        "this is neither a GGUF nor a .safetensors file",
        "name a .gguf file, a .safetensors file or a directory with one of them",
    ))
}

/// safetensors files go first: a directory with both is a repository with a conversion beside.
fn directory_kind(dir: &Path) -> Result<Kind, Error> {
    let mut gguf = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(Error::io(dir, "list"))? {
        let file = entry.map_err(Error::io(dir, "list"))?.path();
        let name = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if name.ends_with(".safetensors") || name.ends_with(".safetensors.index.json") {
            return Ok(Kind::Safetensors(dir.to_owned()));
        }
        if name.ends_with(".gguf") && (!name.contains("-of-") || name.contains("-00001-of-")) {
            gguf.push(file);
        }
    }
    match (gguf.pop(), gguf.len()) {
        (None, _) => Ok(Kind::Safetensors(dir.to_owned())),
        (Some(file), 0) => Ok(Kind::Gguf(file)),
        (Some(_), others) => Err(Error::unsupported(
            dir,
            "directory",
            format!("holds {} GGUF models", others + 1),
            "name one of the files",
        )),
    }
}
