//! GGUF, the file format of llama.cpp: metadata and quantised tensors in one mappable file.
//!
//! Versions 2 and 3, little-endian. A model may be split over files named
//! `NAME-00001-of-0000N.gguf`; opening any of them opens all.

mod header;
mod layout;
mod metadata;
mod partial;
mod split;
mod value;
mod write;

use std::ops::Range;
use std::path::{Path, PathBuf};

pub use header::{Header, RawTensor};
pub use metadata::Metadata;
pub use partial::{Partial, PartialTensor};
use split::Parts;
pub use value::{Array, Nested, StrArray, Value};
pub use write::{AtomicFile, GgufWriter, TensorSpec};

use crate::Error;
use crate::mapping::Mapping;
use crate::tensor::{Table, Tensor, TensorInfo, shorten};

/// An open GGUF model: all its parts mapped, all its claims checked.
#[derive(Debug)]
pub struct Gguf {
    path: PathBuf,
    parts: Vec<Mapping>,
    version: u32,
    metadata: Metadata,
    tensors: Table,
}

impl Gguf {
    /// Opens the model at `path` with every part of it. Checked here, once: the header, and that
    /// every tensor has a known type and a possible shape and lies aligned inside its file and
    /// apart from the others. The data itself is not touched.
    pub fn open(path: &Path) -> Result<Gguf, Error> {
        let first = Mapping::open(path)?;
        let header = Header::parse(&first, path)?;
        let Some(split) = Parts::of(path, &header.metadata)? else {
            let tensors = header.layout(first.len() as u64, 0, path)?;
            return Gguf::assemble(path, vec![first], header, tensors);
        };
        drop(first);

        let mut parts = Vec::new();
        let mut tensors = Vec::new();
        let mut front: Option<(PathBuf, Header)> = None;
        for (part, path) in split.paths().enumerate() {
            // Opened as we go, so that an absurd count stops at the first file not there.
            if !path.exists() {
                return Err(split.missing(&path, part));
            }
            let mapping = Mapping::open(&path)?;
            let header = Header::parse(&mapping, &path)?;
            split::check_part(&path, &header.metadata, part, split.count())?;
            tensors.extend(header.layout(mapping.len() as u64, part, &path)?);
            parts.push(mapping);
            front.get_or_insert((path, header));
        }
        // There are at least two parts, so there is a first.
        let (path, header) = front.unwrap_or((path.to_owned(), header));
        split::check_total(&path, &header.metadata, tensors.len())?;
        Gguf::assemble(&path, parts, header, tensors)
    }

    fn assemble(
        path: &Path,
        parts: Vec<Mapping>,
        header: Header,
        tensors: Vec<TensorInfo>,
    ) -> Result<Gguf, Error> {
        // Within a part the header has seen to it; parts can still repeat one another.
        let tensors = Table::new(tensors).map_err(|name| {
            let field = format!("tensor `{}`", shorten(&name));
            Error::malformed(path, field, "is in two parts of the model")
        })?;
        let Header { version, metadata, .. } = header;
        Ok(Gguf { path: path.to_owned(), parts, version, metadata, tensors })
    }

    /// The file that was opened; of a split model the first part.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Size of the file in bytes, all parts together.
    pub fn file_bytes(&self) -> u64 {
        self.parts.iter().map(|part| part.len() as u64).sum()
    }

    /// Version of the format, 2 or 3.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// The metadata; of a split model that of the first part.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// Every tensor, in file order.
    pub fn tensors(&self) -> &[TensorInfo] {
        self.tensors.tensors()
    }

    /// The tensor called `name` with its bytes.
    pub fn tensor(&self, name: &str) -> Option<Tensor<'_>> {
        let info = self.tensors.get(name)?;
        Some(Tensor { info, data: &self.parts[info.part][info.range()] })
    }

    /// Gives the memory of a tensor's bytes back to the system, as far as they fill whole pages.
    /// Slices of them stay valid: touching one reads the file again.
    pub fn release(&self, name: &str) {
        if let Some(info) = self.tensors.get(name) {
            self.parts[info.part].release(info.range());
        }
    }

    /// The same for a part of a tensor: `bytes`, counted from its first.
    pub fn release_part(&self, name: &str, bytes: Range<usize>) {
        if let Some(info) = self.tensors.get(name) {
            self.parts[info.part].release(info.part_of(bytes));
        }
    }

    /// Asks the system to read a tensor's bytes ahead of their use.
    pub fn prefetch(&self, name: &str) {
        if let Some(info) = self.tensors.get(name) {
            self.parts[info.part].prefetch(info.range());
        }
    }
}
