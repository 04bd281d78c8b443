//! Splitting what a model says into reasoning, answer and tool calls while it is being said.
//!
//! A [`Splitter`] takes the decoded text in whatever pieces it comes and gives [`Event`]s. The
//! events do not depend on where the text was cut: only what could be the beginning of a tag, and
//! white space at the end (which a tag would swallow), is held back.
//!
//! Models are not careful with their tags. What is made of the common slips:
//!
//! - the prompt has opened the thinking already ([`Start::Inside`]), and the model opens it again:
//!   the second tag is dropped;
//! - the closing tag comes without an opening one: what was said until then was reasoning
//!   ([`Event::ContentWasReasoning`]);
//! - the closing tag never comes: all is reasoning ([`Splitter::in_reasoning`] tells), except that
//!   a tool call at the start of a line ends it;
//! - a tool call is not closed: it ends with the text, or where the next one begins;
//! - what looks like a call without tags ([`Tags::bare_json_calls`]) is none: it is text;
//! - tags in the answer, after the thinking, are text: somebody may be explaining them.

mod bare;

use bare::Bare;

/// A piece of what the model says. Pieces of a kind follow one another; to join them, see
/// [`Answer`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The next piece of the reasoning.
    Reasoning(String),
    /// The next piece of the answer.
    Content(String),
    /// A tool call begins.
    ToolCallStart,
    /// The next piece of what stands between its tags.
    ToolCallText(String),
    /// The tool call has ended. Here it is once more, whole: what stood between the tags, trimmed.
    ToolCall(String),
    /// All [`Event::Content`] so far was reasoning whose opening tag the model forgot.
    ContentWasReasoning,
}

/// Where the prompt has left the model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Start {
    /// Before any thinking: the model may open it or answer at once.
    #[default]
    Undecided,
    /// Within the thinking, which the chat template has opened.
    Inside,
    /// After the thinking, or there is none: tags for it are text.
    After,
}

/// The tags that set off reasoning and tool calls; an empty tag never occurs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tags {
    /// Opening and closing tag of the reasoning.
    pub thinking: (String, String),
    /// Opening and closing tag of the answer, which only some models set off as well (Hunyuan); they are dropped.
    pub answer: (String, String),
    /// Opening and closing tag of a tool call.
    pub tool_call: (String, String),
    /// An answer, or what follows a tool call, that begins with a JSON object that has a name and
    /// arguments (or parameters), perhaps in a block of code, is a tool call without tags. If the closing tag of a tool call
    /// is empty, the opening one only announces such an object.
    pub bare_json_calls: bool,
    /// What may be called without tags: another name is no call. Any may if there are none here.
    pub call_names: Vec<String>,
}

impl Default for Tags {
    fn default() -> Tags {
        let pair = |open: &str, close: &str| (open.to_string(), close.to_string());
        Tags {
            thinking: pair("<think>", "</think>"),
            answer: Default::default(),
            tool_call: pair("<tool_call>", "</tool_call>"),
            bare_json_calls: false,
            call_names: Vec::new(),
        }
    }
}

/// All of an answer, put together from its events.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// What the model thought.
    pub reasoning: String,
    /// What it answered.
    pub content: String,
    /// The tool calls it made, in order.
    pub tool_calls: Vec<String>,
}

impl Answer {
    /// Adds what an event says.
    pub fn add(&mut self, event: Event) {
        match event {
            Event::Reasoning(text) => self.reasoning.push_str(&text),
            Event::Content(text) => self.content.push_str(&text),
            Event::ToolCall(call) => self.tool_calls.push(call),
            Event::ToolCallStart | Event::ToolCallText(_) => {}
            Event::ContentWasReasoning => {
                self.reasoning.push_str(&std::mem::take(&mut self.content));
            }
        }
    }

    /// Splits a whole text at once.
    pub fn split(text: &str, tags: Tags, start: Start) -> Answer {
        let mut splitter = Splitter::new(tags, start);
        let mut answer = Answer::default();
        for event in splitter.push(text).into_iter().chain(splitter.finish()) {
            answer.add(event);
        }
        answer
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Reasoning,
    Content,
    ToolCall,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tag {
    OpenThinking,
    CloseThinking,
    OpenCall,
    CloseCall,
    OpenAnswer,
    CloseAnswer,
}

/// What stands at a place where a tag may begin.
enum Found {
    /// This tag.
    Whole(Tag),
    /// The beginning of a tag, as far as the text goes yet.
    Part,
    /// Text.
    Nothing,
}

/// Splits one answer; see the module.
#[derive(Clone, Debug)]
pub struct Splitter {
    tags: [(Tag, String); 6],
    place: Place,
    /// Text that may be the beginning of a tag.
    pending: String,
    /// White space after the last word, dropped if a tag follows.
    held: String,
    /// The tool call so far, without white space around it.
    call: String,
    /// What may turn out to be a call without tags, or is one.
    bare: Option<Bare>,
    /// Calls without tags are looked for.
    bare_calls: bool,
    /// What they may call, if not anything.
    call_names: Vec<String>,
    /// The opening tag of a call only announces one without tags.
    announces: bool,
    /// What has been said since the last tag may begin with a call without tags.
    may_call: bool,
    /// A call without tags has just ended.
    after_bare: bool,
    /// Backticks that may follow it, the end of the block it stood in.
    closing_fence: usize,
    /// Line ends are being dropped: a tag has just gone by.
    after_tag: bool,
    /// A word has been said in this place since it was entered.
    spoken: bool,
    /// An opening tag of the reasoning would be one.
    may_open: bool,
    /// A closing tag of the reasoning, without an opening one, would be one.
    may_close: bool,
    /// A tool call has ended the reasoning; the closing tag may yet come.
    cut_short: bool,
    /// The answer has been opened by a tag, and not closed.
    answering: bool,
}

impl Splitter {
    /// A splitter at the beginning of an answer.
    pub fn new(tags: Tags, start: Start) -> Splitter {
        let bare_calls = tags.bare_json_calls;
        Splitter {
            bare: None,
            bare_calls,
            call_names: tags.call_names,
            announces: bare_calls && tags.tool_call.1.is_empty(),
            may_call: bare_calls,
            after_bare: false,
            closing_fence: 0,
            tags: [
                (Tag::OpenThinking, tags.thinking.0),
                (Tag::CloseThinking, tags.thinking.1),
                (Tag::OpenCall, tags.tool_call.0),
                (Tag::CloseCall, tags.tool_call.1),
                (Tag::OpenAnswer, tags.answer.0),
                (Tag::CloseAnswer, tags.answer.1),
            ],
            place: if start == Start::Inside { Place::Reasoning } else { Place::Content },
            pending: String::new(),
            held: String::new(),
            call: String::new(),
            after_tag: start != Start::Undecided,
            spoken: false,
            may_open: start == Start::Undecided,
            may_close: start == Start::Undecided,
            cut_short: false,
            answering: false,
        }
    }

    /// Whether the text is within the reasoning at the moment.
    pub fn in_reasoning(&self) -> bool {
        self.place == Place::Reasoning
    }

    /// Whether the text is within a tool call that has begun with a tag.
    pub fn in_tagged_call(&self) -> bool {
        self.place == Place::ToolCall && self.bare.is_none()
    }

    /// What the next piece of text settles.
    pub fn push(&mut self, text: &str) -> Vec<Event> {
        self.pending.push_str(text);
        self.advance(false)
    }

    /// What was held back: call it once, when the text has ended.
    pub fn finish(&mut self) -> Vec<Event> {
        let mut events = self.advance(true);
        let held = std::mem::take(&mut self.held);
        if self.place == Place::ToolCall {
            self.end_call(&mut events);
        } else if !held.is_empty() {
            self.emit(held, &mut events);
        }
        events
    }

    fn advance(&mut self, ended: bool) -> Vec<Event> {
        let mut events = Vec::new();
        let mut text = std::mem::take(&mut self.pending);
        // Everything before `said` is settled; between it and `at` is text to be said.
        let (mut said, mut at) = (0, 0);
        loop {
            if let Some(bare) = self.bare.take() {
                match self.read_bare(bare, &text[at..], ended, &mut events) {
                    Ok(read) => at += read,
                    Err(held) if held.is_empty() => {}
                    Err(held) => {
                        text = held + &text[at..];
                        at = 0;
                    }
                }
                said = at;
            }
            let Some(offset) = self.next_candidate(&text[at..]) else { break };
            at += offset;
            self.say(&text[said..at], &mut events);
            said = at;
            if self.may_call && !self.spoken && self.place == Place::Content {
                if self.closing_fence > 0 && text[at..].starts_with('`') {
                    self.closing_fence -= 1;
                    at += 1;
                    said = at;
                    continue;
                }
                if text[at..].starts_with(['{', '`']) {
                    self.bare = Some(Bare::default());
                    continue;
                }
                if self.after_bare && text[at..].starts_with(';') {
                    at += 1;
                    said = at;
                    continue;
                }
            }
            match self.tag_at(&text[at..], ended) {
                Found::Whole(tag) => {
                    at += self.spelling(tag).len();
                    said = at;
                    self.pass(tag, &mut events);
                }
                Found::Part => {
                    self.pending.push_str(&text[at..]);
                    return events;
                }
                Found::Nothing => at += text[at..].chars().next().map_or(1, char::len_utf8),
            }
        }
        self.say(&text[said..], &mut events);
        events
    }

    fn spelling(&self, tag: Tag) -> &str {
        &self.tags[tag as usize].1
    }

    /// The offset of the next character that some tag begins with.
    fn next_candidate(&self, text: &str) -> Option<usize> {
        text.find(|letter| {
            (self.may_call && matches!(letter, '{' | ';' | '`'))
                || self.tags.iter().any(|(_, tag)| tag.starts_with(letter))
        })
    }

    /// The longest tag that counts as one here and that `text` begins with.
    fn tag_at(&self, text: &str, ended: bool) -> Found {
        let mut found = None;
        for (tag, spelling) in self.tags.iter().filter(|(tag, _)| self.counts(*tag)) {
            if text.starts_with(spelling.as_str()) {
                if found.is_none_or(|longest| self.spelling(longest).len() < spelling.len()) {
                    found = Some(*tag);
                }
            } else if !ended && spelling.starts_with(text) {
                return Found::Part;
            }
        }
        found.map_or(Found::Nothing, Found::Whole)
    }

    /// Whether the tag, if it stood here, would be a tag rather than text.
    fn counts(&self, tag: Tag) -> bool {
        if self.spelling(tag).is_empty() {
            return false;
        }
        let line_start = !self.spoken || self.held.contains('\n');
        match (self.place, tag) {
            (Place::Content, Tag::OpenThinking) => self.may_open && !self.spoken,
            (Place::Content, Tag::CloseThinking) => self.may_close || self.cut_short,
            (Place::Content, Tag::OpenCall) => true,
            (Place::Content, Tag::OpenAnswer) => !self.spoken && !self.answering,
            (Place::Content, Tag::CloseAnswer) => self.answering,
            (Place::Reasoning, Tag::OpenAnswer | Tag::CloseAnswer) => false,
            (Place::Reasoning, Tag::OpenThinking) => !self.spoken,
            (Place::Reasoning, Tag::CloseThinking) => true,
            (Place::Reasoning, Tag::OpenCall) => line_start,
            (Place::ToolCall, Tag::OpenCall) => self.held.trim_end_matches(' ').ends_with('\n'),
            (Place::ToolCall, Tag::CloseCall) => true,
            (Place::ToolCall, _) | (_, Tag::CloseCall) => false,
        }
    }

    /// Goes past a tag into the place it leads to.
    fn pass(&mut self, tag: Tag, events: &mut Vec<Event>) {
        self.held.clear();
        match (self.place, tag) {
            (Place::Content, Tag::CloseThinking) if self.may_close && self.spoken => {
                events.push(Event::ContentWasReasoning);
            }
            (Place::Reasoning, Tag::OpenCall) => self.cut_short = true,
            (Place::ToolCall, _) => self.end_call(events),
            _ => {}
        }
        match tag {
            Tag::OpenThinking => {
                self.place = Place::Reasoning;
                self.cut_short = false;
                self.may_open = false;
                self.may_close = false;
            }
            Tag::CloseThinking => {
                self.place = Place::Content;
                self.cut_short = false;
                self.may_open = false;
                self.may_close = false;
            }
            Tag::OpenCall if self.announces => self.place = Place::Content,
            Tag::OpenCall => {
                self.place = Place::ToolCall;
                self.may_close = false;
            }
            Tag::OpenAnswer => {
                self.answering = true;
                self.may_open = false;
                self.may_close = false;
            }
            Tag::CloseAnswer => self.answering = false,
            Tag::CloseCall => {
                self.place = Place::Content;
                // Some models think again between calls.
                self.may_open = true;
            }
        }
        self.spoken = false;
        self.after_tag = true;
        self.may_call = self.bare_calls;
        self.after_bare = false;
        self.closing_fence = 0;
    }

    fn end_call(&mut self, events: &mut Vec<Event>) {
        let call = std::mem::take(&mut self.call);
        self.held.clear();
        if !call.is_empty() {
            events.push(Event::ToolCall(call));
        }
    }

    /// Says `text`, which holds no tag, in the present place.
    fn say(&mut self, mut text: &str, events: &mut Vec<Event>) {
        if self.place == Place::ToolCall && !self.spoken {
            let words = text.trim_start();
            // Where it ends in a line end, the next call may begin.
            self.held.push_str(&text[..text.len() - words.len()]);
            if words.is_empty() {
                return;
            }
            self.held.clear();
            text = words;
            events.push(Event::ToolCallStart);
        } else if self.after_tag {
            text = text.trim_start_matches(['\r', '\n']);
        }
        if text.is_empty() {
            return;
        }
        self.after_tag = false;
        let words = text.trim_end();
        if !words.is_empty() {
            let mut piece = std::mem::take(&mut self.held);
            piece.push_str(words);
            self.spoken = true;
            self.emit(piece, events);
        }
        self.held.push_str(&text[words.len()..]);
    }

    fn emit(&mut self, piece: String, events: &mut Vec<Event>) {
        if self.place == Place::ToolCall {
            self.call.push_str(&piece);
        }
        match (self.place, events.last_mut()) {
            (Place::ToolCall, Some(Event::ToolCallText(text))) => text.push_str(&piece),
            (Place::ToolCall, _) => events.push(Event::ToolCallText(piece)),
            (Place::Reasoning, Some(Event::Reasoning(text)))
            | (Place::Content, Some(Event::Content(text))) => text.push_str(&piece),
            (Place::Reasoning, _) => events.push(Event::Reasoning(piece)),
            _ => events.push(Event::Content(piece)),
        }
    }
}

#[cfg(test)]
mod tests;
