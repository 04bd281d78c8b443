//! `/v1/completions`: a text is continued, without a template.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::sse::Event as Sse;
use axum::response::{IntoResponse, Response};
use engine::{Completion, Delta, Event, Request, TokenLogprob, Update};
use serde::Deserialize;
use serde_json::{Value, json};
use text::splitter::{Start, Tags};
use text::tokenizer::Tokenizer;

use super::chat::Head;
use super::{logprobs, usage};
use crate::App;
use crate::answers::{Answers, Writer, data, stream};
use crate::body::Fields;
use crate::chat::{StreamOptions, aside};
use crate::error::{ApiError, Dialect};
use crate::lora::LoraFields;
use crate::params::format::FormatFields;
use crate::params::sampling::{SamplingFields, alternatives};
use crate::prompt;

#[derive(Debug, Deserialize)]
struct CompletionFields {
    prompt: Value,
    stream: Option<bool>,
    stream_options: Option<StreamOptions>,
    logprobs: Option<Value>,
    #[serde(default)]
    echo: Option<bool>,
    suffix: Option<String>,
    /// vLLM's: each choice of a whole answer has its tokens' numbers, `token_ids`.
    return_token_ids: Option<bool>,
}

/// A request that continues `prompt` as plain text.
fn plain(app: &App, fields: &Fields, prompt: Vec<u32>) -> Result<Request, ApiError> {
    let engine = app.engine();
    let mut request = Request {
        prompt,
        start: Start::After,
        tags: Tags {
            thinking: Default::default(),
            answer: Default::default(),
            tool_call: Default::default(),
            bare_json_calls: false,
            call_names: Vec::new(),
        },
        sampling: app.options.sampling.clone(),
        max_tokens: app.options.max_tokens,
        ..Request::default()
    };
    fields.read::<SamplingFields>()?.apply(&mut request, engine.tokenizer())?;
    request.adapter = fields.read::<LoraFields>()?.find(app)?;
    request.constraint = fields.read::<FormatFields>()?.constraint(engine)?;
    Ok(request)
}

/// A request for each of the prompts in `value`, all with the same settings.
pub(crate) async fn plain_all(
    app: &App,
    fields: Fields,
    value: Value,
) -> Result<Vec<Request>, ApiError> {
    let app = app.clone();
    aside(move || {
        let prompts = prompt::read(&app, "prompt", &value)?;
        prompts.into_iter().map(|prompt| plain(&app, &fields, prompt)).collect()
    })
    .await
}

/// Continues one or several texts.
pub(crate) async fn create(State(app): State<App>, fields: Fields) -> Result<Response, ApiError> {
    let given: CompletionFields = fields.read()?;
    if given.suffix.is_some_and(|suffix| !suffix.is_empty()) {
        let message = "suffix is not supported: put the model's own fill-in-the-middle tokens into the prompt";
        return Err(ApiError::param("suffix", message));
    }
    let most = match &given.logprobs {
        None | Some(Value::Null | Value::Bool(false)) => None,
        Some(Value::Bool(true)) => Some(0),
        Some(n) => {
            let n = n.as_u64().and_then(|n| usize::try_from(n).ok()).ok_or_else(|| {
                ApiError::param("logprobs", "logprobs must be a number of alternatives, from 0")
            })?;
            Some(alternatives(n, "logprobs")?)
        }
    };
    let requests = plain_all(&app, fields, given.prompt).await?;
    let echo = given.echo.unwrap_or(false);
    let token_ids = given.return_token_ids.unwrap_or(false);
    let tokenizer = Arc::clone(app.engine().tokenizer());
    let head = Head::new(&app, "cmpl", "text_completion");
    let mut each = Vec::new();
    let (mut n, mut echoes) = (0, Vec::new());
    for mut request in requests {
        request.logprobs = most;
        let echo = if echo { tokenizer.decode(&request.prompt) } else { String::new() };
        echoes.extend(std::iter::repeat_n(echo, request.n));
        n += request.n;
        each.push((request.n, Answers::ask(&app.runtime, request)?));
    }
    if given.stream.unwrap_or(false) {
        if token_ids {
            let message = "token ids are told of whole answers only: leave out stream";
            return Err(ApiError::param("return_token_ids", message));
        }
        let include_usage = given.stream_options.unwrap_or_default().include_usage.unwrap_or(false);
        let writer = CompletionWriter {
            head,
            tokenizer,
            include_usage,
            echoes,
            finished: Vec::new(),
            waiting: Vec::new(),
        };
        return match <[_; 1]>::try_from(each) {
            Ok([(_, answers)]) => Ok(stream(answers, writer)),
            Err(_) => Err(ApiError::param("stream", "several prompts can't be streamed at once")),
        };
    }
    let mut completions: Vec<Completion> = Vec::with_capacity(n);
    for (_, answers) in each {
        completions.extend(answers.all().await?);
    }
    let choices: Vec<Value> = completions
        .iter()
        .zip(&echoes)
        .enumerate()
        .map(|(index, (completion, echo))| {
            let logprobs = match completion.logprobs.is_empty() {
                true => Value::Null,
                false => logprobs::completions(&completion.logprobs, &tokenizer),
            };
            let mut choice = json!({
                "index": index,
                "text": format!("{echo}{}", completion.content),
                "finish_reason": usage::finish_reason(completion),
                "logprobs": logprobs,
            });
            if token_ids {
                choice["token_ids"] = json!(completion.tokens);
            }
            choice
        })
        .collect();
    Ok(Json(head.whole(choices, &completions)).into_response())
}

struct CompletionWriter {
    head: Head,
    tokenizer: Arc<Tokenizer>,
    include_usage: bool,
    /// Text that each answer begins with.
    echoes: Vec<String>,
    finished: Vec<Completion>,
    /// Log-probabilities of tokens whose text has not been told yet.
    waiting: Vec<TokenLogprob>,
}

impl CompletionWriter {
    fn chunk(&mut self, index: usize, text: &str, finish: Option<&str>) -> Value {
        let echo = std::mem::take(&mut self.echoes[index]);
        let waiting = std::mem::take(&mut self.waiting);
        let logprobs = match waiting.is_empty() {
            true => Value::Null,
            false => logprobs::completions(&waiting, &self.tokenizer),
        };
        let mut chunk = self.head.value();
        chunk["choices"] = json!([{
            "index": index, "text": format!("{echo}{text}"), "finish_reason": finish,
            "logprobs": logprobs,
        }]);
        chunk
    }
}

impl Writer for CompletionWriter {
    fn write(&mut self, update: Update) -> Vec<Sse> {
        let index = update.choice;
        let chunk = match update.event {
            Event::Delta(Delta::Content(text)) => self.chunk(index, &text, None),
            Event::Logprob(entry) => {
                // They go out with the text that their token completes.
                self.waiting.push(entry);
                return Vec::new();
            }
            Event::Finished(completion) => {
                let mut chunk = self.chunk(index, "", Some(usage::finish_reason(&completion)));
                chunk["timings"] = usage::timings(&completion);
                self.finished.push(*completion);
                chunk
            }
            Event::Failed(error) => ApiError::from(error).body(Dialect::OpenAi),
            Event::Delta(_) => return Vec::new(),
        };
        vec![data(&chunk)]
    }

    fn end(&mut self) -> Vec<Sse> {
        let mut events = Vec::new();
        if self.include_usage {
            let mut chunk = self.head.value();
            chunk["choices"] = json!([]);
            chunk["usage"] = usage::usage(&self.finished);
            events.push(data(&chunk));
        }
        events.push(Sse::default().data("[DONE]"));
        events
    }
}
