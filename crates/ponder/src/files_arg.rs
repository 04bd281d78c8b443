//! What `convert`, `quantize` and `merge` share: which model is read, and where a file goes.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use kernels::Pool;
use kernels::blocks::BlockType;
use text::tokenizer::{pre_tokenizer_json, pre_tokenizer_name};
use weights::Checkpoint;
use weights::catalogue::ModelRef;
use weights::convert::{Beside, Draft, SHARD_BYTES, SafetensorsOptions, check_output};
use weights::pull::human_bytes;
use weights::quantize::{Chosen, Mix};

use crate::model_arg::Library;
use crate::progress::Bar;

/// The file or directory meant. To convert a model is no reason to fetch it.
pub fn find(argument: &str) -> anyhow::Result<PathBuf> {
    let library = Library::open(true)?;
    match ModelRef::parse(argument, &library.catalogue)? {
        ModelRef::Path(path) => Ok(path),
        reference => match library.puller(&Bar::new()).installed(&reference)? {
            Some(installed) => Ok(installed.path()),
            None => bail!(
                "`{argument}` is not on this machine\nhint: `ponder pull {argument}` fetches it"
            ),
        },
    }
}

/// Whether this is an adapter as PEFT saves it.
pub fn is_adapter(path: &Path) -> bool {
    const CONFIG: &str = "adapter_config.json";
    match path.is_dir() {
        true => path.join(CONFIG).is_file() && !path.join("config.json").is_file(),
        false => {
            path.file_name().is_some_and(|name| name == "adapter_model.safetensors")
                && path.with_file_name(CONFIG).is_file()
        }
    }
}

/// An open model.
pub struct Source {
    path: PathBuf,
    checkpoint: Checkpoint,
}

impl Source {
    /// Opens it.
    pub fn open(path: PathBuf) -> anyhow::Result<Source> {
        let checkpoint = Checkpoint::open(&path)?;
        Ok(Source { path, checkpoint })
    }

    /// Its weights and settings.
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// The model in GGUF's terms. `pre` is GGUF's name for the way texts are cut, where it isn't
    /// to be found out.
    pub fn draft(&self, pre: Option<&str>) -> anyhow::Result<Draft<'_>> {
        let dir = match &self.checkpoint {
            Checkpoint::Gguf(_) => return Ok(Draft::of_gguf(&self.checkpoint)?),
            Checkpoint::Safetensors(dir) => dir,
        };
        let found;
        let pre = match pre {
            Some(pre) => pre,
            None => {
                let json = dir.tokenizer_json()?;
                found = pre_tokenizer_name(&json)
                    .with_context(|| format!("{} can't be converted", self.path.display()))?;
                match found {
                    Some(name) => name,
                    None => bail!(
                        "{}: pre_tokenizer: cuts texts in no way that is known\n\
                         hint: name one that comes close with --pre, such as qwen2 or llama-bpe",
                        self.path.join("tokenizer.json").display()
                    ),
                }
            }
        };
        Ok(Draft::of_safetensors(&self.checkpoint, Some(pre))?)
    }
}

/// The container of what is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Container {
    /// One GGUF file.
    Gguf,
    /// A directory of safetensors.
    Safetensors,
}

/// The arguments that say where a file goes.
#[derive(Debug, clap::Args)]
pub struct OutputArg {
    /// What is written: NAME.gguf, or a directory of safetensors (DIR/).
    #[arg(short, long, value_name = "OUT")]
    output: PathBuf,

    /// The container, where the name of OUT doesn't tell.
    #[arg(long, value_enum, value_name = "CONTAINER")]
    to: Option<Container>,

    /// Replace a file that is there already.
    #[arg(long)]
    force: bool,

    /// Threads that compute. Without it, one for each core.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
}

impl OutputArg {
    /// Refuses an output that makes no sense, before anything is read.
    pub fn check(&self, inputs: &[&Path]) -> anyhow::Result<()> {
        self.container()?;
        Ok(check_output(inputs, &self.output, self.force)?)
    }

    /// The container that is written.
    pub fn container(&self) -> anyhow::Result<Container> {
        let shown = self.output.to_string_lossy();
        match self.to {
            Some(container) => Ok(container),
            None if shown.to_ascii_lowercase().ends_with(".gguf") => Ok(Container::Gguf),
            None if shown.ends_with('/') || self.output.is_dir() => Ok(Container::Safetensors),
            None => bail!(
                "{shown}: is it a GGUF file or a directory of safetensors?\n\
                 hint: end the name with .gguf or with /, or add --to"
            ),
        }
    }

    /// The threads that compute.
    pub fn pool(&self) -> Pool {
        self.threads.map_or_else(Pool::with_all_cores, |n| Pool::new(n.into()))
    }

    /// Writes a GGUF file and says what is in it.
    pub fn write_gguf(&self, draft: &Draft<'_>, chosen: Option<Chosen>) -> anyhow::Result<()> {
        draft.write_gguf(&self.output, &self.pool(), &Bar::new())?;
        let size = std::fs::metadata(&self.output)?.len();
        let mut types = Vec::new();
        for (ty, (count, bytes)) in chosen.iter().flat_map(|c| &c.types) {
            types.push(format!("{count} {ty} ({})", human_bytes(*bytes)));
        }
        let types =
            if types.is_empty() { String::new() } else { format!(": {}", types.join(", ")) };
        let mut out = std::io::stdout().lock();
        writeln!(out, "{} ({}){types}", self.output.display(), human_bytes(size))?;
        if let Some(fallbacks) = chosen.as_ref().map(|c| c.fallbacks).filter(|n| *n > 0) {
            writeln!(
                out,
                "{fallbacks} matrices have rows that are no multiple of 256 and got a type of \
                 smaller blocks"
            )?;
        }
        if let Some(unknown) = chosen.map(|c| c.unknown).filter(|n| *n > 0) {
            writeln!(
                out,
                "{unknown} matrices are not in the importance matrix: all their columns count alike"
            )?;
        }
        Ok(())
    }

    /// Writes a directory of safetensors: bf16 unless `ty` says otherwise.
    pub fn write_directory(
        &self,
        source: &Source,
        draft: Draft<'_>,
        ty: Option<Mix>,
    ) -> anyhow::Result<()> {
        let ty = ty.map_or(BlockType::BF16, Mix::default_type);
        let beside = match source.checkpoint() {
            Checkpoint::Safetensors(dir) => Beside::Copied(dir.path()),
            Checkpoint::Gguf(_) => made(&draft)?,
        };
        let options = SafetensorsOptions { ty, shard_bytes: SHARD_BYTES, beside };
        draft.write_safetensors(&self.output, &options, &self.pool(), &Bar::new())?;
        let mut size = 0;
        for entry in std::fs::read_dir(&self.output)? {
            size += entry?.metadata()?.len();
        }
        let mut out = std::io::stdout().lock();
        writeln!(out, "{} ({}): {ty}", self.output.display(), human_bytes(size))?;
        Ok(())
    }
}

/// What a `tokenizer.json` is to say where there is none yet.
pub fn made(draft: &Draft<'_>) -> anyhow::Result<Beside<'static>> {
    let cut = draft.metadata.str("tokenizer.ggml.model")? != Some("llama");
    let Some(pre) = draft.metadata.str("tokenizer.ggml.pre")?.filter(|_| cut) else {
        return Ok(Beside::Made {
            normalizer: Default::default(),
            pre_tokenizer: Default::default(),
        });
    };
    let Some(described) = pre_tokenizer_json(pre) else {
        bail!(
            "{}: tokenizer.ggml.pre: `{}` is no way of cutting texts that is known\n\
             hint: fetch the model's own safetensors",
            draft.path.display(),
            pre.escape_debug()
        )
    };
    let text::tokenizer::PreTokenizerJson { normalizer, pre_tokenizer } = described;
    Ok(Beside::Made { normalizer, pre_tokenizer })
}
