//! `ponder reason`: spend more compute on one hard question.

mod show;
pub mod tune;

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Subcommand;
use engine::Engine;
use engine::sampler::{Sampling, random_seed};
use reason::answer::Kind;
use reason::strategy::Spec;
use reason::thought::Manner;
use reason::{Completer, INSTRUCTION, Mind, Problem, Prompt, Receipt};
use text::template::Message;
use verify::Verifier;
use verify::check::{Check, Tools};
use verify::program::sandbox::Options;

use super::run::question;
use crate::endpoint_arg::{self, EndpointArg};
use crate::engine_arg::EngineArg;
use crate::judge_arg::JudgeArg;
use crate::model_arg::ModelArg;
use crate::reason_arg::{ReasonArgs, duration};
use crate::sampling_arg::SamplingArgs;
use crate::terminal::keyboard::{INTERRUPTED, Interrupt};

/// Spend more compute on one hard question: budgets, many parallel thoughts, votes, programs.
///
/// The answer goes to standard output, how it was reached and what it cost to standard error. Ctrl-C
/// ends it with what there is.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Args {
    #[command(subcommand)]
    other: Option<Other>,

    #[command(flatten)]
    ask: Ask,
}

/// The question, and how it is reasoned about.
#[derive(Debug, clap::Args)]
struct Ask {
    /// The question; with -f or on standard input as well.
    #[arg(value_name = "QUESTION")]
    words: Vec<String>,

    #[command(flatten)]
    model: ModelArg,

    /// A file with the question, or with what it is about.
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,

    /// The system prompt; "" for an empty one instead of the one many templates bring along.
    #[arg(long, value_name = "TEXT")]
    system: Option<String>,

    /// Said behind the question, about the form of the answer; "" for nothing.
    #[arg(long, value_name = "TEXT", default_value = INSTRUCTION)]
    instruction: String,

    /// The answer is wanted within this time, as in 30s: thinking is closed in time for it.
    #[arg(long, value_name = "TIME", value_parser = duration)]
    deadline: Option<Duration>,

    /// What judges answers, as JSON: {"kind": "external", "command": ["./check"]} (see `ponder verify`).
    #[arg(long, value_name = "JSON", conflicts_with = "judge")]
    check: Option<String>,

    /// Answers are compared as whole texts, not by the final answer in them.
    #[arg(long)]
    whole: bool,

    /// One JSON object: the answer, its receipt and all thoughts.
    #[arg(long)]
    json: bool,

    /// Show every thought, not only the one that was chosen.
    #[arg(long, conflicts_with = "json")]
    show_thoughts: bool,

    #[command(flatten)]
    judge: JudgeArg,

    #[command(flatten)]
    reasoning: ReasonArgs,

    #[command(flatten)]
    sampling: SamplingArgs,

    #[command(flatten)]
    endpoint: EndpointArg,

    #[command(flatten)]
    engine: EngineArg,

    /// Tokens of context; what the model was made for if not given.
    #[arg(long, value_name = "N")]
    ctx: Option<usize>,

    /// Run programs even where this machine can't isolate them as promised.
    #[arg(long)]
    allow_weaker_sandbox: bool,
}

/// What else there is.
#[derive(Debug, Subcommand)]
enum Other {
    /// Learn from a run of `ponder eval -k 16` how many thoughts a model's questions are worth.
    Tune(tune::Args),
}

/// Reasons, or learns how to.
pub fn run(args: Args) -> Result<ExitCode> {
    match args.other {
        Some(Other::Tune(args)) => tune::run(&args),
        None => ask(args.ask),
    }
}

fn ask(args: Ask) -> Result<ExitCode> {
    args.sampling.over(Sampling::default(), None)?;
    // Who reasons has to repeat numbers; going in circles is seen to otherwise.
    let unpunished = reason::Sampling { repetition_penalty: Some(1.0), ..Default::default() };
    let sampling = args.sampling.common().or(&unpunished);
    let (mut spec, manner) = args.reasoning.settings(sampling)?;
    let check = match &args.check {
        Some(json) => {
            let value = serde_json::from_str(json).context("--check is no JSON")?;
            Some(Check::from_json(&value)?)
        }
        None => None,
    };
    let mut stdin = std::io::stdin();
    let piped = !stdin.is_terminal();
    let question = question::question(
        &args.words,
        args.file.as_deref(),
        piped.then_some(&mut stdin as &mut dyn std::io::Read),
    )?;
    let Some(question) = question else {
        bail!("there is no question\nhint: ponder reason \"your question\", or -f FILE");
    };
    let tools =
        Tools::new(Options { allow_weaker: args.allow_weaker_sandbox, ..Options::default() });
    let sandbox = match spec {
        Spec::Program(_) => Some(tools.sandbox()?),
        _ => None,
    };
    let check: Option<Box<dyn Verifier>> = check.map(|check| check.verifier(&tools)).transpose()?;
    let interrupt = Interrupt::install(3)?;
    let Asked { completer, engine } = asked(&args, &spec, &manner)?;
    let judge = args.judge.open(engine.as_ref(), &args.model)?;
    let judge = judge.as_ref().map(|judge| judge as &dyn Verifier);
    tune::recall(&mut spec, completer.name());
    let problem = problem(&args, &question, check.as_deref().or(judge));
    let seed = args.sampling.seed.unwrap_or_else(|| random_seed() & 0x7fff_ffff);
    let show = show::Show::new(&args.show_for(), spec.strategy().name());
    let cancelled = || interrupt.pressed();
    let tell = |event| show.event(event);
    let mut mind = Mind::new(&*completer, problem, manner, &cancelled, &tell);
    mind.sandbox = sandbox.as_deref();
    mind.seed = seed;
    mind.deadline = args.deadline.map(|time| Instant::now() + time);
    let receipt = reason::reason(spec.strategy(), &mind)?;
    show.finish();
    print(&args, &receipt)?;
    Ok(match (receipt.cancelled, receipt.content.is_empty()) {
        (true, _) => ExitCode::from(INTERRUPTED),
        (_, true) => ExitCode::FAILURE,
        _ => ExitCode::SUCCESS,
    })
}

impl Ask {
    fn show_for(&self) -> show::For {
        match (self.json, std::io::stderr().is_terminal()) {
            (_, false) => show::For::Nobody,
            (true, true) => show::For::OneLine,
            (false, true) => show::For::People,
        }
    }
}

fn problem<'a>(args: &Ask, question: &str, verifier: Option<&'a dyn Verifier>) -> Problem<'a> {
    let instruction = args.instruction.trim();
    let asked = match instruction {
        "" => question.to_owned(),
        said => format!("{question}\n\n{said}"),
    };
    let mut messages = Vec::new();
    if let Some(system) = &args.system {
        messages.push(Message::new("system", system.as_str()));
    }
    messages.push(Message::new("user", asked));
    Problem {
        prompt: Prompt::Chat(messages),
        question: question.to_owned(),
        instruction: (!instruction.is_empty()).then(|| instruction.to_owned()),
        kind: if args.whole { Kind::Whole } else { Kind::Final },
        verifier,
    }
}

/// Who is asked: a model in this process, or endpoints.
struct Asked {
    completer: Box<dyn Completer>,
    /// The engine in this process.
    engine: Option<Arc<Engine>>,
}

fn asked(args: &Ask, spec: &Spec, manner: &Manner) -> Result<Asked> {
    if let Some(pool) = args.endpoint.connect(args.model.model.as_deref())? {
        endpoint_arg::sent(&args.sampling)?;
        return Ok(Asked { completer: Box::new(pool), engine: None });
    }
    let model = args.model.resolve()?;
    // The question is there once; each thought has a share of what the budget may take.
    let room = manner.max_thinking.unwrap_or(4096) + manner.max_answer + 256;
    let width = spec.width().max(1);
    let local = args.engine.start(&model, args.ctx, &args.sampling, width, room)?;
    let engine = Arc::clone(local.runtime().engine());
    Ok(Asked { completer: Box::new(local), engine: Some(engine) })
}

fn print(args: &Ask, receipt: &Receipt) -> Result<()> {
    let mut out = std::io::stdout().lock();
    if args.json {
        writeln!(out, "{}", serde_json::to_string(receipt)?)?;
        return Ok(());
    }
    if args.show_thoughts {
        for thought in &receipt.thoughts {
            writeln!(out, "── thought {} ──", thought.number + 1)?;
            if !thought.reasoning.is_empty() {
                writeln!(out, "{}\n──", thought.reasoning.trim())?;
            }
            writeln!(out, "{}\n", thought.content.trim())?;
        }
        writeln!(out, "── answer ──")?;
    }
    writeln!(out, "{}", receipt.content.trim())?;
    out.flush()?;
    eprint!("{}", show::account(receipt));
    Ok(())
}
