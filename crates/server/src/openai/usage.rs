//! What a completion cost, in the words of OpenAI and llama-server.

use engine::{Completion, FinishReason, Timings, Usage};
use serde_json::{Value, json};

use crate::tools;

/// Counts of all answers to one request.
pub(crate) fn usage<'a>(completions: impl IntoIterator<Item = &'a Completion>) -> Value {
    let mut sum = Usage::default();
    for completion in completions {
        let usage = completion.usage;
        // The prompt is the same for all, and was read once.
        sum.prompt_tokens = usage.prompt_tokens;
        sum.cached_tokens = usage.cached_tokens;
        sum.completion_tokens += usage.completion_tokens;
        sum.reasoning_tokens += usage.reasoning_tokens;
        sum.drafted_tokens += usage.drafted_tokens;
        sum.accepted_tokens += usage.accepted_tokens;
    }
    json!({
        "prompt_tokens": sum.prompt_tokens,
        "completion_tokens": sum.completion_tokens,
        "total_tokens": sum.prompt_tokens + sum.completion_tokens,
        "prompt_tokens_details": {"cached_tokens": sum.cached_tokens},
        "completion_tokens_details": {
            "reasoning_tokens": sum.reasoning_tokens,
            "accepted_prediction_tokens": sum.accepted_tokens,
            "rejected_prediction_tokens": sum.drafted_tokens - sum.accepted_tokens,
        },
    })
}

/// Where the time went, as llama-server tells it.
pub(crate) fn timings(completion: &Completion) -> Value {
    let (usage, Timings { queue_s, prefill_s, decode_s, thinking_s }) =
        (completion.usage, completion.timings);
    let read = usage.prompt_tokens - usage.cached_tokens;
    let rate = |n: usize, seconds: f64| if seconds > 0.0 { n as f64 / seconds } else { 0.0 };
    let each = |n: usize, seconds: f64| if n > 0 { 1e3 * seconds / n as f64 } else { 0.0 };
    let mut timings = json!({
        "queue_ms": 1e3 * queue_s,
        "cache_n": usage.cached_tokens,
        "prompt_n": read,
        "prompt_ms": 1e3 * prefill_s,
        "prompt_per_token_ms": each(read, prefill_s),
        "prompt_per_second": rate(read, prefill_s),
        "predicted_n": usage.completion_tokens,
        "predicted_ms": 1e3 * decode_s,
        // The first token comes of the prompt's step.
        "predicted_per_token_ms": each(usage.completion_tokens.saturating_sub(1), decode_s),
        "predicted_per_second": rate(usage.completion_tokens.saturating_sub(1), decode_s),
        "thinking_ms": 1e3 * thinking_s,
    });
    if usage.drafted_tokens > 0 {
        timings["draft_n"] = usage.drafted_tokens.into();
        timings["draft_n_accepted"] = usage.accepted_tokens.into();
    }
    timings
}

/// Why generation ended.
pub(crate) fn finish_reason(completion: &Completion) -> &'static str {
    match completion.finish_reason {
        FinishReason::Stop if tools::are_called(completion) => "tool_calls",
        FinishReason::Stop => "stop",
        FinishReason::Length | FinishReason::Deadline | FinishReason::Cancelled => "length",
    }
}
