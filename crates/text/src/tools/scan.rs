//! Follows one JSON value character by character, without building it.

/// How deep arrays and objects may be nested, as in `serde_json`. It also lets their kinds fit
/// into one word.
const DEPTH: u32 = 127;

/// How far the value has come with a character.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// The character belongs to the value, which goes on.
    More,
    /// The character is the value's last.
    Last,
    /// The value, a number, has ended before the character.
    Before,
}

/// Why text is not JSON.
pub(super) type Fault = &'static str;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    Value,
    /// After `[`: a value or the end.
    FirstItem,
    /// After `{`: a key or the end.
    FirstKey,
    Key,
    Colon,
    /// After a value within an array or object.
    Next,
    String {
        key: bool,
    },
    Escape {
        key: bool,
    },
    /// Within `\u`, with so many digits to come.
    Unicode {
        key: bool,
        digits: u8,
    },
    /// Within `true`, `false` or `null`: what is still to come.
    Literal(&'static [u8]),
    Minus,
    Zero,
    Digits,
    Point,
    Fraction,
    Exponent,
    ExponentSign,
    ExponentDigits,
    End,
}

/// Scans one value; white space before it belongs to it.
#[derive(Clone, Debug)]
pub(super) struct Scanner {
    at: At,
    depth: u32,
    /// A bit for each open array (0) or object (1), the innermost lowest.
    objects: u128,
}

impl Scanner {
    pub(super) fn new() -> Scanner {
        Scanner { at: At::Value, depth: 0, objects: 0 }
    }

    /// Whether the value is over.
    pub(super) fn is_over(&self) -> bool {
        self.at == At::End
    }

    pub(super) fn step(&mut self, letter: char) -> Result<Step, Fault> {
        let space = matches!(letter, ' ' | '\t' | '\n' | '\r');
        self.at = match (self.at, letter) {
            (At::String { key: true }, '"') => At::Colon,
            (At::String { key: false }, '"') => return Ok(self.close()),
            (At::String { key }, '\\') => At::Escape { key },
            (At::String { .. }, '\0'..=' ') if letter != ' ' => {
                return Err("a control character stands in a string");
            }
            (At::String { .. }, _) => return Ok(Step::More),
            (At::Escape { key }, 'u') => At::Unicode { key, digits: 4 },
            (At::Escape { key }, '"' | '\\' | '/' | 'b' | 'f' | 'n' | 'r' | 't') => {
                At::String { key }
            }
            (At::Escape { .. }, _) => return Err("an unknown escape stands in a string"),
            (At::Unicode { key, digits }, _) if letter.is_ascii_hexdigit() => match digits {
                1 => At::String { key },
                _ => At::Unicode { key, digits: digits - 1 },
            },
            (At::Unicode { .. }, _) => return Err("\\u is not followed by four digits"),
            (At::Literal(rest), _) => match rest {
                [last] if char::from(*last) == letter => return Ok(self.close()),
                [next, rest @ ..] if char::from(*next) == letter => At::Literal(rest),
                _ => return Err("an unknown word stands for a value"),
            },

            (At::Minus, '0') => At::Zero,
            (At::Minus, '1'..='9') | (At::Digits, '0'..='9') => At::Digits,
            (At::Zero | At::Digits, '.') => At::Point,
            (At::Point | At::Fraction, '0'..='9') => At::Fraction,
            (At::Zero | At::Digits | At::Fraction, 'e' | 'E') => At::Exponent,
            (At::Exponent, '+' | '-') => At::ExponentSign,
            (At::Exponent | At::ExponentSign | At::ExponentDigits, '0'..='9') => At::ExponentDigits,
            (At::Minus | At::Point | At::Exponent | At::ExponentSign, _) => {
                return Err("a number breaks off");
            }
            (At::Zero | At::Digits | At::Fraction | At::ExponentDigits, _) => {
                self.close();
                if self.depth == 0 {
                    return Ok(Step::Before);
                }
                return self.step(letter);
            }

            (At::End, _) => return Err("text follows the value"),
            (_, _) if space => return Ok(Step::More),
            (At::FirstItem, ']') | (At::FirstKey, '}') => return Ok(self.leave()),
            (At::Value | At::FirstItem, _) => return self.value(letter),
            (At::FirstKey | At::Key, '"') => At::String { key: true },
            (At::FirstKey | At::Key, _) => return Err("a key is not a string"),
            (At::Colon, ':') => At::Value,
            (At::Colon, _) => return Err("a colon is missing after a key"),
            (At::Next, ',') if self.in_object() => At::Key,
            (At::Next, ',') => At::Value,
            (At::Next, '}') if self.in_object() => return Ok(self.leave()),
            (At::Next, ']') if !self.in_object() => return Ok(self.leave()),
            (At::Next, _) => return Err("a comma or the end is missing after a value"),
        };
        Ok(Step::More)
    }

    fn in_object(&self) -> bool {
        self.objects & 1 == 1
    }

    fn value(&mut self, letter: char) -> Result<Step, Fault> {
        self.at = match letter {
            '{' | '[' => {
                if self.depth == DEPTH {
                    return Err("arrays and objects are nested too deeply");
                }
                self.depth += 1;
                self.objects = self.objects << 1 | u128::from(letter == '{');
                if letter == '{' { At::FirstKey } else { At::FirstItem }
            }
            '"' => At::String { key: false },
            't' => At::Literal(b"rue"),
            'f' => At::Literal(b"alse"),
            'n' => At::Literal(b"ull"),
            '-' => At::Minus,
            '0' => At::Zero,
            '1'..='9' => At::Digits,
            _ => return Err("a value is missing"),
        };
        Ok(Step::More)
    }

    /// A value within the innermost array or object, or the whole, is over.
    fn close(&mut self) -> Step {
        self.at = if self.depth == 0 { At::End } else { At::Next };
        if self.depth == 0 { Step::Last } else { Step::More }
    }

    fn leave(&mut self) -> Step {
        self.depth -= 1;
        self.objects >>= 1;
        self.close()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Whether the text is one JSON value with white space around it.
    fn accepts(text: &str) -> bool {
        let mut scanner = Scanner::new();
        for letter in text.trim_end_matches([' ', '\t', '\n', '\r']).chars() {
            if !matches!(scanner.step(letter), Ok(Step::More | Step::Last)) {
                return false;
            }
        }
        scanner.is_over() || scanner.step(' ') == Ok(Step::Before)
    }

    #[test]
    fn depth_is_limited_as_in_serde_json() {
        for (depth, fine) in [(127, true), (128, false), (100_000, false)] {
            let text = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
            assert_eq!(accepts(&text), fine, "{depth}");
            assert_eq!(serde_json::from_str::<serde_json::Value>(&text).is_ok(), fine, "{depth}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(5000))]

        #[test]
        fn accepts_what_serde_json_does(
            text in "(\\{|\\}|\\[|\\]|,|:|\"a\"|\"\\\\n\"|true|null|-?[0-2]{1,2}|1.5|2e[+-]?1| |\n|[a.\\\\\"]){0,8}"
        ) {
            let theirs = serde_json::from_str::<serde::de::IgnoredAny>(&text);
            prop_assert_eq!(accepts(&text), theirs.is_ok());
        }
    }
}
