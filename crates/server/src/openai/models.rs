//! `/v1/models`: what there is to ask.

use axum::Json;
use axum::extract::{Path, State};
use serde_json::{Value, json};

use crate::App;
use crate::error::{ApiError, Kind};

fn card(app: &App) -> Value {
    let engine = app.engine();
    let config = engine.model().config();
    json!({
        "id": app.name,
        "object": "model",
        "created": app.created,
        "owned_by": "ponder",
        "max_model_len": engine.context_length(),
        "meta": {
            "vocab_size": engine.tokenizer().vocab_size(),
            "n_ctx_train": config.context_length,
            "n_embd": config.hidden,
            "n_layer": config.layers,
            "architecture": config.architecture,
            "thinks": engine.thinks(),
        },
    })
}

/// All models: the one that was loaded.
pub(crate) async fn list(State(app): State<App>) -> Json<Value> {
    Json(json!({"object": "list", "data": [card(&app)]}))
}

/// One model.
pub(crate) async fn show(
    State(app): State<App>,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    if id == app.name {
        return Ok(Json(card(&app)));
    }
    Err(ApiError {
        code: Some("model_not_found"),
        param: Some("model".to_owned()),
        ..ApiError::new(Kind::NotFound, format!("there is no model `{id}`, only `{}`", app.name))
    })
}
