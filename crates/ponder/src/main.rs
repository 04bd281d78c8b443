//! The `ponder` binary: arguments, terminal and progress, and no logic of its own.
//!
//! One file per command in `commands/`, each an `Args` for clap and a `run(Args)`. What most of
//! them share, the `-m` argument, is in `model_arg`.

#![forbid(unsafe_code)]

mod commands;
mod endpoint_arg;
mod engine_arg;
mod files_arg;
mod judge_arg;
mod keep_arg;
mod mcp;
mod model_arg;
mod progress;
mod reason_arg;
mod sampling_arg;
mod size_arg;
mod terminal;

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Run, question and measure open-weight reasoning models on an ordinary machine.
#[derive(Parser)]
#[command(name = "ponder", version = env!("PONDER_VERSION"), propagate_version = true, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Run(Box<commands::run::Args>),
    Reason(Box<commands::reason::Args>),
    Serve(Box<commands::serve::Args>),
    Train(Box<commands::train::Args>),
    Eval(Box<commands::eval::Args>),
    Verify(commands::verify::Args),
    Pull(commands::pull::Args),
    List(commands::list::Args),
    Rm(commands::rm::Args),
    Inspect(commands::inspect::Args),
    Convert(commands::convert::Args),
    Quantize(commands::quantize::Args),
    Merge(commands::merge::Args),
    Synth(commands::synth::Args),
    Bench(commands::bench::Args),
    Imatrix(commands::imatrix::Args),
    Perplexity(commands::perplexity::Args),
    Logits(commands::logits::Args),
}

/// Logs go to stderr; `PONDER_LOG` is one of error, warn (the default), info, debug, trace.
fn log() {
    let level = std::env::var("PONDER_LOG").ok().and_then(|level| level.parse().ok());
    tracing_subscriber::fmt()
        .with_max_level(level.unwrap_or(tracing::Level::WARN))
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .init();
}

fn main() -> ExitCode {
    // Programs under test are started by this very binary: see `verify::program::sandbox`.
    verify::program::sandbox::enter_if_asked();
    log();
    let done = |outcome: anyhow::Result<()>| outcome.map(|()| ExitCode::SUCCESS);
    let outcome = match Cli::parse().command {
        Command::Run(args) => commands::run::run(*args),
        Command::Reason(args) => commands::reason::run(*args),
        Command::Eval(args) => commands::eval::run(*args),
        Command::Verify(args) => commands::verify::run(args),
        Command::Train(args) => commands::train::run(*args),
        Command::Serve(args) => done(commands::serve::run(*args)),
        Command::Pull(args) => done(commands::pull::run(args)),
        Command::List(args) => done(commands::list::run(args)),
        Command::Rm(args) => done(commands::rm::run(args)),
        Command::Inspect(args) => done(commands::inspect::run(args)),
        Command::Convert(args) => done(commands::convert::run(args)),
        Command::Quantize(args) => done(commands::quantize::run(args)),
        Command::Merge(args) => done(commands::merge::run(args)),
        Command::Synth(args) => done(commands::synth::run(args)),
        Command::Bench(args) => done(commands::bench::run(args)),
        Command::Imatrix(args) => commands::imatrix::run(args),
        Command::Perplexity(args) => done(commands::perplexity::run(args)),
        Command::Logits(args) => done(commands::logits::run(args)),
    };
    match outcome {
        Ok(code) => code,
        // `ponder list | head` is no failure.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&error);
            ExitCode::FAILURE
        }
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let io = error.downcast_ref::<std::io::Error>();
    io.is_some_and(|io| io.kind() == std::io::ErrorKind::BrokenPipe)
}

/// `error: what`, then each cause on a line of its own, then what to do about it.
///
/// Errors carry their remedy as a last line `hint: …`; it is moved below the causes.
fn complain(error: &anyhow::Error) {
    let mut stderr = std::io::stderr().lock();
    let colour = stderr.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
    let label = |text: &str, code: &str| match colour {
        true => format!("\x1b[1;{code}m{text}\x1b[0m"),
        false => text.to_owned(),
    };
    let mut hints = Vec::new();
    for (i, cause) in error.chain().enumerate() {
        let text = cause.to_string();
        let what: Vec<&str> = text.lines().filter(|line| !line.starts_with("hint: ")).collect();
        hints
            .extend(text.lines().filter_map(|line| line.strip_prefix("hint: ")).map(str::to_owned));
        let label = if i == 0 { label("error:", "31") } else { label("  caused by:", "31") };
        let _ = writeln!(stderr, "{label} {}", what.join("\n"));
    }
    for hint in hints {
        let _ = writeln!(stderr, "{} {hint}", label("hint:", "36"));
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_arguments_are_consistent() {
        super::Cli::command().debug_assert();
    }
}
