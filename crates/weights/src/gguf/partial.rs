//! Reading what there is of a GGUF file that may be cut or damaged, and saying what is missing.

use std::path::{Path, PathBuf};

use kernels::blocks::BlockType;

use super::header::{Header, RawTensor};
use super::layout;
use super::metadata::Metadata;
use super::split::Parts;
use crate::Error;
use crate::mapping::Mapping;
use crate::tensor::shorten;

/// What could be read of a GGUF model, complete or not.
#[derive(Debug)]
pub struct Partial {
    /// The header of the first part that could be opened.
    pub header: Header,
    /// Bytes of all the files that are there.
    pub file_bytes: u64,
    /// Number of files the model should have.
    pub parts: usize,
    /// Whether a header is cut or a part missing, so that there are tensors nothing is known of.
    pub header_cut: bool,
    /// Every tensor whose description could be read, in file order.
    pub tensors: Vec<PartialTensor>,
    /// What is missing or wrong, one sentence each. Empty where the model is complete and sound.
    pub problems: Vec<String>,
}

/// A tensor described in a header, with or without its data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartialTensor {
    /// The name.
    pub name: String,
    /// Dimensions, outermost first.
    pub shape: Vec<u64>,
    /// GGUF's number of the storage type.
    pub ggml_type: u32,
    /// Bytes of its data: exact for a type we know, up to the next tensor for another.
    pub bytes: u64,
    /// How many of them the file does not have.
    pub missing: u64,
}

impl PartialTensor {
    /// The storage type, where we can compute with it.
    pub fn block_type(&self) -> Option<BlockType> {
        BlockType::from_ggml(self.ggml_type)
    }

    /// GGUF's name of the storage type, or its number.
    pub fn type_name(&self) -> String {
        layout::type_name(self.ggml_type)
            .map_or_else(|| format!("type {}", self.ggml_type), str::to_owned)
    }

    /// Number of weights.
    pub fn elements(&self) -> u64 {
        self.shape.iter().fold(1, |n, &d| n.saturating_mul(d))
    }
}

impl Partial {
    /// Opens the model at `path`, all its parts as far as they are there. Fails only where there
    /// is nothing to show: no such file, or none that begins like GGUF.
    pub fn open(path: &Path) -> Result<Partial, Error> {
        let first = Mapping::open(path)?;
        let (header, problem) = Header::parse_partial(&first, path);
        if header.version == 0 {
            return Err(problem.unwrap_or_else(|| Error::malformed(path, "version", "is 0")));
        }
        let mut partial = Partial {
            header,
            file_bytes: 0,
            parts: 1,
            header_cut: false,
            tensors: Vec::new(),
            problems: Vec::new(),
        };
        match Parts::of(path, &partial.header.metadata) {
            Ok(None) => {
                let header = partial.header.clone();
                partial.add(&header, problem, first.len() as u64, path);
            }
            Ok(Some(split)) => partial.add_parts(&split),
            Err(error) => partial.problems.push(error.to_string()),
        }
        Ok(partial)
    }

    /// The metadata, as far as it could be read; of a split model that of the first part that is
    /// there.
    pub fn metadata(&self) -> &Metadata {
        &self.header.metadata
    }

    fn add_parts(&mut self, split: &Parts) {
        self.parts = split.count();
        let mut absent: Option<PathBuf> = None;
        let mut absences = 0;
        let mut first = true;
        for path in split.paths() {
            let mapping = match Mapping::open(&path) {
                Ok(mapping) => mapping,
                Err(_) if !path.exists() => {
                    absences += 1;
                    absent.get_or_insert(path);
                    continue;
                }
                Err(error) => {
                    self.problems.push(error.to_string());
                    continue;
                }
            };
            let (header, problem) = Header::parse_partial(&mapping, &path);
            self.add(&header, problem, mapping.len() as u64, &path);
            if std::mem::take(&mut first) {
                self.header = header;
            }
        }
        if let Some(path) = absent {
            self.header_cut = true;
            self.problems.push(format!(
                "{absences} of {} parts are missing, the first {}",
                self.parts,
                path.display()
            ));
        }
    }

    fn add(&mut self, header: &Header, problem: Option<Error>, file_bytes: u64, path: &Path) {
        self.file_bytes += file_bytes;
        let before = self.problems.len();
        if let Some(error) = problem {
            self.problems.push(error.to_string());
            let keys = header.declared_keys.saturating_sub(header.metadata.len() as u64);
            let tensors = header.declared_tensors.saturating_sub(header.tensors.len() as u64);
            if keys.saturating_add(tensors) > 0 {
                self.header_cut = true;
                self.problems.push(format!(
                    "{keys} of {} metadata keys and {tensors} of {} tensor descriptions could \
                     not be read",
                    header.declared_keys, header.declared_tensors
                ));
            }
        }
        let tensors = measure(header, file_bytes);
        self.problems.extend(missing_data(&tensors));
        self.tensors.extend(tensors);
        // Everything is there: then whatever is wrong is for the strict reader to say.
        if self.problems.len() == before
            && let Err(error) = header.layout(file_bytes, 0, path)
        {
            self.problems.push(error.to_string());
        }
    }
}

/// The tensors of a header with their sizes, and what a file of `file_bytes` lacks of each.
fn measure(header: &Header, file_bytes: u64) -> Vec<PartialTensor> {
    let mut starts: Vec<u64> = header.tensors.iter().map(|t| t.offset).collect();
    starts.sort_unstable();
    let data = match header.data_start {
        // The header itself is cut, so no tensor's data has begun.
        0 => None,
        start => Some(file_bytes.saturating_sub(start)),
    };
    let size = |raw: &RawTensor| {
        let exact = BlockType::from_ggml(raw.ggml_type).and_then(|ty| raw.size(ty).ok());
        if let Some((_, bytes)) = exact {
            return bytes as u64;
        }
        let next = starts.get(starts.partition_point(|&s| s <= raw.offset)).copied();
        next.or(data).unwrap_or(raw.offset).saturating_sub(raw.offset)
    };
    header
        .tensors
        .iter()
        .map(|raw| {
            let bytes = size(raw);
            let there = data.unwrap_or(0).saturating_sub(raw.offset).min(bytes);
            PartialTensor {
                name: raw.name.clone(),
                shape: raw.shape.clone(),
                ggml_type: raw.ggml_type,
                bytes,
                missing: bytes - there,
            }
        })
        .collect()
}

/// What of the tensors' data is not there, in at most three sentences.
fn missing_data(tensors: &[PartialTensor]) -> Vec<String> {
    let mut problems = Vec::new();
    let mut empty = Vec::new();
    let mut cut = Vec::new();
    for (number, tensor) in tensors.iter().enumerate().map(|(i, t)| (i + 1, t)) {
        match tensor.missing {
            0 => {}
            m if m == tensor.bytes => empty.push((number, tensor)),
            _ => cut.push((number, tensor)),
        }
    }
    let total = tensors.len();
    if let Some((number, tensor)) = cut.first() {
        problems.push(format!(
            "tensor {number} of {total} (`{}`) lacks {} of its {} bytes{}",
            shorten(&tensor.name),
            tensor.missing,
            tensor.bytes,
            match cut.len() {
                1 => String::new(),
                n => format!(", and {} more are cut too", n - 1),
            }
        ));
    }
    match empty.as_slice() {
        [] => {}
        [(number, tensor)] => problems
            .push(format!("tensor {number} of {total} (`{}`) has no data", shorten(&tensor.name))),
        [(from, first), .., (to, last)] => problems.push(format!(
            "{} of {total} tensors, number {from} (`{}`) to {to} (`{}`), have no data",
            empty.len(),
            shorten(&first.name),
            shorten(&last.name)
        )),
    }
    let missing = tensors.iter().fold(0u64, |n, t| n.saturating_add(t.missing));
    if missing > 0 {
        let all = tensors.iter().fold(0u64, |n, t| n.saturating_add(t.bytes));
        problems.push(format!("{missing} of {all} bytes of tensor data are missing"));
    }
    problems
}
