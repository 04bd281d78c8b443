//! Whether a text is JSON as Python's `json.loads` takes it: `NaN`, `Infinity`, lone surrogates and
//! numbers of any size included. Nothing is built and nothing recurses, so depth and size cost
//! nothing.

/// Python refuses to read an integer with more digits than this.
const MAX_DIGITS: usize = 4300;
/// Python gives up on deeper nesting.
const MAX_DEPTH: usize = 900;

/// Whether all of `text` is one JSON value.
pub fn is_json(text: &str) -> bool {
    let mut cursor = Cursor { rest: text.as_bytes() };
    cursor.document().is_some() && cursor.rest.is_empty()
}

struct Cursor<'a> {
    rest: &'a [u8],
}

impl Cursor<'_> {
    fn document(&mut self) -> Option<()> {
        let mut open: Vec<u8> = Vec::new();
        'value: loop {
            self.space();
            if self.take(b"{") {
                self.space();
                if !self.take(b"}") {
                    open.push(b'}');
                    self.key()?;
                    if open.len() > MAX_DEPTH {
                        return None;
                    }
                    continue;
                }
            } else if self.take(b"[") {
                self.space();
                if !self.take(b"]") {
                    open.push(b']');
                    if open.len() > MAX_DEPTH {
                        return None;
                    }
                    continue;
                }
            } else {
                self.scalar()?;
            }
            // A value is complete: what it stands in goes on or ends.
            loop {
                self.space();
                let Some(&end) = open.last() else { return Some(()) };
                if self.take(b",") {
                    if end == b'}' {
                        self.space();
                        self.key()?;
                    }
                    continue 'value;
                }
                if !self.take(&[end]) {
                    return None;
                }
                open.pop();
            }
        }
    }

    fn key(&mut self) -> Option<()> {
        self.string()?;
        self.space();
        self.take(b":").then_some(())
    }

    fn scalar(&mut self) -> Option<()> {
        let words: [&[u8]; 6] = [b"true", b"false", b"null", b"NaN", b"Infinity", b"-Infinity"];
        if words.iter().any(|word| self.take(word)) {
            return Some(());
        }
        if self.rest.first() == Some(&b'"') { self.string() } else { self.number() }
    }

    fn string(&mut self) -> Option<()> {
        self.take(b"\"").then_some(())?;
        loop {
            let (&first, rest) = self.rest.split_first()?;
            self.rest = rest;
            match first {
                b'"' => return Some(()),
                b'\\' => {
                    let (&escaped, rest) = self.rest.split_first()?;
                    self.rest = rest;
                    match escaped {
                        b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => {}
                        b'u' => {
                            let hex = self.rest.get(..4)?;
                            hex.iter().all(u8::is_ascii_hexdigit).then_some(())?;
                            self.rest = &self.rest[4..];
                        }
                        _ => return None,
                    }
                }
                0..0x20 => return None,
                _ => {}
            }
        }
    }

    fn number(&mut self) -> Option<()> {
        self.take(b"-");
        let whole = if self.take(b"0") { 1 } else { self.digits() };
        let mut integer = true;
        if whole == 0 {
            return None;
        }
        // A point or an exponent without digits ends the number before it.
        if self.rest.first() == Some(&b'.') && self.rest.get(1).is_some_and(u8::is_ascii_digit) {
            self.rest = &self.rest[1..];
            self.digits();
            integer = false;
        }
        if matches!(self.rest.first(), Some(b'e' | b'E')) {
            let signed = usize::from(matches!(self.rest.get(1), Some(b'+' | b'-')));
            if self.rest.get(1 + signed).is_some_and(u8::is_ascii_digit) {
                self.rest = &self.rest[1 + signed..];
                self.digits();
                integer = false;
            }
        }
        (!integer || whole <= MAX_DIGITS).then_some(())
    }

    fn digits(&mut self) -> usize {
        let len = self.rest.iter().take_while(|b| b.is_ascii_digit()).count();
        self.rest = &self.rest[len..];
        len
    }

    fn space(&mut self) {
        let len = self.rest.iter().take_while(|b| b" \t\n\r".contains(b)).count();
        self.rest = &self.rest[len..];
    }

    fn take(&mut self, what: &[u8]) -> bool {
        match self.rest.strip_prefix(what) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_what_python_takes() {
        for text in [
            "{}",
            "[]",
            "1",
            "-0.5e+3",
            "\"a\\u00e9\\n\"",
            "[1, {\"a\": [null, true]}]",
            " 1 ",
            "NaN",
            "-Infinity",
            "\"\\ud800\"",
            "1e999",
            "{\"a\": 1, \"a\": 2}",
        ] {
            assert!(is_json(text), "{text}");
        }
        for text in [
            "",
            "{",
            "[1,]",
            "{\"a\":1,}",
            "{a: 1}",
            "'a'",
            "01",
            "1.",
            ".5",
            "+1",
            "\"\n\"",
            "\"\\x\"",
            "1 2",
            "[1 2]",
            "{\"a\" 1}",
            "]",
            "tru",
            "\"a",
            "\"\\u12\"",
            "-",
        ] {
            assert!(!is_json(text), "{text}");
        }
        assert!(!is_json(&"[".repeat(1_000_000)));
    }

    proptest::proptest! {
        #[test]
        fn agrees_with_serde_on_plain_json(text in "[\\[\\]{}:, \"a1.e-]{0,12}") {
            // Serde reads no number beyond f64, which twelve characters can't reach but by exponent.
            let serde: Result<serde::de::IgnoredAny, _> = serde_json::from_str(&text);
            proptest::prop_assert_eq!(is_json(&text), serde.is_ok(), "{}", text);
        }
    }
}
