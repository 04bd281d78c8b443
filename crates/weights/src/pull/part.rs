//! A file on its way: `NAME.part`, hashed as it grows, renamed to `NAME` once it is known good.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::{Error, Progress};

/// What a finished file must be, as far as anybody knows.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Expected {
    pub size: Option<u64>,
    pub sha256: Option<String>,
}

/// A partial file, open for appending.
pub(super) struct Part {
    path: PathBuf,
    target: PathBuf,
    file: File,
    hasher: Sha256,
    written: u64,
    pub expected: Expected,
}

impl Part {
    /// Opens `target.part`, taking up what an earlier pull left there. Without a hash to check the
    /// whole by, old bytes cannot be trusted and are dropped.
    pub fn open(target: &Path, expected: Expected, progress: &dyn Progress) -> Result<Self, Error> {
        let path = appended(target, ".part");
        let mut options = File::options();
        options.read(true).write(true).create(true).truncate(false);
        let file = options.open(&path).map_err(Error::io("create", &path))?;
        let target = target.to_owned();
        let mut part = Part { path, target, file, hasher: Sha256::new(), written: 0, expected };
        let found = part.file.metadata().map_err(Error::io("read", &part.path))?.len();
        let usable =
            part.expected.sha256.is_some() && part.expected.size.is_none_or(|s| found <= s);
        if found > 0 && usable {
            let what = format!("checking what is here of {}", part.name());
            (part.written, part.hasher) = hash(&mut part.file, &part.path, found, &what, progress)?;
        } else {
            part.restart()?;
        }
        Ok(part)
    }

    /// The name of the file to be.
    pub fn name(&self) -> String {
        self.target.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// Bytes so far.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Appends.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.file.write_all(bytes).map_err(Error::io("write", &self.path))?;
        self.hasher.update(bytes);
        self.written += bytes.len() as u64;
        Ok(())
    }

    /// Throws away what was written and begins anew.
    pub fn restart(&mut self) -> Result<(), Error> {
        use std::io::Seek;
        self.file.set_len(0).map_err(Error::io("write", &self.path))?;
        self.file.rewind().map_err(Error::io("write", &self.path))?;
        self.hasher = Sha256::new();
        self.written = 0;
        Ok(())
    }

    /// Checks size and hash, and gives the file its name. A wrong file is deleted. Returns size and
    /// SHA-256.
    pub fn finish(self, origin: &str) -> Result<(u64, String), Error> {
        let actual = hex(self.hasher.clone());
        if let Err(error) = check(&self.name(), origin, &self.expected, self.written, &actual) {
            drop(self.file);
            fs::remove_file(&self.path).map_err(Error::io("remove", &self.path))?;
            return Err(error);
        }
        // The name must never stand for bytes a power cut could still lose.
        self.file.sync_all().map_err(Error::io("write", &self.path))?;
        drop(self.file);
        fs::rename(&self.path, &self.target).map_err(Error::io("create", &self.target))?;
        Ok((self.written, actual))
    }
}

/// Compares what was found with what was expected.
fn check(file: &str, origin: &str, expected: &Expected, size: u64, sha: &str) -> Result<(), Error> {
    let (file, origin) = (file.to_owned(), origin.to_owned());
    match (&expected.sha256, expected.size) {
        (_, Some(want)) if want != size => {
            Err(Error::WrongSize { file, origin, expected: want, actual: size })
        }
        (Some(want), _) if want != sha => {
            Err(Error::WrongHash { file, origin, expected: want.clone(), actual: sha.to_owned() })
        }
        _ => Ok(()),
    }
}

/// Hashes a file that is already there and checks it. Returns size and SHA-256.
pub(super) fn verify(
    path: &Path,
    expected: &Expected,
    origin: &str,
    progress: &dyn Progress,
) -> Result<(u64, String), Error> {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut file = File::open(path).map_err(Error::io("read", path))?;
    let size = file.metadata().map_err(Error::io("read", path))?.len();
    if expected.size.is_some_and(|want| want != size) {
        check(&name, origin, expected, size, "")?;
    }
    let (size, hasher) = hash(&mut file, path, size, &format!("checking {name}"), progress)?;
    let actual = hex(hasher);
    check(&name, origin, expected, size, &actual)?;
    Ok((size, actual))
}

fn hash(
    file: &mut File,
    path: &Path,
    size: u64,
    what: &str,
    progress: &dyn Progress,
) -> Result<(u64, Sha256), Error> {
    progress.begin(what, Some(size));
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    let mut done = 0;
    let outcome = loop {
        match file.read(&mut buffer) {
            Ok(0) => break Ok((done, hasher)),
            Ok(n) => {
                hasher.update(&buffer[..n]);
                done += n as u64;
                progress.at(done);
            }
            Err(err) if err.kind() == std::io::ErrorKind::Interrupted => {}
            Err(err) => break Err(Error::io("read", path)(err)),
        }
    };
    progress.end();
    outcome
}

pub(crate) fn hex(hasher: Sha256) -> String {
    use std::fmt::Write;
    hasher.finalize().iter().fold(String::with_capacity(64), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// A path with something appended to its last component.
pub(super) fn appended(path: &Path, suffix: &str) -> PathBuf {
    let mut text = path.as_os_str().to_owned();
    text.push(suffix);
    text.into()
}

/// Refuses to begin what the disk has no room for. Where the free space cannot be learnt, the
/// writing itself will tell.
pub(super) fn check_room(directory: &Path, needed: u64) -> Result<(), Error> {
    #[cfg(unix)]
    if let Ok(disk) = rustix::fs::statvfs(directory) {
        let available = disk.f_bavail.saturating_mul(disk.f_frsize);
        if needed > available {
            let path = directory.to_owned();
            return Err(Error::DiskFull { path, needed: Some(needed), available: Some(available) });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::Silent;
    use super::*;

    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    fn abc() -> Expected {
        Expected { size: Some(3), sha256: Some(ABC.into()) }
    }

    #[test]
    fn a_part_is_taken_up_and_named_when_good() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("x.gguf");
        let mut part = Part::open(&target, abc(), &Silent).unwrap();
        part.write(b"a").unwrap();
        drop(part);
        assert!(!target.exists());
        let mut part = Part::open(&target, abc(), &Silent).unwrap();
        assert_eq!(part.written(), 1);
        part.write(b"bc").unwrap();
        assert_eq!(part.finish("test").unwrap(), (3, ABC.to_owned()));
        assert_eq!(fs::read(&target).unwrap(), b"abc");
        assert!(!dir.path().join("x.gguf.part").exists());
        assert_eq!(verify(&target, &abc(), "test", &Silent).unwrap().0, 3);
    }

    #[test]
    fn a_wrong_file_is_named_with_both_hashes_and_deleted() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("x.gguf");
        let mut part = Part::open(&target, abc(), &Silent).unwrap();
        part.write(b"abd").unwrap();
        let error = part.finish("here").unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "x.gguf from here is not the file expected: its SHA-256 is a52d159f262b2c6ddb724a61840befc36eb30c88877a4030b65cbe86298449c9, expected {ABC}\n\
                 hint: the download was discarded; pull again, and if it happens again the source has changed or is not to be trusted"
            )
        );
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_cannot_be_checked_is_not_taken_up() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("config.json");
        fs::write(dir.path().join("config.json.part"), "old").unwrap();
        let part = Part::open(&target, Expected::default(), &Silent).unwrap();
        assert_eq!(part.written(), 0);
        fs::write(dir.path().join("config.json.part"), "longer than three").unwrap();
        assert_eq!(Part::open(&target, abc(), &Silent).unwrap().written(), 0);
    }

    #[test]
    fn a_full_disk_is_told_apart() {
        let full = std::io::Error::from(std::io::ErrorKind::StorageFull);
        let error = Error::io("write", Path::new("/m/x.part"))(full);
        assert!(
            error
                .to_string()
                .starts_with("could not write /m/x.part: the disk is full\nhint: free some space")
        );
        let error = check_room(&std::env::temp_dir(), u64::MAX).unwrap_err();
        assert!(error.to_string().contains(": 18.4 EB still needed, "), "{error}");
    }
}
