//! Where problems come from: generators, and files of items, as benchmarks put and check them.

use std::collections::HashSet;

use eval::benchmark::{Benchmark, Item};
use eval::rows;
use serde_json::{Map, Value};
use verify::tasks::{self, Kind, Split};

use crate::Error;
use crate::chance::{chance, hold_out, rounds};
use crate::error::recipe;
use crate::recipe::Source;

/// A problem, and which level of the curriculum it is of.
#[derive(Clone, Debug, PartialEq)]
pub struct Problem {
    /// What is asked and how it is checked.
    pub item: Item,
    /// Which level.
    pub level: usize,
}

/// A source at one difficulty.
struct Level {
    name: String,
    benchmark: Benchmark,
    weight: f64,
    items: Items,
}

enum Items {
    /// Endless.
    Generated { kind: Kind, difficulty: u32 },
    /// Those of a file.
    Listed(Vec<Item>),
}

/// All levels of all sources, and what of them is held out.
pub struct Pool {
    levels: Vec<Level>,
    held_out: Vec<Problem>,
}

impl Pool {
    /// Opens the sources. `held_out` problems of each are never drawn.
    ///
    /// # Errors
    /// A benchmark or file can't be read, or has too few items.
    pub fn open(sources: &[Source], seed: u64, held_out: usize) -> Result<Pool, Error> {
        let mut pool = Pool { levels: Vec::new(), held_out: Vec::new() };
        for (i, source) in sources.iter().enumerate() {
            let (benchmark, _) = Benchmark::open(&source.benchmark)?;
            let generator = benchmark.items.file.strip_prefix("generator:").map(str::to_owned);
            match (generator, &source.items) {
                (Some(kinds), None) => pool.generate(source, &benchmark, &kinds, held_out)?,
                (_, Some(path)) => {
                    let mut items = benchmark.items(&rows::read(path, &[])?)?;
                    let kept = match &source.held_out {
                        Some(path) => benchmark.items(&rows::read(path, &[])?)?,
                        None => {
                            let (kept, rest) = hold_out(seed, i as u64, items, held_out);
                            items = rest;
                            kept
                        }
                    };
                    if items.is_empty() {
                        let problem =
                            format!("{}: no items are left to learn from", path.display());
                        return Err(recipe(format!("grpo.problems.{i}.items"), problem));
                    }
                    let level = pool.levels.len();
                    let some = kept.into_iter().take(held_out).map(|item| Problem { item, level });
                    pool.held_out.extend(some);
                    pool.levels.push(Level {
                        name: benchmark.name.clone(),
                        benchmark,
                        weight: source.weight,
                        items: Items::Listed(items),
                    });
                }
                (None, None) => {
                    let problem = format!("{} needs a file of items", source.benchmark);
                    return Err(recipe(format!("grpo.problems.{i}.items"), problem));
                }
            }
        }
        Ok(pool)
    }

    fn generate(
        &mut self,
        source: &Source,
        benchmark: &Benchmark,
        kinds: &str,
        held_out: usize,
    ) -> Result<(), Error> {
        let wrong = |error: verify::CannotTell| recipe("grpo.problems", error.to_string());
        let kinds = match kinds {
            "all" => Kind::ALL.to_vec(),
            name => vec![name.parse().map_err(wrong)?],
        };
        let first = self.levels.len();
        let levels = source.difficulties.len() * kinds.len();
        for difficulty in &source.difficulties {
            for kind in &kinds {
                self.levels.push(Level {
                    name: format!("{}-{difficulty}", kind.name()),
                    benchmark: benchmark.clone(),
                    weight: source.weight / levels as f64,
                    items: Items::Generated { kind: *kind, difficulty: *difficulty },
                });
            }
        }
        let hard = match source.held_out_difficulties.is_empty() {
            true => &source.difficulties,
            false => &source.held_out_difficulties,
        };
        let mut streams: Vec<_> = hard
            .iter()
            .flat_map(|d| kinds.iter().map(|kind| tasks::stream(*kind, Split::Measure, 0, *d)))
            .collect();
        let mut seen = HashSet::new();
        let n = streams.len();
        // Easy kinds have few tasks: what comes again is left out.
        for i in 0..20 * held_out {
            if seen.len() == held_out {
                break;
            }
            let Some(task) = streams[i % n].next() else { break };
            if seen.insert(task.id.clone()) {
                let item = one(benchmark, &task)?;
                self.held_out.push(Problem { item, level: first });
            }
        }
        Ok(())
    }

    /// Names of the levels.
    pub fn levels(&self) -> impl Iterator<Item = &str> {
        self.levels.iter().map(|level| &*level.name)
    }

    /// How often each level is drawn when all of them are as useful.
    pub fn weights(&self) -> Vec<f64> {
        self.levels.iter().map(|level| level.weight).collect()
    }

    /// Problems that are never drawn.
    pub fn held_out(&self) -> &[Problem] {
        &self.held_out
    }

    /// The `nth` problem of a level in the order that `seed` makes of them.
    ///
    /// # Errors
    /// The benchmark's templates fail on a generated task.
    pub fn problem(&self, level: usize, nth: u64, seed: u64) -> Result<Problem, Error> {
        let of = &self.levels[level];
        let item = match &of.items {
            Items::Listed(items) => {
                let mut places = rounds(seed, &of.name, nth, items.len());
                items[places.next().unwrap_or_default()].clone()
            }
            Items::Generated { kind, difficulty } => {
                let mut random = chance(seed, &of.name, nth);
                loop {
                    let task = tasks::generate(*kind, random.next(), *difficulty);
                    if task.split == Split::Train {
                        break one(&of.benchmark, &task)?;
                    }
                }
            }
        };
        Ok(Problem { item, level })
    }
}

/// A generated task as the benchmark puts it.
fn one(benchmark: &Benchmark, task: &tasks::Task) -> Result<Item, Error> {
    let row: Map<String, Value> = match serde_json::to_value(task) {
        Ok(Value::Object(row)) => row,
        _ => unreachable!("a task is a struct of plain fields"),
    };
    let mut items = benchmark.items(&[row])?;
    Ok(items.remove(0))
}
