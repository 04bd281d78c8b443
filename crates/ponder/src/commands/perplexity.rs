//! `ponder perplexity`: how well a model predicts a text.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;

use anyhow::Context;
use text::tokenizer::Special;

use crate::engine_arg::EngineArg;
use crate::model_arg::ModelArg;

/// Measure how well a model predicts a text.
///
/// The text is read in pieces of --ctx tokens of which the second half is counted, as llama.cpp's
/// llama-perplexity does, so that the figures can be compared.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A text file.
    #[arg(value_name = "FILE")]
    file: PathBuf,

    #[command(flatten)]
    model: ModelArg,

    #[command(flatten)]
    engine: EngineArg,

    /// Tokens of a piece.
    #[arg(long, default_value_t = 512, value_name = "TOKENS")]
    ctx: usize,

    /// A JSON object instead of a line.
    #[arg(long)]
    json: bool,
}

/// Measures and prints.
pub fn run(args: Args) -> anyhow::Result<()> {
    let text = std::fs::read_to_string(&args.file)
        .with_context(|| format!("cannot read {}", args.file.display()))?;
    let resolved = args.model.resolve()?;
    let engine = args.engine.load(&resolved, Some(args.ctx))?;
    let tokens = engine.tokenizer().encode(&text, Special::Plain);
    let shown = std::io::stderr().is_terminal();
    let result = engine.perplexity(&tokens, args.ctx, args.engine.cache(), |read, so_far| {
        if shown {
            eprint!("\r\x1b[K{read}/{} tokens, perplexity {so_far:.4}", tokens.len());
        }
    })?;
    if shown {
        eprint!("\r\x1b[K");
    }
    let mut out = std::io::stdout().lock();
    if args.json {
        writeln!(out, "{}", serde_json::to_string_pretty(&result)?)?;
    } else {
        writeln!(
            out,
            "perplexity {:.4} ± {:.4} over {} of {} tokens ({:.1} tokens/s)",
            result.perplexity,
            result.standard_error,
            result.scored,
            result.tokens,
            result.tokens as f64 / result.seconds,
        )?;
    }
    Ok(())
}
