//! The program in what a model wrote.

use super::Language;

/// A fenced block: what it says it is, and what is in it.
struct Block<'a> {
    label: &'a str,
    code: &'a str,
}

/// All fenced blocks; one that is never closed goes on to the end.
fn blocks(text: &str) -> Vec<Block<'_>> {
    let mut blocks = Vec::new();
    let mut rest = text;
    while let Some(at) = fence(rest) {
        let opened = rest[at..].trim_start_matches('`');
        let (label, body) = opened.split_once('\n').unwrap_or((opened, ""));
        let end = fence(body).unwrap_or(body.len());
        blocks.push(Block { label: label.trim(), code: &body[..end] });
        let closed = body[end..].trim_start_matches('`');
        // What stands behind the closing fence on its line is no label.
        rest = closed.split_once('\n').map_or("", |(_, rest)| rest);
    }
    blocks
}

/// Where a line begins with a fence, but for white space.
fn fence(text: &str) -> Option<usize> {
    let mut from = 0;
    while let Some(at) = text[from..].find("```").map(|at| at + from) {
        let line = text[..at].rfind('\n').map_or(0, |at| at + 1);
        if text[line..at].trim().is_empty() {
            return Some(at);
        }
        from = at + 3;
    }
    None
}

/// The program an answer gives: its last block in the language, else its last block that doesn't say
/// it is something else, else all of it.
pub(crate) fn program(answer: &str, language: Language) -> Option<String> {
    let labels: &[&str] = match language {
        Language::Python => &["python", "py", "python3"],
        Language::JavaScript => &["javascript", "js", "node"],
        Language::Rust => &["rust", "rs"],
        Language::Shell => &["sh", "bash", "shell"],
    };
    let blocks = blocks(answer);
    let labelled = |block: &&Block<'_>| labels.contains(&&*block.label.to_lowercase());
    let found = blocks
        .iter()
        .rev()
        .find(labelled)
        .or_else(|| blocks.iter().rev().find(|block| block.label.is_empty()));
    let code = match found {
        Some(block) => block.code,
        None if blocks.is_empty() => answer,
        None => return None,
    };
    (!code.trim().is_empty()).then(|| code.to_owned())
}

/// A Python program that defines `entry_point`, from an answer to `prompt`, which ends in the head of
/// that function: what stands above the function in the prompt, and the answer's own definition; or
/// the prompt and the body the answer goes on with.
pub(crate) fn function(answer: &str, prompt: &str, entry_point: &str) -> Option<String> {
    let head = format!("def {entry_point}(");
    let blocks = blocks(answer);
    let above = prompt.find(&head).map_or("", |at| &prompt[..at]);
    let defines = |code: &str| code.lines().any(|line| line.trim_start().starts_with(&head));
    if let Some(block) = blocks.iter().rev().find(|block| defines(block.code)) {
        return Some(format!("{above}\n{}", block.code));
    }
    if blocks.is_empty() && defines(answer) {
        let lines = answer.lines().skip_while(|line| {
            !["def ", "import ", "from ", "class ", "@"].iter().any(|word| line.starts_with(word))
        });
        return Some(format!("{above}\n{}", lines.collect::<Vec<_>>().join("\n")));
    }
    // A body alone: it has to be indented to be one.
    let body = blocks.last().map_or(answer, |block| block.code);
    let first = body.lines().find(|line| !line.trim().is_empty())?;
    let body = match first.starts_with([' ', '\t']) {
        true => body.to_owned(),
        false => body.lines().map(|line| format!("    {line}\n")).collect(),
    };
    Some(format!("{prompt}\n{body}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_found() {
        let python = |answer| program(answer, Language::Python);
        assert_eq!(python("```python\na = 1\n```").as_deref(), Some("a = 1\n"));
        let two = "First\n```python\nwrong\n```\nno:\n  ```py\nright\n  ```\n```\noutput\n```";
        assert_eq!(python(two).as_deref(), Some("right\n  "));
        assert_eq!(python("```\nx\n```").as_deref(), Some("x\n"));
        assert_eq!(python("```python\ncut off").as_deref(), Some("cut off"));
        assert_eq!(python("print(1)").as_deref(), Some("print(1)"));
        assert_eq!(python("```rust\nfn main() {}\n```"), None);
        assert_eq!(python("  \n"), None);
        assert_eq!(python("a `` b ``` c").as_deref(), Some("a `` b ``` c"));
    }

    const PROMPT: &str = "import math\n\ndef area(r):\n    \"\"\"Of a circle.\"\"\"\n";

    #[test]
    fn functions_are_put_together() {
        let function = |answer| function(answer, PROMPT, "area").unwrap();
        let whole = function("Here:\n```python\ndef area(r):\n    return math.pi*r*r\n```\nDone.");
        assert!(whole.starts_with("import math") && !whole.contains("Done"), "{whole}");
        assert_eq!(whole.matches("def area").count(), 1);
        let body = function("    return math.pi*r*r\n");
        assert!(body.contains("circle") && body.ends_with("    return math.pi*r*r\n"), "{body}");
        let shifted = function("```python\nreturn 3*r*r\n```");
        assert!(shifted.ends_with("    return 3*r*r\n"), "{shifted}");
        let plain = function("Sure!\ndef area(r):\n    return 3");
        assert!(!plain.contains("Sure"), "{plain}");
    }
}
