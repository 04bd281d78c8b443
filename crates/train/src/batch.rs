//! Texts one after another, and which of their tokens are to be predicted.

use std::ops::Range;

use model::Config;

use crate::Error;

/// Packed texts. Each is by itself: its positions start at 0 and its tokens see no other text.
///
/// A text of `n` tokens has `n - 1` *slots*: slot `i` reads token `i` and predicts token `i + 1`.
/// Everything that is said of tokens (log-probabilities, entropies, gradients) has one number a
/// slot, all texts one after another; [`Batch::slots`] says where a text's are.
#[derive(Clone, Debug)]
pub struct Batch {
    tokens: Vec<u32>,
    cu_seqlens: Vec<usize>,
    targets: Vec<Option<usize>>,
    weights: Vec<f32>,
}

impl Default for Batch {
    fn default() -> Batch {
        Batch { tokens: vec![], cu_seqlens: vec![0], targets: vec![], weights: vec![] }
    }
}

impl Batch {
    /// No texts.
    pub fn new() -> Batch {
        Batch::default()
    }

    /// Appends a text of at least two tokens. `weights`, one a token, says how much the prediction
    /// *of* that token counts: 0 (a prompt's) leaves it out altogether, and saves its logits. The
    /// first token is predicted by nothing, so its weight means nothing.
    ///
    /// Where gradients come from elsewhere ([`crate::Network::backward`]) a weight only says that a
    /// token is to be scored: give 1, also to those whose advantage is 0.
    ///
    /// # Errors
    /// There are fewer than two tokens, another number of weights, or a weight that isn't finite.
    pub fn push(&mut self, tokens: &[u32], weights: &[f32]) -> Result<(), Error> {
        let bad = |problem| Err(Error::Text { text: self.texts(), problem });
        if tokens.len() < 2 {
            return bad(format!("{} tokens leave nothing to predict", tokens.len()));
        }
        if weights.len() != tokens.len() {
            return bad(format!("{} weights for {} tokens", weights.len(), tokens.len()));
        }
        if let Some(at) = weights.iter().position(|w| !w.is_finite()) {
            return bad(format!("the weight of token {at} is {}", weights[at]));
        }
        let counts = |(token, weight): (&u32, &f32)| (*weight != 0.0).then_some(*token as usize);
        self.tokens.extend(&tokens[..tokens.len() - 1]);
        self.targets.extend(tokens[1..].iter().zip(&weights[1..]).map(counts));
        self.weights.extend(&weights[1..]);
        self.cu_seqlens.push(self.tokens.len());
        Ok(())
    }

    /// Texts.
    pub fn texts(&self) -> usize {
        self.cu_seqlens.len() - 1
    }

    /// Slots of all texts.
    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    /// Whether there are no texts.
    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    /// The slots of text `text`.
    ///
    /// # Panics
    /// If there is no such text.
    pub fn slots(&self, text: usize) -> Range<usize> {
        self.cu_seqlens[text]..self.cu_seqlens[text + 1]
    }

    /// What is read, one token a slot.
    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// What is to be predicted, where it counts.
    pub fn targets(&self) -> &[Option<usize>] {
        &self.targets
    }

    /// How much each prediction counts.
    pub fn weights(&self) -> &[f32] {
        &self.weights
    }

    /// The sum of all weights: dividing them by it makes the loss a mean.
    pub fn weight(&self) -> f64 {
        self.weights.iter().map(|w| f64::from(*w)).sum()
    }

    /// Multiplies all weights, such as by one over their sum. Which slots have a target stays as it
    /// is.
    pub fn scale(&mut self, factor: f32) {
        self.weights.iter_mut().for_each(|w| *w *= factor);
    }

    /// Where each text starts, and at the end the number of slots.
    pub(crate) fn cu_seqlens(&self) -> &[usize] {
        &self.cu_seqlens
    }

    /// Holds the texts against a model.
    pub(crate) fn check(&self, config: &Config, vocab: usize) -> Result<(), Error> {
        for text in 0..self.texts() {
            let slots = self.slots(text);
            let bad = |problem| Err(Error::Text { text, problem });
            if slots.len() > config.context_length {
                let most = config.context_length;
                return bad(format!("{} tokens exceed the context of {most}", slots.len()));
            }
            let read = self.tokens[slots.clone()].iter().map(|t| *t as usize);
            let mut all = read.chain(self.targets[slots].iter().flatten().copied());
            if let Some(token) = all.find(|t| *t >= vocab) {
                return bad(format!("token {token} is outside the vocabulary of {vocab}"));
            }
        }
        Ok(())
    }
}
