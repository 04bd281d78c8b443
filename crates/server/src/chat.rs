//! From a conversation in OpenAI's spelling to a request: what all chat endpoints share. The others
//! translate theirs into it.

use engine::sampler::Sampling;
use engine::{Ending, Request, Toolset};
use reason::thought::TIME_IS_UP;
use serde::Deserialize;
use serde_json::Value;
use text::template::Message;
use text::tools::{Tool, ToolChoice, ToolError};

use crate::App;
use crate::body::Fields;
use crate::error::{ApiError, Kind};
use crate::lora::LoraFields;
use crate::params::format::FormatFields;
use crate::params::sampling::{SamplingFields, alternatives};
use crate::params::thinking::{ReasoningFormat, ThinkingFields};

#[derive(Debug, Deserialize)]
struct ChatFields {
    messages: Vec<Message>,
    tools: Option<Value>,
    tool_choice: Option<Value>,
    parallel_tool_calls: Option<bool>,
    add_generation_prompt: Option<bool>,
    continue_final_message: Option<bool>,
    #[serde(default)]
    stream: Option<bool>,
    stream_options: Option<StreamOptions>,
    logprobs: Option<bool>,
    top_logprobs: Option<usize>,
}

#[derive(Debug, Default, Deserialize)]
pub(crate) struct StreamOptions {
    pub(crate) include_usage: Option<bool>,
}

/// A request, and how its answer is to be told.
pub(crate) struct Chat {
    pub(crate) request: Request,
    pub(crate) stream: bool,
    pub(crate) include_usage: bool,
    pub(crate) format: ReasoningFormat,
}

/// Reads the tools of a conversation, for which it is prepared: a template that knows nothing of them gets
/// their description as text. With them comes what the template is to be given.
fn toolset(app: &App, chat: &mut ChatFields) -> Result<(Toolset, Option<Value>), ApiError> {
    let tools = Tool::from_json(&chat.tools.take().unwrap_or_default()).map_err(refuse)?;
    let choice = chat.tool_choice.take().unwrap_or_default();
    let choice = ToolChoice::from_json(&choice).map_err(refuse)?;
    let toolset = Toolset::new(app.engine(), tools, choice);
    let described = toolset.describe(&mut chat.messages);
    Ok((toolset, described))
}

fn refuse(error: ToolError) -> ApiError {
    let param = match &error {
        ToolError::Field { field, .. } | ToolError::Duplicate { field, .. } => field.clone(),
        _ => "tool_choice".to_owned(),
    };
    ApiError::param(param, error.to_string())
}

impl ChatFields {
    /// Where the prompt ends.
    fn ending(&self) -> Result<Ending, ApiError> {
        match (self.continue_final_message, self.add_generation_prompt) {
            (Some(true), Some(true)) => Err(ApiError::param(
                "continue_final_message",
                "continue_final_message and add_generation_prompt exclude each other",
            )),
            (Some(true), _) if self.messages.last().is_none_or(|m| m.role != "assistant") => {
                let message = "continue_final_message needs a last message of the assistant";
                Err(ApiError::param("messages", message))
            }
            (Some(true), _) => Ok(Ending::Within),
            (_, Some(false)) => Ok(Ending::After),
            _ => Ok(Ending::Answer),
        }
    }
}

/// The prompt of a conversation, as text.
pub(crate) fn render(app: &App, fields: &Fields) -> Result<String, ApiError> {
    let mut chat: ChatFields = fields.read()?;
    let thinking = fields.read::<ThinkingFields>()?.resolve(app.options.max_thinking)?;
    let (_, described) = toolset(app, &mut chat)?;
    let engine = app.engine();
    let ending = chat.ending()?;
    Ok(engine.render(&chat.messages, described.as_ref(), thinking.template, ending)?)
}

/// Reads a conversation's request.
pub(crate) fn prepare(app: &App, fields: &Fields) -> Result<Chat, ApiError> {
    let mut chat: ChatFields = fields.read()?;
    let thinking = fields.read::<ThinkingFields>()?.resolve(app.options.max_thinking)?;
    if chat.messages.is_empty() {
        return Err(ApiError::param("messages", "messages is empty"));
    }
    let (toolset, described) = toolset(app, &mut chat)?;
    let engine = app.engine();
    let ending = chat.ending()?;
    let described = described.as_ref();
    let mut request = engine.chat_ending(&chat.messages, described, thinking.template, ending)?;
    request.sampling = Sampling { seed: None, ..app.options.sampling.clone() };
    request.max_tokens = app.options.max_tokens;
    fields.read::<SamplingFields>()?.apply(&mut request, engine.tokenizer())?;
    request.max_thinking = thinking.budget;
    if request.max_thinking.is_some_and(|budget| budget > 0) {
        request.thinking_close.insert_str(0, &format!("\n\n{TIME_IS_UP}"));
    }
    request.adapter = fields.read::<LoraFields>()?.find(app)?;
    request.constraint = fields.read::<FormatFields>()?.constraint(engine)?;
    let parallel = chat.parallel_tool_calls.unwrap_or(true);
    toolset.apply(engine, parallel, &mut request).map_err(|error| match error {
        engine::Error::Tool(error) => refuse(error),
        error => ApiError::param("tools", error.to_string()),
    })?;
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
