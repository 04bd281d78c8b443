//! What the recipes share: arguments, items as JSON lines, and the loop of a checker.
//!
//! A [`Recipe`] makes items from chance and judges answers; [`main`] gives it the verbs `data` and
//! `check`. A checker believes nothing of a line: what is wrong with one is written as an error that
//! names the field, and the next line is read.
#![forbid(unsafe_code)]

pub mod answer;
mod checker;
pub mod clock;

use std::fmt::Display;
use std::io::{self, Write};
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use verify::Verdict;
use verify::tasks::random::{Random, hash};

pub use checker::check;

/// The hardest items; the easiest are 1.
pub const HARDEST: u32 = 5;

/// A question with its answer, before it has an id.
#[derive(Clone, Debug, PartialEq)]
pub struct Draft<T> {
    /// What the model is asked.
    pub question: String,
    /// What the checker is told.
    pub task: T,
    /// A right answer, whole.
    pub gold: String,
}

/// A field of a task that can't be used, and why.
#[derive(Clone, Debug, PartialEq)]
pub struct Unusable {
    /// Its name within the task.
    pub field: String,
    /// What is wrong with it.
    pub why: String,
}

impl Unusable {
    /// This field, for this reason.
    pub fn new(field: impl Into<String>, why: impl Into<String>) -> Self {
        Self { field: field.into(), why: why.into() }
    }
}

/// One trade's questions, and what is right.
pub trait Recipe {
    /// Its name, as in its items' ids.
    const NAME: &'static str;
    /// What it is about, in a sentence.
    const ABOUT: &'static str;
    /// What the checker is told of an item.
    type Task: Serialize + DeserializeOwned;

    /// An item of this difficulty, from 1 to [`HARDEST`].
    fn make(random: &mut Random, difficulty: u32) -> Draft<Self::Task>;

    /// How right an answer is.
    ///
    /// # Errors
    /// [`Unusable`] if the task is at fault; an answer never is.
    fn judge(task: &Self::Task, answer: &str) -> Result<Verdict, Unusable>;
}

#[derive(Parser)]
#[command(max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Print items as JSON lines: id, difficulty, question, task, gold.
    Data {
        /// Another seed gives other items; the same seed the same.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// How many. Their difficulty goes from 1 to 5 and round again.
        #[arg(long, default_value_t = 20)]
        count: u64,
    },
    /// Judge answers: a JSON line in, a verdict out, as the check `external` wants it.
    Check,
}

/// The program of a recipe.
pub fn main<R: Recipe>() -> ExitCode {
    let command = Arguments::command().name(R::NAME).about(R::ABOUT);
    let arguments = match Arguments::from_arg_matches(&command.get_matches()) {
        Ok(arguments) => arguments,
        Err(error) => error.exit(),
    };
    let mut output = io::stdout().lock();
    let outcome = match arguments.verb {
        Verb::Data { seed, count } => data::<R>(seed, count, &mut io::BufWriter::new(output)),
        Verb::Check => check::<R>(io::stdin().lock(), &mut output),
    };
    exit(R::NAME, outcome)
}

/// Writes what the program `name` makes to standard output, a line each, and says what the program ends with.
pub fn write_lines(name: &str, lines: impl IntoIterator<Item = impl Display>) -> ExitCode {
    let mut out = io::BufWriter::new(io::stdout().lock());
    let written =
        lines.into_iter().try_for_each(|line| writeln!(out, "{line}")).and_then(|()| out.flush());
    exit(name, written)
}

/// What the program `name` ends with, its error told; that nobody reads on is none.
pub fn exit(name: &str, outcome: io::Result<()>) -> ExitCode {
    match outcome {
        // Whoever reads has seen enough.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            eprintln!("{name}: {error}");
            ExitCode::FAILURE
        }
        _ => ExitCode::SUCCESS,
    }
}

/// The item of this seed and number: the same on every machine.
pub fn item<R: Recipe>(seed: u64, index: u64) -> (u32, Draft<R::Task>) {
    let difficulty = (index % u64::from(HARDEST)) as u32 + 1;
    let mut random = Random::new(&[hash(R::NAME), seed, index]);
    (difficulty, R::make(&mut random, difficulty))
}

/// Writes items as JSON lines.
///
/// # Errors
/// They can't be written.
pub fn data<R: Recipe>(seed: u64, count: u64, output: &mut impl Write) -> io::Result<()> {
    for index in 0..count {
        let (difficulty, draft) = item::<R>(seed, index);
        let row = json!({
            "id": format!("{}-{seed}-{index}", R::NAME),
            "difficulty": difficulty,
            "question": draft.question,
            "task": draft.task,
            "gold": draft.gold,
        });
        writeln!(output, "{row}")?;
    }
    output.flush()
}
