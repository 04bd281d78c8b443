//! `ponder merge`: an adapter added to the weights of its model.

use std::path::PathBuf;

use model::{Config, Factors};
use weights::quantize::{Mix, Wanted};

use crate::files_arg::{self, Container, OutputArg, Source};

/// Add a LoRA adapter to the weights of its model.
///
/// The sum is worked out in f32 and stored as each matrix is now, or as --type says. Memory holds
/// the adapter and a few MiB of the model at a time.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A GGUF file, a directory of safetensors, or the name of a model in `ponder list`.
    #[arg(value_name = "MODEL")]
    model: String,

    /// A PEFT adapter's directory or a GGUF adapter.
    #[arg(value_name = "ADAPTER")]
    adapter: PathBuf,

    #[command(flatten)]
    output: OutputArg,

    /// How much of the adapter: 1 is the adapter as it was trained.
    #[arg(long, default_value_t = 1.0, allow_negative_numbers = true, value_name = "S")]
    scale: f32,

    /// What matrices are stored as: any type of `ponder quantize`, or in safetensors f32, f16 or
    /// bf16. Without it they keep their type in GGUF, and are bf16 in safetensors.
    #[arg(long = "type", value_name = "TYPE")]
    ty: Option<Mix>,

    /// How texts are cut into words, by GGUF's name for it, where tokenizer.json describes a way
    /// that isn't known.
    #[arg(long, value_name = "NAME")]
    pre: Option<String>,
}

/// Merges.
pub fn run(args: Args) -> anyhow::Result<()> {
    let path = files_arg::find(&args.model)?;
    args.output.check(&[&path, &args.adapter])?;
    let source = Source::open(path)?;
    let factors = Factors::load(&args.adapter, &Config::read(source.checkpoint())?)?;
    let mut draft = source.draft(args.pre.as_deref())?;
    let merged = factors.merge_into(&mut draft, args.scale)?;
    println!("{} matrices have the adapter added to them", merged.matrices);
    if args.output.container()? == Container::Safetensors {
        return args.output.write_directory(&source, draft, args.ty);
    }
    // What is added to has changed: to store it in blocks anew is the point.
    let wanted = |mix| Wanted { requantize: true, ..Wanted::plain(mix) };
    let chosen = args.ty.map(|mix| draft.choose_types(&wanted(mix))).transpose()?;
    draft.keep_types();
    args.output.write_gguf(&draft, chosen)
}
