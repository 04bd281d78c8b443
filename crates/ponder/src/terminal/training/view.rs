//! What there is to see of a run, as rows for a screen of any size.

use std::collections::VecDeque;
use std::time::Duration;

use learn::journal::{Record, sample};

use super::super::Size;
use super::super::live::{Tail, width};
use super::super::render::printable;
use super::rows::{Row, Style, cut};
use super::spark::{figure, range, spark, time};

/// Steps by which the time that is left is reckoned: completions grow longer as a run goes on.
const RECENT: usize = 30;
/// Columns between curves.
const GAP: usize = 3;

/// A run so far.
#[derive(Debug)]
pub(super) struct View {
    title: String,
    steps: u64,
    step: u64,
    /// When the last steps were done; the first entry is where the count begins.
    done: VecDeque<(u64, Duration)>,
    series: Vec<Series>,
    sample: Option<Sample>,
    phase: Option<(String, usize, usize)>,
    ended: bool,
}

#[derive(Debug)]
struct Series {
    name: String,
    values: Vec<f64>,
}

#[derive(Debug, Default)]
struct Sample {
    prompt: String,
    completion: String,
    reward: Option<f64>,
}

/// How the rows are shared out on a screen.
struct Layout {
    /// Columns of a row.
    columns: usize,
    /// Curves side by side.
    across: usize,
    /// Rows of curves.
    down: usize,
    /// Height of a curve without its name.
    height: usize,
    /// Rows of the prompt.
    prompt: usize,
    /// Rows of the completion.
    completion: usize,
}

impl Layout {
    fn of(size: Size) -> Layout {
        // One column stays free: a full row leaves some terminals' cursor in limbo.
        let columns = size.columns.saturating_sub(1);
        let across = (columns / 36).clamp(1, 3);
        let height = if size.rows < 32 { 1 } else { 2 };
        // Header, bar, two rows of figures, the phase and the hint are always there.
        let free = size.rows.saturating_sub(1 + 6);
        let down = (free / (1 + height)).min(6usize.div_ceil(across));
        // A blank row and the sample's own header.
        let free = (free - down * (1 + height)).saturating_sub(2);
        let prompt = (free / 4).min(3);
        Layout { columns, across, down, height, prompt, completion: (free - prompt).min(12) }
    }
}

impl View {
    pub(super) fn new(title: &str, steps: u64) -> View {
        View {
            title: title.to_owned(),
            steps,
            step: 0,
            done: VecDeque::new(),
            series: Vec::new(),
            sample: None,
            phase: None,
            ended: false,
        }
    }

    /// Takes up a record from before.
    pub(super) fn remember(&mut self, record: &Record) {
        self.step = self.step.max(record.step);
        for (name, value) in shown(record) {
            match self.series.iter_mut().find(|series| series.name == *name) {
                Some(series) => series.values.push(*value),
                None => self.series.push(Series { name: name.clone(), values: vec![*value] }),
            }
        }
        let text = |name| record.texts.iter().find(|(known, _)| known == name).map(|(_, t)| t);
        let completion = text(sample::COMPLETION).or(record.texts.first().map(|(_, text)| text));
        if let Some(completion) = completion {
            self.sample = Some(Sample {
                prompt: text(sample::PROMPT).cloned().unwrap_or_default(),
                completion: completion.clone(),
                reward: record.scalar(sample::REWARD),
            });
        }
    }

    /// Takes up a record that was made just now.
    pub(super) fn record(&mut self, record: &Record, at: Duration) {
        self.remember(record);
        if self.done.is_empty() && record.step > 0 {
            self.done.push_back((record.step - 1, Duration::ZERO));
        }
        // An evaluation belongs to the step before it, and takes its time.
        match self.done.back_mut() {
            Some((step, when)) if *step >= record.step => *when = at,
            _ => self.done.push_back((record.step, at)),
        }
        if self.done.len() > RECENT {
            self.done.pop_front();
        }
        self.phase = None;
    }

    /// Whether the phase is another one than before.
    pub(super) fn phase(&mut self, what: &str, done: usize, total: usize) -> bool {
        let other = self.phase.as_ref().is_none_or(|(before, ..)| before != what);
        self.phase = Some((what.to_owned(), done, total));
        other
    }

    /// The run is over, or has been stopped.
    pub(super) fn end(&mut self) {
        self.ended = true;
    }

    /// How long the remaining steps will take, by the last ones.
    fn left(&self, at: Duration) -> Option<Duration> {
        let (first, last) = (self.done.front()?, self.done.back()?);
        let steps = last.0.checked_sub(first.0).filter(|steps| *steps > 0)?;
        let each = last.1.saturating_sub(first.1).as_secs_f64() / steps as f64;
        let all = each * self.steps.saturating_sub(self.step) as f64;
        let since = at.saturating_sub(last.1).as_secs_f64();
        Duration::try_from_secs_f64((all - since).max(0.0)).ok()
    }

    /// A record in one line, for a log.
    pub(super) fn line(&self, record: &Record, at: Duration) -> String {
        let mut line = format!("step {}/{}", record.step, self.steps);
        for (name, value) in shown(record) {
            line += &format!("  {} {}", printable(name), figure(*value));
        }
        line + "  " + &self.clock(at)
    }

    fn clock(&self, at: Duration) -> String {
        match self.left(at).filter(|_| !self.ended && self.step < self.steps) {
            Some(left) => format!("{}, {} left", time(at), time(left)),
            None => time(at),
        }
    }

    /// Everything, for a screen of this size.
    pub(super) fn rows(&self, size: Size, colour: bool, at: Duration) -> Vec<Row> {
        let layout = Layout::of(size);
        let row = || Row::new(layout.columns, colour);
        let mut rows = vec![self.header(row(), at), bar(row(), self.step, self.steps)];
        let (charted, told) = self.chosen(layout.across * layout.down);
        for charts in charted.chunks(layout.across) {
            rows.extend(curves(charts, &layout, &row));
        }
        rows.extend(figures(&told, &row));
        if let Some(sample) = &self.sample
            && layout.completion > 0
        {
            rows.push(row());
            rows.extend(sample.rows(&layout, &row));
        }
        if !self.ended {
            rows.push(self.phase_row(row()));
            let mut hint = row();
            hint.push(Style::Dim, "Ctrl-C: saves a checkpoint and stops");
            rows.push(hint);
        }
        // On the smallest of screens the beginning is worth the most.
        rows.truncate(size.rows.saturating_sub(1).max(1));
        rows
    }

    fn header(&self, mut row: Row, at: Duration) -> Row {
        let step = format!("step {}/{}", self.step, self.steps);
        let clock = format!("  {}", self.clock(at));
        let wide = width(&step) + width(&clock);
        let column = row.room().saturating_sub(wide);
        row.push(Style::Bold, &cut(&self.title, column.saturating_sub(2)));
        row.pad(column);
        row.push(Style::Bold, &step);
        row.push(Style::Dim, &clock);
        row
    }

    fn phase_row(&self, mut row: Row) -> Row {
        let Some((what, done, total)) = &self.phase else { return row };
        row.push(Style::Plain, what);
        if *total > 0 {
            let count = format!(" {done}/{total}");
            row.push(Style::Plain, "  ");
            let room = row.room().saturating_sub(count.len()).min(24);
            let filled = (room * (*done).min(*total)).div_euclid(*total);
            row.push(Style::Trained, &"━".repeat(filled));
            row.push(Style::Dim, &"─".repeat(room - filled));
            row.push(Style::Plain, &count);
        }
        row
    }

    /// The series to be drawn, those that matter most first, and those of which the last figure
    /// must do.
    fn chosen(&self, charts: usize) -> (Vec<&Series>, Vec<&Series>) {
        let rewarded = self.series.iter().any(|series| series.name.contains("reward"));
        let mut ranked: Vec<(usize, usize, usize)> = Vec::new();
        for (at, series) in self.series.iter().enumerate() {
            let rank = rank(&series.name, rewarded);
            let alike = ranked.iter().filter(|(_, other, _)| *other == rank).count();
            ranked.push((alike, rank, at));
        }
        // The first of each kind before the second of any.
        ranked.sort_unstable();
        let drawn = &ranked[..charts.min(ranked.len())];
        let rest = (0..self.series.len()).filter(|at| drawn.iter().all(|(.., drawn)| drawn != at));
        let told = rest.map(|at| &self.series[at]).collect();
        (drawn.iter().map(|(.., at)| &self.series[*at]).collect(), told)
    }
}

/// The figures of the run, without those of the sample.
fn shown(record: &Record) -> impl Iterator<Item = &(String, f64)> {
    record.scalars.iter().filter(|(name, _)| name != sample::REWARD)
}

fn held_out(name: &str) -> bool {
    name.starts_with("eval") || name.contains("held")
}

/// How much a figure matters, by its name; 0 matters most.
fn rank(name: &str, rewarded: bool) -> usize {
    let named = |part: &str| name.contains(part);
    match name {
        _ if held_out(name) && named("accurac") => 1,
        _ if named("tokens/s") || named("tokens_per_second") => 5,
        _ if named("reward") && !named("std") => 0,
        _ if name.split(['/', '_']).any(|part| part == "kl") => 2,
        _ if named("entropy") => 3,
        _ if named("length") || named("tokens") => 4,
        // What a policy's loss says is little; elsewhere it says everything.
        _ if named("loss") => 6 * usize::from(rewarded),
        _ if named("accurac") || named("margin") => 7,
        _ => 8,
    }
}

fn bar(mut row: Row, step: u64, steps: u64) -> Row {
    let room = row.room();
    let part = if steps == 0 { 0.0 } else { step as f64 / steps as f64 };
    let filled = ((room as f64 * part) as usize).min(room);
    row.push(Style::Trained, &"━".repeat(filled));
    row.push(Style::Dim, &"─".repeat(room - filled));
    row
}

/// Curves side by side, under their names, last figures and ranges.
fn curves(charts: &[&Series], layout: &Layout, row: &impl Fn() -> Row) -> Vec<Row> {
    let cell = (layout.columns + GAP) / layout.across;
    let mut rows = vec![row(); 1 + layout.height];
    for (i, series) in charts.iter().enumerate() {
        let start = i * cell;
        let columns = cell.saturating_sub(GAP);
        let last = series.values.last().map_or(String::new(), |value| figure(*value));
        let span = match range(&series.values).filter(|(low, high)| low < high) {
            Some((low, high)) => format!("{} … {}", figure(low), figure(high)),
            None => String::new(),
        };
        let name = cut(&series.name, columns.saturating_sub(width(&last) + 1));
        let room = columns.saturating_sub(width(&name) + 1 + width(&last));
        rows[0].pad(start);
        rows[0].push(Style::Plain, &name);
        rows[0].push(Style::Plain, " ");
        rows[0].push(Style::Bold, &last);
        if room > width(&span) {
            rows[0].pad(start + columns - width(&span));
            rows[0].push(Style::Dim, &span);
        }
        let style = if held_out(&series.name) { Style::HeldOut } else { Style::Trained };
        for (row, line) in rows[1..].iter_mut().zip(spark(&series.values, columns, layout.height)) {
            row.pad(start);
            row.push(style, &line);
        }
    }
    rows
}

/// Last figures, in two rows at most.
fn figures(told: &[&Series], row: &impl Fn() -> Row) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    for series in told {
        let last = series.values.last().map_or(String::new(), |value| figure(*value));
        let wide = width(&series.name) + 1 + width(&last);
        if rows.last().is_none_or(|row| !row.is_empty() && row.room() < wide + GAP) {
            if rows.len() == 2 {
                break;
            }
            rows.push(row());
        }
        let Some(row) = rows.last_mut() else { break };
        if !row.is_empty() {
            row.push(Style::Plain, "   ");
        }
        row.push(Style::Dim, &series.name);
        row.push(Style::Plain, " ");
        row.push(Style::Plain, &last);
    }
    rows
}

impl Sample {
    /// The end of the prompt, then both ends of the completion: always as many rows.
    fn rows(&self, layout: &Layout, row: &impl Fn() -> Row) -> Vec<Row> {
        let mut rows = vec![row()];
        rows[0].push(Style::Bold, "a sample");
        if let Some(reward) = self.reward {
            rows[0].push(Style::Plain, "  reward ");
            rows[0].push(Style::Bold, &figure(reward));
        }
        let prompt = wrapped(&self.prompt, layout.columns.saturating_sub(2));
        for (i, line) in prompt[prompt.len().saturating_sub(layout.prompt)..].iter().enumerate() {
            let cut = i == 0 && prompt.len() > layout.prompt;
            let mut row = row();
            row.push(Style::Dim, if cut { "… " } else { "  " });
            row.push(Style::Dim, line);
            rows.push(row);
        }
        let completion = wrapped(&self.completion, layout.columns.saturating_sub(2));
        let most = layout.completion;
        let push = |rows: &mut Vec<Row>, style, line: &str| {
            let mut row = row();
            row.push(style, "  ");
            row.push(style, line);
            rows.push(row);
        };
        if completion.len() <= most {
            completion.iter().for_each(|line| push(&mut rows, Style::Plain, line));
        } else {
            let head = (most - 1) / 3;
            let tail = most - 1 - head;
            let between = completion.len() - head - tail;
            completion[..head].iter().for_each(|line| push(&mut rows, Style::Plain, line));
            push(&mut rows, Style::Dim, &format!("… {between} rows more …"));
            let tail = &completion[completion.len() - tail..];
            tail.iter().for_each(|line| push(&mut rows, Style::Plain, line));
        }
        rows.resize(1 + layout.prompt + most, row());
        rows
    }
}

fn wrapped(text: &str, columns: usize) -> Vec<String> {
    let mut tail = Tail::new();
    tail.push(&printable(text), columns, usize::MAX);
    tail.rows()
}
