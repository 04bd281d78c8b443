//! The report as aligned plain text.

use std::fmt;

use super::{Memory, Report, Template, Thinking, TypeUse};

/// Width of the column of labels.
const LABEL: usize = 15;

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n", self.path.display())?;
        line(f, "format", &self.format_line())?;
        let unknown = || "unknown".to_owned();
        line(f, "architecture", &self.architecture.clone().unwrap_or_else(unknown))?;
        if let Some(name) = &self.name {
            line(f, "name", name)?;
        }
        let parameters = format!(
            "{}{} in {} tensors, {:.2} bits per weight",
            if self.header_cut { "at least " } else { "" },
            grouped(self.parameters),
            self.tensors,
            self.bits_per_weight
        );
        line(f, "parameters", &parameters)?;
        line(f, "shape", &self.shape_line())?;
        let context = self.context.map_or_else(unknown, |c| format!("{} tokens", grouped(c)));
        line(f, "context", &context)?;
        line(f, "rope", &self.rope_line())?;
        line(f, "tokenizer", &self.tokenizer_line())?;
        match &self.chat_template {
            None => line(f, "chat template", "none")?,
            Some(template) => write_template(f, template)?,
        }
        if !self.types.is_empty() {
            write_types(f, &self.types)?;
        }
        if !self.memory.is_empty() {
            write_memory(f, &self.memory)?;
        }
        if !self.problems.is_empty() {
            writeln!(f, "\nmissing or wrong")?;
            for problem in &self.problems {
                writeln!(f, "  {problem}")?;
            }
        }
        Ok(())
    }
}

impl Report {
    fn format_line(&self) -> String {
        let files = match self.files {
            1 => String::new(),
            n => format!(" in {n} files"),
        };
        format!("{}{files}, {} ({} bytes)", self.format, size(self.file_bytes), self.file_bytes)
    }

    fn shape_line(&self) -> String {
        let s = &self.shape;
        let n = |value: Option<u64>| value.map_or_else(|| "?".to_owned(), |v| v.to_string());
        let kv = match s.latent {
            Some(latent) => format!("latents of {latent}"),
            None => format!("{} KV heads of {}", n(s.kv_heads), n(s.head_dim)),
        };
        format!(
            "{} layers, width {}, {} heads and {kv}, FFN {}, vocabulary {}",
            n(s.layers),
            n(s.width),
            n(s.heads),
            n(s.ffn),
            n(s.vocab)
        )
    }

    fn rope_line(&self) -> String {
        let rope = &self.rope;
        let mut text = match rope.theta {
            Some(theta) => format!("base {theta}"),
            None => "base not given".to_owned(),
        };
        text.push_str(", ");
        match &rope.scaling {
            None => text.push_str("no scaling"),
            Some(kind) => {
                text.push_str(kind);
                if let Some(factor) = rope.factor {
                    text.push_str(&format!(" by {factor}"));
                }
                if let Some(original) = rope.original_context {
                    text.push_str(&format!(" over {original}"));
                }
            }
        }
        text
    }

    fn tokenizer_line(&self) -> String {
        match &self.tokenizer {
            None => "none".to_owned(),
            Some(t) => {
                let pre = t.pre.as_ref().map(|pre| format!(" ({pre})")).unwrap_or_default();
                format!("{}{pre}, {} tokens", t.kind, grouped(t.entries))
            }
        }
    }
}

fn line(f: &mut fmt::Formatter<'_>, label: &str, text: &str) -> fmt::Result {
    writeln!(f, "{label:<LABEL$}{text}")
}

fn write_template(f: &mut fmt::Formatter<'_>, template: &Template) -> fmt::Result {
    let thinking = match template.thinking {
        Thinking::Opened => "opens <think>",
        Thinking::Known => "knows <think>, leaves it to the model to open",
        Thinking::Unknown => "knows nothing of <think>",
    };
    let Template { bytes, lines, .. } = template;
    let lines = if *lines == 1 { "1 line".to_owned() } else { format!("{lines} lines") };
    line(f, "chat template", &format!("{bytes} bytes, {lines}, {thinking}"))?;
    template.head.iter().try_for_each(|head| line(f, "", &format!("| {head}")))
}

fn write_types(f: &mut fmt::Formatter<'_>, types: &[TypeUse]) -> fmt::Result {
    writeln!(f, "\n{:<LABEL$}{:>8}{:>18}{:>12}", "type", "tensors", "parameters", "size")?;
    for t in types {
        let TypeUse { ty, tensors, parameters, bytes } = t;
        let (parameters, bytes) = (grouped(*parameters), size(*bytes));
        writeln!(f, "{ty:<LABEL$}{tensors:>8}{parameters:>18}{bytes:>12}")?;
    }
    Ok(())
}

fn write_memory(f: &mut fmt::Formatter<'_>, memory: &[Memory]) -> fmt::Result {
    let head = ["weights", "KV (f16)", "work space", "in all"];
    writeln!(
        f,
        "\n{:<LABEL$}{:>12}{:>12}{:>12}{:>12}",
        "memory at", head[0], head[1], head[2], head[3]
    )?;
    for m in memory {
        writeln!(
            f,
            "{:<LABEL$}{:>12}{:>12}{:>12}{:>12}",
            grouped(m.context),
            size(m.weights),
            size(m.kv_cache),
            size(m.work),
            size(m.total())
        )?;
    }
    Ok(())
}

/// Digits in groups of three.
fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Bytes in the decimal unit that leaves one to three digits before the point.
fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["kB", "MB", "GB", "TB", "PB", "EB"];
    if bytes < 1000 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1000.0;
    let mut unit = 0;
    // 999.95 would round up to four digits.
    while value >= 999.95 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_readable() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(494032768), "494,032,768");
        assert_eq!(size(999), "999 B");
        assert_eq!(size(999_960), "1.0 MB");
        assert_eq!(size(491_400_064), "491.4 MB");
        assert_eq!(size(u64::MAX), "18.4 EB");
    }
}
