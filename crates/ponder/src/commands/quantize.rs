//! `ponder quantize`: a model in fewer bits.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::bail;
use indicatif::{ProgressBar, ProgressStyle};
use weights::quantize::{Importance, Mix, Override, Wanted};

use crate::files_arg::{self, Container, OutputArg, Source};
use crate::size_arg::bytes;

/// Store a model in fewer bits.
///
/// Types and mixes are llama.cpp's, and so is which tensor gets which. Memory holds a few MiB of
/// the model at a time; OUT is there only once it is whole.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A GGUF file or a directory of safetensors in f32, f16 or bf16, or the name of a model in
    /// `ponder list`.
    #[arg(value_name = "IN")]
    input: String,

    #[command(flatten)]
    output: OutputArg,

    /// F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, Q2_K, Q3_K_S/M/L, Q4_K_S/M, Q5_K_S/M, Q6_K,
    /// IQ4_NL or IQ4_XS.
    #[arg(long = "type", value_name = "TYPE", required_unless_present = "fit")]
    ty: Option<Mix>,

    /// A file of at most this size instead, as in 12GiB: each matrix gets the type with which it loses least,
    /// which is measured. Best with --imatrix.
    #[arg(long, value_name = "SIZE", value_parser = bytes, conflicts_with_all = ["ty", "pure"])]
    fit: Option<u64>,

    /// Store the matrices whose GGUF name REGEX is found in as TYPE, such as ffn_down=q6_k. The
    /// first that fits counts.
    #[arg(long, value_name = "REGEX=TYPE")]
    tensor_type: Vec<Override>,

    /// Weigh errors by how much they cost: an importance matrix that `ponder imatrix` or llama-imatrix made of
    /// this model.
    #[arg(long, value_name = "FILE")]
    imatrix: Option<PathBuf>,

    /// The same type for every matrix, without the mix's exceptions.
    #[arg(long)]
    pure: bool,

    /// Quantise what is quantised already; much worse than from the original.
    #[arg(long)]
    allow_requantize: bool,

    /// How texts are cut into words, by GGUF's name for it, where tokenizer.json describes a way
    /// that isn't known.
    #[arg(long, value_name = "NAME")]
    pre: Option<String>,
}

/// Quantises.
pub fn run(args: Args) -> anyhow::Result<()> {
    let path = files_arg::find(&args.input)?;
    args.output.check(&[&path])?;
    if args.output.container()? != Container::Gguf {
        bail!("quantised models are GGUF files\nhint: name an OUT.gguf");
    }
    let source = Source::open(path)?;
    let mut draft = source.draft(args.pre.as_deref())?;
    let importance = args.imatrix.as_deref().map(Importance::open).transpose()?;
    let wanted = Wanted {
        mix: args.ty.unwrap_or(Mix::Q4_K_M),
        overrides: args.tensor_type,
        pure: args.pure,
        requantize: args.allow_requantize,
        importance: importance.map(Arc::new),
    };
    let chosen = match args.fit {
        Some(size) => {
            let bar = ProgressBar::new(draft.tensors.len() as u64);
            if let Ok(style) = ProgressStyle::with_template("trying types {bar:24} {eta} to go") {
                bar.set_style(style);
            }
            let chosen = draft.fit_types(size, &wanted, &args.output.pool(), &|| bar.inc(1))?;
            bar.finish_and_clear();
            chosen
        }
        None => draft.choose_types(&wanted)?,
    };
    args.output.write_gguf(&draft, Some(chosen))
}
