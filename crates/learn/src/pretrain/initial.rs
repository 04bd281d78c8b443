//! What a run begins with, where there is no model.

use text::template::CHATML;
use text::tokenizer::{Vocabulary, train};
use weights::convert::Draft;
use weights::gguf::{Array, Metadata, Value};

use super::Documents;
use crate::Error;
use crate::error::recipe;
use crate::recipe::{Pretrain, Recipe};

/// A tokenizer learned from the documents that aren't held out, with ChatML for a template; as a GGUF file's
/// metadata.
///
/// # Errors
/// The documents can't be read, the way of cutting them is unknown, or the vocabulary is too small.
pub fn learned_vocabulary(settings: &Pretrain) -> Result<Metadata, Error> {
    let wrong = |problem: String| recipe("pretrain.tokenizer", problem);
    let Some(size) = settings.tokenizer.vocabulary else {
        return Err(wrong("is another model's".to_owned()));
    };
    let texts = Documents::read(settings)?.learned;
    let made = train(texts.iter(), &settings.tokenizer.pre, size);
    let Vocabulary { model, pre, tokens, token_types, merges, eos, .. } =
        made.map_err(|error| wrong(error.to_string()))?;
    let end = tokens.iter().position(|token| *token == super::ENDS_OF_TEXT[0]).map(|id| id as u32);
    let mut metadata = Metadata::new();
    let texts = |all: Vec<String>| Value::Array(Array::Str(all.into_iter().collect()));
    metadata.insert("tokenizer.ggml.model", model);
    metadata.insert("tokenizer.ggml.pre", pre);
    metadata.insert("tokenizer.ggml.tokens", texts(tokens));
    let types: Vec<i32> = token_types.into_iter().map(|ty| ty.to_gguf()).collect();
    metadata.insert("tokenizer.ggml.token_type", types);
    metadata.insert("tokenizer.ggml.merges", texts(merges));
    for (key, id) in [("eos", eos), ("padding", end)] {
        if let Some(id) = id {
            metadata.insert(format!("tokenizer.ggml.{key}_token_id"), id);
        }
    }
    metadata.insert("tokenizer.ggml.add_bos_token", false);
    metadata.insert("tokenizer.chat_template", CHATML);
    Ok(metadata)
}

/// The new model before it has learned anything, with the tokenizer of `vocabulary`, a GGUF file's metadata.
///
/// # Errors
/// There is no vocabulary, or the shape makes no sense.
pub fn initial(recipe: &Recipe, vocabulary: &Metadata) -> Result<Draft<'static>, Error> {
    let Some(settings) = &recipe.pretrain else {
        return Err(crate::error::recipe("pretrain", "is not there"));
    };
    let tokens = vocabulary.require_str_array("tokenizer.ggml.tokens")?.len();
    let name = recipe.out.file_name().unwrap_or(recipe.out.as_os_str()).to_string_lossy();
    Ok(Draft::initial(&name, &settings.shape.config(tokens), vocabulary, recipe.seed)?)
}
