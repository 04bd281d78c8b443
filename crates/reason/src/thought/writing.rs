//! A text that a model and somebody else write together.

use std::ops::RangeInclusive;

use engine::{Delta, FinishReason, Flow};
use text::splitter::{Answer, Splitter};

use super::confidence::{Confidence, Sure, TOP};
use super::record::{End, Thought, Tokens};
use crate::answer::{Final, Kind};
use crate::{Ask, Completer, Error, Opening, Piece, Sampling};

/// Some of the text: drawn by the model, or put there.
#[derive(Clone, Debug)]
struct Part {
    text: String,
    /// Drawn tokens, as far as they are told.
    tokens: Vec<u32>,
    /// Where each of them ends in the text.
    ends: Vec<usize>,
    /// How many tokens there are, told or not.
    count: usize,
    drawn: bool,
    sure: Vec<Sure>,
}

/// Where a model is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Halt {
    /// What it has written up to here stays, and the rest of the token that goes over it.
    After(usize),
    /// Only whole tokens before here stay.
    Before(usize),
    /// All stays.
    Here,
}

/// Why a model has stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// It ended its turn.
    Ended,
    /// It has written as much as it may.
    Full,
    /// It was halted.
    Halted,
}

/// The text so far, and what has been spent on it.
#[derive(Clone)]
pub(crate) struct Writing<'a> {
    completer: &'a dyn Completer,
    ask: Ask,
    opening: Opening,
    parts: Vec<Part>,
    text: String,
    /// Tokens of the prompt, once known.
    pub(crate) prompt_tokens: usize,
    /// Tokens that were drawn, kept or not.
    pub(crate) drawn: usize,
    /// Tokens that end a turn: drawn, but no text.
    pub(crate) ends: usize,
}

impl<'a> Writing<'a> {
    /// An empty answer to `ask`.
    pub(crate) fn new(completer: &'a dyn Completer, ask: Ask) -> Result<Writing<'a>, Error> {
        let opening = completer.opening(&ask)?;
        Ok(Writing {
            completer,
            ask,
            opening,
            parts: Vec::new(),
            text: String::new(),
            prompt_tokens: 0,
            drawn: 0,
            ends: 0,
        })
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    pub(crate) fn opening(&self) -> &Opening {
        &self.opening
    }

    /// A splitter that has read all of it.
    pub(crate) fn splitter(&self) -> Splitter {
        let mut splitter = Splitter::new(self.opening.tags.clone(), self.opening.start);
        splitter.push(&self.text);
        splitter
    }

    /// Thinking and answer.
    pub(crate) fn split(&self) -> Answer {
        Answer::split(&self.text, self.opening.tags.clone(), self.opening.start)
    }

    /// Tokens of the text, as far as it goes.
    pub(crate) fn tokens(&self) -> usize {
        self.parts.iter().map(|part| part.count).sum()
    }

    /// Those of them that the model drew.
    pub(crate) fn drawn_kept(&self) -> usize {
        self.parts.iter().filter(|part| part.drawn).map(|part| part.count).sum()
    }

    /// Tokens of the first `bytes` of the text.
    pub(crate) fn tokens_before(&self, bytes: usize) -> usize {
        let mut left = bytes;
        let mut tokens = 0;
        for part in &self.parts {
            if left >= part.text.len() {
                left -= part.text.len();
                tokens += part.count;
                continue;
            }
            tokens += match part.ends.is_empty() {
                true => part.count * left / part.text.len().max(1),
                false => part.ends.iter().take_while(|end| **end <= left).count(),
            };
            break;
        }
        tokens
    }

    /// How sure the model was of each token it drew, as far as it was asked.
    pub(crate) fn sure(&self) -> Vec<Sure> {
        self.parts.iter().flat_map(|part| part.sure.iter().copied()).collect()
    }

    /// Writes something that the model hasn't said.
    pub(crate) fn put(&mut self, text: &str) {
        if text.is_empty() {
            return;
        }
        self.parts.push(Part {
            text: text.to_owned(),
            tokens: Vec::new(),
            ends: Vec::new(),
            count: self.completer.tokens_in(text),
            drawn: false,
            sure: Vec::new(),
        });
        self.text.push_str(text);
    }

    /// Lets the model go on, by a number of tokens within `tokens`. `see` is shown the whole text each
    /// time there is more of it, and from where on it is new; it may be shown nothing new.
    pub(crate) fn go_on(
        &mut self,
        tokens: RangeInclusive<usize>,
        sampling: &Sampling,
        seed: u64,
        logprobs: bool,
        see: &mut dyn FnMut(&str, usize) -> Option<Halt>,
    ) -> Result<Stop, Error> {
        let (fewest, most) = tokens.into_inner();
        if most == 0 {
            return Ok(Stop::Full);
        }
        let begun = self
            .parts
            .iter()
            .map(|part| Piece { text: part.text.clone(), tokens: part.tokens.clone() })
            .collect();
        let ask = Ask {
            begun: Some(begun),
            max_tokens: Some(most),
            min_tokens: fewest,
            max_thinking: None,
            sampling: sampling.clone(),
            seed,
            logprobs: logprobs.then_some(TOP),
            ..self.ask.clone()
        };
        let mut live = self.text.clone();
        let mut halt = None;
        let completion = self.completer.complete(&ask, &mut |delta| {
            let from = live.len();
            if let Delta::Content(text) = &delta {
                live.push_str(text);
            }
            halt = see(&live, from);
            if halt.is_some() { Flow::Stop } else { Flow::Continue }
        })?;
        let usage = completion.usage;
        if self.prompt_tokens == 0 {
            self.prompt_tokens = usage.prompt_tokens.saturating_sub(self.tokens());
        }
        self.drawn += usage.completion_tokens;
        let ended = completion.finish_reason == FinishReason::Stop;
        let mut count = usage.completion_tokens;
        if ended && halt.is_none() {
            // The token that ends the turn is no part of the text.
            count = count.saturating_sub(1);
            self.ends += 1;
        }
        let sure: Vec<Sure> = completion.logprobs.iter().map(Sure::of).collect();
        self.take(completion.content, &completion.tokens, count, sure);
        match halt {
            Some(Halt::After(at)) => self.cut(at, true),
            Some(Halt::Before(at)) => self.cut(at, false),
            Some(Halt::Here) | None => {}
        }
        Ok(match halt {
            Some(_) => Stop::Halted,
            None if ended => Stop::Ended,
            None => Stop::Full,
        })
    }

    /// Takes what was drawn. It is one part with what was drawn just before: a letter may have been
    /// cut in two.
    fn take(&mut self, text: String, tokens: &[u32], count: usize, sure: Vec<Sure>) {
        let mut part = match self.parts.pop_if(|last| last.drawn) {
            Some(last) => last,
            None => Part {
                text: String::new(),
                tokens: Vec::new(),
                ends: Vec::new(),
                count: 0,
                drawn: true,
                sure: Vec::new(),
            },
        };
        let tokens = &tokens[..tokens.len().min(count)];
        part.sure.extend(&sure[..sure.len().min(count)]);
        part.tokens.extend(tokens);
        part.count += count;
        match self.completer.text_of(&part.tokens) {
            Some((text, ends)) => {
                part.count = ends.len();
                (part.text, part.ends) = (text, ends);
            }
            None => part.text.push_str(&text),
        }
        self.parts.push(part);
        self.collect();
    }

    /// The text as a thought. `thinking` is how many of its tokens were thinking, where that is
    /// known.
    pub(crate) fn record(&self, kind: Kind, thinking: Option<usize>, end: End) -> Thought {
        let split = self.split();
        // The token that ends the turn is the answer's.
        let ended = self.ends.min(1);
        let all = self.tokens() + ended;
        // What a model without tags writes is thinking up to its last paragraph.
        let thinking = thinking.unwrap_or_else(|| {
            let text = self.text.trim_end();
            match split.reasoning.is_empty() {
                true => self.tokens_before(text.rfind("\n\n").unwrap_or(0)),
                false => self.tokens_before(text.len().saturating_sub(split.content.len())),
            }
        });
        let thinking = thinking.min(all);
        let kept = self.drawn_kept() + ended;
        let answer = match end {
            End::Cancelled | End::Unwanted | End::Weak => None,
            _ => Final::find(&split.content, kind),
        };
        Thought {
            number: 0,
            seed: self.ask.seed,
            reasoning: split.reasoning,
            content: split.content,
            answer: answer.map(|answer| answer.text().to_owned()),
            end,
            tokens: Tokens {
                prompt: self.prompt_tokens,
                thinking,
                answer: all - thinking,
                put: all - kept,
                discarded: self.drawn.saturating_sub(kept),
            },
            confidence: Confidence::of(&self.sure()),
            score: None,
            steps: Vec::new(),
            seconds: 0.0,
        }
    }

    fn collect(&mut self) {
        self.text = self.parts.iter().map(|part| part.text.as_str()).collect();
    }

    /// Takes back what goes beyond `bytes`, but for the token across it if `across`.
    fn cut(&mut self, bytes: usize, across: bool) {
        let mut left = bytes;
        let at = self.parts.iter().position(|part| {
            let within = left < part.text.len();
            left -= if within { 0 } else { part.text.len() };
            within
        });
        let Some(at) = at else { return };
        self.parts.truncate(at + 1);
        if left == 0 {
            self.parts.pop();
        } else if let Some(part) = self.parts.last_mut() {
            part.shorten(left, across);
        }
        self.collect();
    }

    /// Takes back all beyond the first `bytes`.
    pub(crate) fn cut_back(&mut self, bytes: usize) {
        self.cut(bytes, false);
    }

    /// Takes back white space at the end.
    pub(crate) fn trim_end(&mut self) {
        self.cut_back(self.text.trim_end().len());
    }

    /// Takes back the last `n` tokens that were drawn, as far as nothing was put behind them.
    pub(crate) fn take_back(&mut self, n: usize) {
        let Some(part) = self.parts.last_mut().filter(|part| part.drawn) else { return };
        let keep = part.count.saturating_sub(n);
        let bytes = match part.ends.is_empty() {
            true => part.text.len() * keep / part.count.max(1),
            false => keep.checked_sub(1).map_or(0, |last| part.ends[last]),
        };
        part.shorten(bytes, false);
        self.collect();
    }
}

impl Part {
    /// Leaves `bytes` of the text.
    fn shorten(&mut self, bytes: usize, across: bool) {
        let mut bytes = bytes.min(self.text.len());
        while !self.text.is_char_boundary(bytes) {
            bytes -= 1;
        }
        if self.ends.is_empty() {
            self.count = (self.count * bytes).div_ceil(self.text.len().max(1));
            self.text.truncate(bytes);
            return;
        }
        let mut keep = self.ends.iter().take_while(|end| **end <= bytes).count();
        let reached = keep.checked_sub(1).map_or(0, |last| self.ends[last]);
        if across && reached < bytes && keep < self.ends.len() {
            keep += 1;
        }
        let end = keep.checked_sub(1).map_or(0, |last| self.ends[last]);
        self.text.truncate(end);
        self.ends.truncate(keep);
        self.tokens.truncate(keep);
        self.sure.truncate(keep);
        self.count = keep;
    }
}
