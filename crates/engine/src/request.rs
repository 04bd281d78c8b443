//! What is asked of the engine and what it gives back.

use std::sync::Arc;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use text::splitter::{Start, Tags};

use crate::adapters::Lora;
use crate::constraint::Constraint;
use crate::sampler::Sampling;

/// One prompt to be continued.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// The rendered, tokenized prompt.
    pub prompt: Vec<u32>,
    /// How the next token is drawn.
    pub sampling: Sampling,
    /// Most tokens to generate, thinking included; `None` means up to the context's end.
    pub max_tokens: Option<usize>,
    /// Most tokens to think for: past it the thinking is closed with
    /// [`Request::thinking_close`] and the answer follows. `None` means no limit.
    pub max_thinking: Option<usize>,
    /// Text that closes the thinking when the budget is spent.
    pub thinking_close: String,
    /// Where the prompt leaves the model: inside a thinking block if the template opened one.
    pub start: Start,
    /// The tags that set off thinking and tool calls.
    pub tags: Tags,
    /// Generation ends where one of these appears in the answer; it is not part of the output.
    pub stop: Vec<String>,
    /// How many alternatives to report with each token's log-probability; `None`: report nothing.
    pub logprobs: Option<usize>,
    /// The temperature they are at, above 0; `None`: they are the model's own.
    pub logprobs_at: Option<f32>,
    /// How many answers are wanted, each with a seed of its own: the first with the seed of
    /// [`Request::sampling`], the others with those that follow it. The prompt is read once. 0
    /// counts as 1.
    pub n: usize,
    /// Fewest tokens to generate: what ends the turn is not drawn before.
    pub min_tokens: usize,
    /// What ends the turn is never drawn: generation goes on to [`Request::max_tokens`].
    pub ignore_eos: bool,
    /// What the text must look like.
    pub constraint: Option<Constraint>,
    /// What each tool call must look like from its opening tag on, its closing tag included; see
    /// [`text::tools::call_grammar`].
    pub call_constraint: Option<Constraint>,
    /// The turn ends with the first tool call.
    pub one_call: bool,
    /// What is added to the model's matrices for this request.
    pub adapter: Option<Lora>,
    /// Requests of higher priority go first.
    pub priority: i32,
    /// Who asks: those of one priority get equal shares, however much each of them asks for.
    pub tenant: Arc<str>,
    /// Generation ends here, with [`FinishReason::Deadline`], however far it has come.
    pub deadline: Option<Instant>,
    /// Whether what follows may be guessed ahead, where the scheduler can; never changes the text.
    pub no_speculation: bool,
}

/// A piece of output, as soon as it is known.
#[derive(Clone, Debug, PartialEq)]
pub enum Delta {
    /// The prompt is being read: tokens done, tokens in all (cached ones count as done).
    Prefill {
        /// Tokens read so far.
        done: usize,
        /// Tokens of the prompt.
        total: usize,
    },
    /// Text of the thinking.
    Reasoning(String),
    /// The thinking is over, after so many tokens; the answer follows.
    Thought {
        /// Tokens of the thinking, its tags included.
        tokens: usize,
    },
    /// Text of the answer.
    Content(String),
    /// A tool call has begun, or goes on: the next piece of it, as the model writes it.
    ToolCallText(String),
    /// A whole tool call, as the model wrote it between its tags.
    ToolCall(String),
    /// All content so far was thinking whose opening tag the model forgot.
    ContentWasReasoning,
}

/// What the receiver of a [`Delta`] wants next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Flow {
    /// Go on generating.
    Continue,
    /// Stop now; the completion so far is returned with [`FinishReason::Cancelled`].
    Stop,
}

/// Why generation ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FinishReason {
    /// The model ended its turn, or a stop string appeared.
    #[default]
    Stop,
    /// `max_tokens` or the end of the context was reached.
    Length,
    /// The receiver asked to stop.
    Cancelled,
    /// [`Request::deadline`] passed.
    Deadline,
}

/// Token counts of one completion.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// Those of them whose keys and values were already in the cache.
    pub cached_tokens: usize,
    /// Tokens generated, thinking included.
    pub completion_tokens: usize,
    /// Tokens generated inside the thinking block.
    pub reasoning_tokens: usize,
    /// Tokens that were guessed ahead.
    #[serde(default)]
    pub drafted_tokens: usize,
    /// Those of them that came true.
    #[serde(default)]
    pub accepted_tokens: usize,
}

/// Where the time of one completion went, in seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Timings {
    /// Waiting for its turn.
    #[serde(default)]
    pub queue_s: f64,
    /// Reading the prompt.
    pub prefill_s: f64,
    /// Generating, thinking included.
    pub decode_s: f64,
    /// From the first generated token to the end of the thinking.
    pub thinking_s: f64,
}

/// A token that was drawn, with its log-probability before sampling changed the distribution.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TokenLogprob {
    /// The token's id.
    pub token: u32,
    /// Natural logarithm of its probability under the model.
    pub logprob: f32,
    /// The most likely tokens and their log-probabilities, best first.
    pub top: Vec<(u32, f32)>,
}

/// Everything one request produced.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Completion {
    /// The thinking, without its tags.
    pub reasoning: String,
    /// The answer.
    pub content: String,
    /// Tool calls, as written between their tags.
    pub tool_calls: Vec<String>,
    /// Every generated token, special ones included.
    pub tokens: Vec<u32>,
    /// One entry a token if [`Request::logprobs`] asked for it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub logprobs: Vec<TokenLogprob>,
    /// Token counts.
    pub usage: Usage,
    /// Where the time went.
    pub timings: Timings,
    /// Why generation ended.
    pub finish_reason: FinishReason,
    /// The stop string that ended it, if one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped_by: Option<String>,
}
