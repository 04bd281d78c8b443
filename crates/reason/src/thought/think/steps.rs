//! What is done to a thought while it is being written.

use super::{Next, SEGMENT, Thinker, mix};
use crate::Error;
use crate::mind::Event;
use crate::thought::confidence::Confidence;
use crate::thought::record::{End, Measure};
use crate::thought::{probe, program};
use crate::watch::{Loop, Loops, foreign_share, is_mixed};

/// A loop at so little surprise, in nats a token, over so many tokens of familiar text.
const NO_SURPRISE: (f32, usize) = (0.02, 96);
/// How much hotter a text goes on behind a loop.
const HOTTER: f32 = 0.3;
/// … and at least this hot.
const HOT: f32 = 0.7;

impl Thinker<'_> {
    /// Says "wait" where the thinking was too short, and whether it did.
    pub(super) fn wait(&mut self) -> bool {
        let close_tag = self.writing.opening().tags.thinking.1.clone();
        let text = self.writing.text();
        let end = text.trim_end().strip_suffix(&close_tag).map_or(text.len(), str::len);
        let words = format!("\n\n{}", self.manner.words.wait);
        let wait = self.mind.completer.tokens_in(&words);
        if self.waits_left == 0
            || self.writing.tokens() >= self.manner.min_thinking
            || self.left() <= wait
        {
            return false;
        }
        self.waits_left -= 1;
        self.writing.cut_back(end);
        self.writing.trim_end();
        self.put(&words);
        self.note(Measure::Wait, format!("{} tokens were too few", self.writing.tokens()));
        true
    }

    /// Runs the program that was just written, and writes its output behind it.
    pub(super) fn run_program(&mut self) -> Result<(), Error> {
        let text = self.writing.text();
        let Some((source, _)) = program::block(&text[self.ran_to..]) else { return Ok(()) };
        let source = source.to_owned();
        self.programs_left -= 1;
        let ran = program::run(self.mind, &source)?;
        let gap = if self.writing.text().ends_with('\n') { "" } else { "\n" };
        self.put(&format!("{gap}\n```output\n{}\n```\n\n", ran.shown));
        self.ran_to = self.writing.text().len();
        // What a program writes may repeat itself.
        self.loops = Loops::default();
        self.loops_from = self.ran_to;
        self.note(Measure::Program, ran.note);
        Ok(())
    }

    pub(super) fn put(&mut self, text: &str) {
        self.writing.put(text);
        self.mind.tell(Event::Text { thought: self.number, text: text.to_owned() });
    }

    /// The text was cut: whoever follows it is told, and the loops are looked for anew.
    pub(super) fn rewound(&mut self) {
        let text = self.writing.text().to_owned();
        self.loops = Loops::default();
        self.loops_from = self.loops_from.min(text.len());
        self.loops.push(&text[self.loops_from..]);
        self.looked_at = self.looked_at.min(text.len());
        self.mind.tell(Event::Rewound { thought: self.number, text });
    }

    /// Behind a loop that was cut out: whether the text goes on.
    pub(super) fn mend(&mut self, found: Loop) -> bool {
        self.remedies += 1;
        let what = format!("{:?} loop of {} units over {}", found.kind, found.period, found.run);
        self.rewound();
        if self.remedies > 1 {
            self.note(Measure::Loop, format!("{what}: the thinking is closed"));
            return false;
        }
        let heat = self.sampling.temperature.unwrap_or(0.0);
        self.sampling.temperature = Some((heat + HOTTER).max(HOT));
        self.note(Measure::Loop, format!("{what}: cut out, going on hotter"));
        true
    }

    /// At the end of a paragraph.
    pub(super) fn look(&mut self) -> Result<Option<Next>, Error> {
        let from = self.looked_at;
        let text = self.writing.text();
        let paragraph = text.get(from..).unwrap_or_default();
        let (foreign, letters) = foreign_share(&self.mind.problem.question, paragraph);
        if self.manner.stopping.language && !self.strayed && is_mixed(foreign, letters) {
            self.strayed = true;
            self.writing.cut_back(from);
            self.rewound();
            let note = format!("{foreign} of {letters} letters were foreign: written anew");
            self.note(Measure::Language, note);
            return Ok(None);
        }
        self.looked_at = text.len();
        let Some(settle) = self.manner.stopping.settle else { return Ok(None) };
        let probe = probe::probe(
            self.mind,
            &self.writing,
            &self.manner.words,
            mix(self.seed, u64::MAX - self.segment),
        )?;
        self.spent_on_probes += probe.tokens;
        let sure = probe.answer.filter(|_| probe.probability >= settle.sure);
        self.settled.push(sure);
        let last = &self.settled[self.settled.len().saturating_sub(settle.agree)..];
        let Some(Some(first)) = last.first() else { return Ok(None) };
        let agree = last.len() == settle.agree
            && last.iter().all(|a| a.as_ref().is_some_and(|answer| answer.same(first)));
        if !agree || self.writing.tokens() < self.manner.min_thinking {
            return Ok(None);
        }
        self.note(Measure::Settled, format!("{} probes said {}", last.len(), first.text()));
        Ok(Some(Next::Close(End::Settled)))
    }

    /// How sure the model was of the last tokens.
    pub(super) fn weigh(&mut self) -> Option<Next> {
        let sure = self.writing.sure();
        if let Some(floor) = self.mind.floor()
            && sure.len() >= SEGMENT
            && let Some(confidence) = Confidence::of(&sure)
            && confidence.lowest < floor
        {
            let note = format!("confidence {:.2} is below {floor:.2}", confidence.lowest);
            self.note(Measure::Weak, note);
            return Some(Next::Over(End::Weak));
        }
        let (surprise, window) = NO_SURPRISE;
        if self.manner.stopping.loops && sure.len() >= window {
            let last = &sure[sure.len() - window..];
            let mean = -last.iter().map(|t| t.logprob).sum::<f32>() / window as f32;
            if mean < surprise && self.loops.familiar(window) > 0.9 {
                let note = format!("{mean:.3} nats a token over {window} familiar ones");
                self.note(Measure::Loop, note);
                return Some(Next::Close(End::Loop));
            }
        }
        None
    }
}
