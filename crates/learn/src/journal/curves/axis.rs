//! From figures to places, and round figures along the way.

/// An axis of a drawing.
#[derive(Clone, Copy, Debug)]
pub(super) struct Axis {
    from: (f64, f64),
    to: (f64, f64),
}

impl Axis {
    /// From `low` to `high`.
    pub(super) fn exact(low: f64, high: f64, to: (f64, f64)) -> Axis {
        Axis { from: (low, high), to }
    }

    /// From a round figure to a round figure, about `most` of them on the way; around a single
    /// figure if `low` is `high`.
    pub(super) fn round(low: f64, high: f64, to: (f64, f64), most: usize) -> Axis {
        let (low, high) = (low.clamp(-1e300, 1e300), high.clamp(-1e300, 1e300));
        let (low, high) = if high > low {
            (low, high)
        } else {
            let around = if low == 0.0 { 1.0 } else { low.abs() / 2.0 };
            (low - around, low + around)
        };
        let step = round_step((high - low) / most as f64);
        let (low, high) = ((low / step + 1e-9).floor() * step, (high / step - 1e-9).ceil() * step);
        Axis { from: (low, high), to }
    }

    /// Where a figure is; ends where the axis does.
    pub(super) fn at(&self, figure: f64) -> f64 {
        // Halves, for the distance between two figures may be beyond all figures.
        let part = (figure / 2.0 - self.from.0 / 2.0) / (self.from.1 / 2.0 - self.from.0 / 2.0);
        let part = if part.is_nan() { 0.5 } else { part.clamp(0.0, 1.0) };
        self.to.0 + part * (self.to.1 - self.to.0)
    }

    /// Round figures on the axis, about `most`.
    pub(super) fn ticks(&self, most: usize) -> Vec<f64> {
        let (low, high) = self.from;
        let step = round_step((high - low) / most as f64);
        let (first, last) = ((low / step - 1e-9).ceil(), (high / step + 1e-9).floor());
        if !(step > 0.0 && last - first <= 2.0 * most as f64) {
            return vec![low];
        }
        (0..=(last - first) as usize).map(|i| (first + i as f64) * step).collect()
    }
}

/// The next of 1, 2, 5, 10 and so on.
fn round_step(least: f64) -> f64 {
    let power = 10f64.powf(least.log10().floor());
    let factor = [1.0, 2.0, 5.0].into_iter().find(|factor| factor * power >= least * 0.999_999);
    factor.unwrap_or(10.0) * power
}

/// A figure as short as its first digits allow.
pub(super) fn figure(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return "0".to_owned();
    }
    let digits = format!("{:.2e}", value);
    let (mantissa, exponent) = digits.split_once('e').unwrap_or((&digits, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let trimmed = |text: &str| {
        let text = if text.contains('.') { text.trim_end_matches('0') } else { text };
        text.trim_end_matches('.').to_owned()
    };
    match exponent {
        -3..=4 => {
            trimmed(&format!("{value:.*}", usize::try_from(2 - exponent).unwrap_or_default()))
        }
        _ => format!("{}e{exponent}", trimmed(mantissa)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_short() {
        for (value, want) in [
            (0.0, "0"),
            (0.6000000000000001, "0.6"),
            (-0.25, "-0.25"),
            (1.0, "1"),
            (123.4, "123"),
            (12000.0, "12000"),
            (1.25e5, "1.25e5"),
            (1e-6, "1e-6"),
            (0.002, "0.002"),
            (-3e-300, "-3e-300"),
        ] {
            assert_eq!(figure(value), want);
        }
    }

    #[test]
    fn axes_end_at_round_figures() {
        let axis = Axis::round(0.13, 0.87, (0.0, 100.0), 5);
        assert_eq!(axis.from, (0.0, 1.0));
        assert_eq!(axis.at(0.5), 50.0);
        assert_eq!(axis.at(7.0), 100.0);
        assert_eq!(axis.at(f64::NAN), 50.0);
        assert_eq!(
            axis.ticks(5).iter().map(|t| figure(*t)).collect::<Vec<_>>().join(" "),
            "0 0.2 0.4 0.6 0.8 1"
        );
        let single = Axis::round(3.0, 3.0, (0.0, 100.0), 5);
        assert!(single.from.0 < 3.0 && 3.0 < single.from.1, "{single:?}");
        assert!(Axis::exact(1.0, 1.0, (0.0, 1.0)).ticks(8).len() == 1);
    }
}
