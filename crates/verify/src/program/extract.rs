//! The program in what a model wrote.

use super::Language;

/// A fenced block: its tag, and its lines.
struct Block<'a> {
    tag: &'a str,
    code: String,
}

impl Language {
    fn tags(self) -> &'static [&'static str] {
        match self {
            Self::Python => &["python", "py", "python3"],
            Self::JavaScript => &["javascript", "js", "node"],
            Self::Rust => &["rust", "rs"],
            Self::Shell => &["bash", "sh", "shell", "zsh", "console"],
        }
    }
}

/// A whole program in the language: the last block tagged so, else the last block without a tag,
/// else everything, if there are no fences at all.
pub(crate) fn whole(answer: &str, language: Language) -> Option<String> {
    let blocks = blocks(answer);
    if blocks.is_empty() {
        return (!answer.trim().is_empty()).then(|| answer.to_owned());
    }
    let tagged = |block: &&Block<'_>| is_tagged(block, language);
    let chosen = blocks.iter().rev().find(tagged);
    chosen.or_else(|| blocks.iter().rev().find(|b| b.tag.is_empty())).map(|b| b.code.clone())
}

/// Python that defines `name`: a block that does, the last one if there are several; else the
/// answer itself if it does; else the answer as the continuation of `prompt`, which ends inside the
/// function. What the prompt has before the function, as its imports, is put in front.
pub(crate) fn function(answer: &str, prompt: &str, name: &str) -> Option<String> {
    let head = head(prompt, name);
    let with_head =
        |code: &str| if head.is_empty() { code.to_owned() } else { format!("{head}\n{code}") };
    let blocks: Vec<_> = blocks(answer)
        .into_iter()
        .filter(|b| b.tag.is_empty() || is_tagged(b, Language::Python))
        .collect();
    if let Some(block) = blocks.iter().rev().find(|b| definition(&b.code, name).is_some()) {
        return Some(with_head(&dedent(&block.code)));
    }
    // A model that only fills in the body may fence that.
    if let Some(block) = blocks.iter().rev().find(|b| !b.code.trim().is_empty()) {
        let first = block.code.lines().find(|line| !line.trim().is_empty());
        return Some(if prompt.is_empty() || first.is_some_and(is_top_level) {
            with_head(&block.code)
        } else {
            continuation(prompt, &block.code)
        });
    }
    if definition(answer, name).is_some() {
        return Some(with_head(&unfenced(answer)));
    }
    let first = answer.lines().find(|line| !line.trim().is_empty())?;
    (!prompt.is_empty() && (first.starts_with([' ', '\t']) || is_statement(first)))
        .then(|| continuation(prompt, answer))
}

fn is_tagged(block: &Block<'_>, language: Language) -> bool {
    language.tags().iter().any(|tag| block.tag.eq_ignore_ascii_case(tag))
}

/// The fenced blocks, the last of them without its end if the answer was cut off. A fence ends with
/// at least as many of the marks it began with.
fn blocks(answer: &str) -> Vec<Block<'_>> {
    let mut blocks = Vec::new();
    let mut open: Option<(&str, Block<'_>)> = None;
    for line in answer.lines() {
        let trimmed = line.trim();
        match &mut open {
            Some((fence, _))
                if trimmed.starts_with(*fence) && trimmed.chars().all(|c| fence.starts_with(c)) =>
            {
                blocks.extend(open.take().map(|(_, block)| block));
            }
            Some((_, block)) => {
                block.code.push_str(line);
                block.code.push('\n');
            }
            None => {
                let mark = if trimmed.starts_with("~~~") { '~' } else { '`' };
                let length = trimmed.len() - trimmed.trim_start_matches(mark).len();
                let rest = &trimmed[length..];
                if length >= 3 && !rest.contains('`') {
                    let tag = rest.split_whitespace().next().unwrap_or_default();
                    let tag = tag.trim_matches(['{', '}', '.']);
                    open = Some((&trimmed[..length], Block { tag, code: String::new() }));
                }
            }
        }
    }
    blocks.extend(open.map(|(_, block)| block));
    blocks
}

/// The line that defines the name.
fn definition(code: &str, name: &str) -> Option<usize> {
    code.lines().position(|line| {
        let line = line.trim_start();
        let rest = ["def ", "async def ", "class "].iter().find_map(|word| line.strip_prefix(word));
        let after = rest.and_then(|rest| rest.trim_start().strip_prefix(name));
        after.is_some_and(|after| !after.starts_with(|c: char| c.is_alphanumeric() || c == '_'))
            // `name = lambda` and the like.
            || line.strip_prefix(name).is_some_and(|rest| {
                rest.trim_start().strip_prefix('=').is_some_and(|rest| !rest.starts_with('='))
            })
    })
}

/// What the prompt has before the function.
fn head(prompt: &str, name: &str) -> String {
    let line = definition(prompt, name).unwrap_or(0);
    prompt.lines().take(line).collect::<Vec<_>>().join("\n")
}

/// Takes off the indentation that all of a block has, as one inside a list.
fn dedent(code: &str) -> String {
    let full = |line: &&str| !line.trim().is_empty();
    let margin = |line: &str| line.len() - line.trim_start_matches([' ', '\t']).len();
    let least = code.lines().filter(full).map(margin).min().unwrap_or(0);
    code.lines().map(|line| line.get(least..).unwrap_or("")).collect::<Vec<_>>().join("\n")
}

/// The prompt, going on with the text until that returns to prose.
fn continuation(prompt: &str, text: &str) -> String {
    let mut lines = text.lines().skip_while(|line| line.trim().is_empty());
    let first = lines.next().unwrap_or_default();
    let rest: Vec<&str> = lines.collect();
    // The space that begins the first line is often lost with the end of the prompt; some leave it
    // out in every line.
    let indented = |line: &str| line.starts_with([' ', '\t']);
    let all_flat = !indented(first) && !rest.iter().any(|line| indented(line));
    let first = if indented(first) { first.to_owned() } else { format!("    {first}") };
    let mut code = first;
    let mut quotes = count_quotes(&code);
    for line in rest {
        let flat = !indented(line) && !line.trim().is_empty() && quotes.is_multiple_of(2);
        let body = flat && !is_top_level(line);
        if body && !(all_flat && is_statement(line)) {
            break;
        }
        code.push('\n');
        if body {
            code.push_str("    ");
        }
        code.push_str(line);
        quotes += count_quotes(line);
    }
    let gap = if prompt.ends_with('\n') { "" } else { "\n" };
    format!("{prompt}{gap}{code}\n")
}

/// Code that stands among prose without fences: from its first line until it turns into prose.
fn unfenced(text: &str) -> String {
    let mut lines = text.lines().skip_while(|line| !is_top_level(line));
    let mut code = Vec::new();
    let mut quotes = 0_usize;
    for line in lines.by_ref() {
        let flat = !line.starts_with([' ', '\t']) && !line.trim().is_empty();
        if flat && quotes.is_multiple_of(2) && !is_top_level(line) && !is_statement(line) {
            break;
        }
        quotes += count_quotes(line);
        code.push(line);
    }
    code.join("\n")
}

fn count_quotes(line: &str) -> usize {
    line.matches("\"\"\"").count() + line.matches("'''").count()
}

/// Whether a line without indentation begins or goes on with a definition.
fn is_top_level(line: &str) -> bool {
    ["def ", "async def ", "class ", "import ", "@", "#", ")", "]", "}"]
        .iter()
        .any(|w| line.starts_with(w))
        || (line.starts_with("from ") && line.contains(" import "))
}

/// Whether a line can be one of Python's statements, rather than a sentence.
fn is_statement(line: &str) -> bool {
    let keywords = [
        "return", "for ", "while ", "if ", "else:", "elif ", "try:", "with ", "raise ", "assert ",
        "pass", "print(",
    ];
    let target = |text: &str| {
        text.chars().all(|c| c.is_alphanumeric() || "_,.[]()' \t+-*/%\"".contains(c))
            && !text.trim().contains(' ') | text.contains(',')
    };
    keywords.iter().any(|word| line.starts_with(word)) && !line.trim_end().ends_with('.')
        || line.split_once('=').is_some_and(|(left, right)| target(left) && !right.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROMPT: &str = "import math\n\ndef area(r):\n    \"\"\"Area.\n    \"\"\"\n";

    #[test]
    fn answers_of_all_kinds_become_programs() {
        let full = "import math\n\ndef area(r):\n    return math.pi * r * r";
        let cases = [
            // The last of two blocks that define it; the first of the others is an example.
            (
                "Try:\n```python\ndef area(r):\n    return 1\n```\nBetter:\n```python\ndef area(r):\n    return math.pi * r * r\n```\nUse it:\n```python\nprint(area(2))\n```",
                full,
            ),
            ("```\ndef area(r):\n    return math.pi * r * r\n```", full),
            // Cut off before the fence ended.
            ("Sure!\n```py\ndef area(r):\n    return math.pi * r * r", full),
            ("~~~python\ndef area(r):\n    return math.pi * r * r\n~~~", full),
            // Inside a list.
            ("1. So:\n   ```python\n   def area(r):\n       return math.pi * r * r\n   ```", full),
            ("def area(r):\n    return math.pi * r * r\n\nThis is the area.", full),
            ("Here it is:\n\ndef area(r):\n    return math.pi * r * r", full),
        ];
        for (answer, expected) in cases {
            let found = function(answer, PROMPT, "area").unwrap();
            assert_eq!(found.trim_end(), expected, "{answer}");
        }
        let continued = format!("{PROMPT}    return math.pi * r * r\n");
        let cases = [
            "    return math.pi * r * r\n",
            "return math.pi * r * r",
            "return math.pi * r * r\nThat is all.",
            "\n    return math.pi * r * r\nThat is all.\n",
            "```python\n    return math.pi * r * r\n```",
        ];
        for answer in cases {
            assert_eq!(function(answer, PROMPT, "area").unwrap(), continued, "{answer}");
        }
        let two = function("    x = r\n    return x\n\ndef helper():\n    pass\n", PROMPT, "area")
            .unwrap();
        assert!(two.ends_with("return x\n\ndef helper():\n    pass\n"), "{two}");
        for nothing in ["", "I can't do that.", "The area of a circle is well known."] {
            assert_eq!(function(nothing, PROMPT, "area"), None, "{nothing}");
        }
    }

    #[test]
    fn a_name_is_not_found_in_a_longer_one() {
        assert_eq!(definition("def area_of(r): pass", "area"), None);
        assert_eq!(definition("x = 1\nasync def area (r): pass", "area"), Some(1));
        assert_eq!(definition("area = lambda r: r", "area"), Some(0));
        assert_eq!(definition("area == 3", "area"), None);
    }

    #[test]
    fn whole_programs_prefer_their_own_tag() {
        let answer = "```bash\nnode x.js\n```\n```js\nconsole.log(1)\n```\n```text\n1\n```";
        assert_eq!(whole(answer, Language::JavaScript).unwrap(), "console.log(1)\n");
        assert_eq!(whole(answer, Language::Rust), None);
        assert_eq!(whole("print(1)", Language::Python).unwrap(), "print(1)");
        assert_eq!(whole(" \n", Language::Python), None);
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_looked_through(answer in "(```|~~~|python|def f|\n| |x=1|é|\"\"\"|[a-z.])*") {
            let _ = function(&answer, PROMPT, "area");
            let _ = function(&answer, "", "f");
            let _ = whole(&answer, Language::Python);
        }
    }
}
