//! One instruction that a text follows or doesn't.

use std::sync::LazyLock;

use regex::{Regex, RegexBuilder};
use serde_json::Value;

use super::{is_lower, is_space, is_upper, json, language, sentences, words};
use crate::CannotTell;

/// The most a keyword's pattern may take when compiled.
const MAX_PATTERN: usize = 1 << 20;

/// A constant pattern, compiled once.
macro_rules! pattern {
    ($pattern:expr) => {{
        static PATTERN: LazyLock<Regex> =
            LazyLock::new(|| Regex::new($pattern).expect("a constant"));
        &*PATTERN
    }};
}

/// How a count is held against a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bound {
    AtLeast(u64),
    LessThan(u64),
}

impl Bound {
    fn holds(self, count: usize) -> bool {
        match self {
            Self::AtLeast(n) => count as u64 >= n,
            Self::LessThan(n) => (count as u64) < n,
        }
    }
}

/// An instruction with its parameters.
#[derive(Clone, Debug)]
pub(super) enum Check {
    Keywords(Vec<Regex>),
    KeywordFrequency(Regex, Bound),
    ForbiddenWords(Vec<Regex>),
    LetterFrequency(char, Bound),
    Language(String),
    Sentences(Bound),
    Paragraphs(u64),
    Words(Bound),
    ParagraphFirstWord { paragraphs: u64, nth: u64, word: String },
    Placeholders(u64),
    Postscript(Regex),
    Bullets(u64),
    ConstrainedResponse,
    Highlights(u64),
    Sections(Regex, u64),
    Json,
    Title,
    TwoResponses,
    RepeatPrompt(String),
    End(String),
    CapitalWords(Bound),
    EnglishCapitals,
    EnglishLowercase,
    NoComma,
    Quotation,
}

/// The parameters of one instruction.
struct Args<'a> {
    id: &'a str,
    values: &'a Value,
}

impl Args<'_> {
    fn bad(&self, name: &str, why: &str) -> CannotTell {
        CannotTell::Task { field: "kwargs", why: format!("{}: `{name}` {why}", self.id) }
    }

    fn number(&self, name: &str) -> Result<u64, CannotTell> {
        let value = &self.values[name];
        // Some copies of the data set carry whole numbers as 3.0.
        let whole = value.as_f64().filter(|n| n.fract() == 0.0 && (0.0..1e15).contains(n));
        let number = value.as_u64().or(whole.map(|n| n as u64));
        number.ok_or_else(|| self.bad(name, "must be a whole number from 0"))
    }

    fn text(&self, name: &str) -> Result<&str, CannotTell> {
        let text = self.values[name].as_str().filter(|text| !text.trim().is_empty());
        text.ok_or_else(|| self.bad(name, "must be a text that isn't empty"))
    }

    fn texts(&self, name: &str) -> Result<Vec<&str>, CannotTell> {
        let texts = self.values[name].as_array().filter(|texts| !texts.is_empty());
        texts
            .and_then(|texts| texts.iter().map(Value::as_str).collect())
            .ok_or_else(|| self.bad(name, "must be a list of texts that isn't empty"))
    }

    fn bound(&self, relation: &str, number: &str) -> Result<Bound, CannotTell> {
        let n = self.number(number)?;
        match self.values[relation].as_str() {
            Some("at least") => Ok(Bound::AtLeast(n)),
            Some("less than") => Ok(Bound::LessThan(n)),
            _ => Err(self.bad(relation, "must be \"at least\" or \"less than\"")),
        }
    }

    /// A keyword is a pattern, as in the published checker; one that is none stands for itself.
    fn regex(&self, name: &str, wrap: impl Fn(&str) -> String) -> Result<Regex, CannotTell> {
        compile(&wrap(name)).or_else(|_| {
            compile(&wrap(&regex::escape(name)))
                .map_err(|_| self.bad("keyword", "makes a pattern that is too large"))
        })
    }
}

fn compile(pattern: &str) -> Result<Regex, regex::Error> {
    RegexBuilder::new(pattern).size_limit(MAX_PATTERN).multi_line(true).build()
}

/// `word` between Python's word boundaries, which combining marks are outside of.
fn bounded(word: &str) -> String {
    let inside = |c: Option<char>| c.is_some_and(|c| c == '_' || c.is_alphanumeric());
    let edge = |inside: bool, end: &str| {
        if inside { format!(r"(?:{end}|[^\p{{L}}\p{{N}}_])") } else { r"[\p{L}\p{N}_]".to_owned() }
    };
    let before = edge(inside(word.chars().next()), r"\A");
    let after = edge(inside(word.chars().next_back()), r"\z");
    format!("(?i){before}(?:{word}){after}")
}

impl Check {
    pub(super) fn new(id: &str, values: &Value, prompt: &str) -> Result<Self, CannotTell> {
        let args = Args { id, values };
        let insensitive = |word: &str| format!("(?i){word}");
        Ok(match id {
            "keywords:existence" => {
                let words = args.texts("keywords")?;
                let all = words.into_iter().map(|word| args.regex(word, insensitive));
                Self::Keywords(all.collect::<Result<_, _>>()?)
            }
            "keywords:frequency" => Self::KeywordFrequency(
                args.regex(args.text("keyword")?.trim(), insensitive)?,
                args.bound("relation", "frequency")?,
            ),
            "keywords:forbidden_words" => {
                let words = args.texts("forbidden_words")?;
                let all = words.into_iter().map(|word| args.regex(word, bounded));
                Self::ForbiddenWords(all.collect::<Result<_, _>>()?)
            }
            "keywords:letter_frequency" => {
                let letter = args.text("letter")?.to_lowercase();
                let mut chars = letter.chars();
                let (Some(letter), None) = (chars.next(), chars.next()) else {
                    return Err(args.bad("letter", "must be one character"));
                };
                Self::LetterFrequency(letter, args.bound("let_relation", "let_frequency")?)
            }
            "language:response_language" => Self::Language(args.text("language")?.to_owned()),
            "length_constraints:number_sentences" => {
                Self::Sentences(args.bound("relation", "num_sentences")?)
            }
            "length_constraints:number_paragraphs" => {
                Self::Paragraphs(args.number("num_paragraphs")?)
            }
            "length_constraints:number_words" => Self::Words(args.bound("relation", "num_words")?),
            "length_constraints:nth_paragraph_first_word" => {
                let (paragraphs, nth) =
                    (args.number("num_paragraphs")?, args.number("nth_paragraph")?);
                if nth == 0 || nth > paragraphs {
                    return Err(args.bad("nth_paragraph", "must be from 1 to `num_paragraphs`"));
                }
                let word = args.text("first_word")?.to_lowercase();
                Self::ParagraphFirstWord { paragraphs, nth, word }
            }
            "detectable_content:number_placeholders" => {
                Self::Placeholders(args.number("num_placeholders")?)
            }
            "detectable_content:postscript" => {
                Self::Postscript(match args.text("postscript_marker")?.trim() {
                    "P.P.S" => pattern!(r"p\.\s?p\.\s?s").clone(),
                    "P.S." => pattern!(r"p\.\s?s\.").clone(),
                    marker => args.regex(&marker.to_lowercase(), str::to_owned)?,
                })
            }
            "detectable_format:number_bullet_lists" => Self::Bullets(args.number("num_bullets")?),
            "detectable_format:constrained_response" => Self::ConstrainedResponse,
            "detectable_format:number_highlighted_sections" => {
                Self::Highlights(args.number("num_highlights")?)
            }
            "detectable_format:multiple_sections" => Self::Sections(
                args.regex(args.text("section_spliter")?.trim(), |word| {
                    format!(r"\s?{word}\s?\d+\s?")
                })?,
                args.number("num_sections")?,
            ),
            "detectable_format:json_format" => Self::Json,
            "detectable_format:title" => Self::Title,
            "combination:two_responses" => Self::TwoResponses,
            "combination:repeat_prompt" => {
                // A copy of the task without the text to repeat means the whole prompt.
                let repeated = match &values["prompt_to_repeat"] {
                    Value::Null if !prompt.trim().is_empty() => prompt,
                    _ => args.text("prompt_to_repeat")?,
                };
                Self::RepeatPrompt(strip(repeated).to_lowercase())
            }
            "startend:end_checker" => Self::End(strip(args.text("end_phrase")?).to_lowercase()),
            "startend:quotation" => Self::Quotation,
            "change_case:capital_word_frequency" => {
                Self::CapitalWords(args.bound("capital_relation", "capital_frequency")?)
            }
            "change_case:english_capital" => Self::EnglishCapitals,
            "change_case:english_lowercase" => Self::EnglishLowercase,
            "punctuation:no_comma" => Self::NoComma,
            _ => {
                let why = format!("no instruction is called `{id}`");
                return Err(CannotTell::Task { field: "instruction_id_list", why });
            }
        })
    }

    /// Whether `text` follows it. Text that is empty follows nothing, whatever it is.
    pub(super) fn follows(&self, text: &str) -> bool {
        !strip(text).is_empty() && self.holds(text)
    }

    fn holds(&self, text: &str) -> bool {
        match self {
            Self::Keywords(words) => words.iter().all(|word| word.is_match(text)),
            Self::KeywordFrequency(word, bound) => bound.holds(word.find_iter(text).count()),
            Self::ForbiddenWords(words) => !words.iter().any(|word| word.is_match(text)),
            Self::LetterFrequency(letter, bound) => {
                bound.holds(text.to_lowercase().chars().filter(|c| c == letter).count())
            }
            // Where no language can be made out, the published checker lets it pass.
            Self::Language(code) => language::detect(text).is_none_or(|found| found == code),
            Self::Sentences(bound) => bound.holds(sentences::count(text)),
            Self::Paragraphs(n) => paragraphs(text).is_some_and(|found| found == *n),
            Self::Words(bound) => bound.holds(words::count(text)),
            Self::ParagraphFirstWord { paragraphs, nth, word } => {
                first_word(text, *paragraphs, *nth).is_some_and(|found| found == *word)
            }
            Self::Placeholders(n) => pattern!(r"\[.*?\]").find_iter(text).count() as u64 >= *n,
            Self::Postscript(marker) => marker.is_match(&text.to_lowercase()),
            Self::Bullets(n) => bullets(text) == *n,
            Self::ConstrainedResponse => {
                let options = ["My answer is yes.", "My answer is no.", "My answer is maybe."];
                options.iter().any(|option| text.contains(option))
            }
            Self::Highlights(n) => highlights(text) >= *n,
            Self::Sections(mark, n) => mark.find_iter(text).count() as u64 >= *n,
            Self::Json => json::is_json(unfenced(text)),
            Self::Title => pattern!(r"<<[^\n]+>>").find_iter(text).any(|title| {
                let title = title.as_str().trim_start_matches('<').trim_end_matches('>');
                !strip(title).is_empty()
            }),
            Self::TwoResponses => two_responses(text),
            Self::RepeatPrompt(prompt) => strip(text).to_lowercase().starts_with(prompt),
            Self::End(phrase) => strip(text).trim_matches('"').to_lowercase().ends_with(phrase),
            Self::CapitalWords(bound) => bound.holds(words::count_capitals(text)),
            Self::EnglishCapitals => {
                is_upper(text) && language::detect(text).is_none_or(|found| found == "en")
            }
            Self::EnglishLowercase => {
                is_lower(text) && language::detect(text).is_none_or(|found| found == "en")
            }
            Self::NoComma => !text.contains(','),
            Self::Quotation => {
                let text = strip(text);
                text.len() > 1 && text.starts_with('"') && text.ends_with('"')
            }
        }
    }
}

fn strip(text: &str) -> &str {
    text.trim_matches(is_space)
}

/// Paragraphs between `***`; `None` if one within is empty.
fn paragraphs(text: &str) -> Option<u64> {
    let parts: Vec<&str> = pattern!(r"\s?\*\*\*\s?").split(text).collect();
    let mut count = 0;
    for (i, part) in parts.iter().enumerate() {
        if !strip(part).is_empty() {
            count += 1;
        } else if i != 0 && i != parts.len() - 1 {
            return None;
        }
    }
    Some(count)
}

/// The first word of the `nth` paragraph, if there are as many `paragraphs`.
fn first_word(text: &str, paragraphs: u64, nth: u64) -> Option<String> {
    let parts: Vec<&str> = text.split("\n\n").collect();
    let count = parts.iter().filter(|part| !strip(part).is_empty()).count() as u64;
    // The empty ones don't count, but they do take a number.
    let part = strip(parts.get(usize::try_from(nth).ok()? - 1)?);
    let word = part.split(is_space).next().filter(|word| !word.is_empty())?;
    let word = word.trim_start_matches('\'').trim_start_matches('"');
    let end = word.find(['.', ',', '?', '!', '\'', '"']).unwrap_or(word.len());
    (count == paragraphs).then(|| word[..end].to_lowercase())
}

fn bullets(text: &str) -> u64 {
    let stars = pattern!(r"(?m)^\s*\*[^\*].*$").find_iter(text).count();
    let dashes = pattern!(r"(?m)^\s*-.*$").find_iter(text).count();
    (stars + dashes) as u64
}

fn highlights(text: &str) -> u64 {
    let single = pattern!(r"\*[^\n\*]*\*").find_iter(text);
    let single = single.filter(|found| !strip(found.as_str().trim_matches('*')).is_empty());
    let double = pattern!(r"\*\*[^\n\*]*\*\*").find_iter(text);
    let double = double.filter(|found| {
        let found = found.as_str();
        !strip(&found[2..found.len() - 2]).is_empty()
    });
    (single.count() + double.count()) as u64
}

fn unfenced(text: &str) -> &str {
    let mut text = strip(text);
    for fence in ["```json", "```Json", "```JSON", "```"] {
        text = text.strip_prefix(fence).unwrap_or(text);
    }
    strip(text.strip_suffix("```").unwrap_or(text))
}

fn two_responses(text: &str) -> bool {
    let parts: Vec<&str> = text.split("******").map(strip).collect();
    let inner = parts.get(1..parts.len() - 1).unwrap_or_default();
    let said: Vec<&&str> = parts.iter().filter(|part| !part.is_empty()).collect();
    !inner.iter().any(|part| part.is_empty()) && said.len() == 2 && said[0] != said[1]
}
