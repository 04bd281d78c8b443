//! Low-rank adapters, by name.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use model::{Adapter, AdapterUse};

use crate::{Engine, Error};

/// An adapter, and how strongly it is used.
#[derive(Clone)]
pub struct Lora {
    adapter: Arc<Adapter>,
    /// Multiplies what the adapter adds; 1 is as it was trained.
    pub scale: f32,
    /// Tells adapters apart, also those that had the same name one after the other.
    number: u64,
}

impl fmt::Debug for Lora {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut f = f.debug_struct("Lora");
        f.field("number", &self.number).field("scale", &self.scale).finish_non_exhaustive()
    }
}

impl Lora {
    /// An adapter that has no name, as training makes them; used as strongly as it was trained.
    pub fn new(adapter: Adapter) -> Lora {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Lora { adapter: Arc::new(adapter), scale: 1.0, number }
    }

    /// The head of an adapter that scores texts.
    pub(crate) fn head(&self) -> Option<&[f32]> {
        self.adapter.score()
    }

    /// Whether it scores texts; see [`Engine::reward`].
    pub fn scores(&self) -> bool {
        self.head().is_some()
    }

    /// What a forward pass needs.
    pub(crate) fn in_use(&self) -> AdapterUse<'_> {
        AdapterUse { adapter: &self.adapter, scale: self.scale }
    }

    /// Differs between all adapters and strengths; none is 0.
    pub(crate) fn variant(lora: Option<&Lora>) -> u64 {
        lora.map_or(0, |lora| lora.number << 32 | u64::from(lora.scale.to_bits()))
    }
}

/// The adapters of one model.
#[derive(Default)]
pub(crate) struct Adapters(RwLock<BTreeMap<String, Lora>>);

impl Engine {
    /// Reads an adapter, a PEFT directory or a GGUF file, and gives it a name. One that had the
    /// name before is replaced; requests that use it go on with it.
    ///
    /// # Errors
    /// The files are damaged or made for another model.
    pub fn load_adapter(&self, name: &str, path: &Path) -> Result<(), Error> {
        let lora = Lora::new(Adapter::load(path, self.model())?);
        let mut all = self.adapters.0.write().unwrap_or_else(PoisonError::into_inner);
        all.insert(name.to_owned(), lora);
        Ok(())
    }

    /// Forgets an adapter; says whether there was one of that name.
    pub fn unload_adapter(&self, name: &str) -> bool {
        let mut all = self.adapters.0.write().unwrap_or_else(PoisonError::into_inner);
        all.remove(name).is_some()
    }

    /// The adapter of a name.
    pub fn adapter(&self, name: &str) -> Option<Lora> {
        self.adapters.0.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    /// The names of all adapters.
    pub fn adapter_names(&self) -> Vec<String> {
        self.adapters.0.read().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
    }
}
