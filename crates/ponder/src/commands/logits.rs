//! `ponder logits`: every prediction of a text, for comparing with another program's.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;

use anyhow::{Context, ensure};
use text::tokenizer::Special;

use crate::engine_arg::EngineArg;
use crate::model_arg::ModelArg;

/// Write the logits of every position of a text to a file, for comparing with other programs.
///
/// The text is read in pieces of --ctx tokens, each from an empty cache. The file is little-endian:
/// `PNDLOGIT`, then u32 version 1, u32 size of the vocabulary, u32 number of positions; then for
/// each position its token as u32 and the f32 logits of what follows it.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    model: ModelArg,

    #[command(flatten)]
    engine: EngineArg,

    /// A text file.
    #[arg(short, long, value_name = "FILE")]
    file: PathBuf,

    /// Tokens of a piece.
    #[arg(long, default_value_t = 512, value_name = "TOKENS",
        value_parser = clap::value_parser!(u32).range(1..))]
    ctx: u32,

    /// At most so many tokens of the text.
    #[arg(long, value_name = "TOKENS")]
    max_tokens: Option<usize>,

    /// Where the logits go.
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
}

/// Reads the text and writes the file.
pub fn run(args: Args) -> anyhow::Result<()> {
    let text = std::fs::read_to_string(&args.file)
        .with_context(|| format!("cannot read {}", args.file.display()))?;
    let resolved = args.model.resolve()?;
    let engine = args.engine.load(&resolved, Some(args.ctx as usize))?;
    let context = args.ctx as usize;
    let mut tokens = engine.tokenizer().encode(&text, Special::Plain);
    tokens.truncate(args.max_tokens.unwrap_or(usize::MAX));
    ensure!(!tokens.is_empty(), "{} is empty", args.file.display());
    engine.begin_pieces(&mut tokens, context);

    let failed = || format!("cannot write {}", args.output.display());
    let mut out = BufWriter::new(File::create(&args.output).with_context(failed)?);
    let count = |n: usize| u32::try_from(n).context("a text of over four billion tokens");
    out.write_all(b"PNDLOGIT").with_context(failed)?;
    for n in [1, count(engine.model().vocab())?, count(tokens.len())?] {
        out.write_all(&n.to_le_bytes()).with_context(failed)?;
    }
    engine.logits_of(
        &tokens,
        context,
        args.engine.cache(),
        |position, logits| -> anyhow::Result<()> {
            out.write_all(&tokens[position].to_le_bytes()).with_context(failed)?;
            let bytes: Vec<u8> = logits.iter().flat_map(|x| x.to_le_bytes()).collect();
            out.write_all(&bytes).with_context(failed)
        },
    )?;
    out.flush().with_context(failed)
}
