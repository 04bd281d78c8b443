//! `ponder train distill`: examples from answers that a verifier found right.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail};
use eval::benchmark::Benchmark;
use eval::measure::Ended;
use eval::run;
use learn::distill::{Keep, Prefer, examples, write};
use verify::tasks::Split;

use crate::commands::eval::{Ask, ask};
use crate::terminal::keyboard::INTERRUPTED;

/// Make examples of right answers: the model's own, or a bigger one's (rejection sampling)
///
/// Each item is asked -k times, of the model or endpoint named; answers that the benchmark's verifier finds
/// right become conversations for an [sft] recipe. Every sample is kept in the run folder (--out), so that the
/// same command goes on where it was left, and other answers can be chosen without asking again.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// The file of examples, as JSON lines.
    #[arg(long, value_name = "FILE")]
    to: PathBuf,

    /// Examples of an item, at most.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    keep: u16,

    /// Which right answers are the better examples: shortest or first.
    #[arg(long, value_name = "WHICH", default_value = "shortest")]
    prefer: Prefer,

    /// No example with more tokens than this, thinking included.
    #[arg(long, value_name = "N")]
    keep_tokens: Option<usize>,

    #[command(flatten)]
    ask: Ask,
}

/// Asks, and writes the examples.
pub fn run(args: &Args) -> Result<ExitCode> {
    let asked = &args.ask;
    if let Some(name) = &asked.benchmark {
        let (benchmark, _) = Benchmark::open(name)?;
        let generated = benchmark.items.file.starts_with("generator:");
        if !generated && asked.items.is_none() && asked.dataset.is_none() {
            bail!(
                "{name} would be asked with the items it measures with\n\
                 hint: name items to learn from, with --items FILE or --dataset OWNER/NAME:CONFIG:train"
            );
        }
    }
    let measured = ask::ask(asked, Split::Train)?;
    if measured.ended == Ended::Interrupted {
        return Ok(ExitCode::from(INTERRUPTED));
    }
    let (_, samples) = run::read(&measured.out)?;
    let keep = Keep {
        per_item: usize::from(args.keep),
        prefer: args.prefer,
        max_tokens: args.keep_tokens,
    };
    let (examples, counts) = examples(&measured.items, &samples, keep)?;
    write(&args.to, &examples)?;
    eprintln!("{counts}");
    eprintln!("kept in {}", args.to.display());
    Ok(ExitCode::SUCCESS)
}
