//! Who may ask: keys, compared in constant time.

use axum::extract::{Request, State};
use axum::http::{HeaderMap, header};
use axum::middleware::Next;
use axum::response::Response;
use subtle::{Choice, ConstantTimeEq};

use crate::error::{ApiError, Dialect, Kind};
use crate::{App, page};

/// Paths anybody may see: they say nothing of anyone's requests, and the page has to load before it
/// can ask for a key.
fn is_open(path: &str) -> bool {
    matches!(path, "/health" | "/v1/health" | "/openapi.json") || page::has(path)
}

/// The key a request brings: as a bearer token or, as Anthropic's clients do, as `x-api-key`.
pub(crate) fn key(headers: &HeaderMap) -> Option<&str> {
    let bearer = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, key)| key.trim());
    bearer.or_else(|| headers.get("x-api-key")?.to_str().ok())
}

/// Whether a key is one of those there are. How long it takes tells nothing about them but their
/// number and lengths.
fn is_known(keys: &[String], key: &str) -> bool {
    let mut known = Choice::from(0);
    for other in keys {
        known |= other.as_bytes().ct_eq(key.as_bytes());
    }
    known.into()
}

/// Lets a request pass that brings a key, or needs none.
pub(crate) async fn check(State(app): State<App>, request: Request, next: Next) -> Response {
    let keys = &app.options.api_keys;
    let path = request.uri().path();
    if keys.is_empty() || is_open(path) || request.method() == axum::http::Method::OPTIONS {
        return next.run(request).await;
    }
    match key(request.headers()) {
        Some(key) if is_known(keys, key) => next.run(request).await,
        found => {
            let message = match found {
                Some(_) => "this API key is not known here",
                None => "an API key is needed: send `Authorization: Bearer KEY`",
            };
            let error = ApiError {
                code: Some("invalid_api_key"),
                ..ApiError::new(Kind::Unauthorized, message)
            };
            error.response(Dialect::at(path))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_in_either_header() {
        let mut headers = HeaderMap::new();
        assert_eq!(key(&headers), None);
        headers.insert("x-api-key", "b".parse().unwrap());
        assert_eq!(key(&headers), Some("b"));
        headers.insert(header::AUTHORIZATION, "bearer a".parse().unwrap());
        assert_eq!(key(&headers), Some("a"));
        headers.insert(header::AUTHORIZATION, "Basic a".parse().unwrap());
        assert_eq!(key(&headers), Some("b"));
    }

    #[test]
    fn only_whole_keys_are_known() {
        let keys = ["secret".to_owned(), "other".to_owned()];
        assert!(is_known(&keys, "secret") && is_known(&keys, "other"));
        assert!(!is_known(&keys, "secre") && !is_known(&keys, "secrets") && !is_known(&keys, ""));
    }
}
