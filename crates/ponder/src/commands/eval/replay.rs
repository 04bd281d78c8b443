//! `ponder eval replay`: what other rules for voting would have made of a run's thoughts.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use eval::replay::{Item, Played, rules, thoughts};
use eval::report::{Series, spending};
use eval::run;
use eval::stats::wilson;
use reason::vote::Weight;

/// A run with several thoughts or samples of each item.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The run folder, of `--strategy vote --all-votes` or of `-k`.
    run: PathBuf,

    /// Another run to draw beside it, as one point (may be repeated).
    #[arg(long, value_name = "NAME=RUN", value_parser = named)]
    and: Vec<(String, PathBuf)>,

    /// Draw accuracy against tokens.
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,

    /// JSON instead of text.
    #[arg(long)]
    json: bool,
}

fn named(typed: &str) -> Result<(String, PathBuf)> {
    match typed.split_once('=') {
        Some((name, path)) if !name.is_empty() && !path.is_empty() => {
            Ok((name.to_owned(), path.into()))
        }
        _ => bail!("a name and a run are wanted, as in greedy=runs/greedy"),
    }
}

/// Plays the rules through.
pub fn run(args: &Args) -> Result<ExitCode> {
    let (manifest, samples) = run::read(&args.run)?;
    let items = thoughts(&samples);
    let n = items.values().map(Vec::len).max().unwrap_or(0);
    if n < 2 {
        bail!(
            "{} has one thought of each item, so there is nothing to vote on\n\
             hint: `ponder eval … --strategy vote -n 16 --all-votes`, or -k 16",
            args.run.display()
        );
    }
    // An item that was cut off in mid-run has fewer.
    let whole: Vec<&Item> = items.values().filter(|item| item.len() == n).collect();
    let confidence = whole.iter().all(|item| item.iter().any(|had| had.confidence.is_some()));
    let played: Vec<Played> =
        rules(n, confidence).iter().filter_map(|rule| rule.play(whole.iter().copied())).collect();
    let mut out = std::io::stdout().lock();
    if args.json {
        writeln!(out, "{}", serde_json::to_string(&played)?)?;
    } else {
        let model = &manifest.model.name;
        writeln!(out, "{}, {model}, {} items, {n} thoughts each", manifest.benchmark, whole.len())?;
        writeln!(
            out,
            "{:42} {:>8} {:>18} {:>10} {:>9}",
            "rule", "right", "95 %", "tokens", "thoughts"
        )?;
        for played in &played {
            writeln!(
                out,
                "{:42} {:>6.1} % {:>7.1} to {:>4.1} % {:>10.0} {:>9.1}",
                name(played),
                100.0 * played.right,
                100.0 * played.interval.low,
                100.0 * played.interval.high,
                played.tokens,
                played.thoughts
            )?;
        }
    }
    if let Some(file) = &args.svg {
        let mut series = series(&played);
        for (name, path) in &args.and {
            series.push(point(name, path)?);
        }
        let svg = spending(&series).context("there is nothing to draw")?;
        std::fs::write(file, svg).with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn name(played: &Played) -> String {
    let rule = played.rule;
    let weight = match rule.weight {
        Weight::Count => "",
        Weight::Likelihood => ", weighted by likelihood",
        Weight::Tail => ", weighted by tail",
        Weight::Score => ", weighted by score",
    };
    let give_up = rule.give_up.map_or(String::new(), |share| format!(" or given up at {share}"));
    match rule.sure {
        None => format!("{} of {} vote{weight}", rule.n, rule.n),
        Some(sure) => format!("up to {} until {sure} sure{give_up}", rule.n),
    }
}

/// Curves of the rules.
fn series(played: &[Played]) -> Vec<Series> {
    let of = |name: &str, wanted: &dyn Fn(&Played) -> bool| {
        let mut points: Vec<_> = played
            .iter()
            .filter(|played| wanted(played))
            .map(|played| (played.tokens, played.right, played.interval))
            .collect();
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        Series { name: name.to_owned(), points }
    };
    let counts = |played: &Played| played.rule.weight == Weight::Count;
    let mut all = vec![
        of("vote of 1, 2, 3 …", &|played| counts(played) && played.rule.sure.is_none()),
        of("until sure", &|p| counts(p) && p.rule.sure.is_some() && p.rule.give_up.is_none()),
        of("until sure, or given up", &|p| p.rule.give_up.is_some()),
        of("weighted by confidence", &|played| !counts(played)),
    ];
    all.retain(|series| !series.points.is_empty());
    all
}

/// A whole run, as one point.
fn point(name: &str, path: &std::path::Path) -> Result<Series> {
    let (_, samples) = run::read(path)?;
    let right = samples
        .iter()
        .filter(|sample| sample.verdict.as_ref().is_some_and(verify::Verdict::is_right))
        .count();
    let tokens: usize = samples.iter().map(|sample| sample.completion_tokens).sum();
    let interval = wilson(right, samples.len())
        .with_context(|| format!("{} has no samples", path.display()))?;
    let n = samples.len() as f64;
    let points = vec![(tokens as f64 / n, right as f64 / n, interval)];
    Ok(Series { name: name.to_owned(), points })
}
