//! How fast a model reads and writes on this machine.

use std::time::Instant;

use kernels::attention::KvType;
use model::{KvCache, Model, Sequence, Span, Want, Workspace};

use crate::Error;

/// What a row measures.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Test {
    /// Reading `n_prompt` tokens in one go.
    Prefill,
    /// Writing `n_gen` tokens one by one.
    Decode,
}

/// One measurement, repeated.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Row {
    /// What was done.
    pub test: Test,
    /// Tokens read.
    pub n_prompt: usize,
    /// Tokens written.
    pub n_gen: usize,
    /// Mean tokens per second.
    pub avg_ts: f64,
    /// Standard deviation of the repetitions.
    pub stddev_ts: f64,
    /// Tokens per second of each repetition.
    pub samples_ts: Vec<f64>,
}

/// Measures reading `n_prompt` tokens (if not 0) and writing `n_gen` (if not 0), each `repetitions`
/// times from an empty cache after one run that isn't counted. `on_run` is told before each run.
///
/// # Errors
/// The model can't run.
pub fn bench(
    model: &Model,
    n_prompt: usize,
    n_gen: usize,
    repetitions: usize,
    mut on_run: impl FnMut(Test, usize),
) -> Result<Vec<Row>, Error> {
    let mut rows = Vec::new();
    let mut work = Workspace::default();
    let mut logits = vec![0.0; model.vocab()];
    for (test, n) in [(Test::Prefill, n_prompt), (Test::Decode, n_gen)] {
        if n == 0 {
            continue;
        }
        let mut cache = KvCache::new(model.config(), KvType::F16, n);
        let mut samples = Vec::with_capacity(repetitions);
        for run in 0..=repetitions {
            on_run(test, run);
            let mut sequence = Sequence::default();
            let started = Instant::now();
            // Any tokens do: the work is the same for all.
            let tokens: Vec<u32> =
                (0..n).map(|i| (i * 7919 % model.vocab().max(1)) as u32).collect();
            let step = if test == Test::Prefill { n } else { 1 };
            for tokens in tokens.chunks(step) {
                let span = Span { sequence: &mut sequence, tokens, want: Want::Last };
                model.forward(&mut cache, &mut [span], &mut work)?;
                model.logits(&mut work, 0..1, &mut logits);
            }
            let seconds = started.elapsed().as_secs_f64();
            cache.release(sequence);
            if run > 0 {
                samples.push(n as f64 / seconds);
            }
        }
        let mean = samples.iter().sum::<f64>() / samples.len().max(1) as f64;
        let squares: f64 = samples.iter().map(|s| (s - mean).powi(2)).sum();
        rows.push(Row {
            test,
            n_prompt: if test == Test::Prefill { n } else { 0 },
            n_gen: if test == Test::Decode { n } else { 0 },
            avg_ts: mean,
            stddev_ts: (squares / samples.len().saturating_sub(1).max(1) as f64).sqrt(),
            samples_ts: samples,
        });
    }
    Ok(rows)
}
