//! `/v1/chat/completions`.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::sse::Event as Sse;
use axum::response::{IntoResponse, Response};
use engine::{Completion, Delta, Event, Update};
use serde_json::{Value, json};
use text::splitter::Tags;
use text::tokenizer::Tokenizer;

use super::{logprobs, reasoned, usage};
use crate::App;
use crate::answers::{Answers, Writer, data, stream};
use crate::body::Fields;
use crate::chat::{Chat, aside, prepare};
use crate::error::{ApiError, Dialect};
use crate::params::thinking::ReasoningFormat;
use crate::tools::{self, Calls, Step};

/// Answers a conversation.
pub(crate) async fn create(State(app): State<App>, fields: Fields) -> Result<Response, ApiError> {
    if reasoned::is_asked_for(&fields) {
        return reasoned::create(app, fields).await;
    }
    let Chat { request, stream: streams, include_usage, format } = {
        let app = app.clone();
        aside(move || prepare(&app, &fields)).await?
    };
    let head = Head::new(&app, "chatcmpl", "chat.completion");
    let (n, tags) = (request.n, request.tags.clone());
    let answers = Answers::ask(&app.runtime, request)?;
    if streams {
        let writer = ChatWriter {
            head: head.chunks(),
            tokenizer: Arc::clone(app.engine().tokenizer()),
            format,
            tags,
            include_usage,
            choices: vec![Progress::default(); n],
            finished: Vec::new(),
        };
        return Ok(stream(answers, writer));
    }
    let completions = answers.all().await?;
    let tokenizer = app.engine().tokenizer();
    let choices: Vec<Value> = completions
        .iter()
        .enumerate()
        .map(|(index, completion)| {
            let mut choice = json!({
                "index": index,
                "message": message(completion, format, &tags),
                "finish_reason": usage::finish_reason(completion),
                "logprobs": null,
            });
            if !completion.logprobs.is_empty() {
                let content: Vec<Value> =
                    completion.logprobs.iter().map(|e| logprobs::chat(e, tokenizer)).collect();
                choice["logprobs"] = json!({ "content": content });
            }
            choice
        })
        .collect();
    Ok(Json(head.whole(choices, &completions)).into_response())
}

/// Counts a conversation's tokens without answering it.
pub(crate) async fn count_tokens(
    State(app): State<App>,
    fields: Fields,
) -> Result<Json<Value>, ApiError> {
    aside(move || {
        let tokens = prepare(&app, &fields)?.request.prompt.len();
        Ok(Json(json!({"object": "response.input_tokens", "input_tokens": tokens})))
    })
    .await
}

/// What begins every response.
#[derive(Clone)]
pub(crate) struct Head {
    id: String,
    pub(crate) object: &'static str,
    created: u64,
    model: String,
}

impl Head {
    pub(crate) fn new(app: &App, prefix: &str, object: &'static str) -> Head {
        Head { id: crate::id(prefix), object, created: crate::now(), model: app.name.clone() }
    }

    /// The same, for the pieces of a stream.
    pub(crate) fn chunks(self) -> Head {
        Head { object: "chat.completion.chunk", ..self }
    }

    /// A response that is told at once.
    pub(crate) fn whole(&self, choices: Vec<Value>, completions: &[Completion]) -> Value {
        let mut body = self.value();
        body["choices"] = choices.into();
        body["usage"] = usage::usage(completions);
        if let [completion, ..] = completions {
            body["timings"] = usage::timings(completion);
        }
        body
    }

    pub(crate) fn value(&self) -> Value {
        json!({
            "id": self.id,
            "object": self.object,
            "created": self.created,
            "model": self.model,
            "system_fingerprint": concat!("build-", env!("CARGO_PKG_VERSION"), "-ponder"),
        })
    }
}

/// A finished answer as a message.
pub(crate) fn message(completion: &Completion, format: ReasoningFormat, tags: &Tags) -> Value {
    let (mut content, calls) = tools::split(completion);
    let calls: Vec<Value> = calls.iter().map(tools::call).collect();
    if format == ReasoningFormat::Inline && !completion.reasoning.is_empty() {
        let (open, close) = &tags.thinking;
        content = format!("{open}\n{}\n{close}\n\n{content}", completion.reasoning);
    }
    let mut message = json!({"role": "assistant", "content": content});
    if content.is_empty() && !calls.is_empty() {
        message["content"] = Value::Null;
    }
    if format == ReasoningFormat::Separate && !completion.reasoning.is_empty() {
        message["reasoning_content"] = completion.reasoning.as_str().into();
        message["reasoning"] = completion.reasoning.as_str().into();
    }
    if !calls.is_empty() {
        message["tool_calls"] = calls.into();
    }
    message
}

/// How far the telling of one answer is.
#[derive(Clone, Default)]
struct Progress {
    begun: bool,
    /// Inline thinking has been opened, and not closed.
    thinking: bool,
    /// Log-probabilities of tokens whose text has not been told yet.
    logprobs: Vec<Value>,
    /// Calls that are complete.
    calls: usize,
    /// The one that is being written.
    stream: Calls,
}

struct ChatWriter {
    head: Head,
    tokenizer: Arc<Tokenizer>,
    format: ReasoningFormat,
    tags: Tags,
    include_usage: bool,
    choices: Vec<Progress>,
    finished: Vec<Completion>,
}

impl ChatWriter {
    fn chunk(&mut self, index: usize, mut delta: Value, finish: Option<&str>) -> Value {
        if !std::mem::replace(&mut self.choices[index].begun, true) {
            delta["role"] = "assistant".into();
        }
        let mut choice =
            json!({"index": index, "delta": delta, "finish_reason": finish, "logprobs": null});
        let logprobs = std::mem::take(&mut self.choices[index].logprobs);
        if !logprobs.is_empty() {
            choice["logprobs"] = json!({ "content": logprobs });
        }
        let mut chunk = self.head.value();
        chunk["choices"] = json!([choice]);
        chunk
    }

    fn reasoning(&mut self, index: usize, text: String) -> Option<Value> {
        match self.format {
            ReasoningFormat::Hidden => None,
            ReasoningFormat::Separate => {
                let delta = json!({"reasoning_content": text, "reasoning": text});
                Some(self.chunk(index, delta, None))
            }
            ReasoningFormat::Inline => {
                let opened = std::mem::replace(&mut self.choices[index].thinking, true);
                let open =
                    if opened { String::new() } else { format!("{}\n", self.tags.thinking.0) };
                Some(self.chunk(index, json!({"content": format!("{open}{text}")}), None))
            }
        }
    }

    /// Closes inline thinking, if it is open.
    fn close(&mut self, index: usize) -> Option<Value> {
        if !std::mem::take(&mut self.choices[index].thinking) {
            return None;
        }
        let close = format!("\n{}\n\n", self.tags.thinking.1);
        Some(self.chunk(index, json!({ "content": close }), None))
    }

    fn calls(&mut self, index: usize, steps: Vec<Step>) -> Vec<Value> {
        let mut chunks: Vec<Value> = self.close(index).into_iter().collect();
        for step in steps {
            let number = self.choices[index].calls;
            let delta = match step {
                Step::Begin(name) => json!({"tool_calls": [{
                    "index": number,
                    "id": crate::id("call"),
                    "type": "function",
                    "function": {"name": name, "arguments": ""},
                }]}),
                Step::Arguments(text) => {
                    json!({"tool_calls": [{"index": number, "function": {"arguments": text}}]})
                }
                Step::End => {
                    self.choices[index].calls += 1;
                    continue;
                }
                Step::Text(text) => json!({ "content": text }),
            };
            chunks.push(self.chunk(index, delta, None));
        }
        chunks
    }
}

impl Writer for ChatWriter {
    fn begin(&mut self) -> Vec<Sse> {
        let chunks = (0..self.choices.len())
            .map(|index| data(&self.chunk(index, json!({"content": null}), None)));
        chunks.collect()
    }

    fn write(&mut self, update: Update) -> Vec<Sse> {
        let index = update.choice;
        let chunks: Vec<Value> = match update.event {
            Event::Delta(Delta::Reasoning(text)) => {
                self.reasoning(index, text).into_iter().collect()
            }
            Event::Delta(Delta::Content(text)) => {
                let mut chunks: Vec<Value> = self.close(index).into_iter().collect();
                chunks.push(self.chunk(index, json!({ "content": text }), None));
                chunks
            }
            Event::Delta(Delta::ToolCallText(text)) => {
                let steps = self.choices[index].stream.push(&text);
                self.calls(index, steps)
            }
            Event::Delta(Delta::ToolCall(_)) => {
                let steps = self.choices[index].stream.end();
                self.calls(index, steps)
            }
            // Clients have no word for it: what was sent can't be taken back.
            Event::Delta(
                Delta::Prefill { .. } | Delta::Thought { .. } | Delta::ContentWasReasoning,
            ) => Vec::new(),
            Event::Logprob(entry) => {
                // They go out with the text that their token completes.
                self.choices[index].logprobs.push(logprobs::chat(&entry, &self.tokenizer));
                Vec::new()
            }
            Event::Finished(completion) => {
                let mut chunks: Vec<Value> = self.close(index).into_iter().collect();
                let reason = usage::finish_reason(&completion);
                let mut chunk = self.chunk(index, json!({}), Some(reason));
                chunk["timings"] = usage::timings(&completion);
                chunks.push(chunk);
                self.finished.push(*completion);
                chunks
            }
            Event::Failed(error) => vec![ApiError::from(error).body(Dialect::OpenAi)],
        };
        chunks.iter().map(data).collect()
    }

    fn end(&mut self) -> Vec<Sse> {
        let mut events = Vec::new();
        if self.include_usage {
            let mut chunk = self.head.value();
            chunk["choices"] = json!([]);
            chunk["usage"] = usage::usage(&self.finished);
            if let [completion, ..] = self.finished.as_slice() {
                chunk["timings"] = usage::timings(completion);
            }
            events.push(data(&chunk));
        }
        events.push(Sse::default().data("[DONE]"));
        events
    }
}
