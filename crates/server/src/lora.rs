//! Adapters: which there are, and which a request wants.
//!
//! A request chooses one by giving its name for the model's, as with vLLM, or by llama-server's
//! `lora: [{"id", "scale"}]`. At run time adapters are loaded by name from one directory that the
//! server was started with; no path in a request reaches the disk.

use axum::Json;
use axum::extract::State;
use engine::Lora;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::App;
use crate::body::Fields;
use crate::chat::aside;
use crate::error::{ApiError, Kind};

#[derive(Debug, Deserialize)]
pub(crate) struct LoraFields {
    model: Option<String>,
    lora: Option<Vec<Wanted>>,
}

#[derive(Debug, Deserialize)]
struct Wanted {
    id: usize,
    scale: Option<f32>,
}

impl LoraFields {
    /// The adapter that is wanted, if one is.
    pub(crate) fn find(self, app: &App) -> Result<Option<Lora>, ApiError> {
        let engine = app.engine();
        let mut wanted = self.lora.unwrap_or_default();
        wanted.retain(|wanted| wanted.scale != Some(0.0));
        let Some(first) = wanted.first() else {
            return Ok(self.model.and_then(|name| engine.adapter(&name)));
        };
        if wanted.len() > 1 {
            return Err(ApiError::param("lora", "a request can use one adapter at a time"));
        }
        let names = engine.adapter_names();
        let found = names.get(first.id).and_then(|name| engine.adapter(name));
        let mut lora = found.ok_or_else(|| {
            let message = format!("there is no adapter {}, only {} of them", first.id, names.len());
            ApiError::param("lora[0].id", message)
        })?;
        lora.scale = first.scale.unwrap_or(1.0);
        if !lora.scale.is_finite() {
            return Err(ApiError::param("lora[0].scale", "scale must be a finite number"));
        }
        Ok(Some(lora))
    }
}

/// All adapters, as llama-server lists them.
pub(crate) async fn list(State(app): State<App>) -> Json<Value> {
    let names = app.engine().adapter_names();
    let entry = |(id, name): (usize, &String)| json!({"id": id, "path": name, "scale": 0.0});
    Json(names.iter().enumerate().map(entry).collect())
}

#[derive(Debug, Deserialize)]
struct LoadFields {
    lora_name: String,
}

/// A name that is nothing but a name: no separators, no way up.
fn is_plain(name: &str) -> bool {
    let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    !name.is_empty() && name.len() <= 128 && !name.starts_with('.') && name.chars().all(fine)
}

/// Loads an adapter from the server's directory.
pub(crate) async fn load(State(app): State<App>, fields: Fields) -> Result<Json<Value>, ApiError> {
    let LoadFields { lora_name: name } = fields.read()?;
    let Some(dir) = app.options.lora_dir.clone() else {
        let message =
            "adapters can be loaded at run time only if the server was started with --lora-dir";
        return Err(ApiError::new(Kind::Unsupported, message));
    };
    if !is_plain(&name) {
        let message = "lora_name must be the plain name of an adapter in the server's directory";
        return Err(ApiError::param("lora_name", message));
    }
    aside(move || {
        let path = [dir.join(&name), dir.join(format!("{name}.gguf"))]
            .into_iter()
            .find(|path| path.exists())
            .ok_or_else(|| ApiError {
                param: Some("lora_name".to_owned()),
                ..ApiError::new(Kind::NotFound, format!("there is no adapter `{name}`"))
            })?;
        app.engine()
            .load_adapter(&name, &path)
            .map_err(|error| ApiError::param("lora_name", error.to_string()))?;
        Ok(Json(json!({"status": "ok", "lora_name": name})))
    })
    .await
}

/// Forgets an adapter.
pub(crate) async fn unload(
    State(app): State<App>,
    fields: Fields,
) -> Result<Json<Value>, ApiError> {
    let LoadFields { lora_name: name } = fields.read()?;
    match app.engine().unload_adapter(&name) {
        true => Ok(Json(json!({"status": "ok", "lora_name": name}))),
        false => Err(ApiError {
            param: Some("lora_name".to_owned()),
            ..ApiError::new(Kind::NotFound, format!("there is no adapter `{name}`"))
        }),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn names_lead_nowhere_else() {
        for name in ["../x", "/etc/passwd", "a/b", "a\\b", "", ".", "..", ".ssh", "a\0b"] {
            assert!(!super::is_plain(name), "{name}");
        }
        assert!(super::is_plain("my-adapter_1.0"));
    }
}
