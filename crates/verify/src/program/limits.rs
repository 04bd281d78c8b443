//! What a program may use.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What one run may use, all its processes together. Whatever crosses a limit is stopped; nothing
/// here is a reservation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Time on the clock, from start to finish, compiling included.
    pub wall: Duration,
    /// Time on the processors, all processes and threads added up.
    pub cpu: Duration,
    /// Bytes of memory: what the processes have written to, page tables and swap included.
    /// It is looked at every few milliseconds, so a fast program can go over it for as long; the
    /// kernel holds each single process to a little more than this at every moment.
    pub memory: u64,
    /// Processes and threads at once.
    pub processes: u64,
    /// Bytes in files, in all, under the program's private directory.
    pub disk: u64,
    /// Files and directories under the program's private directory.
    pub files: u64,
    /// Bytes kept of each of stdout and stderr; a program that writes more is stopped.
    pub output: u64,
}

impl Default for Limits {
    /// Enough for a test of a function or a contest problem, and for compiling one.
    fn default() -> Self {
        Self {
            wall: Duration::from_secs(15),
            cpu: Duration::from_secs(15),
            memory: 1 << 30,
            processes: 64,
            disk: 64 << 20,
            files: 4096,
            output: 1 << 20,
        }
    }
}

impl Limits {
    /// The defaults with so much time, on the clock and on the processors.
    pub fn seconds(seconds: f64) -> Self {
        let time = Duration::try_from_secs_f64(seconds).unwrap_or(Duration::ZERO);
        Self { wall: time, cpu: time, ..Self::default() }
    }
}
