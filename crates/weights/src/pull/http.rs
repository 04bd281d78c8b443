//! HTTP: one GET at a time, redirects followed by hand, downloads that survive a cut connection.
//!
//! Redirects are followed here because the first answer of the hub carries the file's hash
//! (`x-linked-etag`) and the second, from its content network, must not be sent the token.

use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use ureq::http::{HeaderMap, Uri};
use ureq::tls::{PemItem, RootCerts, TlsConfig};

use super::part::Part;
use super::{Error, Progress};

/// How often a broken download is taken up again without a single byte having come in between.
const RETRIES: u32 = 5;
const REDIRECTS: usize = 10;

/// A connection pool and a token.
pub(super) struct Client {
    agent: ureq::Agent,
    token: Option<String>,
    /// The wait before the first retry; doubles each time.
    pause: Duration,
}

/// A successful answer (200, 206) or 416, with what the redirects on the way said.
pub(super) struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub linked_sha256: Option<String>,
    pub body: ureq::Body,
}

impl Client {
    /// `idle` is how long a silent connection is waited for; the pauses between retries are in
    /// proportion.
    pub fn new(token: Option<String>, idle: Duration) -> Self {
        let mut config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .user_agent(concat!("ponder/", env!("CARGO_PKG_VERSION")))
            .timeout_connect(Some(Duration::from_secs(10).min(idle)))
            .timeout_recv_response(Some(idle))
            .timeout_per_read(Some(idle));
        if let Some(roots) = own_roots() {
            config = config.tls_config(TlsConfig::builder().root_certs(roots).build());
        }
        Client { agent: config.build().into(), token, pause: idle / 60 }
    }

    /// Whether requests carry a token.
    pub fn has_token(&self) -> bool {
        self.token.is_some()
    }

    /// GET from `from` on. Statuses other than 200, 206 and 416 are errors.
    pub fn get(&self, url: &str, from: u64) -> Result<Answer, Error> {
        let broken = |reason: String| Error::Network { url: url.into(), reason };
        let first: Uri = url.parse().map_err(|err| broken(format!("not a URL: {err}")))?;
        let mut here = first.clone();
        let mut linked_sha256 = None;
        for _ in 0..REDIRECTS {
            // No transparent compression: sizes, ranges and hashes are of the bytes as stored.
            let mut request = self.agent.get(&here).header("accept-encoding", "identity");
            if from > 0 {
                request = request.header("range", format!("bytes={from}-"));
            }
            if let Some(token) = self.token.as_ref().filter(|_| same_origin(&first, &here)) {
                request = request.header("authorization", format!("Bearer {token}"));
            }
            let answer = request.call().map_err(|err| broken(reason(&err)))?;
            let status = answer.status().as_u16();
            let (head, body) = answer.into_parts();
            let header = |name: &str| head.headers.get(name).and_then(|v| v.to_str().ok());
            linked_sha256 = linked_sha256.or_else(|| header("x-linked-etag").and_then(sha256));
            match status {
                200 | 206 | 416 => {
                    return Ok(Answer { status, headers: head.headers, linked_sha256, body });
                }
                301 | 302 | 303 | 307 | 308 => {
                    let to =
                        header("location").ok_or_else(|| broken("redirect to nowhere".into()))?;
                    here = join(&here, to).ok_or_else(|| broken(format!("redirect to {to}")))?;
                    if first.scheme_str() == Some("https") && here.scheme_str() != Some("https") {
                        return Err(broken(format!("redirect to the unencrypted {here}")));
                    }
                }
                404 | 410 => return Err(Error::NotFound { url: url.into() }),
                _ => return Err(Error::Status { url: url.into(), status }),
            }
        }
        Err(broken(format!("more than {REDIRECTS} redirects")))
    }

    /// GET; a server that is busy is asked again, later and later.
    pub fn get_patiently(&self, url: &str) -> Result<Answer, Error> {
        let mut failures = 0;
        loop {
            match self.get(url, 0) {
                Err(error) if passing(&error, false) && failures < RETRIES => {
                    std::thread::sleep(self.pause * 2u32.pow(failures));
                    failures += 1;
                }
                outcome => return outcome,
            }
        }
    }

    /// Appends the rest of a file to `part`. A connection that breaks is taken up where it broke; a
    /// server that knows no ranges makes us begin anew.
    pub fn download(
        &self,
        url: &str,
        part: &mut Part,
        progress: &dyn Progress,
    ) -> Result<(), Error> {
        progress.begin(&part.name(), part.expected.size);
        let outcome = self.download_patiently(url, part, progress);
        progress.end();
        outcome
    }

    fn download_patiently(
        &self,
        url: &str,
        part: &mut Part,
        progress: &dyn Progress,
    ) -> Result<(), Error> {
        let mut failures = 0;
        let mut begun = part.written() > 0;
        loop {
            progress.at(part.written());
            if part.expected.size == Some(part.written()) {
                return Ok(());
            }
            let before = part.written();
            let Err(error) = self.append(url, part, progress) else { return Ok(()) };
            if part.written() > before {
                (failures, begun) = (0, true);
            }
            if !passing(&error, begun) || failures == RETRIES {
                return Err(error);
            }
            std::thread::sleep(self.pause * 2u32.pow(failures));
            failures += 1;
        }
    }

    fn append(&self, url: &str, part: &mut Part, progress: &dyn Progress) -> Result<(), Error> {
        let answer = self.get(url, part.written())?;
        if let (None, Some(sha256)) = (&part.expected.sha256, answer.linked_sha256) {
            part.expected.sha256 = Some(sha256);
        }
        let header = |name: &str| answer.headers.get(name).and_then(|v| v.to_str().ok());
        let broken = |reason: String| Error::Network { url: url.into(), reason };
        let end = match answer.status {
            206 => {
                let range = header("content-range").and_then(range);
                if range.is_none_or(|(start, _)| start != part.written()) {
                    // Not the piece that was asked for: what is here and what comes do not fit.
                    part.restart()?;
                    return Err(broken("the server sent another range than asked for".into()));
                }
                range.and_then(|(_, total)| total)
            }
            416 => {
                part.restart()?;
                return Err(broken("the server has fewer bytes than were here already".into()));
            }
            _ => {
                if part.written() > 0 {
                    part.restart()?;
                }
                header("content-length").and_then(|v| v.parse().ok())
            }
        };
        let mut body = answer.body.into_reader();
        let mut buffer = vec![0; 1 << 17];
        loop {
            match body.read(&mut buffer) {
                Ok(0) => break,
                Ok(n) => {
                    part.write(&buffer[..n])?;
                    progress.at(part.written());
                    if part.expected.size.is_some_and(|size| part.written() > size) {
                        return Ok(()); // Too long: `finish` says so; no need to fill the disk first.
                    }
                }
                Err(err) if err.kind() == std::io::ErrorKind::Interrupted => {}
                Err(err) => return Err(broken(err.to_string())),
            }
        }
        match end.or(part.expected.size) {
            Some(end) if part.written() < end => {
                Err(broken(format!("the connection ended after {} of {end} bytes", part.written())))
            }
            _ => Ok(()),
        }
    }
}

/// Whether what went wrong may go right in a moment. A host that never answered (`begun` is whether it has)
/// will not do so in a second; another source may.
fn passing(error: &Error, begun: bool) -> bool {
    match error {
        Error::Network { .. } => begun,
        Error::Status { status, .. } => matches!(status, 408 | 429 | 500 | 502..=504),
        _ => false,
    }
}

/// `SSL_CERT_FILE` replaces the built-in roots, as it does for OpenSSL: networks that open every
/// connection come with a certificate of their own.
fn own_roots() -> Option<RootCerts> {
    let pem = std::fs::read(std::env::var_os("SSL_CERT_FILE")?).ok()?;
    let certificates: Vec<_> = ureq::tls::parse_pem(&pem)
        .filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        })
        .collect();
    (!certificates.is_empty()).then(|| RootCerts::Specific(Arc::new(certificates)))
}

fn same_origin(a: &Uri, b: &Uri) -> bool {
    (a.scheme(), a.authority()) == (b.scheme(), b.authority())
}

/// Where a `location` header leads.
fn join(base: &Uri, location: &str) -> Option<Uri> {
    let (scheme, authority) = (base.scheme_str()?, base.authority()?);
    let url = if location.contains("://") {
        location.to_owned()
    } else if let Some(rest) = location.strip_prefix("//") {
        format!("{scheme}://{rest}")
    } else if location.starts_with('/') {
        format!("{scheme}://{authority}{location}")
    } else {
        let directory = &base.path()[..=base.path().rfind('/')?];
        format!("{scheme}://{authority}{directory}{location}")
    };
    url.parse().ok()
}

/// Start and total of `bytes 5-9/10`.
fn range(header: &str) -> Option<(u64, Option<u64>)> {
    let (span, total) = header.strip_prefix("bytes ")?.split_once('/')?;
    Some((span.split_once('-')?.0.parse().ok()?, total.parse().ok()))
}

/// The hash in an entity tag, if it is one.
fn sha256(etag: &str) -> Option<String> {
    let tag = etag.trim_start_matches("W/").trim_matches('"').to_lowercase();
    (tag.len() == 64 && tag.bytes().all(|b| b.is_ascii_hexdigit())).then_some(tag)
}

/// The shortest true account of a failed request.
fn reason(error: &ureq::Error) -> String {
    match error {
        ureq::Error::Io(err) => match err.kind() {
            std::io::ErrorKind::ConnectionRefused => "connection refused".into(),
            // The resolver's own words differ from system to system.
            _ if err.to_string().contains("failed to lookup address") => {
                "the host name is unknown".into()
            }
            _ => err.to_string(),
        },
        ureq::Error::HostNotFound => "the host name is unknown".into(),
        ureq::Error::Timeout(_) => "no answer in time".into(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_of_every_form() {
        let base: Uri = "https://h:1/a/b?c".parse().unwrap();
        let cases = [
            ("http://x/y", "http://x/y"),
            ("//x/y", "https://x/y"),
            ("/y", "https://h:1/y"),
            ("y", "https://h:1/a/y"),
        ];
        for (location, expected) in cases {
            assert_eq!(join(&base, location).unwrap().to_string(), expected);
        }
    }

    #[test]
    fn headers() {
        assert_eq!(range("bytes 5-9/10"), Some((5, Some(10))));
        assert_eq!(range("bytes 5-9/*"), Some((5, None)));
        assert_eq!(range("5-9"), None);
        let hash = "ab".repeat(32);
        assert_eq!(sha256(&format!("\"{hash}\"")), Some(hash));
        assert_eq!(sha256("\"abc\""), None);
    }
}
