//! The quiet line of figures below an answer.

use engine::{FinishReason, Timings, Usage};

/// Tokens, speed and, if it was not the model itself that ended, the reason.
pub fn line(usage: &Usage, timings: &Timings, reason: FinishReason) -> String {
    let fresh = usage.prompt_tokens.saturating_sub(usage.cached_tokens);
    let mut line = format!(
        "{} tokens in {:.1} s ({}), prompt {} tokens in {:.1} s ({}",
        usage.completion_tokens,
        timings.decode_s,
        rate(usage.completion_tokens, timings.decode_s),
        usage.prompt_tokens,
        timings.prefill_s,
        rate(fresh, timings.prefill_s),
    );
    if usage.cached_tokens > 0 {
        line += &format!(", {} cached", usage.cached_tokens);
    }
    line += ")";
    if usage.drafted_tokens > 0 {
        let (accepted, drafted) = (usage.accepted_tokens, usage.drafted_tokens);
        line += &format!(", {accepted} of {drafted} guesses came true");
    }
    line + match reason {
        FinishReason::Stop => "",
        FinishReason::Length => "; cut off at the limit of tokens",
        FinishReason::Cancelled => "; stopped",
        FinishReason::Deadline => "; out of time",
    }
}

fn rate(tokens: usize, seconds: f64) -> String {
    if seconds > 0.0 { format!("{:.1} tok/s", tokens as f64 / seconds) } else { "-".to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_and_reason() {
        let usage = Usage {
            prompt_tokens: 50,
            cached_tokens: 30,
            completion_tokens: 96,
            ..Usage::default()
        };
        let timings = Timings { prefill_s: 0.1, decode_s: 3.0, ..Timings::default() };
        assert_eq!(
            line(&usage, &timings, FinishReason::Length),
            "96 tokens in 3.0 s (32.0 tok/s), prompt 50 tokens in 0.1 s (200.0 tok/s, 30 cached); \
             cut off at the limit of tokens"
        );
        let nothing = line(&Usage::default(), &Timings::default(), FinishReason::Stop);
        assert_eq!(nothing, "0 tokens in 0.0 s (-), prompt 0 tokens in 0.0 s (-)");
    }
}
