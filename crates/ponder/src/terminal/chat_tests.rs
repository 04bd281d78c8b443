//! Chats with a model and a person that both read from a script.

use std::collections::VecDeque;
use std::fs;

use anyhow::bail;
use engine::{FinishReason, Usage};

use super::super::Thinking;
use super::super::conversation::Turn;
use super::*;

const LOOK: Look = Look { terminal: false, colour: false, thinking: Thinking::Fold };

/// Repeats the last question and says how many turns it saw.
#[derive(Default)]
struct Parrot {
    interrupt: Interrupt,
    budgets: Vec<Budget>,
}

impl Answer for &mut Parrot {
    fn name(&self) -> &str {
        "parrot"
    }

    fn context_length(&self) -> Option<usize> {
        Some(100)
    }

    fn answer(
        &mut self,
        conversation: &Conversation,
        attempt: u64,
        receive: &mut dyn FnMut(Delta) -> Flow,
    ) -> Result<Completion> {
        self.budgets.push(conversation.budget);
        let turns = conversation.turns();
        let question = &turns[turns.len() - 1].content;
        if question == "too long" {
            bail!("the prompt has 200 tokens, the context 100");
        }
        let mut finish_reason = FinishReason::Stop;
        let mut content = format!("{question} ({} turns", turns.len());
        receive(Delta::Reasoning("hm".to_owned()));
        if question == "interrupt me" {
            self.interrupt.press();
            content.clear();
            finish_reason = FinishReason::Cancelled;
        } else {
            if attempt > 0 {
                content += &format!(", attempt {attempt}");
            }
            content += ")";
        }
        let flow = receive(Delta::Content(content.clone()));
        assert_eq!(flow == Flow::Stop, finish_reason == FinishReason::Cancelled);
        Ok(Completion {
            reasoning: "hm".to_owned(),
            content,
            usage: Usage { prompt_tokens: 7, completion_tokens: 3, ..Usage::default() },
            finish_reason,
            ..Completion::default()
        })
    }
}

impl Lines for VecDeque<Input> {
    fn next_line(&mut self) -> Result<Input> {
        Ok(self.pop_front().unwrap_or(Input::End))
    }
}

fn typed(lines: &[&str]) -> VecDeque<Input> {
    lines.iter().map(|line| Input::Line((*line).to_owned())).collect()
}

/// What was written, without the greeting, and the turns at the end.
fn chat_with(parrot: &mut Parrot, mut lines: VecDeque<Input>) -> (String, Vec<Turn>) {
    let (mut out, interrupt) = (Vec::new(), parrot.interrupt.clone());
    let mut chat = Chat::new(&mut out, LOOK, &interrupt, parrot, Conversation::default());
    chat.run(&mut lines).expect("neither input nor output fail");
    let turns = chat.conversation.turns().to_vec();
    let text = String::from_utf8(out).expect("UTF-8");
    let (_, rest) = text.split_once('\n').expect("a greeting");
    (rest.to_owned(), turns)
}

fn chat(lines: &[&str]) -> String {
    chat_with(&mut Parrot::default(), typed(lines)).0
}

#[test]
fn earlier_turns_are_part_of_the_next_question() {
    assert_eq!(chat(&["a", "", "b"]), "a (1 turns)\n\nb (3 turns)\n\n");
}

#[test]
fn system_prompt() {
    assert_eq!(chat(&["/system"]), "no system prompt\n");
    assert_eq!(chat(&["/system Be brief.", "/system", "a"]), "Be brief.\na (2 turns)\n\n");
    assert_eq!(chat(&["/system x", "/system \"\"", "/system", "a"]), "\na (2 turns)\n\n");
}

#[test]
fn regen_is_another_attempt_at_the_same_question() {
    let text = chat(&["/regen", "a", "/regen", "/regen", "b"]);
    assert_eq!(
        text,
        "nothing was asked yet\na (1 turns)\n\na (1 turns, attempt 1)\n\na (1 turns, attempt 2)\n\n\
         b (3 turns)\n\n"
    );
}

#[test]
fn clear_forgets() {
    let text = chat(&["a", "/clear", "/stats", "b"]);
    assert!(text.ends_with("starts anew\nnothing was answered yet\nb (1 turns)\n\n"), "{text}");
}

#[test]
fn stats_tell_the_context_used() {
    let text = chat(&["a", "/stats"]);
    assert!(text.contains("3 tokens in") && text.contains("10 of 100 tokens of context"), "{text}");
}

#[test]
fn think_sets_the_budget() {
    let mut parrot = Parrot::default();
    let lines = ["a", "/think off", "a", "/think 99", "a", "/think on", "a", "/think hard"];
    let (text, _) = chat_with(&mut parrot, typed(&lines));
    let want = [Budget::Unlimited, Budget::Off, Budget::Tokens(99), Budget::Unlimited];
    assert_eq!(parrot.budgets, want);
    assert!(text.ends_with("/think 512 for a limit of tokens\n"), "{text}");
}

#[test]
fn ctrl_c_stops_the_answer_and_the_chat_goes_on() {
    let mut parrot = Parrot::default();
    let (text, turns) = chat_with(&mut parrot, typed(&["interrupt me", "b"]));
    assert_eq!(text, "(stopped)\n\nb (1 turns)\n\n");
    assert_eq!(turns.len(), 2);
}

#[test]
fn ctrl_c_twice_at_the_prompt_leaves() {
    let question = || Input::Line("a".to_owned());
    let lines =
        [Input::Interrupted, question(), Input::Interrupted, Input::Interrupted, question()];
    let (text, turns) = chat_with(&mut Parrot::default(), lines.into());
    assert_eq!(text.matches("again, or /quit").count(), 2);
    assert_eq!(turns.len(), 2);
}

#[test]
fn an_error_is_said_and_the_chat_goes_on() {
    let text = chat(&["too long", "b"]);
    assert_eq!(text, "the prompt has 200 tokens, the context 100\nb (1 turns)\n\n");
}

#[test]
fn save_and_load() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("chat.json");
    let file = file.to_str().expect("UTF-8");
    let text = chat(&["/save", "/system s", "a", &format!("/save {file}")]);
    assert!(text.starts_with("/save needs the name of a file\n"), "{text}");
    let text = chat(&["x", &format!("/load {file}"), "b"]);
    assert!(text.ends_with("3 messages of a chat with parrot\nb (4 turns)\n\n"), "{text}");
    assert!(fs::read_to_string(file).expect("saved").contains("\"reasoning\": \"hm\""));
    let text = chat(&["/load no/such/file", "b"]);
    assert!(text.starts_with("cannot read no/such/file: "), "{text}");
}

#[test]
fn help_and_unknown_commands_and_quit() {
    let text = chat(&["/help", "/nonsense x", "/quit", "a"]);
    for (name, ..) in COMMANDS {
        assert!(text.contains(name), "{name}");
    }
    assert!(text.ends_with("there is no command /nonsense; /help shows those there are\n"));
}
