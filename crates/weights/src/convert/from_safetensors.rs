//! Safetensors to GGUF.

use kernels::blocks::BlockType;
use kernels::ops::RopeLayout;

use super::draft::{Draft, DraftTensor, reordered, shifted};
use super::rows::Made;
use super::{settings, stacked, vocabulary};
use crate::Checkpoint;
use crate::Error;
use crate::gguf::Metadata;
use crate::safetensors::{is_of_pictures, names};
use crate::tensor::TensorInfo;

impl<'a> Draft<'a> {
    /// An open safetensors model in GGUF's terms. `pre` is GGUF's name for the way its
    /// pre-tokenizer cuts a text; without it there will be no vocabulary in the file.
    ///
    /// Matrices keep their type, everything else is put into f32, as readers of GGUF expect.
    ///
    /// # Errors
    /// The architecture is unknown, a setting or a tensor is missing or makes no sense, or the
    /// vocabulary is neither byte-level BPE nor SentencePiece's.
    pub fn of_safetensors(
        checkpoint: &'a Checkpoint,
        pre: Option<&str>,
    ) -> Result<Draft<'a>, Error> {
        let Checkpoint::Safetensors(dir) = checkpoint else {
            let problem = "this is no safetensors model";
            let remedy = "name a directory of safetensors files";
            return Err(Error::unsupported(checkpoint.path(), "file", problem, remedy));
        };
        let path = dir.path();
        let mut metadata = Metadata::new();
        let architecture = dir.config()?["model_type"].as_str().unwrap_or_default();
        let architecture = names::architecture(architecture);
        metadata.insert("general.architecture", architecture);
        metadata.insert("general.type", "model");
        if let Some(name) = vocabulary::name(path) {
            metadata.insert("general.name", name);
        }
        let settings = settings::read(path, dir.config()?, &mut metadata)?;
        let shape = settings.shape;

        // Where the output matrix is the embedding a copy of it is of no use, nor are the
        // frequencies that old checkpoints have in them.
        // DeepSeek's layers behind the last one guess further tokens.
        let behind = |name: &str| {
            let rest = name.strip_prefix("blk.").or_else(|| name.strip_prefix("model.layers."));
            let number = rest.and_then(|rest| rest.split_once('.')?.0.parse::<usize>().ok());
            shape.latent.is_some() && number.is_some_and(|number| number >= shape.layers)
        };
        let used = |t: &&TensorInfo| {
            let copy = t.name == "output.weight" && settings.tied;
            let ours = !behind(&t.name) && !is_of_pictures(&t.name);
            !copy && !t.name.ends_with("rotary_emb.inv_freq") && ours
        };
        if dir.gguf_tensors().iter().any(|t| is_of_pictures(&t.name)) {
            tracing::warn!("{}: what sees pictures is left out, only text is kept", path.display());
        }
        let infos: Vec<TensorInfo> = dir.gguf_tensors().iter().filter(used).cloned().collect();
        shape.check_tensors(infos.iter().map(|t| (&t.name[..], &t.shape[..])), path)?;
        let rows = infos.iter().find(|t| t.name == "token_embd.weight");
        let rows = rows.and_then(|t| t.shape.first()).copied().unwrap_or(0);
        if let Some(generation) = dir.generation_config() {
            vocabulary::sampling(generation, &mut metadata);
        }
        if matches!(architecture, "llama" | "deepseek2") {
            metadata.insert(format!("{architecture}.vocab_size"), rows as u32);
        }
        if let Some(pre) = pre {
            vocabulary::read(dir, rows, pre, &mut metadata)?;
        }

        let mut tensors = Vec::with_capacity(infos.len() + 2);
        for (name, frequencies) in settings.frequencies {
            tensors.push(DraftTensor {
                name: name.to_owned(),
                shape: vec![frequencies.len()],
                ty: BlockType::F32,
                rows: Box::new(Made { cols: frequencies.len(), values: frequencies }),
            });
        }
        for mut t in stacked::gather(checkpoint, &infos, &shape)? {
            if shape.is_permuted(&t.name) {
                t = reordered(t, shape.head_dim, RopeLayout::Interleaved);
            }
            if shape.is_gemma() && t.name.ends_with("norm.weight") {
                t = shifted(t, 1.0);
            }
            // Between two experts, rounding would decide.
            if t.shape.len() == 1 || t.name.ends_with("ffn_gate_inp.weight") {
                t.ty = BlockType::F32;
            }
            tensors.push(t);
        }
        // Layer by layer, so that a reader that goes through the layers goes through the file.
        tensors.sort_by_cached_key(|t| order(&t.name));
        Ok(Draft { path: path.to_owned(), metadata, tensors, importance: None })
    }
}

/// What belongs to no layer first, then the layers by number.
fn order(name: &str) -> (Option<usize>, String) {
    let layer = name.strip_prefix("blk.").and_then(|rest| rest.split_once('.')?.0.parse().ok());
    (layer, name.to_owned())
}
