//! Holding the tensor descriptions of a header against each other and against the file.

use std::path::Path;

use kernels::blocks::BlockType;

use super::header::{Header, RawTensor};
use crate::Error;
use crate::tensor::{self, TensorInfo, shorten};

impl Header {
    /// The tensors with their places in a file of `file_bytes` bytes, as part number `part`:
    /// every type known, every shape possible, every range aligned, inside the file and clear of
    /// every other.
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
        let ty = BlockType::from_ggml(raw.ggml_type).ok_or_else(|| {
            let name = type_name(raw.ggml_type).unwrap_or("unknown");
            Error::unsupported(
                path,
                field(),
                format!("storage type {} ({name}) is not supported", raw.ggml_type),
                "use a file of the same model in a type that is, such as Q4_K_M or Q8_0",
            )
        })?;
        let (shape, bytes) = raw.size(ty).map_err(|why| Error::malformed(path, field(), why))?;
        if !raw.offset.is_multiple_of(self.alignment) {
            let why = format!(
                "offset {} is not a multiple of the alignment {}",
                raw.offset, self.alignment
            );
            return Err(Error::malformed(path, field(), why));
        }
        let start = self.data_start.checked_add(raw.offset);
        let end = start.and_then(|start| start.checked_add(bytes as u64));
        match (start, end) {
            (Some(start), Some(end)) if end <= file_bytes => Ok(TensorInfo {
                name: raw.name.clone(),
                shape,
                ty,
                bytes,
                part,
                offset: start as usize,
            }),
            (_, Some(end)) => Err(Error::Truncated {
                path: path.to_owned(),
                field: field(),
                missing: end - file_bytes,
            }),
            (_, None) => {
                let why = format!("offset {} lies outside any file", raw.offset);
                Err(Error::malformed(path, field(), why))
            }
        }
    }
}

impl RawTensor {
    /// The shape as native integers, and the bytes it takes in `ty`.
    pub(super) fn size(&self, ty: BlockType) -> Result<(Vec<usize>, usize), String> {
        let shape = self
            .shape
            .iter()
            .map(|&d| usize::try_from(d))
            .collect::<Result<Vec<usize>, _>>()
            .map_err(|_| format!("shape {:?} is too large", self.shape))?;
        let bytes = tensor::size(&shape, ty)?;
        Ok((shape, bytes))
    }
}

/// GGUF's name of a storage type, also of those we cannot compute with.
pub(super) fn type_name(ggml_type: u32) -> Option<&'static str> {
    Some(match ggml_type {
        0 => "F32",
        1 => "F16",
        2 => "Q4_0",
        3 => "Q4_1",
        6 => "Q5_0",
        7 => "Q5_1",
        8 => "Q8_0",
        9 => "Q8_1",
        10 => "Q2_K",
        11 => "Q3_K",
        12 => "Q4_K",
        13 => "Q5_K",
        14 => "Q6_K",
        15 => "Q8_K",
        16 => "IQ2_XXS",
        17 => "IQ2_XS",
        18 => "IQ3_XXS",
        19 => "IQ1_S",
        20 => "IQ4_NL",
        21 => "IQ3_S",
        22 => "IQ2_S",
        23 => "IQ4_XS",
        24 => "I8",
        25 => "I16",
        26 => "I32",
        27 => "I64",
        28 => "F64",
        29 => "IQ1_M",
        30 => "BF16",
        34 => "TQ1_0",
        35 => "TQ2_0",
        39 => "MXFP4",
        40 => "NVFP4",
        _ => return None,
    })
}
