//! The plots of a report.

use super::figures::{count, interval, number, percent, points, short};
use super::svg::{Anchor, Scale, Svg, WIDTH};
use super::tables::group_name;
use crate::stats::{AtK, Comparison, Estimate, Interval, Summary};

/// A drawing and what it is called.
pub(super) struct Plot {
    pub title: &'static str,
    pub note: String,
    pub svg: String,
}

/// More groups than this are a table only.
const GROUPS: usize = 60;

const LEFT: f64 = 56.0;
const RIGHT: f64 = WIDTH - 12.0;
const TOP: f64 = 14.0;
const BOTTOM: f64 = 230.0;
const HEIGHT: f64 = 276.0;

/// The plots of a run, those it has figures for.
pub(super) fn of_run(summary: &Summary) -> Vec<Plot> {
    let mut plots = Vec::new();
    if summary.samples == 0 {
        return plots;
    }
    if summary.pass.len() > 1 {
        plots.push(by_k(summary));
    } else {
        plots.push(one_score(summary));
    }
    plots.push(by_tokens(summary));
    plots.push(histogram(summary));
    if (1..=GROUPS).contains(&summary.groups.len()) {
        plots.push(groups(summary));
    }
    plots
}

/// The plots of a comparison, of runs called so.
pub(super) fn of_comparison(comparison: &Comparison, names: [&str; 2]) -> Vec<Plot> {
    if comparison.items == 0 {
        return Vec::new();
    }
    let rows = [(names[0], &comparison.first), (names[1], &comparison.second)];
    let difference = &comparison.difference;
    let reach =
        [difference.low, difference.high, 0.01].map(f64::abs).into_iter().fold(0.0, f64::max);
    let reach = (reach * 1.15).min(1.0);
    vec![
        Plot {
            title: "Right, of the items both have",
            note: "Mean over items, with 95 % intervals.".to_owned(),
            svg: forest(&rows, Interval { low: 0.0, high: 1.0 }, percent, "right"),
        },
        Plot {
            title: "Difference",
            note: "B less A, paired by item; 0 is no difference.".to_owned(),
            svg: forest(
                &[("B less A", difference)],
                Interval { low: -reach, high: reach },
                points,
                "difference",
            ),
        },
    ]
}

fn told(name: &str, estimate: &Estimate, show: fn(f64) -> String) -> String {
    format!("{name}: {} ({})", show(estimate.value), interval(estimate, show))
}

/// Lines and figures of an upright axis of shares, and its name.
fn shares(svg: &mut Svg) -> Scale {
    let y = Scale {
        from: Interval { low: 0.0, high: 1.0 },
        to: Interval { low: BOTTOM, high: TOP },
        logarithmic: false,
    };
    for tick in y.ticks(5) {
        svg.line("grid", (LEFT, y.at(tick)), (RIGHT, y.at(tick)));
        let label = format!("{:.0} %", 100.0 * tick);
        svg.text("tick", (LEFT - 6.0, y.at(tick) + 4.0), Anchor::End, &label);
    }
    svg.upwards((TOP + BOTTOM) / 2.0, "right");
    y
}

/// A level axis of tokens, and its name.
fn tokens(svg: &mut Svg, from: Interval, logarithmic: bool) -> Scale {
    let x = Scale { from, to: Interval { low: LEFT + 8.0, high: RIGHT - 8.0 }, logarithmic };
    svg.line("rule", (LEFT, BOTTOM), (RIGHT, BOTTOM));
    for tick in x.ticks(7) {
        svg.line("rule", (x.at(tick), BOTTOM), (x.at(tick), BOTTOM + 4.0));
        svg.text("tick", (x.at(tick), BOTTOM + 18.0), Anchor::Middle, &kilo(tick));
    }
    let name = if logarithmic { "tokens generated (logarithmic)" } else { "tokens generated" };
    svg.text("axis", ((LEFT + RIGHT) / 2.0, BOTTOM + 38.0), Anchor::Middle, name);
    x
}

/// A round number of tokens, in little room.
fn kilo(n: f64) -> String {
    if n >= 10_000.0 { format!("{}k", n / 1000.0) } else { count(n.round() as usize) }
}

/// pass@k and maj@k against k.
fn by_k(summary: &Summary) -> Plot {
    let mut svg = Svg::new();
    let y = shares(&mut svg);
    let most = summary.pass.last().map_or(2, |at| at.k) as f64;
    let x = Scale {
        from: Interval { low: 1.0, high: most },
        to: Interval { low: LEFT + 24.0, high: RIGHT - 64.0 },
        logarithmic: true,
    };
    svg.line("rule", (LEFT, BOTTOM), (RIGHT, BOTTOM));
    for at in &summary.pass {
        let place = x.at(at.k as f64);
        svg.line("rule", (place, BOTTOM), (place, BOTTOM + 4.0));
        svg.text("tick", (place, BOTTOM + 18.0), Anchor::Middle, &at.k.to_string());
    }
    svg.text(
        "axis",
        ((LEFT + RIGHT) / 2.0, BOTTOM + 38.0),
        Anchor::Middle,
        "k samples (logarithmic)",
    );
    let end = |series: &[AtK]| series.last().map_or(0.0, |at| y.at(at.estimate.value));
    let apart = (end(&summary.maj) - end(&summary.pass)).max(15.0);
    for (name, class, series, below) in
        [("maj@k", "second", &summary.maj, apart), ("pass@k", "first", &summary.pass, 0.0)]
    {
        let of = |value: fn(&Estimate) -> f64| -> Vec<(f64, f64)> {
            series.iter().map(|at| (x.at(at.k as f64), y.at(value(&at.estimate)))).collect()
        };
        let mut band = of(|e| e.high);
        band.extend(of(|e| e.low).into_iter().rev());
        svg.path(&format!("band {class}"), &band, true);
        let line = of(|e| e.value);
        svg.path(&format!("curve {class}"), &line, false);
        for (at, place) in series.iter().zip(&line) {
            let name = format!("{}{}", name.trim_end_matches('k'), at.k);
            svg.dot(class, *place, &told(&name, &at.estimate, percent));
        }
        if let Some((x, _)) = line.last() {
            let place = (x + 10.0, end(&summary.pass) + below + 4.0);
            svg.text(&format!("name {class}"), place, Anchor::Start, name);
        }
    }
    Plot {
        title: "Right, by samples",
        note: "At least one of k samples right (pass@k), and the vote of k (maj@k), with 95 % \
               intervals."
            .to_owned(),
        svg: svg.finish(HEIGHT, &format!("pass@k and maj@k against k, up to {most}")),
    }
}

/// The accuracy alone.
fn one_score(summary: &Summary) -> Plot {
    Plot {
        title: "Right",
        note: "With its 95 % interval.".to_owned(),
        svg: forest(
            &[("mean@1", &summary.accuracy)],
            Interval { low: 0.0, high: 1.0 },
            percent,
            "right",
        ),
    }
}

/// Rows of dots with whiskers.
fn forest(
    rows: &[(&str, &Estimate)],
    from: Interval,
    show: fn(f64) -> String,
    axis: &str,
) -> String {
    let left = 138.0;
    let row = 26.0;
    let bottom = TOP + row * rows.len() as f64;
    let x = Scale { from, to: Interval { low: left, high: WIDTH - 86.0 }, logarithmic: false };
    let mut svg = Svg::new();
    for tick in x.ticks(4) {
        let class = if tick == 0.0 { "rule" } else { "grid" };
        svg.line(class, (x.at(tick), TOP - 6.0), (x.at(tick), bottom));
        let label = format!("{}", (1000.0 * tick).round() / 10.0);
        svg.text("tick", (x.at(tick), bottom + 16.0), Anchor::Middle, &label);
    }
    for (i, (name, estimate)) in rows.iter().enumerate() {
        let y = TOP + row * (i as f64 + 0.5);
        svg.text("name", (left - 10.0, y + 4.0), Anchor::End, &short(name, 17));
        if estimate.value.is_finite() {
            svg.line("whisker first", (x.at(estimate.low), y), (x.at(estimate.high), y));
            svg.dot("first", (x.at(estimate.value), y), &told(name, estimate, show));
        }
        svg.text("value", (WIDTH - 4.0, y + 4.0), Anchor::End, &show(estimate.value));
    }
    let unit = if show(0.0).ends_with("pp") { "percentage points" } else { "%" };
    let middle = (left + WIDTH - 86.0) / 2.0;
    svg.text("axis", (middle, bottom + 36.0), Anchor::Middle, &format!("{axis}, {unit}"));
    let says: Vec<String> = rows.iter().map(|(name, e)| told(name, e, show)).collect();
    svg.finish(bottom + 46.0, &says.join("; "))
}

fn groups(summary: &Summary) -> Plot {
    let rows: Vec<(&str, &Estimate)> =
        summary.groups.iter().map(|g| (group_name(&g.name), &g.accuracy)).collect();
    Plot {
        title: "Right, by group",
        note: "Mean over the group's items, with 95 % intervals.".to_owned(),
        svg: forest(&rows, Interval { low: 0.0, high: 1.0 }, percent, "right"),
    }
}

fn by_tokens(summary: &Summary) -> Plot {
    let mut svg = Svg::new();
    let y = shares(&mut svg);
    let bins = &summary.by_tokens;
    let low = bins.first().map_or(1, |b| b.from).max(1) as f64;
    let high = (bins.last().map_or(2, |b| b.to) as f64).max(low + 1.0);
    let x = tokens(&mut svg, Interval { low, high }, high / low > 12.0);
    let line: Vec<(f64, f64)> =
        bins.iter().map(|b| (x.at(b.median as f64), y.at(b.accuracy.value))).collect();
    svg.path("curve first", &line, false);
    for (bin, place) in bins.iter().zip(&line) {
        svg.line("span", (x.at(bin.from as f64), place.1), (x.at(bin.to as f64), place.1));
        svg.line(
            "whisker first",
            (place.0, y.at(bin.accuracy.low)),
            (place.0, y.at(bin.accuracy.high)),
        );
        let name = format!("{} to {} tokens", count(bin.from), count(bin.to));
        svg.dot("first", *place, &told(&name, &bin.accuracy, percent));
    }
    Plot {
        title: "Right, by tokens",
        note: format!(
            "{} bins with about equally many samples, at their median; level lines show how far each \
             reaches, upright ones its 95 % interval.",
            bins.len()
        ),
        svg: svg.finish(HEIGHT, "share of right samples against tokens generated"),
    }
}

fn histogram(summary: &Summary) -> Plot {
    let histogram = &summary.histogram;
    let bars = &histogram.bars;
    let mut svg = Svg::new();
    let most = bars.iter().map(|b| b.right + b.wrong + b.truncated).max().unwrap_or(1) as f64;
    let y = Scale {
        from: Interval { low: 0.0, high: most * 1.05 },
        to: Interval { low: BOTTOM, high: TOP + 18.0 },
        logarithmic: false,
    };
    for tick in y.ticks(5).into_iter().filter(|t| t.fract() == 0.0) {
        svg.line("grid", (LEFT, y.at(tick)), (RIGHT, y.at(tick)));
        svg.text("tick", (LEFT - 6.0, y.at(tick) + 4.0), Anchor::End, &kilo(tick));
    }
    svg.upwards((TOP + BOTTOM) / 2.0, "samples");
    let (low, high) = (bars.first().map_or(0.0, |b| b.from), bars.last().map_or(1.0, |b| b.to));
    let x = tokens(&mut svg, Interval { low, high }, histogram.logarithmic);
    for bar in bars {
        let (left, right) = (x.at(bar.from), x.at(bar.to));
        let width = (right - left - 1.0).max(1.0);
        let mut floor = 0.0;
        for (class, name, n) in [
            ("right", "right", bar.right),
            ("wrong", "wrong", bar.wrong),
            ("cut", "truncated", bar.truncated),
        ] {
            if n > 0 {
                let (from, to) = (y.at(floor), y.at(floor + n as f64));
                let title =
                    format!("{} to {} tokens: {n} {name}", number(bar.from), number(bar.to));
                svg.rect(class, (left + 0.5, to), (width, from - to), &title);
                floor += n as f64;
            }
        }
    }
    let mut place = LEFT + 4.0;
    for (class, name) in [("right", "right"), ("wrong", "wrong"), ("cut", "truncated, not right")] {
        svg.rect(class, (place, TOP - 8.0), (11.0, 11.0), name);
        svg.text("tick", (place + 16.0, TOP + 2.0), Anchor::Start, name);
        place += 40.0 + 7.0 * name.len() as f64;
    }
    Plot {
        title: "Tokens",
        note: "How many samples took how many tokens, thinking included.".to_owned(),
        svg: svg
            .finish(HEIGHT, "histogram of tokens generated by right, wrong and truncated samples"),
    }
}
