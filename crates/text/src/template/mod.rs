//! Chat templates: from messages to the prompt a model was trained on.
//!
//! Templates are Jinja2 programs that come with the model, so they are as untrusted as any other
//! part of a file: they run without access to anything, on a budget of work and of output.
//! Rendering is `transformers`': blocks are trimmed, `break` and `continue` exist, and so do
//! `raise_exception`, `strftime_now` (in UTC), a `tojson` that writes what Python writes, and
//! Python's methods on strings and dictionaries.

mod message;
mod python;

use std::collections::BTreeMap;
use std::io;
use std::sync::LazyLock;
use std::time::SystemTime;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Serde, Value};
use minijinja::{Environment, ErrorKind};
use regex::Regex;
use serde_json::Map;

use crate::splitter::Start;
pub use message::{Message, drop_thinking};

/// The template for models that come with none: ChatML, what most chat models speak.
pub const CHATML: &str = "{% for message in messages %}\
    {{ '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}\
    {% endfor %}\
    {% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

/// The name under which minijinja reports errors.
const NAME: &str = "chat template";

/// The tags that thinking is known to be set off with.
const THINKING_TAGS: &[(&str, &str)] =
    &[("<think>", "</think>"), ("[THINK]", "[/THINK]"), ("<seed:think>", "</seed:think>")];

/// The tags that an answer is set off with, where it is.
const ANSWER_TAGS: (&str, &str) = ("<answer>", "</answer>");

/// The least a template may print, for short conversations; and the factor for long ones.
const OUTPUT: (usize, usize) = (1 << 20, 16);

/// The least a template may do, in minijinja's units of one instruction or 64 bytes of data;
/// what each message adds to it, and each byte given.
const FUEL: (u64, u64, u64) = (1_000_000, 2_000, 4);

/// Why no prompt came of a conversation.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The template is not valid Jinja.
    #[error("the chat template cannot be read: {0}")]
    Syntax(String),
    /// The template itself refuses the conversation, for instance because of its roles.
    #[error("the chat template refuses this conversation: {0}")]
    Refused(String),
    /// The template fails.
    #[error("the chat template fails: {0}")]
    Render(String),
    /// The template does not come to an end.
    #[error("the chat template does not end: it used up {0} steps")]
    Endless(u64),
    /// The template prints without end.
    #[error("the chat template prints more than {0} bytes for this conversation")]
    TooLong(usize),
}

/// Carries the text given to `raise_exception` through minijinja's errors.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Raised(String);

/// A conversation to render.
#[derive(Clone, Debug, Default)]
pub struct Render<'a> {
    /// The messages so far.
    pub messages: &'a [Message],
    /// The tools the model may call: a list of OpenAI's function descriptions.
    pub tools: Option<&'a serde_json::Value>,
    /// Whether the prompt ends with the beginning of the assistant's turn.
    pub add_generation_prompt: bool,
    /// Further variables of the template, such as `enable_thinking`.
    pub extra: Map<String, serde_json::Value>,
    /// The moment that `strftime_now` tells; the present one if none.
    pub now: Option<SystemTime>,
}

/// How a template wants tool calls, which OpenAI's clients write in one way only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct CallStyle {
    /// The arguments as JSON text instead of an object.
    arguments_as_text: bool,
    /// The content of a message that only calls as none instead of an empty string.
    content_as_none: bool,
}

/// A compiled chat template.
#[derive(Debug)]
pub struct ChatTemplate {
    environment: Environment<'static>,
    source: String,
    bos_token: String,
    eos_token: String,
    calls: CallStyle,
}

impl ChatTemplate {
    /// Compiles a template. The tokens are what `bos_token` and `eos_token` print in it; empty
    /// where the model has none.
    ///
    /// # Errors
    /// If the source is not valid Jinja.
    pub fn new(source: &str, bos_token: &str, eos_token: &str) -> Result<ChatTemplate, Error> {
        let mut environment = Environment::new();
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
        environment.set_syntax(syntax.map_err(|error| Error::Syntax(error.to_string()))?);
        environment.set_debug(false);
        environment
            .set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_filter("tojson", python::tojson);
        environment.add_filter("string", python::string);
        environment.add_test("iterable", python::is_iterable);
        environment.add_test("sequence", python::is_sequence);
        environment.set_formatter(python::print);
        environment.add_function("raise_exception", |text: String| -> Result<Value, _> {
            Err(minijinja::Error::new(ErrorKind::InvalidOperation, "raised")
                .with_source(Raised(text)))
        });
        environment
            .add_template_owned(NAME, without_generation_marks(source))
            .map_err(|error| Error::Syntax(describe(&error)))?;
        let mut template = ChatTemplate {
            environment,
            source: source.to_string(),
            bos_token: bos_token.to_string(),
            eos_token: eos_token.to_string(),
            calls: CallStyle::default(),
        };
        template.calls = template.probe_calls();
        Ok(template)
    }

    /// ChatML, for a model that comes without a template: a guess, which the caller should tell
    /// the user about. It knows nothing of tools.
    pub fn chatml() -> ChatTemplate {
        ChatTemplate::new(CHATML, "", "").expect("a constant, compiled by the tests")
    }

    /// The template as it was given.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The prompt for a conversation.
    ///
    /// # Errors
    /// If the template refuses the conversation, fails, or does not come to an end.
    pub fn render(&self, conversation: &Render) -> Result<String, Error> {
        self.render_in_style(conversation, self.calls)
    }

    /// The tags that set off thinking in this template; none if it knows none.
    pub fn thinking_tags(&self) -> Option<(&'static str, &'static str)> {
        THINKING_TAGS.iter().copied().find(|(_, close)| self.source.contains(close))
    }

    /// The tags that set off the answer in this template; most have none.
    pub fn answer_tags(&self) -> Option<(&'static str, &'static str)> {
        let (open, close) = ANSWER_TAGS;
        (self.source.contains(open) && self.source.contains(close)).then_some(ANSWER_TAGS)
    }

    /// Whether the template opens the thinking itself at the end of a prompt, given these
    /// variables. To know it of one prompt, see [`ChatTemplate::start_after`].
    pub fn opens_thinking(&self, extra: &Map<String, serde_json::Value>) -> bool {
        let conversation = Render {
            messages: &[Message::new("user", "?")],
            add_generation_prompt: true,
            extra: extra.clone(),
            ..Render::default()
        };
        self.render(&conversation).is_ok_and(|prompt| self.start_after(&prompt) == Start::Inside)
    }

    /// Where a rendered prompt leaves the model: within its thinking if the prompt ends with the
    /// opening tag, after it if with the closing one.
    pub fn start_after(&self, prompt: &str) -> Start {
        let prompt = prompt.trim_end();
        match self.thinking_tags() {
            Some((open, _)) if prompt.ends_with(open) => Start::Inside,
            Some((_, close)) if prompt.ends_with(close) => Start::After,
            _ => Start::Undecided,
        }
    }

    fn render_in_style(&self, conversation: &Render, style: CallStyle) -> Result<String, Error> {
        let messages = conversation
            .messages
            .iter()
            .map(|message| styled(message, style))
            .collect::<Result<Vec<_>, _>>()?;
        let tools = conversation.tools;
        let size: usize = messages.iter().chain(tools).map(|value| value.to_string().len()).sum();
        let fuel = FUEL.0 + FUEL.1 * messages.len() as u64 + FUEL.2 * size as u64;
        let mut output = Bounded { text: Vec::new(), limit: OUTPUT.0 + OUTPUT.1 * size };

        let now = conversation.now.unwrap_or_else(SystemTime::now);
        let strftime_now = move |format: &str| python::strftime(format, now);
        let mut variables: BTreeMap<String, Value> = conversation
            .extra
            .iter()
            .map(|(name, value)| (name.clone(), Value::from(Serde(value))))
            .collect();
        variables.extend(
            [
                ("messages", Value::from(Serde(&messages))),
                ("tools", tools.map_or(Value::from(()), |tools| Value::from(Serde(tools)))),
                ("documents", Value::from(())),
                ("add_generation_prompt", Value::from(conversation.add_generation_prompt)),
                ("bos_token", Value::from(&self.bos_token)),
                ("eos_token", Value::from(&self.eos_token)),
                ("strftime_now", Value::from_function(strftime_now)),
            ]
            .map(|(name, value)| (name.to_string(), value)),
        );

        let mut environment = self.environment.clone();
        environment.set_fuel(Some(fuel));
        let template =
            environment.get_template(NAME).map_err(|error| Error::Render(describe(&error)))?;
        match template.render_captured_to(Value::from(variables), &mut output) {
            Ok(_) => Ok(String::from_utf8_lossy(&output.text).into_owned()),
            Err(error) => Err(match (error.kind(), raised(&error)) {
                (_, Some(text)) => Error::Refused(text),
                (ErrorKind::OutOfFuel, _) => Error::Endless(fuel),
                (ErrorKind::WriteFailure, _) => Error::TooLong(output.limit),
                _ => Error::Render(describe(&error)),
            }),
        }
    }

    /// Tries the ways of writing a tool call and takes the first that the template prints.
    fn probe_calls(&self) -> CallStyle {
        let messages = [
            Message::new("user", "?"),
            Message {
                tool_calls: Some(serde_json::json!([{
                    "id": "call00000", "type": "function",
                    "function": {"name": "probe_name", "arguments": {"probe_key": "value"}},
                }])),
                ..Message::new("assistant", "")
            },
        ];
        let conversation = Render { messages: &messages, ..Render::default() };
        [(false, false), (false, true), (true, false), (true, true)]
            .map(|(arguments_as_text, content_as_none)| CallStyle {
                arguments_as_text,
                content_as_none,
            })
            .into_iter()
            .find(|&style| {
                self.render_in_style(&conversation, style).is_ok_and(|prompt| {
                    // An object that the template did not expect is printed as Python's.
                    ["probe_name", "probe_key"].iter().all(|part| prompt.contains(part))
                        && !prompt.contains("'probe_key'")
                })
            })
            .unwrap_or_default()
    }
}

/// The message as the template wants it.
fn styled(message: &Message, style: CallStyle) -> Result<serde_json::Value, Error> {
    use serde_json::Value as Json;
    let failed = |error: &dyn std::fmt::Display| Error::Render(error.to_string());
    let mut json = serde_json::to_value(message).map_err(|error| failed(&error))?;
    // Some templates only ask whether the field is there.
    if json["tool_calls"].as_array().is_some_and(Vec::is_empty)
        && let Some(fields) = json.as_object_mut()
    {
        fields.remove("tool_calls");
    }
    if let Some(calls) = json.get_mut("tool_calls").and_then(Json::as_array_mut) {
        for call in calls {
            let call = match call.get("function") {
                Some(_) => &mut call["function"],
                None => call,
            };
            let Some(arguments) = call.get_mut("arguments") else { continue };
            match arguments {
                Json::Object(_) if style.arguments_as_text => {
                    *arguments = python::dumps(arguments).map_err(|error| failed(&error))?.into();
                }
                // What is no JSON stays text: the model's own slip, which it should see again.
                Json::String(text) if !style.arguments_as_text => {
                    if let Ok(object @ Json::Object(_)) = serde_json::from_str(text) {
                        *arguments = object;
                    }
                }
                _ => {}
            }
        }
        if style.content_as_none && message.content.is_empty() {
            json["content"] = Json::Null;
        }
    }
    Ok(json)
}

/// `transformers` lets templates mark what the assistant said, for training; the marks print
/// nothing. minijinja has no such tag, and an `if` that is always true is the same.
fn without_generation_marks(source: &str) -> String {
    static OPEN: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r"\{%([-+]?)\s*generation\s*([-+]?)%\}").expect("a constant"));
    static CLOSE: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(r"\{%([-+]?)\s*endgeneration\s*([-+]?)%\}").expect("a constant")
    });
    let opened = OPEN.replace_all(source, "{%$1 if true $2%}");
    CLOSE.replace_all(&opened, "{%$1 endif $2%}").into_owned()
}

/// The whole chain of an error on one line.
fn describe(error: &minijinja::Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text += &format!(": {cause}");
        source = cause.source();
    }
    text
}

/// What `raise_exception` was given, if that is what went wrong.
fn raised(error: &minijinja::Error) -> Option<String> {
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        if let Some(Raised(text)) = cause.downcast_ref() {
            return Some(text.clone());
        }
        source = cause.source();
    }
    None
}

/// Output that refuses to grow beyond a limit.
struct Bounded {
    text: Vec<u8>,
    limit: usize,
}

impl io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.text.len() + bytes.len() > self.limit {
            return Err(io::Error::other("the output is too long"));
        }
        self.text.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
