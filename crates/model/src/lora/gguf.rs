//! Adapters in GGUF, as llama.cpp's `convert_lora_to_gguf.py` writes them: `general.type` is
//! "adapter", `adapter.type` is "lora", and each adapted matrix `NAME` of the base has tensors
//! `NAME.lora_a` and `NAME.lora_b`, with q and k of `llama` permuted as in the base.

use std::path::Path;

use weights::gguf::Gguf;

use super::build::{Builder, Half, StoredPair};
use super::{bad, named};
use crate::config::gguf_layout;
use crate::{Config, Error};

pub(super) const ALPHA: &str = "adapter.lora.alpha";
/// Where an adapter is to be used only after certain tokens.
const INVOCATION: &str = "adapter.alora.invocation_tokens";

pub(super) fn read(path: &Path, config: &Config) -> Result<Vec<StoredPair>, Error> {
    let file = Gguf::open(path)?;
    let (path, metadata) = (file.path(), file.metadata());
    let architecture = &config.architecture;
    for (key, wanted, why) in [
        ("general.type", "adapter", "this is a model and no adapter of one"),
        ("adapter.type", "lora", "other kinds of adapters are not supported"),
        ("general.architecture", architecture, "the adapter was made for another model"),
    ] {
        let found = metadata.require_str(key)?;
        if found != wanted {
            let found: String = found.escape_debug().take(60).collect();
            return Err(bad(path, key, format!("is `{found}` where `{wanted}` is needed; {why}")));
        }
    }
    if metadata.contains(INVOCATION) {
        let problem = "an adapter that waits for certain tokens (activated LoRA) is not supported";
        return Err(bad(path, INVOCATION, problem));
    }
    let alpha = metadata.f32(ALPHA)?.unwrap_or(0.0);
    if !alpha.is_finite() {
        return Err(bad(path, ALPHA, format!("{alpha} is no finite number")));
    }

    let mut builder = Builder::new(config, path, gguf_layout(architecture));
    for info in file.tensors() {
        let Some(tensor) = file.tensor(&info.name) else { continue };
        let (base, half) = match info.name.rsplit_once('.') {
            Some((base, "lora_a")) => (base, Half::A),
            Some((base, "lora_b")) => (base, Half::B),
            _ => {
                let problem = "is neither a .lora_a nor a .lora_b tensor; whole tensors in an \
                               adapter are not supported";
                return Err(bad(path, named(&info.name), problem));
            }
        };
        builder.put(base, half, tensor)?;
    }
    builder.finish(|_, _, rank| {
        // As llama.cpp has it: without an alpha the product is added as it is.
        let scale = if alpha == 0.0 { 1.0 } else { alpha / rank as f32 };
        Ok((rank, scale))
    })
}
