//! Completions of problems, drawn by the model as it is now: in this process, or by engines elsewhere.

mod local;
mod remote;

use engine::{Engine, Request};
use reason::Prompt;
use text::template::Message;
use train::Network;

use crate::Error;

pub use local::Sampler;
pub use remote::Endpoints;

/// One completion, and what it was drawn from.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Drawn {
    /// What was generated, the end of the turn included where the model came to it.
    pub tokens: Vec<u32>,
    /// The sampler's `log p` of each, at the temperature it drew at; none where it doesn't tell that.
    pub log_probs: Option<Vec<f32>>,
    /// The thinking.
    pub reasoning: String,
    /// The answer.
    pub answer: String,
    /// It was cut off.
    pub truncated: bool,
}

/// How completions are drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Draw {
    /// Completions of each prompt.
    pub completions: usize,
    /// Most tokens of each.
    pub max_tokens: usize,
    /// 0: the most likely token each time, instead of chance.
    pub temperature: f32,
    /// What chance comes from.
    pub seed: u64,
}

/// What is told while completions are drawn: how many tokens there are, and how many completions are
/// finished. False stops the drawing.
pub type Watch<'a> = dyn FnMut(usize, usize) -> bool + 'a;

/// Whoever draws, from the whole distribution at a temperature: with nothing cut off it and no
/// penalties, which is what the gradient takes for granted.
pub trait Rollouts {
    /// Takes the adapter as it is now: what is drawn from here on is drawn with it.
    ///
    /// # Errors
    /// It can't be taken.
    fn follow(&mut self, network: &Network<'_>) -> Result<(), Error>;

    /// Draws completions of all prompts, `[prompt][completion]`. None if `watch` stopped it.
    ///
    /// # Errors
    /// A prompt doesn't fit the context, or the model can't be run or reached.
    fn draw(
        &mut self,
        prompts: &[Request],
        how: Draw,
        watch: &mut Watch<'_>,
    ) -> Result<Option<Vec<Vec<Drawn>>>, Error>;
}

/// The tokens that a problem is put with.
///
/// # Errors
/// The template refuses the conversation.
pub fn prompt(engine: &Engine, prompt: &Prompt) -> Result<Request, Error> {
    Ok(match prompt {
        Prompt::Text(text) => engine.continuation(text),
        Prompt::Chat(messages) => {
            let messages: &[Message] = messages;
            engine.chat(messages, None, serde_json::Map::new())?
        }
    })
}
