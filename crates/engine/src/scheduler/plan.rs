//! What goes into the next forward pass: who is let in, what is guessed, and who has to give way.

use model::{KvCache, PAGE};

use super::choice::Choice;
use super::{Feed, STEP_TOKENS, Scheduler, prefix};
use crate::Error;
use crate::speculate::Outlook;

/// Prompt tokens beside answers under way: these wait for the pass to end.
const MIXED_TOKENS: usize = 128;

impl Scheduler {
    /// Decides what goes into the next batch, and makes room for it.
    pub(super) fn plan(&mut self) -> Result<Vec<Feed>, Error> {
        self.outgrow();
        self.admit();
        let drafts = self.guess()?;
        let mut feeds = Vec::new();
        let mut order: Vec<usize> = (0..self.running.len()).collect();
        order.sort_by_key(|at| {
            let choice = &self.running[*at];
            (choice.is_reading(), std::cmp::Reverse(choice.job.request.priority))
        });
        let mut budget = STEP_TOKENS;
        let mut first_prompt = true;
        for at in order {
            let choice = &self.running[at];
            if choice.is_reading() && std::mem::take(&mut first_prompt) && !feeds.is_empty() {
                budget = budget.min(MIXED_TOKENS);
            }
            let tokens = choice.pending().min(budget);
            if tokens == 0 {
                continue;
            }
            budget -= tokens;
            let draft = drafts.get(at).cloned().unwrap_or_default();
            feeds.push(Feed { at, tokens, draft });
        }
        self.make_room(&mut feeds);
        Ok(feeds)
    }

    /// Texts that have become longer than the model was made for are read again, as such texts are.
    fn outgrow(&mut self) {
        // From the last on, so that they keep their order at the head of their tenant's line.
        for at in (0..self.running.len()).rev() {
            let choice = &self.running[at];
            if choice.tokens.len() <= choice.most(&self.engine) {
                continue;
            }
            tracing::debug!(request = choice.job.id.0, tokens = choice.tokens.len(), "outgrown");
            let (variant, known) = (choice.variant(), &choice.tokens[..choice.kv.len()]);
            self.prefixes.insert(&mut self.cache, variant, &choice.kv, known);
            self.running[at].scaled = true;
            self.wait_again(at);
        }
    }

    /// Has a running choice give its pages up and wait.
    fn wait_again(&mut self, at: usize) {
        let mut choice = self.running.remove(at);
        self.cache.release(std::mem::take(&mut choice.kv));
        self.queue.push_back(choice);
    }

    /// Lets waiting choices in while their texts fit.
    fn admit(&mut self) {
        while self.running.len() < self.options.parallel {
            let Some(next) = self.queue.peek() else { return };
            let text = &next.tokens[..next.tokens.len() - 1];
            let shared = self.prefixes.len_of(next.variant(), text) / PAGE;
            // What another is reading just now will be there for this one when it is done.
            let soon = |other: &Choice| {
                other.is_reading()
                    && other.variant() == next.variant()
                    && prefix::common(&other.tokens, text) / PAGE > shared
            };
            if self.running.iter().any(soon) {
                return;
            }
            // Room for the text and a little of what follows, so that it isn't thrown out at once.
            let needed = (next.tokens.len() + PAGE).div_ceil(PAGE) - shared;
            let promised: usize = self
                .running
                .iter()
                .map(|choice| self.cache.pages_needed(&choice.kv, choice.pending()))
                .sum();
            let free = self.cache.free_pages() + self.prefixes.idle_pages(&self.cache);
            if !self.running.is_empty() && needed + promised > free {
                return;
            }
            let Some(mut choice) = self.queue.pop() else { return };
            let text = &choice.tokens[..choice.tokens.len() - 1];
            choice.kv = self.prefixes.start(&mut self.cache, choice.variant(), text);
            if choice.generated() == 0 {
                let usage = &mut choice.turn.completion.usage;
                usage.cached_tokens = choice.kv.len();
                self.load.cached_tokens += choice.kv.len() as u64;
                choice.turn.begin(choice.job.arrived);
                choice.turn.prefill(choice.kv.len(), choice.tokens.len());
            }
            self.queue.served(&choice.job.request.tenant, choice.pending());
            self.running.push(choice);
        }
    }

    /// What may follow each running choice's last token.
    fn guess(&mut self) -> Result<Vec<Vec<u32>>, Error> {
        let decoding = self.running.iter().filter(|choice| !choice.is_reading()).count();
        if decoding == 0 {
            return Ok(Vec::new());
        }
        let mut drafts: Vec<Vec<u32>> = vec![Vec::new(); self.running.len()];
        let mut places = Vec::new();
        for (at, choice) in self.running.iter_mut().enumerate() {
            if !choice.may_guess() {
                continue;
            }
            let most = choice.job.request.max_tokens.unwrap_or(usize::MAX);
            let generated = choice.generated();
            let context = choice.most(&self.engine) - choice.tokens.len();
            let room = context.min(most - generated).saturating_sub(1);
            let fixed = self.options.guesses;
            let outlook = Outlook { cost: &self.cost, rows: decoding, room, fixed };
            if self.options.ngram {
                drafts[at] = choice.guesses.in_text(&choice.tokens, &outlook);
            }
            if let (Some(draft), true) = (&self.draft, drafts[at].is_empty()) {
                let reading = draft.reading_seconds(&choice.tokens, &choice.guesses);
                let extra = draft.token_seconds();
                let n = choice.guesses.for_draft(&outlook, extra, reading, generated);
                if n > 0 {
                    places.push((at, choice.place(n)));
                }
            }
        }
        if let Some(model) = &mut self.draft {
            let (at, places): (Vec<usize>, Vec<_>) = places.into_iter().unzip();
            for (at, draft) in at.into_iter().zip(model.guess(places)?) {
                drafts[at] = draft;
            }
        }
        Ok(drafts)
    }

    /// Makes sure that the pages for the batch are there: first guesses and forgotten texts go,
    /// then the youngest choice of the lowest priority.
    fn make_room(&mut self, feeds: &mut Vec<Feed>) {
        let need = |feeds: &[Feed], running: &[Choice], cache: &KvCache| -> usize {
            feeds
                .iter()
                .map(|f| cache.pages_needed(&running[f.at].kv, f.tokens + f.draft.len()))
                .sum()
        };
        while need(feeds, &self.running, &self.cache) > self.cache.free_pages() {
            if self.prefixes.forget_one(&mut self.cache) {
                continue;
            }
            if feeds.iter().any(|feed| !feed.draft.is_empty()) {
                feeds.iter_mut().for_each(|feed| feed.draft.clear());
                continue;
            }
            let youngest = (0..self.running.len()).min_by_key(|at| {
                let choice = &self.running[*at];
                let age = std::cmp::Reverse((choice.job.id, choice.index));
                (choice.job.request.priority, age)
            });
            // One text alone always fits: the cache holds a whole context.
            let Some(at) = youngest.filter(|_| self.running.len() > 1) else { return };
            let choice = &mut self.running[at];
            tracing::debug!(request = choice.job.id.0, tokens = choice.tokens.len(), "preempted");
            if let Some(draft) = &mut self.draft {
                draft.release(&mut choice.guesses);
            }
            self.wait_again(at);
            self.load.preempted += 1;
            feeds.retain(|feed| feed.at != at);
            feeds.iter_mut().filter(|feed| feed.at > at).for_each(|feed| feed.at -= 1);
        }
    }
}
