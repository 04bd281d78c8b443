//! Everything that can go wrong in a pull, each with what to do about it.

use std::io;
use std::path::{Path, PathBuf};

use super::human_bytes;
use crate::store::StoreError;

/// Why a model could not be had.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not installed, and the network is not to be touched.
    #[error("`{name}` is not in {} and --offline forbids fetching it\nhint: run `ponder pull {name}` once with a network", store.display())]
    Offline {
        /// The model.
        name: String,
        /// Where it was looked for.
        store: PathBuf,
    },
    /// Several sources, and each failed in its own way.
    #[error("could not get `{name}` from any of its {} sources{}", attempts.len(), list(attempts))]
    AllSources {
        /// The model.
        name: String,
        /// Each source with what it said.
        attempts: Vec<(String, Error)>,
    },
    /// No connection, or it broke and could not be taken up again.
    #[error(
        "could not reach {url}: {reason}\nhint: check the network, HTTPS_PROXY and HF_ENDPOINT; what was fetched so far is kept"
    )]
    Network {
        /// What was asked for.
        url: String,
        /// What the connection said.
        reason: String,
    },
    /// The repository or the file in it does not exist.
    #[error(
        "{url} does not exist (404)\nhint: check the spelling of owner, repository and revision"
    )]
    NotFound {
        /// What was asked for.
        url: String,
    },
    /// Gated, private, or a wrong token.
    #[error("the hub refused access to {repo} ({status})\nhint: {}", access_hint(repo, *had_token))]
    Access {
        /// `owner/name`.
        repo: String,
        /// 401 or 403.
        status: u16,
        /// Whether a token was sent.
        had_token: bool,
    },
    /// Any other answer that is no success.
    #[error(
        "{url} answered with status {status}\nhint: the server may be overloaded; try again later, what was fetched so far is kept"
    )]
    Status {
        /// What was asked for.
        url: String,
        /// The HTTP status.
        status: u16,
    },
    /// The answer was not what the hub's interface promises.
    #[error(
        "{url} gave an answer that could not be understood: {reason}\nhint: HF_ENDPOINT must name a Hugging Face hub or a mirror of one"
    )]
    BadAnswer {
        /// What was asked for.
        url: String,
        /// What was wrong with it.
        reason: String,
    },
    /// The repository has none of what was asked for.
    #[error("{repo} has no {wanted}\nhint: {hint}")]
    NothingToPull {
        /// `owner/name`.
        repo: String,
        /// What was looked for.
        wanted: String,
        /// What there is instead.
        hint: String,
    },
    /// The bytes are not the ones expected.
    #[error(
        "{file} from {origin} is not the file expected: its SHA-256 is {actual}, expected {expected}\nhint: the download was discarded; pull again, and if it happens again the source has changed or is not to be trusted"
    )]
    WrongHash {
        /// The file's name.
        file: String,
        /// Where the bytes came from.
        origin: String,
        /// What the catalogue or the hub says.
        expected: String,
        /// What was found.
        actual: String,
    },
    /// More or fewer bytes than expected.
    #[error(
        "{file} from {origin} has {actual} bytes, expected {expected}\nhint: the download was discarded; pull again"
    )]
    WrongSize {
        /// The file's name.
        file: String,
        /// Where the bytes came from.
        origin: String,
        /// What the catalogue or the hub says.
        expected: u64,
        /// What was found.
        actual: u64,
    },
    /// The hub offers another file than the catalogue knows, so it was not fetched.
    #[error(
        "{origin} has another {file} than the catalogue: SHA-256 {offered}, expected {expected}\nhint: the source has changed; correct the hash in the catalogue if the new file is wanted"
    )]
    AnotherFile {
        /// The file's name.
        file: String,
        /// The source.
        origin: String,
        /// What the hub says.
        offered: String,
        /// What the catalogue says.
        expected: String,
    },
    /// Not enough room on the disk.
    #[error("{}\nhint: free some space, or set PONDER_HOME to a directory on another disk; what was fetched so far is kept", room(path, *needed, *available))]
    DiskFull {
        /// Where the model was to go.
        path: PathBuf,
        /// Bytes still to be written, if known.
        needed: Option<u64>,
        /// Bytes free, if known.
        available: Option<u64>,
    },
    /// The operating system refused.
    #[error("could not {action} {}", path.display())]
    Io {
        /// A verb: read, write, create.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// No pip on the `PATH`.
    #[error(
        "pip was not found: neither `python3 -m pip` nor `pip3` nor `pip` works here\nhint: install it (Debian, Ubuntu: apt install python3-pip; elsewhere: python3 -m ensurepip --user), then pull again"
    )]
    NoPip,
    /// pip ran and failed.
    #[error(
        "pip could not download {requirement}: {reason}\nhint: try `{command}` by hand; finished parts are kept and not fetched again"
    )]
    Pip {
        /// `package==version`.
        requirement: String,
        /// The telling line of what pip said.
        reason: String,
        /// The command as a user would type it.
        command: String,
    },
    /// The wheel is no wheel or does not have the file.
    #[error(
        "the wheel of {requirement} has no usable `{member}`: {reason}\nhint: the wheel was discarded; pull again, and if it happens again correct the catalogue"
    )]
    Wheel {
        /// `package==version`.
        requirement: String,
        /// The file looked for.
        member: String,
        /// What is wrong.
        reason: String,
    },
    /// A path in the catalogue leads nowhere.
    #[error("the catalogue says `{name}` is at {}, but nothing is there\nhint: correct the path in the catalogue", path.display())]
    NoPath {
        /// The model.
        name: String,
        /// The path.
        path: PathBuf,
    },
    /// The store itself.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Error {
    /// Wraps what the system said; a full disk is told apart, since its remedy is another.
    pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Error::DiskFull { path, needed: None, available: None }
            }
            _ => Error::Io { action, path, source },
        }
    }

    /// Whether another source could still do better. A full or broken disk stays what it is.
    pub(super) fn is_of_the_source(&self) -> bool {
        !matches!(self, Error::DiskFull { .. } | Error::Io { .. } | Error::Store(_))
    }
}

/// The attempts of [`Error::AllSources`], each with its hint indented below it.
fn list(attempts: &[(String, Error)]) -> String {
    let mut text = String::new();
    for (source, error) in attempts {
        text += &format!("\n  {source}: {}", error.to_string().replace('\n', "\n    "));
    }
    text
}

fn access_hint(repo: &str, had_token: bool) -> String {
    if had_token {
        format!(
            "accept the model's terms at https://huggingface.co/{repo} with the account HF_TOKEN belongs to, or check the token"
        )
    } else {
        "check the spelling; if the model is private or gated, set HF_TOKEN to a token of an account with access".into()
    }
}

fn room(path: &Path, needed: Option<u64>, available: Option<u64>) -> String {
    let path = path.display();
    match (needed.map(human_bytes), available.map(human_bytes)) {
        (Some(needed), Some(available)) => {
            format!("not enough room in {path}: {needed} still needed, {available} free")
        }
        _ => format!("could not write {path}: the disk is full"),
    }
}
