//! What a report says, before it is written as anything.

use super::Report;
use super::figures::{between, count, date, flops, interval, number, percent, seconds, short};
use super::{escape, figures};
use crate::run::{Manifest, Source};
use crate::stats::{Estimate, Mark, Summary};

/// A fact about a run.
pub(super) struct Fact {
    pub name: &'static str,
    pub value: String,
    /// A hash, a command or settings: to be set as such.
    pub code: bool,
}

/// A table; its first column is text and the others are figures, but for a last one called `What`.
pub(super) struct Table {
    pub title: &'static str,
    pub head: Vec<&'static str>,
    pub rows: Vec<Vec<String>>,
}

impl Table {
    /// Whether it takes more than half of a wide page: its figures don't wrap, its names do.
    pub(super) fn is_wide(&self) -> bool {
        let column = |i: usize| {
            let cells = self.rows.iter().map(|r| r[i].as_str()).chain([self.head[i]]);
            // What parts it from the next is about three characters wide.
            cells.map(|c| c.chars().count()).max().unwrap_or(0) + 3
        };
        (1..self.head.len()).map(column).sum::<usize>() > 50
    }
}

/// What was measured and how.
pub(super) fn facts(report: &Report<'_>) -> Vec<Fact> {
    let manifest = report.manifest;
    let mut facts = Vec::new();
    let mut add = |name, value: String, code| {
        if !value.is_empty() {
            facts.push(Fact { name, value, code });
        }
    };
    add("Model", manifest.model.name.clone(), false);
    if let Some(Source { path, sha256 }) = &manifest.model.file {
        add("Model file", path.clone(), true);
        add("Model SHA-256", sha256.clone(), true);
    }
    if let Some(Source { path, sha256 }) = &manifest.model.adapter {
        add("Adapter", path.clone(), true);
        add("Adapter SHA-256", sha256.clone(), true);
    }
    add("Run with", manifest.model.flags.clone().unwrap_or_default(), true);
    add("Endpoints", manifest.model.endpoints.join(", "), true);
    if let Some(parameters) = manifest.model.parameters {
        add("Weights", parameters_in_words(parameters), false);
    }
    add("Benchmark", manifest.benchmark.clone(), false);
    add("Items", manifest.items.path.clone(), true);
    add("Items SHA-256", manifest.items.sha256.clone(), true);
    add("Samples", samples(report), false);
    add("Sampling", manifest.sampling.to_string(), true);
    add("Seed", manifest.seed.to_string(), false);
    add("Machine", manifest.machine.clone().unwrap_or_default(), false);
    add("Version", manifest.version.clone(), false);
    add("Started", date(manifest.started), false);
    add("Command", command(manifest), true);
    facts
}

/// The command that made a run, to be pasted into a shell.
pub(super) fn command(manifest: &Manifest) -> String {
    manifest.command.iter().map(|a| escape::shell(a)).collect::<Vec<_>>().join(" ")
}

/// How many samples there are, and how many there should be.
pub(super) fn samples(report: &Report<'_>) -> String {
    let (summary, manifest) = (&report.summary, report.manifest);
    let mut text = format!("{} items × {}", count(manifest.item_count), manifest.k);
    if summary.samples != summary.expected {
        text += &format!(
            "; {} of {} samples are there",
            count(summary.samples),
            count(summary.expected)
        );
    }
    text
}

fn parameters_in_words(parameters: u64) -> String {
    match parameters as f64 {
        n @ 1e9.. => format!("{} billion", number(n / 1e9)),
        n => format!("{} million", number(n / 1e6)),
    }
}

/// The interval to set beside the accuracy: Wilson's where it holds, since the bootstrap's shrinks to
/// a point when all or none are right.
pub(super) fn headline_interval(summary: &Summary) -> String {
    match summary.wilson {
        Some(wilson) => format!("{} (Wilson)", between(wilson.low, wilson.high, percent)),
        None => interval(&summary.accuracy, percent),
    }
}

/// Every table that has rows.
pub(super) fn tables(report: &Report<'_>) -> Vec<Table> {
    let tables = [
        scores(report),
        endings(report),
        cost(report),
        by_tokens(report),
        groups(report),
        details(report),
        not_told(report),
    ];
    tables.into_iter().filter(|t| !t.rows.is_empty()).collect()
}

fn row(name: impl Into<String>, estimate: &Estimate, show: fn(f64) -> String) -> Vec<String> {
    vec![name.into(), show(estimate.value), interval(estimate, show), show(estimate.se)]
}

fn row_with(
    name: impl Into<String>,
    estimate: &Estimate,
    show: fn(f64) -> String,
    what: &str,
) -> Vec<String> {
    let mut row = row(name, estimate, show);
    row.push(what.to_owned());
    row
}

fn scores(report: &Report<'_>) -> Table {
    let summary = &report.summary;
    let n = summary.pass.last().map_or(1, |p| p.k);
    let mut rows = vec![row_with(
        format!("mean@{n}"),
        &summary.accuracy,
        percent,
        "share of an item's samples that are right, averaged over items",
    )];
    if let Some(wilson) = summary.wilson {
        rows.push(vec![
            "Wilson's interval".to_owned(),
            percent(summary.accuracy.value),
            between(wilson.low, wilson.high, percent),
            figures::NONE.to_owned(),
            "of the same, in closed form".to_owned(),
        ]);
    }
    if let Some(score) = &summary.score {
        rows.push(row_with("score", score, percent, "the same with partial credit"));
    }
    for at in summary.pass.iter().filter(|at| at.k > 1) {
        rows.push(row_with(
            format!("pass@{}", at.k),
            &at.estimate,
            percent,
            "at least one of k samples right, unbiased",
        ));
    }
    for at in summary.maj.iter().filter(|at| at.k > 1) {
        // The vote of all samples is what others report as cons@k.
        let name = match at.k {
            k if k == n => format!("maj@{k}, cons@{k}"),
            k => format!("maj@{k}"),
        };
        rows.push(row_with(name, &at.estimate, percent, "commonest of k samples' answers right"));
    }
    if let Some(votes) = &summary.votes {
        rows.push(row_with(
            "majority",
            &votes.majority_right,
            percent,
            "more than half of the samples agree, and are right",
        ));
        rows.push(row_with("all right", &votes.all_right, percent, "every sample is right"));
        rows.push(row_with(
            "agreement",
            &votes.agreement,
            percent,
            "share of an item's samples that give its commonest answer",
        ));
    }
    Table { title: "Scores", head: vec!["", "", "95 % interval", "SE", "What"], rows }
}

fn endings(report: &Report<'_>) -> Table {
    let s = &report.summary;
    let sum = |is: fn(&Mark) -> bool| report.marks.iter().flatten().filter(|m| is(m)).count();
    let row = |name: &str, samples: usize, estimate: &Estimate, what: &str| {
        vec![
            name.to_owned(),
            count(samples),
            percent(estimate.value),
            interval(estimate, percent),
            what.to_owned(),
        ]
    };
    let rows = vec![
        row(
            "truncated",
            sum(|m| m.truncated),
            &s.truncated,
            "cut off by a limit of tokens or time",
        ),
        row("no answer", sum(|m| m.no_answer), &s.no_answer, "nothing found to judge"),
        row(
            "… though finished",
            sum(|m| m.no_answer && !m.truncated),
            &s.no_answer_finished,
            "the same, of those not cut off",
        ),
        row("repeats", sum(|m| m.repeats), &s.repeats, "thinking or answer ends in a loop"),
        row("mixes languages", sum(|m| m.mixed), &s.mixed, "over 2 % foreign letters"),
        row(
            "could not tell",
            sum(|m| m.cannot_tell),
            &s.cannot_tell,
            "could not be judged here; counted as not right",
        ),
    ];
    Table {
        title: "How samples ended",
        head: vec!["", "Samples", "Share", "95 % interval", "What"],
        rows,
    }
}

fn cost(report: &Report<'_>) -> Table {
    let cost = &report.summary.cost;
    let mut rows = vec![
        row("tokens a sample", &cost.tokens_per_sample, number),
        row("tokens a right one", &cost.tokens_per_right, number),
        row("seconds a sample", &cost.seconds_per_sample, seconds),
        row("seconds a right one", &cost.seconds_per_right, seconds),
    ];
    if let Some(estimate) = &cost.flops_per_right {
        rows.push(row("FLOPs a right one", estimate, flops));
    }
    Table { title: "Cost", head: vec!["", "", "95 % interval", "SE"], rows }
}

fn by_tokens(report: &Report<'_>) -> Table {
    let rows = report.summary.by_tokens.iter().map(|bin| {
        vec![
            format!("{} to {}", count(bin.from), count(bin.to)),
            count(bin.samples),
            percent(bin.accuracy.value),
            interval(&bin.accuracy, percent),
        ]
    });
    Table {
        title: "By tokens generated",
        head: vec!["Tokens", "Samples", "Right", "95 % interval"],
        rows: rows.collect(),
    }
}

fn groups(report: &Report<'_>) -> Table {
    let rows = report.summary.groups.iter().map(|group| {
        vec![
            group_name(&group.name).to_owned(),
            count(group.items),
            percent(group.accuracy.value),
            interval(&group.accuracy, percent),
            percent(group.truncated),
            number(group.tokens),
        ]
    });
    Table {
        title: "Groups",
        head: vec!["", "Items", "Right", "95 % interval", "Truncated", "Tokens"],
        rows: rows.collect(),
    }
}

/// What items without a group are called.
pub(super) fn group_name(name: &str) -> &str {
    if name.is_empty() { "(none)" } else { name }
}

fn details(report: &Report<'_>) -> Table {
    let rows = report.summary.details.iter().map(|detail| {
        row(detail.name.as_str(), &detail.mean, if detail.is_share { percent } else { number })
    });
    Table {
        title: "Reported besides",
        head: vec!["", "Mean", "95 % interval", "SE"],
        rows: rows.collect(),
    }
}

fn not_told(report: &Report<'_>) -> Table {
    let mut reasons: Vec<_> = report.summary.cannot_tell_why.iter().collect();
    reasons.sort_by_key(|(_, n)| std::cmp::Reverse(**n));
    // A reason can hold what is particular to a sample, so that there are as many as samples.
    let rows = reasons.iter().take(20).map(|(why, n)| vec![short(why, 200), count(**n)]);
    Table { title: "Why it could not be told", head: vec!["", "Samples"], rows: rows.collect() }
}

/// What figures mean that their tables have no room for.
pub(super) fn notes(report: &Report<'_>) -> Vec<String> {
    let bootstrap = report.summary.bootstrap;
    vec![
        format!(
            "Intervals are percentiles of {} bootstrap resamples of items, each with all its samples \
             (seed {}). Standard errors (SE) are clustered by item.",
            count(bootstrap.resamples),
            bootstrap.seed
        ),
        "Right is full credit. What could not be judged counts as not right; no item is left out."
            .to_owned(),
        "pass@k is the unbiased estimator of Chen et al. 2021. maj@k is the vote of k samples, \
         averaged over subsets of the samples drawn; answers vote together if they are equal to the \
         verifier, samples without an answer don't vote, ties earn the mean of the answers tied."
            .to_owned(),
        "A text repeats if it ends in one unit written at least four times on end over at least 160 \
         characters. It mixes languages if more than 2 % of its letters, and at least three, belong \
         to none of the question's scripts; Greek, code, LaTeX commands and short Latin names don't \
         count."
            .to_owned(),
        "Tokens are those generated, thinking included. Seconds are summed over samples, of which \
         several may have been under way at once. FLOPs are estimated as 2 × weights × tokens of \
         prompt and answer; attention and what a cache saved are left out."
            .to_owned(),
    ]
}
