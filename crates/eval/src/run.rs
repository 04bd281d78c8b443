//! The run folder.
//!
//! `manifest.json` says what was measured and how, and is written first; `samples.jsonl` gets one
//! line a finished sample, written whole or not at all. A run that was killed goes on where it
//! stopped: the last line counts only if it is whole.

use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use verify::{Attempt, Verdict};

use crate::Error;

/// Version of [`Manifest`] and [`Sample`].
pub const FORMAT: u32 = 1;
const MANIFEST: &str = "manifest.json";
const SAMPLES: &str = "samples.jsonl";

/// What was measured, and how.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Version of this format.
    pub format: u32,
    /// The benchmark's name.
    pub benchmark: String,
    /// The benchmark's description, as its TOML says.
    pub description: String,
    /// The benchmark's whole TOML, so that the run can be scored without it.
    pub benchmark_toml: String,
    /// Where the items came from.
    pub items: Source,
    /// How many items were asked.
    pub item_count: usize,
    /// Samples of each item.
    pub k: usize,
    /// Who was asked.
    pub model: ModelId,
    /// The sampling settings as sent: temperature, top_p and so on.
    pub sampling: serde_json::Value,
    /// Seed of the run.
    pub seed: u64,
    /// The command that made it.
    pub command: Vec<String>,
    /// `ponder`'s version and git revision.
    pub version: String,
    /// Processor, threads and instruction set, where the model ran in this process.
    pub machine: Option<String>,
    /// Seconds since 1970 at the start.
    pub started: u64,
}

/// A file that was read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Source {
    /// Its path, or the name of the generator.
    pub path: String,
    /// SHA-256 of its bytes, in hexadecimal; of the items' own bytes for a generator.
    pub sha256: String,
}

/// The model that was asked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelId {
    /// Its name.
    pub name: String,
    /// The file in this process, if it ran here.
    pub file: Option<Source>,
    /// What was added to its weights.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adapter: Option<Source>,
    /// How it was run, where that isn't as ever: the flags that change what it says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flags: Option<String>,
    /// The endpoints, if it ran elsewhere.
    pub endpoints: Vec<String>,
    /// Weights, where known: for estimating FLOPs.
    pub parameters: Option<u64>,
}

/// One answer to one item.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// The item's id, unique in its benchmark.
    pub item: String,
    /// Which of the item's `k` samples, from 0.
    pub index: usize,
    /// The seed it was drawn with.
    pub seed: u64,
    /// The question as it was put to the model (the last user message).
    pub question: String,
    /// What the verifier was given: its kind and the item's gold answer, tests or rules.
    pub task: serde_json::Value,
    /// The thinking.
    pub reasoning: String,
    /// The answer.
    pub answer: String,
    /// `stop`, `length` or `deadline`.
    pub finish_reason: String,
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// Tokens generated, thinking included.
    pub completion_tokens: usize,
    /// Those of them that were thinking.
    pub reasoning_tokens: usize,
    /// Seconds from asking to the last token.
    pub seconds: f64,
    /// The verdict; none if the verifier could not tell.
    pub verdict: Option<Verdict>,
    /// Why the verifier could not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cannot_tell: Option<String>,
    /// A mark for grouping items in the report: subject, level or category.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Booleans besides the verdict that a verifier reports, by name, averaged in the report:
    /// IFEval's strict and loose instruction counts, for instance.
    #[serde(default, skip_serializing_if = "serde_json::Map::is_empty")]
    pub details: serde_json::Map<String, serde_json::Value>,
    /// Where the sample is a strategy's answer: how that came about, and what it cost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receipt: Option<serde_json::Value>,
}

impl Sample {
    /// What there is to be judged.
    pub fn attempt(&self) -> Attempt<'_> {
        Attempt { question: &self.question, reasoning: &self.reasoning, answer: &self.answer }
    }
}

impl Manifest {
    /// What must be equal for a run to be gone on with, as (name, value).
    fn identity(&self) -> [(&'static str, String); 10] {
        let adapter = self.model.adapter.as_ref();
        [
            ("format", self.format.to_string()),
            ("benchmark", self.benchmark_toml.clone()),
            ("file of items", self.items.sha256.clone()),
            ("number of items", self.item_count.to_string()),
            ("number of samples", self.k.to_string()),
            ("model", format!("{:?}", (&self.model.name, &self.model.file))),
            ("adapter", adapter.map(|adapter| adapter.sha256.clone()).unwrap_or_default()),
            ("way to run the model", self.model.flags.clone().unwrap_or_default()),
            ("sampling", self.sampling.to_string()),
            ("seed", self.seed.to_string()),
        ]
    }
}

/// A run folder, open for writing by this process alone.
#[derive(Debug)]
pub struct RunFolder {
    path: PathBuf,
    samples: File,
}

/// Reads a run folder.
///
/// # Errors
/// A file is missing or is not what it should be.
pub fn read(path: &Path) -> Result<(Manifest, Vec<Sample>), Error> {
    let manifest = read_manifest(path)?;
    let file = path.join(SAMPLES);
    let text = std::fs::read(&file).map_err(|error| Error::Read { path: file.clone(), error })?;
    Ok((manifest, parse_samples(&file, &text)?.0))
}

fn read_manifest(path: &Path) -> Result<Manifest, Error> {
    let file = path.join(MANIFEST);
    let text = std::fs::read(&file).map_err(|error| Error::Read { path: file.clone(), error })?;
    serde_json::from_slice(&text).map_err(|error| Error::Line {
        why: format!("this is no manifest of a run: {error}"),
        line: error.line(),
        path: file,
    })
}

/// The samples, and the length of the text up to the end of the last whole line.
fn parse_samples(file: &Path, text: &[u8]) -> Result<(Vec<Sample>, usize), Error> {
    let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let mut samples = Vec::new();
    for (i, line) in text[..whole].split_inclusive(|byte| *byte == b'\n').enumerate() {
        samples.push(serde_json::from_slice(line).map_err(|error| Error::Line {
            path: file.to_owned(),
            line: i + 1,
            why: format!("this is no sample: {error}"),
        })?);
    }
    Ok((samples, whole))
}

impl RunFolder {
    /// Begins a run, or goes on with it: then the manifest must say the same. Returns what is there.
    ///
    /// # Errors
    /// The folder can't be written, holds another run, or is in use.
    pub fn open(path: &Path, manifest: &Manifest) -> Result<(RunFolder, Vec<Sample>), Error> {
        let wrong = |path: &Path| {
            let path = path.to_owned();
            move |error| Error::Write { path, error }
        };
        std::fs::create_dir_all(path).map_err(wrong(path))?;
        let file = path.join(SAMPLES);
        let mut samples = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .open(&file)
            .map_err(wrong(&file))?;
        samples.try_lock().map_err(|_| Error::Busy { path: path.to_owned() })?;
        if path.join(MANIFEST).exists() {
            let there = read_manifest(path)?;
            let pairs = there.identity().into_iter().zip(manifest.identity());
            if let Some(((what, _), _)) = pairs.into_iter().find(|(a, b)| a.1 != b.1) {
                return Err(Error::OtherRun { path: path.to_owned(), what: what.to_owned() });
            }
        } else {
            write_whole(
                &path.join(MANIFEST),
                &serde_json::to_vec_pretty(manifest).unwrap_or_default(),
            )?;
        }
        let mut text = Vec::new();
        samples
            .read_to_end(&mut text)
            .map_err(|error| Error::Read { path: file.clone(), error })?;
        let (there, whole) = parse_samples(&file, &text)?;
        // Half a line is a sample that was being written when the process was killed.
        samples.set_len(whole as u64).map_err(wrong(&file))?;
        samples.seek(SeekFrom::End(0)).map_err(wrong(&file))?;
        Ok((RunFolder { path: path.to_owned(), samples }, there))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Adds a sample.
    ///
    /// # Errors
    /// It can't be written.
    pub fn add(&mut self, sample: &Sample) -> Result<(), Error> {
        let mut line = serde_json::to_vec(sample).unwrap_or_default();
        line.push(b'\n');
        let path = self.path.join(SAMPLES);
        self.samples.write_all(&line).map_err(|error| Error::Write { path, error })
    }

    /// Replaces all samples, for a new scoring.
    ///
    /// # Errors
    /// They can't be written; the old ones are still there then.
    pub fn replace(path: &Path, samples: &[Sample]) -> Result<(), Error> {
        let mut text = Vec::new();
        for sample in samples {
            text.extend(serde_json::to_vec(sample).unwrap_or_default());
            text.push(b'\n');
        }
        write_whole(&path.join(SAMPLES), &text)
    }
}

/// Which samples are there, as (item, index).
pub fn done(samples: &[Sample]) -> HashSet<(String, usize)> {
    samples.iter().map(|sample| (sample.item.clone(), sample.index)).collect()
}

/// Writes a file, whole or not at all.
///
/// # Errors
/// It can't be written; what was there before is still there.
pub fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let part = path.with_extension("part");
    let write = || -> std::io::Result<()> {
        let mut file = File::create(&part)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&part, path)
    };
    write().map_err(|error| Error::Write { path: path.to_owned(), error })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest() -> Manifest {
        let source = Source { path: "items.jsonl".into(), sha256: "00".into() };
        Manifest {
            format: FORMAT,
            benchmark: "toy".into(),
            description: String::new(),
            benchmark_toml: "name = \"toy\"".into(),
            items: source,
            item_count: 2,
            k: 1,
            model: ModelId {
                name: "m".into(),
                file: None,
                adapter: None,
                flags: None,
                endpoints: vec![],
                parameters: None,
            },
            sampling: serde_json::json!({"temperature": 0}),
            seed: 1,
            command: vec!["ponder".into()],
            version: "0".into(),
            machine: None,
            started: 0,
        }
    }

    fn sample(item: &str) -> Sample {
        Sample {
            item: item.into(),
            index: 0,
            seed: 1,
            question: "?".into(),
            task: serde_json::json!({"kind": "exact", "gold": "1"}),
            reasoning: String::new(),
            answer: "1\n".into(),
            finish_reason: "stop".into(),
            prompt_tokens: 1,
            completion_tokens: 1,
            reasoning_tokens: 0,
            seconds: 0.1,
            verdict: Some(Verdict::right("1", "equal")),
            cannot_tell: None,
            group: None,
            details: Default::default(),
            receipt: None,
        }
    }

    #[test]
    fn a_killed_run_goes_on() {
        let dir = tempfile::tempdir().unwrap();
        let (mut run, there) = RunFolder::open(dir.path(), &manifest()).unwrap();
        assert!(there.is_empty());
        run.add(&sample("a")).unwrap();
        assert!(matches!(RunFolder::open(dir.path(), &manifest()), Err(Error::Busy { .. })));
        drop(run);
        let half = &serde_json::to_string(&sample("b")).unwrap()[..50];
        let file = dir.path().join(SAMPLES);
        let text = std::fs::read_to_string(&file).unwrap() + half;
        std::fs::write(&file, text).unwrap();

        let later = Manifest { started: 99, command: vec![], ..manifest() };
        let (mut run, there) = RunFolder::open(dir.path(), &later).unwrap();
        assert_eq!(there, [sample("a")]);
        run.add(&sample("b")).unwrap();
        let (manifest, samples) = read(dir.path()).unwrap();
        assert_eq!(samples, [sample("a"), sample("b")]);
        assert_eq!(manifest.started, 0, "the manifest is that of the beginning");
        assert_eq!(done(&samples).len(), 2);
    }

    #[test]
    fn other_runs_are_not_mixed_in() {
        let dir = tempfile::tempdir().unwrap();
        drop(RunFolder::open(dir.path(), &manifest()).unwrap());
        let other = Manifest { seed: 2, ..manifest() };
        let error = RunFolder::open(dir.path(), &other).unwrap_err().to_string();
        assert!(error.contains("another seed"), "{error}");
        let mut other = manifest();
        other.model.flags = Some("--attention sparse:2048".to_owned());
        let error = RunFolder::open(dir.path(), &other).unwrap_err().to_string();
        assert!(error.contains("another way to run the model"), "{error}");
        let mut other = manifest();
        other.model.adapter = Some(Source { path: "a".into(), sha256: "1".into() });
        let error = RunFolder::open(dir.path(), &other).unwrap_err().to_string();
        assert!(error.contains("another adapter"), "{error}");
        std::fs::write(dir.path().join(SAMPLES), "{}\n").unwrap();
        let error = RunFolder::open(dir.path(), &manifest()).unwrap_err().to_string();
        assert!(error.contains("samples.jsonl, line 1"), "{error}");
    }
}
