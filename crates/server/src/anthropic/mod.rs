//! Anthropic's API: `/v1/messages` and `/v1/messages/count_tokens`.

mod input;
mod stream;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use engine::{Completion, FinishReason};
use serde_json::{Value, json};

use self::stream::MessageWriter;
use crate::App;
use crate::answers::{self, Answers};
use crate::body::Fields;
use crate::chat::{Chat, aside, prepare};
use crate::error::{ApiError, Dialect};
use crate::params::thinking::ReasoningFormat;
use crate::tools;

/// Answers a conversation.
pub(crate) async fn create(State(app): State<App>, fields: Fields) -> Response {
    answer(app, fields).await.unwrap_or_else(|error| error.response(Dialect::Anthropic))
}

async fn answer(app: App, fields: Fields) -> Result<Response, ApiError> {
    let Chat { request, stream, format, .. } = {
        let app = app.clone();
        aside(move || prepare(&app, &Fields(input::to_chat(&fields, true)?))).await?
    };
    let prompt_tokens = request.prompt.len();
    let answers = Answers::ask(&app.runtime, request)?;
    if stream {
        let writer = MessageWriter::new(app.name.clone(), prompt_tokens, format);
        return Ok(answers::stream(answers, writer));
    }
    let completions = answers.all().await?;
    let completion = completions.into_iter().next().unwrap_or_default();
    Ok(Json(message(&app.name, &completion, format)).into_response())
}

fn message(model: &str, completion: &Completion, format: ReasoningFormat) -> Value {
    let mut content = Vec::new();
    if !completion.reasoning.is_empty() && format != ReasoningFormat::Hidden {
        content.push(json!({
            "type": "thinking", "thinking": completion.reasoning, "signature": "",
        }));
    }
    let (said, calls) = tools::split(completion);
    if !said.is_empty() {
        content.push(json!({"type": "text", "text": said}));
    }
    let calls = calls.iter().map(|call| tool_use(&call.name, input::object(&call.arguments)));
    content.extend(calls);
    json!({
        "id": crate::id("msg"),
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": content,
        "stop_reason": stop_reason(completion),
        "stop_sequence": completion.stopped_by,
        "usage": usage(completion),
    })
}

fn tool_use(name: &str, input: Value) -> Value {
    json!({"type": "tool_use", "id": crate::id("toolu"), "name": name, "input": input})
}

fn stop_reason(completion: &Completion) -> &'static str {
    match completion.finish_reason {
        FinishReason::Stop if completion.stopped_by.is_some() => "stop_sequence",
        FinishReason::Stop if tools::are_called(completion) => "tool_use",
        FinishReason::Stop => "end_turn",
        FinishReason::Length | FinishReason::Deadline | FinishReason::Cancelled => "max_tokens",
    }
}

fn usage(completion: &Completion) -> Value {
    let usage = completion.usage;
    json!({
        "input_tokens": usage.prompt_tokens - usage.cached_tokens,
        "cache_read_input_tokens": usage.cached_tokens,
        "cache_creation_input_tokens": 0,
        "output_tokens": usage.completion_tokens,
    })
}

/// Counts a conversation's tokens without answering it.
pub(crate) async fn count_tokens(State(app): State<App>, fields: Fields) -> Response {
    let counted = aside(move || {
        let chat = Fields(input::to_chat(&fields, false)?);
        let tokens = prepare(&app, &chat)?.request.prompt.len();
        Ok(Json(json!({ "input_tokens": tokens })).into_response())
    });
    counted.await.unwrap_or_else(|error| error.response(Dialect::Anthropic))
}
