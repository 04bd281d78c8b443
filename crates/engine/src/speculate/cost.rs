//! What a step costs, measured while it is used.

/// Seconds of a step as a line over its rows, fitted to what was seen lately.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct StepCost {
    weight: f64,
    rows: f64,
    seconds: f64,
    rows_rows: f64,
    rows_seconds: f64,
}

/// How much of the past is kept at each step.
const MEMORY: f64 = 0.98;
/// Share of a step's fixed cost that another row is taken to cost until it has been measured.
const FIRST_GUESS: f64 = 0.3;
/// Variance of the rows from which on the slope is measured rather than guessed.
const SPREAD: f64 = 0.3;

impl StepCost {
    /// A step of `rows` tokens, all of answers under way, took so long.
    pub(crate) fn saw(&mut self, rows: usize, seconds: f64) {
        let r = rows as f64;
        let add = |sum: &mut f64, x: f64| *sum = *sum * MEMORY + x;
        add(&mut self.weight, 1.0);
        add(&mut self.rows, r);
        add(&mut self.seconds, seconds);
        add(&mut self.rows_rows, r * r);
        add(&mut self.rows_seconds, r * seconds);
    }

    /// (seconds of an empty step, seconds of each row).
    fn line(&self) -> Option<(f64, f64)> {
        if self.weight < 1.0 {
            return None;
        }
        let (rows, seconds) = (self.rows / self.weight, self.seconds / self.weight);
        let spread = self.rows_rows / self.weight - rows * rows;
        let slope = if spread > SPREAD {
            (self.rows_seconds / self.weight - rows * seconds) / spread
        } else {
            seconds * FIRST_GUESS / (1.0 + FIRST_GUESS * rows)
        };
        // Noise must not make rows free, nor the step.
        let most = seconds / rows;
        let slope = slope.clamp(0.05 * most, most);
        Some((seconds - slope * rows, slope))
    }

    /// Whether steps of different sizes have been seen, so that a row's cost is known.
    pub(crate) fn is_measured(&self) -> bool {
        self.weight >= 1.0
            && self.rows_rows / self.weight - (self.rows / self.weight).powi(2) > SPREAD
    }

    /// Seconds of each token in a step of `rows` rows that draws one token in each; 0 if unknown.
    pub(crate) fn token_seconds(&self, rows: usize) -> f64 {
        self.line().map_or(0.0, |(fixed, row)| fixed / rows as f64 + row)
    }

    /// What one more row costs, `extra` seconds included, as a share of what a token costs in a
    /// step of `rows` rows that draws one token in each.
    pub(crate) fn row_share(&self, rows: usize, extra: f64) -> f64 {
        let Some((_, row)) = self.line() else { return FIRST_GUESS };
        (row + extra) / self.token_seconds(rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_found_again() {
        let mut cost = StepCost::default();
        assert_eq!(cost.row_share(1, 0.0), FIRST_GUESS);
        for i in 0..200 {
            let rows = 1 + i % 7;
            cost.saw(rows, 0.010 + 0.002 * rows as f64);
        }
        let (fixed, row) = cost.line().unwrap();
        assert!((fixed - 0.010).abs() < 1e-6 && (row - 0.002).abs() < 1e-6, "{fixed} {row}");
        assert!((cost.row_share(1, 0.0) - 2.0 / 12.0).abs() < 1e-3);
        assert!((cost.row_share(5, 0.0) - 2.0 / 4.0).abs() < 1e-3);
    }

    #[test]
    fn large_batches_have_a_line_too() {
        let mut cost = StepCost::default();
        for rows in [200, 150, 180, 220] {
            cost.saw(rows, 0.5);
        }
        let (fixed, row) = cost.line().unwrap();
        assert!(fixed >= 0.0 && row > 0.0, "{fixed} {row}");
        assert!((0.0..=1.0).contains(&cost.row_share(200, 0.0)));
    }

    #[test]
    fn rows_are_never_free() {
        let mut cost = StepCost::default();
        for _ in 0..50 {
            cost.saw(1, 0.020);
            cost.saw(4, 0.010);
        }
        assert!(cost.row_share(1, 0.0) > 0.0);
    }
}
