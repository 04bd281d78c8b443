//! How a run ended.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Why a program is no longer running.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Status {
    /// It ended by itself, with this code.
    Exited(i32),
    /// A signal ended it: a crash, or its own doing.
    Signalled(i32),
    /// The compiler refused it; what it said is in `stderr`.
    NotCompiled,
    /// The clock ran out.
    OutOfTime,
    /// It used up its time on the processors.
    OutOfCpu,
    /// Its processes held more memory than allowed.
    OutOfMemory,
    /// It had more processes and threads than allowed. Where the kernel counts them alone, the
    /// program can't start any more instead.
    TooManyProcesses,
    /// It wrote more files, or more into them, than allowed. Where the private directory is a file
    /// system of its own the program sees "no space left" instead and decides itself what to do.
    OutOfDisk,
    /// It wrote more to stdout or stderr than allowed.
    TooMuchOutput,
}

impl Status {
    /// Whether the program ended by itself and called that a success.
    pub fn is_success(self) -> bool {
        self == Self::Exited(0)
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited(code) => write!(f, "exited with code {code}"),
            Self::Signalled(signal) => write!(f, "was ended by signal {signal}"),
            Self::NotCompiled => f.write_str("didn't compile"),
            Self::OutOfTime => f.write_str("ran out of time"),
            Self::OutOfCpu => f.write_str("ran out of processor time"),
            Self::OutOfMemory => f.write_str("ran out of memory"),
            Self::TooManyProcesses => f.write_str("had too many processes"),
            Self::OutOfDisk => f.write_str("ran out of disk space"),
            Self::TooMuchOutput => f.write_str("wrote too much output"),
        }
    }
}

/// What came of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// Why it is no longer running.
    pub status: Status,
    /// What it wrote to stdout, up to the limit; bytes that are no UTF-8 replaced.
    pub stdout: String,
    /// What it wrote to stderr, likewise.
    pub stderr: String,
    /// Seconds on the clock, from before the first process was started until all were gone.
    pub seconds: f64,
    /// The most memory seen in use at once, in bytes. A sample: a short peak can be missed.
    pub peak_memory: u64,
}
