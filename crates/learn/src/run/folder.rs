//! A run on disk:
//!
//! ```text
//! recipe.json            what is being run
//! start/                 the model before the first step, where the run makes it ([pretrain])
//! metrics.jsonl, events… what was seen, step by step
//! checkpoints/000020/    state.json, state.safetensors and the model as it was then
//! best/                  the model that measured best: an adapter as PEFT has it, or a whole model
//! ```

use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::Error;
use crate::error::io;
use crate::journal::Journal;
use crate::learner::Learner;
use crate::recipe::{Recipe, What};

use super::Teach;

const RECIPE: &str = "recipe.json";
const STATE: &str = "state.json";
const NUMBERS: &str = "state.safetensors";
/// A folder that is being written; never read.
const PART: &str = ".part";

/// The folder of one run.
pub struct Folder {
    root: PathBuf,
    what: What,
    model: String,
}

impl Folder {
    /// The folder of a recipe, which is made if need be.
    ///
    /// # Errors
    /// It can't be made, or another recipe was run in it.
    pub fn open(recipe: &Recipe) -> Result<Folder, Error> {
        let root = recipe.out.clone();
        fs::create_dir_all(&root).map_err(io(&root, "create"))?;
        let folder = Folder { root, what: recipe.learns(), model: recipe.model.clone() };
        let path = folder.root.join(RECIPE);
        if path.exists() {
            let known: Recipe = read_json(&path)?;
            if let Some(field) = difference(&known, recipe) {
                let problem = format!(
                    "was run with another `{field}`\n\
                     hint: give this recipe another `out`, or remove the folder"
                );
                return Err(Error::Folder { path: folder.root, problem });
            }
        }
        write_json(&path, recipe)?;
        Ok(folder)
    }

    /// Leaves no trace of a run that never began: the recipe goes, and the folder `out` if nothing else is in it.
    ///
    /// # Errors
    /// The recipe can't be removed.
    pub fn forget(out: &Path) -> Result<(), Error> {
        let path = out.join(RECIPE);
        fs::remove_file(&path).map_err(io(&path, "remove"))?;
        // What else is there is not of this run.
        let _ = fs::remove_dir(out);
        Ok(())
    }

    /// The journal, with nothing in it of what came after the checkpoint of step `step`.
    ///
    /// # Errors
    /// It can't be read or written.
    pub fn journal(&self, step: Option<u64>) -> Result<Journal, Error> {
        Ok(Journal::open(&self.root, step)?)
    }

    /// The folder of the checkpoint of step `step`.
    pub fn checkpoint(&self, step: u64) -> PathBuf {
        self.root.join("checkpoints").join(format!("{step:06}"))
    }

    fn checkpoints(&self) -> Result<Vec<u64>, Error> {
        let dir = self.root.join("checkpoints");
        if !dir.exists() {
            return Ok(Vec::new());
        }
        let mut steps = Vec::new();
        for entry in fs::read_dir(&dir).map_err(io(&dir, "read"))? {
            let entry = entry.map_err(io(&dir, "read"))?;
            // What is half written has another name.
            steps.extend(entry.file_name().to_str().and_then(|name| name.parse::<u64>().ok()));
        }
        steps.sort_unstable();
        Ok(steps)
    }

    /// The step of the latest checkpoint.
    ///
    /// # Errors
    /// The folder can't be read.
    pub fn latest(&self) -> Result<Option<u64>, Error> {
        Ok(self.checkpoints()?.pop())
    }

    /// Brings the learner back to step `step`, and gives what was kept beside it.
    ///
    /// # Errors
    /// The checkpoint is damaged, or of another recipe.
    pub fn restore<S: DeserializeOwned>(
        &self,
        step: u64,
        learner: &mut Learner<'_>,
    ) -> Result<S, Error> {
        let dir = self.checkpoint(step);
        learner.restore(&dir.join(NUMBERS))?;
        read_json(&dir.join(STATE))
    }

    /// A checkpoint that doesn't make sense.
    pub fn broken(&self, step: u64, problem: String) -> Error {
        Error::Folder { path: self.checkpoint(step), problem }
    }

    /// Writes a checkpoint, which is there only once it is whole, and removes those that came
    /// before the last `keep`.
    ///
    /// # Errors
    /// It can't be written: what was there before is still there.
    pub fn save<S: Serialize>(
        &self,
        step: u64,
        learner: &Learner<'_>,
        (state, method): (&S, &dyn Teach),
        keep: usize,
    ) -> Result<(), Error> {
        replace(&self.checkpoint(step), |dir| {
            learner.save(&dir.join(NUMBERS))?;
            self.model(learner, dir)?;
            method.save(dir)?;
            write_json(&dir.join(STATE), state)
        })?;
        let steps = self.checkpoints()?;
        for old in &steps[..steps.len().saturating_sub(keep.max(1))] {
            let dir = self.checkpoint(*old);
            fs::remove_dir_all(&dir).map_err(io(&dir, "remove"))?;
        }
        Ok(())
    }

    /// Keeps the model as the best so far.
    ///
    /// # Errors
    /// It can't be written.
    pub fn keep_best(&self, learner: &Learner<'_>) -> Result<(), Error> {
        replace(&self.root.join("best"), |dir| self.model(learner, dir))
    }

    fn model(&self, learner: &Learner<'_>, dir: &Path) -> Result<(), Error> {
        match self.what {
            What::Adapter => learner.network().save_adapter(dir, &self.model)?,
            What::Everything => learner.network().save_model(dir)?,
        }
        Ok(())
    }
}

/// Fills a new folder and puts it in the place of `path` once it is whole.
fn replace(path: &Path, fill: impl FnOnce(&Path) -> Result<(), Error>) -> Result<(), Error> {
    let part = path.with_extension(&PART[1..]);
    let clear = |dir: &Path| match dir.exists() {
        true => fs::remove_dir_all(dir).map_err(io(dir, "remove")),
        false => Ok(()),
    };
    clear(&part)?;
    fs::create_dir_all(&part).map_err(io(&part, "create"))?;
    if let Err(error) = fill(&part) {
        // The disk may be full: half a checkpoint must not make that worse.
        let _ = fs::remove_dir_all(&part);
        return Err(error);
    }
    let old = path.with_extension("old");
    clear(&old)?;
    if path.exists() {
        fs::rename(path, &old).map_err(io(path, "rename"))?;
    }
    fs::rename(&part, path).map_err(io(path, "rename"))?;
    clear(&old)
}

fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, Error> {
    let text = fs::read_to_string(path).map_err(io(path, "read"))?;
    serde_json::from_str(&text).map_err(|error| Error::Folder {
        path: path.to_owned(),
        problem: format!("can't be understood: {error}"),
    })
}

fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<(), Error> {
    let text = serde_json::to_string_pretty(value)
        .map_err(std::io::Error::from)
        .map_err(io(path, "write"))?;
    let part = path.with_extension("part");
    fs::write(&part, text).map_err(io(path, "write"))?;
    fs::rename(&part, path).map_err(io(path, "rename"))
}

/// The first field in which two recipes differ so that one can't be gone on with as the other.
fn difference(a: &Recipe, b: &Recipe) -> Option<String> {
    let json = |recipe: &Recipe| serde_json::to_value(recipe.fingerprint()).unwrap_or_default();
    let (a, b) = (json(a), json(b));
    fn differ(path: &str, a: &serde_json::Value, b: &serde_json::Value) -> Option<String> {
        if let (Some(a), Some(b)) = (a.as_object(), b.as_object()) {
            let at = |key: &str| match path {
                "" => key.to_owned(),
                path => format!("{path}.{key}"),
            };
            let none = serde_json::Value::Null;
            let keys = a.keys().chain(b.keys());
            let mut found = keys.filter_map(|key| {
                differ(&at(key), a.get(key).unwrap_or(&none), b.get(key).unwrap_or(&none))
            });
            return found.next();
        }
        (a != b).then(|| path.to_owned())
    }
    differ("", &a, &b)
}
