//! Tool calls without tags: JSON objects, bare or in a block of code, that turn out to be calls, or
//! not.

use super::{Event, Place, Splitter, Tag};
use crate::tools::CallStream;

/// How a block of code that holds a call may begin. Qwen2.5-Coder, for one, writes its calls so.
const FENCES: [&str; 3] = ["```json\n", "```\n", "```tool_call\n"];

/// What the first key of a call may be. Others are known to be none at once, so that JSON that is an
/// answer isn't held back.
const KEYS: [&str; 3] = ["\"name\"", "\"type\"", "\"id\""];

/// What may be a call without tags.
#[derive(Clone, Debug, Default)]
pub(super) struct Bare {
    /// Its text so far, as long as it may turn out to be none.
    pub(super) held: String,
    /// The object has begun; how much of what is held comes before it.
    begun: Option<usize>,
    /// The first letters after its brace, without white space.
    first: String,
    pub(super) stream: CallStream,
}

impl Bare {
    /// Whether this letter, and all before it, may stand before the object.
    fn opens(&self, letter: char) -> bool {
        let mut text = self.held.clone();
        text.push(letter);
        FENCES.iter().any(|fence| fence.starts_with(&text))
    }

    /// Whether the object may still be a call, as far as its first key tells.
    fn may_be_call(&mut self, letter: char) -> bool {
        // One more than the longest key, for the brace.
        let longest = 7;
        if self.first.len() < longest && !letter.is_whitespace() {
            self.first.push(letter);
        }
        let first = self.first.strip_prefix('{').unwrap_or(&self.first);
        KEYS.iter().any(|key| key.starts_with(first) || first.starts_with(key))
    }

    /// Whether the object may begin here.
    fn may_begin(&self) -> bool {
        self.held.is_empty() || FENCES.contains(&&*self.held)
    }
}

impl Splitter {
    /// Reads on in what may be a call without tags. Gives back how much of `text` belongs to it;
    /// or what of it came before `text`, if it is none: then it is text like any other.
    pub(super) fn read_bare(
        &mut self,
        mut bare: Bare,
        text: &str,
        ended: bool,
        events: &mut Vec<Event>,
    ) -> Result<usize, String> {
        let mut ignored = Vec::new();
        // What of `text` is held already.
        let mut kept = 0;
        for (at, letter) in text.char_indices() {
            if bare.begun.is_none() {
                if letter == '{' && bare.may_begin() {
                    bare.begun = Some(bare.held.len());
                } else if bare.opens(letter) {
                    bare.held.push(letter);
                    kept = at + letter.len_utf8();
                    continue;
                } else {
                    self.may_call = false;
                    // What was held of this very text is still there to be read.
                    bare.held.truncate(bare.held.len() - kept);
                    return Err(bare.held);
                }
            }
            bare.stream.step(letter, &mut ignored);
            ignored.clear();
            let other = |name: &str| {
                !self.call_names.is_empty() && self.call_names.iter().all(|known| known != name)
            };
            let is_none = !bare.may_be_call(letter)
                || bare.stream.is_malformed()
                || (self.place != Place::ToolCall && bare.stream.name().is_some_and(other));
            if is_none || bare.stream.calls() > 0 {
                if self.place != Place::ToolCall {
                    self.may_call = false;
                    bare.held.truncate(bare.held.len() - kept);
                    return Err(bare.held);
                }
                if bare.stream.calls() > 0 {
                    let read = at + letter.len_utf8();
                    self.say(&text[kept..read], events);
                    self.pass(Tag::CloseCall, events);
                    self.after_bare = true;
                    self.closing_fence = if bare.begun == Some(0) { 0 } else { 3 };
                    return Ok(read);
                }
            } else if self.place != Place::ToolCall && bare.stream.is_recognised() {
                self.held.clear();
                self.place = Place::ToolCall;
                self.may_close = false;
                self.spoken = false;
                let held = std::mem::take(&mut bare.held);
                self.say(&held[bare.begun.unwrap_or(0)..], events);
            }
        }
        if self.place == Place::ToolCall {
            self.say(&text[kept..], events);
        } else if ended {
            self.may_call = false;
            bare.held.truncate(bare.held.len() - kept);
            return Err(bare.held);
        } else {
            bare.held.push_str(&text[kept..]);
        }
        self.bare = Some(bare);
        Ok(text.len())
    }
}
