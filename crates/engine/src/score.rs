//! Reading a text and looking at what the model expected at each place.

use kernels::attention::KvType;
use model::{CacheOptions, InputSquares, KvCache, Span, Want, Workspace};

use crate::sampler::log_sum_exp;
use crate::{Engine, Error, Flow};

/// Positions whose logits are worked out together: 16 rows of a 152k vocabulary are 10 MB.
const ROWS: usize = 16;
/// Tokens in one forward pass.
const BATCH: usize = 512;

/// How well a model predicts a text.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Perplexity {
    /// Tokens of the text.
    pub tokens: usize,
    /// Tokens whose probability was counted.
    pub scored: usize,
    /// Mean negative log-likelihood, in nats a token.
    pub nll: f64,
    /// `e^nll`.
    pub perplexity: f64,
    /// Standard error of the perplexity.
    pub standard_error: f64,
    /// Seconds taken.
    pub seconds: f64,
}

impl Engine {
    /// Replaces the first token of each piece of `context` tokens with the one that every text of
    /// this model begins with, if there is one.
    pub fn begin_pieces(&self, tokens: &mut [u32], context: usize) {
        let tokenizer = self.tokenizer();
        if let (true, Some(bos)) = (tokenizer.add_bos(), tokenizer.bos()) {
            tokens.iter_mut().step_by(context.max(1)).for_each(|first| *first = bos);
        }
    }

    /// The text in whole pieces of `context` tokens, each with its beginning; a last, shorter one is left out.
    fn whole_pieces(&self, tokens: &[u32], context: usize) -> Result<Vec<u32>, Error> {
        let whole = tokens.len() / context * context;
        if whole == 0 {
            return Err(Error::TextTooShort { tokens: tokens.len(), context });
        }
        let mut pieces = tokens[..whole].to_vec();
        self.begin_pieces(&mut pieces, context);
        Ok(pieces)
    }

    /// Reads `tokens` in pieces of `context` tokens, each from an empty cache, and calls
    /// `each(position, logits)` for every position, in order: the logits, `[vocab]`, of what
    /// follows the token there. A last, shorter piece is read too.
    ///
    /// # Errors
    /// A token isn't in the vocabulary; or what `each` returns.
    pub fn logits_of<E: From<Error>>(
        &self,
        tokens: &[u32],
        context: usize,
        cache: impl Into<CacheOptions>,
        mut each: impl FnMut(usize, &[f32]) -> Result<(), E>,
    ) -> Result<(), E> {
        let model = self.model();
        let vocab = model.vocab();
        let mut cache = KvCache::new(model.config(), cache, context);
        cache.shape().check().map_err(Error::from)?;
        let mut work = Workspace::default();
        let mut logits = vec![0.0; ROWS * vocab];
        let mut position = 0;
        for piece in tokens.chunks(context.max(1)) {
            let mut sequence = model.sequence(piece.len());
            for tokens in piece.chunks(BATCH) {
                let adapter = self.adapter_in_use();
                let span = Span { sequence: &mut sequence, tokens, want: Want::All, adapter };
                let n = model.forward(&mut cache, &mut [span], &mut work).map_err(Error::from)?;
                for first in (0..n).step_by(ROWS) {
                    let rows = first..n.min(first + ROWS);
                    let out = &mut logits[..rows.len() * vocab];
                    model.logits(&mut work, rows, out);
                    for row in out.chunks_exact(vocab) {
                        each(position, row)?;
                        position += 1;
                    }
                }
            }
            cache.release(sequence);
        }
        Ok(())
    }

    /// Reads `tokens` in whole pieces of `context` tokens, each from an empty cache, and adds up the squares
    /// of what comes into every matrix; `each` is told how many tokens were read, and may end it.
    ///
    /// # Errors
    /// The text is shorter than one piece, or a token isn't in the vocabulary.
    pub fn input_squares(
        &self,
        tokens: &[u32],
        context: usize,
        mut each: impl FnMut(usize) -> Flow,
    ) -> Result<InputSquares, Error> {
        let context = context.max(1);
        let pieces = self.whole_pieces(tokens, context)?;
        let model = self.model();
        if model.config().experts.is_some() {
            // What each expert sees would have to be added up apart.
            return Err(model::Error::Experts("observed").into());
        }
        if model.config().fused {
            // Sums are kept by matrix, and files have some of these in one.
            let architecture = model.config().architecture.clone();
            return Err(model::Error::Unobservable(architecture).into());
        }
        let mut cache = KvCache::new(model.config(), KvType::F16, context);
        cache.shape().check()?;
        let mut work = Workspace::observing(model);
        let mut read = 0;
        for piece in pieces.chunks_exact(context) {
            let mut sequence = model.sequence(piece.len());
            for tokens in piece.chunks(BATCH) {
                let adapter = self.adapter_in_use();
                let span = Span { sequence: &mut sequence, tokens, want: Want::Nothing, adapter };
                model.forward(&mut cache, &mut [span], &mut work)?;
            }
            cache.release(sequence);
            read += context;
            if each(read) == Flow::Stop {
                break;
            }
        }
        Ok(work.inputs())
    }

    /// Perplexity of a text, read in whole pieces of `context` tokens of which the second half is
    /// counted, so that every counted token has at least `context / 2` before it. (This is what
    /// llama.cpp's `llama-perplexity` reports.)
    ///
    /// # Errors
    /// The text is shorter than one piece, or the model's heads can't be stored as `cache` says.
    pub fn perplexity(
        &self,
        tokens: &[u32],
        context: usize,
        cache: impl Into<CacheOptions>,
        mut on_progress: impl FnMut(usize, f64),
    ) -> Result<Perplexity, Error> {
        if context < 2 {
            return Err(Error::Context(context));
        }
        let pieces = self.whole_pieces(tokens, context)?;
        let started = std::time::Instant::now();
        let (mut sum, mut squares, mut scored) = (0.0, 0.0, 0usize);
        self.logits_of(&pieces, context, cache, |position, logits| {
            let within = position % context;
            if within >= context / 2 && within + 1 < context {
                let target = tokens[position + 1] as usize;
                let nll = log_sum_exp(logits) - f64::from(logits[target]);
                sum += nll;
                squares += nll * nll;
                scored += 1;
            }
            if within + 1 == context && scored > 0 {
                on_progress(position + 1, (sum / scored as f64).exp());
            }
            Ok::<(), Error>(())
        })?;
        let n = scored as f64;
        let nll = sum / n;
        let variance = (squares / n - nll * nll).max(0.0);
        let perplexity = nll.exp();
        Ok(Perplexity {
            tokens: tokens.len(),
            scored,
            nll,
            perplexity,
            standard_error: if scored > 1 {
                (variance / (n - 1.0)).sqrt() * perplexity
            } else {
                0.0
            },
            seconds: started.elapsed().as_secs_f64(),
        })
    }
}
