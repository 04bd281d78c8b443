//! `ponder verify`: is this answer right?

use std::io::{BufRead, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::{Subcommand, ValueEnum};
use serde::Deserialize;
use serde_json::{Value, json};
use verify::check::{Check, Tools};
use verify::program::sandbox::Options;
use verify::{Attempt, CannotTell, Verdict};

use crate::judge_arg::JudgeArg;
use crate::model_arg::ModelArg;

/// Exit code where nobody can tell.
const CANNOT_TELL: u8 = 2;

/// Check an answer: 0 it is right, 1 it is wrong, 2 that could not be told.
///
/// Without a kind, JSON lines are read from standard input, each a task and an answer, as in
/// {"check": {"kind": "math", "gold": "1/2"}, "answer": "0.5"}, and one verdict a line is written.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Args {
    #[command(subcommand)]
    kind: Option<Kind>,

    #[command(flatten)]
    how: How,
}

/// How it is judged and told.
#[derive(Debug, Clone, Copy, clap::Args)]
pub struct How {
    /// The verdict as JSON.
    #[arg(long, global = true)]
    json: bool,

    /// Run programs even where this machine can't isolate them as promised.
    #[arg(long, global = true)]
    allow_weaker_sandbox: bool,
}

/// The answer: given, or read from a file or from standard input.
#[derive(Debug, Clone, clap::Args)]
pub struct Answer {
    /// The answer; standard input if neither this nor a file is given.
    #[arg(short, long, value_name = "TEXT", allow_hyphen_values = true, conflicts_with = "file")]
    answer: Option<String>,

    /// A file with the answer.
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,
}

impl Answer {
    fn read(&self) -> Result<String> {
        match (&self.answer, &self.file) {
            (Some(text), _) => Ok(text.clone()),
            (None, Some(path)) => std::fs::read_to_string(path)
                .with_context(|| format!("cannot read {}", path.display())),
            (None, None) => Ok(std::io::read_to_string(std::io::stdin())?),
        }
    }
}

/// A programming language.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Language {
    /// As `python3` runs it.
    Python,
    /// As `node` runs it.
    Javascript,
    /// As `rustc` compiles it.
    Rust,
    /// As `sh` runs it.
    Shell,
}

#[derive(Debug, Subcommand)]
enum Kind {
    #[command(flatten)]
    Check(Checked),
    /// How good does a reward model find it?
    Reward {
        /// The question that it answers.
        #[arg(short, long, value_name = "TEXT")]
        question: String,
        /// The least reward of an answer that counts as right.
        #[arg(long, value_name = "REWARD", default_value_t = 0.0, allow_hyphen_values = true)]
        at_least: f32,
        /// A reward model: an adapter made by `ponder train` with [reward_model].
        #[arg(long, value_name = "PATH")]
        judge: PathBuf,
        #[command(flatten)]
        model: ModelArg,
        #[command(flatten)]
        answer: Answer,
    },
}

/// What a [`Check`] decides.
#[derive(Debug, Subcommand)]
enum Checked {
    /// Is it equal to a number, formula, set or interval?
    Math {
        /// The right answer.
        #[arg(short, long, value_name = "TEXT", allow_hyphen_values = true)]
        gold: String,
        #[command(flatten)]
        answer: Answer,
    },
    /// Is it this text?
    Exact {
        /// The right text.
        #[arg(short, long, value_name = "TEXT", allow_hyphen_values = true)]
        gold: String,
        #[command(flatten)]
        answer: Answer,
    },
    /// Does it match a regular expression?
    Regex {
        /// The expression.
        #[arg(short, long, value_name = "REGEX", allow_hyphen_values = true)]
        pattern: String,
        #[command(flatten)]
        answer: Answer,
    },
    /// Is it the letter of the right option?
    Choice {
        /// The right letter.
        #[arg(short, long, value_name = "LETTER")]
        gold: String,
        /// How many options there are.
        #[arg(long, value_name = "N", default_value_t = 4)]
        options: usize,
        #[command(flatten)]
        answer: Answer,
    },
    /// Is it JSON of a schema?
    Schema {
        /// A file with the JSON schema.
        #[arg(short, long, value_name = "FILE")]
        schema: PathBuf,
        #[command(flatten)]
        answer: Answer,
    },
    /// Does it follow IFEval's instructions?
    Ifeval {
        /// A file with one row of the data set: instruction_id_list, kwargs and prompt.
        #[arg(short, long, value_name = "FILE")]
        task: PathBuf,
        #[command(flatten)]
        answer: Answer,
    },
    /// Does the program turn inputs into outputs?
    Code {
        /// The program's language.
        #[arg(short, long, default_value = "python")]
        language: Language,
        /// A file with what it reads from standard input.
        #[arg(long, value_name = "FILE")]
        stdin: Option<PathBuf>,
        /// A file with what it must write.
        #[arg(short, long, value_name = "FILE")]
        expected: PathBuf,
        #[command(flatten)]
        answer: Answer,
    },
    /// Any check, as JSON; see docs/verify.md.
    Check {
        /// The check, as in {"kind": "sudoku", "grid": "…"}.
        #[arg(short, long, value_name = "JSON")]
        check: String,
        #[command(flatten)]
        answer: Answer,
    },
}

/// A line of a batch.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    check: Value,
    answer: String,
    #[serde(default)]
    question: String,
    #[serde(default)]
    reasoning: String,
    #[serde(default)]
    id: Value,
}

/// Judges one answer, or a batch.
pub fn run(args: Args) -> Result<ExitCode> {
    let options = Options { allow_weaker: args.how.allow_weaker_sandbox, ..Options::default() };
    let tools = Tools::new(options);
    let Some(kind) = args.kind else { return batch(&tools) };
    let judged = match kind {
        Kind::Reward { question, at_least, judge, model, answer } => {
            let model = JudgeArg { judge: Some(judge), judge_model: model.model.clone() }
                .open(None, &model)?;
            let answer = answer.read()?;
            let attempt = Attempt { question: &question, answer: &answer, reasoning: "" };
            let reward = model.context("no judge was named")?.reward(&attempt)?;
            // Right or wrong: where people put the line.
            let score = f64::from(u8::from(reward >= at_least));
            let why = format!("its reward is {reward:.3}, and {at_least} was wanted");
            Ok(Verdict::new(score, Some(format!("{reward:.3}")), why))
        }
        Kind::Check(kind) => {
            let (check, answer) = kind.check()?;
            judge(&tools, &check, &Attempt::of(&answer.read()?))
        }
    };
    let mut out = std::io::stdout().lock();
    if args.how.json {
        writeln!(out, "{}", told(&judged))?;
    } else {
        match &judged {
            Ok(verdict) => {
                let word = if verdict.is_right() { "right" } else { "wrong" };
                match verdict.score {
                    0.0 | 1.0 => writeln!(out, "{word}: {}", verdict.why)?,
                    score => writeln!(out, "{word} ({score:.2}): {}", verdict.why)?,
                }
            }
            Err(error) => {
                writeln!(out, "cannot tell: {error}")?;
                let sandbox =
                    matches!(error, CannotTell::Machine { what, .. } if what == "the sandbox");
                if sandbox && !args.how.allow_weaker_sandbox {
                    writeln!(
                        out,
                        "hint: --allow-weaker-sandbox runs it with what isolation there is"
                    )?;
                }
            }
        }
    }
    Ok(match judged {
        Ok(verdict) if verdict.is_right() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(_) => ExitCode::from(CANNOT_TELL),
    })
}

impl Checked {
    fn check(self) -> Result<(Value, Answer)> {
        let file = |path: &PathBuf| {
            std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
        };
        let parsed = |path: &PathBuf| -> Result<Value> {
            serde_json::from_str(&file(path)?)
                .with_context(|| format!("{} is not JSON", path.display()))
        };
        Ok(match self {
            Checked::Math { gold, answer } => (json!({"kind": "math", "gold": gold}), answer),
            Checked::Exact { gold, answer } => (json!({"kind": "exact", "gold": gold}), answer),
            Checked::Regex { pattern, answer } => {
                (json!({"kind": "regex", "pattern": pattern}), answer)
            }
            Checked::Choice { gold, options, answer } => {
                (json!({"kind": "choice", "gold": gold, "count": options}), answer)
            }
            Checked::Schema { schema, answer } => {
                (json!({"kind": "schema", "schema": parsed(&schema)?}), answer)
            }
            Checked::Ifeval { task, answer } => {
                let mut task = parsed(&task)?;
                if !task.is_object() {
                    bail!("a row of the data set is wanted: a JSON object");
                }
                task["kind"] = json!("ifeval");
                (task, answer)
            }
            Checked::Code { language, stdin, expected, answer } => {
                let input = stdin.as_ref().map(file).transpose()?.unwrap_or_default();
                let language = match language {
                    Language::Python => "python",
                    Language::Javascript => "javascript",
                    Language::Rust => "rust",
                    Language::Shell => "shell",
                };
                let case = json!({"input": input, "output": file(&expected)?});
                (json!({"kind": "stdio", "language": language, "cases": [case]}), answer)
            }
            Checked::Check { check, answer } => {
                (serde_json::from_str(&check).context("--check is not JSON")?, answer)
            }
        })
    }
}

fn judge(tools: &Tools, check: &Value, attempt: &Attempt<'_>) -> Result<Verdict, CannotTell> {
    Check::from_json(check)?.verifier(tools)?.verify(attempt)
}

fn told(judged: &Result<Verdict, CannotTell>) -> Value {
    match judged {
        Ok(verdict) => json!(verdict),
        Err(error) => json!({"score": null, "error": error.to_string()}),
    }
}

/// One verdict for each line of standard input.
fn batch(tools: &Tools) -> Result<ExitCode> {
    let mut out = std::io::stdout().lock();
    let mut worst = 0;
    for (i, line) in std::io::stdin().lock().lines().enumerate() {
        let line = line?;
        if line.trim().is_empty() {
            continue;
        }
        let line: Line = serde_json::from_str(&line)
            .with_context(|| format!("standard input, line {}", i + 1))?;
        let attempt =
            Attempt { question: &line.question, reasoning: &line.reasoning, answer: &line.answer };
        let judged = judge(tools, &line.check, &attempt);
        worst = worst.max(match &judged {
            Ok(verdict) if verdict.is_right() => 0,
            Ok(_) => 1,
            Err(_) => CANNOT_TELL,
        });
        let mut told = told(&judged);
        if !line.id.is_null() {
            told["id"] = line.id;
        }
        writeln!(out, "{told}")?;
        out.flush()?;
    }
    Ok(ExitCode::from(worst))
}
