//! To a directory of safetensors that `transformers` loads.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use kernels::Pool;
use kernels::blocks::BlockType;
use kernels::ops::RopeLayout;
use serde_json::{Map, Value, json};

use super::config_json::torch_name;
use super::draft::{Broken, Draft, DraftTensor, reordered, shifted};
use super::output;
use super::shape::{LONG, SHORT, Shape};
use crate::Error;
use crate::pull::Progress;
use crate::safetensors::names;
use crate::tensor;

/// What lies beside the weights.
pub enum Beside<'b> {
    /// The files of the model at this path: it was safetensors before.
    Copied(&'b Path),
    /// Made from the metadata, and from what GGUF has but a name for: `normalizer` and
    /// `pre_tokenizer` of `tokenizer.json`.
    Made {
        /// Done to a text before it is cut; null for nothing.
        normalizer: Value,
        /// How a text is cut.
        pre_tokenizer: Value,
    },
}

/// How a directory of safetensors is written.
pub struct SafetensorsOptions<'b> {
    /// F32, F16 or BF16: what every tensor is stored as.
    pub ty: BlockType,
    /// Bytes of tensors after which another file begins.
    pub shard_bytes: u64,
    /// The files beside the weights.
    pub beside: Beside<'b>,
}

/// As large as hubs like their files.
pub const SHARD_BYTES: u64 = 5_000_000_000;

/// Files that are copied from one directory to the other where they are there.
const COPIED: [&str; 10] = [
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "chat_template.jinja",
    "chat_template.json",
];

impl Draft<'_> {
    /// Writes the directory `dir`, which is there only once it is whole.
    ///
    /// # Errors
    /// The architecture is unknown, a tensor has no name in `transformers` or can't be stored, or a
    /// file can't be written.
    pub fn write_safetensors(
        self,
        dir: &Path,
        options: &SafetensorsOptions<'_>,
        pool: &Pool,
        progress: &dyn Progress,
    ) -> Result<(), Error> {
        let shape = Shape::of(&self.metadata, &self.path)?;
        shape
            .check_tensors(self.tensors.iter().map(|t| (&t.name[..], &t.shape[..])), &self.path)?;
        let ty = options.ty;
        if !matches!(ty, BlockType::F32 | BlockType::F16 | BlockType::BF16) {
            let problem = format!("{ty} is no type of safetensors");
            return Err(Error::unsupported(dir, "type", problem, "choose f32, f16 or bf16"));
        }
        let mut files: Vec<(&str, Vec<u8>)> = Vec::new();
        let mut copied = Vec::new();
        match &options.beside {
            Beside::Copied(from) => {
                files.push(("config.json", pretty(&copied_config(from, ty)?)));
                let there = |name: &&str| from.join(name).is_file();
                copied.extend(COPIED.into_iter().filter(there).map(|name| from.join(name)));
            }
            Beside::Made { normalizer, pre_tokenizer } => {
                files.push(("config.json", pretty(&self.config_json(&shape, ty)?)));
                files.push(("generation_config.json", pretty(&self.generation_config_json()?)));
                if let Some(made) = self.tokenizer_json(normalizer, pre_tokenizer)? {
                    files.push(("tokenizer.json", made.tokenizer.to_string().into_bytes()));
                    files.push(("tokenizer_config.json", pretty(&made.config)));
                }
            }
        }

        let Draft { path, metadata, tensors, importance } = self;
        let tensors = tensors
            .into_iter()
            .filter(|t| !["rope_freqs.weight", LONG, SHORT].contains(&&t.name[..]))
            .map(|mut t| {
                if shape.is_permuted(&t.name) {
                    t = reordered(t, shape.head_dim, RopeLayout::Halves);
                }
                if shape.is_gemma() && t.name.ends_with("norm.weight") {
                    t = shifted(t, -1.0);
                }
                t.ty = ty;
                t
            })
            .collect();
        let draft = Draft { path, metadata, tensors, importance };
        output::check_room(dir, draft.bytes()?)?;
        let making = tempfile::Builder::new()
            .prefix(".ponder-")
            .suffix(".tmp")
            .tempdir_in(output::parent(dir))
            .map_err(Error::io(dir, "create"))?;
        let architecture = &shape.architecture;
        draft.write_shards(
            making.path(),
            dir,
            architecture,
            options.shard_bytes,
            pool,
            progress,
        )?;
        for (name, bytes) in files {
            write(&making.path().join(name), &dir.join(name), |file| file.write_all(&bytes))?;
        }
        for from in copied {
            let name = from.file_name().unwrap_or_default();
            fs::copy(&from, making.path().join(name)).map_err(Error::io(&from, "copy"))?;
        }
        // Made for its maker alone, as directories of temporary files are; this one stays.
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let open = fs::Permissions::from_mode(0o755);
            fs::set_permissions(making.path(), open).map_err(Error::io(dir, "write"))?;
        }
        fs::rename(making.path(), dir).map_err(Error::io(dir, "rename to"))?;
        progress.end();
        Ok(())
    }

    fn write_shards(
        &self,
        making: &Path,
        dir: &Path,
        architecture: &str,
        shard_bytes: u64,
        pool: &Pool,
        progress: &dyn Progress,
    ) -> Result<(), Error> {
        let mut shards: Vec<Vec<(&DraftTensor<'_>, String, u64)>> = vec![Vec::new()];
        let mut filled = 0;
        for t in &self.tensors {
            let name = names::to_hf(architecture, &t.name).ok_or_else(|| {
                let problem = "has no name in `transformers`";
                Error::unsupported(&self.path, t.field(), problem, "convert another file")
            })?;
            let bytes = tensor::size(&t.shape, t.ty)
                .map_err(|why| Error::malformed(&self.path, t.field(), why))?
                as u64;
            if filled > 0 && filled + bytes > shard_bytes {
                shards.push(Vec::new());
                filled = 0;
            }
            filled += bytes;
            if let Some(shard) = shards.last_mut() {
                shard.push((t, name, bytes));
            }
        }
        let total: u64 = shards.iter().flatten().map(|(.., bytes)| bytes).sum();
        progress.begin(&output::title(dir), Some(total));
        let count = shards.len();
        let file = |at: usize| match count {
            1 => "model.safetensors".to_owned(),
            _ => format!("model-{:05}-of-{count:05}.safetensors", at + 1),
        };
        let mut written = 0;
        let mut map = Map::new();
        for (at, shard) in shards.iter().enumerate() {
            let name = file(at);
            let shown = dir.join(&name);
            let mut failed = None;
            let outcome = write(&making.join(&name), &shown, |out| {
                out.write_all(&header(shard))?;
                for (t, ..) in shard {
                    let streamed = self.stream(t, pool, &mut |bytes| {
                        out.write_all(bytes)?;
                        written += bytes.len() as u64;
                        progress.at(written);
                        Ok(())
                    });
                    match streamed {
                        Ok(()) => {}
                        Err(Broken::Write(error)) => return Err(error),
                        Err(Broken::Source(error)) => {
                            failed = Some(error);
                            return Ok(());
                        }
                    }
                }
                Ok(())
            });
            match failed {
                Some(error) => return Err(error),
                None => outcome?,
            }
            map.extend(shard.iter().map(|(_, tensor, _)| (tensor.clone(), json!(name))));
        }
        if count > 1 {
            let name = "model.safetensors.index.json";
            let index = json!({"metadata": {"total_size": total}, "weight_map": map});
            let bytes = pretty(&index);
            write(&making.join(name), &dir.join(name), |file| file.write_all(&bytes))?;
        }
        Ok(())
    }
}

/// The front of a file: a length, and where each tensor is.
fn header(shard: &[(&DraftTensor<'_>, String, u64)]) -> Vec<u8> {
    // What other programs write; they read any header without it.
    let mut header = Map::from_iter([("__metadata__".to_owned(), json!({"format": "pt"}))]);
    let mut at = 0;
    for (t, name, bytes) in shard {
        let dtype = match t.ty {
            BlockType::F16 => "F16",
            BlockType::BF16 => "BF16",
            _ => "F32",
        };
        let entry = json!({"dtype": dtype, "shape": t.shape, "data_offsets": [at, at + bytes]});
        header.insert(name.clone(), entry);
        at += bytes;
    }
    let mut text = Value::Object(header).to_string();
    // The numbers then start at a multiple of eight bytes.
    text.extend(std::iter::repeat_n(' ', text.len().next_multiple_of(8) - text.len()));
    let mut bytes = (text.len() as u64).to_le_bytes().to_vec();
    bytes.extend(text.as_bytes());
    bytes
}

/// Writes a file of the directory in the making; errors name it as it will be called.
fn write(
    path: &Path,
    shown: &Path,
    fill: impl FnOnce(&mut BufWriter<File>) -> std::io::Result<()>,
) -> Result<(), Error> {
    let io = || Error::io(shown, "write");
    let mut out = BufWriter::with_capacity(1 << 20, File::create(path).map_err(io())?);
    fill(&mut out).map_err(io())?;
    let file = out.into_inner().map_err(|e| io()(e.into_error()))?;
    file.sync_all().map_err(io())
}

fn pretty(value: &Value) -> Vec<u8> {
    format!("{value:#}\n").into_bytes()
}

/// The `config.json` that was there, with the type that the weights have now.
fn copied_config(from: &Path, ty: BlockType) -> Result<Value, Error> {
    let path: PathBuf = from.join("config.json");
    let config = crate::safetensors::read_json(&path)?.map(crate::safetensors::text_part);
    let mut config = config.ok_or_else(|| Error::Missing {
        path: from.to_owned(),
        what: "config.json".to_owned(),
        remedy: "fetch it from the model's repository and put it beside the weights",
    })?;
    if let Some(config) = config.as_object_mut() {
        let newer = config.contains_key("dtype") && !config.contains_key("torch_dtype");
        let key = if newer { "dtype" } else { "torch_dtype" };
        config.insert(key.to_owned(), torch_name(ty).into());
        // What was in FP8 isn't any more.
        config.remove("quantization_config");
    }
    Ok(config)
}
