//! A text as one vector.

use kernels::attention::KvType;
use model::{KvCache, Span, Want, Workspace};

use crate::scheduler::STEP_TOKENS;
use crate::{Engine, Error};

impl Engine {
    /// The mean of a text's final states, `[hidden]`, of length 1. (Generative models weren't
    /// trained for it; it still tells texts about one thing from texts about another.)
    ///
    /// # Errors
    /// As [`Engine::check_prompt`].
    pub fn embed(&self, tokens: &[u32]) -> Result<Vec<f32>, Error> {
        self.check_prompt(tokens)?;
        let model = self.model();
        let hidden = model.config().hidden;
        let mut cache = KvCache::new(model.config(), KvType::F16, tokens.len());
        cache.shape().check()?;
        let (mut sequence, mut work) = (model.sequence(tokens.len()), Workspace::default());
        let (mut mean, mut states) = (vec![0.0f64; hidden], Vec::new());
        for tokens in tokens.chunks(STEP_TOKENS) {
            let adapter = self.adapter_in_use();
            let span = Span { sequence: &mut sequence, tokens, want: Want::All, adapter };
            let n = model.forward(&mut cache, &mut [span], &mut work)?;
            states.resize(n * hidden, 0.0f32);
            model.states(&work, 0..n, &mut states);
            for state in states.chunks_exact(hidden) {
                mean.iter_mut().zip(state).for_each(|(sum, x)| *sum += f64::from(*x));
            }
        }
        cache.release(sequence);
        let norm = mean.iter().map(|x| x * x).sum::<f64>().sqrt();
        let scale = if norm > 0.0 { 1.0 / norm } else { 0.0 };
        Ok(mean.into_iter().map(|x| (x * scale) as f32).collect())
    }
}
