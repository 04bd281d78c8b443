//! A conversation as the model's template writes it, and which of its tokens the assistant said.

use engine::{Ending, Engine};
use text::splitter::Start;
use text::template::Message;
use text::tokenizer::Special;
use verify::Attempt;

use super::Conversation;
use crate::Error;
use crate::recipe::{Thinking, Turns};

/// Tokens, and how much the prediction of each counts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Text {
    /// All of them.
    pub tokens: Vec<u32>,
    /// 1 for what the assistant said, 0 for the rest.
    pub weights: Vec<f32>,
}

impl Text {
    fn push(&mut self, tokens: &[u32], weight: f32) {
        self.tokens.extend(tokens);
        self.weights.resize(self.tokens.len(), weight);
    }

    /// What comes before the first that counts.
    pub fn prompt(&self) -> &[u32] {
        let end = self.weights.iter().position(|weight| *weight != 0.0);
        &self.tokens[..end.unwrap_or(self.tokens.len())]
    }

    /// Tokens that count.
    pub fn counted(&self) -> usize {
        self.weights.iter().skip(1).filter(|w| **w != 0.0).count()
    }
}

/// What became of a conversation.
#[derive(Clone, Debug, PartialEq)]
pub enum Rendered {
    /// It can be learned from.
    Text(Text),
    /// The template writes an assistant's turn otherwise than the model would have to.
    OtherwiseWritten,
}

/// A question and what was answered, as the template has them.
///
/// # Errors
/// The template refuses the conversation, or writes the answer otherwise than the model would.
pub fn answered(engine: &Engine, attempt: &Attempt<'_>) -> Result<Text, Error> {
    let mut answer = Message::new("assistant", attempt.answer);
    answer.reasoning_content =
        (!attempt.reasoning.is_empty()).then(|| attempt.reasoning.to_owned());
    let messages = vec![Message::new("user", attempt.question), answer];
    let conversation = Conversation { messages, tools: None };
    match render(engine, &conversation, Thinking::Keep, Turns::Last)? {
        Rendered::Text(text) => Ok(text),
        Rendered::OtherwiseWritten => Err(Error::Data {
            what: "the answer".to_owned(),
            problem: "the template writes it otherwise than the model would".to_owned(),
        }),
    }
}

/// Writes a conversation as the template has it. The tokens of each turn are those that the model
/// itself would have been asked with and would have answered with: the end of the turn is part of
/// what it has to say.
///
/// # Errors
/// The template refuses the conversation.
pub fn render(
    engine: &Engine,
    conversation: &Conversation,
    thinking: Thinking,
    turns: Turns,
) -> Result<Rendered, Error> {
    let messages: Vec<Message> = conversation
        .messages
        .iter()
        .map(|message| {
            let mut message = message.clone();
            if thinking == Thinking::Drop {
                message.reasoning_content = None;
                message.content = without_thinking(engine, &message.content);
            }
            message
        })
        .collect();
    let tools = conversation.tools.as_ref();
    let written = |upto: usize, ending| {
        engine.render(&messages[..upto], tools, serde_json::Map::new(), ending)
    };
    let last = messages.len() - 1;
    let (mut text, mut done) = (Text::default(), String::new());
    for (i, message) in messages.iter().enumerate() {
        let learned = message.role == "assistant" && (turns == Turns::All || i == last);
        if !learned {
            continue;
        }
        // Of earlier turns the thinking isn't shown; what was not shown is not learned.
        let thought = message.reasoning_content.is_some()
            || engine
                .template()
                .thinking_tags()
                .is_some_and(|(_, close)| message.content.contains(close));
        if i < last && thought {
            continue;
        }
        let prompt = written(i, Ending::Answer)?;
        let Some(asked) = prompt.strip_prefix(&done) else {
            if i == last {
                return Ok(Rendered::OtherwiseWritten);
            }
            continue;
        };
        let said = match written(i + 1, Ending::After)?.strip_prefix(&prompt) {
            Some(said) if !thought => said.to_owned(),
            // Templates leave out thinking, or put it where the model doesn't.
            _ => match by_hand(engine, &prompt, message) {
                Some(said) => said,
                None => return Ok(Rendered::OtherwiseWritten),
            },
        };
        push_prompt(engine, &mut text, asked);
        // What the template puts behind the end of the turn, the model never gets to say.
        let own = &said[..end_of_turn(engine, &said)];
        let last = text.tokens.last().copied();
        text.push(&engine.tokenizer().encode_after(last, own, Special::Parse), 1.0);
        done = prompt + own;
    }
    Ok(Rendered::Text(text))
}

/// Where the first end of a turn in a text is over; the text's own end if there is none.
fn end_of_turn(engine: &Engine, said: &str) -> usize {
    let tokenizer = engine.tokenizer();
    let ends = tokenizer.ends_of_generation().map(|end| tokenizer.token_text(end));
    let found =
        ends.filter(|end| !end.is_empty()).filter_map(|end| Some(said.find(end)? + end.len()));
    found.min().unwrap_or(said.len())
}

fn push_prompt(engine: &Engine, text: &mut Text, asked: &str) {
    let tokens = match text.tokens.last() {
        None => engine.encode_prompt(asked, Special::Parse),
        last => engine.tokenizer().encode_after(last.copied(), asked, Special::Parse),
    };
    text.push(&tokens, 0.0);
}

/// A turn as the model has to say it after this prompt: its thinking between its tags, its answer,
/// and the end of the turn.
fn by_hand(engine: &Engine, prompt: &str, message: &Message) -> Option<String> {
    if message.tool_calls.is_some() {
        return None;
    }
    let (open, close) = engine.template().thinking_tags()?;
    let end = engine.tokenizer().token_text(engine.tokenizer().eos()?);
    let start = engine.template().start_after(prompt);
    let content = message.content.trim();
    let (thought, answer) = match (&message.reasoning_content, content.split_once(close)) {
        (Some(thought), _) => (thought.trim(), content),
        (None, Some((before, after))) => {
            let before = before.trim();
            (before.strip_prefix(open).unwrap_or(before).trim(), after.trim())
        }
        // A prompt that opens the thinking is answered without any by closing it at once.
        (None, None) if start == Start::Inside => ("", content),
        (None, None) => return None,
    };
    let opening = match start {
        Start::Inside => String::new(),
        _ => format!("{open}\n"),
    };
    Some(format!("{opening}{thought}\n{close}\n\n{answer}{end}"))
}

fn without_thinking(engine: &Engine, content: &str) -> String {
    let Some((_, close)) = engine.template().thinking_tags() else { return content.to_owned() };
    content.split_once(close).map_or(content, |(_, answer)| answer).trim_start().to_owned()
}
