//! Fields that say how to sample and when to stop, by the names that clients of OpenAI, vLLM and
//! llama-server give them.

use std::time::{Duration, Instant};

use engine::Request;
use engine::sampler::Sampling;
use serde::Deserialize;
use serde_json::Value;
use text::tokenizer::{Special, Tokenizer};

use crate::error::ApiError;

/// Most answers to one request.
const MOST_CHOICES: usize = 128;
/// Most alternatives to a token that are told.
const MOST_LOGPROBS: usize = 100;

#[derive(Debug, Deserialize)]
pub(crate) struct SamplingFields {
    temperature: Option<f32>,
    top_k: Option<i64>,
    top_p: Option<f32>,
    min_p: Option<f32>,
    #[serde(alias = "typical")]
    typical_p: Option<f32>,
    presence_penalty: Option<f32>,
    frequency_penalty: Option<f32>,
    repetition_penalty: Option<f32>,
    /// The same, as llama-server's clients call it; who doesn't know which engine listens sends both.
    repeat_penalty: Option<f32>,
    repeat_last_n: Option<i64>,
    dry_multiplier: Option<f32>,
    dry_base: Option<f32>,
    dry_allowed_length: Option<usize>,
    seed: Option<i64>,
    logit_bias: Option<Value>,
    #[serde(alias = "max_completion_tokens", alias = "n_predict", alias = "max_output_tokens")]
    max_tokens: Option<i64>,
    min_tokens: Option<usize>,
    ignore_eos: Option<bool>,
    stop: Option<Stop>,
    n: Option<usize>,
    priority: Option<i32>,
    /// Milliseconds the answer may take.
    #[serde(alias = "t_max_predict_ms")]
    timeout_ms: Option<i64>,
    user: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Stop {
    One(String),
    Many(Vec<String>),
}

impl SamplingFields {
    /// Writes what was given over a request's settings.
    pub(crate) fn apply(
        self,
        request: &mut Request,
        tokenizer: &Tokenizer,
    ) -> Result<(), ApiError> {
        let sampling = &mut request.sampling;
        let set = |field: &mut f32, value: Option<f32>| *field = value.unwrap_or(*field);
        set(&mut sampling.temperature, self.temperature);
        // llama-server's clients send values below 0 for greedy sampling, and 0 for no limit.
        sampling.temperature = sampling.temperature.max(0.0);
        set(&mut sampling.top_p, self.top_p);
        set(&mut sampling.min_p, self.min_p);
        set(&mut sampling.typical_p, self.typical_p);
        set(&mut sampling.presence_penalty, self.presence_penalty);
        set(&mut sampling.frequency_penalty, self.frequency_penalty);
        set(&mut sampling.repetition_penalty, self.repetition_penalty.or(self.repeat_penalty));
        set(&mut sampling.dry_multiplier, self.dry_multiplier);
        set(&mut sampling.dry_base, self.dry_base);
        if let Some(length) = self.dry_allowed_length {
            sampling.dry_allowed_length = length;
        }
        if let Some(top_k) = self.top_k {
            sampling.top_k = usize::try_from(top_k).unwrap_or(0);
        }
        if let Some(last) = self.repeat_last_n {
            sampling.repetition_last_n = usize::try_from(last).ok();
        }
        // Below 0: any.
        sampling.seed = self.seed.and_then(|seed| u64::try_from(seed).ok()).or(sampling.seed);
        if let Some(bias) = &self.logit_bias {
            logit_bias(bias, sampling, tokenizer)?;
        }
        if let Some(most) = self.max_tokens {
            request.max_tokens = usize::try_from(most).ok();
        }
        request.min_tokens = self.min_tokens.unwrap_or(0);
        request.ignore_eos = self.ignore_eos.unwrap_or(false);
        request.stop = match self.stop {
            None => Vec::new(),
            Some(Stop::One(stop)) => vec![stop],
            Some(Stop::Many(stop)) => stop,
        };
        request.n = self.n.unwrap_or(1);
        if !(1..=MOST_CHOICES).contains(&request.n) {
            let message = format!("n is {}, but must be from 1 to {MOST_CHOICES}", request.n);
            return Err(ApiError::param("n", message));
        }
        request.priority = self.priority.unwrap_or(0);
        request.tenant = self.user.unwrap_or_default().into();
        let patience = self.timeout_ms.and_then(|ms| u64::try_from(ms).ok()).filter(|ms| *ms > 0);
        request.deadline = patience.map(|ms| Instant::now() + Duration::from_millis(ms));
        Ok(())
    }
}

/// `{"token": bias}` as OpenAI writes it, or llama-server's `[[token or text, bias or false]]`.
fn logit_bias(
    bias: &Value,
    sampling: &mut Sampling,
    tokenizer: &Tokenizer,
) -> Result<(), ApiError> {
    let wrong = || {
        let message = "logit_bias must be an object of token: bias, or a list of [token, bias]";
        ApiError::param("logit_bias", message)
    };
    let mut pairs: Vec<(Value, Value)> = Vec::new();
    match bias {
        Value::Null => {}
        Value::Object(map) => {
            for (token, bias) in map {
                let token = match token.parse::<u32>() {
                    Ok(id) => id.into(),
                    Err(_) => token.as_str().into(),
                };
                pairs.push((token, bias.clone()));
            }
        }
        Value::Array(list) => {
            for pair in list {
                match pair.as_array().map(Vec::as_slice) {
                    Some([token, bias]) => pairs.push((token.clone(), bias.clone())),
                    _ => return Err(wrong()),
                }
            }
        }
        _ => return Err(wrong()),
    }
    for (token, bias) in pairs {
        let bias = match bias {
            Value::Bool(false) => -100.0,
            bias => bias.as_f64().ok_or_else(wrong)? as f32,
        };
        match token {
            Value::String(text) => {
                let tokens = tokenizer.encode(&text, Special::Plain);
                sampling.logit_bias.extend(tokens.into_iter().map(|token| (token, bias)));
            }
            token => {
                let id = token.as_u64().and_then(|id| u32::try_from(id).ok()).ok_or_else(wrong)?;
                sampling.logit_bias.push((id, bias));
            }
        }
    }
    Ok(())
}

/// The number of alternatives wanted, checked.
pub(crate) fn alternatives(n: usize, param: &'static str) -> Result<usize, ApiError> {
    if n > MOST_LOGPROBS {
        let message = format!("{param} is {n}, but must be at most {MOST_LOGPROBS}");
        return Err(ApiError::param(param, message));
    }
    Ok(n)
}
