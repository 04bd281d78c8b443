//! What the parent, the launcher's stages and the confined program's last moments tell each other.

use std::fmt;
use std::io::{Read, Write};
use std::path::PathBuf;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::program::{Limits, Status};

/// No message is longer; a length beyond this is not one of ours.
const LONGEST: usize = 256 << 20;

/// A failure between processes: what was being done, and what came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Failure(pub String);

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Names what was being done when something failed.
pub(super) trait Doing<T> {
    fn doing(self, what: impl fmt::Display) -> Result<T, Failure>;
}

impl<T, E: fmt::Display> Doing<T> for Result<T, E> {
    fn doing(self, what: impl fmt::Display) -> Result<T, Failure> {
        self.map_err(|e| Failure(format!("{what}: {e}")))
    }
}

/// The first thing the launcher is told.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Start {
    /// Who started it: if that is no longer its parent, it is to end.
    pub parent: u32,
    /// Whether it shall take namespaces of its own.
    pub namespaces: bool,
}

/// The launcher's first words, so that a program that is no launcher is noticed.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Hello {
    pub launcher: u32,
}

/// Changes whenever a message does.
pub(super) const VERSION: u32 = 1;

/// Where things are, as the program sees them.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Places {
    /// The directory of the source, which can't be written to.
    pub program: PathBuf,
    /// The file stdin is read from. It is gone from the directory before the program starts.
    pub input: PathBuf,
    /// The only directory that can be written to: current, temporary and home.
    pub work: PathBuf,
}

/// All that one run takes.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Orders {
    pub namespaces: bool,
    /// Run even if a required layer is missing.
    pub allow_weaker: bool,
    pub places: Places,
    /// On a machine without namespaces: the directory to delete in the end.
    pub base: Option<PathBuf>,
    /// The name of the source's file, and the source.
    pub source: (String, String),
    pub stdin: String,
    pub compile: Option<Vec<String>>,
    /// Empty to take every step but the last, and report on the layers.
    pub run: Vec<String>,
    pub environment: Vec<(String, String)>,
    pub readable: Vec<PathBuf>,
    /// The user to become, if this is root.
    pub become_user: Option<u32>,
    pub limits: Limits,
}

/// What the last stage is told: how to confine itself, and what to turn into.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Confinement {
    pub namespaces: bool,
    pub allow_weaker: bool,
    pub places: Places,
    pub command: Vec<String>,
    pub environment: Vec<(String, String)>,
    pub readable: Vec<PathBuf>,
    pub become_user: Option<u32>,
    pub limits: Limits,
    /// Processes of the same user that the kernel counts along, where it counts them together.
    pub others: u64,
}

/// What holds a program.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Held {
    pub namespaces: bool,
    pub landlock: u32,
    pub seccomp: bool,
    pub user: u32,
    pub user_namespace: bool,
}

/// How a run went.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Report {
    pub status: Status,
    pub peak_memory: u64,
    pub held: Held,
}

/// Writes one message: its length, then JSON.
pub(super) fn send(to: &mut impl Write, message: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_vec(message).doing("writing a message")?;
    let length = u32::try_from(text.len()).doing("a message too long")?;
    to.write_all(&length.to_le_bytes()).doing("sending a message")?;
    to.write_all(&text).doing("sending a message")
}

/// Reads one message.
pub(super) fn receive<T: DeserializeOwned>(from: &mut impl Read) -> Result<T, Failure> {
    let mut length = [0; 4];
    from.read_exact(&mut length).doing("waiting for a message")?;
    let length = u32::from_le_bytes(length) as usize;
    if length > LONGEST {
        return Err(Failure(format!("a message of {length} bytes is none")));
    }
    // Grows with what arrives: a length alone must not take the memory.
    let mut text = Vec::new();
    from.take(length as u64).read_to_end(&mut text).doing("reading a message")?;
    if text.len() < length {
        return Err(Failure("a message ended early".to_owned()));
    }
    serde_json::from_slice(&text).doing("a message that can't be understood")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_bytes_give_a_message_or_a_failure(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = receive::<Start>(&mut bytes.as_slice());
            let mut framed = u32::try_from(bytes.len()).unwrap().to_le_bytes().to_vec();
            framed.extend(&bytes);
            let _ = receive::<Orders>(&mut framed.as_slice());
        }
    }

    #[test]
    fn what_is_sent_is_received() {
        let mut wire = Vec::new();
        send(&mut wire, &Start { parent: 7, namespaces: true }).unwrap();
        let start: Start = receive(&mut wire.as_slice()).unwrap();
        assert!(start.parent == 7 && start.namespaces);
        wire.pop();
        assert!(receive::<Start>(&mut wire.as_slice()).is_err());
    }
}
