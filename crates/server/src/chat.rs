//! From a conversation in OpenAI's spelling to a request: what all chat endpoints share. The others
//! translate theirs into it.

use engine::Request;
use engine::sampler::Sampling;
use serde::Deserialize;
use serde_json::Value;
use text::template::Message;

use crate::App;
use crate::body::Fields;
use crate::error::{ApiError, Kind};
use crate::lora::LoraFields;
use crate::params::format::FormatFields;
use crate::params::sampling::{SamplingFields, alternatives};
use crate::params::thinking::{ReasoningFormat, ThinkingFields};

/// Said by the model when its thinking has to end before it would have.
const TIME_IS_UP: &str = "\n\nI have to answer now, with what I have found so far.";

#[derive(Debug, Deserialize)]
struct ChatFields {
    messages: Vec<Message>,
    tools: Option<Value>,
    #[serde(default)]
    stream: Option<bool>,
    stream_options: Option<StreamOptions>,
    logprobs: Option<bool>,
    top_logprobs: Option<usize>,
}

#[derive(Debug, Default, Deserialize)]
struct StreamOptions {
    include_usage: Option<bool>,
}

/// A request, and how its answer is to be told.
pub(crate) struct Chat {
    pub(crate) request: Request,
    pub(crate) stream: bool,
    pub(crate) include_usage: bool,
    pub(crate) format: ReasoningFormat,
}

/// The prompt of a conversation, as text.
pub(crate) fn render(app: &App, fields: &Fields) -> Result<String, ApiError> {
    let chat: ChatFields = fields.read()?;
    let thinking = fields.read::<ThinkingFields>()?.resolve()?;
    let engine = app.engine();
    Ok(engine.render(&chat.messages, chat.tools.as_ref(), thinking.template)?)
}

/// Reads a conversation's request.
pub(crate) fn prepare(app: &App, fields: &Fields) -> Result<Chat, ApiError> {
    let chat: ChatFields = fields.read()?;
    let thinking = fields.read::<ThinkingFields>()?.resolve()?;
    if chat.messages.is_empty() {
        return Err(ApiError::param("messages", "messages is empty"));
    }
    let engine = app.engine();
    let mut request = engine.chat(&chat.messages, chat.tools.as_ref(), thinking.template)?;
    request.sampling = Sampling { seed: None, ..app.options.sampling.clone() };
    request.max_tokens = app.options.max_tokens;
    fields.read::<SamplingFields>()?.apply(&mut request, engine.tokenizer())?;
    request.max_thinking = thinking.budget.or(app.options.max_thinking);
    if request.max_thinking.is_some_and(|budget| budget > 0) {
        request.thinking_close.insert_str(0, TIME_IS_UP);
    }
    request.adapter = fields.read::<LoraFields>()?.find(app)?;
    request.constraint = fields.read::<FormatFields>()?.constraint(engine)?;
    if chat.top_logprobs.is_some() && chat.logprobs != Some(true) {
        let message = "top_logprobs needs logprobs to be true";
        return Err(ApiError::param("top_logprobs", message));
    }
    if chat.logprobs == Some(true) {
        request.logprobs = Some(alternatives(chat.top_logprobs.unwrap_or(0), "top_logprobs")?);
    }
    Ok(Chat {
        request,
        stream: chat.stream.unwrap_or(false),
        include_usage: chat.stream_options.unwrap_or_default().include_usage.unwrap_or(false),
        format: thinking.format.unwrap_or(app.options.reasoning_format),
    })
}

/// Runs `f`, which may take a while, where it holds up no other request.
pub(crate) async fn aside<T: Send + 'static>(
    f: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    tokio::task::spawn_blocking(f)
        .await
        .unwrap_or_else(|error| Err(ApiError::new(Kind::Internal, error.to_string())))
}
