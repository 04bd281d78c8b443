//! safetensors, Hugging Face's file format: one file or several shards in a directory, beside
//! JSON files that say what the weights mean.
//!
//! Tensors are F32, F16, BF16, or F8_E4M3 with scales. Data may start at any byte, so readers of a slice must not
//! expect it to be aligned for its type.

mod fp8;
mod header;
pub mod names;
mod shards;
mod text;
mod write;

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

pub use header::{Header, RawTensor};
use kernels::blocks::dequantize_row;
use serde_json::Value;
pub use write::{NewTensor, write};

pub(crate) use fp8::Scaled;

use crate::Error;
use crate::mapping::Mapping;
use crate::tensor::{Table, Tensor, TensorInfo, shorten};
use fp8::{Fp8, Scale};

pub(crate) use shards::{Shards, chat_template, find, read_json};
pub(crate) use text::{is_of_pictures, text_part};

/// An open safetensors model: its shards mapped, all their claims checked, the small JSON files
/// beside them parsed.
#[derive(Debug)]
pub struct SafetensorsDir {
    dir: PathBuf,
    shards: Vec<Mapping>,
    tensors: Table,
    renamed: Table,
    /// Of matrices in FP8, by GGUF's names for them.
    scales: BTreeMap<String, Scale>,
    config: Option<Value>,
    generation_config: Option<Value>,
    tokenizer_config: Option<Value>,
}

impl SafetensorsDir {
    /// Opens the model in directory `path`, or the one that the file `path` belongs to.
    ///
    /// In a directory `model.safetensors` is taken, or else the shards that
    /// `model.safetensors.index.json` lists, or else the only `.safetensors` file there is.
    pub fn open(path: &Path) -> Result<SafetensorsDir, Error> {
        let Shards { dir, files, index } = find(path)?;
        if let Some(index) = &index {
            index.check_files(&files)?;
        }
        let mut shards = Vec::with_capacity(files.len());
        let mut tensors = Vec::new();
        for (part, file) in files.iter().enumerate() {
            let mapping = Mapping::open(file)?;
            let header = Header::parse(&mapping, file)?;
            tensors.extend(header.layout(mapping.len() as u64, part, file)?);
            shards.push(mapping);
        }
        let config = read_json(&dir.join("config.json"))?.map(text_part);
        let model_type = config.as_ref().and_then(|config| config["model_type"].as_str());
        let architecture = names::architecture(model_type.unwrap_or_default());
        let fp8 = Fp8::find(&tensors, config.as_ref(), &dir)?;
        let gguf =
            |name: &str| names::to_gguf(architecture, name).unwrap_or_else(|| name.to_owned());
        let renamed = tensors
            .iter()
            .filter(|t| !fp8.is_beside(&t.name))
            .map(|t| TensorInfo { name: gguf(&t.name), ..t.clone() })
            .collect();
        let scales = fp8.scales(gguf);
        let twice = |name: String| {
            let field = format!("tensor `{}`", shorten(&name));
            Error::malformed(&dir, field, "is in the model twice")
        };
        let tensors = Table::new(tensors).map_err(twice)?;
        let renamed = Table::new(renamed).map_err(twice)?;
        if let Some(index) = index {
            index.check_tensors(&tensors, &files)?;
        }
        Ok(SafetensorsDir {
            shards,
            tensors,
            renamed,
            scales,
            config,
            generation_config: read_json(&dir.join("generation_config.json"))?,
            tokenizer_config: read_json(&dir.join("tokenizer_config.json"))?,
            dir,
        })
    }

    /// The directory of the model.
    pub fn path(&self) -> &Path {
        &self.dir
    }

    /// Size of the weight files in bytes, all shards together.
    pub fn file_bytes(&self) -> u64 {
        self.shards.iter().map(|shard| shard.len() as u64).sum()
    }

    /// Every tensor under its own (Hugging Face) name, in file order.
    pub fn tensors(&self) -> &[TensorInfo] {
        self.tensors.tensors()
    }

    /// The tensor that the file calls `name`.
    pub fn tensor(&self, name: &str) -> Option<Tensor<'_>> {
        self.tensors.get(name).map(|info| self.slice(info))
    }

    /// Every tensor under GGUF's name for it (see [`names`]; what has none keeps its own), in
    /// file order, but those of scales.
    pub fn gguf_tensors(&self) -> &[TensorInfo] {
        self.renamed.tensors()
    }

    /// The tensor that GGUF calls `name`.
    pub fn gguf_tensor(&self, name: &str) -> Option<Tensor<'_>> {
        self.renamed.get(name).map(|info| self.slice(info))
    }

    /// What the matrix in FP8 that GGUF calls `name` is to be multiplied with; none for other tensors.
    ///
    /// # Errors
    /// The scales can't be read.
    pub(crate) fn scaled(&self, name: &str) -> Result<Option<Scaled>, Error> {
        let Some(scale) = self.scales.get(name) else { return Ok(None) };
        let Some(tensor) = scale.name.as_ref().and_then(|name| self.tensor(name)) else {
            return Ok(Some(scale.with(vec![1.0])));
        };
        let mut values = vec![0.0; tensor.info.elements()];
        dequantize_row(tensor.info.ty, tensor.data, &mut values).map_err(|error| {
            let field = format!("tensor `{}`", shorten(&tensor.info.name));
            Error::malformed(&self.dir, field, error)
        })?;
        Ok(Some(scale.with(values)))
    }

    /// Gives the memory of a tensor's bytes back to the system, as far as they fill whole pages;
    /// `name` is either its own name or GGUF's. Slices of them stay valid: touching one reads
    /// the file again.
    pub fn release(&self, name: &str) {
        if let Some(info) = self.tensors.get(name).or_else(|| self.renamed.get(name)) {
            self.shards[info.part].release(info.range());
        }
    }

    /// The same for a part of a tensor: `bytes`, counted from its first.
    pub fn release_part(&self, name: &str, bytes: Range<usize>) {
        if let Some(info) = self.tensors.get(name).or_else(|| self.renamed.get(name)) {
            self.shards[info.part].release(info.part_of(bytes));
        }
    }

    /// Asks the system to read a tensor's bytes ahead of their use; `name` is either its own
    /// name or GGUF's.
    pub fn prefetch(&self, name: &str) {
        if let Some(info) = self.tensors.get(name).or_else(|| self.renamed.get(name)) {
            self.shards[info.part].prefetch(info.range());
        }
    }

    /// `config.json`: the architecture, of a model that sees pictures that of its text part. Without it the weights cannot be used, so that it is
    /// missing is an error here and not at [`SafetensorsDir::open`].
    pub fn config(&self) -> Result<&Value, Error> {
        self.config.as_ref().ok_or_else(|| Error::Missing {
            path: self.dir.clone(),
            what: "config.json".to_owned(),
            remedy: "fetch it from the model's repository and put it beside the weights",
        })
    }

    /// `generation_config.json`: the makers' sampling defaults.
    pub fn generation_config(&self) -> Option<&Value> {
        self.generation_config.as_ref()
    }

    /// `tokenizer_config.json`: special tokens and perhaps the chat template.
    pub fn tokenizer_config(&self) -> Option<&Value> {
        self.tokenizer_config.as_ref()
    }

    /// The bytes of `tokenizer.json`; not parsed, as that is the tokenizer's own business.
    pub fn tokenizer_json(&self) -> Result<Vec<u8>, Error> {
        let path = self.dir.join("tokenizer.json");
        if !path.exists() {
            return Err(Error::Missing {
                path: self.dir.clone(),
                what: "tokenizer.json".to_owned(),
                remedy: "fetch it from the model's repository and put it beside the weights",
            });
        }
        std::fs::read(&path).map_err(Error::io(&path, "read"))
    }

    /// The chat template: `chat_template.jinja`, or else what `tokenizer_config.json` has (of
    /// several there the one named "default").
    pub fn chat_template(&self) -> Result<Option<String>, Error> {
        chat_template(&self.dir, self.tokenizer_config.as_ref())
    }

    fn slice<'a>(&'a self, info: &'a TensorInfo) -> Tensor<'a> {
        Tensor { info, data: &self.shards[info.part][info.range()] }
    }
}
