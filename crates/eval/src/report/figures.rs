//! Numbers as people read them.

use crate::stats::Estimate;

/// What stands where there is no number.
pub(super) const NONE: &str = "–";

/// A whole number with commas.
pub(super) fn count(n: usize) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A share, in percent with one decimal.
pub(super) fn percent(x: f64) -> String {
    if x.is_finite() { format!("{:.1} %", 100.0 * x) } else { NONE.to_owned() }
}

/// A number to three or four digits.
pub(super) fn number(x: f64) -> String {
    match x.abs() {
        _ if !x.is_finite() => NONE.to_owned(),
        1000.0.. => {
            format!("{}{}", if x < 0.0 { "-" } else { "" }, count(x.abs().round() as usize))
        }
        100.0.. => format!("{x:.0}"),
        10.0.. => format!("{x:.1}"),
        _ => format!("{x:.2}"),
    }
}

/// Seconds, in the unit that fits.
pub(super) fn seconds(x: f64) -> String {
    match x {
        _ if !x.is_finite() => NONE.to_owned(),
        7200.0.. => format!("{} h", number(x / 3600.0)),
        300.0.. => format!("{} min", number(x / 60.0)),
        _ => format!("{} s", number(x)),
    }
}

/// Floating-point operations, in the unit that fits.
pub(super) fn flops(x: f64) -> String {
    let units = [(1e18, "EFLOP"), (1e15, "PFLOP"), (1e12, "TFLOP"), (1e9, "GFLOP"), (1.0, "FLOP")];
    match units.into_iter().find(|(size, _)| x.is_finite() && x >= *size) {
        Some((size, unit)) => format!("{} {unit}", number(x / size)),
        None => NONE.to_owned(),
    }
}

/// A p-value; below what can be told apart, a bound.
pub(super) fn p_value(p: f64) -> String {
    match p {
        _ if !p.is_finite() => NONE.to_owned(),
        0.0995.. => format!("{p:.2}"),
        0.000_95.. => format!("{p:.3}"),
        1e-4.. => format!("{p:.4}"),
        _ => "< 0.0001".to_owned(),
    }
}

/// The same as a statement.
pub(super) fn p_is(p: f64) -> String {
    let value = p_value(p);
    if value.starts_with('<') { format!("p {value}") } else { format!("p = {value}") }
}

/// The ends of an estimate's interval, each as `show` writes it.
pub(super) fn interval(estimate: &Estimate, show: fn(f64) -> String) -> String {
    between(estimate.low, estimate.high, show)
}

/// From here to there.
pub(super) fn between(low: f64, high: f64, show: fn(f64) -> String) -> String {
    let (low, high) = (show(low), show(high));
    // The unit once.
    match (low.rsplit_once(' '), high.rsplit_once(' ')) {
        (Some((low, a)), Some((high, b))) if a == b => format!("{low} to {high} {a}"),
        _ => format!("{low} to {high}"),
    }
}

/// A difference of shares, in percentage points.
pub(super) fn points(x: f64) -> String {
    if x.is_finite() { format!("{:+.1} pp", 100.0 * x) } else { NONE.to_owned() }
}

/// Seconds since 1970 as a date and time, UTC.
pub(super) fn date(seconds: u64) -> String {
    // Days to a civil date, by Howard Hinnant's algorithm: years begin in March, eras have 400.
    let (days, rest) = (seconds / 86_400 + 719_468, seconds % 86_400);
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let of_year = day - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let (d, m) =
        (of_year - (153 * month + 2) / 5 + 1, if month < 10 { month + 3 } else { month - 9 });
    let y = year + era * 400 + u64::from(m <= 2);
    format!("{y:04}-{m:02}-{d:02} {:02}:{:02} UTC", rest / 3600, rest / 60 % 60)
}

/// At most so many characters, an ellipsis for the rest.
pub(super) fn short(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        None => text.to_owned(),
        Some(_) => text.chars().take(most - 1).chain(['…']).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        assert_eq!([0, 999, 1000, 1_234_567].map(count), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!(percent(0.6134), "61.3 %");
        assert_eq!([f64::NAN, f64::INFINITY].map(percent), [NONE, NONE]);
        assert_eq!([0.5, 12.34, 123.4, -1234.5].map(number), ["0.50", "12.3", "123", "-1,235"]);
        assert_eq!([2.0, 600.0, 36_000.0].map(seconds), ["2.00 s", "10.0 min", "10.0 h"]);
        assert_eq!(flops(3.2e13), "32.0 TFLOP");
        assert_eq!(
            [0.5, 0.0312, 0.000_31, 0.0].map(p_value),
            ["0.50", "0.031", "0.0003", "< 0.0001"]
        );
        assert_eq!(between(0.1, 0.25, percent), "10.0 to 25.0 %");
        assert_eq!(points(-0.015), "-1.5 pp");
        assert_eq!(short("größer", 4), "grö…");
    }

    #[test]
    fn dates() {
        assert_eq!(date(0), "1970-01-01 00:00 UTC");
        assert_eq!(date(951_782_399), "2000-02-28 23:59 UTC");
        assert_eq!(date(951_782_400), "2000-02-29 00:00 UTC");
        assert_eq!(date(1_798_761_600), "2027-01-01 00:00 UTC");
    }
}
