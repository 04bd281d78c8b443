//! Drawings that follow the page's colours: everything has a class, nothing a colour of its own.

use std::fmt::Write;

use super::escape::html as escape;
use crate::stats::Interval;

/// A drawing. Lengths are in units of which the whole is [`WIDTH`] wide.
pub(super) struct Svg {
    body: String,
}

/// Width of every drawing: about a phone's, so that text stays readable there.
pub(super) const WIDTH: f64 = 480.0;

/// Where a text is held.
#[derive(Clone, Copy)]
pub(super) enum Anchor {
    Start,
    Middle,
    End,
}

impl Svg {
    pub(super) fn new() -> Self {
        Self { body: String::new() }
    }

    pub(super) fn line(&mut self, class: &str, (x1, y1): (f64, f64), (x2, y2): (f64, f64)) {
        let _ = write!(
            self.body,
            r#"<line class="{class}" x1="{x1:.1}" y1="{y1:.1}" x2="{x2:.1}" y2="{y2:.1}"/>"#
        );
    }

    /// A rectangle; `title` is told when it is pointed at.
    pub(super) fn rect(&mut self, class: &str, at: (f64, f64), size: (f64, f64), title: &str) {
        let _ = write!(
            self.body,
            r#"<rect class="{class}" x="{:.1}" y="{:.1}" width="{:.1}" height="{:.1}"><title>{}</title></rect>"#,
            at.0,
            at.1,
            size.0.max(0.0),
            size.1.max(0.0),
            escape(title)
        );
    }

    /// A dot; `title` is told when it is pointed at.
    pub(super) fn dot(&mut self, class: &str, (x, y): (f64, f64), title: &str) {
        let _ = write!(
            self.body,
            r#"<circle class="{class}" cx="{x:.1}" cy="{y:.1}" r="4.5"><title>{}</title></circle>"#,
            escape(title)
        );
    }

    /// A line through points, or an area if it is `closed`.
    pub(super) fn path(&mut self, class: &str, points: &[(f64, f64)], closed: bool) {
        let _ = write!(self.body, r#"<path class="{class}" d=""#);
        for (i, (x, y)) in points.iter().enumerate() {
            let _ = write!(self.body, "{}{x:.1} {y:.1}", if i == 0 { 'M' } else { 'L' });
        }
        self.body.push_str(if closed { r#"Z"/>"# } else { r#""/>"# });
    }

    pub(super) fn text(&mut self, class: &str, (x, y): (f64, f64), anchor: Anchor, text: &str) {
        let anchor = match anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        let _ = write!(
            self.body,
            r#"<text class="{class}" x="{x:.1}" y="{y:.1}" text-anchor="{anchor}">{}</text>"#,
            escape(text)
        );
    }

    /// The axis' name, written upwards along the left edge.
    pub(super) fn upwards(&mut self, y: f64, text: &str) {
        let _ = write!(
            self.body,
            r#"<text class="axis" transform="translate(13 {y:.1}) rotate(-90)" text-anchor="middle">{}</text>"#,
            escape(text)
        );
    }

    /// The drawing, so high, and what it shows in a sentence for those who don't see it.
    pub(super) fn finish(self, height: f64, says: &str) -> String {
        format!(
            r#"<svg viewBox="0 0 {WIDTH} {height:.0}" role="img" aria-label="{}">{}</svg>"#,
            escape(says),
            self.body
        )
    }
}

/// From figures to places.
#[derive(Clone, Copy)]
pub(super) struct Scale {
    pub from: Interval,
    pub to: Interval,
    pub logarithmic: bool,
}

impl Scale {
    /// Where a figure is; ends where the scale does.
    pub(super) fn at(&self, x: f64) -> f64 {
        let map = |x: f64| if self.logarithmic { x.max(1e-300).log10() } else { x };
        let part = (map(x) - map(self.from.low)) / (map(self.from.high) - map(self.from.low));
        // What isn't finite stays off the drawing's middle, and never in its attributes.
        let part = if part.is_nan() { 0.0 } else { part.clamp(0.0, 1.0) };
        self.to.low + part * (self.to.high - self.to.low)
    }

    /// Round figures within the scale, at most about so many.
    pub(super) fn ticks(&self, most: usize) -> Vec<f64> {
        let Interval { low, high } = self.from;
        if self.logarithmic {
            let decades = (low.log10().floor() as i32)..=(high.log10().ceil() as i32);
            let within = |steps: &[f64]| -> Vec<f64> {
                let all =
                    decades.clone().flat_map(|d| steps.iter().map(move |s| s * 10f64.powi(d)));
                all.filter(|x| (low * 0.999..=high * 1.001).contains(x)).collect()
            };
            let candidates = [&[1.0, 2.0, 5.0][..], &[1.0, 3.0], &[1.0]].map(within);
            return candidates.into_iter().find(|t| t.len() <= most).unwrap_or_default();
        }
        if high <= low || !(high - low).is_finite() {
            return vec![low];
        }
        let step = crate::stats::round_step((high - low) / most as f64);
        let first = (low / step - 1e-9).ceil() as i64;
        let last = (high / step + 1e-9).floor() as i64;
        (first..=last).map(|i| i as f64 * step).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scale(low: f64, high: f64, logarithmic: bool) -> Scale {
        Scale { from: Interval { low, high }, to: Interval { low: 0.0, high: 100.0 }, logarithmic }
    }

    #[test]
    fn figures_have_places() {
        assert_eq!(scale(0.0, 2.0, false).at(1.0), 50.0);
        assert_eq!(scale(1.0, 100.0, true).at(10.0), 50.0);
        assert_eq!(scale(0.0, 2.0, false).at(f64::INFINITY), 100.0);
        assert_eq!(scale(0.0, 0.0, false).at(f64::NAN), 0.0);
    }

    #[test]
    fn ticks_are_round() {
        assert_eq!(scale(0.0, 1.0, false).ticks(5), [0.0, 0.2, 0.4, 0.6000000000000001, 0.8, 1.0]);
        assert_eq!(scale(50.0, 3000.0, true).ticks(6), [50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0]);
        assert_eq!(scale(1.0, 1e6, true).ticks(7), [1.0, 10.0, 100.0, 1e3, 1e4, 1e5, 1e6]);
        assert_eq!(scale(-0.1, 0.1, false).ticks(4), [-0.1, -0.05, 0.0, 0.05, 0.1]);
    }
}
