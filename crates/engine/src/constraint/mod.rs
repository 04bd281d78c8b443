//! What generated text must look like: grammars, by the `llguidance` crate.
//!
//! A [`Grammar`] is compiled once for a vocabulary into a [`Constraint`], which any number of
//! requests can use. While a token's forward pass runs, a thread of its own works out which tokens
//! may follow it ([`Guard`]), so that the mask is mostly there when the logits are.

mod gbnf;

use std::fmt;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use llguidance::api::TopLevelGrammar;
use llguidance::{Matcher, ParserFactory};
use text::tokenizer::Tokenizer;
use toktrie::{ApproximateTokEnv, SimpleVob, TokEnv, TokRxInfo, TokTrie};

use crate::Error;

/// A description of texts.
#[derive(Clone, Debug, PartialEq)]
pub enum Grammar {
    /// JSON that a schema accepts.
    JsonSchema(serde_json::Value),
    /// The whole text matches a regular expression (`regex` crate syntax).
    Regex(String),
    /// A context-free grammar in `llguidance`'s dialect of Lark.
    Lark(String),
    /// A context-free grammar as llama.cpp writes them.
    Gbnf(String),
    /// One of these texts.
    Choice(Vec<String>),
}

impl Grammar {
    /// A context-free grammar in whichever of the two notations it is written.
    pub fn context_free(text: String) -> Grammar {
        if text.contains("::=") { Grammar::Gbnf(text) } else { Grammar::Lark(text) }
    }
}

/// Which part of the text a grammar describes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scope {
    /// The answer only: thinking stays free.
    #[default]
    Answer,
    /// All that is generated, thinking included.
    Everything,
}

/// A grammar, compiled for one vocabulary.
#[derive(Clone)]
pub struct Constraint {
    matcher: Matcher,
    scope: Scope,
}

impl fmt::Debug for Constraint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Constraint").field("scope", &self.scope).finish_non_exhaustive()
    }
}

/// Compiles grammars for one vocabulary.
pub(crate) struct Compiler {
    factory: ParserFactory,
}

impl Compiler {
    pub(crate) fn new(tokenizer: &Tokenizer, vocab: usize) -> Result<Compiler, Error> {
        let ends: Vec<u32> = tokenizer.ends_of_generation().collect();
        let eos = tokenizer.eos().or(ends.first().copied()).unwrap_or(0);
        let words: Vec<Vec<u8>> = (0..vocab as u32)
            .map(|id| {
                if !tokenizer.is_special(id) {
                    return tokenizer.token_bytes(id).to_vec();
                }
                let mut word = vec![TokTrie::SPECIAL_TOKEN_MARKER];
                word.extend_from_slice(tokenizer.token_text(id).as_bytes());
                word
            })
            .collect();
        let trie = TokTrie::from(&TokRxInfo::new(vocab as u32, eos), &words).with_eos_tokens(&ends);
        let env: TokEnv = Arc::new(ApproximateTokEnv::new(trie));
        let mut factory = ParserFactory::new_simple(&env).map_err(grammar_error)?;
        factory.quiet();
        Ok(Compiler { factory })
    }

    pub(crate) fn compile(&self, grammar: &Grammar, scope: Scope) -> Result<Constraint, Error> {
        let grammar = match grammar {
            Grammar::JsonSchema(schema) => TopLevelGrammar::from_json_schema(schema.clone()),
            Grammar::Regex(regex) => TopLevelGrammar::from_regex(regex),
            Grammar::Lark(lark) => TopLevelGrammar::from_lark(lark.clone()),
            Grammar::Gbnf(gbnf) => {
                TopLevelGrammar::from_lark(gbnf::to_lark(gbnf).map_err(Error::Grammar)?)
            }
            Grammar::Choice(choices) => {
                let quoted =
                    choices.iter().map(|c| serde_json::Value::from(c.as_str()).to_string());
                let lark = format!("start: {}", quoted.collect::<Vec<_>>().join(" | "));
                TopLevelGrammar::from_lark(lark)
            }
        };
        let matcher = Matcher::new(self.factory.create_parser(grammar));
        match matcher.get_error() {
            Some(problem) => Err(Error::Grammar(problem)),
            None => Ok(Constraint { matcher, scope }),
        }
    }
}

fn grammar_error(error: impl fmt::Display) -> Error {
    Error::Grammar(error.to_string())
}

/// Keeps one text to its constraint.
pub(crate) struct Guard {
    scope: Scope,
    state: State,
}

enum State {
    /// Nothing has been worked out since the last token.
    Ready(Box<Matcher>),
    /// The mask for the next token is being worked out.
    Working(Receiver<(Box<Matcher>, Result<SimpleVob, String>)>),
    /// It is there.
    Masked(Box<Matcher>, SimpleVob),
    /// The grammar can't be followed any further, and why.
    Failed(String),
}

impl Guard {
    pub(crate) fn new(constraint: &Constraint) -> Guard {
        // Clones share a cache behind a lock; a guard is used from another thread.
        let matcher = Box::new(constraint.matcher.deep_clone());
        Guard { scope: constraint.scope, state: State::Ready(matcher) }
    }

    /// Whether the next token must follow the grammar.
    pub(crate) fn applies(&self, in_reasoning: bool) -> bool {
        self.scope == Scope::Everything || !in_reasoning
    }

    /// Has the next mask worked out meanwhile.
    pub(crate) fn prepare(&mut self, masks: &MaskThread) {
        self.state = match std::mem::replace(&mut self.state, State::Failed(String::new())) {
            State::Ready(matcher) => State::Working(masks.work_out(matcher)),
            other => other,
        };
    }

    /// Which tokens may come next, one bit each.
    pub(crate) fn mask(&mut self) -> Result<&[u32], String> {
        let (matcher, mask) = match std::mem::replace(&mut self.state, State::Failed(String::new()))
        {
            State::Ready(matcher) => compute(matcher),
            State::Working(answer) => {
                answer.recv().map_err(|_| "the thread that follows grammars is gone".to_owned())?
            }
            State::Masked(matcher, mask) => (matcher, Ok(mask)),
            State::Failed(problem) => {
                self.state = State::Failed(problem.clone());
                return Err(problem);
            }
        };
        match mask {
            Ok(mask) => {
                self.state = State::Masked(matcher, mask);
                let State::Masked(_, mask) = &self.state else { unreachable!("just set") };
                Ok(mask.as_slice())
            }
            Err(problem) => {
                self.state = State::Failed(problem.clone());
                Err(problem)
            }
        }
    }

    /// Goes past a token. Says whether the text is complete: nothing but its end may follow.
    pub(crate) fn accept(&mut self, token: u32) -> Result<bool, String> {
        let mut matcher = match std::mem::replace(&mut self.state, State::Failed(String::new())) {
            State::Ready(matcher) | State::Masked(matcher, _) => matcher,
            State::Working(answer) => {
                answer.recv().map_err(|_| "the thread that follows grammars is gone".to_owned())?.0
            }
            State::Failed(problem) => {
                self.state = State::Failed(problem.clone());
                return Err(problem);
            }
        };
        match matcher.consume_token(token) {
            Ok(()) => {
                let complete = matcher.is_stopped();
                self.state = State::Ready(matcher);
                Ok(complete)
            }
            Err(error) => {
                self.state = State::Failed(error.to_string());
                Err(error.to_string())
            }
        }
    }
}

type Work = (Box<Matcher>, Sender<(Box<Matcher>, Result<SimpleVob, String>)>);

fn compute(mut matcher: Box<Matcher>) -> (Box<Matcher>, Result<SimpleVob, String>) {
    let mask = matcher.compute_mask_or_eos().map_err(|error| error.to_string());
    (matcher, mask)
}

/// The thread that works out masks while the model computes.
pub(crate) struct MaskThread(Sender<Work>);

impl MaskThread {
    /// It ends when this is dropped.
    pub(crate) fn start() -> MaskThread {
        let (sender, work) = channel::<Work>();
        let run = move || {
            for (matcher, answer) in work {
                // Nobody waits if the request has been cancelled.
                let _ = answer.send(compute(matcher));
            }
        };
        if let Err(error) = std::thread::Builder::new().name("masks".to_owned()).spawn(run) {
            tracing::warn!(%error, "no thread for grammars: masks are worked out in turn");
        }
        MaskThread(sender)
    }

    fn work_out(
        &self,
        matcher: Box<Matcher>,
    ) -> Receiver<(Box<Matcher>, Result<SimpleVob, String>)> {
        let (answer, receiver) = channel();
        if let Err(unsent) = self.0.send((matcher, answer)) {
            let (matcher, answer) = unsent.0;
            let _ = answer.send(compute(matcher));
        }
        receiver
    }
}
