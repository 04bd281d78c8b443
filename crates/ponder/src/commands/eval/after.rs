//! What is done with benchmarks and with runs that are there.

use std::collections::HashMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use engine::{Engine, LoadOptions, Lora};
use eval::benchmark::Benchmark;
use eval::measure::sample_seed;
use eval::report::{Report, Versus};
use eval::run::{self, Manifest, RunFolder, Sample};
use eval::{rows, score};
use indicatif::{ProgressBar, ProgressStyle};
use learn::data::answered;
use learn::preference::RewardVerifier;
use model::Adapter;
use verify::check::Tools;
use verify::program::sandbox::Options;

use super::ask;
use crate::judge_arg::JudgeArg;
use crate::model_arg::ModelArg;

/// A run.
#[derive(Debug, clap::Args)]
pub struct Run {
    /// The run folder.
    run: PathBuf,

    /// Run programs even where this machine can't isolate them as promised.
    #[arg(long)]
    allow_weaker_sandbox: bool,
}

/// A run to be judged again.
#[derive(Debug, clap::Args)]
pub struct Rescore {
    #[command(flatten)]
    run: Run,

    /// With it, what a reward model finds of each answer is kept beside the verdict, as `reward`.
    #[command(flatten)]
    judge: JudgeArg,

    /// With it, how far the model with this adapter is from the model without it along each answer is kept beside the
    /// verdict, as `kl`: the sum of KL(with‖without) over the answer's tokens, in nats.
    #[arg(long, value_name = "PATH")]
    kl: Option<PathBuf>,

    /// Never touch the network.
    #[arg(long, env = "PONDER_OFFLINE", value_parser = clap::builder::FalseyValueParser::new())]
    offline: bool,
}

/// Two runs.
#[derive(Debug, clap::Args)]
pub struct Compare {
    /// The first run folder.
    a: PathBuf,

    /// The second, of the same benchmark.
    b: PathBuf,

    /// JSON instead of text.
    #[arg(long)]
    json: bool,

    /// Write a page, too.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

/// A run to be checked.
#[derive(Debug, clap::Args)]
pub struct Verify {
    #[command(flatten)]
    run: Run,

    /// Where the items' file is on this machine.
    #[arg(long, value_name = "FILE")]
    items: Option<PathBuf>,

    /// Where the model's file is on this machine.
    #[arg(long, value_name = "FILE")]
    model: Option<PathBuf>,
}

/// Whether two answers are the same, for votes.
fn same(a: &str, b: &str) -> bool {
    a == b || verify::math::equivalent(a, b).unwrap_or(false)
}

/// The benchmarks that come along.
pub fn list() -> Result<ExitCode> {
    let mut out = std::io::stdout().lock();
    for name in Benchmark::names() {
        let (benchmark, _) = Benchmark::open(name)?;
        writeln!(out, "{name:14} {:24} {}", benchmark.items.file, benchmark.description)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Writes all reports of a run, and says what it came to.
pub fn write_report(path: &Path) -> Result<()> {
    let (manifest, samples) = run::read(path)?;
    let report = Report::new(&manifest, &samples, &same);
    let lm_eval = serde_json::to_string_pretty(&report.to_lm_eval())?;
    let json = serde_json::to_string_pretty(&report.to_json())?;
    for (name, text) in [
        ("report.html", report.to_html()),
        ("report.md", report.to_markdown()),
        ("report.json", json),
        ("lm-eval.json", lm_eval),
    ] {
        let file = path.join(name);
        std::fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
    }
    let right = report.summary.accuracy;
    writeln!(
        std::io::stdout(),
        "{}, {}: {:.2} % right, 95 % interval {:.2} to {:.2} %, {} samples",
        manifest.benchmark,
        manifest.model.name,
        100.0 * right.value,
        100.0 * right.low,
        100.0 * right.high,
        samples.len()
    )?;
    eprintln!("report: {}", path.join("report.html").display());
    Ok(())
}

/// Writes the reports of a run anew.
pub fn report(args: &Run) -> Result<ExitCode> {
    write_report(&args.run)?;
    Ok(ExitCode::SUCCESS)
}

fn bar(what: &str, samples: usize) -> ProgressBar {
    let bar = ProgressBar::new(samples as u64);
    if let Ok(style) = ProgressStyle::with_template(&format!("{what} {{bar:24}} {{pos}}/{{len}}")) {
        bar.set_style(style);
    }
    bar
}

/// Judges again; what changed, in words.
fn judge(args: &Run, samples: &mut [Sample]) -> Vec<score::Changed> {
    let options = Options { allow_weaker: args.allow_weaker_sandbox, ..Options::default() };
    let bar = bar("judging", samples.len());
    let changed = score::rescore(&Tools::new(options), samples, &|| bar.inc(1));
    bar.finish_and_clear();
    changed
}

fn tell(changed: &[score::Changed]) -> Result<()> {
    let mut out = std::io::stdout().lock();
    let score = |score: Option<f64>| score.map_or("cannot tell".to_owned(), |s| s.to_string());
    for c in changed {
        let (before, after) = (score(c.before), score(c.after));
        writeln!(out, "{} #{}: {before} -> {after}", c.item, c.index)?;
    }
    Ok(())
}

/// Judges a run's samples again and keeps the verdicts, with a reward model's opinions and distances from a model without
/// its adapter where these are asked for.
pub fn rescore(args: &Rescore) -> Result<ExitCode> {
    let path = &args.run.run;
    // Nobody else may write to it meanwhile.
    let (manifest, _) = run::read(path)?;
    let (folder, mut samples) = RunFolder::open(path, &manifest)?;
    let judge_of_answers =
        args.judge.open(None, &ModelArg { model: None, offline: args.offline })?;
    let changed = judge(&args.run, &mut samples);
    if let Some(reward_model) = judge_of_answers {
        add_rewards(&reward_model, &mut samples)?;
    }
    if let Some(adapter) = &args.kl {
        let named = manifest.model.endpoints.is_empty().then(|| manifest.model.name.clone());
        let model = ModelArg { model: named, offline: args.offline }.resolve()?;
        let engine = Engine::load(&model.path, &LoadOptions::default());
        let engine = engine.with_context(|| format!("cannot load {}", model.name))?;
        add_divergences(&engine, adapter, &mut samples)?;
    }
    tell(&changed)?;
    RunFolder::replace(path, &samples)?;
    drop(folder);
    eprintln!("{} of {} samples are judged otherwise", changed.len(), samples.len());
    write_report(path)?;
    Ok(ExitCode::SUCCESS)
}

/// What the judge finds of every answer, as the detail `reward`.
fn add_rewards(judge: &RewardVerifier, samples: &mut [Sample]) -> Result<()> {
    add_detail(samples, "reward", "asking the judge", |sample| {
        let reward = judge.reward(&sample.attempt());
        Ok(reward.with_context(|| format!("cannot judge {}", sample.item))?.into())
    })
}

/// How far the engine's model with the adapter is from the model itself along every answer, as the detail `kl`.
fn add_divergences(engine: &Engine, adapter: &Path, samples: &mut [Sample]) -> Result<()> {
    let lora = Adapter::load(adapter, engine.model());
    let lora = Lora::new(lora.with_context(|| format!("cannot load {}", adapter.display()))?);
    add_detail(samples, "kl", "comparing", |sample| {
        let cannot = || format!("cannot compare along {}", sample.item);
        let text = answered(engine, &sample.attempt()).with_context(cannot)?;
        let counts = |at: usize| text.weights[at] != 0.0;
        engine.divergence(&text.tokens, counts, [Some(&lora), None]).with_context(cannot)
    })
}

/// Works a figure out for every answer and keeps it as the detail `name`; `what` is being done is shown.
fn add_detail(
    samples: &mut [Sample],
    name: &str,
    what: &str,
    of: impl Fn(&Sample) -> Result<f64>,
) -> Result<()> {
    let bar = bar(what, samples.len());
    for sample in samples.iter_mut().filter(|sample| sample.finish_reason != "refused") {
        let figure = of(sample)?;
        sample.details.insert(name.to_owned(), figure.into());
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(())
}

/// Compares two runs.
pub fn compare(args: &Compare) -> Result<ExitCode> {
    let (a, b) = (run::read(&args.a)?, run::read(&args.b)?);
    let report = |run| {
        let (manifest, samples): &(Manifest, Vec<Sample>) = run;
        Report::new(manifest, samples, &same)
    };
    let versus = Versus::new(report(&a), report(&b));
    let text = match args.json {
        true => serde_json::to_string_pretty(&versus.to_json())?,
        false => versus.to_markdown(),
    };
    if let Some(path) = &args.html {
        std::fs::write(path, versus.to_html())
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    writeln!(std::io::stdout(), "{text}")?;
    Ok(ExitCode::SUCCESS)
}

/// Checks a run; 1 if something is not as it says.
pub fn verify(args: &Verify) -> Result<ExitCode> {
    let (manifest, mut samples) = run::read(&args.run.run)?;
    let mut out = std::io::stdout().lock();
    let mut wrong = 0;
    let mut check = |what: &str, outcome: Result<String, String>| -> Result<()> {
        let (mark, text) = match &outcome {
            Ok(text) => ("ok   ", text),
            Err(text) => ("WRONG", text),
        };
        wrong += usize::from(outcome.is_err());
        Ok(writeln!(out, "{mark} {what}: {text}")?)
    };
    check("samples", complete(&manifest, &samples))?;
    check("seeds", seeds(&manifest, &samples))?;
    let items = args.items.clone().unwrap_or_else(|| manifest.items.path.clone().into());
    if items.exists() {
        check("items", equal(&rows::sha256(&items)?, &manifest.items.sha256))?;
        check("questions", questions(&manifest, &items, &samples))?;
    } else {
        check("items", Ok(format!("not here ({}); give --items FILE", items.display())))?;
    }
    if let Some(file) = &manifest.model.file {
        let path = args.model.clone().unwrap_or_else(|| file.path.clone().into());
        match path.exists() {
            true => check("model", equal(&ask::hash(&path)?.sha256, &file.sha256))?,
            false => {
                let shown = path.display();
                check("model", Ok(format!("not here ({shown}); give --model FILE")))?;
            }
        }
    }
    let changed = judge(&args.run, &mut samples);
    let verdicts = match changed.len() {
        0 => Ok(format!("{} samples are judged the same again", samples.len())),
        n => Err(format!("{n} of {} samples are judged otherwise", samples.len())),
    };
    check("verdicts", verdicts)?;
    drop(out);
    tell(&changed)?;
    Ok(if wrong == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn equal(found: &str, said: &str) -> Result<String, String> {
    match found == said {
        true => Ok(format!("SHA-256 {found}")),
        false => Err(format!("SHA-256 {found}, but the run says {said}")),
    }
}

fn complete(manifest: &Manifest, samples: &[Sample]) -> Result<String, String> {
    let (there, wanted) = (run::done(samples).len(), manifest.item_count * manifest.k);
    match there == wanted && samples.len() == wanted {
        true => Ok(format!("all {wanted}")),
        false => Err(format!("{} lines, {there} samples, {wanted} wanted", samples.len())),
    }
}

fn seeds(manifest: &Manifest, samples: &[Sample]) -> Result<String, String> {
    let other = samples.iter().find(|s| s.seed != sample_seed(manifest.seed, &s.item, s.index));
    match other {
        None => Ok("as the run's seed gives them".to_owned()),
        Some(s) => Err(format!("{} #{} has another", s.item, s.index)),
    }
}

/// Whether the samples' questions and tasks are those of the items.
fn questions(manifest: &Manifest, items: &Path, samples: &[Sample]) -> Result<String, String> {
    let ask = || -> Result<Vec<eval::benchmark::Item>, eval::Error> {
        let rows = rows::read(items, &[])?;
        Benchmark::parse(&manifest.benchmark_toml, &manifest.benchmark)?.items(&rows)
    };
    // Columns may have been renamed on the command line: then there is nothing to compare with.
    let Ok(items) = ask() else { return Ok("not compared: the columns were renamed".to_owned()) };
    let items: HashMap<&str, _> = items.iter().map(|item| (&*item.id, item)).collect();
    let other = samples.iter().find(|sample| {
        items
            .get(&*sample.item)
            .is_none_or(|item| item.question != sample.question || item.task != sample.task)
    });
    match other {
        None => Ok("those of the items".to_owned()),
        Some(sample) => Err(format!("{} is not as in the items", sample.item)),
    }
}

/// The processor's name.
pub fn processor() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    name.map_or_else(|| std::env::consts::ARCH.to_owned(), |(_, name)| name.to_owned())
}
