//! A file mapped read-only into memory. The only module of this crate with `unsafe` in it.
//!
//! A mapping is only as constant as its file. Whoever shortens or rewrites a model file in place
//! while it is open breaks the promise the slices make (and gets `SIGBUS`, as in every program
//! that maps files); our own writers therefore never touch a finished file, they write beside it
//! and rename.

use std::fs::File;
use std::ops::{Deref, Range};
use std::path::Path;

use memmap2::Mmap;

use crate::Error;

/// Rounding to the smallest page in use is enough: where pages are larger the kernel's own
/// rounding only drops a neighbour's bytes too, which are read again from the file when touched.
#[cfg(unix)]
const PAGE: usize = 4096;

/// The bytes of one file.
#[derive(Debug)]
pub(crate) struct Mapping(Mmap);

impl Mapping {
    /// Maps the whole of `path`, which must be an ordinary file.
    pub(crate) fn open(path: &Path) -> Result<Mapping, Error> {
        // Asked before opening: opening a pipe would wait for a writer.
        let kind = std::fs::metadata(path).map_err(Error::io(path, "open"))?;
        if !kind.is_file() {
            return Err(Error::unsupported(
                path,
                "file",
                if kind.is_dir() { "this is a directory" } else { "this is not an ordinary file" },
                "name a model file",
            ));
        }
        let file = File::open(path).map_err(Error::io(path, "open"))?;
        // SAFETY: the mapping is read-only and lives as long as every slice borrowed from it;
        // that nobody rewrites the file meanwhile is the premise stated at the top of the module.
        let map = unsafe { Mmap::map(&file) }.map_err(Error::io(path, "map"))?;
        Ok(Mapping(map))
    }

    /// Lets the kernel take back the whole pages inside `range`; touching them reads the file
    /// again.
    pub(crate) fn release(&self, range: Range<usize>) {
        #[cfg(unix)]
        {
            let start = range.start.next_multiple_of(PAGE);
            let end = range.end.min(self.0.len()) / PAGE * PAGE;
            if start < end {
                // SAFETY: this is a shared read-only mapping of a file, so a dropped page comes
                // back with the same bytes: no slice into it can see a change. The range lies
                // inside the mapping.
                let done = unsafe {
                    self.0.unchecked_advise_range(
                        memmap2::UncheckedAdvice::DontNeed,
                        start,
                        end - start,
                    )
                };
                // Only a hint: refused means the pages stay, which is correct too.
                if let Err(error) = done {
                    tracing::debug!(%error, "madvise(DONTNEED) refused");
                }
            }
        }
        #[cfg(not(unix))]
        let _ = range;
    }

    /// Asks the kernel to read `range` ahead of its use.
    pub(crate) fn prefetch(&self, range: Range<usize>) {
        #[cfg(unix)]
        {
            let end = range.end.min(self.0.len());
            if range.start < end {
                let advice = memmap2::Advice::WillNeed;
                if let Err(error) = self.0.advise_range(advice, range.start, end - range.start) {
                    tracing::debug!(%error, "madvise(WILLNEED) refused");
                }
            }
        }
        #[cfg(not(unix))]
        let _ = range;
    }
}

impl Deref for Mapping {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}
