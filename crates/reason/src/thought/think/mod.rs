//! One thought, from its beginning to its answer.

mod steps;

use std::time::{Duration, Instant};

use text::splitter::Splitter;

use super::record::{End, Measure, Step, Thought};
use super::writing::{Halt, Stop, Writing};
use super::{Manner, probe, program};
use crate::answer::Final;
use crate::mind::{Event, Mind};
use crate::watch::{Loop, Loops};
use crate::{Error, Sampling};

/// Tokens between two looks at how sure the model is.
const SEGMENT: usize = 128;
/// Kept free for closing and answering where the context is full.
const RESERVE: usize = 160;
/// Tokens that an answer behind a lead takes at most.
const SHORT_ANSWER: usize = 96;

/// Why the thinking was halted.
#[derive(Clone, Copy, Debug)]
enum Why {
    Cancelled,
    /// The model has closed its thinking.
    Thought,
    Loop(Loop),
    /// A paragraph has ended, to be looked at.
    Paragraph,
    /// A program is written, to be run.
    Program,
    Deadline,
}

/// What comes next.
enum Next {
    /// The text is finished, or given up.
    Over(End),
    /// The model has ended its thinking itself: the answer follows.
    Answer,
    /// It is made to answer.
    Close(End),
}

pub(crate) struct Thinker<'a> {
    mind: &'a Mind<'a>,
    manner: &'a Manner,
    number: usize,
    seed: u64,
    /// Whoever runs several thoughts may want no more of this one.
    unwanted: &'a (dyn Fn() -> bool + Sync),
    writing: Writing<'a>,
    sampling: Sampling,
    loops: Loops,
    /// Where the text begins that is watched for loops, in bytes.
    loops_from: usize,
    steps: Vec<Step>,
    waits_left: usize,
    remedies: usize,
    strayed: bool,
    segment: u64,
    /// Where the last paragraph that was looked at ends, in bytes.
    looked_at: usize,
    settled: Vec<Option<Final>>,
    spent_on_probes: usize,
    started: Instant,
    /// Written when the thinking was over, in tokens.
    thinking: Option<usize>,
    /// Programs that may yet be run.
    programs_left: usize,
    /// Up to where programs have been run, in bytes.
    ran_to: usize,
}

impl<'a> Thinker<'a> {
    /// A thought that is `writing` so far.
    pub(crate) fn new(
        mind: &'a Mind<'a>,
        manner: &'a Manner,
        writing: Writing<'a>,
        number: usize,
        seed: u64,
        unwanted: &'a (dyn Fn() -> bool + Sync),
    ) -> Thinker<'a> {
        let begun = writing.text().len();
        Thinker {
            mind,
            manner,
            number,
            seed,
            unwanted,
            writing,
            sampling: manner.sampling.clone(),
            loops: Loops::default(),
            loops_from: begun,
            steps: Vec::new(),
            waits_left: manner.waits,
            remedies: 0,
            strayed: false,
            segment: 0,
            looked_at: 0,
            settled: Vec::new(),
            spent_on_probes: 0,
            started: Instant::now(),
            thinking: None,
            programs_left: manner.programs,
            ran_to: begun,
        }
    }

    /// Thinks, and answers.
    ///
    /// # Errors
    /// The model can't be asked.
    pub(crate) fn run(mut self) -> Result<Thought, Error> {
        let end = match self.think()? {
            Next::Over(end) => end,
            Next::Answer => self.answer()?,
            Next::Close(end) => self.close(end)?,
        };
        Ok(self.record(end))
    }

    fn note(&mut self, measure: Measure, note: impl Into<String>) {
        let step = Step { at: self.writing.tokens(), measure, note: note.into() };
        tracing::debug!(thought = self.number, ?step, "stepped in");
        self.mind.tell(Event::Step { thought: self.number, step: step.clone() });
        self.steps.push(step);
    }

    /// Tokens the thinking may still take.
    fn left(&self) -> usize {
        let Some(most) = self.manner.max_thinking else { return usize::MAX };
        let closing = self.mind.completer.tokens_in(&self.closing());
        // Where there is no room for the sentence, the thinking ends without it.
        let room = most.checked_sub(closing).unwrap_or(most);
        room.saturating_sub(self.writing.tokens())
    }

    /// The sentence that closes the thinking.
    fn closing(&self) -> String {
        match self.manner.words.close.is_empty() {
            true => String::new(),
            false => format!("\n\n{}", self.manner.words.close),
        }
    }

    /// When the thinking has to be closed for the answer to come in time.
    fn close_at(&self) -> Option<Instant> {
        let deadline = self.mind.deadline?;
        let drawn = self.writing.drawn;
        let each = match drawn {
            0 => Duration::from_millis(30),
            n => self.started.elapsed() / n as u32,
        };
        let reserve = (each * 48).max(Duration::from_millis(300));
        Some(deadline.checked_sub(reserve).unwrap_or(deadline))
    }

    fn think(&mut self) -> Result<Next, Error> {
        loop {
            let left = self.left();
            if self.manner.max_thinking == Some(0) || left == 0 {
                return Ok(Next::Close(End::Budget));
            }
            let looks = self.mind.floor().is_some() || self.manner.confidence;
            let most = if looks { left.min(SEGMENT) } else { left };
            let before = self.writing.tokens();
            let (stop, why) = self.go_on(most)?;
            match (stop, why) {
                (_, Some(Why::Cancelled)) => return Ok(Next::Over(End::Cancelled)),
                (_, Some(Why::Deadline)) => {
                    self.note(Measure::Deadline, "the time is up");
                    return Ok(Next::Close(End::Deadline));
                }
                (_, Some(Why::Thought)) => {
                    if !self.wait() {
                        return Ok(Next::Answer);
                    }
                }
                (_, Some(Why::Loop(found))) => {
                    if !self.mend(found) {
                        return Ok(Next::Close(End::Loop));
                    }
                }
                (_, Some(Why::Paragraph)) => {
                    if let Some(next) = self.look()? {
                        return Ok(next);
                    }
                }
                (_, Some(Why::Program)) => self.run_program()?,
                (Stop::Ended, _) => {
                    // A model that never closed its thinking hasn't answered yet.
                    if self.writing.splitter().in_reasoning() {
                        return Ok(Next::Close(End::Ended));
                    }
                    if !self.wait() {
                        return Ok(Next::Over(End::Ended));
                    }
                }
                (Stop::Full, _) if self.writing.tokens() - before < most => {
                    // The context is full, and an answer needs some room.
                    self.note(Measure::Full, "the context is full");
                    self.writing.take_back(RESERVE);
                    return Ok(Next::Close(End::Budget));
                }
                (Stop::Full | Stop::Halted, _) => {}
            }
            if let Some(next) = self.weigh() {
                return Ok(next);
            }
        }
    }

    /// Lets the model write until something is to be seen to.
    fn go_on(&mut self, most: usize) -> Result<(Stop, Option<Why>), Error> {
        self.segment += 1;
        let seed = mix(self.seed, self.segment);
        let mut splitter: Splitter = self.writing.splitter();
        let close_tag = self.writing.opening().tags.thinking.1.clone();
        let close_at = self.close_at();
        let was_thinking = splitter.in_reasoning();
        let (mind, number) = (self.mind, self.number);
        let stopping = &self.manner.stopping;
        let wants_paragraphs = stopping.settle.is_some() || stopping.language && !self.strayed;
        let every = stopping.settle.map_or(SEGMENT, |settle| settle.every);
        let looked_at = self.looked_at;
        let runs_from = (self.programs_left > 0).then_some(self.ran_to);
        let (unwanted, loops, loops_from) = (self.unwanted, &mut self.loops, self.loops_from);
        let mut began = was_thinking;
        let mut why = None;
        let stop = self.writing.go_on(
            0..=most,
            &self.sampling,
            seed,
            self.manner.confidence || self.mind.floor().is_some(),
            &mut |text, from| {
                if unwanted() || mind.is_cancelled() {
                    why = Some(Why::Cancelled);
                    return Some(Halt::Here);
                }
                let fresh = &text[from..];
                if fresh.is_empty() {
                    return None;
                }
                mind.tell(Event::Text { thought: number, text: fresh.to_owned() });
                splitter.push(fresh);
                began |= splitter.in_reasoning();
                if began && !splitter.in_reasoning() {
                    why = Some(Why::Thought);
                    let tag = text.rfind(&close_tag).unwrap_or(text.len());
                    return Some(Halt::After(tag + close_tag.len()));
                }
                if stopping.loops
                    && let Some(found) = loops.push(fresh)
                {
                    why = Some(Why::Loop(found));
                    return Some(Halt::Before(loops_from + found.start));
                }
                if let Some(from) = runs_from
                    && let Some((_, end)) = program::block(&text[from..])
                {
                    why = Some(Why::Program);
                    return Some(Halt::After(from + end));
                }
                if close_at.is_some_and(|at| Instant::now() >= at) {
                    why = Some(Why::Deadline);
                    return Some(Halt::Here);
                }
                if wants_paragraphs
                    && let Some(end) = text.rfind("\n\n").map(|at| at + 2)
                    // A token has about four letters.
                    && end > looked_at + 4 * every
                {
                    why = Some(Why::Paragraph);
                    return Some(Halt::After(end));
                }
                None
            },
        )?;
        Ok((stop, why))
    }

    /// Closes the thinking and has the answer given.
    fn close(&mut self, end: End) -> Result<End, Error> {
        let thinks = {
            let opening = self.writing.opening();
            opening.thinks || self.writing.splitter().in_reasoning()
        };
        let most = self.manner.max_thinking.unwrap_or(usize::MAX);
        let sentence = self.closing();
        let room = self.writing.tokens() + self.mind.completer.tokens_in(&sentence) <= most;
        self.writing.trim_end();
        if room && !self.writing.text().is_empty() {
            self.put(&sentence);
        }
        self.thinking = Some(self.writing.tokens());
        let finished = if thinks {
            let (open, close) = self.writing.opening().tags.thinking.clone();
            let tag = match self.writing.splitter().in_reasoning() {
                true => format!("\n{close}\n\n"),
                false => format!("{open}\n\n{close}\n\n"),
            };
            self.put(&tag);
            self.answer()?
        } else {
            let gap = if self.writing.text().is_empty() { "" } else { "\n\n" };
            let lead = self.manner.words.lead.clone();
            self.put(&format!("{gap}{lead}"));
            let most = self.manner.max_answer;
            let most = if lead.is_empty() { most } else { most.min(SHORT_ANSWER) };
            self.finish(most, probe::boxed(&lead))?
        };
        Ok(if finished == End::Cancelled { finished } else { end })
    }

    /// The answer, behind the thinking.
    fn answer(&mut self) -> Result<End, Error> {
        self.thinking = self.thinking.or(Some(self.writing.tokens()));
        self.finish(self.manner.max_answer, None)
    }

    /// Lets the model finish, up to where `over` says that it has.
    fn finish(&mut self, most: usize, over: Option<probe::Over>) -> Result<End, Error> {
        let mut loops = Loops::default();
        let mut looped = false;
        let from_here = self.writing.text().len();
        let seed = mix(self.seed, u64::MAX / 2);
        let mut cancelled = false;
        let confidence = self.manner.confidence;
        let (mind, number, unwanted) = (self.mind, self.number, self.unwanted);
        let watches = self.manner.stopping.loops;
        let stop =
            self.writing.go_on(1..=most, &self.sampling, seed, confidence, &mut |text, from| {
                if unwanted() || mind.is_cancelled() {
                    cancelled = true;
                    return Some(Halt::Here);
                }
                let fresh = &text[from..];
                if fresh.is_empty() {
                    return None;
                }
                mind.tell(Event::Text { thought: number, text: fresh.to_owned() });
                if let Some(over) = over
                    && let Some(end) = over(&text[from_here..])
                {
                    return Some(Halt::After(from_here + end));
                }
                if watches && let Some(found) = loops.push(fresh) {
                    looped = true;
                    return Some(Halt::Before(from_here + found.start));
                }
                None
            })?;
        if looped {
            self.note(Measure::Loop, "the answer went in circles: cut");
            self.rewound();
        }
        Ok(match (cancelled, looped, stop) {
            (true, ..) => End::Cancelled,
            (_, true, _) => End::Loop,
            (_, _, Stop::Full) => End::Length,
            _ => End::Ended,
        })
    }

    fn record(self, end: End) -> Thought {
        let end = match end {
            End::Cancelled if !self.mind.is_cancelled() => End::Unwanted,
            end => end,
        };
        let seconds = self.started.elapsed().as_secs_f64();
        let mut thought = self.writing.record(self.mind.problem.kind, self.thinking, end);
        thought.tokens.discarded += self.spent_on_probes;
        Thought { number: self.number, seed: self.seed, steps: self.steps, seconds, ..thought }
    }
}

/// Closes a text that was written otherwise, and has the answer given. Says also how many tokens that
/// took.
///
/// # Errors
/// The model can't be asked.
pub(crate) fn close<'a>(
    mind: &'a Mind<'a>,
    writing: Writing<'a>,
    number: usize,
    seed: u64,
    end: End,
) -> Result<(Thought, usize), Error> {
    let before = writing.drawn;
    let mut thinker = Thinker::new(mind, &mind.manner, writing, number, seed, &|| false);
    let end = thinker.close(end)?;
    let drawn = thinker.writing.drawn - before;
    Ok((thinker.record(end), drawn))
}

/// Another seed, of which both decide.
pub(crate) fn mix(seed: u64, n: u64) -> u64 {
    // SplitMix64.
    let mut z = seed.wrapping_add(n.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    // Below 2³¹, which every engine takes.
    (z ^ (z >> 31)) >> 33
}
