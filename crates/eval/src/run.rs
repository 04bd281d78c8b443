//! The run folder.
//!
//! `manifest.json` says what was measured and how, and is written first; `samples.jsonl` gets one
//! line a finished sample, written whole or not at all. A run that was killed goes on where it
//! stopped: the last line counts only if it is whole.

use serde::{Deserialize, Serialize};
use verify::Verdict;

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
}
