//! Which problems are drawn next: those whose outcome is open.

use serde::{Deserialize, Serialize};
use verify::tasks::random::Random;

use crate::chance::weighted;

/// How much of a level's pass rate the latest group tells.
const NEW: f64 = 0.1;
/// What is left of a level's weight when it is always, or never, solved.
const LEAST: f64 = 0.1;

/// What is known of each level. Part of a checkpoint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Curriculum {
    /// How often its problems were solved lately, from 0 to 1.
    pass_rates: Vec<f64>,
    /// Problems drawn so far.
    drawn: Vec<u64>,
}

impl Curriculum {
    /// Nothing is known of `levels` levels.
    pub fn new(levels: usize) -> Curriculum {
        Curriculum { pass_rates: vec![0.5; levels], drawn: vec![0; levels] }
    }

    /// Levels.
    pub fn levels(&self) -> usize {
        self.drawn.len()
    }

    /// How often each level's problems were solved lately.
    pub fn pass_rates(&self) -> &[f64] {
        &self.pass_rates
    }

    /// Picks a level, and says which of its problems is next. A level counts by how much the
    /// outcomes differ, `p (1 - p)`, times its own weight.
    pub fn next(&mut self, random: &mut Random, weights: &[f64]) -> (usize, u64) {
        let open = |p: f64| LEAST + (1.0 - LEAST) * 4.0 * p * (1.0 - p);
        let weights: Vec<f64> =
            self.pass_rates.iter().zip(weights).map(|(p, w)| w * open(*p)).collect();
        let level = weighted(random, &weights);
        self.drawn[level] += 1;
        (level, self.drawn[level] - 1)
    }

    /// Tells what share of a problem's completions was right.
    pub fn saw(&mut self, level: usize, share_right: f64) {
        let rate = &mut self.pass_rates[level];
        *rate += NEW * (share_right - *rate);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_open_is_drawn_more_often() {
        let mut curriculum = Curriculum::new(3);
        for _ in 0..100 {
            curriculum.saw(0, 1.0);
            curriculum.saw(1, 0.5);
            curriculum.saw(2, 0.0);
        }
        let mut random = Random::new(&[1]);
        let mut drawn = [0; 3];
        for _ in 0..1000 {
            drawn[curriculum.next(&mut random, &[1.0; 3]).0] += 1;
        }
        assert!(drawn[1] > 4 * drawn[0] && drawn[1] > 4 * drawn[2], "{drawn:?}");
        assert!(drawn[0] > 20 && drawn[2] > 20, "{drawn:?}");
        let kept = serde_json::to_string(&curriculum).unwrap();
        assert_eq!(serde_json::from_str::<Curriculum>(&kept).unwrap(), curriculum);
    }
}
