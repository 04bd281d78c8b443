//! Flags for sampling, laid over what the model's makers recommend.

use anyhow::{Result, bail};
use engine::sampler::{Sampling, SamplingError};
use text::tokenizer::Tokenizer;
use weights::catalogue;

/// How the next token is drawn. What is not given is as the model's makers recommend.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Sampling")]
pub struct SamplingArgs {
    /// Divides the logits of what the filters kept; 0 always takes the most likely token.
    #[arg(long, visible_alias = "temp", value_name = "T", allow_negative_numbers = true)]
    pub temperature: Option<f32>,

    /// Keep the K most likely tokens; 0 keeps all.
    #[arg(long, value_name = "K")]
    pub top_k: Option<usize>,

    /// Keep the fewest most likely tokens that hold this share of the probability.
    #[arg(long, value_name = "P", allow_negative_numbers = true)]
    pub top_p: Option<f32>,

    /// Keep tokens at least this many times as likely as the likeliest.
    #[arg(long, value_name = "P", allow_negative_numbers = true)]
    pub min_p: Option<f32>,

    /// Keep the most typical tokens that hold this share of the probability.
    #[arg(long, value_name = "P", allow_negative_numbers = true)]
    pub typical_p: Option<f32>,

    /// Subtracted from the logits of tokens generated before.
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    pub presence_penalty: Option<f32>,

    /// Subtracted from a token's logit for each time it was generated.
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    pub frequency_penalty: Option<f32>,

    /// Divides the logits of tokens in prompt or answer; 1 is none.
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    pub repetition_penalty: Option<f32>,

    /// How many of the last tokens the penalties look at; without it, all.
    #[arg(long, value_name = "N")]
    pub repetition_last_n: Option<usize>,

    /// Strength of DRY, the penalty on going on with a repeated passage; 0 is none.
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    pub dry_multiplier: Option<f32>,

    /// Growth of DRY's penalty with each token of the passage.
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    pub dry_base: Option<f32>,

    /// Passages shorter than this may repeat freely.
    #[arg(long, value_name = "N")]
    pub dry_allowed_length: Option<usize>,

    /// Text across which DRY sees no repetition (may be repeated) [default: line ends and : " *].
    #[arg(long, value_name = "TEXT")]
    pub dry_breaker: Vec<String>,

    /// Add X to the logit of a token, given by its id (may be repeated).
    #[arg(long, value_name = "ID=X", value_parser = bias)]
    pub logit_bias: Vec<(u32, f32)>,

    /// Same seed, same prompt, same text.
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
}

fn bias(typed: &str) -> Result<(u32, f32)> {
    let parsed = typed.split_once('=').map(|(token, bias)| (token.parse(), bias.parse()));
    let Some((Ok(token), Ok(bias))) = parsed else {
        bail!("a bias is a token's id and a number, as in 42=-1.5");
    };
    Ok((token, bias))
}

impl SamplingArgs {
    /// The flags over the catalogue's recommendation over that in the model's own files.
    ///
    /// # Errors
    /// A number outside its range, naming the setting and the range.
    pub fn over(
        &self,
        mut sampling: Sampling,
        row: Option<&catalogue::Sampling>,
    ) -> Result<Sampling, SamplingError> {
        if let Some(row) = row {
            set(&mut sampling.temperature, row.temperature);
            set(&mut sampling.top_k, row.top_k.map(|k| k as usize));
            set(&mut sampling.top_p, row.top_p);
            set(&mut sampling.min_p, row.min_p);
            set(&mut sampling.repetition_penalty, row.repetition_penalty);
        }
        set(&mut sampling.temperature, self.temperature);
        set(&mut sampling.top_k, self.top_k);
        set(&mut sampling.top_p, self.top_p);
        set(&mut sampling.min_p, self.min_p);
        set(&mut sampling.typical_p, self.typical_p);
        set(&mut sampling.presence_penalty, self.presence_penalty);
        set(&mut sampling.frequency_penalty, self.frequency_penalty);
        set(&mut sampling.repetition_penalty, self.repetition_penalty);
        set(&mut sampling.dry_multiplier, self.dry_multiplier);
        set(&mut sampling.dry_base, self.dry_base);
        set(&mut sampling.dry_allowed_length, self.dry_allowed_length);
        sampling.repetition_last_n = self.repetition_last_n.or(sampling.repetition_last_n);
        sampling.seed = self.seed.or(sampling.seed);
        sampling.logit_bias.extend(&self.logit_bias);
        sampling.validate()?;
        Ok(sampling)
    }

    /// Those of the flags that every engine knows.
    pub fn common(&self) -> reason::Sampling {
        reason::Sampling {
            temperature: self.temperature,
            top_k: self.top_k,
            top_p: self.top_p,
            min_p: self.min_p,
            repetition_penalty: self.repetition_penalty,
            presence_penalty: self.presence_penalty,
            frequency_penalty: self.frequency_penalty,
        }
    }

    /// DRY's sequence breakers: all tokens that contain one of the texts, as a line end is part
    /// of many.
    pub fn breakers(&self, tokenizer: &Tokenizer) -> Vec<u32> {
        let usual = ["\n", ":", "\"", "*"].map(str::to_owned);
        let breakers = if self.dry_breaker.is_empty() { &usual[..] } else { &self.dry_breaker };
        let contains = |bytes: &[u8], part: &str| {
            !part.is_empty() && bytes.windows(part.len()).any(|window| window == part.as_bytes())
        };
        (0..tokenizer.vocab_size() as u32)
            .filter(|&id| breakers.iter().any(|part| contains(tokenizer.token_bytes(id), part)))
            .collect()
    }
}

fn set<T>(setting: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *setting = value;
    }
}
