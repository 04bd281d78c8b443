//! What is asked, and the trait of whoever answers.

use engine::{Completion, Delta, Flow};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use text::splitter::{Start, Tags};
use text::template::Message;
use text::tools::Tool;

/// What is to be gone on from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Prompt {
    /// A conversation, written as the model's chat template has it.
    Chat(Vec<Message>),
    /// Plain text.
    Text(String),
}

/// How tokens are drawn. What is not given is left to the model: its makers' advice in this
/// process, the server's own defaults elsewhere.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sampling {
    /// See [`engine::sampler::Sampling::temperature`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f32>,
    /// See [`engine::sampler::Sampling::top_k`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_k: Option<usize>,
    /// See [`engine::sampler::Sampling::top_p`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_p: Option<f32>,
    /// See [`engine::sampler::Sampling::min_p`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_p: Option<f32>,
    /// See [`engine::sampler::Sampling::repetition_penalty`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repetition_penalty: Option<f32>,
    /// See [`engine::sampler::Sampling::presence_penalty`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub presence_penalty: Option<f32>,
    /// See [`engine::sampler::Sampling::frequency_penalty`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frequency_penalty: Option<f32>,
}

impl Sampling {
    /// Draws from the model's own distribution, changed by nothing. For figures that are to be the
    /// same whatever engine is asked: every engine has other defaults.
    pub fn neutral() -> Sampling {
        Sampling {
            temperature: Some(1.0),
            top_k: Some(0),
            top_p: Some(1.0),
            min_p: Some(0.0),
            repetition_penalty: Some(1.0),
            presence_penalty: Some(0.0),
            frequency_penalty: Some(0.0),
        }
    }

    /// These settings, and for what they leave open those of `other`.
    pub fn or(&self, other: &Sampling) -> Sampling {
        Sampling {
            temperature: self.temperature.or(other.temperature),
            top_k: self.top_k.or(other.top_k),
            top_p: self.top_p.or(other.top_p),
            min_p: self.min_p.or(other.min_p),
            repetition_penalty: self.repetition_penalty.or(other.repetition_penalty),
            presence_penalty: self.presence_penalty.or(other.presence_penalty),
            frequency_penalty: self.frequency_penalty.or(other.frequency_penalty),
        }
    }

    /// Lays them over an engine's settings.
    pub fn over(&self, sampling: &mut engine::sampler::Sampling) {
        fn set<T: Copy>(to: &mut T, from: Option<T>) {
            *to = from.unwrap_or(*to);
        }
        set(&mut sampling.temperature, self.temperature);
        set(&mut sampling.top_k, self.top_k);
        set(&mut sampling.top_p, self.top_p);
        set(&mut sampling.min_p, self.min_p);
        set(&mut sampling.repetition_penalty, self.repetition_penalty);
        set(&mut sampling.presence_penalty, self.presence_penalty);
        set(&mut sampling.frequency_penalty, self.frequency_penalty);
    }
}

/// Part of an answer that is there already.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Piece {
    /// Its text, tags included.
    pub text: String,
    /// The tokens that were drawn for it; empty where it was put there by somebody else, or where
    /// the completer doesn't tell its tokens.
    pub tokens: Vec<u32>,
}

/// How an answer begins, for one who is going to write part of it himself.
#[derive(Clone, Debug)]
pub struct Opening {
    /// Where the prompt leaves the model.
    pub start: Start,
    /// What sets off its thinking.
    pub tags: Tags,
    /// Whether it is known to think apart from its answer.
    pub thinks: bool,
}

/// One thing to be answered.
#[derive(Clone, Debug)]
pub struct Ask {
    /// What is to be gone on from.
    pub prompt: Prompt,
    /// What of the answer is there already. The rest is told as the model writes it, tags and all,
    /// as content. See [`Completer::opening`].
    pub begun: Option<Vec<Piece>>,
    /// How tokens are drawn.
    pub sampling: Sampling,
    /// Seed of the draws.
    pub seed: u64,
    /// Most tokens to generate, thinking included.
    pub max_tokens: Option<usize>,
    /// Fewest tokens to generate: what ends the answer is not drawn before.
    pub min_tokens: usize,
    /// Most tokens to think for; 0 asks for an answer at once.
    pub max_thinking: Option<usize>,
    /// Texts that end the answer.
    pub stop: Vec<String>,
    /// Each token's log-probability is wanted, with those of so many of the likeliest; see
    /// [`Completer::tells_logprobs`].
    pub logprobs: Option<usize>,
    /// Variables for the chat template.
    pub template: Map<String, Value>,
    /// What the model may call, in a conversation.
    pub tools: Vec<Tool>,
}

impl Ask {
    /// A question with nothing else set.
    pub fn chat(messages: Vec<Message>) -> Ask {
        Ask {
            prompt: Prompt::Chat(messages),
            begun: None,
            sampling: Sampling::default(),
            seed: 0,
            max_tokens: None,
            min_tokens: 0,
            max_thinking: None,
            stop: Vec::new(),
            logprobs: None,
            template: Map::new(),
            tools: Vec::new(),
        }
    }
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The engine in this process.
    #[error(transparent)]
    Engine(#[from] engine::Error),
    /// What was set doesn't go with this completer.
    #[error("{0}")]
    Setting(String),
    /// An endpoint refused: asking again would not help.
    #[error("{url}: {status}: {message}")]
    Refused {
        /// The endpoint.
        url: String,
        /// HTTP status.
        status: u16,
        /// What it said.
        message: String,
    },
    /// An endpoint could not be reached, broke off or is overloaded, however often it was tried.
    #[error("{url}: {why}")]
    Unavailable {
        /// The endpoint.
        url: String,
        /// What happened last.
        why: String,
        /// How long it asked to be left alone.
        retry_after: Option<std::time::Duration>,
    },
}

/// Answers.
pub trait Completer: Send + Sync {
    /// The model's name.
    fn name(&self) -> &str;

    /// How many asks it is best given at a time.
    fn slots(&self) -> usize;

    /// Answers, telling `receive` of each piece; blocks until the answer is whole or
    /// [`Flow::Stop`] is returned, which ends it as [`engine::FinishReason::Cancelled`].
    ///
    /// # Errors
    /// There is no answer, or it broke off; see [`Error`].
    fn complete(
        &self,
        ask: &Ask,
        receive: &mut dyn FnMut(Delta) -> Flow,
    ) -> Result<Completion, Error>;

    /// How the answer to this begins: to be asked before the first [`Ask::begun`].
    ///
    /// # Errors
    /// [`Error::Setting`] if this completer can't go on with an answer that is half written.
    fn opening(&self, _ask: &Ask) -> Result<Opening, Error> {
        Err(Error::Setting(format!("{} can't go on with a half-written answer", self.name())))
    }

    /// How many tokens a text has, by itself. An estimate from above for texts in Latin letters,
    /// where the vocabulary isn't at hand.
    fn tokens_in(&self, text: &str) -> usize {
        text.len().div_ceil(3)
    }

    /// The text of tokens, and where in it each of them ends; none where the vocabulary isn't at
    /// hand.
    fn text_of(&self, _tokens: &[u32]) -> Option<(String, Vec<usize>)> {
        None
    }

    /// Whether [`Ask::logprobs`] are told.
    fn tells_logprobs(&self) -> bool {
        false
    }

    /// Forward passes so far, for all who ask; none if not known.
    fn passes(&self) -> Option<u64> {
        None
    }

    /// Multiplications and additions that a token takes, about: twice the parameters that take
    /// part; none if not known.
    fn flops_per_token(&self) -> Option<f64> {
        None
    }
}
