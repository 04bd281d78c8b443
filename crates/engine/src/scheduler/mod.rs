//! Many requests, one batch.
//!
//! [`Scheduler::step`] is one forward pass: *retire* what was cancelled or is late, *plan* which
//! tokens go into the batch (one of each answer under way and what was guessed to follow it; the
//! rest of the budget for prompts, read in chunks), *run* the model, *draw* from its logits. Each
//! step returns what there is to tell ([`Update`]); nobody is called back.
//!
//! Memory is the cache's pages. A choice is let in when its prompt fits beside those that are
//! there; when pages run short, forgotten beginnings go first, then the youngest choice of the
//! lowest priority gives its pages up and reads its text again later. Nothing is lost by that.

mod choice;
mod kept;
mod plan;
mod prefix;
mod queue;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Instant;

use model::{CacheOptions, KvCache, PAGE, Span, Want, Workspace};

use crate::adapters::Lora;
use crate::constraint::MaskThread;
use crate::speculate::{Draft, StepCost, step_seconds};
use crate::{Completion, Delta, Engine, Error, FinishReason, Flow, Request, TokenLogprob};
use choice::{Choice, Job};
pub use kept::Kept;
pub(crate) use prefix::{PrefixTree, variant_of};
use queue::Queue;

/// Tokens of one forward pass: enough to keep the matrix kernels busy, few enough that progress is
/// seen and a stop is heard.
pub(crate) const STEP_TOKENS: usize = 512;
/// Rows of logits worked out together: 16 rows of a 152k vocabulary are 10 MB.
const ROWS: usize = 16;

/// Names a request in a scheduler.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// What there is to tell of a request.
#[derive(Debug)]
pub struct Update {
    /// Whose it is.
    pub request: RequestId,
    /// Which of its answers, from 0.
    pub choice: usize,
    /// What has happened.
    pub event: Event,
}

/// What has happened to one answer.
#[derive(Debug)]
pub enum Event {
    /// It has gone on.
    Delta(Delta),
    /// A token was drawn; only where [`Request::logprobs`] are asked for. It comes before the text
    /// that the token completes.
    Logprob(TokenLogprob),
    /// It is finished: nothing more comes.
    Finished(Box<Completion>),
    /// It could not be finished: nothing more comes.
    Failed(Error),
}

/// How a scheduler works.
#[derive(Clone, Copy, Debug)]
pub struct SchedulerOptions {
    /// How keys and values are stored, and attended to.
    pub cache: CacheOptions,
    /// Positions the cache holds, all texts together; as many as the context if none.
    pub kv_tokens: Option<usize>,
    /// Most answers under way at a time.
    pub parallel: usize,
    /// Guess ahead from what the text has said before.
    pub ngram: bool,
    /// Guess so many tokens at a time, worth it or not; if none, as many as pay.
    pub guesses: Option<usize>,
}

impl Default for SchedulerOptions {
    fn default() -> Self {
        Self {
            cache: CacheOptions::default(),
            kv_tokens: None,
            parallel: 256,
            ngram: true,
            guesses: None,
        }
    }
}

/// What a scheduler holds at the moment, and has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Load {
    /// Answers under way.
    pub running: usize,
    /// Answers that wait.
    pub waiting: usize,
    /// Pages of the cache.
    pub kv_pages: usize,
    /// Pages that no answer under way needs.
    pub kv_pages_free: usize,
    /// Prompt tokens read.
    pub prompt_tokens: u64,
    /// Prompt tokens that were found in the cache.
    pub cached_tokens: u64,
    /// Tokens generated.
    pub generated_tokens: u64,
    /// Tokens guessed ahead, and those that came true.
    pub drafted_tokens: u64,
    /// Those of the guessed tokens that came true.
    pub accepted_tokens: u64,
    /// Answers that had to give up their pages for a while.
    pub preempted: u64,
    /// Forward passes.
    pub steps: u64,
}

/// Part of a step: tokens of one running choice.
struct Feed {
    /// Its place in [`Scheduler::running`].
    at: usize,
    /// How many of its pending tokens.
    tokens: usize,
    /// What was guessed to follow.
    draft: Vec<u32>,
}

/// Turns requests into tokens; see the module.
pub struct Scheduler {
    engine: Arc<Engine>,
    options: SchedulerOptions,
    cache: KvCache,
    work: Workspace,
    prefixes: PrefixTree,
    queue: Queue,
    /// In the order in which they were let in.
    running: Vec<Choice>,
    cancelled: HashSet<RequestId>,
    masks: Option<MaskThread>,
    draft: Option<Draft>,
    cost: StepCost,
    next_id: u64,
    load: Load,
    logits: Vec<f32>,
}

impl Scheduler {
    /// A scheduler with an empty cache.
    ///
    /// # Errors
    /// The model's keys and values can't be stored as asked, or the cache is smaller than the
    /// context.
    pub fn new(engine: Arc<Engine>, options: SchedulerOptions) -> Result<Scheduler, Error> {
        let context = engine.context_length();
        let tokens = options.kv_tokens.unwrap_or(context);
        if tokens < context {
            return Err(Error::CacheTooSmall { tokens, context });
        }
        // One page more than the context: a text whose last page is shared has to copy it.
        let cache = KvCache::new(engine.model().config(), options.cache, tokens + PAGE);
        cache.shape().check()?;
        Ok(Scheduler {
            engine,
            options,
            cache,
            work: Workspace::default(),
            prefixes: PrefixTree::default(),
            queue: Queue::default(),
            running: Vec::new(),
            cancelled: HashSet::new(),
            masks: None,
            draft: None,
            cost: StepCost::default(),
            next_id: 0,
            load: Load::default(),
            logits: Vec::new(),
        })
    }

    /// Lets a smaller model guess ahead, where that is worth it on this machine: what a step and a
    /// guess cost is measured here, which takes the time of about ten tokens.
    ///
    /// # Errors
    /// It has another vocabulary, or can't be run.
    pub fn set_draft(&mut self, draft: Arc<Engine>) -> Result<(), Error> {
        let tokens = self.cache.limit_pages() * PAGE;
        let mut draft = Draft::new(&self.engine, draft, self.options.cache, tokens)?;
        draft.calibrate()?;
        for rows in [1, 4] {
            let seconds =
                step_seconds(&self.engine, &mut self.cache, &mut self.work, rows, Want::All)?;
            self.cost.saw(rows, seconds);
        }
        self.draft = Some(draft);
        Ok(())
    }

    /// The model.
    pub fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    /// Takes a request in; its updates come from [`Scheduler::step`].
    ///
    /// # Errors
    /// The prompt is empty or can never fit the context, or a setting is out of range.
    pub fn submit(&mut self, mut request: Request) -> Result<RequestId, Error> {
        let engine = &self.engine;
        engine.check_prompt(&request.prompt)?;
        request.n = request.n.max(1);
        let id = RequestId(self.next_id);
        if request.constraint.is_some() && self.masks.is_none() {
            self.masks = Some(MaskThread::start());
        }
        let job = Arc::new(Job { id, request, arrived: Instant::now() });
        let choice = Choice::new(engine, job, 0)?;
        self.next_id += 1;
        self.queue.push(choice);
        Ok(id)
    }

    /// Stops a request: its answers so far come with the next step, as
    /// [`FinishReason::Cancelled`].
    pub fn cancel(&mut self, id: RequestId) {
        self.cancelled.insert(id);
    }

    /// Whether there is nothing to do.
    pub fn is_idle(&self) -> bool {
        self.running.is_empty() && self.queue.len() == 0
    }

    /// What is there at the moment.
    pub fn load(&self) -> Load {
        Load {
            running: self.running.len(),
            waiting: self.queue.len(),
            kv_pages: self.cache.limit_pages(),
            kv_pages_free: self.cache.free_pages() + self.prefixes.idle_pages(&self.cache),
            ..self.load
        }
    }

    /// Forgets all texts that are not under way.
    pub fn forget(&mut self) {
        while self.prefixes.forget_one(&mut self.cache) {}
        if let Some(draft) = &mut self.draft {
            draft.forget();
        }
    }

    /// Drops all requests, and tells nobody.
    pub fn abandon(&mut self) {
        let waiting = self.queue.remove(|_| true);
        for mut choice in self.running.drain(..).chain(waiting) {
            self.cache.release(std::mem::take(&mut choice.kv));
            if let Some(draft) = &mut self.draft {
                draft.release(&mut choice.guesses);
            }
        }
        self.queue = Queue::default();
        self.cancelled.clear();
    }

    /// One forward pass, and what came of it. Nothing if there is nothing to do.
    ///
    /// # Errors
    /// The model can't be run. [`Scheduler::abandon`] is all that makes sense then.
    pub fn step(&mut self) -> Result<Vec<Update>, Error> {
        let mut updates = Vec::new();
        self.retire(&mut updates);
        let feeds = self.plan()?;
        if !feeds.is_empty() {
            let started = Instant::now();
            let reading = feeds.iter().any(|feed| self.running[feed.at].is_reading());
            let rows: usize = feeds.iter().map(|feed| feed.tokens + feed.draft.len()).sum();
            self.run(&feeds)?;
            self.draw(feeds, &mut updates)?;
            if !reading {
                self.cost.saw(rows, started.elapsed().as_secs_f64());
            }
            self.load.steps += 1;
        }
        self.settle(&mut updates);
        Ok(updates)
    }

    /// Answers one request, telling `on_delta` of every piece. For a scheduler that has no other
    /// requests: their updates would be lost.
    ///
    /// # Errors
    /// As [`Scheduler::submit`] and [`Scheduler::step`].
    pub fn complete(
        &mut self,
        request: &Request,
        on_delta: &mut dyn FnMut(Delta) -> Flow,
    ) -> Result<Completion, Error> {
        let id = self.submit(Request { n: 1, ..request.clone() })?;
        let mut flow = Flow::Continue;
        loop {
            for update in self.step()? {
                match update.event {
                    _ if update.request != id => {}
                    Event::Delta(delta) if flow == Flow::Continue => {
                        flow = on_delta(delta);
                        if flow == Flow::Stop {
                            self.cancel(id);
                        }
                    }
                    Event::Delta(_) | Event::Logprob(_) => {}
                    Event::Finished(mut completion) => {
                        // It may have come to its end in the very step of the stop.
                        if flow == Flow::Stop {
                            completion.finish_reason = FinishReason::Cancelled;
                        }
                        return Ok(*completion);
                    }
                    Event::Failed(error) => return Err(error),
                }
            }
        }
    }

    /// Ends what was cancelled or is late.
    fn retire(&mut self, updates: &mut Vec<Update>) {
        let now = Instant::now();
        let cancelled = std::mem::take(&mut self.cancelled);
        let reason = |choice: &Choice| {
            if cancelled.contains(&choice.job.id) {
                return Some(FinishReason::Cancelled);
            }
            let late = choice.job.request.deadline.is_some_and(|deadline| deadline <= now);
            late.then_some(FinishReason::Deadline)
        };
        for choice in &mut self.running {
            choice.over = choice.over.or_else(|| reason(choice));
        }
        let mut waiting = self.queue.remove(|choice| reason(choice).is_some());
        waiting.sort_by_key(|choice| (choice.job.id, choice.index));
        for mut choice in waiting {
            choice.over = reason(&choice);
            self.finish(choice, updates);
        }
        self.settle(updates);
    }

    /// Takes what is over out of the batch.
    fn settle(&mut self, updates: &mut Vec<Update>) {
        while let Some(at) = self.running.iter().position(|choice| choice.over.is_some()) {
            let choice = self.running.remove(at);
            self.queue.left(&choice.job.request.tenant);
            self.finish(choice, updates);
        }
    }

    /// Tells the end of a choice; its text stays in the cache while there is room.
    fn finish(&mut self, mut choice: Choice, updates: &mut Vec<Update>) {
        let reason = choice.over.unwrap_or_default();
        let siblings =
            if choice.generated() == 0 { choice.job.request.n } else { choice.index + 1 };
        choice.turn.finish(reason);
        tell(&mut choice, updates);
        let known = &choice.tokens[..choice.kv.len()];
        self.prefixes.insert(&mut self.cache, choice.variant(), &choice.kv, known);
        self.cache.release(std::mem::take(&mut choice.kv));
        if let Some(draft) = &mut self.draft {
            draft.finish(&choice.tokens, &mut choice.guesses);
        }
        if let Some(error) = choice.failed {
            updates.push(Update {
                request: choice.job.id,
                choice: choice.index,
                event: Event::Failed(error),
            });
            return;
        }
        // Answers that were to branch off once the prompt was read end with it.
        for index in choice.index..siblings {
            updates.push(Update {
                request: choice.job.id,
                choice: index,
                event: Event::Finished(Box::new(choice.turn.completion.clone())),
            });
        }
    }

    /// The forward pass.
    fn run(&mut self, feeds: &[Feed]) -> Result<(), Error> {
        let mut inputs: Vec<Option<Vec<u32>>> = vec![None; self.running.len()];
        for feed in feeds {
            let choice = &self.running[feed.at];
            let from = choice.kv.len();
            let mut tokens = choice.tokens[from..from + feed.tokens].to_vec();
            tokens.extend(&feed.draft);
            inputs[feed.at] = Some(tokens);
        }
        // In the order of the feeds, which is the order of the logits.
        let mut spans: Vec<Option<Span<'_>>> = self
            .running
            .iter_mut()
            .zip(&inputs)
            .map(|(choice, tokens)| {
                let tokens = tokens.as_deref()?;
                let whole = tokens.len() >= choice.pending();
                let drafted = tokens.len() - choice.pending().min(tokens.len());
                let want = match (whole, drafted) {
                    (false, _) => Want::Nothing,
                    (true, 0) => Want::Last,
                    (true, _) => Want::All,
                };
                let adapter = choice.job.request.adapter.as_ref().map(Lora::in_use);
                Some(Span { sequence: &mut choice.kv, tokens, want, adapter })
            })
            .collect();
        let mut spans: Vec<Span<'_>> =
            feeds.iter().filter_map(|feed| spans[feed.at].take()).collect();
        self.engine.model().forward(&mut self.cache, &mut spans, &mut self.work)?;
        Ok(())
    }

    /// Draws the next tokens of all choices that have read what was pending.
    fn draw(&mut self, feeds: Vec<Feed>, updates: &mut Vec<Update>) -> Result<(), Error> {
        let engine = Arc::clone(&self.engine);
        let vocab = engine.model().vocab();
        // (place, row among the rows of its feed, draft) of each row of logits.
        let mut rows: Vec<(usize, usize)> = Vec::new();
        for (i, feed) in feeds.iter().enumerate() {
            let choice = &mut self.running[feed.at];
            self.queue.served(&choice.job.request.tenant, 1);
            let kv = choice.kv.len() - feed.draft.len();
            let reading = choice.generated() == 0;
            if reading {
                self.load.prompt_tokens += feed.tokens as u64;
                choice.turn.prefill(kv, choice.tokens.len());
            }
            if kv < choice.tokens.len() {
                tell(choice, updates);
                continue;
            }
            if reading {
                choice.turn.start();
            }
            if reading || feed.tokens > 1 {
                // Read, or read again: whole pages are there for others from now on.
                let whole = choice.tokens.len() / PAGE * PAGE;
                let (variant, text) = (choice.variant(), &choice.tokens[..whole]);
                self.prefixes.insert(&mut self.cache, variant, &choice.kv, text);
            }
            rows.extend((0..=feed.draft.len()).map(|row| (i, row)));
        }
        self.logits.resize(ROWS.min(rows.len()) * vocab, 0.0);
        let mut newborn = Vec::new();
        let mut matched = vec![0; feeds.len()];
        for (chunk_index, chunk) in rows.chunks(ROWS).enumerate() {
            let first = chunk_index * ROWS;
            let out = &mut self.logits[..chunk.len() * vocab];
            engine.model().logits(&mut self.work, first..first + chunk.len(), out);
            for (&(i, row), logits) in chunk.iter().zip(out.chunks_exact_mut(vocab)) {
                let feed = &feeds[i];
                let choice = &mut self.running[feed.at];
                if row != matched[i] || choice.over.is_some() {
                    continue;
                }
                if choice.generated() == 0 && choice.job.request.max_tokens == Some(0) {
                    choice.over = Some(FinishReason::Length);
                    continue;
                }
                if choice.generated() == 0 {
                    for index in 1..choice.job.request.n {
                        let mut twin = choice.twin(&engine, index)?;
                        twin.kv = self.cache.fork(&choice.kv);
                        self.queue.joined(&twin.job.request.tenant);
                        if let Err(error) = twin.draw(&engine, &mut logits.to_vec()) {
                            twin.fail(error);
                        }
                        self.load.generated_tokens += 1;
                        newborn.push(twin);
                    }
                }
                match choice.draw(&engine, logits) {
                    Ok(token) if feed.draft.get(row) == Some(&token) => matched[i] += 1,
                    Ok(_) => {}
                    Err(error) => choice.fail(error),
                }
                self.load.generated_tokens += 1;
            }
        }
        for (feed, matched) in feeds.iter().zip(matched) {
            let choice = &mut self.running[feed.at];
            let drafted = feed.draft.len();
            // What was guessed wrong leaves no trace.
            let known = choice.kv.len().min(choice.tokens.len() - 1);
            if drafted > 0 {
                self.cache.truncate(&mut choice.kv, known);
                choice.guesses.learn(drafted, matched);
                choice.turn.completion.usage.drafted_tokens += drafted;
                choice.turn.completion.usage.accepted_tokens += matched;
                self.load.drafted_tokens += drafted as u64;
                self.load.accepted_tokens += matched as u64;
            }
        }
        self.running.extend(newborn);
        for choice in &mut self.running {
            if let Some(draft) = &mut self.draft {
                draft.settle(&choice.tokens, &mut choice.guesses);
            }
            tell(choice, updates);
            if let (Some(masks), None) = (&self.masks, choice.over)
                && let Some(guard) = choice.guard()
            {
                guard.prepare(masks);
            }
        }
        Ok(())
    }
}

/// Moves what a choice has to tell into the list.
fn tell(choice: &mut Choice, updates: &mut Vec<Update>) {
    let (request, index) = (choice.job.id, choice.index);
    let mut push = |event| updates.push(Update { request, choice: index, event });
    for logprob in std::mem::take(&mut choice.logprobs) {
        push(Event::Logprob(logprob));
    }
    for delta in choice.turn.take_deltas() {
        push(Event::Delta(delta));
    }
}
