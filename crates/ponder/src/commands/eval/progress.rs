//! How far a run is, and what it has come to so far.

use std::time::Duration;

use eval::run::Sample;
use indicatif::{ProgressBar, ProgressStyle};

/// A bar with the running accuracy and its error.
pub struct Progress {
    bar: ProgressBar,
    right: f64,
    squares: f64,
    judged: f64,
    tokens: usize,
}

impl Progress {
    /// Of `total` samples, those in `there` were drawn before.
    pub fn new(total: usize, there: &[Sample]) -> Progress {
        let bar = ProgressBar::new(total as u64);
        let style =
            ProgressStyle::with_template("{bar:24} {pos}/{len}  {msg}  {elapsed}, {eta} left");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar.enable_steady_tick(Duration::from_millis(500));
        let mut progress = Progress { bar, right: 0.0, squares: 0.0, judged: 0.0, tokens: 0 };
        for sample in there {
            progress.count(sample);
        }
        // What was drawn before says nothing of the time that is left.
        progress.bar.set_position(there.len() as u64);
        progress.bar.reset_eta();
        progress.show();
        progress
    }

    /// One more.
    pub fn add(&mut self, sample: &Sample) {
        self.count(sample);
        self.tokens += sample.completion_tokens;
        self.bar.inc(1);
        self.show();
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }

    fn count(&mut self, sample: &Sample) {
        let score = sample.verdict.as_ref().map_or(0.0, |verdict| verdict.score);
        self.right += score;
        self.squares += score * score;
        self.judged += 1.0;
    }

    fn show(&self) {
        let n = self.judged.max(1.0);
        let mean = self.right / n;
        let error = ((self.squares / n - mean * mean).max(0.0) / n).sqrt();
        let speed = self.tokens as f64 / self.bar.elapsed().as_secs_f64().max(0.001);
        self.bar.set_message(format!(
            "{:.1} ± {:.1} % right, {speed:.0} tokens/s",
            100.0 * mean,
            100.0 * error
        ));
    }
}
