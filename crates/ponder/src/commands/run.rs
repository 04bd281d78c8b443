//! `ponder run`: one question, or a chat.

pub mod question;
mod speaker;

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail};
use engine::sampler::Sampling;
use engine::{Completion, FinishReason, Flow, Timings, Usage};
use serde::Serialize;

use self::speaker::{Settings, Speaker};
use crate::endpoint_arg::EndpointArg;
use crate::engine_arg::EngineArg;
use crate::keep_arg::KeepArg;
use crate::mcp::{self, McpArg, Toolbox};
use crate::model_arg::ModelArg;
use crate::sampling_arg::SamplingArgs;
use crate::terminal::chat::{Answer, Chat};
use crate::terminal::conversation::{Budget, Conversation, Turn};
use crate::terminal::keyboard::{INTERRUPTED, Interrupt};
use crate::terminal::prompt::Prompt;
use crate::terminal::stream::stream;
use crate::terminal::{Look, Thinking, stats};

/// Ask a model, or chat with it.
///
/// With a question, as words, with -f or on standard input, it is answered; what there is of them
/// is joined. Without one, on a terminal, a chat begins; /help in it shows its commands. Ctrl-C
/// stops the answer.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The question.
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

    /// Leave the thinking on the screen, or write it to the pipe between <think> tags.
    #[arg(long, conflicts_with = "hide_thinking")]
    show_thinking: bool,

    /// Only count the thinking's tokens.
    #[arg(long)]
    hide_thinking: bool,

    /// Think for at most N tokens, then answer; 0 answers at once.
    #[arg(long, value_name = "N")]
    max_thinking: Option<usize>,

    /// Generate at most N tokens, thinking included.
    #[arg(long, value_name = "N")]
    max_tokens: Option<usize>,

    /// End the answer before this text (may be repeated).
    #[arg(long, value_name = "TEXT")]
    stop: Vec<String>,

    /// One JSON object instead of text.
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    sampling: SamplingArgs,

    #[command(flatten)]
    endpoint: EndpointArg,

    #[command(flatten)]
    engine: EngineArg,

    #[command(flatten)]
    keep: KeepArg,

    #[command(flatten)]
    mcp: McpArg,

    /// Tokens of context; what the model was made for if not given.
    #[arg(long, value_name = "N")]
    ctx: Option<usize>,
}

/// What `--json` prints.
#[derive(Serialize)]
struct Report<'a> {
    model: &'a str,
    reasoning: &'a str,
    content: &'a str,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    tool_calls: &'a [String],
    /// Calls that were made before the answer, and what came of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<&'a Turn>,
    finish_reason: FinishReason,
    usage: Usage,
    timings: Timings,
    seed: u64,
}

/// Answers the question, or chats until the person leaves.
pub fn run(args: Args) -> Result<ExitCode> {
    // A mistake in the flags should not show only after a model was fetched.
    args.sampling.over(Sampling::default(), None)?;
    let mut stdin = std::io::stdin();
    let piped = !stdin.is_terminal();
    let question = question::question(
        &args.words,
        args.file.as_deref(),
        piped.then_some(&mut stdin as &mut dyn std::io::Read),
    )?;
    let chatting = question.is_none();
    if chatting && (piped || args.json || !std::io::stdout().is_terminal()) {
        bail!(
            "there is no question, and a chat needs a terminal\n\
             hint: ponder run \"your question\", or -f FILE"
        );
    }
    let thinking = match (args.show_thinking, args.hide_thinking) {
        (true, _) => Thinking::Show,
        (_, true) => Thinking::Hide,
        _ => Thinking::Fold,
    };
    let look = Look::of_stdout(thinking);
    let budget = match args.max_thinking {
        None => Budget::Unlimited,
        Some(0) => Budget::Off,
        Some(n) => Budget::Tokens(n),
    };
    let toolbox = args.mcp.start()?;
    let tools = toolbox.as_ref().map(Toolbox::tools).unwrap_or_default();
    let settings = Settings { max_tokens: args.max_tokens, stop: args.stop, tools };
    let speaker = match args.endpoint.connect(args.model.model.as_deref())? {
        Some(_) if args.keep.is_wanted() => {
            bail!("--kv-cache-file is for a model in this process; an endpoint keeps its own cache")
        }
        Some(pool) => Speaker::elsewhere(pool, &args.sampling, settings)?,
        None => {
            let model = args.model.resolve()?;
            Speaker::here(&model, &args.engine, args.ctx, &args.keep, &args.sampling, settings)?
        }
    };
    let mut conversation = Conversation::new(args.system, budget);
    match question {
        Some(question) => {
            conversation.ask(question);
            if args.json {
                report(speaker, conversation, toolbox)
            } else {
                answer(speaker, conversation, toolbox, look)
            }
        }
        None => chat(speaker, conversation, toolbox, look),
    }
}

/// One answer, as it comes.
fn answer(
    mut speaker: Speaker,
    mut conversation: Conversation,
    mut toolbox: Option<Toolbox>,
    look: Look,
) -> Result<ExitCode> {
    let interrupt = Interrupt::install(2)?;
    let mut out = std::io::stdout().lock();
    let (talk, tools) = (&mut conversation, toolbox.as_mut());
    let completion = mcp::answer(talk, tools, &interrupt, &mut |conversation| {
        stream(&mut out, look, &interrupt, &mut |receive| speaker.answer(conversation, 0, receive))
    });
    drop(out);
    // What was read is worth keeping whatever became of the answer.
    speaker.keep()?;
    let completion = completion?;
    if std::io::stderr().is_terminal() {
        let line = stats::line(&completion.usage, &completion.timings, completion.finish_reason);
        let (dim, reset) = if look.colour { ("\x1b[2m", "\x1b[0m") } else { ("", "") };
        // A figure that cannot be shown is no failure.
        let _ = writeln!(std::io::stderr(), "{dim}{line}{reset}");
    }
    Ok(code(&completion))
}

/// One answer as a JSON object.
fn report(
    mut speaker: Speaker,
    mut conversation: Conversation,
    mut toolbox: Option<Toolbox>,
) -> Result<ExitCode> {
    let interrupt = Interrupt::install(2)?;
    let (talk, tools) = (&mut conversation, toolbox.as_mut());
    let completion = mcp::answer(talk, tools, &interrupt, &mut |conversation| {
        speaker.answer(conversation, 0, &mut |_| {
            if interrupt.pressed() { Flow::Stop } else { Flow::Continue }
        })
    });
    speaker.keep()?;
    let completion = completion?;
    let report = Report {
        model: speaker.name(),
        reasoning: &completion.reasoning,
        content: &completion.content,
        tool_calls: &completion.tool_calls,
        tools: conversation.turns().iter().filter(|turn| turn.is_of_tools()).collect(),
        finish_reason: completion.finish_reason,
        usage: completion.usage,
        timings: completion.timings,
        seed: speaker.seed(),
    };
    writeln!(std::io::stdout(), "{}", serde_json::to_string(&report)?)?;
    Ok(code(&completion))
}

fn chat(
    speaker: Speaker,
    conversation: Conversation,
    toolbox: Option<Toolbox>,
    look: Look,
) -> Result<ExitCode> {
    let interrupt = Interrupt::install(3)?;
    let store = weights::store::Store::from_env()?;
    // A chat without history is better than none: the prompt copes.
    let _ = std::fs::create_dir_all(store.root());
    let mut prompt = Prompt::new(Some(store.root().join("chat-history")))?;
    let chat = Chat::new(std::io::stdout(), look, &interrupt, speaker, conversation);
    let mut chat = chat.with_tools(toolbox);
    chat.run(&mut prompt)?;
    chat.into_answer().keep()?;
    Ok(ExitCode::SUCCESS)
}

fn code(completion: &Completion) -> ExitCode {
    match completion.finish_reason {
        FinishReason::Cancelled => ExitCode::from(INTERRUPTED),
        FinishReason::Stop | FinishReason::Length | FinishReason::Deadline => ExitCode::SUCCESS,
    }
}
