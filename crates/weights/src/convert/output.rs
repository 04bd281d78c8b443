//! Where a file is written to: what is refused before a byte of it is.

use std::io;
use std::path::{Path, PathBuf};

use crate::Error;
use crate::pull::human_bytes;

/// Beside the tensors a file has its metadata, mostly the vocabulary.
const METADATA: u64 = 16 << 20;

/// Refuses an output that is one of the `inputs` or lies in one of them, and one that is there
/// already unless `replace`.
///
/// # Errors
/// As above; the message names the file.
pub fn check_output(inputs: &[&Path], output: &Path, replace: bool) -> Result<(), Error> {
    let real = |path: &Path| std::fs::canonicalize(path).ok();
    // A directory that holds the input's files is as good as the input.
    let of_input = |input: &Path| -> Vec<PathBuf> {
        let files = std::fs::read_dir(input).into_iter().flatten().flatten();
        let files = files.filter_map(|entry| real(&entry.path()));
        real(input).into_iter().chain(files).collect()
    };
    if let Some(found) = real(output) {
        if inputs.iter().any(|input| of_input(input).contains(&found)) {
            let problem = "is what is read, and can't be written at the same time";
            return Err(Error::unsupported(output, "output", problem, "name another file"));
        }
        let empty = found.is_dir()
            && std::fs::read_dir(&found).is_ok_and(|mut entries| entries.next().is_none());
        if found.is_dir() && !empty {
            let problem = "is a directory with something in it";
            let remedy = "name one that is empty or isn't there";
            return Err(Error::unsupported(output, "output", problem, remedy));
        }
        if found.is_file() && !replace {
            let problem = "is there already";
            let remedy = "name another file, or add --force to replace it";
            return Err(Error::unsupported(output, "output", problem, remedy));
        }
    }
    let parent = parent(output);
    if !parent.is_dir() {
        return Err(Error::Missing {
            path: output.to_owned(),
            what: format!("directory {}", parent.display()),
            remedy: "make it first",
        });
    }
    Ok(())
}

/// The directory that `path` is in.
pub(super) fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}

/// Whether `bytes` of tensors fit on the disk, before the first of them is written.
pub(super) fn check_room(path: &Path, bytes: u64) -> Result<(), Error> {
    #[cfg(unix)]
    if let Ok(disk) = rustix::fs::statvfs(parent(path)) {
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        let needed = bytes + METADATA.min(bytes / 8);
        if free < needed {
            let problem =
                format!("{} are needed, {} are free", human_bytes(needed), human_bytes(free));
            let source = io::Error::new(io::ErrorKind::StorageFull, problem);
            return Err(Error::io(path, "write")(source));
        }
    }
    Ok(())
}

/// What progress is shown under.
pub(super) fn title(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}
