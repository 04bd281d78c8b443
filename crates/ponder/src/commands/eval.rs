//! `ponder eval`: measure a model so that others can check the figure.

mod after;
pub mod ask;
mod progress;
mod replay;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::Subcommand;
use weights::pull::Dataset;

use crate::endpoint_arg::EndpointArg;
use crate::engine_arg::EngineArg;
use crate::judge_arg::JudgeArg;
use crate::model_arg::ModelArg;
use crate::reason_arg::ReasonArgs;
use crate::sampling_arg::SamplingArgs;

/// Measure a model or endpoint on a benchmark.
///
/// Every sample is kept in a run folder, with what it takes to score it again. The same command goes
/// on with a run that was interrupted. `ponder eval list` shows the benchmarks that come along;
/// their items come from a file of yours.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Args {
    #[command(subcommand)]
    after: Option<After>,

    #[command(flatten)]
    ask: Ask,
}

/// What to measure, and how.
#[derive(Debug, clap::Args)]
pub struct Ask {
    /// A benchmark that comes along, or a TOML file that describes one.
    #[arg(value_name = "BENCHMARK")]
    pub benchmark: Option<String>,

    #[command(flatten)]
    model: ModelArg,

    /// The file of items, as JSON lines; .gz is unpacked.
    #[arg(long, value_name = "FILE")]
    pub items: Option<PathBuf>,

    /// The folder that has the items' files.
    #[arg(long, value_name = "DIR", env = "PONDER_DATA")]
    data: Option<PathBuf>,

    /// Pull the items from a public dataset on the hub instead. Without --items and --data, a benchmark that
    /// names its dataset does so by itself.
    #[arg(long, value_name = "OWNER/NAME:CONFIG:SPLIT", conflicts_with_all = ["items", "data"])]
    pub dataset: Option<Dataset>,

    /// Read the benchmark's column from another of the file, as in question=problem (may be repeated).
    #[arg(long, value_name = "COLUMN=NAME", value_parser = column)]
    column: Vec<(String, String)>,

    /// Only the first N items; for generated tasks, N of them.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    limit: Option<u32>,

    /// For generated tasks: how hard, from 1.
    #[arg(long, value_name = "N", default_value_t = 2)]
    difficulty: u32,

    /// Samples of each item.
    #[arg(short, long, value_name = "K", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    k: u32,

    /// The run folder [default: runs/BENCHMARK-MODEL].
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,

    /// Generate at most N tokens, thinking included, instead of the benchmark's number.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    max_tokens: Option<u32>,

    /// Think for at most N tokens, then answer.
    #[arg(long, value_name = "N")]
    max_thinking: Option<usize>,

    /// Answers under way at a time in this process.
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..))]
    parallel: u16,

    /// Sample as the model's makers advise where neither the benchmark nor a flag says otherwise, instead
    /// of from the model's own distribution.
    #[arg(long)]
    makers_sampling: bool,

    /// Run programs even where this machine can't isolate them as promised.
    #[arg(long)]
    allow_weaker_sandbox: bool,

    #[command(flatten)]
    judge: JudgeArg,

    #[command(flatten)]
    reasoning: ReasonArgs,

    #[command(flatten)]
    sampling: SamplingArgs,

    #[command(flatten)]
    endpoint: EndpointArg,

    #[command(flatten)]
    engine: EngineArg,

    /// Tokens of context; what the model was made for if not given.
    #[arg(long, value_name = "N")]
    ctx: Option<usize>,
}

/// What can be done with benchmarks and runs.
#[derive(Debug, Subcommand)]
enum After {
    /// The benchmarks that come along.
    List,
    /// Judge a run's samples again, and write its report anew; with a reward model's opinion or distances from a model without its adapter, if wanted.
    Rescore(after::Rescore),
    /// Compare two runs, item by item.
    Compare(after::Compare),
    /// Check a run: its files' hashes, and that its samples are judged the same again.
    Verify(after::Verify),
    /// Play other rules for voting through on a run's thoughts: accuracy against tokens.
    Replay(replay::Args),
    /// Write a run's report: report.html, report.md, report.json and lm-eval.json.
    Report(after::Run),
}

fn column(typed: &str) -> Result<(String, String)> {
    match typed.split_once('=') {
        Some((wanted, name)) if !wanted.is_empty() && !name.is_empty() => {
            Ok((wanted.to_owned(), name.to_owned()))
        }
        _ => bail!("two names are wanted, as in question=problem"),
    }
}

/// Measures, or does what the subcommand says.
pub fn run(args: Args) -> Result<ExitCode> {
    match args.after {
        None => ask::run(&args.ask),
        Some(After::List) => after::list(),
        Some(After::Rescore(args)) => after::rescore(&args),
        Some(After::Compare(compare)) => after::compare(&compare),
        Some(After::Verify(verify)) => after::verify(&verify),
        Some(After::Replay(args)) => replay::run(&args),
        Some(After::Report(run)) => after::report(&run),
    }
}
