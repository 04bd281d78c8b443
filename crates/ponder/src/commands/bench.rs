//! `ponder bench`: how fast a model reads and writes here.

use std::io::{IsTerminal, Write};

use clap::ValueEnum;
use engine::{BenchRow, BenchTest};
use serde::Serialize;

use crate::engine_arg::EngineArg;
use crate::model_arg::ModelArg;

/// Measure how fast a model reads a prompt (prefill) and writes an answer (decode).
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    model: ModelArg,

    #[command(flatten)]
    engine: EngineArg,

    /// Tokens of the prompt; 0 leaves prefill out.
    #[arg(short = 'p', long, default_value_t = 512, value_name = "TOKENS")]
    n_prompt: usize,

    /// Tokens to write; 0 leaves decode out.
    #[arg(short = 'n', long, default_value_t = 64, value_name = "TOKENS")]
    n_gen: usize,

    /// How often each is repeated, after one run that is not counted.
    #[arg(short = 'r', long, default_value_t = 3, value_name = "TIMES",
        value_parser = clap::value_parser!(u16).range(1..))]
    repetitions: u16,

    /// What to print.
    #[arg(short = 'o', long, value_enum, default_value_t = Output::Md)]
    output: Output,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Output {
    /// A Markdown table.
    Md,
    /// A JSON list of rows.
    Json,
    /// Comma-separated values with a header.
    Csv,
}

/// A row, with what it was measured on.
#[derive(Serialize)]
struct Row<'a> {
    model: &'a str,
    model_bytes: u64,
    threads: usize,
    isa: String,
    #[serde(flatten)]
    row: &'a BenchRow,
}

/// Measures and prints.
pub fn run(args: Args) -> anyhow::Result<()> {
    let resolved = args.model.resolve()?;
    let engine = args.engine.load(&resolved, None)?;
    let model = engine.model();
    let shown = std::io::stderr().is_terminal();
    let rows =
        engine::bench(model, args.n_prompt, args.n_gen, args.repetitions.into(), |test, run| {
            if shown {
                eprint!("\r\x1b[K{} {run}/{}", name(test), args.repetitions);
            }
        })?;
    if shown {
        eprint!("\r\x1b[K");
    }
    let rows: Vec<Row> = rows
        .iter()
        .map(|row| Row {
            model: &resolved.name,
            model_bytes: model.checkpoint().file_bytes(),
            threads: model.threads(),
            isa: model.isa().to_string(),
            row,
        })
        .collect();
    print(&mut std::io::stdout().lock(), args.output, &rows)
}

fn name(test: BenchTest) -> &'static str {
    match test {
        BenchTest::Prefill => "prefill",
        BenchTest::Decode => "decode",
    }
}

fn print(out: &mut impl Write, output: Output, rows: &[Row]) -> anyhow::Result<()> {
    match output {
        Output::Json => writeln!(out, "{}", serde_json::to_string_pretty(rows)?)?,
        Output::Csv => {
            writeln!(out, "model,threads,isa,test,n_prompt,n_gen,avg_ts,stddev_ts")?;
            for Row { model, threads, isa, row, .. } in rows {
                let BenchRow { test, n_prompt, n_gen, avg_ts, stddev_ts, .. } = row;
                let model = model.replace('"', "\"\"");
                let test = name(*test);
                writeln!(
                    out,
                    "\"{model}\",{threads},{isa},{test},{n_prompt},{n_gen},{avg_ts:.3},{stddev_ts:.3}"
                )?;
            }
        }
        Output::Md => {
            let width = rows.iter().map(|r| r.model.len()).max().unwrap_or(0).max(5);
            writeln!(
                out,
                "| {:width$} | threads | isa    | test    | tokens |        tokens/s |",
                "model"
            )?;
            let rule = "-".repeat(width);
            writeln!(out, "| {rule} | ------: | ------ | ------- | -----: | --------------: |")?;
            for Row { model, threads, isa, row, .. } in rows {
                let speed = format!("{:.2} ± {:.2}", row.avg_ts, row.stddev_ts);
                writeln!(
                    out,
                    "| {model:width$} | {threads:>7} | {isa:6} | {:7} | {:>6} | {speed:>15} |",
                    name(row.test),
                    row.n_prompt + row.n_gen,
                )?;
            }
        }
    }
    Ok(())
}
