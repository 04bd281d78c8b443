//! What a file says about text: its tokenizer, its chat template, how it wants to be sampled.

use std::path::Path;

use text::template::ChatTemplate;
use text::tokenizer::{TokenType, Tokenizer, TokenizerConfig, Vocabulary};
use weights::Checkpoint;
use weights::gguf::{Gguf, Metadata};
use weights::safetensors::SafetensorsDir;

use crate::Error;
use crate::sampler::Sampling;

/// Everything about a model that isn't arithmetic.
pub(crate) struct Speech {
    pub(crate) tokenizer: Tokenizer,
    pub(crate) template: ChatTemplate,
    /// The file has a chat template of its own.
    pub(crate) has_template: bool,
    pub(crate) defaults: Sampling,
    pub(crate) name: String,
}

impl Speech {
    pub(crate) fn read(checkpoint: &Checkpoint) -> Result<Speech, Error> {
        match checkpoint {
            Checkpoint::Gguf(file) => from_gguf(file),
            Checkpoint::Safetensors(dir) => from_safetensors(dir),
        }
    }
}

fn tokenizer_error(path: &Path) -> impl FnOnce(text::tokenizer::Error) -> Error {
    let path = path.display().to_string();
    move |source| Error::Tokenizer { path, source }
}

fn compile(source: Option<&str>, bos: &str, eos: &str) -> Result<(ChatTemplate, bool), Error> {
    match source {
        Some(source) => Ok((ChatTemplate::new(source, bos, eos)?, true)),
        None => Ok((ChatTemplate::chatml(), false)),
    }
}

fn from_gguf(file: &Gguf) -> Result<Speech, Error> {
    let metadata = file.metadata();
    let list = |key: &str| -> Result<Vec<String>, weights::Error> {
        Ok(metadata.require_str_array(key)?.iter().map(str::to_owned).collect())
    };
    let types = metadata.i32_array("tokenizer.ggml.token_type")?.unwrap_or_default();
    let model = metadata.require_str("tokenizer.ggml.model")?;
    // Those of SentencePiece have scores instead of merges.
    let scored = model == "llama";
    let vocabulary = Vocabulary {
        model: model.to_owned(),
        pre: metadata.str("tokenizer.ggml.pre")?.unwrap_or_default().to_owned(),
        tokens: list("tokenizer.ggml.tokens")?,
        token_types: types.iter().map(|t| TokenType::from_gguf(i64::from(*t))).collect(),
        scores: match scored {
            true => metadata.require_f32_array("tokenizer.ggml.scores")?.into_owned(),
            false => Vec::new(),
        },
        merges: if scored { Vec::new() } else { list("tokenizer.ggml.merges")? },
        bos: metadata.u32("tokenizer.ggml.bos_token_id")?,
        eos: metadata.u32("tokenizer.ggml.eos_token_id")?,
        eot: metadata.u32("tokenizer.ggml.eot_token_id")?,
        unknown: metadata.u32("tokenizer.ggml.unknown_token_id")?,
        add_bos: metadata.bool("tokenizer.ggml.add_bos_token")?,
        add_eos: metadata.bool("tokenizer.ggml.add_eos_token")?,
        add_space_prefix: metadata.bool("tokenizer.ggml.add_space_prefix")?,
        remove_extra_whitespaces: metadata.bool("tokenizer.ggml.remove_extra_whitespaces")?,
        strips_after_special: scored && metadata.str("general.architecture")? == Some("phi3"),
    };
    let tokenizer = Tokenizer::from_vocabulary(vocabulary).map_err(tokenizer_error(file.path()))?;
    let special = |id: Option<u32>| id.map_or("", |id| tokenizer.token_text(id));
    let (template, has_template) = compile(
        metadata.str("tokenizer.chat_template")?,
        special(tokenizer.bos()),
        special(tokenizer.eos()),
    )?;
    let stem = file.path().file_stem().map(|s| s.to_string_lossy().into_owned());
    let name = metadata.str("general.name")?.map(str::to_owned).or(stem).unwrap_or_default();
    let defaults = gguf_sampling(metadata)?;
    Ok(Speech { tokenizer, template, has_template, defaults, name })
}

/// Sampling settings a converter may have left in the file.
fn gguf_sampling(metadata: &Metadata) -> Result<Sampling, weights::Error> {
    let mut sampling = Sampling::default();
    let number = |name: &str| metadata.f32(&format!("general.sampling.{name}"));
    if let Some(temperature) = number("temp")? {
        sampling.temperature = temperature;
    }
    if let Some(top_p) = number("top_p")? {
        sampling.top_p = top_p;
    }
    if let Some(min_p) = number("min_p")? {
        sampling.min_p = min_p;
    }
    if let Some(penalty) = number("penalty_repeat")? {
        sampling.repetition_penalty = penalty;
    }
    if let Some(top_k) = metadata.u32("general.sampling.top_k")? {
        sampling.top_k = top_k as usize;
    }
    Ok(sampling)
}

fn from_safetensors(dir: &SafetensorsDir) -> Result<Speech, Error> {
    let config = dir
        .tokenizer_config()
        .map(|json| TokenizerConfig::from_json(json.to_string().as_bytes()))
        .transpose()
        .map_err(tokenizer_error(dir.path()))?;
    let mut tokenizer = Tokenizer::from_json(&dir.tokenizer_json()?, config.as_ref())
        .map_err(tokenizer_error(dir.path()))?;
    let generation = dir.generation_config();
    // A chat model's own list of what ends its turn.
    match generation.and_then(|g| g.get("eos_token_id")) {
        Some(serde_json::Value::Array(ids)) => ids.iter().filter_map(|id| id.as_u64()).collect(),
        Some(id) => id.as_u64().into_iter().collect::<Vec<u64>>(),
        None => Vec::new(),
    }
    .into_iter()
    .filter_map(|id| u32::try_from(id).ok())
    .for_each(|id| tokenizer.end_generation_at(id));

    let special = |id: Option<u32>| id.map_or("", |id| tokenizer.token_text(id));
    let source = dir.chat_template()?;
    let (template, has_template) =
        compile(source.as_deref(), special(tokenizer.bos()), special(tokenizer.eos()))?;
    let mut defaults = Sampling::default();
    if let Some(generation) = generation {
        let number = |key: &str| generation.get(key).and_then(serde_json::Value::as_f64);
        let set = |field: &mut f32, key: &str| {
            if let Some(value) = number(key) {
                *field = value as f32;
            }
        };
        set(&mut defaults.temperature, "temperature");
        set(&mut defaults.top_p, "top_p");
        set(&mut defaults.min_p, "min_p");
        set(&mut defaults.typical_p, "typical_p");
        set(&mut defaults.repetition_penalty, "repetition_penalty");
        if let Some(top_k) = number("top_k") {
            defaults.top_k = top_k as usize;
        }
        if generation.get("do_sample") == Some(&serde_json::Value::Bool(false)) {
            defaults.temperature = 0.0;
        }
    }
    let name = dir.path().file_name().map(|n| n.to_string_lossy().into_owned());
    Ok(Speech { tokenizer, template, has_template, defaults, name: name.unwrap_or_default() })
}
