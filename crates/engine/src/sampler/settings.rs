//! What can be set about sampling, and what is allowed.

use serde::{Deserialize, Serialize};

/// How the next token is drawn. The default is neutral: the model's own distribution.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Sampling {
    /// Divides the logits of what the filters kept, 0 to 100. Below 0.001 the most likely token
    /// is always taken.
    pub temperature: f32,
    /// Keep this many of the most likely tokens; 0 keeps all.
    pub top_k: usize,
    /// Keep the fewest most likely tokens that hold this share of the probability, above 0 to 1;
    /// 1 keeps all.
    pub top_p: f32,
    /// Keep tokens at least this many times as likely as the likeliest, 0 to 1; 0 keeps all.
    pub min_p: f32,
    /// Keep the tokens whose surprise is nearest to the expected one, until they hold this share
    /// of the probability, above 0 to 1; 1 keeps all.
    pub typical_p: f32,
    /// Subtracted once from the logit of every token generated before, -2 to 2.
    pub presence_penalty: f32,
    /// Subtracted from a token's logit for each time it was generated, -2 to 2.
    pub frequency_penalty: f32,
    /// Divides positive and multiplies negative logits of tokens in prompt or output, above 0 to
    /// 10; 1 does nothing.
    pub repetition_penalty: f32,
    /// How many of the last tokens the penalties and DRY look at; `None` means the whole
    /// sequence.
    pub repetition_last_n: Option<usize>,
    /// Strength of DRY, the penalty on continuing a repeated passage, 0 to 100; 0 switches it
    /// off.
    pub dry_multiplier: f32,
    /// DRY's penalty grows by this factor with each token that the repeated passage is longer,
    /// 1 to 10.
    pub dry_base: f32,
    /// Passages shorter than this many tokens may repeat freely, from 1.
    pub dry_allowed_length: usize,
    /// Tokens across which DRY does not look for repetition.
    pub dry_sequence_breakers: Vec<u32>,
    /// Added to the logits of these tokens, each -100 to 100.
    pub logit_bias: Vec<(u32, f32)>,
    /// Same seed, same prompt, same settings: same text. `None` makes one up.
    pub seed: Option<u64>,
}

impl Default for Sampling {
    fn default() -> Self {
        Self {
            temperature: 1.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            typical_p: 1.0,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            repetition_penalty: 1.0,
            repetition_last_n: None,
            dry_multiplier: 0.0,
            dry_base: 1.75,
            dry_allowed_length: 2,
            dry_sequence_breakers: Vec::new(),
            logit_bias: Vec::new(),
            seed: None,
        }
    }
}

/// A setting that cannot be used.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum SamplingError {
    /// A number outside its range.
    #[error("sampling: {field} is {value}, but must be {range}")]
    OutOfRange {
        /// The setting's name.
        field: &'static str,
        /// What it was set to.
        value: f64,
        /// What is allowed.
        range: &'static str,
    },
    /// A bias for a token that does not exist.
    #[error(
        "sampling: logit_bias names token {token}, but the vocabulary has {vocab_size} tokens (0 to {})",
        vocab_size.saturating_sub(1)
    )]
    UnknownToken {
        /// The token named.
        token: u32,
        /// How many there are.
        vocab_size: usize,
    },
}

impl Sampling {
    /// Whether the most likely token is always taken.
    pub fn is_greedy(&self) -> bool {
        self.temperature < 1e-3
    }

    /// Checks every number against its range, and every token against a vocabulary of
    /// `vocab_size`.
    ///
    /// # Errors
    /// As [`Sampling::validate`], or a bias is for a token that there isn't.
    pub fn check(&self, vocab_size: usize) -> Result<(), SamplingError> {
        self.validate()?;
        match self.logit_bias.iter().find(|(token, _)| *token as usize >= vocab_size) {
            Some(&(token, _)) => Err(SamplingError::UnknownToken { token, vocab_size }),
            None => Ok(()),
        }
    }

    /// Checks every number against its range.
    ///
    /// # Errors
    /// The first setting outside its range (NaN is outside of all).
    pub fn validate(&self) -> Result<(), SamplingError> {
        let share = |x: f32| x > 0.0 && x <= 1.0;
        let between = |low: f32, high: f32| move |x: f32| (low..=high).contains(&x);
        let check = |field, value: f32, allowed: &dyn Fn(f32) -> bool, range| {
            if allowed(value) {
                return Ok(());
            }
            let value = f64::from(value);
            Err(SamplingError::OutOfRange { field, value, range })
        };
        check("temperature", self.temperature, &between(0.0, 100.0), "from 0 to 100")?;
        check("top_p", self.top_p, &share, "above 0 and at most 1")?;
        check("min_p", self.min_p, &between(0.0, 1.0), "from 0 to 1")?;
        check("typical_p", self.typical_p, &share, "above 0 and at most 1")?;
        check("presence_penalty", self.presence_penalty, &between(-2.0, 2.0), "from -2 to 2")?;
        check("frequency_penalty", self.frequency_penalty, &between(-2.0, 2.0), "from -2 to 2")?;
        check(
            "repetition_penalty",
            self.repetition_penalty,
            &|x| x > 0.0 && x <= 10.0,
            "above 0 and at most 10",
        )?;
        check("dry_multiplier", self.dry_multiplier, &between(0.0, 100.0), "from 0 to 100")?;
        check("dry_base", self.dry_base, &between(1.0, 10.0), "from 1 to 10")?;
        if self.dry_allowed_length == 0 {
            return Err(SamplingError::OutOfRange {
                field: "dry_allowed_length",
                value: 0.0,
                range: "at least 1",
            });
        }
        for &(_, bias) in &self.logit_bias {
            check("logit_bias", bias, &between(-100.0, 100.0), "from -100 to 100")?;
        }
        Ok(())
    }
}
