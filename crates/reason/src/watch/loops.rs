//! Does a text go in circles, while it is being written?
//!
//! The text is cut into units about the size of tokens, and every run of eight is looked up among
//! those before it. Where it was seen before, the text may have a period; whether it has is checked
//! unit by unit. Three things are loops:
//!
//! - *the same again*: the text repeats itself exactly, twice over for short passages, once and a half
//!   for long ones;
//! - *the same but for its numbers*: `Step 41: … Step 42: …`, for much longer;
//! - *nothing new*: nearly all of a long stretch has been said at least twice before, in whatever order.
//!
//! Each unit takes constant time, so that a thought of any length can be watched.

use std::collections::HashMap;

use super::units::{Cutter, Unit};

/// Units in a run that is looked up.
const RUN: usize = 8;
/// Longest period that is seen.
const LONGEST_PERIOD: usize = 400;
/// A text that repeats itself but for its numbers has to do so for so many units: lists and tables
/// do for less.
const SHAPE: usize = 320;
/// A stretch without anything new is this long …
const STRETCH: usize = 300;
/// … and so many of it were said twice before.
const STALE: usize = 285;

/// For how many units a text must have repeated itself with a period.
fn enough(period: usize) -> usize {
    match period {
        // `0, 0, 0, 0` may be a row of a table.
        0..=4 => 120,
        5..=100 => (2 * period).max(64),
        _ => 3 * period / 2,
    }
}

/// What kind of loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The same again.
    Same,
    /// The same but for its numbers.
    Counting,
    /// Nothing new.
    Stale,
}

/// A loop that has been found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loop {
    /// What kind.
    pub kind: Kind,
    /// Where the repetition begins: what is before it was said once. In bytes of the text.
    pub start: usize,
    /// Units that come again and again; 0 where it is not one passage.
    pub period: usize,
    /// For how many units that has been so.
    pub run: usize,
}

/// One of the two ways in which units are compared.
#[derive(Clone, Debug, Default)]
struct Track {
    /// The last place where a run ended, and how often it was seen.
    seen: HashMap<u64, (usize, u32)>,
    period: usize,
    /// For how many units back the text agrees with itself, shifted by the period.
    run: usize,
}

impl Track {
    /// Looks at the last of `units`, and says how often its run was seen before.
    fn step(&mut self, units: &[Unit], of: impl Fn(&Unit) -> u64) -> u32 {
        let last = units.len() - 1;
        if self.period > 0 && of(&units[last]) == of(&units[last - self.period]) {
            self.run += 1;
        } else {
            (self.period, self.run) = (0, 0);
        }
        if units.len() < RUN {
            return 0;
        }
        let key = units[units.len() - RUN..].iter().fold(0u64, |key, unit| {
            (key.rotate_left(7) ^ of(unit)).wrapping_mul(0x9e37_79b9_7f4a_7c15)
        });
        let before = self.seen.get(&key).copied();
        let (at, times) = before.unwrap_or((last, 0));
        self.seen.insert(key, (last, times + 1));
        if let Some(period) = Some(last - at).filter(|p| (1..=LONGEST_PERIOD).contains(p))
            && period != self.period
        {
            let run = (period..=last)
                .rev()
                .take_while(|&i| of(&units[i]) == of(&units[i - period]))
                .take(LONGEST_PERIOD * 2)
                .count();
            if run > self.run {
                (self.period, self.run) = (period, run);
            }
        }
        times
    }
}

/// Watches one text.
#[derive(Clone, Debug, Default)]
pub struct Loops {
    cutter: Cutter,
    units: Vec<Unit>,
    exact: Track,
    shape: Track,
    /// Whether each of the last units was said twice before, and once.
    stale: Vec<(bool, bool)>,
    twice: usize,
}

impl Loops {
    /// Takes more of the text; the first loop in it, if there is one.
    pub fn push(&mut self, text: &str) -> Option<Loop> {
        let mut fresh = Vec::new();
        self.cutter.push(text, |unit| fresh.push(unit));
        let mut found = None;
        for unit in fresh {
            self.units.push(unit);
            let one = self.step();
            found = found.or(one);
        }
        found
    }

    fn step(&mut self) -> Option<Loop> {
        let times = self.exact.step(&self.units, |unit| unit.hash);
        self.shape.step(&self.units, |unit| unit.shape);
        self.stale.push((times >= 2, times >= 1));
        self.twice += usize::from(times >= 2);
        if let Some(old) = self.stale.len().checked_sub(STRETCH + 1) {
            self.twice -= usize::from(self.stale[old].0);
        }
        let (exact, shape) = (&self.exact, &self.shape);
        if exact.period > 0 && exact.run >= enough(exact.period) {
            return Some(self.found(Kind::Same, exact.period, exact.run));
        }
        if shape.period > 0 && shape.run >= SHAPE.max(3 * shape.period) {
            return Some(self.found(Kind::Counting, shape.period, shape.run));
        }
        (self.twice >= STALE).then(|| self.found(Kind::Stale, 0, STRETCH))
    }

    fn found(&self, kind: Kind, period: usize, run: usize) -> Loop {
        let start = self.units[self.units.len() - run.min(self.units.len())].start;
        Loop { kind, start, period, run }
    }

    /// Of the last `n` units, the share that ends a run of words said before.
    pub fn familiar(&self, n: usize) -> f64 {
        let last = &self.stale[self.stale.len().saturating_sub(n)..];
        let known = last.iter().filter(|(_, once)| *once).count();
        if last.is_empty() { 0.0 } else { known as f64 / last.len() as f64 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The loop, and after how many bytes it was seen.
    fn watch(text: &str) -> Option<(Loop, usize)> {
        let mut loops = Loops::default();
        let mut at = 0;
        for piece in text.split_inclusive(' ') {
            at += piece.len();
            if let Some(found) = loops.push(piece) {
                return Some((found, at));
            }
        }
        None
    }

    #[test]
    fn the_same_sentence_again_and_again() {
        let head = "So we add four and five, which is nine. ";
        let again = "Wait, let me check that once more, because it may be wrong. ";
        let (found, at) = watch(&(head.to_owned() + &again.repeat(40))).unwrap();
        assert_eq!((found.kind, found.period), (Kind::Same, 15));
        // Cut there, and the sentence has been said once; its full stop may be the head's.
        let once = head.len() + again.len();
        assert!((once - 2..=once).contains(&found.start), "{}", found.start);
        assert!(at < head.len() + 7 * again.len(), "{at}");
    }

    #[test]
    fn counting_on_is_a_loop_only_when_it_never_ends() {
        let steps = |n: usize| -> String {
            (0..n).map(|i| format!("Step {i}: add {} to the sum, as before. ", i * 7)).collect()
        };
        assert_eq!(watch(&steps(15)), None);
        assert_eq!(watch(&steps(80)).unwrap().0.kind, Kind::Counting);
    }

    #[test]
    fn the_same_thoughts_in_another_order() {
        let thoughts = [
            "Maybe the train leaves later than I thought at first. ",
            "But what if the second equation was the wrong one to use here? ",
            "Let me go back and read the question from the start again. ",
            "Alternatively the answer could be found by listing all cases. ",
            "Hmm, that does not look right to me, so something is missing. ",
        ];
        let order = [0, 1, 2, 3, 4, 2, 0, 3, 1, 4, 4, 1, 0, 2, 3, 1, 3, 4, 0, 2];
        let text: String = (0..6).flat_map(|_| order).map(|i| thoughts[i]).collect();
        assert!(watch(&text).is_some());
    }

    #[test]
    fn saying_a_long_thing_twice_is_no_loop() {
        let words = ["cost", "price", "tax", "total", "rest", "share", "sum", "part"];
        let signs = ["+", "-", "*", "/", "%"];
        let word = |i: usize| words[i * i % 61 % words.len()];
        let program: String = (0..40)
            .map(|i| match i * i % 7 {
                0 | 1 => format!("{} = {}\n", word(i), i * 3),
                2 => format!("if {} > {}:\n    print({})\n", word(i), i, word(i + 3)),
                _ => format!("{} = {} {} {i}\n", word(i + 1), word(i + 5), signs[i * i % 11 % 5]),
            })
            .collect();
        assert_eq!(watch(&format!("Here it is:\n{program}\nOnce more:\n{program}\nDone. ")), None);
        assert_eq!(watch("| 0 | 0 | 0 | 0 | 0 | 0 |\n|---|---|---|---|---|---|\n"), None);
    }

    #[test]
    fn a_hundred_thousand_words_take_no_time() {
        let text: String = (0..100_000u64).map(|i| format!("{} ", i * i % 9973)).collect();
        let started = std::time::Instant::now();
        watch(&text);
        let mut loops = Loops::default();
        (0..100_000).for_each(|_| {
            loops.push("a b ");
        });
        assert!(started.elapsed().as_secs_f64() < 10.0);
    }

    proptest! {
        #[test]
        fn every_exact_loop_is_seen_soon(
            head in "[a-z ]{0,200}",
            unit in proptest::collection::vec("[a-z]{1,6}", 5..120),
        ) {
            let unit = unit.join(" ") + " ";
            let text = format!("{head}. {}", unit.repeat(60));
            let (found, at) = watch(&text).unwrap();
            prop_assert!(found.start <= at);
            let copies = (at - head.len()) as f64 / unit.len() as f64;
            let words = unit.split(' ').count() as f64 - 1.0;
            // The first copy, as much again as is enough, and a run to notice it.
            let limit = 1.0 + enough(words as usize) as f64 / words + (RUN + 2) as f64 / words;
            prop_assert!(copies <= limit + 1.0, "{copies} copies of {words} words, {limit}");
        }
    }
}
