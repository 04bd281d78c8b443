//! Bodies of requests: JSON of a bounded size that arrives within a bounded time.

use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, Request};
use axum::response::Response;
use futures_util::StreamExt;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::App;
use crate::error::{ApiError, Dialect, Kind};

/// The JSON object in a request's body.
pub(crate) struct Fields(pub(crate) Value);

impl Fields {
    /// Some of the fields; the others are ignored.
    pub(crate) fn read<T: DeserializeOwned>(&self) -> Result<T, ApiError> {
        read(&self.0)
    }
}

/// Some of an object's fields; the others are ignored. Errors name the field.
pub(crate) fn read<T: DeserializeOwned>(value: &Value) -> Result<T, ApiError> {
    serde_path_to_error::deserialize(value).map_err(|error| {
        let path = error.path().to_string();
        let message = error.inner().to_string();
        match path.as_str() {
            "." => ApiError::new(Kind::Invalid, message),
            _ => ApiError::param(path.clone(), format!("{path}: {message}")),
        }
    })
}

async fn collect(body: Body, limit: usize) -> Result<Vec<u8>, ApiError> {
    let too_large = || {
        let message = format!("the body is larger than the limit of {limit} bytes");
        ApiError::new(Kind::TooLarge, message)
    };
    let mut stream = body.into_data_stream();
    let mut bytes = Vec::new();
    while let Some(piece) = stream.next().await {
        let piece: Bytes = piece.map_err(|error| {
            ApiError::new(Kind::Invalid, format!("the body could not be read: {error}"))
        })?;
        if bytes.len() + piece.len() > limit {
            return Err(too_large());
        }
        bytes.extend_from_slice(&piece);
    }
    Ok(bytes)
}

impl FromRequest<App> for Fields {
    type Rejection = Response;

    async fn from_request(request: Request, app: &App) -> Result<Fields, Response> {
        let dialect = Dialect::at(request.uri().path());
        let read = async {
            let (limit, patience) = (app.options.body_limit, app.options.body_patience);
            let body = collect(request.into_body(), limit);
            let bytes = tokio::time::timeout(patience, body).await.map_err(|_| {
                let message = format!("the body took longer than {} s", patience.as_secs());
                ApiError::new(Kind::Timeout, message)
            })??;
            let value: Value = serde_json::from_slice(&bytes).map_err(|error| {
                ApiError::new(Kind::Invalid, format!("the body is not valid JSON: {error}"))
            })?;
            match value {
                Value::Object(_) => Ok(Fields(value)),
                _ => Err(ApiError::new(Kind::Invalid, "the body must be a JSON object")),
            }
        };
        read.await.map_err(|error: ApiError| error.response(dialect))
    }
}
