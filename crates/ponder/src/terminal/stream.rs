//! From the engine's deltas to the screen, until the answer ends or Ctrl-C is pressed.

use std::io::Write;
use std::time::Instant;

use anyhow::Result;
use engine::{Completion, Delta, Flow};

use super::keyboard::{Interrupt, QuietKeyboard};
use super::render::Renderer;
use super::{Look, Size};

/// What produces a completion, given a receiver of deltas.
pub type Complete<'a> = dyn FnMut(&mut dyn FnMut(Delta) -> Flow) -> Result<Completion> + 'a;

/// Runs `complete` and shows what it produces. Ctrl-C stops it; what there is by then is returned.
///
/// # Errors
/// Those of `complete`, and an output that cannot be written.
pub fn stream(
    out: &mut impl Write,
    look: Look,
    interrupt: &Interrupt,
    complete: &mut Complete,
) -> Result<Completion> {
    let began = Instant::now();
    let quiet = look.terminal.then(QuietKeyboard::new);
    let mut renderer = Renderer::new(out, look, Size::now());
    let mut failure = None;
    let result = complete(&mut |delta| {
        renderer.resize(Size::now());
        if let Err(error) = renderer.show(&delta, began.elapsed()) {
            failure = Some(error);
        }
        if failure.is_some() || interrupt.pressed() { Flow::Stop } else { Flow::Continue }
    });
    let thinking_tokens = result.as_ref().map_or(0, |done| done.usage.reasoning_tokens);
    let finished = renderer.finish(thinking_tokens, began.elapsed());
    drop(quiet);
    if let Some(error) = failure {
        return Err(error.into());
    }
    finished?;
    result
}
