//! Keeping what was read from one run of the program to the next.

use std::io::ErrorKind;
use std::path::PathBuf;

use anyhow::{Result, bail};
use engine::{Error, Runtime, Scheduler};

/// The argument, to be flattened into a command's own.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct KeepArg {
    /// Keep what was read (keys and values, and the tokens they belong to) in FILE: taken up at the
    /// start, written at the end, so that a text that begins the same isn't read again.
    #[arg(long, value_name = "FILE")]
    kv_cache_file: Option<PathBuf>,
}

impl KeepArg {
    /// Takes up what was kept; nothing, if the file isn't there yet.
    pub fn bring_back(&self, scheduler: &mut Scheduler) -> Result<()> {
        let Some(path) = &self.kv_cache_file else { return Ok(()) };
        // Of the file that was loaded, not of what may be there in its place at the end.
        scheduler.engine().fingerprint()?;
        match scheduler.bring_back(path) {
            Ok(kept) => tracing::info!(tokens = kept.tokens, "taken up from {}", path.display()),
            Err(Error::KeptIo { source, .. }) if source.kind() == ErrorKind::NotFound => {
                // Better said now than when there is something to lose.
                let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
                if let Some(folder) = folder.filter(|folder| !folder.is_dir()) {
                    let (path, folder) = (path.display(), folder.display());
                    bail!("cannot keep anything in {path}: {folder} is no directory");
                }
            }
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// Whether anything is to be kept.
    pub fn is_wanted(&self) -> bool {
        self.kv_cache_file.is_some()
    }

    /// Keeps what is there now.
    pub fn keep(&self, runtime: &Runtime) -> Result<()> {
        let Some(path) = &self.kv_cache_file else { return Ok(()) };
        let kept = runtime.keep(path)?;
        tracing::info!(tokens = kept.tokens, "kept in {}", path.display());
        Ok(())
    }
}
