//! An endpoint's answer, as it comes in.

use std::io::{BufRead, Read};
use std::time::Instant;

use engine::{Completion, Delta, FinishReason, Flow};
use serde_json::Value;
use text::splitter::{Event, Splitter, Start, Tags};

/// Most bytes of one line, and of an answer that comes whole.
const MOST: u64 = 64 << 20;

/// Puts a [`Completion`] together.
pub(super) struct Answer {
    asked: Instant,
    first: Option<Instant>,
    splitter: Splitter,
    completion: Completion,
    /// Whether the endpoint has said why the answer is over.
    over: bool,
    /// Whether it counts thinking apart.
    counts_thinking: bool,
    /// Pieces of calls, as `(name, arguments)`.
    calls: Vec<(String, String)>,
    stopped: bool,
    /// Events with text so far: tokens, about.
    pieces: usize,
}

impl Answer {
    pub(super) fn new(asked: Instant, start: Start, tags: Tags) -> Answer {
        Answer {
            asked,
            first: None,
            splitter: Splitter::new(tags, start),
            completion: Completion::default(),
            over: false,
            counts_thinking: false,
            calls: Vec::new(),
            stopped: false,
            pieces: 0,
        }
    }

    /// Reads server-sent events to their end.
    pub(super) fn read_events(
        mut self,
        mut reader: impl BufRead,
        receive: &mut dyn FnMut(Delta) -> Flow,
    ) -> Result<Completion, String> {
        let mut line = Vec::new();
        loop {
            line.clear();
            let n = reader
                .by_ref()
                .take(MOST)
                .read_until(b'\n', &mut line)
                .map_err(|error| format!("the answer broke off: {error}"))?;
            if n == 0 {
                return match self.over {
                    true => Ok(self.finish(receive)),
                    false => Err("the answer broke off".to_owned()),
                };
            }
            // Comments, event names and ids don't matter here.
            let Some(data) = line.strip_prefix(b"data:") else { continue };
            let data = data.trim_ascii();
            if data == b"[DONE]" {
                self.over = true;
                return Ok(self.finish(receive));
            }
            let chunk: Value = serde_json::from_slice(data)
                .map_err(|error| format!("it sent an event that is no JSON: {error}"))?;
            self.take(&chunk, "delta", receive)?;
            if self.stopped {
                return Ok(self.finish(receive));
            }
        }
    }

    /// Reads an answer that does not stream.
    pub(super) fn read_whole(
        mut self,
        reader: impl Read,
        receive: &mut dyn FnMut(Delta) -> Flow,
    ) -> Result<Completion, String> {
        let whole: Value = serde_json::from_reader(reader.take(MOST))
            .map_err(|error| format!("it sent no JSON: {error}"))?;
        self.take(&whole, "message", receive)?;
        match self.over || self.stopped {
            true => Ok(self.finish(receive)),
            false => Err("it sent no answer".to_owned()),
        }
    }

    fn take(
        &mut self,
        chunk: &Value,
        part: &str,
        receive: &mut dyn FnMut(Delta) -> Flow,
    ) -> Result<(), String> {
        if let Some(error) = chunk.get("error").filter(|error| !error.is_null()) {
            let message =
                error["message"].as_str().map_or_else(|| error.to_string(), str::to_owned);
            return Err(message);
        }
        if let Some(usage) = chunk.get("usage").filter(|usage| usage.is_object()) {
            let count = |value: &Value| value.as_u64().map(|n| n as usize);
            let to = &mut self.completion.usage;
            to.prompt_tokens = count(&usage["prompt_tokens"]).unwrap_or(to.prompt_tokens);
            to.completion_tokens =
                count(&usage["completion_tokens"]).unwrap_or(to.completion_tokens);
            let cached = count(&usage["prompt_tokens_details"]["cached_tokens"]);
            to.cached_tokens = cached.unwrap_or(to.cached_tokens);
            if let Some(n) = count(&usage["completion_tokens_details"]["reasoning_tokens"]) {
                to.reasoning_tokens = n;
                self.counts_thinking = true;
            }
        }
        let choice = &chunk["choices"][0];
        let piece = &choice[part];
        let thought = [&piece["reasoning_content"], &piece["reasoning"]];
        if let Some(thought) = thought.into_iter().find_map(Value::as_str) {
            self.pieces += usize::from(!thought.is_empty());
            self.event(Event::Reasoning(thought.to_owned()), receive);
        }
        if let Some(said) = piece["content"].as_str().or(choice["text"].as_str()) {
            self.pieces += usize::from(!said.is_empty());
            for event in self.splitter.push(said) {
                self.event(event, receive);
            }
        }
        for call in piece["tool_calls"].as_array().into_iter().flatten() {
            let at = call["index"].as_u64().map_or(self.calls.len(), |at| at as usize);
            // An endpoint that counts its calls wildly gets no memory for that.
            if at > self.calls.len() {
                return Err(format!("it sent call {at} after {} calls", self.calls.len()));
            }
            if at == self.calls.len() {
                self.calls.push(Default::default());
            }
            let (name, arguments) = &mut self.calls[at];
            name.push_str(call["function"]["name"].as_str().unwrap_or_default());
            arguments.push_str(call["function"]["arguments"].as_str().unwrap_or_default());
        }
        if let Some(reason) = choice["finish_reason"].as_str() {
            self.over = true;
            self.completion.finish_reason = match reason {
                "length" => FinishReason::Length,
                _ => FinishReason::Stop,
            };
        }
        Ok(())
    }

    fn event(&mut self, event: Event, receive: &mut dyn FnMut(Delta) -> Flow) {
        let completion = &mut self.completion;
        let delta = match event {
            Event::Reasoning(text) if !text.is_empty() => {
                completion.reasoning.push_str(&text);
                Delta::Reasoning(text)
            }
            Event::Content(text) if !text.is_empty() => {
                completion.content.push_str(&text);
                Delta::Content(text)
            }
            Event::ContentWasReasoning => {
                let thought = std::mem::take(&mut completion.content);
                completion.reasoning.push_str(&thought);
                Delta::ContentWasReasoning
            }
            _ => return,
        };
        self.first.get_or_insert_with(Instant::now);
        self.stopped |= !self.stopped && receive(delta) == Flow::Stop;
    }

    fn finish(mut self, receive: &mut dyn FnMut(Delta) -> Flow) -> Completion {
        if !self.stopped {
            for event in self.splitter.finish() {
                self.event(event, receive);
            }
        }
        let mut completion = self.completion;
        if self.stopped {
            completion.finish_reason = FinishReason::Cancelled;
        }
        // An answer that is hung up on tells no counts; most engines send a token at a time.
        if completion.usage.completion_tokens == 0 {
            completion.usage.completion_tokens = self.pieces;
        }
        completion.tool_calls = self
            .calls
            .into_iter()
            .map(|(name, arguments)| {
                let arguments: Value =
                    serde_json::from_str(&arguments).unwrap_or(Value::String(arguments));
                serde_json::json!({"name": name, "arguments": arguments}).to_string()
            })
            .collect();
        // Some don't count thinking apart: then its share of the letters is its share of the tokens.
        let usage = &mut completion.usage;
        if !self.counts_thinking && !completion.reasoning.is_empty() {
            let thought = completion.reasoning.len();
            let all = thought + completion.content.len();
            usage.reasoning_tokens = usage.completion_tokens * thought / all;
        }
        let first = self.first.unwrap_or_else(Instant::now);
        completion.timings.prefill_s = (first - self.asked).as_secs_f64();
        completion.timings.decode_s = first.elapsed().as_secs_f64();
        completion
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(events: &str) -> Result<Completion, String> {
        let answer = Answer::new(Instant::now(), Start::Undecided, Tags::default());
        answer.read_events(events.as_bytes(), &mut |_| Flow::Continue)
    }

    fn piece(delta: &str) -> String {
        format!("data: {{\"choices\":[{{\"delta\":{delta}}}]}}\n\n")
    }

    const END: &str =
        "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n";

    #[test]
    fn both_names_of_thinking_and_tags_are_understood() {
        for (thought, said) in [
            (piece(r#"{"reasoning_content":"hm"}"#), piece(r#"{"content":"4"}"#)),
            (piece(r#"{"reasoning":"hm"}"#), piece(r#"{"content":"4"}"#)),
            (piece(r#"{"content":"<think>h"}"#), piece(r#"{"content":"m</think>4"}"#)),
            (piece(r#"{"content":"h"}"#), piece(r#"{"content":"m</think>4"}"#)),
        ] {
            let answer = read(&format!(": hello\n\n{thought}{said}{END}")).unwrap();
            assert_eq!((&*answer.reasoning, &*answer.content), ("hm", "4"));
            assert_eq!(answer.finish_reason, FinishReason::Stop);
        }
    }

    #[test]
    fn usage_is_read_and_estimated_where_it_is_missing() {
        let usage =
            "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":10}}\n\n";
        let answer = read(&format!(
            "{}{}{usage}{END}",
            piece(r#"{"reasoning":"abcd"}"#),
            piece(r#"{"content":"e"}"#)
        ))
        .unwrap();
        assert_eq!(answer.usage.prompt_tokens, 7);
        assert_eq!((answer.usage.completion_tokens, answer.usage.reasoning_tokens), (10, 8));
    }

    #[test]
    fn what_breaks_off_is_an_error() {
        assert!(read(&piece(r#"{"content":"4"}"#)).unwrap_err().contains("broke off"));
        assert!(read("data: {nonsense\n\n").unwrap_err().contains("no JSON"));
        let error = read("data: {\"error\":{\"message\":\"out of memory\"}}\n\n").unwrap_err();
        assert_eq!(error, "out of memory");
    }

    #[test]
    fn calls_come_in_pieces() {
        let events = format!(
            "{}{}{END}",
            piece(r#"{"tool_calls":[{"index":0,"function":{"name":"add","arguments":"{\"a\""}}]}"#),
            piece(r#"{"tool_calls":[{"index":0,"function":{"arguments":":1}"}}]}"#)
        );
        let answer = read(&events).unwrap();
        assert_eq!(answer.tool_calls, [r#"{"name":"add","arguments":{"a":1}}"#]);
        let wild = piece(r#"{"tool_calls":[{"index":4000000000,"function":{"name":"x"}}]}"#);
        assert!(read(&wild).is_err());
    }

    #[test]
    fn a_receiver_can_stop() {
        let answer = Answer::new(Instant::now(), Start::Undecided, Tags::default());
        let events = format!("{}{}{END}", piece(r#"{"content":"a"}"#), piece(r#"{"content":"b"}"#));
        let completion = answer.read_events(events.as_bytes(), &mut |_| Flow::Stop).unwrap();
        assert_eq!(completion.finish_reason, FinishReason::Cancelled);
        assert_eq!(completion.content, "a");
    }
}
