//! Figures over the steps of one or several runs: a drawing of its own, for documents and reports.

mod axis;

use std::fmt::Write;

use super::Record;
use axis::{Axis, figure};

/// One panel, its axes' names included.
const WIDTH: f64 = 480.0;
const HEIGHT: f64 = 236.0;
/// The plot in its panel.
const LEFT: f64 = 58.0;
const RIGHT: f64 = WIDTH - 14.0;
const TOP: f64 = 32.0;
const BOTTOM: f64 = HEIGHT - 40.0;

/// Points that a panel of this width can show.
const MOST: usize = 400;

/// Colours that stay apart on white and on black.
const STYLE: &str = "<style>text{font:11px sans-serif;fill:#777}.title{font-weight:bold}\
    .grid{stroke:#9994}.rule{stroke:#999}path{fill:none;stroke-width:2;stroke-linejoin:round}\
    .raw{stroke-width:3;stroke-linecap:round;opacity:.3}.few{stroke-width:6;opacity:1}.dashed{stroke-dasharray:7 4}\
    .s0{stroke:#3b82d0}.s1{stroke:#d97a1e}.s2{stroke:#2f9e6a}.s3{stroke:#b5519c}.s4{stroke:#8a7a2e}\
    </style>";
const COLOURS: usize = 5;

/// A run and what it is called in the drawing.
#[derive(Clone, Copy, Debug)]
pub struct Run<'a> {
    /// Its name in the legend.
    pub name: &'a str,
    /// What it showed.
    pub records: &'a [Record],
}

/// What one panel shows of every run.
#[derive(Clone, Debug)]
pub struct Panel {
    /// The name of the figure in the records.
    pub scalar: String,
    /// What stands above the panel.
    pub title: String,
    /// What the figure is counted in, as `tokens`; shares are drawn as per cent if this is `%`.
    pub unit: String,
}

impl Panel {
    /// A panel for this figure under its own name.
    pub fn new(scalar: &str, unit: &str) -> Panel {
        Panel { scalar: scalar.to_owned(), title: scalar.to_owned(), unit: unit.to_owned() }
    }
}

/// What one run has to show in a panel.
struct Line {
    points: Vec<(f64, f64)>,
    smooth: Vec<(f64, f64)>,
}

/// A whole SVG file: a panel for each figure, in two columns if there are several, and the runs
/// over each other in all of them. Faint points are what was recorded, lines a running mean of
/// it; a figure with few points is drawn as it is. Panels without points are left out; none is
/// left without any.
pub fn curves(runs: &[Run], panels: &[Panel]) -> Option<String> {
    let panels: Vec<(&Panel, Vec<Line>)> = panels
        .iter()
        .map(|panel| (panel, runs.iter().map(|run| Line::of(run, panel)).collect::<Vec<_>>()))
        .filter(|(_, lines)| lines.iter().any(|line| !line.points.is_empty()))
        .collect();
    if panels.is_empty() {
        return None;
    }
    let columns = panels.len().min(2);
    let mut body = String::new();
    let mut says = Vec::new();
    for (i, (panel, lines)) in panels.iter().enumerate() {
        let place = (WIDTH * (i % columns) as f64, HEIGHT * (i / columns) as f64);
        let _ = write!(body, r#"<g transform="translate({:.0} {:.0})">"#, place.0, place.1);
        draw(&mut body, panel, lines);
        body.push_str("</g>");
        for (run, line) in runs.iter().zip(lines) {
            if let (Some(first), Some(last)) = (line.smooth.first(), line.smooth.last()) {
                let (from, to) = (figure(first.1), figure(last.1));
                says.push(format!("{}, {}: from {from} to {to}", panel.title, run.name));
            }
        }
    }
    let width = WIDTH * columns as f64;
    let height = HEIGHT * panels.len().div_ceil(columns) as f64;
    let legend = legend(&mut body, runs, width, height);
    Some(format!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0} {:.0}" role="img" aria-label="{}">{STYLE}{body}</svg>"#,
        height + legend,
        escape(&says.join("; "))
    ))
}

impl Line {
    fn of(run: &Run, panel: &Panel) -> Line {
        let share = if panel.unit == "%" { 100.0 } else { 1.0 };
        let points: Vec<(f64, f64)> = run
            .records
            .iter()
            .filter_map(|record| Some((record.step as f64, record.scalar(&panel.scalar)? * share)))
            .filter(|(_, y)| y.is_finite())
            .collect();
        let smooth = smoothed(&points);
        Line { points, smooth }
    }

    /// Few enough to be seen one by one, and not smoothed.
    fn few(&self) -> bool {
        spread(self.points.len()) == 0.0
    }
}

fn draw(out: &mut String, panel: &Panel, lines: &[Line]) {
    let mut ys: Vec<f64> = lines.iter().flat_map(|line| &line.points).map(|(_, y)| *y).collect();
    ys.sort_by(f64::total_cmp);
    // A single wild step must not press everything else into a line; it is drawn at the edge.
    let beyond = ys.len() / 100;
    let (mut low, high) = (ys[beyond], ys[ys.len() - 1 - beyond]);
    if low > 0.0 && low < high / 2.0 {
        low = 0.0;
    }
    let steps = || lines.iter().flat_map(|line| &line.points).map(|(x, _)| *x);
    let (first, last) = (steps().fold(f64::MAX, f64::min), steps().fold(f64::MIN, f64::max));
    let x = Axis::exact(first, last, (LEFT, RIGHT));
    let y = Axis::round(low, high, (BOTTOM, TOP), 5);

    text(out, "title", (LEFT, 16.0), "start", &panel.title);
    for tick in y.ticks(5) {
        line(out, "grid", (LEFT, y.at(tick)), (RIGHT, y.at(tick)));
        text(out, "tick", (LEFT - 6.0, y.at(tick) + 4.0), "end", &figure(tick));
    }
    line(out, "rule", (LEFT, BOTTOM), (RIGHT, BOTTOM));
    for tick in x.ticks(8).into_iter().filter(|tick| tick.fract() == 0.0) {
        text(out, "tick", (x.at(tick), BOTTOM + 16.0), "middle", &figure(tick));
    }
    text(out, "axis", ((LEFT + RIGHT) / 2.0, BOTTOM + 32.0), "middle", "step");
    let _ = write!(
        out,
        r#"<text class="axis" transform="translate(12 {:.1}) rotate(-90)" text-anchor="middle">{}</text>"#,
        (TOP + BOTTOM) / 2.0,
        escape(&panel.unit)
    );
    for (i, line) in lines.iter().enumerate() {
        let places = |points: &[(f64, f64)]| -> Vec<(f64, f64)> {
            thinned(points).map(|(px, py)| (x.at(*px), y.at(*py))).collect()
        };
        let faint = if line.few() { "raw few" } else { "raw" };
        let _ = write!(out, r#"<path class="{faint} s{}" d=""#, i % COLOURS);
        for (x, y) in places(&line.points) {
            let _ = write!(out, "M{x:.1} {y:.1}h0");
        }
        out.push_str(r#""/>"#);
        let _ = write!(out, r#"<path class="{}" d=""#, class(i));
        for (at, (x, y)) in places(&line.smooth).into_iter().enumerate() {
            let _ = write!(out, "{}{x:.1} {y:.1}", if at == 0 { 'M' } else { 'L' });
        }
        out.push_str(r#""/>"#);
    }
}

/// The runs' names in rows below the panels; how high they are together.
fn legend(out: &mut String, runs: &[Run], width: f64, top: f64) -> f64 {
    let (mut column, mut row) = (LEFT, top + 10.0);
    for (i, run) in runs.iter().enumerate() {
        // Without the font at hand this is a guess, on the wide side.
        let wide = 38.0 + 6.6 * run.name.chars().count() as f64;
        if column > LEFT && column + wide > width {
            (column, row) = (LEFT, row + 16.0);
        }
        let _ = write!(out, r#"<path class="{}" d="M{column:.1} {:.1}h18"/>"#, class(i), row - 4.0);
        text(out, "tick", (column + 24.0, row), "start", run.name);
        column += wide;
    }
    row + 10.0 - top
}

/// Colours repeat after some runs, with dashes then.
fn class(run: usize) -> String {
    let dashed = if run / COLOURS % 2 == 1 { " dashed" } else { "" };
    format!("s{}{dashed}", run % COLOURS)
}

/// The width of the running mean, in points: none where every point can be seen by itself.
fn spread(points: usize) -> f64 {
    if points < 40 { 0.0 } else { points as f64 / 40.0 }
}

/// A mean of each point and those around it, weighted by a bell curve: unlike a mean of earlier
/// points alone it does not come late.
fn smoothed(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let spread = spread(points.len());
    if spread == 0.0 {
        return points.to_vec();
    }
    let reach = (3.0 * spread).ceil() as usize;
    let mean = |i: usize| {
        let around = i.saturating_sub(reach)..points.len().min(i + reach + 1);
        let (sum, weights) = around.fold((0.0, 0.0), |(sum, weights), j| {
            let weight = (-0.5 * ((j as f64 - i as f64) / spread).powi(2)).exp();
            (sum + weight * points[j].1, weights + weight)
        });
        (points[i].0, sum / weights)
    };
    (0..points.len()).map(mean).collect()
}

/// No more points than can be told apart, the last among them.
fn thinned(points: &[(f64, f64)]) -> impl Iterator<Item = &(f64, f64)> {
    points.iter().rev().step_by(points.len().div_ceil(MOST).max(1)).rev()
}

fn line(out: &mut String, class: &str, (x1, y1): (f64, f64), (x2, y2): (f64, f64)) {
    let _ = write!(
        out,
        r#"<line class="{class}" x1="{x1:.1}" y1="{y1:.1}" x2="{x2:.1}" y2="{y2:.1}"/>"#
    );
}

fn text(out: &mut String, class: &str, (x, y): (f64, f64), anchor: &str, text: &str) {
    let text = escape(text);
    let _ = write!(
        out,
        r#"<text class="{class}" x="{x:.1}" y="{y:.1}" text-anchor="{anchor}">{text}</text>"#
    );
}

fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            // XML has no way to write these.
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(steps: u64, value: impl Fn(u64) -> f64) -> Vec<Record> {
        let record = |step| Record {
            step,
            scalars: vec![("reward/mean".to_owned(), value(step))],
            ..Record::default()
        };
        (1..=steps).map(record).collect()
    }

    fn count(svg: &str, what: &str) -> usize {
        svg.matches(what).count()
    }

    #[test]
    fn runs_lie_over_each_other() {
        let (a, b) = (records(50, |step| step as f64 / 50.0), records(80, |_| 0.25));
        let runs = [Run { name: "a < b", records: &a }, Run { name: "b", records: &b }];
        let panels = [Panel::new("reward/mean", "%"), Panel::new("nowhere", "nats")];
        let svg = curves(&runs, &panels).unwrap();
        assert!(svg.starts_with("<svg xmlns") && svg.ends_with("</svg>"), "{svg}");
        assert!(svg.contains("viewBox=\"0 0 480 "), "one panel: {svg}");
        assert!(svg.contains(">100</text>") && svg.contains(">a &lt; b</text>"), "{svg}");
        assert_eq!(count(&svg, "class=\"s0\""), 2, "its line and the legend's");
        assert_eq!(count(&svg, "h0"), 130, "every point");
        assert!(svg.contains("reward/mean, b: from 25 to 25"), "{svg}");
    }

    #[test]
    fn nothing_to_draw() {
        let panel = [Panel::new("reward/mean", "")];
        assert_eq!(curves(&[], &panel), None);
        let records = records(3, |_| f64::NAN);
        assert_eq!(curves(&[Run { name: "a", records: &records }], &panel), None);
    }

    #[test]
    fn any_figures_can_be_drawn() {
        let huge = |step: u64| if step.is_multiple_of(2) { f64::MAX } else { f64::MIN };
        let all: [&dyn Fn(u64) -> f64; 5] =
            [&|_| 0.0, &|_| -1e-300, &huge, &|_| 1e300, &|step| 1e-7 * step as f64];
        for (i, value) in all.into_iter().enumerate() {
            for steps in [1, 2, 100] {
                let records = records(steps, value);
                let run = Run { name: "a", records: &records };
                let svg = curves(&[run], &[Panel::new("reward/mean", "")]).unwrap();
                assert!(!svg.contains("NaN") && !svg.contains("inf"), "{i}, {steps}: {svg}");
            }
        }
    }

    #[test]
    fn long_runs_stay_small() {
        let records = records(20_000, |step| (step as f64).sin());
        let run = Run { name: "a", records: &records };
        let svg = curves(&[run], &[Panel::new("reward/mean", "")]).unwrap();
        assert!(svg.len() < 20_000, "{} bytes", svg.len());
    }

    #[test]
    fn the_mean_follows_a_line_and_forgets_noise() {
        let noise = |step: u64| if step.is_multiple_of(2) { 1.0 } else { -1.0 };
        let points: Vec<(f64, f64)> =
            (0..200).map(|i| (i as f64, i as f64 / 10.0 + noise(i))).collect();
        for (x, y) in &smoothed(&points)[20..180] {
            assert!((y - x / 10.0).abs() < 0.01, "{y} at {x}");
        }
        assert_eq!(smoothed(&points[..30]), points[..30]);
    }

    #[test]
    fn one_wild_step_does_not_hide_the_others() {
        let records = records(200, |step| if step == 100 { 1e6 } else { 1.0 + step as f64 / 1e3 });
        let run = Run { name: "a", records: &records };
        let svg = curves(&[run], &[Panel::new("reward/mean", "")]).unwrap();
        assert!(svg.contains(">1.1</text>") && !svg.contains(">1e6</text>"), "{svg}");
    }
}
