//! A recipe as a job for other people's machines: the same data, settings and rewards for TRL or verl.
//!
//! Settings go into a file (`job.json`, `job.yaml`); the programs beside it are the same for every job. Rewards stay
//! `ponder verify`'s. What a library can't do as the recipe has it is a [difference](Job::differences), told in the
//! job's README and to whoever exports.

mod data;
mod problems;
mod trl;
mod verl;
mod yaml;

use std::fs;
use std::path::Path;
use std::str::FromStr;

use serde_json::Value;
use weights::safetensors::names;

use crate::Error;
use crate::error::{io, recipe};
use crate::recipe::{Lora, Method, Recipe};

/// Who is to run it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Library {
    /// Hugging Face's TRL.
    Trl,
    /// verl.
    Verl,
}

impl FromStr for Library {
    type Err = String;

    fn from_str(name: &str) -> Result<Library, String> {
        match name {
            "trl" => Ok(Library::Trl),
            "verl" => Ok(Library::Verl),
            other => Err(format!("{other:?} is neither trl nor verl")),
        }
    }
}

/// A job: files, and what is otherwise than in the recipe.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Job {
    /// Names and contents.
    pub files: Vec<(String, String)>,
    /// What the library does otherwise, or not at all; a sentence each.
    pub differences: Vec<String>,
}

impl Job {
    fn add(&mut self, name: &str, text: impl Into<String>) {
        self.files.push((name.to_owned(), text.into()));
    }

    fn json(&mut self, name: &str, value: &Value) {
        self.add(name, format!("{value:#}\n"));
    }

    /// Rows as JSON lines; no file where there are none.
    fn rows(&mut self, name: &str, rows: &[Value]) {
        if !rows.is_empty() {
            self.add(name, rows.iter().map(|row| format!("{row}\n")).collect::<String>());
        }
    }

    fn differs(&mut self, difference: impl Into<String>) {
        self.differences.push(difference.into());
    }

    /// Tells of an adapter that the recipe goes on from, which no library is given.
    fn begins_anew(&mut self, recipe: &Recipe) {
        if recipe.lora.from.is_some() {
            self.differs(
                "lora.from: the run begins with a new adapter; merge the old one into the model (`ponder merge`) first",
            );
        }
    }

    /// The file of this name.
    pub fn file(&self, name: &str) -> Option<&str> {
        self.files.iter().find(|(known, _)| known == name).map(|(_, text)| &**text)
    }

    /// Writes the files into the folder `dir`, which is made if need be.
    ///
    /// # Errors
    /// There is something in it already, or it can't be written.
    pub fn write(&self, dir: &Path) -> Result<(), Error> {
        fs::create_dir_all(dir).map_err(io(dir, "create"))?;
        if fs::read_dir(dir).map_err(io(dir, "read"))?.next().is_some() {
            let problem =
                "is not empty\nhint: name a new folder; nothing is written over".to_owned();
            return Err(Error::Folder { path: dir.to_owned(), problem });
        }
        for (name, text) in &self.files {
            let path = dir.join(name);
            fs::write(&path, text).map_err(io(&path, "write"))?;
        }
        Ok(())
    }
}

/// The job of a recipe; `model` is what the library is to load, a name on the hub or a directory.
///
/// # Errors
/// The library has nothing for the recipe's method, or its data can't be read.
pub fn export(recipe: &Recipe, to: Library, model: &str) -> Result<Job, Error> {
    if recipe.grpo.as_ref().is_some_and(|grpo| grpo.critic.is_some()) {
        let problem =
            "a value function goes into no job yet; without it the group's mean is the baseline";
        return Err(crate::error::recipe("grpo.critic", problem));
    }
    let mut job = Job::default();
    let run = match (to, recipe.method()) {
        (Library::Trl, Method::Grpo(grpo)) => trl::grpo(&mut job, recipe, grpo, model)?,
        (Library::Trl, Method::Sft(sft)) => trl::sft(&mut job, recipe, sft, model)?,
        (Library::Trl, Method::Preference(of)) => trl::preference(&mut job, recipe, of, model)?,
        (Library::Verl, Method::Grpo(grpo)) => verl::grpo(&mut job, recipe, grpo, model)?,
        (Library::Trl, method) => {
            let problem = format!(
                "[{}] has no job for TRL yet; [grpo], [sft] and [preference] have",
                method.name()
            );
            return Err(crate::error::recipe("method", problem));
        }
        (Library::Verl, method) => {
            let problem = format!("[{}] has no job for verl; [grpo] has", method.name());
            return Err(crate::error::recipe("method", problem));
        }
    };
    let readme = readme(&job, recipe, to, run);
    job.add("README.md", readme);
    Ok(job)
}

fn readme(job: &Job, recipe: &Recipe, to: Library, run: &str) -> String {
    let (library, checked) = match to {
        Library::Trl => ("TRL", "TRL 1.16, transformers 5.24, PEFT 0.21 and datasets 5.2"),
        Library::Verl => ("verl", "verl 0.9.1 (its configuration; the run itself was never tried)"),
    };
    let mut text = format!(
        "# A {} job for {library}\n\n\
         Written by `ponder train export` from a recipe; its settings are in the files here, and can be changed there. \
         Names of settings are those of {checked}.\n\n```sh\n{run}```\n",
        recipe.method().name()
    );
    if job.file("reward.py").is_some() {
        text += "\nRewards are given by `ponder verify`, which must be on the PATH of every machine that judges, or \
                 named by `PONDER`. Programs that answers contain are run by it, in its sandbox.\n";
    }
    text += "\n## What is otherwise than in the recipe\n\n";
    for difference in &job.differences {
        text += &format!("- {difference}\n");
    }
    if job.differences.is_empty() {
        text += "Nothing that is known.\n";
    }
    text
}

/// What PEFT calls the matrices that get a pair.
fn target_modules(lora: &Lora) -> Result<Vec<String>, Error> {
    let one = |name: &String| {
        // The architectures that can be trained call them the same.
        let theirs = names::to_hf("qwen2", &format!("blk.0.{name}.weight"));
        let module = theirs.as_deref().and_then(|name| name.rsplit('.').nth(1).map(str::to_owned));
        module.ok_or_else(|| recipe("lora.targets", format!("{name:?} has no name in PEFT")))
    };
    lora.targets.iter().map(one).collect()
}

/// A setting as a person wrote it: 0.9, not 0.8999999761581421.
fn decimal(value: f32) -> f64 {
    value.to_string().parse().unwrap_or_else(|_| f64::from(value))
}
