//! `/v1/models`: what there is to ask.

use axum::Json;
use axum::extract::{Path, State};
use serde_json::{Value, json};

use crate::App;
use crate::error::{ApiError, Kind};

fn card(app: &App, id: &str) -> Value {
    let engine = app.engine();
    let config = engine.model().config();
    json!({
        "id": id,
        "parent": (id != app.name).then_some(&app.name),
        "object": "model",
        "created": app.created,
        "owned_by": "ponder",
        "max_model_len": engine.context_length(),
        "meta": {
            "vocab_size": engine.tokenizer().vocab_size(),
            "n_ctx_train": config.made_for(),
            "n_embd": config.hidden,
            "n_layer": config.layers,
            "architecture": config.architecture,
            "thinks": engine.thinks(),
        },
    })
}

/// All models: the one that was loaded, and it with each of its adapters.
pub(crate) async fn list(State(app): State<App>) -> Json<Value> {
    let mut names = vec![app.name.clone()];
    names.extend(app.engine().adapter_names());
    let cards: Vec<Value> = names.iter().map(|name| card(&app, name)).collect();
    Json(json!({"object": "list", "data": cards}))
}

/// One model.
pub(crate) async fn show(
    State(app): State<App>,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    if id == app.name || app.engine().adapter(&id).is_some() {
        return Ok(Json(card(&app, &id)));
    }
    Err(ApiError {
        code: Some("model_not_found"),
        param: Some("model".to_owned()),
        ..ApiError::new(Kind::NotFound, format!("there is no model `{id}`, only `{}`", app.name))
    })
}
