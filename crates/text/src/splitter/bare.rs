//! Tool calls without tags: JSON objects that turn out to be calls, or not.

use super::{Event, Place, Splitter, Tag};
use crate::tools::CallStream;

/// What may be a call without tags.
#[derive(Clone, Debug, Default)]
pub(super) struct Bare {
    /// Its text so far, as long as it may turn out to be none.
    pub(super) held: String,
    pub(super) stream: CallStream,
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
        for (at, letter) in text.char_indices() {
            bare.stream.step(letter, &mut ignored);
            ignored.clear();
            if bare.stream.is_malformed() || bare.stream.calls() > 0 {
                if self.place != Place::ToolCall {
                    self.may_call = false;
                    return Err(bare.held);
                }
                if bare.stream.calls() > 0 {
                    let read = at + letter.len_utf8();
                    self.say(&text[..read], events);
                    self.pass(Tag::CloseCall, events);
                    self.after_bare = true;
                    return Ok(read);
                }
            } else if self.place != Place::ToolCall && bare.stream.is_recognised() {
                self.held.clear();
                self.place = Place::ToolCall;
                self.may_close = false;
                self.spoken = false;
                self.say(&std::mem::take(&mut bare.held), events);
            }
        }
        if self.place == Place::ToolCall {
            self.say(text, events);
        } else if ended {
            self.may_call = false;
            return Err(bare.held);
        } else {
            bare.held.push_str(text);
        }
        self.bare = Some(bare);
        Ok(text.len())
    }
}
