//! One thought.

use serde::{Deserialize, Serialize};

use super::{Outcome, Strategy};
use crate::Error;
use crate::mind::Mind;

/// One thought, under whatever budget and watch there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Single {}

impl Strategy for Single {
    fn name(&self) -> &'static str {
        "single"
    }

    fn reason(&self, mind: &Mind<'_>) -> Result<Outcome, Error> {
        let thought = mind.think(mind.plan())?;
        let confidence = thought.confidence.map(|c| c.mean_logprob.exp());
        let why = "it is the only one".to_owned();
        Ok(Outcome {
            thoughts: vec![thought],
            chosen: Some(0),
            confidence,
            why,
            ..Outcome::default()
        })
    }
}
