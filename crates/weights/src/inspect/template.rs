//! What can be told from a chat template's text without rendering it.

use serde::Serialize;

/// A chat template in brief.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Template {
    /// Its length.
    pub bytes: usize,
    /// Its number of lines.
    pub lines: usize,
    /// Its first lines.
    pub head: Vec<String>,
    /// What it does about thinking.
    pub thinking: Thinking,
}

/// What a template does about `<think>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Thinking {
    /// The prompt ends with an open `<think>`: the model starts thinking at once.
    Opened,
    /// The tags are known (to drop earlier thinking, say), but the model opens them itself.
    Known,
    /// There is no such tag.
    Unknown,
}

const HEAD_LINES: usize = 3;
const HEAD_WIDTH: usize = 72;

impl Template {
    pub(super) fn of(text: &str) -> Template {
        let head = text
            .lines()
            .filter(|line| !line.trim().is_empty())
            .take(HEAD_LINES)
            .map(|line| {
                let mut short: String = line
                    .chars()
                    .take(HEAD_WIDTH)
                    .map(|c| if c.is_control() { ' ' } else { c })
                    .collect();
                if line.chars().nth(HEAD_WIDTH).is_some() {
                    short.push('…');
                }
                short
            })
            .collect();
        Template { bytes: text.len(), lines: text.lines().count(), head, thinking: thinking(text) }
    }
}

/// A template opens the tag where, after the last mention of `add_generation_prompt`, a
/// `<think>` stands that is not closed again at once (which is how thinking is switched *off*).
fn thinking(text: &str) -> Thinking {
    let prompt = text.rfind("add_generation_prompt").map_or("", |at| &text[at..]);
    let opened = prompt.split("<think>").skip(1).any(|after| {
        let after = after.trim_start_matches(|c: char| c.is_whitespace());
        // Newlines mostly stand in string literals, as a backslash and an n.
        let mut rest = after;
        while let Some(next) = rest.strip_prefix("\\n") {
            rest = next;
        }
        !rest.starts_with("</think>")
    });
    if opened {
        Thinking::Opened
    } else if text.contains("<think>") || text.contains("</think>") {
        Thinking::Known
    } else {
        Thinking::Unknown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thinking_is_told_from_the_generation_prompt() {
        let qwq = r"{{- x.split('</think>') }}{%- if add_generation_prompt %}
            {{- '<|im_start|>assistant\n<think>\n' }}{%- endif %}";
        let qwen3 = r"{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}
            {%- if enable_thinking is false %}{{- '<think>\n\n</think>\n\n' }}{%- endif %}";
        let older = r"{% if '</think>' in content %}{% endif %}{% if add_generation_prompt %}";
        let plain = r"{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";
        assert_eq!(thinking(qwq), Thinking::Opened);
        assert_eq!(thinking(qwen3), Thinking::Known);
        assert_eq!(thinking(older), Thinking::Known);
        assert_eq!(thinking(plain), Thinking::Unknown);
    }

    #[test]
    fn the_head_is_short_and_free_of_control_characters() {
        let text = format!("\n\x1b[31mred\n{}\nthree\nfour", "x".repeat(500));
        let template = Template::of(&text);
        assert_eq!(template.head[0], " [31mred");
        assert_eq!(template.head[1].chars().count(), HEAD_WIDTH + 1);
        assert_eq!((template.head.len(), template.lines), (3, 5));
    }
}
