//! `ponder synth`: a model's shape without its weights.

use anyhow::{Context, bail};
use weights::Checkpoint;
use weights::convert::{Draft, config_of, shapes};
use weights::quantize::{Mix, Wanted};

use crate::files_arg::{Container, OutputArg};
use crate::model_arg::ModelArg;

/// Write a model of noise in another's exact shape, for measuring speed and memory
///
/// Where a model is not at hand, or too large to fetch for a measurement. Shape, types, metadata and size of
/// the file are the model's own; what it says means nothing.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// A shape by name, such as qwq-32b, or a config.json.
    #[arg(value_name = "SHAPE")]
    shape: String,

    #[command(flatten)]
    output: OutputArg,

    /// A type or mix of `ponder quantize`.
    #[arg(long = "type", value_name = "TYPE", default_value = "Q4_K_M")]
    ty: Mix,

    /// Where the noise begins.
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,

    /// The GGUF model whose tokenizer and chat template it gets (-m): Qwen's if not given.
    #[command(flatten)]
    vocabulary: ModelArg,
}

/// Writes it.
pub fn run(args: Args) -> anyhow::Result<()> {
    args.output.check(&[])?;
    if args.output.container()? != Container::Gguf {
        bail!("only GGUF files are made\nhint: name an OUT.gguf");
    }
    let config = match config_of(&args.shape) {
        Some(config) => config,
        None if args.shape.ends_with(".json") => {
            let text = std::fs::read_to_string(&args.shape)
                .with_context(|| format!("cannot read {}", args.shape))?;
            serde_json::from_str(&text).with_context(|| format!("{} is not JSON", args.shape))?
        }
        None => {
            let known: Vec<&str> = shapes().collect();
            bail!(
                "there is no shape `{}`\nhint: a config.json, or {}",
                args.shape,
                known.join(", ")
            );
        }
    };
    let model = args.vocabulary.resolve()?;
    let checkpoint = Checkpoint::open(&model.path)?;
    let Checkpoint::Gguf(file) = &checkpoint else {
        bail!("{} is no GGUF file, whose tokenizer could be taken", model.path.display());
    };
    let mut draft = Draft::synthetic(&args.shape, &config, file.metadata(), args.seed)?;
    let chosen = draft.choose_types(&Wanted::plain(args.ty))?;
    args.output.write_gguf(&draft, Some(chosen))
}
