//! How fast a model reads and writes on this machine.

use std::time::Instant;

use kernels::attention::{PAGE, Sparse};
use model::{CacheOptions, KvCache, Model, Sequence, Span, Want, Workspace};

use crate::Error;
use crate::scheduler::STEP_TOKENS;

/// What is to be measured: every combination that makes sense. Zeros are left out, but for depths.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Lengths of prompts to read.
    pub n_prompt: Vec<usize>,
    /// Numbers of tokens to write.
    pub n_gen: Vec<usize>,
    /// Numbers of sequences to write side by side.
    pub n_batch: Vec<usize>,
    /// Tokens that are in the cache before.
    pub n_depth: Vec<usize>,
    /// How keys and values are stored, and attended to.
    pub cache: CacheOptions,
    /// How often each is repeated.
    pub repetitions: usize,
    /// Whether there is a run before that isn't counted.
    pub warmup: bool,
}

/// What a row measures.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Test {
    /// Reading `n_prompt` tokens, in pieces as [`crate::Engine`] does.
    Prefill,
    /// Writing `n_gen` tokens one by one, `n_batch` sequences at once.
    Decode,
}

/// One thing to measure.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize)]
pub struct Case {
    /// What is done.
    pub test: Test,
    /// Tokens read.
    pub n_prompt: usize,
    /// Tokens written, of each sequence.
    pub n_gen: usize,
    /// Sequences.
    pub n_batch: usize,
    /// Tokens in each sequence before.
    pub n_depth: usize,
}

/// One measurement, repeated.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Row {
    /// What was done.
    #[serde(flatten)]
    pub case: Case,
    /// Mean tokens per second, of all sequences together.
    pub avg_ts: f64,
    /// Standard deviation of the repetitions.
    pub stddev_ts: f64,
    /// Tokens per second of each repetition.
    pub samples_ts: Vec<f64>,
    /// Bytes of weights and of keys and values that must be read for one token: mean over the
    /// tokens written. Not for prefill, which reads a weight for many tokens.
    pub bytes_per_token: Option<f64>,
    /// Operations one token takes (a multiplication and an addition are two): mean over all.
    pub operations_per_token: f64,
}

impl Plan {
    /// What is measured, in this order: by depth, prompts before answers.
    pub fn cases(&self) -> Vec<Case> {
        let mut cases = Vec::new();
        for &n_depth in &self.n_depth {
            for &n_prompt in self.n_prompt.iter().filter(|n| **n > 0) {
                let test = Test::Prefill;
                cases.push(Case { test, n_prompt, n_gen: 0, n_batch: 1, n_depth });
            }
            for &n_gen in self.n_gen.iter().filter(|n| **n > 0) {
                for &n_batch in self.n_batch.iter().filter(|n| **n > 0) {
                    let test = Test::Decode;
                    cases.push(Case { test, n_prompt: 0, n_gen, n_batch, n_depth });
                }
            }
        }
        cases
    }
}

impl Case {
    /// Tokens that count.
    fn tokens(&self) -> usize {
        self.n_prompt + self.n_gen * self.n_batch
    }

    /// Pages that the case's sequences hold at its end.
    fn pages(&self) -> usize {
        self.n_batch * (self.n_depth + self.n_prompt + self.n_gen).div_ceil(PAGE)
    }

    /// Operations per token.
    fn operations(&self, model: &Model, sparse: Option<Sparse>) -> f64 {
        let total = match self.test {
            Test::Prefill => model.operations(self.n_depth, self.n_prompt, 1, sparse),
            Test::Decode => {
                self.n_batch as f64 * model.operations(self.n_depth, self.n_gen, self.n_gen, sparse)
            }
        };
        total / self.tokens() as f64
    }

    /// Bytes per token: a step reads the weights once, and each sequence's own keys and values.
    fn bytes(&self, model: &Model, cache: &KvCache) -> Option<f64> {
        let seen = self.n_depth as f64 + (self.n_gen as f64 + 1.0) / 2.0;
        let weights = model.weight_bytes(self.n_batch) / self.n_batch as f64;
        (self.test == Test::Decode).then(|| weights + cache.bytes_read(seen))
    }
}

/// Measures what the plan says. `on_run` is told before each run; run 0 isn't counted.
///
/// # Errors
/// The model can't run.
pub fn bench(
    model: &Model,
    plan: &Plan,
    mut on_run: impl FnMut(&Case, usize),
) -> Result<Vec<Row>, Error> {
    let cases = plan.cases();
    // Room for the largest case, and for the sequence that the others start from.
    let pages = cases.iter().map(|case| case.pages() + case.n_depth.div_ceil(PAGE)).max();
    let mut runner = Runner {
        model,
        cache: KvCache::new(model.config(), plan.cache, pages.unwrap_or(0) * PAGE),
        work: Workspace::default(),
        logits: Vec::new(),
    };
    let mut rows = Vec::with_capacity(cases.len());
    // All as long texts are read, if one is: the work is the same.
    let longest = cases.iter().map(|case| case.n_depth + case.n_prompt + case.n_gen).max();
    let longest = longest.unwrap_or(0);
    let mut beginning = model.sequence(longest);
    for case in cases {
        let first = usize::from(!plan.warmup);
        on_run(&case, first);
        if beginning.len() != case.n_depth {
            runner.cache.release(std::mem::replace(&mut beginning, model.sequence(longest)));
            runner.read(&mut beginning, case.n_depth)?;
        }
        let mut samples = Vec::with_capacity(plan.repetitions);
        for run in first..=plan.repetitions {
            on_run(&case, run);
            let mut sequences = (0..case.n_batch)
                .map(|_| runner.cache.copy(&beginning))
                .collect::<Result<Vec<_>, _>>()?;
            let started = Instant::now();
            match case.test {
                Test::Prefill => runner.read(&mut sequences[0], case.n_prompt)?,
                Test::Decode => runner.write(&mut sequences, case.n_gen)?,
            }
            let seconds = started.elapsed().as_secs_f64();
            for sequence in sequences {
                runner.cache.release(sequence);
            }
            if run > 0 {
                samples.push(case.tokens() as f64 / seconds);
            }
        }
        let mean = samples.iter().sum::<f64>() / samples.len().max(1) as f64;
        let squares: f64 = samples.iter().map(|s| (s - mean).powi(2)).sum();
        rows.push(Row {
            case,
            avg_ts: mean,
            stddev_ts: (squares / samples.len().saturating_sub(1).max(1) as f64).sqrt(),
            samples_ts: samples,
            bytes_per_token: case.bytes(model, &runner.cache),
            operations_per_token: case.operations(model, plan.cache.sparse),
        });
    }
    runner.cache.release(beginning);
    Ok(rows)
}

/// A model with what it needs to run.
struct Runner<'a> {
    model: &'a Model,
    cache: KvCache,
    work: Workspace,
    logits: Vec<f32>,
}

impl Runner<'_> {
    /// Any tokens do, as the work is the same for all, but not all the same one.
    fn token(&self, i: usize) -> u32 {
        (i * 7919 % self.model.vocab().max(1)) as u32
    }

    /// Appends `n` tokens to a sequence and predicts the next one.
    fn read(&mut self, sequence: &mut Sequence, n: usize) -> Result<(), Error> {
        let tokens: Vec<u32> = (0..n).map(|i| self.token(i)).collect();
        let mut pieces = tokens.chunks(STEP_TOKENS).peekable();
        while let Some(tokens) = pieces.next() {
            let want = if pieces.peek().is_some() { Want::Nothing } else { Want::Last };
            let span = Span { sequence, tokens, want, adapter: None };
            self.model.forward(&mut self.cache, &mut [span], &mut self.work)?;
        }
        if n > 0 {
            self.predict(1);
        }
        Ok(())
    }

    /// Appends `n` tokens to each of the sequences, one at a time.
    fn write(&mut self, sequences: &mut [Sequence], n: usize) -> Result<(), Error> {
        let batch = sequences.len();
        for step in 0..n {
            let tokens: Vec<[u32; 1]> =
                (0..batch).map(|i| [self.token(step * batch + i)]).collect();
            let mut spans: Vec<Span<'_>> = sequences
                .iter_mut()
                .zip(&tokens)
                .map(|(sequence, tokens)| Span {
                    sequence,
                    tokens,
                    want: Want::Last,
                    adapter: None,
                })
                .collect();
            self.model.forward(&mut self.cache, &mut spans, &mut self.work)?;
            self.predict(batch);
        }
        Ok(())
    }

    fn predict(&mut self, rows: usize) {
        self.logits.resize(rows * self.model.vocab(), 0.0);
        self.model.logits(&mut self.work, 0..rows, &mut self.logits);
    }
}
