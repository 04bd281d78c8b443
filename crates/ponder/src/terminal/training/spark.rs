//! Curves of a few rows of characters, and figures as short as they can be.

use std::time::Duration;

const BLOCKS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// A curve in `height` rows of at most `columns` characters, from above. All points are in it:
/// where they are more than the columns, each column is the mean of several.
pub(super) fn spark(values: &[f64], columns: usize, height: usize) -> Vec<String> {
    let means = means(values, columns);
    let (low, high) = range(&means).unwrap_or((0.0, 0.0));
    let levels = 8 * height;
    let level = |value: f64| {
        let part = (value / 2.0 - low / 2.0) / (high / 2.0 - low / 2.0);
        // A curve that never moves lies in the middle.
        let part = if part.is_nan() { 0.5 } else { part };
        1 + (part * (levels - 1) as f64).round() as usize
    };
    let cell = |row: usize, value: f64| match value.is_finite() {
        true => BLOCKS[level(value).saturating_sub(8 * row).min(8)],
        false if row == 0 => '×',
        false => ' ',
    };
    (0..height).rev().map(|row| means.iter().map(|value| cell(row, *value)).collect()).collect()
}

/// The lowest and the highest of the values that are figures.
pub(super) fn range(values: &[f64]) -> Option<(f64, f64)> {
    let finite = || values.iter().copied().filter(|value| value.is_finite());
    Some((finite().min_by(f64::total_cmp)?, finite().max_by(f64::total_cmp)?))
}

fn means(values: &[f64], columns: usize) -> Vec<f64> {
    if values.len() <= columns {
        return values.to_vec();
    }
    let edge = |column: usize| column * values.len() / columns;
    let mean = |column| {
        let part = &values[edge(column)..edge(column + 1)];
        part.iter().map(|value| value / part.len() as f64).sum()
    };
    (0..columns).map(mean).collect()
}

/// A figure to three digits.
pub(super) fn figure(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        size if !size.is_finite() => value.to_string(),
        size if !(0.001..1e5).contains(&size) => format!("{value:.1e}"),
        size if size >= 99.95 => format!("{value:.0}"),
        size if size >= 9.995 => format!("{value:.1}"),
        size if size >= 0.9995 => format!("{value:.2}"),
        size if size >= 0.09995 => format!("{value:.3}"),
        size if size >= 0.009995 => format!("{value:.4}"),
        _ => format!("{value:.5}"),
    }
}

/// `31 s`, `4 min`, `1 h 12 min`.
pub(super) fn time(time: Duration) -> String {
    let seconds = time.as_secs();
    let minutes = (seconds + 30) / 60;
    match seconds {
        0..90 => format!("{seconds} s"),
        90..5370 => format!("{minutes} min"),
        _ => format!("{} h {} min", minutes / 60, minutes % 60),
    }
}
