//! What a text is worth to a reward model.

use kernels::attention::KvType;
use model::{KvCache, Span, Want, Workspace};

use crate::{Engine, Error, Lora};

/// Tokens in one forward pass.
const BATCH: usize = 512;

impl Engine {
    /// The reward of a text, its prompt included: the product of the last token's final state with
    /// the head of `lora`, an adapter that scores texts ([`model::Adapter::score`]).
    ///
    /// # Errors
    /// As [`Engine::check_prompt`]; or the adapter has no such head.
    pub fn reward(&self, tokens: &[u32], lora: &Lora) -> Result<f32, Error> {
        self.check_prompt(tokens)?;
        let Some(head) = lora.head() else { return Err(Error::NoReward) };
        let model = self.model();
        let mut cache = KvCache::new(model.config(), KvType::F16, tokens.len());
        cache.shape().check()?;
        let (mut sequence, mut work) = (model.sequence(tokens.len()), Workspace::default());
        let mut state = vec![0.0; model.config().hidden];
        for tokens in tokens.chunks(BATCH) {
            let adapter = Some(lora.in_use());
            let span = Span { sequence: &mut sequence, tokens, want: Want::Last, adapter };
            let rows = model.forward(&mut cache, &mut [span], &mut work)?;
            model.states(&work, rows - 1..rows, &mut state);
        }
        cache.release(sequence);
        let terms = state.iter().zip(head).map(|(x, w)| f64::from(*x) * f64::from(*w));
        Ok(terms.sum::<f64>() as f32)
    }
}
