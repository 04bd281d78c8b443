//! Engines elsewhere, asked over OpenAI's HTTP API: llama-server, vLLM, SGLang, `ponder serve`.

mod pool;
mod stream;

use std::io::BufReader;
use std::time::{Duration, Instant};

use engine::{Completion, Delta, Flow};
use serde_json::{Value, json};
use text::splitter::{Start, Tags};
use text::template::Message;
use text::tools::Tool;
use ureq::http::HeaderMap;

pub use pool::Pool;
use stream::Answer;

use crate::{Ask, Error, Prompt};

/// How endpoints are used.
#[derive(Clone, Debug)]
pub struct EndpointOptions {
    /// The model to ask for; the first that the endpoint lists if none.
    pub model: Option<String>,
    /// The key to show.
    pub key: Option<String>,
    /// Asks that an endpoint is given at a time.
    pub slots: usize,
    /// How long a silent endpoint is waited for. It is silent while it reads a prompt.
    pub patience: Duration,
    /// How often an ask is tried in all.
    pub tries: u32,
    /// The pause after the first failure; it doubles with each further one.
    pub pause: Duration,
}

impl Default for EndpointOptions {
    fn default() -> Self {
        Self {
            model: None,
            key: None,
            slots: 8,
            patience: Duration::from_secs(600),
            tries: 6,
            pause: Duration::from_millis(500),
        }
    }
}

/// Most bytes of a reply that is read as a whole: many completions with a number or two a token.
const MOST_BYTES: u64 = 1 << 30;

/// One engine elsewhere.
pub struct Endpoint {
    /// Up to and with `/v1`.
    base: String,
    model: String,
    key: Option<String>,
    agent: ureq::Agent,
}

impl Endpoint {
    /// Finds the endpoint and the model to ask for. `url` may end in `/v1` or not.
    ///
    /// # Errors
    /// It is no URL, can't be reached, or lists no model where none was named.
    pub fn connect(url: &str, options: &EndpointOptions) -> Result<Endpoint, Error> {
        let trimmed = url.trim_end_matches('/');
        let after_scheme =
            trimmed.strip_prefix("http://").or_else(|| trimmed.strip_prefix("https://"));
        if after_scheme.is_none_or(str::is_empty) {
            return Err(Error::Setting(format!(
                "endpoint {url:?}: it must begin with http:// or https://, as in http://localhost:8080"
            )));
        }
        let base = match after_scheme.is_some_and(|rest| rest.contains('/')) {
            true => trimmed.to_owned(),
            false => format!("{trimmed}/v1"),
        };
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .user_agent(concat!("ponder/", env!("CARGO_PKG_VERSION")))
            .timeout_connect(Some(Duration::from_secs(10).min(options.patience)))
            .timeout_recv_response(Some(options.patience))
            .timeout_per_read(Some(options.patience))
            .build();
        let mut endpoint = Endpoint {
            base,
            model: options.model.clone().unwrap_or_default(),
            key: options.key.clone(),
            agent: config.into(),
        };
        if endpoint.model.is_empty() {
            endpoint.model = endpoint.first_model()?;
        }
        Ok(endpoint)
    }

    /// Where it is, up to and with `/v1`.
    pub fn url(&self) -> &str {
        &self.base
    }

    /// The model that is asked for.
    pub fn model(&self) -> &str {
        &self.model
    }

    fn first_model(&self) -> Result<String, Error> {
        let url = format!("{}/models", self.base);
        let mut request = self.agent.get(&url);
        if let Some(key) = &self.key {
            request = request.header("authorization", format!("Bearer {key}"));
        }
        let mut response = request.call().map_err(|error| self.unavailable(reason(&error)))?;
        if !response.status().is_success() {
            return Err(self.refusal(&mut response));
        }
        let list: Value =
            response.body_mut().read_json().map_err(|error| self.unavailable(reason(&error)))?;
        list["data"][0]["id"].as_str().map(str::to_owned).ok_or_else(|| {
            Error::Setting(format!("{url} lists no model\nhint: name one with -m NAME"))
        })
    }

    /// Answers once, without trying again.
    ///
    /// # Errors
    /// [`Error::Refused`] if another try would fail the same way, [`Error::Unavailable`] if not.
    pub fn complete(
        &self,
        ask: &Ask,
        receive: &mut dyn FnMut(Delta) -> Flow,
    ) -> Result<Completion, Error> {
        let (mut path, mut start, mut tags) = match ask.prompt {
            Prompt::Chat(_) => ("chat/completions", Start::Undecided, Tags::default()),
            Prompt::Text(_) => ("completions", Start::After, Tags::default()),
        };
        tags.tool_call = Default::default();
        let mut body = body(&self.model, ask);
        if let Some(begun) = &ask.begun {
            let mut prompt = self.rendered(ask)?;
            begun.iter().for_each(|piece| prompt.push_str(&piece.text));
            (path, start, tags.thinking) = ("completions", Start::Undecided, Default::default());
            if let Some(body) = body.as_object_mut() {
                body.retain(|field, _| {
                    !matches!(
                        &**field,
                        "messages" | "tools" | "chat_template_kwargs" | "thinking_budget"
                    )
                });
                body.insert("prompt".to_owned(), prompt.into());
            }
        }
        let asked = Instant::now();
        let mut response = self.post(&format!("{}/{path}", self.base), &body)?;
        let streams = response
            .headers()
            .get("content-type")
            .and_then(|kind| kind.to_str().ok())
            .is_some_and(|kind| kind.starts_with("text/event-stream"));
        let answer = Answer::new(asked, start, tags);
        let reader = response.body_mut().as_reader();
        let outcome = match streams {
            true => answer.read_events(BufReader::new(reader), receive),
            false => answer.read_whole(reader, receive),
        };
        outcome.map_err(|why| self.unavailable(why))
    }

    /// Sends a body to an address of the endpoint, once, and gives the reply. `path` is below `/v1`
    /// (`completions`) or, beginning with `/`, below the host itself (`/apply-template`).
    ///
    /// # Errors
    /// As for [`Endpoint::complete`].
    pub fn send(&self, path: &str, body: &Value) -> Result<Value, Error> {
        let url = match path.starts_with('/') {
            true => format!("{}{path}", self.base.strip_suffix("/v1").unwrap_or(&self.base)),
            false => format!("{}/{path}", self.base),
        };
        let mut response = self.post(&url, body)?;
        let text = response.body_mut().with_config().limit(MOST_BYTES).read_to_string();
        let text = text.map_err(|error| self.unavailable(reason(&error)))?;
        match text.is_empty() {
            true => Ok(Value::Null),
            // vLLM's word for a loaded adapter is a sentence.
            false => Ok(serde_json::from_str(&text).unwrap_or(Value::String(text))),
        }
    }

    fn post(&self, url: &str, body: &Value) -> Result<ureq::http::Response<ureq::Body>, Error> {
        let mut request = self.agent.post(url);
        if let Some(key) = &self.key {
            request = request.header("authorization", format!("Bearer {key}"));
        }
        let mut response =
            request.send_json(body).map_err(|error| self.unavailable(reason(&error)))?;
        match response.status().is_success() {
            true => Ok(response),
            false => Err(self.refusal(&mut response)),
        }
    }

    /// The prompt as its chat template writes it, which llama-server and `ponder serve` tell.
    ///
    /// # Errors
    /// [`Error::Setting`] if the endpoint doesn't.
    pub(crate) fn rendered(&self, ask: &Ask) -> Result<String, Error> {
        let messages = match &ask.prompt {
            Prompt::Text(text) => return Ok(text.clone()),
            Prompt::Chat(messages) => messages,
        };
        let mut body = json!({"model": self.model, "messages": spelled(messages)});
        offer(&ask.tools, &mut body);
        let mut template = ask.template.clone();
        if ask.max_thinking == Some(0) {
            template.entry("enable_thinking").or_insert(false.into());
        }
        if !template.is_empty() {
            body["chat_template_kwargs"] = Value::Object(template);
        }
        let reply = match self.send("/apply-template", &body) {
            Ok(reply) => reply,
            Err(Error::Refused { status: 404 | 405 | 501, .. }) => Value::Null,
            Err(error) => return Err(error),
        };
        reply["prompt"].as_str().map(str::to_owned).ok_or_else(|| {
            Error::Setting(format!(
                "{} doesn't tell how it writes a conversation, so that no answer of it can be gone on with\n\
                 hint: strategies without budgets, probes and programs work with it; llama-server and `ponder serve` take all",
                self.base
            ))
        })
    }

    fn unavailable(&self, why: String) -> Error {
        Error::Unavailable { url: self.base.clone(), why, retry_after: None }
    }

    /// What a status other than success means.
    fn refusal(&self, response: &mut ureq::http::Response<ureq::Body>) -> Error {
        let status = response.status().as_u16();
        let retry_after = retry_after(response.headers());
        let text = response.body_mut().read_to_string().unwrap_or_default();
        let parsed: Value = serde_json::from_str(&text).unwrap_or_default();
        let message =
            [&parsed["error"]["message"], &parsed["error"], &parsed["message"], &parsed["detail"]]
                .into_iter()
                .find_map(Value::as_str)
                .map_or_else(|| text.chars().take(300).collect(), str::to_owned);
        match status {
            408 | 409 | 425 | 429 | 500 | 502..=504 => Error::Unavailable {
                url: self.base.clone(),
                why: format!("{status}: {message}"),
                retry_after,
            },
            _ => Error::Refused { url: self.base.clone(), status, message },
        }
    }
}

/// Messages as OpenAI's API has them: the arguments of calls are text there, and objects in chat
/// templates.
fn spelled(messages: &[Message]) -> Value {
    let mut messages = json!(messages);
    let all = messages.as_array_mut().into_iter().flatten();
    let calls = all.filter_map(|message| message.get_mut("tool_calls")?.as_array_mut());
    for call in calls.flatten() {
        let arguments = &mut call["function"]["arguments"];
        if !arguments.is_string() {
            *arguments = arguments.to_string().into();
        }
    }
    messages
}

/// Puts tools into a body: none is not the same as an empty list everywhere.
fn offer(tools: &[Tool], body: &mut Value) {
    if !tools.is_empty() {
        body["tools"] = tools.iter().map(Tool::to_json).collect();
    }
}

/// The request's body. Only what was set is sent: not every engine knows every field.
fn body(model: &str, ask: &Ask) -> Value {
    let mut body = json!({
        "model": model,
        "stream": true,
        "stream_options": {"include_usage": true},
        "seed": ask.seed & (u64::MAX >> 1),
    });
    match &ask.prompt {
        Prompt::Chat(messages) => {
            body["messages"] = spelled(messages);
            offer(&ask.tools, &mut body);
        }
        Prompt::Text(text) => body["prompt"] = json!(text),
    }
    if let (Some(body), Ok(Value::Object(mut sampling))) =
        (body.as_object_mut(), serde_json::to_value(&ask.sampling))
    {
        // vLLM and SGLang have the one name, llama-server the other.
        if let Some(penalty) = sampling.get("repetition_penalty").cloned() {
            sampling.insert("repeat_penalty".to_owned(), penalty);
        }
        // 0.6 as a float of 32 bits would be sent as 0.6000000238418579.
        for value in sampling.values_mut().filter(|value| value.is_f64()) {
            let short = value.as_f64().and_then(|v| (v as f32).to_string().parse::<f64>().ok());
            *value = json!(short);
        }
        // No limit: the one spelling that all understand.
        if sampling.get("top_k") == Some(&json!(0)) {
            sampling.insert("top_k".to_owned(), json!(-1));
        }
        body.extend(sampling);
    }
    if let Some(most) = ask.max_tokens {
        body["max_tokens"] = json!(most);
    }
    if ask.min_tokens > 0 {
        body["min_tokens"] = json!(ask.min_tokens);
    }
    if !ask.stop.is_empty() {
        body["stop"] = json!(ask.stop);
    }
    let mut template = ask.template.clone();
    if let Some(most) = ask.max_thinking {
        body["thinking_budget"] = json!(most);
        if most == 0 {
            template.entry("enable_thinking").or_insert(false.into());
        }
    }
    if !template.is_empty() {
        body["chat_template_kwargs"] = Value::Object(template);
    }
    body
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds: f64 = headers.get("retry-after")?.to_str().ok()?.trim().parse().ok()?;
    (0.0..=3600.0).contains(&seconds).then(|| Duration::from_secs_f64(seconds))
}

/// The shortest true account of a failed request.
fn reason(error: &ureq::Error) -> String {
    match error {
        ureq::Error::Io(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
            "connection refused".into()
        }
        ureq::Error::HostNotFound => "the host name is unknown".into(),
        ureq::Error::Timeout(_) => "no answer in time".into(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use text::template::Message;

    #[test]
    fn only_what_is_set_is_sent() {
        let mut ask = Ask::chat(vec![Message::new("user", "hi")]);
        let sent = body("m", &ask);
        for absent in ["temperature", "max_tokens", "stop", "chat_template_kwargs", "top_k"] {
            assert!(sent.get(absent).is_none(), "{absent} in {sent}");
        }
        ask.sampling.temperature = Some(0.6);
        ask.max_thinking = Some(0);
        ask.sampling.repetition_penalty = Some(1.1);
        let sent = body("m", &ask);
        assert_eq!(sent["temperature"].to_string(), "0.6");
        assert!(sent.get("top_k").is_none());
        ask.sampling.top_k = Some(0);
        assert_eq!(body("m", &ask)["top_k"], -1);
        assert_eq!(sent["repeat_penalty"].to_string(), "1.1");
        assert_eq!(sent["chat_template_kwargs"]["enable_thinking"], false);
        assert_eq!(sent["messages"][0]["content"], "hi");
    }

    #[test]
    fn addresses_are_completed() {
        let options = EndpointOptions { model: Some("m".into()), ..EndpointOptions::default() };
        let base = |url| Endpoint::connect(url, &options).map(|e| e.url().to_owned());
        assert_eq!(base("http://localhost:8080").unwrap(), "http://localhost:8080/v1");
        assert_eq!(base("http://localhost:8080/").unwrap(), "http://localhost:8080/v1");
        assert_eq!(base("https://a.example/api/v1/").unwrap(), "https://a.example/api/v1");
        assert!(base("localhost:8080").unwrap_err().to_string().contains("http://"));
        assert!(base("http://").is_err());
    }
}
