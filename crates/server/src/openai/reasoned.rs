//! `/v1/chat/completions` with `reasoning: {strategy, …}`: more compute for one answer.
//!
//! The answer is an ordinary message; how it came about is in its `reasoning_details`. Streamed,
//! `reasoning_details` first carries events, one a chunk, as the thoughts are had.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use axum::Json;
use axum::response::sse::Event as Sse;
use axum::response::{IntoResponse, Response};
use engine::sampler::random_seed;
use futures_util::stream;
use reason::answer::Kind as AnswerKind;
use reason::strategy::Spec;
use reason::thought::{Manner, Settle, Stopping, Words};
use reason::{Effort, Event, INSTRUCTION, Local, Mind, Problem, Prompt, Receipt};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use text::template::Message;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use verify::Verifier;
use verify::check::{Check, Tools};

use super::chat::Head;
use crate::App;
use crate::answers::{data, events};
use crate::body::Fields;
use crate::chat::{StreamOptions, aside, prepare};
use crate::error::{ApiError, Dialect, Kind};

/// Most thoughts that one request may have.
const MOST: usize = 128;
/// Kept of `max_tokens` for an answer that a thought has to be made to give.
const ANSWER: usize = 96;

#[derive(Debug, Deserialize)]
struct Asked {
    messages: Vec<Message>,
    tools: Option<Value>,
    response_format: Option<Value>,
    n: Option<usize>,
    stream: Option<bool>,
    stream_options: Option<StreamOptions>,
    reasoning: Option<Map<String, Value>>,
}

/// What `reasoning` says beside the strategy's own settings.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Extra {
    n: Option<usize>,
    min_tokens: usize,
    waits: Option<usize>,
    deadline_ms: Option<u64>,
    settle: bool,
    instruction: Option<String>,
    whole: bool,
    check: Option<Value>,
    words: Option<Words>,
}

/// Fields of `reasoning` that are not the strategy's own.
const EXTRA: [&str; 14] = [
    "n",
    "min_tokens",
    "max_tokens",
    "waits",
    "deadline_ms",
    "settle",
    "instruction",
    "whole",
    "check",
    "words",
    "effort",
    "enabled",
    "exclude",
    "summary",
];

/// One such question.
struct Question {
    spec: Spec,
    manner: Manner,
    messages: Vec<Message>,
    sampling: engine::sampler::Sampling,
    seed: u64,
    deadline: Option<Instant>,
    instruction: String,
    kind: AnswerKind,
    check: Option<Check>,
    stream: bool,
    include_usage: bool,
}

/// Whether a request asks for a strategy.
pub(super) fn is_asked_for(fields: &Fields) -> bool {
    let reasoning = &fields.0["reasoning"];
    reasoning["strategy"].is_string() || reasoning["effort"] == "auto"
}

fn wrong(param: &str, message: impl Into<String>) -> ApiError {
    ApiError::param(param, message)
}

/// The strategy that `reasoning` names, with its settings.
fn spec(reasoning: &Map<String, Value>, n: Option<usize>) -> Result<Spec, ApiError> {
    let mut own = reasoning.clone();
    own.retain(|key, _| !EXTRA.contains(&key.as_str()));
    let spec = match reasoning.get("strategy") {
        None => Effort::Auto.spec(),
        Some(name) => {
            let known = name.as_str().is_some_and(|name| Spec::NAMES.contains(&name));
            if !known {
                let message = format!("must be one of {}", Spec::NAMES.join(", "));
                return Err(wrong("reasoning.strategy", message));
            }
            serde_json::from_value(Value::Object(own))
                .map_err(|error| wrong("reasoning", format!("reasoning: {error}")))?
        }
    };
    let spec = match n {
        Some(n) if !(1..=MOST).contains(&n) => {
            return Err(wrong("reasoning.n", format!("must be from 1 to {MOST}")));
        }
        Some(n) => spec.with_n(n).map_err(|error| wrong("reasoning.n", error.to_string()))?,
        None => spec,
    };
    if spec.width() > MOST {
        return Err(wrong("reasoning", format!("more than {MOST} thoughts at a time")));
    }
    Ok(spec)
}

/// A check that runs nothing on this machine: who may ask may not run programs.
fn check(value: &Value) -> Result<Check, ApiError> {
    let check = Check::from_json(value).map_err(|e| wrong("reasoning.check", e.to_string()))?;
    match check {
        Check::External(_) | Check::Function(_) | Check::Asserts(_) | Check::Stdio(_) => {
            Err(wrong(
                "reasoning.check",
                "checks that run programs are not for requests; `ponder reason --check` has them",
            ))
        }
        check => Ok(check),
    }
}

fn read(app: &App, fields: &Fields) -> Result<Question, ApiError> {
    let asked: Asked = fields.read()?;
    for (param, given) in [
        ("tools", asked.tools.is_some_and(|tools| tools.as_array().is_none_or(|t| !t.is_empty()))),
        ("response_format", asked.response_format.is_some_and(|f| f["type"] != "text")),
        ("n", asked.n.is_some_and(|n| n > 1)),
    ] {
        if given {
            return Err(wrong(param, format!("{param} doesn't go with reasoning.strategy")));
        }
    }
    // The same rules as for a plain answer, and the same defaults.
    let mut request = prepare(app, fields)?.request;
    if ["repetition_penalty", "repeat_penalty"].iter().all(|name| fields.0[*name].is_null()) {
        // Who reasons has to repeat numbers; going in circles is seen to otherwise.
        request.sampling.repetition_penalty = 1.0;
    }
    let reasoning = asked.reasoning.unwrap_or_default();
    let extra: Extra = crate::body::read(&Value::Object(reasoning.clone()))?;
    let spec = spec(&reasoning, extra.n)?;
    if matches!(spec, Spec::Program(_)) && app.options.sandbox.is_none() {
        let message = "programs are not run here; start the server with --allow-programs";
        return Err(wrong("reasoning.strategy", message));
    }
    let usual = Manner::default();
    let most = request.max_tokens;
    let budget = most.map(|most| most.saturating_sub(ANSWER));
    let manner = Manner {
        max_thinking: request.max_thinking.into_iter().chain(budget).min(),
        min_thinking: extra.min_tokens,
        waits: extra.waits.unwrap_or(usual.waits).min(64),
        max_answer: most.unwrap_or(usual.max_answer).min(usual.max_answer),
        stopping: Stopping { settle: extra.settle.then(Settle::default), ..Stopping::default() },
        words: extra.words.unwrap_or_default(),
        ..usual
    };
    let deadline =
        extra.deadline_ms.map(|ms| Instant::now() + Duration::from_millis(ms.min(86_400_000)));
    Ok(Question {
        spec,
        manner,
        messages: asked.messages,
        seed: request.sampling.seed.unwrap_or_else(random_seed) & 0x7fff_ffff,
        sampling: request.sampling,
        deadline: deadline.or(request.deadline),
        instruction: extra.instruction.unwrap_or_else(|| INSTRUCTION.to_owned()),
        kind: if extra.whole { AnswerKind::Whole } else { AnswerKind::Final },
        check: extra.check.as_ref().map(check).transpose()?,
        stream: asked.stream.unwrap_or(false),
        include_usage: asked.stream_options.and_then(|o| o.include_usage).unwrap_or(false),
    })
}

impl Question {
    /// The messages, with the instruction behind the last of the user's.
    fn prompt(&self) -> Prompt {
        let mut messages = self.messages.clone();
        let last = messages.iter_mut().rfind(|message| message.role == "user");
        if let Some(last) = last.filter(|_| !self.instruction.is_empty())
            && !last.content.contains("\\boxed")
        {
            last.content = format!("{}\n\n{}", last.content.trim_end(), self.instruction);
        }
        Prompt::Chat(messages)
    }

    /// Reasons, on this thread.
    fn answer(
        &self,
        app: &App,
        gone: &AtomicBool,
        tell: &(dyn Fn(Event) + Sync),
    ) -> Result<Receipt, ApiError> {
        let asked = self.messages.iter().rfind(|message| message.role == "user");
        let tools = Tools::default();
        let verifier: Option<Box<dyn Verifier>> = self
            .check
            .as_ref()
            .map(|check| check.verifier(&tools))
            .transpose()
            .map_err(|error| wrong("reasoning.check", error.to_string()))?;
        let problem = Problem {
            prompt: self.prompt(),
            question: asked.map(|message| message.content.clone()).unwrap_or_default(),
            instruction: (!self.instruction.is_empty()).then(|| self.instruction.clone()),
            kind: self.kind,
            verifier: verifier.as_deref(),
        };
        let slots = self.spec.width().max(1);
        let local = Local::new(app.runtime.clone(), app.name.clone(), slots)
            .with_defaults(self.sampling.clone());
        let cancelled = || gone.load(Ordering::Relaxed) || app.is_closing();
        let mut mind = Mind::new(&local, problem, self.manner.clone(), &cancelled, tell);
        mind.seed = self.seed;
        mind.deadline = self.deadline;
        mind.sandbox = app.options.sandbox.as_deref();
        reason::reason(self.spec.strategy(), &mind).map_err(|error| match error {
            reason::Error::Engine(error) => error.into(),
            reason::Error::Setting(why) => wrong("reasoning", why),
            other => ApiError::new(Kind::Internal, other.to_string()),
        })
    }
}

/// Says that the asker has gone when it is dropped.
struct Asker(Arc<AtomicBool>);

impl Drop for Asker {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn usage(receipt: &Receipt) -> Value {
    let usage = receipt.usage;
    json!({
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.drawn_tokens,
        "total_tokens": usage.prompt_tokens + usage.drawn_tokens,
        "completion_tokens_details": {
            "reasoning_tokens": usage.reasoning_tokens,
            "answer_tokens": usage.answer_tokens,
            "discarded_tokens": usage.discarded_tokens,
        },
    })
}

fn finish_reason(receipt: &Receipt) -> &'static str {
    use reason::thought::End;
    let chosen = receipt.thoughts.iter().find(|t| Some(t.number) == receipt.chosen);
    match chosen.map(|thought| thought.end) {
        Some(End::Length | End::Cancelled) | None => "length",
        Some(_) => "stop",
    }
}

/// Answers.
pub(super) async fn create(app: App, fields: Fields) -> Result<Response, ApiError> {
    let question = {
        let app = app.clone();
        aside(move || read(&app, &fields)).await?
    };
    let head = Head::new(&app, "chatcmpl", "chat.completion");
    let asker = Asker(Arc::default());
    let gone = Arc::clone(&asker.0);
    if question.stream {
        return streamed(app, question, head.chunks(), asker);
    }
    let (tell, told) = tokio::sync::oneshot::channel();
    aside_for_long(&app.clone(), move || {
        let _ = tell.send(question.answer(&app, &gone, &|_| {}));
    })?;
    let receipt = told
        .await
        .map_err(|_| ApiError::new(Kind::Internal, "the thread that reasons has failed"))??;
    drop(asker);
    let mut message = json!({"role": "assistant", "content": receipt.content});
    if !receipt.reasoning.is_empty() {
        message["reasoning_content"] = receipt.reasoning.as_str().into();
        message["reasoning"] = receipt.reasoning.as_str().into();
    }
    message["reasoning_details"] = json!(receipt);
    let mut body = head.value();
    body["choices"] = json!([{
        "index": 0,
        "message": message,
        "finish_reason": finish_reason(&receipt),
        "logprobs": null,
    }]);
    body["usage"] = usage(&receipt);
    Ok(Json(body).into_response())
}

fn chunk(head: &Head, delta: Value, finish: Option<&str>) -> Value {
    let mut chunk = head.value();
    chunk["choices"] =
        json!([{"index": 0, "delta": delta, "finish_reason": finish, "logprobs": null}]);
    chunk
}

/// The last chunks: the answer, its receipt, the end.
fn conclude(head: &Head, receipt: &Receipt, include_usage: bool, send: &UnboundedSender<Sse>) {
    // Whoever doesn't listen any more needs no answer.
    let tell = |value: &Value| drop(send.send(data(value)));
    if !receipt.reasoning.is_empty() {
        let text = &receipt.reasoning;
        tell(&chunk(head, json!({"reasoning_content": text, "reasoning": text}), None));
    }
    tell(&chunk(head, json!({"content": receipt.content}), None));
    let details = json!({"reasoning_details": {"receipt": receipt}});
    tell(&chunk(head, details, Some(finish_reason(receipt))));
    if include_usage {
        let mut last = head.value();
        last["choices"] = json!([]);
        last["usage"] = usage(receipt);
        tell(&last);
    }
    let _ = send.send(Sse::default().data("[DONE]"));
}

/// Runs `f` on a thread of its own: reasoning takes long, and the runtime's threads are few.
fn aside_for_long(app: &App, f: impl FnOnce() + Send + 'static) -> Result<(), ApiError> {
    let permit = Arc::clone(&app.reasoning).try_acquire_owned().map_err(|_| {
        let message = "too many questions are being reasoned about; try again later";
        ApiError::new(Kind::Unavailable, message)
    })?;
    std::thread::Builder::new()
        .name("reason".to_owned())
        .spawn(move || {
            f();
            drop(permit);
        })
        .map(drop)
        .map_err(|error| ApiError::new(Kind::Internal, error.to_string()))
}

fn streamed(app: App, question: Question, head: Head, asker: Asker) -> Result<Response, ApiError> {
    let (send, receive) = unbounded_channel::<Sse>();
    let gone = Arc::clone(&asker.0);
    let first = chunk(&head, json!({"role": "assistant", "content": null}), None);
    let _ = send.send(data(&first));
    aside_for_long(&app.clone(), move || {
        let tell = |event: Event| {
            let event = json!({"reasoning_details": {"event": event}});
            if send.send(data(&chunk(&head, event, None))).is_err() {
                gone.store(true, Ordering::Relaxed);
            }
        };
        match question.answer(&app, &gone, &tell) {
            Ok(receipt) => conclude(&head, &receipt, question.include_usage, &send),
            Err(error) => drop(send.send(data(&error.body(Dialect::OpenAi)))),
        }
    })?;
    // The asker goes when the stream is dropped.
    Ok(events(stream::unfold((receive, asker), |(mut receive, asker)| async move {
        let event = receive.recv().await?;
        Some((event, (receive, asker)))
    })))
}
