//! The page at `/`, built from `web/` and embedded into the program.

use axum::http::header;
use axum::response::{IntoResponse, Response};
use include_dir::{Dir, File, include_dir};

static PAGE: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../../web/dist");

/// Nothing from elsewhere, and nobody else's frame: what the model writes is not to be trusted.
const POLICY: &str = "default-src 'self'; style-src 'self' 'unsafe-inline'; \
    img-src 'self' data:; font-src 'self' data:; connect-src 'self'; object-src 'none'; \
    base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

fn content_type(path: &str) -> &'static str {
    match path.rsplit('.').next() {
        Some("html") => "text/html; charset=utf-8",
        Some("js" | "mjs") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some("json" | "webmanifest") => "application/json",
        Some("woff2") => "font/woff2",
        Some("png") => "image/png",
        Some("ico") => "image/x-icon",
        Some("txt" | "md") => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

/// Whether a path is one of the page's.
pub(crate) fn has(path: &str) -> bool {
    find(path).is_some()
}

/// A file by its name among those that were embedded: no path leads to the disk.
fn find(path: &str) -> Option<&'static File<'static>> {
    match path.trim_start_matches('/') {
        "" => PAGE.get_file("index.html"),
        path => PAGE.get_file(path),
    }
}

/// The page, its scripts, styles and fonts; none if there is no such file.
pub(crate) fn file(path: &str) -> Option<Response> {
    let file = find(path)?;
    // Names of assets hold a hash of their contents.
    let keep = match path.starts_with("/assets/") {
        true => "public, max-age=31536000, immutable",
        false => "no-cache",
    };
    let headers = [
        (header::CONTENT_TYPE, content_type(file.path().to_str().unwrap_or_default())),
        (header::CACHE_CONTROL, keep),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
    ];
    Some((headers, file.contents()).into_response())
}
