//! What can be wrong with what an objective is given.

/// Names the field and what is wrong with it.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A reward that no advantage can be worked out from.
    #[error("reward of completion {completion} of group {group}: {value} is not a finite number")]
    Reward {
        /// Which group, counted from 0.
        group: usize,
        /// Which of the group's completions, counted from 0.
        completion: usize,
        /// What it is.
        value: f64,
    },
    /// A setting, or an argument that doesn't belong to one item of a batch.
    #[error("{field}: {problem}")]
    Setting {
        /// Which.
        field: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// Something of a completion, a pair or a value of a batch.
    #[error("{field} of item {item} of the batch: {problem}")]
    Item {
        /// Which field.
        field: &'static str,
        /// Which completion or pair, counted from 0.
        item: usize,
        /// What is wrong with it.
        problem: String,
    },
}

pub(super) fn setting(field: &'static str, problem: impl Into<String>) -> Error {
    Error::Setting { field, problem: problem.into() }
}

pub(super) fn item(field: &'static str, item: usize, problem: impl Into<String>) -> Error {
    Error::Item { field, item, problem: problem.into() }
}

/// A setting that has to be a number from `least` on.
pub(super) fn at_least(field: &'static str, value: f64, least: f64) -> Result<(), Error> {
    if value.is_finite() && value >= least {
        return Ok(());
    }
    Err(setting(field, format!("{value} is not a number from {least} on")))
}

/// What has to be finite numbers, one a token.
pub(super) fn finite(field: &'static str, values: &[f32]) -> Result<(), Error> {
    match not_finite(values) {
        None => Ok(()),
        Some(problem) => Err(setting(field, problem)),
    }
}

/// What is wrong with numbers, one a token, that should be finite.
pub(super) fn not_finite(values: &[f32]) -> Option<String> {
    let token = values.iter().position(|v| !v.is_finite())?;
    Some(format!("{} at token {token}", values[token]))
}
