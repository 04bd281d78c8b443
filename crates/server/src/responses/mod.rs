//! OpenAI's responses: `/v1/responses`.
//!
//! Nothing is stored: each request brings the whole conversation, as `store: false` has it.

mod input;
mod stream;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use engine::{Completion, FinishReason};
use serde_json::{Value, json};

use self::stream::ResponseWriter;
use crate::App;
use crate::answers::{self, Answers};
use crate::body::Fields;
use crate::chat::{Chat, aside, prepare};
use crate::error::ApiError;
use crate::openai::usage;
use crate::params::thinking::ReasoningFormat;
use crate::tools;

/// Answers a conversation.
pub(crate) async fn create(State(app): State<App>, fields: Fields) -> Result<Response, ApiError> {
    let (chat, frame) = {
        let app = app.clone();
        aside(move || {
            let frame = Frame::new(&app.name, &fields);
            let chat = prepare(&app, &Fields(input::to_chat(&fields)?))?;
            Ok((chat, frame))
        })
        .await?
    };
    let Chat { request, stream, format, .. } = chat;
    let answers = Answers::ask(&app.runtime, request)?;
    if stream {
        return Ok(answers::stream(answers, ResponseWriter::new(frame, format)));
    }
    let completions = answers.all().await?;
    let completion = completions.into_iter().next().unwrap_or_default();
    let output = output(&completion, format);
    Ok(Json(frame.ended(&completion, output)).into_response())
}

/// Counts a conversation's tokens without answering it.
pub(crate) async fn count_tokens(
    State(app): State<App>,
    fields: Fields,
) -> Result<Json<Value>, ApiError> {
    aside(move || {
        let tokens = prepare(&app, &Fields(input::to_chat(&fields)?))?.request.prompt.len();
        Ok(Json(json!({"object": "response.input_tokens", "input_tokens": tokens})))
    })
    .await
}

/// What a response says of its request.
pub(crate) struct Frame(Value);

impl Frame {
    fn new(model: &str, fields: &Fields) -> Frame {
        let given = |key: &str, otherwise: Value| match fields.0.get(key) {
            None | Some(Value::Null) => otherwise,
            Some(value) => value.clone(),
        };
        Frame(json!({
            "id": crate::id("resp"),
            "object": "response",
            "created_at": crate::now(),
            "status": "in_progress",
            "background": false,
            "error": null,
            "incomplete_details": null,
            "instructions": given("instructions", Value::Null),
            "max_output_tokens": given("max_output_tokens", Value::Null),
            "metadata": given("metadata", json!({})),
            "model": model,
            "output": [],
            "parallel_tool_calls": given("parallel_tool_calls", json!(true)),
            "previous_response_id": null,
            "reasoning": given("reasoning", json!({"effort": null, "summary": null})),
            "store": false,
            "temperature": given("temperature", json!(1.0)),
            "text": given("text", json!({"format": {"type": "text"}})),
            "tool_choice": given("tool_choice", json!("auto")),
            "tools": given("tools", json!([])),
            "top_p": given("top_p", json!(1.0)),
            "truncation": "disabled",
            "usage": null,
            "user": given("user", Value::Null),
        }))
    }

    /// The response while it is under way.
    fn value(&self) -> &Value {
        &self.0
    }

    /// The response when it is complete.
    fn ended(mut self, completion: &Completion, output: Vec<Value>) -> Value {
        let cut_off = completion.finish_reason != FinishReason::Stop;
        let value = &mut self.0;
        value["status"] = if cut_off { "incomplete" } else { "completed" }.into();
        if cut_off {
            value["incomplete_details"] = json!({"reason": "max_output_tokens"});
        }
        value["output"] = output.into();
        let (used, usage) = (completion.usage, usage::timings(completion));
        value["usage"] = json!({
            "input_tokens": used.prompt_tokens,
            "input_tokens_details": {"cached_tokens": used.cached_tokens},
            "output_tokens": used.completion_tokens,
            "output_tokens_details": {"reasoning_tokens": used.reasoning_tokens},
            "total_tokens": used.prompt_tokens + used.completion_tokens,
        });
        value["timings"] = usage;
        self.0
    }
}

fn reasoning_item(id: &str, text: &str, status: &str) -> Value {
    let content = match text.is_empty() && status == "in_progress" {
        true => json!([]),
        false => json!([{"type": "reasoning_text", "text": text}]),
    };
    json!({
        "type": "reasoning", "id": id, "summary": [], "content": content,
        "encrypted_content": null, "status": status,
    })
}

fn text_part(text: &str) -> Value {
    json!({"type": "output_text", "text": text, "annotations": [], "logprobs": []})
}

fn message_item(id: &str, content: Vec<Value>, status: &str) -> Value {
    json!({"type": "message", "id": id, "role": "assistant", "status": status, "content": content})
}

fn call_item(id: &str, call_id: &str, name: &str, arguments: &str, status: &str) -> Value {
    json!({
        "type": "function_call", "id": id, "call_id": call_id, "name": name,
        "arguments": arguments, "status": status,
    })
}

fn output(completion: &Completion, format: ReasoningFormat) -> Vec<Value> {
    let mut items = Vec::new();
    if !completion.reasoning.is_empty() && format != ReasoningFormat::Hidden {
        items.push(reasoning_item(&crate::id("rs"), &completion.reasoning, "completed"));
    }
    let (said, calls) = tools::split(completion);
    if !said.is_empty() || calls.is_empty() {
        items.push(message_item(&crate::id("msg"), vec![text_part(&said)], "completed"));
    }
    for call in calls {
        let (id, call_id) = (crate::id("fc"), crate::id("call"));
        items.push(call_item(&id, &call_id, &call.name, &call.arguments, "completed"));
    }
    items
}
