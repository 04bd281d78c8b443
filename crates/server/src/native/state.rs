//! `/health`, `/props`, `/slots` and `/metrics`: how the server is.

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::App;
use crate::error::{ApiError, Kind};
use crate::metrics;

/// Whether requests are answered.
pub(crate) async fn health(State(app): State<App>) -> Response {
    if !app.runtime.is_alive() {
        return ApiError::new(Kind::Internal, "the engine has failed; start again").into_response();
    }
    if app.is_closing() {
        return ApiError::new(Kind::Unavailable, "shutting down").into_response();
    }
    Json(json!({"status": "ok"})).into_response()
}

/// The model and the settings that hold where a request says nothing.
pub(crate) async fn props(State(app): State<App>) -> Json<Value> {
    let engine = app.engine();
    let tokenizer = engine.tokenizer();
    let special = |id: Option<u32>| id.map_or("", |id| tokenizer.token_text(id));
    Json(json!({
        "model_alias": app.name,
        "model_path": app.name,
        "build_info": concat!("ponder ", env!("CARGO_PKG_VERSION")),
        "chat_template": engine.template().source(),
        "bos_token": special(tokenizer.bos()),
        "eos_token": special(tokenizer.eos()),
        "total_slots": app.options.parallel,
        "modalities": {"vision": false, "audio": false},
        "thinks": engine.thinks(),
        "default_generation_settings": {
            "n_ctx": engine.context_length(),
            "params": app.options.sampling,
        },
    }))
}

/// What is under way. There are no fixed slots: a list of the answers being generated.
pub(crate) async fn slots(State(app): State<App>) -> Json<Value> {
    let load = app.runtime.load();
    let n_ctx = app.engine().context_length();
    let slot = |id: usize| json!({"id": id, "n_ctx": n_ctx, "is_processing": id < load.running, "speculative": false});
    Json((0..app.options.parallel).map(slot).collect())
}

/// Counters for Prometheus.
pub(crate) async fn prometheus(State(app): State<App>) -> Response {
    let headers = [(header::CONTENT_TYPE, "text/plain; version=0.0.4")];
    (headers, metrics::render(&app)).into_response()
}
