//! LaTeX or plain text to tokens.
//!
//! What only concerns the looks (`\left`, `\,`, `\mathrm`, dollars around a formula) is dropped here;
//! Unicode's signs become what LaTeX has for them.

use std::iter::Peekable;
use std::str::Chars;

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Token {
    /// Digits, with or without a point.
    Number(String),
    /// One letter, Latin or Greek; Greek ones by their LaTeX name.
    Letter(String),
    /// Two or more letters that are the name of a function.
    Name(String),
    /// Two or more letters that aren't, or what stood in `\text{}`.
    Word(String),
    /// `\frac`, `\sqrt`, `\cup` and so on, without the backslash.
    Command(String),
    /// Any other sign.
    Sign(char),
    /// `$` or the like before a number.
    Currency,
    /// White space where it matters: between two numbers, or between letters.
    Space,
    /// `\begin{…}` of a matrix.
    BeginMatrix,
    EndMatrix,
    /// `\\` in a matrix.
    Row,
}

/// Commands that only concern the looks.
const LOOKS: &[&str] = &[
    "left",
    "right",
    "big",
    "Big",
    "bigg",
    "Bigg",
    "bigl",
    "bigr",
    "Bigl",
    "Bigr",
    "displaystyle",
    "textstyle",
    "limits",
    "nolimits",
    "mathstrut",
    "rm",
    "bf",
    "boldsymbol",
    "mathbf",
    "mathit",
    "mathcal",
    "mathbb",
    "mathsf",
    "bold",
    "phantom",
    "hphantom",
    "tt",
];
/// Commands that are white space.
const SPACES: &[&str] = &["quad", "qquad", "space", "enspace", "thinspace", "hspace", "hfill"];
/// Commands whose argument is text.
const TEXTS: &[&str] = &[
    "text",
    "mbox",
    "textbf",
    "textit",
    "textrm",
    "mathrm",
    "operatorname",
    "textsf",
    "texttt",
    "emph",
];

/// Words of two or three letters that are no product of letters.
const SHORT_WORDS: &[&str] = &[
    "am", "an", "and", "are", "as", "at", "be", "by", "cm", "day", "dm", "for", "ft", "hr", "hrs",
    "if", "in", "is", "it", "kg", "km", "lb", "lbs", "men", "mg", "min", "ml", "mm", "mph", "no",
    "not", "of", "on", "or", "oz", "per", "pm", "sec", "so", "sq", "ten", "the", "to", "we", "yd",
    "yes", "odd",
];

/// Signs that mean the same as a command or another sign.
fn sign(c: char) -> Option<&'static str> {
    Some(match c {
        '−' | '–' | '—' | '﹣' | '－' => "-",
        '×' | '·' | '⋅' | '∙' | '∗' | '✕' => "*",
        '÷' => "/",
        '≤' | '⩽' => "\\le ",
        '≥' | '⩾' => "\\ge ",
        '≠' => "\\ne ",
        '≈' => "=",
        '±' => "\\pm ",
        '∓' => "\\mp ",
        '√' => "\\sqrt ",
        'π' => "\\pi ",
        'θ' => "\\theta ",
        'α' => "\\alpha ",
        'β' => "\\beta ",
        'λ' => "\\lambda ",
        '∞' => "\\infty ",
        '∪' => "\\cup ",
        '∈' => "\\in ",
        '∅' => "\\emptyset ",
        '°' | 'º' => "^\\circ ",
        '²' => "^2",
        '³' => "^3",
        '½' => "\\frac12 ",
        '⅓' => "\\frac13 ",
        '⅔' => "\\frac23 ",
        '¼' => "\\frac14 ",
        '¾' => "\\frac34 ",
        '，' => ",",
        '（' => "(",
        '）' => ")",
        '\u{a0}' | '\u{202f}' | '\u{2009}' => " ",
        _ => return None,
    })
}

/// All tokens of a text.
pub(crate) fn tokens(text: &str) -> Vec<Token> {
    lex(text, false)
}

/// The same, of a formula or of what stands in `\text{}`.
fn lex(text: &str, prose: bool) -> Vec<Token> {
    let mut plain = String::with_capacity(text.len());
    for c in text.chars() {
        match sign(c) {
            Some(same) => plain.push_str(same),
            None => plain.push(c),
        }
    }
    // `{,}` is a comma between thousands.
    let plain = plain.replace("{,}", ",").replace("\\!", "").replace("**", "^");
    let mut lexer =
        Lexer { chars: plain.chars().peekable(), tokens: Vec::new(), brackets: 0, prose };
    lexer.run();
    lexer.tokens
}

struct Lexer<'a> {
    chars: Peekable<Chars<'a>>,
    tokens: Vec<Token>,
    /// Whether this is text within a formula.
    prose: bool,
    /// How many brackets are open: within them a comma stands between items.
    brackets: usize,
}

impl Lexer<'_> {
    fn run(&mut self) {
        while let Some(c) = self.chars.next() {
            match c {
                '\\' => self.command(),
                '0'..='9' => self.number(c),
                '.' if self.chars.peek().is_some_and(char::is_ascii_digit) => self.number(c),
                '$' | '€' | '£' | '¥' => {
                    if self.chars.peek().is_some_and(|c| c.is_ascii_digit()) {
                        self.tokens.push(Token::Currency);
                    }
                }
                c if c.is_whitespace() || c == '~' => self.space(),
                c if c.is_alphabetic() => self.letters(c),
                '`' | '\'' | '"' | '’' => {}
                c => {
                    match c {
                        '(' | '[' => self.brackets += 1,
                        ')' | ']' => self.brackets = self.brackets.saturating_sub(1),
                        _ => {}
                    }
                    self.tokens.push(Token::Sign(c));
                }
            }
        }
        while self.tokens.last() == Some(&Token::Space) {
            self.tokens.pop();
        }
    }

    fn space(&mut self) {
        if !matches!(self.tokens.last(), None | Some(Token::Space)) {
            self.tokens.push(Token::Space);
        }
    }

    fn take_while(&mut self, first: Option<char>, keep: impl Fn(char) -> bool) -> String {
        let mut text: String = first.into_iter().collect();
        while let Some(c) = self.chars.next_if(|c| keep(*c)) {
            text.push(c);
        }
        text
    }

    fn number(&mut self, first: char) {
        let mut text = self.take_while(Some(first), |c| c.is_ascii_digit());
        // Thousands: groups of exactly three digits, and not within brackets.
        if self.brackets == 0 && first != '.' && text.len() <= 3 {
            while let Some(group) = self.thousands() {
                text += &group;
            }
        }
        if first != '.' && self.chars.peek() == Some(&'.') {
            let mut ahead = self.chars.clone();
            ahead.next();
            if ahead.peek().is_some_and(char::is_ascii_digit) {
                self.chars.next();
                text.push('.');
                text += &self.take_while(None, |c| c.is_ascii_digit());
            } else if !ahead.peek().is_some_and(|c| c.is_alphabetic()) {
                // A point that ends a sentence, or `5.`.
                self.chars.next();
            }
        }
        // 1e5, but not the letter e behind a number.
        let mut ahead = self.chars.clone();
        if matches!(ahead.next(), Some('e' | 'E')) {
            let signed = matches!(ahead.peek(), Some('+' | '-'));
            if signed {
                ahead.next();
            }
            let digits: String = ahead.clone().take_while(char::is_ascii_digit).collect();
            let after = ahead.clone().nth(digits.len());
            if !digits.is_empty() && digits.len() <= 4 && !after.is_some_and(char::is_alphanumeric)
            {
                let sign = if signed { 2 } else { 1 };
                let exponent: String = self.chars.by_ref().take(sign + digits.len()).collect();
                text += &exponent;
            }
        }
        self.tokens.push(Token::Number(text));
    }

    /// `,123` or `\,123` where what follows is no further digit.
    fn thousands(&mut self) -> Option<String> {
        let mut ahead = self.chars.clone();
        match ahead.next()? {
            ',' => {}
            // `\,`, a narrow space.
            '\\' if ahead.next()? == ',' => {}
            _ => return None,
        }
        let group: String = ahead.by_ref().take(3).filter(char::is_ascii_digit).collect();
        let whole = group.len() == 3 && !ahead.peek().is_some_and(char::is_ascii_digit);
        whole.then(|| {
            self.chars = ahead;
            group
        })
    }

    fn letters(&mut self, first: char) {
        let text = self.take_while(Some(first), |c| c.is_alphabetic());
        self.word(&text);
    }

    fn word(&mut self, text: &str) {
        let mut letters = text.chars();
        let token = match (letters.next(), letters.next()) {
            (Some(_), None) => Token::Letter(text.to_owned()),
            _ if super::node::Function::named(text).is_some() => Token::Name(text.to_owned()),
            _ => match text {
                "pi" | "infty" | "theta" => Token::Command(text.to_owned()),
                "infinity" | "inf" | "oo" => Token::Command("infty".to_owned()),
                _ if self.is_product(text) => {
                    self.tokens.extend(text.chars().map(|c| Token::Letter(c.to_string())));
                    return;
                }
                _ => Token::Word(text.to_lowercase()),
            },
        };
        self.tokens.push(token);
    }

    /// Whether a short word is a product of letters: no known word, and no other word beside it.
    fn is_product(&self, word: &str) -> bool {
        let short = (2..=3).contains(&word.len()) && word.chars().all(|c| c.is_ascii_lowercase());
        if self.prose || !short || SHORT_WORDS.contains(&word) {
            return false;
        }
        let solid = |token: &&Token| **token != Token::Space;
        let after_word =
            matches!(self.tokens.iter().rev().find(solid), Some(Token::Word(_) | Token::Name(_)));
        let mut ahead = self.chars.clone();
        let spaces = ahead.by_ref().take_while(|c| c.is_whitespace()).count();
        let mut ahead = self.chars.clone().skip(spaces);
        let letter = |c: Option<char>| c.is_some_and(char::is_alphabetic);
        let before_word = spaces > 0 && letter(ahead.next()) && letter(ahead.next());
        !after_word && !before_word
    }

    /// What stands between braces, which may be nested; the opening one is next.
    fn braced(&mut self) -> String {
        let mut text = String::new();
        if self.chars.next_if_eq(&'{').is_none() {
            return text;
        }
        let mut depth = 1;
        for c in self.chars.by_ref() {
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                break;
            }
            text.push(c);
        }
        text
    }

    fn command(&mut self) {
        let name = self.take_while(None, |c| c.is_ascii_alphabetic());
        if name.is_empty() {
            match self.chars.next() {
                Some('\\') => self.tokens.push(Token::Row),
                Some(',' | ';' | ':' | ' ' | '\n') => self.space(),
                // A set's braces are not a group's.
                Some('{') => self.tokens.push(Token::Command("{".to_owned())),
                Some('}') => self.tokens.push(Token::Command("}".to_owned())),
                Some('$') => self.tokens.push(Token::Currency),
                Some('%') => self.tokens.push(Token::Sign('%')),
                Some('|') => self.tokens.push(Token::Sign('|')),
                // Dollars' other spelling, and what has no meaning.
                _ => {}
            }
            return;
        }
        match &*name {
            name if LOOKS.contains(&name) => {}
            name if SPACES.contains(&name) => self.space(),
            name if TEXTS.contains(&name) => {
                let inner = self.braced();
                self.space();
                let words = inner.chars().filter(|c| c.is_alphabetic()).count();
                // Units and names stay together as words; numbers in a text are numbers.
                for token in lex(&inner, true) {
                    match token {
                        Token::Letter(letter)
                            if words > 1 || letter.chars().all(char::is_lowercase) =>
                        {
                            self.tokens.push(Token::Word(letter.to_lowercase()));
                        }
                        token => self.tokens.push(token),
                    }
                }
                self.space();
            }
            "begin" => {
                let kind = self.braced();
                match &*kind {
                    "matrix" | "pmatrix" | "bmatrix" | "vmatrix" | "Bmatrix" | "smallmatrix" => {
                        self.tokens.push(Token::BeginMatrix);
                    }
                    "array" => {
                        self.braced();
                        self.tokens.push(Token::BeginMatrix);
                    }
                    _ => {}
                }
            }
            "end" => {
                let kind = self.braced();
                if kind.ends_with("matrix") || kind == "array" {
                    self.tokens.push(Token::EndMatrix);
                }
            }
            "dfrac" | "tfrac" | "cfrac" => self.tokens.push(Token::Command("frac".to_owned())),
            "times" | "cdot" | "ast" => self.tokens.push(Token::Sign('*')),
            "div" => self.tokens.push(Token::Sign('/')),
            "leq" | "leqslant" => self.tokens.push(Token::Command("le".to_owned())),
            "geq" | "geqslant" => self.tokens.push(Token::Command("ge".to_owned())),
            "neq" => self.tokens.push(Token::Command("ne".to_owned())),
            "lt" => self.tokens.push(Token::Sign('<')),
            "gt" => self.tokens.push(Token::Sign('>')),
            "approx" | "equiv" => self.tokens.push(Token::Sign('=')),
            "lbrace" => self.tokens.push(Token::Command("{".to_owned())),
            "rbrace" => self.tokens.push(Token::Command("}".to_owned())),
            "lbrack" => self.tokens.push(Token::Sign('[')),
            "rbrack" => self.tokens.push(Token::Sign(']')),
            "vert" | "lvert" | "rvert" | "mid" => self.tokens.push(Token::Sign('|')),
            "degree" => {
                self.tokens.push(Token::Sign('^'));
                self.tokens.push(Token::Command("circ".to_owned()));
            }
            "varnothing" => self.tokens.push(Token::Command("emptyset".to_owned())),
            "land" => self.tokens.push(Token::Word("and".to_owned())),
            "lor" => self.tokens.push(Token::Word("or".to_owned())),
            "dots" | "ldots" | "cdots" => self.tokens.push(Token::Word("…".to_owned())),
            name if super::node::Function::named(name).is_some() => {
                self.tokens.push(Token::Name(name.to_owned()));
            }
            _ => self.tokens.push(Token::Command(name)),
        }
    }
}
