//! Texts one after another, and what is asked of their tokens.

use std::ops::Range;

use model::Config;

use crate::Error;

/// Packed texts. Each is by itself: its positions start at 0 and its tokens see no other text. Texts
/// that begin alike ([`Batch::push_group`]) hold what they share once.
///
/// What the network reads, one token each, are *slots*. A text of `n` tokens that are to be
/// predicted ([`Batch::push`]) has `n - 1`: slot `i` reads token `i` and predicts token `i + 1`. One
/// that is to be valued as a whole ([`Batch::push_whole`]) has `n`. Everything that is said of tokens
/// (log-probabilities, entropies, values, gradients) has one number a slot, 0 where nothing is asked
/// for; [`Batch::slots`] says where a text's are.
#[derive(Clone, Debug)]
pub struct Batch {
    tokens: Vec<u32>,
    /// Where each sequence starts: a text, or what texts share.
    cu_seqlens: Vec<usize>,
    /// The sequence each one goes on from.
    parents: Vec<Option<usize>>,
    /// The sequence of each text.
    texts: Vec<usize>,
    targets: Vec<Option<usize>>,
    /// Where a value is asked for.
    valued: Vec<bool>,
    weights: Vec<f32>,
}

/// One of several texts that go on from the same prompt.
#[derive(Clone, Copy, Debug)]
pub struct Continuation<'a> {
    /// Its tokens after the prompt, one at least.
    pub tokens: &'a [u32],
    /// How much the prediction of each of them counts, as in [`Batch::push`].
    pub weights: &'a [f32],
}

impl Default for Batch {
    fn default() -> Batch {
        Batch {
            tokens: vec![],
            cu_seqlens: vec![0],
            parents: vec![],
            texts: vec![],
            targets: vec![],
            valued: vec![],
            weights: vec![],
        }
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
    /// A slot whose prediction counts is also one of which a value is asked for, by networks with a
    /// [scalar head](crate::ScalarHead): what the text up to there is worth.
    ///
    /// # Errors
    /// There are fewer than two tokens, another number of weights, or a weight that isn't finite.
    pub fn push(&mut self, tokens: &[u32], weights: &[f32]) -> Result<(), Error> {
        let text = self.texts();
        if tokens.len() < 2 {
            return bad(text, format!("{} tokens leave nothing to predict", tokens.len()));
        }
        check_weights(text, tokens, weights)?;
        self.predicted(None, (&tokens[..1], &tokens[1..]), &weights[1..]);
        Ok(())
    }

    /// Appends texts that are `prompt` and then one of the continuations each: answers to one
    /// question. What the prompt's tokens make is worked out once, and the gradients of all texts
    /// flow back through it; all is as if the texts had been [pushed](Batch::push) one by one, their
    /// prompts with weight 0, but for rounding (and for dropout, which leaves the same of the prompt
    /// out for all of them).
    ///
    /// A text's slots are as many as its continuation's tokens: the prompt's last token is read anew
    /// for each text, and predicts its first one. The slots of the prompt's other tokens come before
    /// those of the first text and belong to none ([`Batch::shared`]). Returns the texts' numbers.
    ///
    /// # Errors
    /// The prompt is empty, there are no continuations, or one has no tokens, another number of
    /// weights, or a weight that isn't finite. The batch is as it was then.
    pub fn push_group(
        &mut self,
        prompt: &[u32],
        continuations: &[Continuation<'_>],
    ) -> Result<Range<usize>, Error> {
        let first = self.texts();
        let Some((last, before)) = prompt.split_last() else {
            return bad(first, "its prompt is empty; push each text by itself");
        };
        if continuations.is_empty() {
            return bad(first, "its prompt has no continuations");
        }
        for (text, c) in (first..).zip(continuations) {
            if c.tokens.is_empty() {
                return bad(text, "0 tokens after the prompt leave nothing to predict");
            }
            check_weights(text, c.tokens, c.weights)?;
        }
        let parent = self.share(before);
        for c in continuations {
            self.predicted(Some(parent), (&[*last], c.tokens), c.weights);
        }
        Ok(first..self.texts())
    }

    /// Appends a text of at least one token that is read to its end, where its value is asked for:
    /// what a reward model is trained on. None of its tokens is to be predicted.
    ///
    /// # Errors
    /// There are no tokens.
    pub fn push_whole(&mut self, tokens: &[u32]) -> Result<(), Error> {
        if tokens.is_empty() {
            return bad(self.texts(), "0 tokens leave nothing to value");
        }
        self.whole(None, tokens);
        Ok(())
    }

    /// As [`Batch::push_whole`], texts that are `prompt` and then one of the continuations each,
    /// which share what the prompt's tokens make, as in [`Batch::push_group`]: such as the better
    /// and the worse of two answers. Returns the texts' numbers.
    ///
    /// # Errors
    /// There are no continuations, or one has no tokens. The batch is as it was then.
    pub fn push_whole_group(
        &mut self,
        prompt: &[u32],
        continuations: &[&[u32]],
    ) -> Result<Range<usize>, Error> {
        let first = self.texts();
        if continuations.is_empty() {
            return bad(first, "its prompt has no continuations");
        }
        if let Some(empty) = continuations.iter().position(|tokens| tokens.is_empty()) {
            return bad(first + empty, "0 tokens after the prompt leave nothing to value");
        }
        let parent = self.share(prompt);
        continuations.iter().for_each(|tokens| self.whole(Some(parent), tokens));
        Ok(first..self.texts())
    }

    /// A sequence that reads `before` and all but the last of `tokens`, and predicts `tokens`.
    fn predicted(
        &mut self,
        parent: Option<usize>,
        (before, tokens): (&[u32], &[u32]),
        weights: &[f32],
    ) {
        let counts = |(token, weight): (&u32, &f32)| (*weight != 0.0).then_some(*token as usize);
        self.tokens.extend(before.iter().chain(&tokens[..tokens.len() - 1]));
        self.targets.extend(tokens.iter().zip(weights).map(counts));
        self.valued.extend(weights.iter().map(|w| *w != 0.0));
        self.weights.extend(weights);
        self.texts.push(self.parents.len());
        self.close(parent);
    }

    /// A sequence that is valued at its end.
    fn whole(&mut self, parent: Option<usize>, tokens: &[u32]) {
        self.read(tokens);
        if let Some(last) = self.valued.last_mut() {
            *last = true;
        }
        self.texts.push(self.parents.len());
        self.close(parent);
    }

    /// A sequence that is no text: returns its number.
    fn share(&mut self, tokens: &[u32]) -> usize {
        self.read(tokens);
        self.close(None);
        self.parents.len() - 1
    }

    /// Tokens of which nothing is asked.
    fn read(&mut self, tokens: &[u32]) {
        self.tokens.extend(tokens);
        let slots = self.tokens.len();
        self.targets.resize(slots, None);
        self.valued.resize(slots, false);
        self.weights.resize(slots, 0.0);
    }

    fn close(&mut self, parent: Option<usize>) {
        self.parents.push(parent);
        self.cu_seqlens.push(self.tokens.len());
    }

    /// Texts.
    pub fn texts(&self) -> usize {
        self.texts.len()
    }

    /// Slots: those of all texts, and what texts share.
    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    /// Whether there are no texts.
    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    /// The slots of text `text`, without those it shares with others.
    ///
    /// # Panics
    /// If there is no such text.
    pub fn slots(&self, text: usize) -> Range<usize> {
        self.sequence(self.texts[text])
    }

    /// The slots that text `text` shares with the others of its group: they come before its own.
    /// Empty for a text by itself.
    ///
    /// # Panics
    /// If there is no such text.
    pub fn shared(&self, text: usize) -> Range<usize> {
        self.parents[self.texts[text]].map_or(0..0, |parent| self.sequence(parent))
    }

    /// What is read, one token a slot.
    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// What is to be predicted, where it counts.
    pub fn targets(&self) -> &[Option<usize>] {
        &self.targets
    }

    /// Whether a value is asked for: where a prediction counts, and at the end of texts that are
    /// valued as a whole.
    pub fn valued(&self) -> &[bool] {
        &self.valued
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

    fn sequence(&self, sequence: usize) -> Range<usize> {
        self.cu_seqlens[sequence]..self.cu_seqlens[sequence + 1]
    }

    /// Where each sequence starts, and at the end the number of slots.
    pub(crate) fn cu_seqlens(&self) -> &[usize] {
        &self.cu_seqlens
    }

    /// The sequence that each goes on from.
    pub(crate) fn parents(&self) -> &[Option<usize>] {
        &self.parents
    }

    /// Each slot's place in its text.
    pub(crate) fn positions(&self) -> impl Iterator<Item = usize> {
        self.parents.iter().enumerate().flat_map(|(sequence, parent)| {
            let first = parent.map_or(0, |parent| self.sequence(parent).len());
            first..first + self.sequence(sequence).len()
        })
    }

    /// Holds the texts against a model.
    pub(crate) fn check(&self, config: &Config, vocab: usize) -> Result<(), Error> {
        for text in 0..self.texts() {
            let (shared, slots) = (self.shared(text), self.slots(text));
            let (tokens, most) = (shared.len() + slots.len(), config.context_length);
            if tokens > most {
                return bad(text, format!("{tokens} tokens exceed the context of {most}"));
            }
            let read = self.tokens[shared].iter().chain(&self.tokens[slots.clone()]);
            let predicted = self.targets[slots].iter().flatten().copied();
            let mut all = read.map(|t| *t as usize).chain(predicted);
            if let Some(token) = all.find(|t| *t >= vocab) {
                return bad(text, format!("token {token} is outside the vocabulary of {vocab}"));
            }
        }
        Ok(())
    }
}

fn bad<T>(text: usize, problem: impl Into<String>) -> Result<T, Error> {
    Err(Error::Text { text, problem: problem.into() })
}

fn check_weights(text: usize, tokens: &[u32], weights: &[f32]) -> Result<(), Error> {
    if weights.len() != tokens.len() {
        return bad(text, format!("{} weights for {} tokens", weights.len(), tokens.len()));
    }
    if let Some(at) = weights.iter().position(|w| !w.is_finite()) {
        return bad(text, format!("the weight of token {at} is {}", weights[at]));
    }
    Ok(())
}
