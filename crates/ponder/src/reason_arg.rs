//! How a question is reasoned about. Shared by `ponder reason` and `ponder eval`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use reason::Effort;
use reason::strategy::{By, Calibration, Spec};
use reason::thought::{Manner, Settle, Stopping, Words};
use reason::vote::Weight;

/// The arguments, to be flattened into a command's own.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Reasoning")]
pub struct ReasonArgs {
    /// How to answer: single, vote, best-of, revise, program, search or auto.
    #[arg(long, value_name = "NAME", value_parser = spec)]
    pub strategy: Option<Spec>,

    /// How much to spend: low, medium, high, max or auto, which sets strategy and budget.
    #[arg(long, value_name = "EFFORT", value_parser = |name: &str| name.parse::<Effort>())]
    pub effort: Option<Effort>,

    /// Thoughts, at most.
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub n: Option<u16>,

    /// Think for at most N tokens, then answer; 0 answers at once.
    #[arg(long, value_name = "N")]
    pub think: Option<usize>,

    /// Think for at least N tokens, as far as saying "Wait" can bring that about.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub min_think: usize,

    /// How often "Wait" is said at most.
    #[arg(long, value_name = "K", default_value_t = 2)]
    pub waits: usize,

    /// Most tokens of the answer behind the thinking.
    #[arg(long, value_name = "N", default_value_t = 1024)]
    pub max_answer: usize,

    /// How votes are weighted: count, likelihood, tail (confidence in the last tokens) or score (--check, --judge).
    #[arg(long, value_name = "WEIGHT", value_parser = weight)]
    pub weight: Option<Weight>,

    /// Stop voting when the leader stays the leader with this probability; 1 when it can't be overtaken.
    #[arg(long, value_name = "P", value_parser = share, conflicts_with = "all_votes")]
    pub sure: Option<f64>,

    /// Stop voting when half have voted and no answer has more than this share of the votes, such as 0.25.
    #[arg(long, value_name = "SHARE", value_parser = share, conflicts_with = "all_votes")]
    pub give_up: Option<f64>,

    /// Let all thoughts vote, however clear the vote is.
    #[arg(long)]
    pub all_votes: bool,

    /// Give up thoughts the model is unsure of.
    #[arg(long)]
    pub drop_weak: bool,

    /// Note how sure the model is of its tokens, in the receipt.
    #[arg(long)]
    pub confidence: bool,

    /// Stop a thought when the model has settled: its answer, asked for between paragraphs, stays the same.
    #[arg(long)]
    pub settle: bool,

    /// Don't look for loops.
    #[arg(long)]
    pub no_loops: bool,

    /// Don't look for other languages than the question's.
    #[arg(long)]
    pub no_language: bool,

    /// Said in place of the end of a thinking that is too short.
    #[arg(long, value_name = "TEXT", default_value_t = Words::default().wait)]
    pub wait_text: String,

    /// Said before the end of a thinking that is too long.
    #[arg(long, value_name = "TEXT", default_value_t = Words::default().close)]
    pub close_text: String,

    /// Begins an answer that the model is made to give.
    #[arg(long, value_name = "TEXT", default_value_t = Words::default().lead)]
    pub lead_text: String,

    /// What `ponder reason tune` has learnt of the model, for auto.
    #[arg(long, value_name = "FILE")]
    pub calibration: Option<PathBuf>,
}

fn spec(name: &str) -> Result<Spec> {
    match Spec::named(name) {
        Some(spec) => Ok(spec),
        None => bail!("there are {}", Spec::NAMES.join(", ")),
    }
}

fn weight(name: &str) -> Result<Weight> {
    serde_json::from_value(name.into()).context("there are count, likelihood, tail, score")
}

fn share(typed: &str) -> Result<f64> {
    match typed.parse() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        _ => bail!("a probability is wanted, from 0 to 1"),
    }
}

/// A time as people write it: `30s`, `2m`, `500ms`; plain numbers are seconds.
pub fn duration(typed: &str) -> Result<Duration> {
    let typed = typed.trim();
    let at = typed.find(|c: char| c.is_alphabetic()).unwrap_or(typed.len());
    let (number, unit) = typed.split_at(at);
    let scale = match unit {
        "ms" => 0.001,
        "" | "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        _ => bail!("a time is wanted, as in 30s, 2m or 500ms"),
    };
    let seconds = number.trim().parse::<f64>().context("a time is wanted, as in 30s")? * scale;
    Duration::try_from_secs_f64(seconds).context("a time is wanted, as in 30s")
}

impl ReasonArgs {
    /// Whether anything is asked for that a plain answer doesn't have.
    pub fn is_asked_for(&self) -> bool {
        self.strategy.is_some() || self.effort.is_some() || self.n.is_some()
    }

    /// The strategy and the manner of its thoughts. What `calibration` holds is for `auto`.
    ///
    /// # Errors
    /// Flags that don't go together.
    pub fn settings(&self, sampling: reason::Sampling) -> Result<(Spec, Manner)> {
        let effort = self.effort.unwrap_or_default();
        let mut spec = self.strategy.clone().unwrap_or_else(|| effort.spec());
        if let Some(n) = self.n {
            spec = spec.with_n(usize::from(n))?;
        }
        let sure = match (self.all_votes, self.sure) {
            (true, _) => Some(None),
            (_, Some(sure)) => Some(Some(sure)),
            _ => None,
        };
        match &mut spec {
            Spec::Vote(vote) => {
                vote.weight = self.weight.unwrap_or(vote.weight);
                vote.sure = sure.unwrap_or(vote.sure);
                vote.give_up = match (self.all_votes, self.give_up) {
                    (true, _) => None,
                    (_, Some(share)) => Some(share),
                    _ => vote.give_up,
                };
                vote.drop_weak |= self.drop_weak;
            }
            Spec::Program(program) => program.sure = sure.unwrap_or(program.sure),
            Spec::Search(search) => match self.weight {
                Some(Weight::Score) => search.by = By::Score,
                None | Some(Weight::Likelihood) => {}
                Some(_) => bail!("search chooses by --weight likelihood or score"),
            },
            Spec::Auto(auto) => {
                if let Some(path) = &self.calibration {
                    auto.calibration = Some(read(path)?);
                }
            }
            _ if self.weight.is_some() || sure.is_some() || self.drop_weak => {
                bail!("--weight, --sure, --all-votes and --drop-weak go with --strategy vote");
            }
            _ => {}
        }
        let budget = match self.strategy {
            Some(_) if self.effort.is_none() => None,
            _ => effort.max_thinking(),
        };
        let manner = Manner {
            sampling,
            max_thinking: self.think.or(budget),
            min_thinking: self.min_think,
            waits: self.waits,
            max_answer: self.max_answer,
            words: Words {
                wait: self.wait_text.clone(),
                close: self.close_text.clone(),
                lead: self.lead_text.clone(),
            },
            stopping: Stopping {
                settle: self.settle.then(Settle::default),
                loops: !self.no_loops,
                language: !self.no_language,
            },
            confidence: self.confidence,
            ..Manner::default()
        };
        Ok((spec, manner))
    }
}

/// Reads a calibration.
pub fn read(path: &Path) -> Result<Calibration> {
    let text =
        std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_str(&text)
        .with_context(|| format!("{} is no calibration of `ponder reason tune`", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read() {
        assert_eq!(duration("30s").unwrap(), Duration::from_secs(30));
        assert_eq!(duration("2m").unwrap(), Duration::from_secs(120));
        assert_eq!(duration("250ms").unwrap(), Duration::from_millis(250));
        assert_eq!(duration("1.5").unwrap(), Duration::from_millis(1500));
        for wrong in ["", "s", "-1s", "3 weeks", "1e400", "nan"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }
}
