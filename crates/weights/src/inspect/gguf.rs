//! Filling a report from a GGUF file.

use std::path::Path;

use super::{Report, Template, Tokenizer};
use crate::Error;
use crate::gguf::{Metadata, Partial};
use crate::tensor::loaded_bytes;

pub(super) fn report(path: &Path) -> Result<Report, Error> {
    let partial = Partial::open(path)?;
    let mut report = Report {
        format: format!("GGUF {}", partial.header.version),
        files: partial.parts,
        file_bytes: partial.file_bytes,
        header_cut: partial.header_cut,
        ..Report::default()
    };
    let apart = partial.tensors.iter().any(|t| t.name == "output.weight");
    for tensor in &partial.tensors {
        let stays = apart && tensor.name == "token_embd.weight";
        let ty = tensor.block_type().filter(|_| !stays);
        let loaded = loaded_bytes(ty, &tensor.shape, tensor.bytes);
        report.add_tensor(tensor.type_name(), tensor.elements(), tensor.bytes, loaded);
    }
    report.finish_tensors();
    let vocab = partial.tensors.iter().find(|t| t.name == "token_embd.weight");
    report.shape.vocab = vocab.and_then(|t| t.shape.first().copied());
    let mut problems = describe(&mut report, partial.metadata());
    report.problems = partial.problems;
    report.problems.append(&mut problems);
    Ok(report)
}

/// Takes what the metadata says into the report; returns what of it could not be understood.
fn describe(report: &mut Report, metadata: &Metadata) -> Vec<String> {
    let mut read = Reader { metadata, problems: Vec::new() };
    report.name = read.text("general.name");
    report.architecture = read.text("general.architecture");
    if let Some(arch) = report.architecture.clone() {
        let key = |name: &str| format!("{arch}.{name}");
        let shape = &mut report.shape;
        shape.layers = read.count(&key("block_count"));
        shape.width = read.count(&key("embedding_length"));
        shape.heads = read.count(&key("attention.head_count"));
        shape.kv_heads = read.count(&key("attention.head_count_kv")).or(shape.heads);
        shape.head_dim = read
            .count(&key("attention.key_length"))
            .or_else(|| shape.width?.checked_div(shape.heads?));
        if let Some(rank) = read.count(&key("attention.kv_lora_rank")) {
            let rotated = read.count(&key("rope.dimension_count")).unwrap_or(0);
            shape.have_latents_of(rank, rotated);
        }
        shape.ffn = read.count(&key("feed_forward_length"));
        shape.vocab = shape.vocab.or_else(|| read.count(&key("vocab_size")));
        report.context = read.count(&key("context_length"));
        report.rope.theta = read.float(&key("rope.freq_base"));
        report.rope.scaling = read.text(&key("rope.scaling.type")).filter(|kind| kind != "none");
        report.rope.factor = read.float(&key("rope.scaling.factor"));
        report.rope.original_context = read.count(&key("rope.scaling.original_context_length"));
    }
    if let Some(kind) = read.text("tokenizer.ggml.model") {
        let tokens = read.take(metadata.str_array("tokenizer.ggml.tokens"));
        let entries = tokens.map_or(0, |tokens| tokens.len() as u64);
        let pre = read.text("tokenizer.ggml.pre");
        report.tokenizer = Some(Tokenizer { kind, pre, entries });
    }
    let template = read.take(metadata.str("tokenizer.chat_template"));
    report.chat_template = template.map(Template::of);
    read.problems
}

/// Reads keys, noting those that hold something unexpected instead of stopping there.
struct Reader<'a> {
    metadata: &'a Metadata,
    problems: Vec<String>,
}

impl Reader<'_> {
    fn take<T>(&mut self, value: Result<Option<T>, Error>) -> Option<T> {
        value.unwrap_or_else(|error| {
            self.problems.push(error.to_string());
            None
        })
    }

    fn text(&mut self, key: &str) -> Option<String> {
        let text = self.take(self.metadata.str(key));
        text.map(crate::tensor::shorten)
    }

    fn float(&mut self, key: &str) -> Option<f64> {
        self.take(self.metadata.f32(key)).map(f64::from)
    }

    /// A number, or where there is one for each layer the largest of them.
    fn count(&mut self, key: &str) -> Option<u64> {
        if let Ok(Some(each)) = self.metadata.u32_array(key) {
            return each.iter().max().map(|&n| n.into());
        }
        self.take(self.metadata.u64(key))
    }
}
