//! The HTTP server: OpenAI's, Anthropic's and llama-server's APIs, metrics, and the chat page.
//!
//! [`serve`] answers requests with a [`Runtime`] until it is told to stop. Handlers turn an API's
//! JSON into an [`engine::Request`] and its updates into that API's JSON, whole or as server-sent
//! events; a client that hangs up cancels its request. This crate knows nothing of sampling or of
//! models: what can be said of a request is said by `engine`.

#![forbid(unsafe_code)]

mod answers;
mod anthropic;
mod auth;
mod body;
mod chat;
mod error;
mod listen;
mod lora;
mod metrics;
mod native;
mod openai;
mod page;
mod params;
mod prompt;
mod responses;
mod tools;

use std::future::Future;
use std::io;
use std::ops::Deref;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::http::{HeaderValue, Method, header};
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use engine::sampler::Sampling;
use engine::{Engine, Runtime};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tower_http::cors::{AllowOrigin, CorsLayer};
use verify::program::Sandbox;

use crate::error::{ApiError, Dialect, Kind};
pub use crate::params::thinking::ReasoningFormat;

/// Questions that are reasoned about at a time; each has a thread, and one for each thought.
const REASONING: usize = 16;

/// How a server behaves.
#[derive(Clone, Debug)]
pub struct Options {
    /// What holds where a request says nothing.
    pub sampling: Sampling,
    /// Most tokens of an answer where a request says nothing.
    pub max_tokens: Option<usize>,
    /// Most tokens of thinking where a request says nothing.
    pub max_thinking: Option<usize>,
    /// Where the thinking goes where a request says nothing.
    pub reasoning_format: ReasoningFormat,
    /// Keys of which requests must bring one; if there are none, anybody may ask.
    pub api_keys: Vec<String>,
    /// Other sites whose pages may ask; `*` for all.
    pub cors_origins: Vec<String>,
    /// Most bytes of a request's body.
    pub body_limit: usize,
    /// Answers under way at a time, for `/slots`.
    pub parallel: usize,
    /// Where adapters may be loaded from at run time, by name.
    pub lora_dir: Option<PathBuf>,
    /// How long a client may take to send the head of a request, so that connections on which
    /// nothing, or a byte now and then, arrives can't be piled up.
    pub head_patience: Duration,
    /// How long a body may take to arrive.
    pub body_patience: Duration,
    /// Runs the programs that models write while they reason; without it, none are run.
    pub sandbox: Option<Arc<Sandbox>>,
    /// How long requests under way may take to end once the server is told to stop.
    pub patience: Duration,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            sampling: Sampling::default(),
            max_tokens: None,
            max_thinking: None,
            reasoning_format: ReasoningFormat::default(),
            api_keys: Vec::new(),
            cors_origins: Vec::new(),
            body_limit: 16 << 20,
            parallel: 256,
            lora_dir: None,
            head_patience: Duration::from_secs(20),
            body_patience: Duration::from_secs(60),
            sandbox: None,
            patience: Duration::from_secs(30),
        }
    }
}

/// What all handlers share.
#[derive(Clone)]
pub(crate) struct App(Arc<Shared>);

pub(crate) struct Shared {
    pub(crate) runtime: Runtime,
    pub(crate) name: String,
    pub(crate) created: u64,
    pub(crate) options: Options,
    /// Questions that may be reasoned about at a time.
    pub(crate) reasoning: Arc<Semaphore>,
    closing: AtomicBool,
}

impl Deref for App {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}

impl Shared {
    pub(crate) fn engine(&self) -> &Arc<Engine> {
        self.runtime.engine()
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Relaxed)
    }
}

/// Seconds since 1970.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |d| d.as_secs())
}

/// A name that no other object of this process has.
pub(crate) fn id(prefix: &str) -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let n = NEXT.fetch_add(1, Ordering::Relaxed);
    // As OpenAI's and Anthropic's are: `chatcmpl-…`, but `resp_…`, `msg_…`, `call_…`.
    let dash = if matches!(prefix, "chatcmpl" | "cmpl") { '-' } else { '_' };
    format!("{prefix}{dash}{:016x}{n:08x}", engine::sampler::random_seed())
}

fn router(app: App) -> Router {
    let mut router = Router::new()
        .route("/v1/chat/completions", post(openai::chat::create))
        .route("/chat/completions", post(openai::chat::create))
        .route("/v1/completions", post(openai::completions::create))
        .route("/v1/chat/completions/input_tokens", post(openai::chat::count_tokens))
        .route("/chat/completions/input_tokens", post(openai::chat::count_tokens))
        .route("/v1/responses", post(responses::create))
        .route("/responses", post(responses::create))
        .route("/v1/responses/input_tokens", post(responses::count_tokens))
        .route("/v1/messages", post(anthropic::create))
        .route("/v1/messages/count_tokens", post(anthropic::count_tokens))
        .route("/v1/models", get(openai::models::list))
        .route("/models", get(openai::models::list))
        .route("/v1/models/{*id}", get(openai::models::show))
        .route("/v1/embeddings", post(openai::embeddings::create))
        .route("/embeddings", post(openai::embeddings::create))
        .route("/v1/load_lora_adapter", post(lora::load))
        .route("/v1/unload_lora_adapter", post(lora::unload))
        .route("/lora-adapters", get(lora::list))
        .route("/completion", post(native::completion::create))
        .route("/completions", post(native::completion::create))
        .route("/tokenize", post(native::tokenize::tokenize))
        .route("/detokenize", post(native::tokenize::detokenize))
        .route("/apply-template", post(native::tokenize::apply_template))
        .route("/health", get(native::state::health))
        .route("/v1/health", get(native::state::health))
        .route("/props", get(native::state::props))
        .route("/slots", get(native::state::slots))
        .route("/metrics", get(native::state::prometheus))
        .route("/openapi.json", get(openapi))
        .fallback(nothing_here)
        .method_not_allowed_fallback(wrong_method)
        .layer(middleware::from_fn_with_state(app.clone(), auth::check));
    if !app.options.cors_origins.is_empty() {
        router = router.layer(cors(&app.options.cors_origins));
    }
    router.with_state(app)
}

/// What there is, for programs that read OpenAPI. A test holds it against what is answered.
async fn openapi() -> Response {
    let document = include_str!("openapi.json");
    ([(header::CONTENT_TYPE, "application/json")], document).into_response()
}

async fn nothing_here(request: axum::extract::Request) -> Response {
    let path = request.uri().path();
    if let Some(file) =
        page::file(path).filter(|_| matches!(*request.method(), Method::GET | Method::HEAD))
    {
        return file;
    }
    let message = format!("there is nothing at {path}; the API is under /v1");
    ApiError::new(Kind::NotFound, message).response(Dialect::at(path))
}

async fn wrong_method(request: axum::extract::Request) -> Response {
    let path = request.uri().path();
    let message = format!("{path} does not know the method {}", request.method());
    ApiError::new(Kind::Method, message).response(Dialect::at(path))
}

fn cors(origins: &[String]) -> CorsLayer {
    let layer = CorsLayer::new()
        .allow_methods([Method::GET, Method::POST, Method::OPTIONS])
        .allow_headers([
            header::AUTHORIZATION,
            header::CONTENT_TYPE,
            header::HeaderName::from_static("x-api-key"),
            header::HeaderName::from_static("anthropic-version"),
        ]);
    if origins.iter().any(|origin| origin == "*") {
        return layer.allow_origin(tower_http::cors::Any);
    }
    let origins = origins.iter().filter_map(|origin| HeaderValue::from_str(origin).ok());
    layer.allow_origin(AllowOrigin::list(origins))
}

/// Answers requests that come to `listener` until `stop` is done; then takes no more, and gives
/// those under way [`Options::patience`] to end.
///
/// # Errors
/// The listener fails.
pub async fn serve(
    listener: TcpListener,
    runtime: Runtime,
    name: String,
    options: Options,
    stop: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let (patience, head_patience) = (options.patience, options.head_patience);
    let app = App(Arc::new(Shared {
        runtime,
        name,
        created: now(),
        options,
        reasoning: Arc::new(Semaphore::new(REASONING)),
        closing: AtomicBool::new(false),
    }));
    let stop = {
        let app = app.clone();
        async move {
            stop.await;
            app.closing.store(true, Ordering::Relaxed);
            app.runtime.close();
            tracing::info!("shutting down: no more requests are taken in");
        }
    };
    if !listen::listen(listener, router(app), head_patience, patience, stop).await? {
        // Their connections are dropped with the runtime, which cancels them.
        tracing::warn!("requests were still under way after {patience:?}; they are cut off");
    }
    Ok(())
}
