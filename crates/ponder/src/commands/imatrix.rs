//! `ponder imatrix`: which of a model's weights matter.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use engine::Flow;
use indicatif::{ProgressBar, ProgressStyle};
use model::{InputSquares, Target};
use text::tokenizer::Special;
use weights::quantize::{ExpertSums, InputSums};

use crate::engine_arg::EngineArg;
use crate::model_arg::ModelArg;
use crate::terminal::keyboard::{INTERRUPTED, Interrupt};

/// Find out which of a model's weights matter, for `ponder quantize --imatrix`
///
/// The model reads a text, and what comes into each column of its matrices is squared and added up: an error
/// in a column costs the more, the more comes in there. The text should be like those the model is for; a
/// few hundred KB are enough. llama.cpp's tools read the file too.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// A text file.
    #[arg(value_name = "TEXT")]
    text: PathBuf,

    /// The importance matrix, a GGUF file.
    #[arg(short, long, value_name = "OUT", default_value = "imatrix.gguf")]
    output: PathBuf,

    #[command(flatten)]
    model: ModelArg,

    #[command(flatten)]
    engine: EngineArg,

    /// Tokens of a piece.
    #[arg(long, default_value_t = 512, value_name = "TOKENS", value_parser = clap::value_parser!(u32).range(1..))]
    ctx: u32,

    /// The first N pieces of the text alone.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    chunks: Option<u32>,
}

/// Reads and writes.
pub fn run(args: Args) -> Result<ExitCode> {
    let text = std::fs::read_to_string(&args.text)
        .with_context(|| format!("cannot read {}", args.text.display()))?;
    let resolved = args.model.resolve()?;
    let interrupt = Interrupt::install(2)?;
    let engine = args.engine.load(&resolved, Some(args.ctx as usize))?;
    let context = args.ctx as usize;
    let mut tokens = engine.tokenizer().encode(&text, Special::Plain);
    tokens.truncate(args.chunks.map_or(usize::MAX, |n| (n as usize).saturating_mul(context)));
    let bar = ProgressBar::new((tokens.len() / context * context) as u64);
    if let Ok(style) =
        ProgressStyle::with_template("reading {bar:24} {pos}/{len} tokens, {eta} to go")
    {
        bar.set_style(style);
    }
    let squares = engine.input_squares(&tokens, context, |read| {
        bar.set_position(read as u64);
        if interrupt.pressed() { Flow::Stop } else { Flow::Continue }
    })?;
    bar.finish_and_clear();
    if interrupt.pressed() {
        eprintln!("interrupted after {} tokens; nothing was written", squares.tokens());
        return Ok(ExitCode::from(INTERRUPTED));
    }
    let layers = engine.model().config().layers;
    let sums = InputSums {
        matrices: matrices(&squares, layers)?,
        text: args.text.display().to_string(),
        chunks: u32::try_from(squares.tokens() / u64::from(args.ctx))?,
        chunk_tokens: args.ctx,
    };
    sums.write(&args.output)?;
    let (count, tokens) = (sums.matrices.len(), squares.tokens());
    writeln!(std::io::stdout(), "{}: {count} matrices, {tokens} tokens", args.output.display())?;
    Ok(ExitCode::SUCCESS)
}

/// By the names that GGUF has for them.
fn matrices(squares: &InputSquares, layers: usize) -> Result<BTreeMap<String, ExpertSums>> {
    let mut matrices = BTreeMap::new();
    for layer in 0..layers {
        for target in Target::ALL {
            let name = format!("blk.{layer}.{}.weight", target.gguf());
            let sums: Vec<f32> = squares.of(layer, target).iter().map(|sum| *sum as f32).collect();
            if let Some(sum) = sums.iter().find(|sum| !sum.is_finite()) {
                bail!(
                    "{name}: {sum} came in\nhint: the model's file is damaged, or of numbers too large"
                );
            }
            matrices.insert(name, vec![(sums, squares.tokens())]);
        }
    }
    Ok(matrices)
}
