//! One knob for people who don't want several.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::Error;
use crate::strategy::{Auto, Single, Spec, Vote};

/// What is said behind a question that has a final answer, as QwQ's makers advise.
pub const INSTRUCTION: &str =
    "Please reason step by step, and put your final answer within \\boxed{}.";

/// How much is to be spent on a question.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effort {
    /// One short thought.
    Low,
    /// Up to five thoughts.
    #[default]
    Medium,
    /// Up to sixteen.
    High,
    /// Up to thirty-two, of any length.
    Max,
    /// As much as the question seems to need.
    Auto,
}

impl Effort {
    /// All of them, by name.
    pub const NAMES: [&'static str; 5] = ["low", "medium", "high", "max", "auto"];

    /// The strategy.
    pub fn spec(self) -> Spec {
        let vote = |n| Spec::Vote(Vote { n, ..Vote::default() });
        match self {
            Effort::Low => Spec::Single(Single {}),
            Effort::Medium => vote(5),
            Effort::High => vote(16),
            Effort::Max => vote(32),
            Effort::Auto => Spec::Auto(Auto::default()),
        }
    }

    /// Most tokens of a thinking.
    pub fn max_thinking(self) -> Option<usize> {
        match self {
            Effort::Low => Some(1024),
            Effort::Medium => Some(4096),
            Effort::High => Some(16384),
            Effort::Max | Effort::Auto => None,
        }
    }
}

impl FromStr for Effort {
    type Err = Error;

    fn from_str(name: &str) -> Result<Effort, Error> {
        Deserialize::deserialize(serde::de::value::StrDeserializer::<serde::de::value::Error>::new(
            name,
        ))
        .map_err(|_| {
            Error::Setting(format!("{name:?} is no effort; there are {}", Effort::NAMES.join(", ")))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read() {
        for name in Effort::NAMES {
            assert!(name.parse::<Effort>().is_ok(), "{name}");
        }
        assert!("huge".parse::<Effort>().unwrap_err().to_string().contains("medium"));
        for name in Spec::NAMES {
            assert_eq!(Spec::named(name).unwrap().strategy().name(), name);
        }
    }
}
