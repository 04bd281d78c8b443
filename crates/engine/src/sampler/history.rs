//! The tokens so far, and the penalties that keep the model from repeating them.

use std::collections::{HashMap, HashSet};

use super::Sampling;

/// Prompt and output of one sequence, with running counts over the penalty window.
#[derive(Clone, Debug)]
pub(super) struct History {
    tokens: Vec<Entry>,
    window: Option<usize>,
    counts: HashMap<u32, Count>,
    /// DRY's sequence breakers: there may be thousands, as many tokens hold a line's end.
    breakers: HashSet<u32>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    token: u32,
    generated: bool,
}

/// How often a token stands in the window, and how often it was generated there.
#[derive(Clone, Copy, Debug, Default)]
struct Count {
    seen: u32,
    generated: u32,
}

impl History {
    /// An empty history.
    pub(super) fn new(sampling: &Sampling) -> Self {
        Self {
            tokens: Vec::new(),
            window: sampling.repetition_last_n,
            counts: HashMap::new(),
            breakers: sampling.dry_sequence_breakers.iter().copied().collect(),
        }
    }

    pub(super) fn push(&mut self, token: u32, generated: bool) {
        self.tokens.push(Entry { token, generated });
        let count = self.counts.entry(token).or_default();
        count.seen += 1;
        count.generated += u32::from(generated);
        let Some(window) = self.window else { return };
        let Some(gone) = self.tokens.len().checked_sub(window + 1) else { return };
        let gone = self.tokens[gone];
        if let Some(count) = self.counts.get_mut(&gone.token) {
            count.seen -= 1;
            count.generated -= u32::from(gone.generated);
            if count.seen == 0 {
                self.counts.remove(&gone.token);
            }
        }
    }

    /// Lowers the logits of tokens seen before, as the settings say.
    pub(super) fn penalize(&self, logits: &mut [f32], sampling: &Sampling) {
        let neutral = sampling.repetition_penalty == 1.0
            && sampling.presence_penalty == 0.0
            && sampling.frequency_penalty == 0.0;
        if !neutral {
            for (&token, count) in &self.counts {
                if let Some(logit) = logits.get_mut(token as usize) {
                    *logit = penalized(*logit, *count, sampling);
                }
            }
        }
        if sampling.dry_multiplier > 0.0 {
            for (token, length) in self.repeats(sampling) {
                if let Some(logit) = logits.get_mut(token as usize) {
                    let longer = (length - sampling.dry_allowed_length) as f64;
                    let penalty = f64::from(sampling.dry_multiplier)
                        * f64::from(sampling.dry_base).powf(longer);
                    // A long passage would overflow to infinity, and infinity minus infinity is
                    // no number.
                    *logit -= penalty.min(1e30) as f32;
                }
            }
        }
    }

    /// For each token that would continue a passage that stood in the window before: the length
    /// of the longest such passage, where it reaches `dry_allowed_length`.
    fn repeats(&self, sampling: &Sampling) -> HashMap<u32, usize> {
        let mut longest = HashMap::new();
        let start = self.window.map_or(0, |window| self.tokens.len().saturating_sub(window));
        let window = &self.tokens[start..];
        let latest = |i: usize| window[window.len() - 1 - i].token;
        // The passage that might be repeating ends at the last token and starts after the last
        // sequence breaker.
        let passage =
            (0..window.len()).find(|&i| self.breakers.contains(&latest(i))).unwrap_or(window.len());
        if passage < sampling.dry_allowed_length {
            return longest;
        }
        // Read backwards, "how long does the text ending i tokens ago agree with the text ending
        // now" is the Z function, which takes linear time: `lengths[i]`, for the prefix compared
        // so far reaching up to `right` and having begun at `left`.
        let mut lengths = vec![0; window.len()];
        let (mut left, mut right) = (0, 0);
        for i in 1..window.len() {
            let mut length = 0;
            if i < right {
                length = (right - i).min(lengths[i - left]);
            }
            while i + length < window.len()
                && length < passage
                && latest(length) == latest(i + length)
            {
                length += 1;
            }
            lengths[i] = length;
            if i + length > right {
                (left, right) = (i, i + length);
            }
            if length >= sampling.dry_allowed_length {
                let best = longest.entry(latest(i - 1)).or_insert(0);
                *best = length.max(*best);
            }
        }
        longest
    }
}

/// A logit after repetition, presence and frequency penalty.
fn penalized(logit: f32, count: Count, sampling: &Sampling) -> f32 {
    // Dividing a negative logit would make the token likelier.
    let repeated = if logit > 0.0 {
        logit / sampling.repetition_penalty
    } else {
        logit * sampling.repetition_penalty
    };
    let presence = if count.generated > 0 { sampling.presence_penalty } else { 0.0 };
    repeated - presence - sampling.frequency_penalty * count.generated as f32
}
