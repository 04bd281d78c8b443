//! A model that says what a test wants, a letter a token.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use engine::{Completion, Delta, FinishReason, Flow, TokenLogprob, Usage};
use reason::answer::Kind;
use reason::{Ask, Completer, Error, Opening, Problem, Prompt};
use text::splitter::{Start, Tags};
use text::template::Message;

/// What follows a text, given a seed; it ends where this ends.
pub type Says = Box<dyn Fn(&str, u64) -> String + Send + Sync>;

/// A model whose tokens are letters.
pub struct Played {
    pub says: Says,
    /// Whether it thinks between tags, which its template opens.
    pub thinks: bool,
    pub slots: usize,
    /// Log-probability of each token.
    pub logprob: f32,
    /// The asks so far.
    pub asks: Mutex<Vec<Ask>>,
    pub under_way: AtomicUsize,
}

impl Played {
    pub fn new(says: impl Fn(&str, u64) -> String + Send + Sync + 'static) -> Played {
        Played {
            says: Box::new(says),
            thinks: false,
            slots: 8,
            logprob: -0.1,
            asks: Mutex::default(),
            under_way: AtomicUsize::new(0),
        }
    }
}

impl Completer for Played {
    fn name(&self) -> &str {
        "played"
    }

    fn slots(&self) -> usize {
        self.slots
    }

    fn complete(
        &self,
        ask: &Ask,
        receive: &mut dyn FnMut(Delta) -> Flow,
    ) -> Result<Completion, Error> {
        self.under_way.fetch_add(1, Ordering::SeqCst);
        self.asks.lock().unwrap().push(ask.clone());
        let begun: String = ask.begun.iter().flatten().map(|piece| piece.text.as_str()).collect();
        let most = ask.max_tokens.unwrap_or(usize::MAX);
        let mut completion = Completion::default();
        let mut finish = FinishReason::Stop;
        let mut letters = (self.says)(&begun, ask.seed).chars().collect::<Vec<_>>().into_iter();
        loop {
            if completion.tokens.len() >= most {
                finish = FinishReason::Length;
                break;
            }
            let Some(letter) = letters.next() else {
                completion.tokens.push(0);
                break;
            };
            completion.tokens.push(u32::from(letter));
            completion.content.push(letter);
            if receive(Delta::Content(letter.to_string())) == Flow::Stop {
                // As a real engine does, it has already drawn the next.
                if completion.tokens.len() < most
                    && let Some(letter) = letters.next()
                {
                    completion.tokens.push(u32::from(letter));
                    completion.content.push(letter);
                }
                finish = FinishReason::Cancelled;
                break;
            }
        }
        if let Some(n) = ask.logprobs {
            let top = vec![(0, self.logprob * 10.0); n];
            completion.logprobs = (completion.tokens.iter())
                .map(|&token| TokenLogprob { token, logprob: self.logprob, top: top.clone() })
                .collect();
        }
        completion.usage = Usage {
            prompt_tokens: 10 + begun.chars().count(),
            completion_tokens: completion.tokens.len(),
            ..Usage::default()
        };
        completion.finish_reason = finish;
        self.under_way.fetch_sub(1, Ordering::SeqCst);
        Ok(completion)
    }

    fn opening(&self, _ask: &Ask) -> Result<Opening, Error> {
        let start = if self.thinks { Start::Inside } else { Start::Undecided };
        let tags = Tags { tool_call: Default::default(), ..Tags::default() };
        Ok(Opening { start, tags, thinks: self.thinks })
    }

    fn tokens_in(&self, text: &str) -> usize {
        text.chars().count()
    }

    fn text_of(&self, tokens: &[u32]) -> Option<(String, Vec<usize>)> {
        let mut text = String::new();
        let ends = tokens.iter().map(|token| {
            text.extend(char::from_u32(*token).filter(|c| *c != '\0'));
            text.len()
        });
        let ends = ends.collect();
        Some((text, ends))
    }

    fn tells_logprobs(&self) -> bool {
        true
    }
}

pub fn problem(question: &str) -> Problem<'static> {
    Problem {
        prompt: Prompt::Chat(vec![Message::new("user", question)]),
        question: question.to_owned(),
        instruction: None,
        kind: Kind::Final,
        verifier: None,
    }
}
