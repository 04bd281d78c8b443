//! `ponder bench`: how fast a model reads and writes here, and what this machine allows.

mod gemm;
mod print;

use std::io::IsTerminal;

use clap::ValueEnum;
use engine::{BenchCase, BenchPlan, BenchRow, BenchTest};
use kernels::roofline::{self, Peak, Roofline};
use kernels::{Isa, Pool};
use serde::Serialize;

use crate::engine_arg::EngineArg;
use crate::model_arg::ModelArg;

/// Measure how fast a model reads a prompt (prefill) and writes an answer (decode).
///
/// Options that take several numbers, separated by commas, measure every combination. Each row says
/// what share it is of the bandwidth and of the arithmetic that were measured on this machine just
/// before (`--roofline` prints only these).
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    model: ModelArg,

    #[command(flatten)]
    engine: EngineArg,

    /// Tokens of the prompt; 0 leaves prefill out.
    #[arg(short = 'p', long, default_value = "512", value_name = "TOKENS", value_delimiter = ',')]
    n_prompt: Vec<usize>,

    /// Tokens to write; 0 leaves decode out.
    #[arg(short = 'n', long, default_value = "64", value_name = "TOKENS", value_delimiter = ',')]
    n_gen: Vec<usize>,

    /// Sequences to write at once; tokens of all of them count.
    #[arg(short = 'b', long = "batch", default_value = "1", value_name = "SEQUENCES",
        value_delimiter = ',', value_parser = clap::value_parser!(u16).range(1..=1024))]
    n_batch: Vec<u16>,

    /// Tokens in the cache before reading or writing starts.
    #[arg(
        short = 'd',
        long = "depth",
        default_value = "0",
        value_name = "TOKENS",
        value_delimiter = ','
    )]
    n_depth: Vec<usize>,

    /// How often each is repeated, after one run that is not counted.
    #[arg(short = 'r', long, default_value_t = 3, value_name = "TIMES",
        value_parser = clap::value_parser!(u16).range(1..))]
    repetitions: u16,

    /// Leave out the run that is not counted.
    #[arg(long)]
    no_warmup: bool,

    /// Only measure the machine: bandwidth, and arithmetic by instruction set and type. Needs no
    /// model.
    #[arg(long)]
    roofline: bool,

    /// Only measure the product of two bf16 matrices, `m x k` and `k x n`, and the two products of its gradients. Needs
    /// no model.
    #[arg(long, value_name = "MxKxN", num_args = 0..=1, default_missing_value = "512x896x4864",
        conflicts_with = "roofline")]
    gemm: Option<gemm::Shape>,

    /// Don't measure the machine: rows have no shares.
    #[arg(long, conflicts_with = "roofline")]
    no_roofline: bool,

    /// What to print.
    #[arg(short = 'o', long, value_enum, default_value_t = Output::Md)]
    output: Output,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Output {
    /// A Markdown table.
    Md,
    /// JSON: a list of rows; an object with `--roofline`.
    Json,
    /// Comma-separated values with a header.
    Csv,
}

/// A row, with what it was measured on: the fields of the JSON output.
#[derive(Serialize)]
struct Row<'a> {
    model: &'a str,
    model_bytes: u64,
    threads: usize,
    isa: String,
    #[serde(flatten)]
    row: &'a BenchRow,
    /// What the machine allows; missing with `--no-roofline`.
    #[serde(flatten)]
    share: Option<Share>,
}

/// A row's speed beside what the machine allows.
#[derive(Serialize)]
struct Share {
    /// GB/s that all threads can read from memory.
    read_peak: f64,
    /// `bytes_per_token × avg_ts / read_peak`; not for prefill. Above 1 when caches help.
    read_share: Option<f64>,
    /// 10⁹ operations a second that all threads can do, at best.
    arithmetic_peak: f64,
    /// Instruction set and type of that best: `avx512 int8`.
    arithmetic_unit: String,
    /// `operations_per_token × avg_ts / arithmetic_peak`.
    arithmetic_share: f64,
}

impl Share {
    /// None if nothing is known of the machine's arithmetic.
    fn of(row: &BenchRow, roofline: &Roofline, isa: Isa) -> Option<Share> {
        let Peak { isa: unit, number, all, .. } = roofline.best(isa)?;
        let gigabytes = row.bytes_per_token.map(|bytes| bytes * row.avg_ts / 1e9);
        Some(Share {
            read_peak: roofline.read_all,
            read_share: gigabytes.map(|speed| speed / roofline.read_all),
            arithmetic_peak: *all,
            arithmetic_unit: format!("{unit} {number}"),
            arithmetic_share: row.operations_per_token * row.avg_ts / 1e9 / all,
        })
    }
}

/// Measures and prints.
pub fn run(args: Args) -> anyhow::Result<()> {
    let shown = std::io::stderr().is_terminal();
    let progress = |what: &str| {
        if shown {
            eprint!("\r\x1b[K{what}");
        }
    };
    let threads = args.engine.threads.map_or_else(Pool::cores, usize::from);
    let machine = || {
        progress("roofline");
        let measured = roofline::measure(&Pool::new(threads));
        progress("");
        measured
    };
    let out = &mut std::io::stdout().lock();
    if args.roofline {
        return print::roofline(out, args.output, &machine());
    }
    let roofline = (!args.no_roofline).then(machine);
    if let Some(shape) = args.gemm {
        let rows = gemm::measure(&Pool::new(threads), Isa::detect()?, shape, roofline.as_ref());
        return gemm::rows(out, args.output, &rows);
    }
    let resolved = args.model.resolve()?;
    let engine = args.engine.load(&resolved, None)?;
    let model = engine.model();
    let plan = BenchPlan {
        n_prompt: args.n_prompt.clone(),
        n_gen: args.n_gen.clone(),
        n_batch: args.n_batch.iter().copied().map(usize::from).collect(),
        n_depth: args.n_depth.clone(),
        repetitions: args.repetitions.into(),
        cache: args.engine.cache(),
        warmup: !args.no_warmup,
    };
    let rows = engine::bench(model, &plan, |case, run| {
        progress(&format!("{} {run}/{}", describe(case), args.repetitions));
    })?;
    progress("");
    let rows: Vec<Row> = rows
        .iter()
        .map(|row| Row {
            model: &resolved.name,
            model_bytes: model.checkpoint().file_bytes(),
            threads: model.threads(),
            isa: model.isa().to_string(),
            row,
            share: roofline.as_ref().and_then(|r| Share::of(row, r, model.isa())),
        })
        .collect();
    print::rows(out, args.output, &rows)
}

fn name(test: BenchTest) -> &'static str {
    match test {
        BenchTest::Prefill => "prefill",
        BenchTest::Decode => "decode",
    }
}

/// `prefill 512`, `decode 64 x 16 @ 4096`.
fn describe(case: &BenchCase) -> String {
    let mut text = format!("{} {}", name(case.test), case.n_prompt + case.n_gen);
    if case.n_batch > 1 {
        text += &format!(" x {}", case.n_batch);
    }
    if case.n_depth > 0 {
        text += &format!(" @ {}", case.n_depth);
    }
    text
}

#[cfg(test)]
mod tests {
    use kernels::Isa;
    use kernels::roofline::Number;

    use super::*;

    fn row(test: BenchTest, n_batch: usize, n_depth: usize, bytes: Option<f64>) -> BenchRow {
        let (n_prompt, n_gen) = if test == BenchTest::Prefill { (512, 0) } else { (0, 64) };
        BenchRow {
            case: BenchCase { test, n_prompt, n_gen, n_batch, n_depth },
            avg_ts: 50.0,
            stddev_ts: 0.0,
            samples_ts: vec![50.0],
            bytes_per_token: bytes,
            operations_per_token: 1e9,
        }
    }

    #[test]
    fn cases_are_described() {
        let text = |test, batch, depth| describe(&row(test, batch, depth, None).case);
        assert_eq!(text(BenchTest::Prefill, 1, 0), "prefill 512");
        assert_eq!(text(BenchTest::Decode, 1, 0), "decode 64");
        assert_eq!(text(BenchTest::Decode, 16, 4096), "decode 64 x 16 @ 4096");
    }

    #[test]
    fn shares_are_of_what_the_instruction_set_can_do() {
        let peak = |isa, number, all| Peak { isa, number, instruction: "", one: all, all };
        let roofline = Roofline {
            threads: 2,
            read_one: 20.0,
            read_all: 40.0,
            peaks: vec![
                peak(Isa::Avx2, Number::F32, 100.0),
                peak(Isa::Avx512, Number::Int8, 500.0),
                peak(Isa::Avx512, Number::F32, 200.0),
            ],
        };
        let decode = row(BenchTest::Decode, 1, 0, Some(4e8));
        let share = Share::of(&decode, &roofline, Isa::Avx512).unwrap();
        assert_eq!(share.arithmetic_unit, "avx512 int8");
        assert!((share.read_share.unwrap() - 0.5).abs() < 1e-12);
        assert!((share.arithmetic_share - 0.1).abs() < 1e-12);
        let narrow = Share::of(&decode, &roofline, Isa::Avx2).unwrap();
        assert_eq!(narrow.arithmetic_unit, "avx2 f32");
        assert!((narrow.arithmetic_share - 0.5).abs() < 1e-12);
        assert!(Share::of(&decode, &roofline, Isa::Scalar).is_none());
        let prefill = row(BenchTest::Prefill, 1, 0, None);
        assert_eq!(Share::of(&prefill, &roofline, Isa::Avx512).unwrap().read_share, None);
    }
}
