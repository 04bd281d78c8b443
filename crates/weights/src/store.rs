//! The store: models on this machine's disk.
//!
//! `ROOT/models/NAME/` holds the files of one model and `manifest.json`, which says what they are
//! and where they came from. A model is installed once its manifest is there, and the manifest is
//! written last; everything before that is a pull in progress (`*.part`, `*.wheels/`).
//! `ROOT/locks/NAME` is locked by whoever changes the model, so that two pulls at once do no harm.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

const MANIFEST: &str = "manifest.json";

/// The directory models are kept in. Opening one touches nothing on the disk.
#[derive(Debug, Clone)]
pub struct Store {
    root: PathBuf,
}

/// What `manifest.json` says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Catalogue name, or `owner/repo:QUANT`.
    pub name: String,
    /// The source the files came from, as a catalogue would describe it.
    pub source: String,
    /// Commit, for a repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// Quantisation, e.g. `Q4_K_M`; absent where the name of the file does not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quant: Option<String>,
    /// When the pull finished, RFC 3339, UTC.
    pub installed: String,
    /// The files; the first is the one to open.
    pub files: Vec<ManifestFile>,
}

/// A file of an installed model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ManifestFile {
    /// Name in the model's directory.
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// SHA-256 of what was stored, lower-case hexadecimal.
    pub sha256: String,
}

/// An installed model.
#[derive(Debug, Clone, PartialEq)]
pub struct Installed {
    /// Where its files are.
    pub directory: PathBuf,
    /// What they are.
    pub manifest: Manifest,
}

impl Installed {
    /// What to open: the (first) GGUF file, or the directory of a safetensors model.
    pub fn path(&self) -> PathBuf {
        match self.manifest.files.first() {
            Some(file) if file.name.to_lowercase().ends_with(".gguf") => {
                self.directory.join(&file.name)
            }
            _ => self.directory.clone(),
        }
    }

    /// Bytes of all its files.
    pub fn size(&self) -> u64 {
        self.manifest.files.iter().map(|file| file.size).sum()
    }
}

/// The right to change one model; given up when dropped, or by the system when the process dies.
#[derive(Debug)]
pub struct Lock {
    _file: fs::File,
}

/// A file or directory of the store could not be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Neither `$PONDER_HOME` nor `$XDG_CACHE_HOME` nor a home directory is known.
    #[error(
        "there is nowhere to keep models: no home directory is known\nhint: set PONDER_HOME to a directory"
    )]
    NoHome,
    /// The operating system refused.
    #[error("could not {action} {}", path.display())]
    Io {
        /// A verb: read, create, remove.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another process is pulling or removing the model.
    #[error(
        "`{0}` is being pulled or removed by another process\nhint: wait for it to finish, then try again"
    )]
    Busy(String),
}

impl StoreError {
    fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| StoreError::Io { action, path, source }
    }
}

impl Store {
    /// The user's store: `$PONDER_HOME`, else `$XDG_CACHE_HOME/ponder`, else `~/.cache/ponder`.
    pub fn from_env() -> Result<Self, StoreError> {
        let set = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
        let root = set("PONDER_HOME")
            .or_else(|| set("XDG_CACHE_HOME").map(|cache| cache.join("ponder")))
            .or_else(|| std::env::home_dir().map(|home| home.join(".cache/ponder")))
            .ok_or(StoreError::NoHome)?;
        // The working directory may change; where the models are must not.
        Ok(Self::at(std::path::absolute(&root).map_err(StoreError::io("find", &root))?))
    }

    /// A store in a given directory.
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Store { root: root.into() }
    }

    /// The directory itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where the files of the model of this name are or would be.
    pub fn directory(&self, name: &str) -> PathBuf {
        self.root.join("models").join(flat(name))
    }

    /// The installed model of exactly this name.
    ///
    /// A manifest whose files are gone or have another size is as good as none: the model is then
    /// pulled again.
    pub fn installed(&self, name: &str) -> Result<Option<Installed>, StoreError> {
        read(&self.directory(name))
    }

    /// The installed model a repository without a quantisation means: `owner/repo` itself, else its
    /// Q4_K_M, else the only one there is.
    pub fn installed_from(&self, repo: &str) -> Result<Option<Installed>, StoreError> {
        if let Some(exact) = self.installed(repo)? {
            return Ok(Some(exact));
        }
        let prefix = format!("{repo}:");
        let mut all = self.all()?;
        all.retain(|model| model.manifest.name.starts_with(&prefix));
        if let Some(usual) = all.iter().position(|m| m.manifest.name.ends_with(":Q4_K_M")) {
            return Ok(Some(all.swap_remove(usual)));
        }
        Ok(if all.len() == 1 { all.pop() } else { None })
    }

    /// Every installed model, by name.
    pub fn all(&self) -> Result<Vec<Installed>, StoreError> {
        let models = self.root.join("models");
        let entries = match fs::read_dir(&models) {
            Ok(entries) => entries,
            Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(err) => return Err(StoreError::io("read", &models)(err)),
        };
        let mut all = Vec::new();
        for entry in entries {
            let directory = entry.map_err(StoreError::io("read", &models))?.path();
            all.extend(read(&directory)?);
        }
        all.sort_by(|a: &Installed, b| a.manifest.name.cmp(&b.manifest.name));
        Ok(all)
    }

    /// Deletes a model's directory, finished or not. Returns the bytes freed, `None` if there was
    /// nothing.
    pub fn remove(&self, name: &str) -> Result<Option<u64>, StoreError> {
        let directory = self.directory(name);
        if !directory.exists() {
            return Ok(None);
        }
        let file = self.lock_file(name)?;
        if file.try_lock().is_err() {
            return Err(StoreError::Busy(name.to_owned()));
        }
        let bytes = bytes_under(&directory);
        // The manifest goes first: a removal cut short leaves an unfinished pull, not a broken model.
        match fs::remove_file(directory.join(MANIFEST)) {
            Err(err) if err.kind() != io::ErrorKind::NotFound => {
                return Err(StoreError::io("remove", &directory)(err));
            }
            _ => fs::remove_dir_all(&directory).map_err(StoreError::io("remove", &directory))?,
        }
        Ok(Some(bytes))
    }

    /// Waits for the right to change a model; `waiting` is called once if somebody else has it.
    pub fn lock(&self, name: &str, waiting: impl FnOnce()) -> Result<Lock, StoreError> {
        let file = self.lock_file(name)?;
        if let Err(err) = file.try_lock() {
            if let fs::TryLockError::WouldBlock = err {
                waiting();
            }
            file.lock().map_err(StoreError::io("lock", &self.root))?;
        }
        Ok(Lock { _file: file })
    }

    /// Records a finished pull. From here on the model is installed.
    pub fn install(&self, manifest: Manifest) -> Result<Installed, StoreError> {
        let directory = self.directory(&manifest.name);
        let (target, draft) = (directory.join(MANIFEST), directory.join("manifest.json.new"));
        let text = serde_json::to_string_pretty(&manifest).expect("a manifest is plain data");
        fs::write(&draft, text + "\n").map_err(StoreError::io("write", &draft))?;
        fs::rename(&draft, &target).map_err(StoreError::io("write", &target))?;
        Ok(Installed { directory, manifest })
    }

    // Locks live outside the model's directory: a file that `remove` deletes while others wait for
    // it would let the next two in together.
    fn lock_file(&self, name: &str) -> Result<fs::File, StoreError> {
        let locks = self.root.join("locks");
        fs::create_dir_all(&locks).map_err(StoreError::io("create", &locks))?;
        let path = locks.join(flat(name));
        let mut options = fs::OpenOptions::new();
        options.create(true).truncate(false).write(true);
        options.open(&path).map_err(StoreError::io("open", &path))
    }
}

fn read(directory: &Path) -> Result<Option<Installed>, StoreError> {
    let path = directory.join(MANIFEST);
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(err)
            if matches!(err.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) =>
        {
            return Ok(None);
        }
        Err(err) => return Err(StoreError::io("read", &path)(err)),
    };
    let Ok(manifest) = serde_json::from_str::<Manifest>(&text) else {
        tracing::warn!("ignoring {}: not a manifest", path.display());
        return Ok(None);
    };
    let whole = !manifest.files.is_empty()
        && manifest.files.iter().all(|file| {
            fs::metadata(directory.join(&file.name)).is_ok_and(|found| found.len() == file.size)
        });
    Ok(whole.then(|| Installed { directory: directory.to_owned(), manifest }))
}

/// A model's name as one path component. `--` and `@` cannot occur in a name otherwise, so no two
/// names collide.
fn flat(name: &str) -> String {
    name.replace('/', "--").replace('@', "@@").replace(':', "@")
}

/// Bytes of all regular files below a directory; what vanishes meanwhile counts nothing.
pub(crate) fn bytes_under(directory: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(directory) else { return 0 };
    entries
        .flatten()
        .map(|entry| match entry.file_type() {
            Ok(kind) if kind.is_dir() => bytes_under(&entry.path()),
            Ok(kind) if kind.is_file() => entry.metadata().map_or(0, |m| m.len()),
            _ => 0,
        })
        .sum()
}

/// The present moment as `2026-11-24T09:30:00Z`.
pub(crate) fn now() -> String {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
    rfc3339(seconds)
}

fn rfc3339(seconds: u64) -> String {
    // Years are counted from 1 March, so that the leap day is the last of a year, and in eras of
    // 400 years, which all have the same number of days.
    let days = seconds / 86_400 + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (h, m, s) = (seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{h:02}:{m:02}:{s:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn install(store: &Store, name: &str, file: &str) -> Installed {
        let directory = store.directory(name);
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join(file), "weights").unwrap();
        let files = vec![ManifestFile { name: file.into(), size: 7, sha256: "0".repeat(64) }];
        let source = "path /x".into();
        let (revision, quant) = (None, None);
        let manifest =
            Manifest { name: name.into(), source, revision, quant, installed: now(), files };
        store.install(manifest).unwrap()
    }

    #[test]
    fn what_is_installed_is_found_listed_and_removed() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::at(dir.path());
        assert_eq!(store.all().unwrap(), []);
        let a = install(&store, "a/b:Q8_0", "x.gguf");
        assert_eq!(a.path(), dir.path().join("models/a--b@Q8_0/x.gguf"));
        let b = install(&store, "b", "config.json");
        assert_eq!(b.path(), dir.path().join("models/b"));
        assert_eq!(store.installed("a/b:Q8_0").unwrap(), Some(a.clone()));
        assert_eq!(store.installed_from("a/b").unwrap(), Some(a.clone()));
        assert_eq!(store.all().unwrap(), [a, b]);
        assert!(store.remove("b").unwrap().unwrap() > 7);
        assert_eq!(store.remove("b").unwrap(), None);
        assert_eq!(store.installed("b").unwrap(), None);
    }

    #[test]
    fn a_repository_without_a_quant_means_q4_k_m_or_the_only_one() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::at(dir.path());
        install(&store, "a/b:Q8_0", "x.gguf");
        install(&store, "a/b:Q2_K", "x.gguf");
        assert_eq!(store.installed_from("a/b").unwrap(), None);
        let usual = install(&store, "a/b:Q4_K_M", "x.gguf");
        assert_eq!(store.installed_from("a/b").unwrap(), Some(usual));
        assert_eq!(store.installed_from("a").unwrap(), None);
    }

    #[test]
    fn a_model_with_a_damaged_file_is_not_installed() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::at(dir.path());
        let model = install(&store, "m", "x.gguf");
        fs::write(model.path(), "short").unwrap();
        assert_eq!(store.installed("m").unwrap(), None);
        fs::write(model.directory.join(MANIFEST), "{").unwrap();
        assert_eq!(store.installed("m").unwrap(), None);
    }

    #[test]
    fn a_locked_model_is_not_removed() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::at(dir.path());
        install(&store, "m", "x.gguf");
        let lock = store.lock("m", || panic!("nobody holds it")).unwrap();
        assert!(matches!(store.remove("m"), Err(StoreError::Busy(_))));
        drop(lock);
        assert!(store.remove("m").unwrap().is_some());
    }

    #[test]
    fn names_do_not_collide_on_disk() {
        let names = ["a/b", "a/b:Q8_0", "a/b@Q8_0", "a/b@v:Q8_0", "a-b", "a.b"];
        let mut flats: Vec<String> = names.iter().map(|n| flat(n)).collect();
        flats.sort();
        flats.dedup();
        assert_eq!(flats.len(), names.len());
        assert!(flats.iter().all(|f| !f.contains(['/', ':'])));
    }

    #[test]
    fn dates_are_civil_dates() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00Z");
        assert_eq!(rfc3339(951_782_399), "2000-02-28T23:59:59Z");
        assert_eq!(rfc3339(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(rfc3339(1_795_512_600), "2026-11-24T09:30:00Z");
    }
}
