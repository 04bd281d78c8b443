//! Parsing the front of a safetensors file: a length, and JSON that names each tensor's type,
//! shape and range.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::path::Path;

use kernels::blocks::BlockType;
use serde::Deserialize;
use serde::de::{Deserializer, Error as _, MapAccess, Visitor};

use crate::Error;
use crate::tensor::{self, TensorInfo, shorten};

/// The format's own limit on the length of its header.
const MAX_HEADER: u64 = 100_000_000;
/// No tensor of any known model has more dimensions.
const MAX_DIMS: usize = 8;

/// The front of a safetensors file, parsed but not yet held against the file's length.
#[derive(Clone, Debug, Default)]
pub struct Header {
    /// The free-form `__metadata__` strings.
    pub metadata: BTreeMap<String, String>,
    /// The tensors in the order of the header.
    pub tensors: Vec<RawTensor>,
    /// Where in the file the tensor data starts.
    pub data_start: u64,
}

/// A tensor's description as the file has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawTensor {
    /// The name.
    pub name: String,
    /// The element type as spelled in the file, perhaps one we do not know.
    pub dtype: String,
    /// Dimensions, outermost first.
    pub shape: Vec<u64>,
    /// First byte of the data, counted from the start of all tensor data.
    pub start: u64,
    /// The byte after the last.
    pub end: u64,
}

impl Header {
    /// Parses the header at the start of `bytes`; `path` only serves error messages.
    pub fn parse(bytes: &[u8], path: &Path) -> Result<Header, Error> {
        let truncated = |field: &str, missing| Error::Truncated {
            path: path.to_owned(),
            field: field.to_owned(),
            missing,
        };
        let Some((len, rest)) = bytes.split_first_chunk::<8>() else {
            return Err(truncated("header length", 8 - bytes.len() as u64));
        };
        let len = u64::from_le_bytes(*len);
        if len > MAX_HEADER {
            return Err(Error::Malformed {
                path: path.to_owned(),
                field: "header length".to_owned(),
                problem: format!("{len} bytes, more than the {MAX_HEADER} the format allows"),
                remedy: "this is not a safetensors file or it is damaged, fetch it again",
            });
        }
        let Some(json) = rest.get(..len as usize) else {
            return Err(truncated("header", len - rest.len() as u64));
        };
        let mut header: Header =
            serde_json::from_slice(json).map_err(|e| Error::malformed(path, "header", e))?;
        header.data_start = 8 + len;
        Ok(header)
    }

    /// The tensors with their places in a file of `file_bytes` bytes, as shard number `part`:
    /// every type known, every shape possible, every range as long as the shape asks, inside the
    /// file and clear of every other.
    pub fn layout(
        &self,
        file_bytes: u64,
        part: usize,
        path: &Path,
    ) -> Result<Vec<TensorInfo>, Error> {
        let tensors = self
            .tensors
            .iter()
            .map(|raw| self.place(raw, file_bytes, part, path))
            .collect::<Result<Vec<_>, _>>()?;
        tensor::refuse_overlaps(&tensors, path)?;
        Ok(tensors)
    }

    fn place(
        &self,
        raw: &RawTensor,
        file_bytes: u64,
        part: usize,
        path: &Path,
    ) -> Result<TensorInfo, Error> {
        let field = || format!("tensor `{}`", shorten(&raw.name));
        let Some(ty) = raw.block_type() else {
            return Err(Error::unsupported(
                path,
                field(),
                format!("element type {} is not supported", shorten(&raw.dtype)),
                "use a file of the same model in F32, F16 or BF16",
            ));
        };
        let (shape, bytes) = raw.size(ty).map_err(|why| Error::malformed(path, field(), why))?;
        if raw.end.checked_sub(raw.start) != Some(bytes as u64) {
            let why = format!(
                "data_offsets [{}, {}] are not the {bytes} bytes of shape {shape:?} in {ty:?}",
                raw.start, raw.end
            );
            return Err(Error::malformed(path, field(), why));
        }
        match self.data_start.checked_add(raw.end) {
            Some(end) if end <= file_bytes => Ok(TensorInfo {
                name: raw.name.clone(),
                shape,
                ty,
                bytes,
                part,
                offset: end as usize - bytes,
            }),
            Some(end) => Err(Error::Truncated {
                path: path.to_owned(),
                field: field(),
                missing: end - file_bytes,
            }),
            None => {
                let why = format!("data_offsets up to {} lie outside any file", raw.end);
                Err(Error::malformed(path, field(), why))
            }
        }
    }
}

impl RawTensor {
    /// The block format of the element type, where it is one we compute with.
    pub(crate) fn block_type(&self) -> Option<BlockType> {
        match self.dtype.as_str() {
            "F32" => Some(BlockType::F32),
            "F16" => Some(BlockType::F16),
            "BF16" => Some(BlockType::BF16),
            "F8_E4M3" => Some(BlockType::F8_E4M3),
            _ => None,
        }
    }

    /// The shape as native integers, and the bytes it takes in `ty`. A scalar, which has no
    /// dimensions here, counts as one row of one.
    fn size(&self, ty: BlockType) -> Result<(Vec<usize>, usize), String> {
        if self.shape.len() > MAX_DIMS {
            return Err(format!(
                "{} dimensions, more than the {MAX_DIMS} allowed",
                self.shape.len()
            ));
        }
        let mut shape = self
            .shape
            .iter()
            .map(|&d| usize::try_from(d))
            .collect::<Result<Vec<usize>, _>>()
            .map_err(|_| format!("shape {:?} is too large", self.shape))?;
        if shape.is_empty() {
            shape.push(1);
        }
        let bytes = tensor::size(&shape, ty)?;
        Ok((shape, bytes))
    }
}

/// What the header says of one tensor.
#[derive(Deserialize)]
struct Entry {
    dtype: String,
    shape: Vec<u64>,
    data_offsets: (u64, u64),
}

impl<'de> Deserialize<'de> for Header {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Header, D::Error> {
        deserializer.deserialize_map(HeaderVisitor)
    }
}

/// By hand rather than into a map, to keep the order and to see a name that comes twice.
struct HeaderVisitor;

impl<'de> Visitor<'de> for HeaderVisitor {
    type Value = Header;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with an entry per tensor")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Header, A::Error> {
        let mut header = Header::default();
        let mut seen = HashSet::new();
        while let Some(name) = map.next_key::<String>()? {
            let context =
                |e: A::Error| A::Error::custom(format_args!("entry `{}`: {e}", shorten(&name)));
            if !seen.insert(name.clone()) {
                return Err(context(A::Error::custom("appears twice")));
            }
            if name == "__metadata__" {
                header.metadata = map.next_value().map_err(context)?;
            } else {
                let Entry { dtype, shape, data_offsets: (start, end) } =
                    map.next_value().map_err(context)?;
                header.tensors.push(RawTensor { name, dtype, shape, start, end });
            }
        }
        Ok(header)
    }
}
