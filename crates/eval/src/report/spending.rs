//! Accuracy against tokens, for several ways to spend them: a drawing of its own, for documents.

use super::figures::percent;
use super::svg::{Anchor, Scale, Svg, WIDTH};
use crate::stats::Interval;

const LEFT: f64 = 56.0;
const RIGHT: f64 = WIDTH - 12.0;
const TOP: f64 = 14.0;
const BOTTOM: f64 = 250.0;

/// Colours that stay apart on white and on black.
const STYLE: &str = "<style>text{font:11px sans-serif;fill:#777}\
    .grid{stroke:#9994}.rule{stroke:#999}path{fill:none;stroke-width:2}\
    .s0{stroke:#3b82d0}.s1{stroke:#d97a1e}.s2{stroke:#2f9e6a}.s3{stroke:#b5519c}.s4{stroke:#8a7a2e}\
    circle.s0{fill:#3b82d0}circle.s1{fill:#d97a1e}circle.s2{fill:#2f9e6a}circle.s3{fill:#b5519c}\
    circle.s4{fill:#8a7a2e}.error{stroke-width:1;opacity:.5}</style>";

/// One way to spend tokens, at one or several amounts.
#[derive(Clone, Debug)]
pub struct Series {
    /// What it is called.
    pub name: String,
    /// (tokens for an item, share that is right, its interval), in the order of tokens.
    pub points: Vec<(f64, f64, Interval)>,
}

/// A whole SVG file; none without points.
pub fn spending(series: &[Series]) -> Option<String> {
    let points = || series.iter().flat_map(|series| &series.points);
    let tokens = points().map(|(tokens, ..)| *tokens).filter(|tokens| *tokens > 0.0);
    let low = tokens.clone().min_by(f64::total_cmp)?;
    let high = tokens.max_by(f64::total_cmp)?;
    let top = points().map(|(.., interval)| interval.high).fold(0.0, f64::max);
    let mut svg = Svg::new();
    let y = Scale {
        from: Interval { low: 0.0, high: (top * 10.0).ceil() / 10.0 },
        to: Interval { low: BOTTOM, high: TOP },
        logarithmic: false,
    };
    for tick in y.ticks(6) {
        svg.line("grid", (LEFT, y.at(tick)), (RIGHT, y.at(tick)));
        svg.text("tick", (LEFT - 6.0, y.at(tick) + 4.0), Anchor::End, &percent(tick));
    }
    svg.upwards((TOP + BOTTOM) / 2.0, "right");
    let x = Scale {
        from: Interval { low: low * 0.8, high: high * 1.25 },
        to: Interval { low: LEFT, high: RIGHT },
        logarithmic: true,
    };
    svg.line("rule", (LEFT, BOTTOM), (RIGHT, BOTTOM));
    for tick in x.ticks(8) {
        svg.text("tick", (x.at(tick), BOTTOM + 16.0), Anchor::Middle, &format!("{tick}"));
    }
    let middle = ((LEFT + RIGHT) / 2.0, BOTTOM + 34.0);
    svg.text("axis", middle, Anchor::Middle, "tokens an item (logarithmic)");
    let mut says = Vec::new();
    for (at, series) in series.iter().enumerate() {
        let class = format!("s{}", at % 5);
        let places: Vec<(f64, f64)> =
            series.points.iter().map(|(tokens, right, _)| (x.at(*tokens), y.at(*right))).collect();
        if places.len() > 1 {
            svg.path(&class, &places, false);
        }
        for ((tokens, right, interval), place) in series.points.iter().zip(&places) {
            let (from, to) = ((place.0, y.at(interval.low)), (place.0, y.at(interval.high)));
            svg.line(&format!("{class} error"), from, to);
            let told = format!("{}: {} at {tokens:.0} tokens", series.name, percent(*right));
            svg.dot(&class, *place, &told);
            says.push(told);
        }
        let row = BOTTOM + 54.0 + 16.0 * (at / 2) as f64;
        let column = LEFT + 205.0 * (at % 2) as f64;
        svg.dot(&class, (column, row - 4.0), &series.name);
        svg.text("tick", (column + 10.0, row), Anchor::Start, &series.name);
    }
    let height = BOTTOM + 62.0 + 16.0 * series.len().div_ceil(2) as f64;
    let drawing = svg.finish(height, &says.join("; "));
    let drawing = drawing.replacen("<svg ", "<svg xmlns=\"http://www.w3.org/2000/svg\" ", 1);
    Some(drawing.replacen('>', &format!(">{STYLE}"), 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drawing_stands_by_itself() {
        let interval = Interval { low: 0.2, high: 0.4 };
        let vote = Series {
            name: "vote & more".into(),
            points: vec![(280.0, 0.25, interval), (4500.0, 0.375, interval)],
        };
        let svg = spending(&[vote]).unwrap();
        assert!(svg.starts_with("<svg xmlns") && svg.ends_with("</svg>"), "{svg}");
        assert!(svg.contains("<style>") && svg.contains("vote &amp; more"), "{svg}");
        assert!(spending(&[]).is_none());
    }
}
