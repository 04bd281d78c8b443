//! `ponder convert`: a model or an adapter from one container to another.

use std::path::Path;

use anyhow::{Context, bail};
use model::{Config, Factors};
use weights::Checkpoint;
use weights::quantize::{Mix, Wanted};

use crate::files_arg::{self, Container, OutputArg, Source};

/// Convert a model between safetensors and GGUF, or a PEFT adapter to GGUF.
///
/// A directory of safetensors (llama, qwen2, qwen3) becomes a GGUF file, a GGUF file a directory
/// of safetensors that transformers loads. Memory holds a few MiB of the model at a time.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A directory of safetensors, a GGUF file, the name of a model in `ponder list`, or the
    /// directory of a PEFT adapter.
    #[arg(value_name = "IN")]
    input: String,

    #[command(flatten)]
    output: OutputArg,

    /// What matrices are stored as: f32, f16, bf16 or, in GGUF, any type of `ponder quantize`.
    /// Without it they keep their type in GGUF, and are bf16 in safetensors.
    #[arg(long = "type", value_name = "TYPE")]
    ty: Option<Mix>,

    /// How texts are cut into words, by GGUF's name for it (qwen2, llama-bpe, …), where
    /// tokenizer.json describes a way that isn't known.
    #[arg(long, value_name = "NAME")]
    pre: Option<String>,

    /// The model that an adapter goes with: a GGUF file or a directory.
    #[arg(long, value_name = "MODEL")]
    base: Option<String>,
}

/// Converts.
pub fn run(args: Args) -> anyhow::Result<()> {
    let path = files_arg::find(&args.input)?;
    args.output.check(&[&path])?;
    if files_arg::is_adapter(&path) {
        return adapter(&path, &args);
    }
    let source = Source::open(path)?;
    let mut draft = source.draft(args.pre.as_deref())?;
    if args.output.container()? == Container::Safetensors {
        return args.output.write_directory(&source, draft, args.ty);
    }
    let chosen = args.ty.map(|mix| draft.choose_types(&Wanted::plain(mix))).transpose()?;
    draft.keep_types();
    args.output.write_gguf(&draft, chosen)
}

/// PEFT to GGUF: the base says which architecture it is, and how many heads have rows to reorder.
fn adapter(path: &Path, args: &Args) -> anyhow::Result<()> {
    if args.output.container()? != Container::Gguf {
        bail!("an adapter of PEFT is a directory of safetensors already\nhint: name an OUT.gguf");
    }
    let Some(base) = &args.base else {
        bail!(
            "{}: an adapter doesn't say which architecture it is for\n\
             hint: name the model it goes with, as in --base qwen2.5-coder-0.5b",
            path.display()
        );
    };
    let base = Checkpoint::open(&files_arg::find(base)?).context("the base can't be opened")?;
    let factors = Factors::load(path, &Config::read(&base)?)?;
    let draft = factors.into_gguf(args.ty.unwrap_or(Mix::F32).default_type())?;
    args.output.write_gguf(&draft, None)
}
