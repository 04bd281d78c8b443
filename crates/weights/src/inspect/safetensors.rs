//! Filling a report from safetensors files and the JSON files beside them.

use std::fmt;
use std::path::Path;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use super::{Report, Template, Tokenizer};
use crate::Error;
use crate::mapping::Mapping;
use crate::safetensors::{
    Header, SafetensorsDir, Shards, chat_template, find, names, read_json, text_part,
};
use crate::tensor::{loaded_bytes, shorten};

pub(super) fn report(path: &Path) -> Result<Report, Error> {
    let Shards { dir, files, index } = find(path)?;
    let mut report = Report {
        format: "safetensors".to_owned(),
        files: files.len(),
        name: dir.file_name().map(|name| shorten(&name.to_string_lossy())),
        ..Report::default()
    };
    for file in &files {
        match Mapping::open(file) {
            Ok(mapping) => add_file(&mut report, &mapping, file),
            Err(_) if !file.exists() => {
                let listed = index.as_ref().map_or(0, |index| index.listed(file));
                report
                    .problems
                    .push(format!("{} is missing, and with it {listed} tensors", file.display()));
            }
            Err(error) => report.problems.push(error.to_string()),
        }
    }
    report.finish_tensors();
    describe(&mut report, &dir);
    // Nothing is missing: then whatever is wrong is for the strict reader to say.
    if report.problems.is_empty()
        && let Err(error) = SafetensorsDir::open(path)
    {
        report.problems.push(error.to_string());
    }
    Ok(report)
}

fn add_file(report: &mut Report, bytes: &[u8], file: &Path) {
    report.file_bytes += bytes.len() as u64;
    let header = match Header::parse(bytes, file) {
        Ok(header) => header,
        Err(error) => {
            report.header_cut = true;
            return report.problems.push(error.to_string());
        }
    };
    let data = bytes.len() as u64 - header.data_start;
    let (mut cut, mut missing) = (Vec::new(), 0u64);
    for tensor in &header.tensors {
        let elements = tensor.shape.iter().fold(1u64, |n, &d| n.saturating_mul(d));
        let size = tensor.end.saturating_sub(tensor.start);
        // In numbers of 16 or 32 bits it takes the same space, whether it is repacked or not.
        let loaded = loaded_bytes(tensor.block_type(), &tensor.shape, size);
        report.add_tensor(shorten(&tensor.dtype), elements, size, loaded);
        if names::to_gguf("", &tensor.name).as_deref() == Some("token_embd.weight") {
            report.shape.vocab = tensor.shape.first().copied();
        }
        if tensor.end > data {
            cut.push(tensor);
            missing = missing.saturating_add(tensor.end - data.clamp(tensor.start, tensor.end));
        }
    }
    if let Some(first) = cut.first() {
        report.problems.push(format!(
            "{}: {} of {} tensors lack data, the first `{}`; {missing} bytes are missing",
            file.display(),
            cut.len(),
            header.tensors.len(),
            shorten(&first.name)
        ));
    }
}

fn describe(report: &mut Report, dir: &Path) {
    fn noted<T>(report: &mut Report, result: Result<Option<T>, Error>) -> Option<T> {
        result.unwrap_or_else(|error| {
            report.problems.push(error.to_string());
            None
        })
    }
    match noted(report, read_json(&dir.join("config.json"))) {
        Some(config) => configure(report, &text_part(config)),
        None if !dir.join("config.json").exists() => {
            report.problems.push(format!("{} is missing", dir.join("config.json").display()));
        }
        None => {}
    }
    report.tokenizer = noted(report, tokenizer(&dir.join("tokenizer.json")));
    let tokenizer_config = noted(report, read_json(&dir.join("tokenizer_config.json")));
    let template = noted(report, chat_template(dir, tokenizer_config.as_ref()));
    report.chat_template = template.as_deref().map(Template::of);
}

fn configure(report: &mut Report, config: &Value) {
    let count = |key: &str| config.get(key).and_then(Value::as_u64);
    report.architecture = config.get("model_type").and_then(Value::as_str).map(shorten);
    let shape = &mut report.shape;
    shape.layers = count("num_hidden_layers");
    shape.width = count("hidden_size");
    shape.heads = count("num_attention_heads");
    shape.kv_heads = count("num_key_value_heads").or(shape.heads);
    shape.head_dim = count("head_dim").or_else(|| shape.width?.checked_div(shape.heads?));
    if let (Some(rank), Some(rotated)) = (count("kv_lora_rank"), count("qk_rope_head_dim")) {
        shape.have_latents_of(rank, rotated);
    }
    shape.ffn = count("intermediate_size");
    shape.vocab = shape.vocab.or_else(|| count("vocab_size"));
    report.context = count("max_position_embeddings");

    // Newer files keep everything about positions in `rope_parameters`.
    let scaling = ["rope_parameters", "rope_scaling"]
        .iter()
        .find_map(|key| config.get(key).filter(|value| value.is_object()));
    // Gemma 3's has one for each kind of layer.
    let scaling = scaling.map(|scaling| scaling.get("full_attention").unwrap_or(scaling));
    let setting = |key: &str| scaling.and_then(|scaling| scaling.get(key));
    report.rope.theta =
        config.get("rope_theta").or_else(|| setting("rope_theta")).and_then(Value::as_f64);
    report.rope.scaling = setting("rope_type")
        .or_else(|| setting("type"))
        .and_then(Value::as_str)
        .filter(|kind| *kind != "default")
        .map(shorten);
    report.rope.factor = setting("factor").and_then(Value::as_f64);
    report.rope.original_context =
        setting("original_max_position_embeddings").and_then(Value::as_u64);
}

/// Counts the vocabulary of a `tokenizer.json` without building it.
fn tokenizer(path: &Path) -> Result<Option<Tokenizer>, Error> {
    #[derive(Deserialize)]
    struct File {
        model: Model,
        #[serde(default)]
        added_tokens: Count,
    }
    #[derive(Deserialize)]
    struct Model {
        #[serde(rename = "type")]
        kind: Option<String>,
        #[serde(default)]
        vocab: Count,
    }
    if !path.exists() {
        return Ok(None);
    }
    let mapping = Mapping::open(path)?;
    let file: File =
        serde_json::from_slice(&mapping).map_err(|e| Error::malformed(path, "JSON", e))?;
    Ok(Some(Tokenizer {
        kind: shorten(&file.model.kind.unwrap_or_else(|| "unknown".to_owned())),
        pre: None,
        entries: file.model.vocab.0 + file.added_tokens.0,
    }))
}

/// The number of entries of an object or array.
#[derive(Default)]
struct Count(u64);

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Count, D::Error> {
        struct Counter;
        impl<'de> Visitor<'de> for Counter {
            type Value = Count;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object or an array")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Count, A::Error> {
                let mut count = 0;
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {
                    count += 1;
                }
                Ok(Count(count))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Count, A::Error> {
                let mut count = 0;
                while seq.next_element::<IgnoredAny>()?.is_some() {
                    count += 1;
                }
                Ok(Count(count))
            }
        }
        deserializer.deserialize_any(Counter)
    }
}
