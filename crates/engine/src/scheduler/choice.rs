//! One answer in the making.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use model::Sequence;

use super::RequestId;
use super::prefix::variant_of;
use crate::adapters::Lora;
use crate::constraint::Guard;
use crate::sampler::{LogProbs, Sampler};
use crate::speculate::{Guesses, Place};
use crate::turn::Turn;
use crate::{Engine, Error, FinishReason, Request, TokenLogprob};

/// A request that was let in, shared by its choices.
pub(super) struct Job {
    pub(super) id: RequestId,
    pub(super) request: Request,
    pub(super) arrived: Instant,
}

/// One of a request's answers: the text so far and all that decides how it goes on.
pub(super) struct Choice {
    pub(super) job: Arc<Job>,
    pub(super) index: usize,
    /// Prompt and answer. All but the last are, or will be, in the cache before the next is drawn.
    pub(super) tokens: Vec<u32>,
    pub(super) kv: Sequence,
    /// Whether it is read as a text that is longer than the model was made for.
    pub(super) scaled: bool,
    pub(super) turn: Turn,
    pub(super) guesses: Guesses,
    sampler: Sampler,
    guard: Option<Guard>,
    /// Follows the tool call that is being written.
    call_guard: Option<Guard>,
    /// Tokens that are forced on the model: the end of its thinking.
    closing: VecDeque<u32>,
    thinking_left: Option<usize>,
    /// Why this answer is over, once it is.
    pub(super) over: Option<FinishReason>,
    /// Why it could not be finished.
    pub(super) failed: Option<Error>,
    /// Log-probabilities the caller hasn't been told yet.
    pub(super) logprobs: Vec<TokenLogprob>,
}

impl Choice {
    pub(super) fn new(engine: &Engine, job: Arc<Job>, index: usize) -> Result<Choice, Error> {
        let request = &job.request;
        let mut sampling = request.sampling.clone();
        sampling.seed = sampling.seed.map(|seed| seed.wrapping_add(index as u64));
        let mut sampler = Sampler::new(sampling, engine.drawable())?;
        sampler.accept_prompt(&request.prompt);
        let mut turn = Turn::new(Arc::clone(engine.tokenizer()), request);
        turn.completion.usage.prompt_tokens = request.prompt.len();
        Ok(Choice {
            index,
            tokens: request.prompt.clone(),
            kv: Sequence::default(),
            scaled: engine.scales(request),
            turn,
            guesses: Guesses::new(!request.no_speculation),
            sampler,
            guard: request.constraint.as_ref().map(Guard::new),
            call_guard: None,
            closing: VecDeque::new(),
            thinking_left: request.max_thinking,
            over: None,
            failed: None,
            logprobs: Vec::new(),
            job,
        })
    }

    /// Tokens that are not in the cache yet.
    pub(super) fn pending(&self) -> usize {
        self.tokens.len() - self.kv.len()
    }

    /// Whether the prompt is (still, or again) being read.
    pub(super) fn is_reading(&self) -> bool {
        self.pending() > 1 || self.generated() == 0
    }

    pub(super) fn generated(&self) -> usize {
        self.tokens.len() - self.job.request.prompt.len()
    }

    /// What its keys and values were computed with.
    pub(super) fn variant(&self) -> u64 {
        Lora::variant(self.job.request.adapter.as_ref()) ^ variant_of(self.scaled)
    }

    /// Tokens it may have before it has to be read again, with its positions stretched.
    pub(super) fn most(&self, engine: &Engine) -> usize {
        let unscaled_to = engine.model().config().rope.unscaled_to;
        unscaled_to.filter(|_| !self.scaled).unwrap_or(usize::MAX).min(engine.context_length())
    }

    /// Another answer to the same prompt, which has been read.
    pub(super) fn twin(&self, engine: &Engine, index: usize) -> Result<Choice, Error> {
        let mut twin = Choice::new(engine, Arc::clone(&self.job), index)?;
        twin.scaled = self.scaled;
        twin.turn.branch_from(&self.turn);
        Ok(twin)
    }

    /// Gives up.
    pub(super) fn fail(&mut self, error: Error) {
        self.over = Some(FinishReason::Stop);
        self.failed = Some(error);
    }

    /// Whether it makes sense to guess what comes next.
    pub(super) fn may_guess(&mut self) -> bool {
        !self.is_reading() && self.guesses.are_on() && self.guard().is_none()
    }

    /// How many more tokens must come before the one that ends the turn.
    fn no_end(&self) -> usize {
        match self.job.request.ignore_eos {
            true => usize::MAX,
            false => self.job.request.min_tokens.saturating_sub(self.generated()),
        }
    }

    /// What the draft model needs to know to guess `n` tokens.
    pub(super) fn place(&mut self, n: usize) -> Place<'_> {
        let (sampler, no_end) = (self.sampler.ahead(), self.no_end());
        Place { tokens: &self.tokens, guesses: &mut self.guesses, sampler, n, no_end }
    }

    /// What the next token has to follow.
    pub(super) fn guard(&mut self) -> Option<&mut Guard> {
        if self.call_guard.is_some() {
            return self.call_guard.as_mut();
        }
        let in_reasoning = self.turn.in_reasoning();
        self.guard.as_mut().filter(|guard| guard.applies(in_reasoning))
    }

    /// Draws the next token from `logits`, `[vocab]`, which are overwritten, and takes it.
    pub(super) fn draw(&mut self, engine: &Engine, logits: &mut [f32]) -> Result<u32, Error> {
        let job = Arc::clone(&self.job);
        let request = &job.request;
        if self.thinking_left.is_some_and(|most| {
            self.turn.in_reasoning() && self.turn.completion.usage.reasoning_tokens >= most
        }) {
            self.thinking_left = None;
            let last = self.tokens.last().copied();
            self.closing.extend(engine.encode_special(last, &request.thinking_close));
        }
        let plain = request.logprobs.map(|_| logits.to_vec());
        if self.no_end() > 0 {
            engine.forbid_end(logits);
        }
        // A forced token takes the drawn one's place.
        let forced = self.closing.pop_front();
        let opens = engine.opens_thinking_with().filter(|_| self.turn.may_open_thinking());
        let mask = match self.guard().filter(|_| forced.is_none()) {
            Some(guard) => {
                let mask = guard.mask().map_err(Error::Grammar)?;
                // Before an answer, the model may choose to think.
                Some(opens.map_or_else(|| mask.to_vec(), |open| with_bit(mask, open)))
            }
            None => None,
        };
        // The sampler draws for a forced token too, so that the seed's numbers stay in step.
        let drawn = self.sampler.sample(logits, mask.as_deref());
        let token = forced.unwrap_or(drawn);
        let end = engine.tokenizer().is_end_of_generation(token);
        let mut complete = false;
        if mask.is_some()
            && !end
            && opens != Some(token)
            && let Some(guard) = self.guard()
        {
            complete = guard.accept(token).map_err(Error::Grammar)?;
        }
        self.sampler.accept(token);
        if let (Some(plain), Some(n)) = (plain, request.logprobs) {
            let plain = &plain[..engine.drawable()];
            let of = LogProbs::new(plain, request.logprobs_at.unwrap_or(1.0));
            let logprob = TokenLogprob { token, logprob: of.of(token), top: of.top(n) };
            self.turn.completion.logprobs.push(logprob.clone());
            self.logprobs.push(logprob);
        }
        self.tokens.push(token);
        self.turn.token(token, !end);
        // A call's grammar ends with the call, and the text is free again.
        let in_call = self.turn.in_tagged_call();
        if !in_call && self.call_guard.take().is_some() {
            complete = false;
        } else if in_call && self.call_guard.is_none() && self.guard.is_none() {
            self.call_guard = request.call_constraint.as_ref().map(Guard::new);
        }
        self.over = self.turn.ended.or_else(|| {
            if end || complete {
                return Some(FinishReason::Stop);
            }
            let most = request.max_tokens.unwrap_or(usize::MAX);
            let full = self.tokens.len() >= engine.context_length();
            (self.generated() >= most || full).then_some(FinishReason::Length)
        });
        Ok(token)
    }
}

/// The mask with one more bit set.
fn with_bit(mask: &[u32], bit: u32) -> Vec<u32> {
    let mut mask = mask.to_vec();
    if let Some(word) = mask.get_mut(bit as usize / 32) {
        *word |= 1 << (bit % 32);
    }
    mask
}
