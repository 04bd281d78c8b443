//! Unlimited checkable tasks, made from a seed.
//!
//! [`generate`] is a pure function of kind, seed and difficulty: the same on every machine and in
//! every version (`tests/tasks.rs` holds goldens; to change what a kind makes, add a kind). Its only
//! source of chance is [`random`], and no floating-point arithmetic is involved.
//!
//! A tenth of all tasks is reserved for measuring. A task belongs to it or not by a hash of its
//! content, whatever seed or difficulty it came from, so that training on [`Split::Train`] never
//! sees a task of [`Split::Measure`].

mod arithmetic;
mod calendar;
mod logic;
mod numbers;
mod paths;
mod programs;
pub mod random;
mod strings;
mod words;

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use self::random::{Random, hash};
use crate::CannotTell;
use crate::check::Check;
use crate::pattern::exact;

/// The hardest difficulty; the easiest is 1.
pub const HARDEST: u32 = 10;
/// How many of a hundred tasks are for measuring.
pub const MEASURE_PERCENT: u64 = 10;

/// A kind of task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A sum of several steps with parentheses.
    Arithmetic,
    /// Reach a number with the given ones.
    Countdown,
    /// One linear equation, or two.
    Equations,
    /// A short story with numbers in it.
    WordProblems,
    /// A number from one base to another.
    Bases,
    /// Days of the week, days between dates, dates after so many days.
    Calendar,
    /// Letters reversed, sorted, left out, shifted.
    Strings,
    /// Knights who speak the truth and knaves who lie.
    Knights,
    /// The shortest way through a graph.
    Paths,
    /// What a small Python program prints.
    Programs,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 10] = [
        Self::Arithmetic,
        Self::Countdown,
        Self::Equations,
        Self::WordProblems,
        Self::Bases,
        Self::Calendar,
        Self::Strings,
        Self::Knights,
        Self::Paths,
        Self::Programs,
    ];

    /// Its name, as in a task's id.
    pub fn name(self) -> &'static str {
        match self {
            Self::Arithmetic => "arithmetic",
            Self::Countdown => "countdown",
            Self::Equations => "equations",
            Self::WordProblems => "word-problems",
            Self::Bases => "bases",
            Self::Calendar => "calendar",
            Self::Strings => "strings",
            Self::Knights => "knights",
            Self::Paths => "paths",
            Self::Programs => "programs",
        }
    }
}

impl FromStr for Kind {
    type Err = CannotTell;

    fn from_str(name: &str) -> Result<Self, CannotTell> {
        Self::ALL.into_iter().find(|kind| kind.name() == name).ok_or_else(|| {
            let names: Vec<&str> = Self::ALL.into_iter().map(Self::name).collect();
            let why = format!("no kind is called `{name}`; there are {}", names.join(", "));
            CannotTell::Task { field: "kind", why }
        })
    }
}

/// What a task is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Split {
    /// To be trained on.
    Train,
    /// To be measured with, and never trained on.
    Measure,
}

impl Split {
    fn of(content: u64) -> Self {
        if content % 100 < MEASURE_PERCENT { Self::Measure } else { Self::Train }
    }
}

/// A task with its answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Task {
    /// The kind's name and a hash of the content: the same for the same task.
    pub id: String,
    /// Its kind.
    pub kind: Kind,
    /// What it is for.
    pub split: Split,
    /// The question as it is put to a model.
    pub question: String,
    /// A right answer.
    pub gold: String,
    /// How answers are judged.
    pub check: Check,
}

/// What a kind's own function makes.
struct Draft {
    question: String,
    gold: String,
    check: Check,
    /// What makes two tasks the same, where that is not the question's wording.
    content: Option<String>,
}

impl Draft {
    fn number(question: String, gold: i64) -> Self {
        let gold = gold.to_string();
        Self { question, check: Check::Math { gold: gold.clone().into() }, gold, content: None }
    }

    fn text(question: String, gold: String) -> Self {
        let normalise = exact::Normalise::default();
        Self::exact(question, gold, normalise)
    }

    fn exact(question: String, gold: String, normalise: exact::Normalise) -> Self {
        let gold_text = exact::Texts::One(gold.clone());
        let check = Check::Exact(exact::Task { gold: gold_text, normalise, whole: false });
        Self { question, gold, check, content: None }
    }
}

/// The task of this kind, seed and difficulty, which is brought into `1..=HARDEST`.
pub fn generate(kind: Kind, seed: u64, difficulty: u32) -> Task {
    let difficulty = difficulty.clamp(1, HARDEST);
    let mut random = Random::new(&[hash(kind.name()), seed, difficulty.into()]);
    let draft = match kind {
        Kind::Arithmetic => arithmetic::chain(&mut random, difficulty),
        Kind::Countdown => numbers::countdown(&mut random, difficulty),
        Kind::Equations => numbers::equations(&mut random, difficulty),
        Kind::WordProblems => words::problem(&mut random, difficulty),
        Kind::Bases => numbers::bases(&mut random, difficulty),
        Kind::Calendar => calendar::question(&mut random, difficulty),
        Kind::Strings => strings::steps(&mut random, difficulty),
        Kind::Knights => logic::knights(&mut random, difficulty),
        Kind::Paths => paths::shortest(&mut random, difficulty),
        Kind::Programs => programs::output(&mut random, difficulty),
    };
    let content = hash(draft.content.as_ref().unwrap_or(&draft.question));
    Task {
        id: format!("{}-{content:016x}", kind.name()),
        kind,
        split: Split::of(content),
        question: draft.question,
        gold: draft.gold,
        check: draft.check,
    }
}

/// Endless tasks of one kind and split. At low difficulties one may come again.
#[derive(Clone, Debug)]
pub struct Stream {
    kind: Kind,
    split: Split,
    seed: u64,
    difficulty: u32,
    next: u64,
}

/// Endless tasks of this kind, split and difficulty.
pub fn stream(kind: Kind, split: Split, seed: u64, difficulty: u32) -> Stream {
    Stream { kind, split, seed, difficulty, next: 0 }
}

impl Iterator for Stream {
    type Item = Task;

    fn next(&mut self) -> Option<Task> {
        loop {
            let seed = Random::new(&[self.seed, self.next]).next();
            self.next = self.next.wrapping_add(1);
            let task = generate(self.kind, seed, self.difficulty);
            if task.split == self.split {
                return Some(task);
            }
        }
    }
}
