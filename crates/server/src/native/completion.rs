//! `/completion`: llama-server's own way to continue a text.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::sse::Event as Sse;
use axum::response::{IntoResponse, Response};
use engine::{Completion, Delta, Event, FinishReason, Request, TokenLogprob, Update};
use serde::Deserialize;
use serde_json::{Value, json};
use text::tokenizer::Tokenizer;

use crate::App;
use crate::answers::{Answers, Writer, data, stream};
use crate::body::Fields;
use crate::error::{ApiError, Dialect};
use crate::openai::completions::plain_all;
use crate::openai::{logprobs, usage};
use crate::params::sampling::alternatives;

#[derive(Debug, Deserialize)]
struct NativeFields {
    prompt: Value,
    #[serde(default)]
    stream: Option<bool>,
    #[serde(alias = "logprobs")]
    n_probs: Option<usize>,
    #[serde(default)]
    post_sampling_probs: bool,
    #[serde(default)]
    return_tokens: bool,
    response_fields: Option<Vec<String>>,
}

/// Continues one or several texts.
pub(crate) async fn create(State(app): State<App>, fields: Fields) -> Result<Response, ApiError> {
    let given: NativeFields = fields.read()?;
    if given.post_sampling_probs {
        let message = "post_sampling_probs is not supported: probabilities are the model's own";
        return Err(ApiError::param("post_sampling_probs", message));
    }
    let n_probs = given.n_probs.filter(|n| *n > 0);
    let n_probs = n_probs.map(|n| alternatives(n, "n_probs")).transpose()?;
    let requests = plain_all(&app, fields, given.prompt).await?;
    let tokenizer = Arc::clone(app.engine().tokenizer());
    let mut writers = Vec::new();
    for mut request in requests {
        request.logprobs = n_probs;
        let writer = NativeWriter {
            model: app.name.clone(),
            tokenizer: Arc::clone(&tokenizer),
            settings: settings(&app, &request),
            prompt: tokenizer.decode(&request.prompt),
            return_tokens: given.return_tokens,
            index: 0,
            waiting: Default::default(),
        };
        writers.push((writer, Answers::ask(&app.runtime, request)?));
    }
    if given.stream.unwrap_or(false) {
        return match <[_; 1]>::try_from(writers) {
            Ok([(writer, answers)]) => Ok(stream(answers, writer)),
            Err(_) => Err(ApiError::param("stream", "several prompts can't be streamed at once")),
        };
    }
    let mut all = Vec::new();
    for (index, (mut writer, answers)) in writers.into_iter().enumerate() {
        writer.index = index;
        for completion in answers.all().await? {
            all.push(select(writer.whole(&completion), given.response_fields.as_deref()));
        }
    }
    Ok(match <[Value; 1]>::try_from(all) {
        Ok([one]) => Json(one).into_response(),
        Err(all) => Json(all).into_response(),
    })
}

/// Only the fields that were asked for, by the names they were asked for with; `a/b` is member b of a.
fn select(value: Value, fields: Option<&[String]>) -> Value {
    let Some(fields) = fields.filter(|fields| !fields.is_empty()) else { return value };
    let mut out = serde_json::Map::new();
    for field in fields {
        if let Some(found) = value.pointer(&format!("/{field}")) {
            out.insert(field.clone(), found.clone());
        }
    }
    out.into()
}

/// How the text is continued, as it was understood.
fn settings(app: &App, request: &Request) -> Value {
    let mut settings = serde_json::to_value(&request.sampling).unwrap_or_default();
    settings["n_ctx"] = app.engine().context_length().into();
    settings["n_predict"] = request.max_tokens.map_or(json!(-1), Value::from);
    settings["max_tokens"] = settings["n_predict"].clone();
    settings["repeat_penalty"] = request.sampling.repetition_penalty.into();
    settings["stop"] = request.stop.clone().into();
    settings["ignore_eos"] = request.ignore_eos.into();
    settings["n_probs"] = request.logprobs.unwrap_or(0).into();
    settings
}

struct NativeWriter {
    model: String,
    tokenizer: Arc<Tokenizer>,
    settings: Value,
    prompt: String,
    return_tokens: bool,
    index: usize,
    /// Tokens whose text has not been told yet, and their probabilities.
    waiting: (Vec<u32>, Vec<Value>),
}

impl NativeWriter {
    /// What comes once the text is complete, but for the text.
    fn end_of(&self, completion: &Completion) -> Value {
        let kind = match (completion.finish_reason, &completion.stopped_by) {
            (FinishReason::Stop, Some(_)) => "word",
            (FinishReason::Stop, None) => "eos",
            _ => "limit",
        };
        json!({
            "index": self.index,
            "stop": true,
            "model": self.model,
            "id_slot": 0,
            "tokens_predicted": completion.usage.completion_tokens,
            "tokens_evaluated": completion.usage.prompt_tokens,
            "tokens_cached": completion.usage.prompt_tokens + completion.usage.completion_tokens,
            "generation_settings": self.settings,
            "prompt": self.prompt,
            "has_new_line": completion.content.contains('\n'),
            "truncated": completion.finish_reason == FinishReason::Length
                && self.settings["n_predict"].as_u64()
                    != Some(completion.usage.completion_tokens as u64),
            "stop_type": kind,
            "stopping_word": completion.stopped_by.as_deref().unwrap_or_default(),
            "timings": usage::timings(completion),
        })
    }

    fn probabilities(&self, entries: &[TokenLogprob]) -> Value {
        entries.iter().map(|entry| logprobs::chat(entry, &self.tokenizer)).collect()
    }

    fn whole(&self, completion: &Completion) -> Value {
        let mut value = self.end_of(completion);
        value["content"] = completion.content.as_str().into();
        let tokens: &[u32] = if self.return_tokens { &completion.tokens } else { &[] };
        value["tokens"] = tokens.into();
        if !completion.logprobs.is_empty() {
            value["completion_probabilities"] = self.probabilities(&completion.logprobs);
        }
        value
    }
}

impl Writer for NativeWriter {
    fn write(&mut self, update: Update) -> Vec<Sse> {
        let value = match update.event {
            Event::Delta(Delta::Content(text)) => {
                let (tokens, entries) = std::mem::take(&mut self.waiting);
                let mut value = json!({
                    "index": update.choice, "content": text, "stop": false, "tokens": tokens,
                });
                if !entries.is_empty() {
                    value["completion_probabilities"] = entries.into();
                }
                value
            }
            Event::Logprob(entry) => {
                self.waiting.0.push(entry.token);
                self.waiting.1.push(logprobs::chat(&entry, &self.tokenizer));
                return Vec::new();
            }
            Event::Finished(completion) => {
                let mut value = self.end_of(&completion);
                value["content"] = "".into();
                value["tokens"] = json!([]);
                value
            }
            Event::Failed(error) => ApiError::from(error).body(Dialect::OpenAi),
            Event::Delta(_) => return Vec::new(),
        };
        vec![data(&value)]
    }

    fn end(&mut self) -> Vec<Sse> {
        Vec::new()
    }
}
