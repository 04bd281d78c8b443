//! The turns of a chat, and the file they are saved in.

use std::fs;
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use text::tools::Call;

/// Who said something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Instructions that stand above the chat.
    System,
    /// The person.
    User,
    /// The model.
    Assistant,
    /// A tool that the model has called.
    Tool,
}

/// One message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Turn {
    /// Who said it.
    pub role: Role,
    /// What was said.
    pub content: String,
    /// The thinking before it: kept in saved chats, not shown to the model again.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reasoning: String,
    /// What the model called instead of answering.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub calls: Vec<Call>,
    /// Which tool's result it is.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
}

impl Turn {
    /// Whether it is about tools: calls, or what came of one.
    pub fn is_of_tools(&self) -> bool {
        self.role == Role::Tool || !self.calls.is_empty()
    }

    fn new(role: Role, content: String) -> Turn {
        Turn { role, content, reasoning: String::new(), calls: Vec::new(), name: String::new() }
    }
}

/// How much the model may think.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Budget {
    /// As long as it likes.
    #[default]
    Unlimited,
    /// Not at all.
    Off,
    /// This many tokens.
    Tokens(usize),
}

/// A chat so far: an optional system turn, then user and assistant in turn; between them may stand
/// calls of the assistant and what came of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Conversation {
    turns: Vec<Turn>,
    /// How much the model may think from here on.
    pub budget: Budget,
}

/// A saved chat.
#[derive(Serialize, Deserialize)]
struct Saved {
    model: String,
    messages: Vec<Turn>,
}

impl Conversation {
    /// An empty chat.
    pub fn new(system: Option<String>, budget: Budget) -> Self {
        let mut conversation = Self { turns: Vec::new(), budget };
        conversation.set_system(system);
        conversation
    }

    /// Everything said, the system turn first.
    pub fn turns(&self) -> &[Turn] {
        &self.turns
    }

    /// The system turn's text.
    pub fn system(&self) -> Option<&str> {
        self.turns.first().filter(|turn| turn.role == Role::System).map(|turn| &*turn.content)
    }

    /// Replaces or removes the system turn. An empty one is kept: it stands in for the one that
    /// many templates bring along.
    pub fn set_system(&mut self, text: Option<String>) {
        if self.system().is_some() {
            self.turns.remove(0);
        }
        if let Some(content) = text {
            self.turns.insert(0, Turn::new(Role::System, content));
        }
    }

    /// Forgets everything but the system turn.
    pub fn clear(&mut self) {
        self.turns.retain(|turn| turn.role == Role::System);
    }

    /// Adds a question. One before it that was never answered is dropped: templates want the
    /// roles to alternate.
    pub fn ask(&mut self, content: String) {
        if self.is_unanswered() {
            self.turns.pop();
        }
        self.turns.push(Turn::new(Role::User, content));
    }

    /// Adds what the model calls before it answers.
    pub fn called(&mut self, content: String, reasoning: String, calls: Vec<Call>) {
        let turn = Turn::new(Role::Assistant, content);
        self.turns.push(Turn { reasoning, calls, ..turn });
    }

    /// Adds what came of a call.
    pub fn told(&mut self, name: String, result: String) {
        self.turns.push(Turn { name, ..Turn::new(Role::Tool, result) });
    }

    /// Adds the model's answer; an empty one leaves the question unanswered.
    pub fn answered(&mut self, content: String, reasoning: String) {
        if !content.is_empty() {
            self.turns.push(Turn { reasoning, ..Turn::new(Role::Assistant, content) });
        }
    }

    /// Whether the last turn is a question.
    fn is_unanswered(&self) -> bool {
        self.turns.last().is_some_and(|turn| turn.role == Role::User)
    }

    /// Takes back the calls after a question whose answer never came.
    pub fn take_back_calls(&mut self) {
        if self.turns.last().is_some_and(Turn::is_of_tools) {
            self.take_back();
        }
    }

    /// Takes the last answer back, with all calls that led to it. False if there was no question.
    pub fn take_back(&mut self) -> bool {
        while self.turns.last().is_some_and(|t| matches!(t.role, Role::Assistant | Role::Tool)) {
            self.turns.pop();
        }
        self.is_unanswered()
    }

    /// Writes the chat as JSON, whole or not at all. An existing file is only replaced if it is a
    /// saved chat.
    ///
    /// # Errors
    /// The file cannot be written, or is something else.
    pub fn save(&self, path: &Path, model: &str) -> Result<()> {
        if path.exists() && read(path).is_err() {
            bail!("{} exists and is not a saved chat; choose another name", path.display());
        }
        let saved = Saved { model: model.to_owned(), messages: self.turns.clone() };
        let mut part = path.as_os_str().to_owned();
        part.push(".part");
        let write = || -> Result<()> {
            let mut file = fs::File::create(&part)?;
            serde_json::to_writer_pretty(&mut file, &saved)?;
            file.write_all(b"\n")?;
            file.sync_all()?;
            Ok(fs::rename(&part, path)?)
        };
        write().with_context(|| format!("cannot save the chat to {}", path.display())).inspect_err(
            // Best effort: the error that matters is on its way already.
            |_| drop(fs::remove_file(&part)),
        )
    }

    /// Replaces the turns by those of a saved chat; returns the name of the model it was with.
    ///
    /// # Errors
    /// The file cannot be read, is no saved chat, or its turns are out of order.
    pub fn load(&mut self, path: &Path) -> Result<String> {
        let saved = read(path)?;
        self.turns = saved.messages;
        Ok(saved.model)
    }
}

fn read(path: &Path) -> Result<Saved> {
    let shown = path.display();
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {shown}"))?;
    let saved: Saved = serde_json::from_str(&text)
        .with_context(|| format!("{shown} is not a chat saved by /save"))?;
    let spoken = saved.messages.iter().skip_while(|turn| turn.role == Role::System);
    let spoken = spoken.filter(|turn| !turn.is_of_tools());
    let expected = [Role::User, Role::Assistant].into_iter().cycle();
    let systems = saved.messages.iter().filter(|turn| turn.role == Role::System).count();
    if systems > 1 || spoken.zip(expected).any(|(turn, role)| turn.role != role) {
        bail!("{shown}: messages must be an optional system, then user and assistant in turn");
    }
    Ok(saved)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chat() -> Conversation {
        let mut chat = Conversation::new(Some("Be brief.".to_owned()), Budget::Unlimited);
        chat.ask("1 + 1?".to_owned());
        chat.answered("2".to_owned(), "one and one".to_owned());
        chat
    }

    fn said(chat: &Conversation) -> Vec<&str> {
        chat.turns().iter().map(|turn| &*turn.content).collect()
    }

    #[test]
    fn turns_alternate() {
        let mut chat = chat();
        chat.ask("never answered".to_owned());
        chat.answered(String::new(), "interrupted".to_owned());
        chat.ask("2 + 2?".to_owned());
        assert_eq!(said(&chat), ["Be brief.", "1 + 1?", "2", "2 + 2?"]);
        assert!(chat.take_back());
        chat.answered("4".to_owned(), String::new());
        assert!(chat.take_back());
        assert_eq!(said(&chat), ["Be brief.", "1 + 1?", "2", "2 + 2?"]);
        chat.set_system(None);
        assert_eq!(chat.system(), None);
        chat.clear();
        assert!(!chat.take_back());
    }

    #[test]
    fn calls_stand_between_a_question_and_its_answer() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("chat.json");
        let call = Call { name: "add".to_owned(), arguments: "{\"a\":1}".to_owned() };
        let mut chat = chat();
        chat.ask("1 + 2?".to_owned());
        chat.called(String::new(), "a sum".to_owned(), vec![call]);
        chat.told("add".to_owned(), "3".to_owned());
        let mut unanswered = chat.clone();
        unanswered.take_back_calls();
        assert_eq!(said(&unanswered), ["Be brief.", "1 + 1?", "2", "1 + 2?"]);
        chat.answered("It is 3.".to_owned(), String::new());
        chat.save(&path, "tiny").expect("saved");
        let mut loaded = Conversation::default();
        loaded.load(&path).expect("loaded");
        assert_eq!(loaded, chat);
        chat.take_back_calls();
        assert_eq!(loaded, chat, "an answered question stays");
        assert!(chat.take_back());
        assert_eq!(chat, unanswered);
    }

    #[test]
    fn a_saved_chat_comes_back_with_its_thinking() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("chat.json");
        chat().save(&path, "tiny").expect("saved");
        chat().save(&path, "tiny").expect("replaced");
        let mut loaded = Conversation::default();
        assert_eq!(loaded.load(&path).expect("loaded"), "tiny");
        assert_eq!(loaded, chat());
        assert_eq!(fs::read_dir(folder.path()).expect("folder").count(), 1);
    }

    #[test]
    fn other_files_are_neither_replaced_nor_loaded() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("thesis.txt");
        fs::write(&path, "years of work").expect("written");
        let error = chat().save(&path, "tiny").expect_err("not a chat").to_string();
        assert!(error.contains("thesis.txt exists and is not a saved chat"), "{error}");
        assert_eq!(fs::read_to_string(&path).expect("still there"), "years of work");
        let error = chat().load(&path).expect_err("not a chat").to_string();
        assert!(error.contains("thesis.txt is not a chat"), "{error}");
        let turns = r#"{"model":"m","messages":[{"role":"assistant","content":"hi"}]}"#;
        fs::write(&path, turns).expect("written");
        let error = chat().load(&path).expect_err("out of order").to_string();
        assert!(error.contains("user and assistant in turn"), "{error}");
        let nowhere = folder.path().join("no/such/chat.json");
        let error = chat().save(&nowhere, "tiny").expect_err("no folder").to_string();
        assert!(error.contains("cannot save the chat to"), "{error}");
    }
}
