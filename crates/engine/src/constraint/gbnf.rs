//! llama.cpp's grammars, rewritten in the dialect of Lark that `llguidance` reads.
//!
//! Both are context-free grammars with regular expressions for leaves. A GBNF rule ends with its
//! line, unless a parenthesis is open or the line ends with `|` or `::=`; rules may be used before
//! they are defined; `root` is where texts begin.

use std::fmt::Write;

/// Rewrites a grammar.
///
/// # Errors
/// Where the grammar can't be understood, with the line.
pub(crate) fn to_lark(gbnf: &str) -> Result<String, String> {
    let mut parser = Parser { rest: gbnf, line: 1, lark: String::new() };
    let mut rules = 0;
    parser.space(true);
    while !parser.rest.is_empty() {
        parser.rule().map_err(|problem| format!("line {}: {problem}", parser.line))?;
        parser.space(true);
        rules += 1;
    }
    match rules {
        0 => Err("there are no rules".to_owned()),
        _ => Ok(parser.lark),
    }
}

struct Parser<'g> {
    rest: &'g str,
    line: usize,
    lark: String,
}

/// Lark tells rules from terminals by their case, and reserves some names.
fn rule_name(name: &str) -> String {
    match name {
        "root" => "start".to_owned(),
        _ => format!("r_{}", name.to_lowercase().replace('-', "_")),
    }
}

impl<'g> Parser<'g> {
    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    fn bump(&mut self) -> Option<char> {
        let letter = self.peek()?;
        self.rest = &self.rest[letter.len_utf8()..];
        self.line += usize::from(letter == '\n');
        Some(letter)
    }

    fn eat(&mut self, text: &str) -> bool {
        let found = self.rest.starts_with(text);
        if found {
            self.rest = &self.rest[text.len()..];
        }
        found
    }

    /// Skips white space and comments; line ends only if they mean nothing here.
    fn space(&mut self, line_ends: bool) {
        while let Some(letter) = self.peek() {
            if letter == '#' {
                let end = self.rest.find('\n').unwrap_or(self.rest.len());
                self.rest = &self.rest[end..];
            } else if matches!(letter, ' ' | '\t') || (line_ends && matches!(letter, '\n' | '\r')) {
                self.bump();
            } else {
                return;
            }
        }
    }

    fn name(&mut self) -> Option<&'g str> {
        let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        let end = self.rest.find(|c| !is_part(c)).unwrap_or(self.rest.len());
        let (name, rest) = self.rest.split_at(end);
        self.rest = rest;
        (!name.is_empty()).then_some(name)
    }

    fn rule(&mut self) -> Result<(), String> {
        let name =
            self.name().ok_or_else(|| format!("a rule's name was expected {}", self.here()))?;
        self.space(false);
        if !self.eat("::=") {
            return Err(format!("`::=` was expected after `{name}` {}", self.here()));
        }
        self.space(true);
        let _ = write!(self.lark, "{}: ", rule_name(name));
        self.alternatives(0)?;
        self.lark.push('\n');
        match self.peek() {
            None | Some('\n' | '\r') => Ok(()),
            Some(_) => Err(format!("the rule `{name}` can't go on like this {}", self.here())),
        }
    }

    fn here(&self) -> String {
        let some: String = self.rest.chars().take_while(|c| *c != '\n').take(20).collect();
        if some.is_empty() { "at the end".to_owned() } else { format!("at `{some}`") }
    }

    fn alternatives(&mut self, depth: usize) -> Result<(), String> {
        if depth > 100 {
            return Err("parentheses are nested more than 100 deep".to_owned());
        }
        loop {
            let mut items = 0;
            while self.item(depth)? {
                items += 1;
                self.space(depth > 0);
            }
            if items == 0 {
                self.lark.push_str("\"\" ");
            }
            if !self.eat("|") {
                return Ok(());
            }
            self.lark.push_str("| ");
            self.space(true);
        }
    }

    /// One item with its repetition, if there is one.
    fn item(&mut self, depth: usize) -> Result<bool, String> {
        match self.peek() {
            Some('"') => {
                let text = self.literal()?;
                let _ = write!(self.lark, "{}", serde_json::Value::from(text));
            }
            Some('[') => {
                let class = self.class()?;
                let _ = write!(self.lark, "/{class}/");
            }
            Some('.') => {
                self.bump();
                self.lark.push_str("/(.|\\n)/");
            }
            Some('(') => {
                self.bump();
                self.space(true);
                self.lark.push('(');
                self.alternatives(depth + 1)?;
                if !self.eat(")") {
                    return Err(format!("`)` was expected {}", self.here()));
                }
                self.lark.push(')');
            }
            Some(c) if c.is_ascii_alphanumeric() || c == '_' => {
                let name = self.name().unwrap_or_default();
                self.lark.push_str(&rule_name(name));
            }
            _ => return Ok(false),
        }
        self.space(depth > 0);
        match self.peek() {
            Some(c @ ('*' | '+' | '?')) => {
                self.bump();
                self.lark.push(c);
            }
            Some('{') => {
                let end = self.rest.find('}').ok_or("`}` is missing")?;
                let (times, rest) = self.rest.split_at(end + 1);
                let valid = |c: char| c.is_ascii_digit() || matches!(c, '{' | '}' | ',' | ' ');
                if !times.chars().all(valid) {
                    return Err(format!("`{times}` is no repetition"));
                }
                self.rest = rest;
                self.lark.extend(times.chars().filter(|c| *c != ' '));
            }
            _ => {}
        }
        self.lark.push(' ');
        Ok(true)
    }

    fn escape(&mut self) -> Result<char, String> {
        let digits = match self.bump() {
            Some('n') => return Ok('\n'),
            Some('r') => return Ok('\r'),
            Some('t') => return Ok('\t'),
            Some('x') => 2,
            Some('u') => 4,
            Some('U') => 8,
            Some(c) => return Ok(c),
            None => return Err("the text ends within an escape".to_owned()),
        };
        let code = self.rest.get(..digits).and_then(|hex| u32::from_str_radix(hex, 16).ok());
        let letter = code.and_then(char::from_u32);
        let letter =
            letter.ok_or_else(|| format!("an escape needs {digits} hexadecimal digits"))?;
        self.rest = &self.rest[digits..];
        Ok(letter)
    }

    fn literal(&mut self) -> Result<String, String> {
        self.bump();
        let mut text = String::new();
        loop {
            match self.bump() {
                Some('"') => return Ok(text),
                Some('\\') => text.push(self.escape()?),
                Some('\n') | None => return Err("a text in quotes is not closed".to_owned()),
                Some(letter) => text.push(letter),
            }
        }
    }

    /// A class of characters, as a regular expression.
    fn class(&mut self) -> Result<String, String> {
        self.bump();
        let mut class = String::from("[");
        if self.eat("^") {
            class.push('^');
        }
        loop {
            let letter = match self.bump() {
                Some(']') => break,
                Some('-') if !matches!(self.peek(), Some(']')) && class.len() > 1 => {
                    class.push('-');
                    continue;
                }
                Some('\\') => self.escape()?,
                Some('\n') | None => return Err("a class of characters is not closed".to_owned()),
                Some(letter) => letter,
            };
            let _ = write!(class, "\\x{{{:x}}}", u32::from(letter));
        }
        if class.len() < 3 {
            return Err("a class of characters is empty".to_owned());
        }
        class.push(']');
        Ok(class)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_rewritten() {
        let gbnf = "# a list\nroot ::= \"- \" item-1 (\",\" item-1)* | [^\\n\"/]{2,3}\n\
                    item-1 ::= [a-z0-9_-]+ |\n  \"\\x41\\\"\" .?\n";
        let lark = to_lark(gbnf).unwrap();
        assert_eq!(
            lark,
            "start: \"- \" r_item_1 (\",\" r_item_1 )* | /[^\\x{a}\\x{22}\\x{2f}]/{2,3} \n\
             r_item_1: /[\\x{61}-\\x{7a}\\x{30}-\\x{39}\\x{5f}\\x{2d}]/+ | \"A\\\"\" /(.|\\n)/? \n"
        );
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        for (gbnf, part) in [
            ("", "no rules"),
            ("root = \"a\"", "`::=` was expected"),
            ("root ::= \"a", "not closed"),
            ("root ::= \"a\"\nx ::= (\"b\"", "line 2: `)` was expected"),
            ("root ::= [", "not closed"),
            ("root ::= []", "empty"),
            ("root ::= a{x}", "no repetition"),
            ("root ::= \"a\" ) b", "can't go on"),
            (&format!("root ::= {}", "(".repeat(1000)), "nested"),
            ("root ::= \"\\xZZ\"", "hexadecimal"),
        ] {
            let error = to_lark(gbnf).unwrap_err();
            assert!(error.contains(part), "{gbnf}: {error}");
        }
    }
}
