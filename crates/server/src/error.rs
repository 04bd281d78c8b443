//! Why a request is refused, in each API's own words.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

/// Whose clients are listening.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// OpenAI's, and everybody else's.
    #[default]
    OpenAi,
    /// Anthropic's `/v1/messages`.
    Anthropic,
}

impl Dialect {
    /// The dialect spoken at a path.
    pub(crate) fn at(path: &str) -> Dialect {
        if path.starts_with("/v1/messages") { Dialect::Anthropic } else { Dialect::OpenAi }
    }
}

/// What kind of mishap it is: decides the status and what the APIs call it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Something in the request is wrong.
    Invalid,
    /// The key is missing or wrong.
    Unauthorized,
    /// There is no such thing here.
    NotFound,
    /// The path exists, but not with this method.
    Method,
    /// The body is too large.
    TooLarge,
    /// The body took too long to arrive.
    Timeout,
    /// What is asked for isn't switched on, or not built in.
    Unsupported,
    /// No requests are taken in just now.
    Unavailable,
    /// It is our fault.
    Internal,
}

/// A refusal.
#[derive(Clone, Debug)]
pub(crate) struct ApiError {
    pub(crate) kind: Kind,
    pub(crate) message: String,
    /// The parameter at fault.
    pub(crate) param: Option<String>,
    /// A name programs can look for.
    pub(crate) code: Option<&'static str>,
    /// Further members of the error's object.
    pub(crate) more: Vec<(&'static str, Value)>,
}

impl ApiError {
    pub(crate) fn new(kind: Kind, message: impl Into<String>) -> ApiError {
        ApiError { kind, message: message.into(), param: None, code: None, more: Vec::new() }
    }

    /// A parameter is wrong.
    pub(crate) fn param(param: impl Into<String>, message: impl Into<String>) -> ApiError {
        ApiError { param: Some(param.into()), ..ApiError::new(Kind::Invalid, message) }
    }

    fn status(&self) -> StatusCode {
        match self.kind {
            Kind::Invalid => StatusCode::BAD_REQUEST,
            Kind::Unauthorized => StatusCode::UNAUTHORIZED,
            Kind::NotFound => StatusCode::NOT_FOUND,
            Kind::Method => StatusCode::METHOD_NOT_ALLOWED,
            Kind::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Kind::Timeout => StatusCode::REQUEST_TIMEOUT,
            Kind::Unsupported => StatusCode::NOT_IMPLEMENTED,
            Kind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Kind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// The error as the API's clients expect it.
    pub(crate) fn body(&self, dialect: Dialect) -> Value {
        if dialect == Dialect::Anthropic {
            let kind = match self.kind {
                Kind::Invalid | Kind::Method => "invalid_request_error",
                Kind::Unauthorized => "authentication_error",
                Kind::NotFound => "not_found_error",
                Kind::TooLarge => "request_too_large",
                Kind::Timeout => "timeout_error",
                Kind::Unavailable => "overloaded_error",
                Kind::Unsupported | Kind::Internal => "api_error",
            };
            let message = match &self.param {
                Some(param) if !self.message.contains(param.as_str()) => {
                    format!("{param}: {}", self.message)
                }
                _ => self.message.clone(),
            };
            return json!({"type": "error", "error": {"type": kind, "message": message}});
        }
        let kind = match self.kind {
            Kind::Invalid | Kind::Method | Kind::TooLarge | Kind::Timeout => {
                "invalid_request_error"
            }
            Kind::Unauthorized => "authentication_error",
            Kind::NotFound => "not_found_error",
            Kind::Unsupported => "not_supported_error",
            Kind::Unavailable => "unavailable_error",
            Kind::Internal => "server_error",
        };
        let mut error = json!({
            "message": self.message, "type": kind, "param": self.param, "code": self.code,
        });
        for (key, value) in &self.more {
            error[key] = value.clone();
        }
        json!({ "error": error })
    }

    /// The whole response.
    pub(crate) fn response(&self, dialect: Dialect) -> Response {
        let mut response = (self.status(), Json(self.body(dialect))).into_response();
        let headers = response.headers_mut();
        match self.kind {
            Kind::Unavailable => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from_static("2"));
            }
            Kind::Unauthorized => {
                headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            _ => {}
        }
        response
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        self.response(Dialect::OpenAi)
    }
}

impl From<engine::Error> for ApiError {
    fn from(error: engine::Error) -> ApiError {
        let message = error.to_string();
        match error {
            engine::Error::PromptTooLong { tokens, context, .. } => ApiError {
                code: Some("context_length_exceeded"),
                param: Some("messages".to_owned()),
                more: vec![
                    ("type", "exceed_context_size_error".into()),
                    ("n_prompt_tokens", tokens.into()),
                    ("n_ctx", context.into()),
                ],
                ..ApiError::new(
                    Kind::Invalid,
                    format!("the request exceeds the available context size: {message}"),
                )
            },
            engine::Error::EmptyPrompt => ApiError::param("prompt", message),
            engine::Error::Template(_) => ApiError::param("messages", message),
            engine::Error::Grammar(_) => ApiError::param("response_format", message),
            engine::Error::Sampling(error) => {
                let param = match error {
                    engine::sampler::SamplingError::OutOfRange { field, .. } => field,
                    engine::sampler::SamplingError::UnknownToken { .. } => "logit_bias",
                };
                ApiError::param(param, message)
            }
            engine::Error::ShuttingDown => ApiError::new(Kind::Unavailable, message),
            engine::Error::Model(model_error) => match model_error {
                // The only thing about a model that a request can get wrong.
                error if error.to_string().starts_with("token ") => {
                    ApiError::param("prompt", message)
                }
                _ => ApiError::new(Kind::Internal, message),
            },
            _ => ApiError::new(Kind::Internal, message),
        }
    }
}
