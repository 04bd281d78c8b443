//! What was seen at each step, for people and for programs.
//!
//! A run's folder holds it twice: `metrics.jsonl`, a JSON object a line, is what everything here
//! reads; `events.out.tfevents.*` says the same to TensorBoard. A run that is killed at any point
//! leaves at most half a line, and one that goes on from a checkpoint leaves no trace of what came
//! after the checkpoint the first time.

pub mod curves;
mod events;
mod lines;

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use events::Events;

/// Name of the file that a run's records are read from.
pub const METRICS: &str = "metrics.jsonl";

/// Names of one completion among those of a step, for whoever wants to see what the model does.
pub mod sample {
    /// The text that was to be completed.
    pub const PROMPT: &str = "sample/prompt";
    /// What the model made of it.
    pub const COMPLETION: &str = "sample/completion";
    /// The figure that tells what it was worth.
    pub const REWARD: &str = "sample/reward";
}

/// What one step, or one evaluation between steps, showed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Record {
    /// The step, from 1; 0 is what was there before the first.
    pub step: u64,
    /// When, in seconds since 1970; the journal fills it in where it is missing.
    pub time: Option<f64>,
    /// Figures by name, as `reward/mean`, in the order they are to be read.
    pub scalars: Vec<(String, f64)>,
    /// Samples by name.
    pub texts: Vec<(String, String)>,
}

impl Record {
    /// Adds a figure.
    pub fn put(&mut self, name: &str, value: f64) {
        self.scalars.push((name.to_owned(), value));
    }

    /// Adds figures, with `prefix` before their names.
    pub fn put_all(
        &mut self,
        prefix: &str,
        figures: impl IntoIterator<Item = (&'static str, f64)>,
    ) {
        for (name, value) in figures {
            self.put(&format!("{prefix}{name}"), value);
        }
    }

    /// Adds what a step's learning took: `tokens` went through the network in `time`.
    pub fn took(&mut self, tokens: usize, time: Duration) {
        let seconds = time.as_secs_f64();
        self.put("tokens/trained", tokens as f64);
        self.put("speed/trained_per_second", tokens as f64 / seconds.max(1e-9));
        self.put("seconds/training", seconds);
    }

    /// The figure of this name.
    pub fn scalar(&self, name: &str) -> Option<f64> {
        self.scalars.iter().find(|(known, _)| known == name).map(|(_, value)| *value)
    }
}

/// Why a journal cannot be kept or read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file system refuses.
    #[error("cannot {doing} {}", path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// With which file.
        path: PathBuf,
        /// What came back.
        source: io::Error,
    },
    /// A line in the middle of the file, where no crash can have left it, is no record.
    #[error(
        "{}, line {line}: not a record of a run\n\
         hint: was the file edited? Mend or remove the line, or begin in an empty folder",
        path.display()
    )]
    Line {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// Two runs at once would destroy each other's records.
    #[error("another run is writing {}\nhint: wait for it, or choose another folder", path.display())]
    InUse {
        /// The file.
        path: PathBuf,
    },
}

/// A run's records as they are made.
///
/// They are written in the order of their steps. Each is with the operating system when
/// [`Journal::write`] returns: no crash of the program loses it.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: File,
    /// Bytes of whole lines.
    length: u64,
    events: Events,
}

impl Journal {
    /// Goes on with the journal in this folder from a checkpoint made after `last_step`: later
    /// records are dropped, and so is what a crash cut short. Begins anew without one; the folder is
    /// made if it is missing.
    ///
    /// The event file is written afresh from the records that are kept. A TensorBoard that runs
    /// meanwhile is told to forget the earlier one.
    ///
    /// # Errors
    /// The files cannot be read or written, another journal has them open, or they are damaged
    /// in a way that no crash explains.
    pub fn open(dir: &Path, last_step: Option<u64>) -> Result<Journal, Error> {
        std::fs::create_dir_all(dir).map_err(|source| io_error("make", dir, source))?;
        let path = dir.join(METRICS);
        let io = |doing| move |path: &Path, source| io_error(doing, path, source);
        let mut file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .open(&path)
            .map_err(|source| io("open")(&path, source))?;
        // Elsewhere a lock would keep readers out, too.
        if cfg!(unix)
            && let Err(TryLockError::WouldBlock) = file.try_lock()
        {
            return Err(Error::InUse { path });
        }
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(|source| io("read")(&path, source))?;
        let mut records = lines::parse(&bytes, &path)?;
        // Without a checkpoint even what was seen before the first step will be seen again.
        let kept = records
            .iter()
            .take_while(|(record, _)| last_step.is_some_and(|last| record.step <= last))
            .count();
        records.truncate(kept);
        let end = records.last().map_or(0, |(_, end)| *end);
        file.set_len(end as u64).map_err(|source| io("shorten")(&path, source))?;
        let mut length = end as u64;
        if end > 0 && bytes[end - 1] != b'\n' {
            // An editor may have taken the end of the last line; the next one needs it.
            file.write_all(b"\n").map_err(|source| io("write")(&path, source))?;
            length += 1;
        }
        let events = Events::create(dir, records.iter().map(|(record, _)| record), now())?;
        Ok(Journal { path, file, length, events })
    }

    /// Appends one record.
    ///
    /// # Errors
    /// A file cannot be written; what was written before stays readable.
    pub fn write(&mut self, record: &Record) -> Result<(), Error> {
        let time = record.time.unwrap_or_else(now);
        let line = lines::line(record, time);
        if let Err(source) = self.file.write_all(line.as_bytes()) {
            // On a full disk half the line may be there, and the run may try again later.
            let _ = self.file.set_len(self.length);
            return Err(io_error("write", &self.path, source));
        }
        self.length += line.len() as u64;
        self.events.write(record, time)
    }
}

/// The records in a run's folder, also while the run is still writing them.
///
/// # Errors
/// There are none, or they are damaged in a way that no crash explains.
pub fn read(dir: &Path) -> Result<Vec<Record>, Error> {
    let path = dir.join(METRICS);
    let bytes = std::fs::read(&path).map_err(|source| io_error("read", &path, source))?;
    Ok(lines::parse(&bytes, &path)?.into_iter().map(|(record, _)| record).collect())
}

/// Seconds since 1970, to the millisecond.
fn now() -> f64 {
    let millis = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_millis());
    millis as f64 / 1000.0
}

fn io_error(doing: &'static str, path: &Path, source: io::Error) -> Error {
    Error::Io { doing, path: path.to_owned(), source }
}
