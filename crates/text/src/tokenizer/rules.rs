//! Pre-tokenizer rules: where a text may be cut before byte-pair merging starts.
//!
//! Each rule is the expression its model's makers published. They all end in `\s+(?!\S)|\s+`,
//! whose look-ahead needs a backtracking engine; we drop it, match with the linear-time `regex`
//! crate, and do what the look-ahead would have done by hand (see [`Rule::cut`]). That keeps
//! cutting linear in the length of a hostile prompt and about ten times faster.

use regex::Regex;

/// What the published expressions share, and what we take out of them.
const LOOK_AHEAD: &str = r"\s+(?!\S)|";

const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
const QWEN2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN35: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const GPT4O: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const DEEPSEEK3: &str = r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"##;

/// The letters of DeepSeek's first vocabularies, listed by their makers: those of scripts with two cases.
const CASED: &str = r"\s?[A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚḀ-ἕἘ-Ἕἠ-ὅὈ-Ὅὐ-ὗὙὛὝὟ-ώᾀ-ᾴᾶ-ᾼιῂ-ῄῆ-ῌῐ-ΐῖ-Ίῠ-Ῥῲ-ῴῶ-ῼℂℇℊ-ℓℕℙ-ℝℤΩℨK-ℭℯ-ℴℹℼ-ℿⅅ-ⅉⅎↃↄⰀ-ⱻⱾ-ⳤⳫ-ⳮⳲⳳꙀ-ꙭꚀ-ꚛꜢ-ꝯꝱ-ꞇꞋ-ꞎꭰ-ꮿﬀ-ﬆﬓ-ﬗＡ-Ｚａ-ｚ𐐀-𐑏𐒰-𐓓𐓘-𐓻𐲀-𐲲𐳀-𐳲𑢠-𑣟𞤀-𞥃]+";

/// The families, with every name `tokenizer.ggml.pre` uses for them.
const FAMILIES: &[(Family, &[&str])] = &[
    (Family::Qwen2, &["qwen2", "deepseek-r1-qwen", "kormo", "megrez", "stablelm2", "hunyuan"]),
    (Family::Qwen35, &["qwen35"]),
    (
        Family::Llama3,
        &["llama-bpe", "llama3", "llama-v3", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2"],
    ),
    (Family::Cl100k, &["dbrx", "smaug-bpe"]),
    (Family::Gpt4o, &["gpt-4o", "llama4", "kanana2"]),
    (Family::DeepSeek3, &["deepseek-v3", "hunyuan-dense"]),
    (Family::DeepSeek, &["deepseek-llm"]),
    (Family::DeepSeekCoder, &["deepseek-coder"]),
    (Family::Smollm, &["smollm", "codeshell", "exaone", "minerva-7b"]),
    (
        Family::Gpt2,
        &[
            "gpt-2",
            "phi-2",
            "mpt",
            "olmo",
            "jais",
            "trillion",
            "granite-docling",
            "gigachat",
            "a.x-4.0",
            "mellum",
            "modern-bert",
            "exaone4",
        ],
    ),
];

/// A group of models that cut text the same way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    /// Qwen2, Qwen2.5, Qwen3, QwQ and DeepSeek's distillations into Qwen: digits one by one.
    Qwen2,
    /// Qwen3.5: as above, combining marks belong to the word.
    Qwen35,
    /// Llama 3: digits in threes.
    Llama3,
    /// GPT-4 and Phi-4: as Llama 3, but words are merged like others.
    Cl100k,
    /// GPT-4o and Phi-4-mini: words are cut where their case changes.
    Gpt4o,
    /// DeepSeek-V3 and R1, and Hunyuan's dense models: digits in threes and runs of Chinese and Japanese before
    /// anything else.
    DeepSeek3,
    /// DeepSeek's first models and V2: ends of lines, words, punctuation and Chinese, one kind after the other.
    DeepSeek,
    /// DeepSeek-Coder: likewise, with every digit alone.
    DeepSeekCoder,
    /// SmolLM and StarCoder: every digit alone before anything else, then GPT-2's expression.
    Smollm,
    /// GPT-2.
    Gpt2,
}

impl Family {
    /// The family that `tokenizer.ggml.pre` names.
    pub(super) fn from_name(name: &str) -> Option<Family> {
        FAMILIES.iter().find(|(_, names)| names.contains(&name)).map(|(family, _)| *family)
    }

    /// The name that `tokenizer.ggml.pre` has for it first of all.
    pub(super) fn name(self) -> &'static str {
        let row = FAMILIES.iter().find(|(family, _)| *family == self);
        row.and_then(|(_, names)| names.first()).copied().unwrap_or_default()
    }

    /// The family whose published expression this is.
    pub(super) fn from_expression(expression: &str) -> Option<Family> {
        // Some have the ends of lines themselves where others have their escapes.
        let expression = expression.replace('\r', r"\r").replace('\n', r"\n");
        [
            Family::Qwen2,
            Family::Qwen35,
            Family::Llama3,
            Family::Gpt2,
            Family::Gpt4o,
            Family::DeepSeek3,
            Family::DeepSeek,
            Family::DeepSeekCoder,
        ]
        .into_iter()
        .find(|family| family.expression() == expression)
    }

    /// The expression as published, look-ahead included.
    pub(super) fn expression(self) -> &'static str {
        match self {
            Family::Qwen2 => QWEN2,
            Family::Qwen35 => QWEN35,
            Family::Llama3 | Family::Cl100k => LLAMA3,
            Family::Gpt4o => GPT4O,
            Family::DeepSeek3 => DEEPSEEK3,
            Family::DeepSeek => r"\p{N}+",
            Family::DeepSeekCoder => r"\p{N}",
            Family::Smollm | Family::Gpt2 => GPT2,
        }
    }

    /// What is cut out, one after the other, before the expression sees the rest.
    pub(super) fn before(self) -> &'static [&'static str] {
        match self {
            Family::Smollm => &[r"\p{N}"],
            Family::DeepSeek3 => &[r"\p{N}{1,3}", "[一-龥\u{3040}-ゟ゠-ヿ]+"],
            Family::DeepSeek => &[
                r"[\r\n]",
                CASED,
                "\\s?[!-/:-~！-／：-～‘-‟\u{3000}-。]+",
                r"\s+$",
                "[一-龥\u{800}-一가-\u{d7ff}]+",
            ],
            Family::DeepSeekCoder => {
                &[r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", "[一-龥\u{800}-一가-\u{d7ff}]+"]
            }
            Family::Qwen2
            | Family::Qwen35
            | Family::Llama3
            | Family::Cl100k
            | Family::Gpt4o
            | Family::Gpt2 => &[],
        }
    }

    /// Whether a word that is itself a token is taken whole, whatever the merges would give.
    pub(super) fn ignores_merges(self) -> bool {
        self == Family::Llama3
    }

    /// Whether a prompt starts with the beginning-of-sequence token when the file does not say.
    pub(super) fn adds_bos(self) -> bool {
        self == Family::Llama3
    }
}

/// Every name a pre-tokenizer rule is known by, for the message that refuses another.
pub(super) fn known_names() -> Vec<&'static str> {
    FAMILIES.iter().flat_map(|(_, names)| names.iter().copied()).collect()
}

/// A compiled rule.
#[derive(Debug)]
pub(super) struct Rule {
    expression: Regex,
    /// [`Family::before`].
    before: Vec<Regex>,
    /// A run of white space that reaches a line's end has an alternative of its own.
    line_ends_apart: bool,
}

impl Rule {
    pub(super) fn new(family: Family) -> Rule {
        let compile = |expression: &str| {
            Regex::new(expression).expect("the rules are constants, compiled by the tests")
        };
        Rule {
            expression: compile(&family.expression().replace(LOOK_AHEAD, "")),
            before: family.before().iter().map(|expression| compile(expression)).collect(),
            line_ends_apart: !matches!(family, Family::Smollm | Family::Gpt2),
        }
    }

    /// Calls `piece` with the consecutive pieces of `text`; together they are all of it.
    pub(super) fn cut<'t>(&self, text: &'t str, mut piece: impl FnMut(&'t str)) {
        self.cut_before(&self.before, text, &mut piece);
    }

    /// Cuts out what `before` matches, and hands on what is between.
    fn cut_before<'t>(&self, before: &[Regex], text: &'t str, piece: &mut impl FnMut(&'t str)) {
        let Some((first, later)) = before.split_first() else {
            return self.cut_stretch(text, piece);
        };
        let mut start = 0;
        for found in first.find_iter(text) {
            self.cut_before(later, &text[start..found.start()], piece);
            piece(found.as_str());
            start = found.end();
        }
        self.cut_before(later, &text[start..], piece);
    }

    /// Nearly every character is matched by some alternative, so that most matches lie end to end; what is
    /// between two of them is a piece as well.
    fn cut_stretch<'t>(&self, text: &'t str, piece: &mut impl FnMut(&'t str)) {
        let mut start = 0;
        while let Some(found) = self.expression.find_at(text, start) {
            if found.start() > start {
                piece(&text[start..found.start()]);
                start = found.start();
            }
            let mut end = found.end();
            // `\s+(?!\S)` before `\s+`: a run of white space leaves its last character to the
            // word that follows, unless that character is all there is.
            if let Some(last) = text[start..end].chars().next_back()
                && last.is_whitespace()
                && !(self.line_ends_apart && matches!(last, '\r' | '\n'))
                && end < text.len()
                && end - last.len_utf8() > start
            {
                end -= last.len_utf8();
            }
            piece(&text[start..end]);
            start = end;
        }
        if start < text.len() {
            piece(&text[start..]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::sync::LazyLock;
    use tokenizers::utils::SysRegex;

    static COMPILED: LazyLock<Vec<(Rule, Vec<SysRegex>)>> = LazyLock::new(|| {
        let compile = |family: Family| {
            let published = family.before().iter().copied().chain([family.expression()]);
            let published = published.map(|expression| SysRegex::new(expression).unwrap());
            (Rule::new(family), published.collect())
        };
        ALL.into_iter().map(compile).collect()
    });

    const ALL: [Family; 10] = [
        Family::DeepSeek,
        Family::DeepSeekCoder,
        Family::Qwen2,
        Family::Qwen35,
        Family::Llama3,
        Family::Cl100k,
        Family::Gpt4o,
        Family::DeepSeek3,
        Family::Smollm,
        Family::Gpt2,
    ];

    /// Every piece of every text cut by one expression after the other, and what is between.
    fn isolated<'t>(expressions: &[SysRegex], text: &'t str) -> Vec<&'t str> {
        let mut pieces = vec![(text, false)];
        for expression in expressions {
            let cut = |(text, done): (&'t str, bool)| {
                let mut parts = Vec::new();
                let mut start = 0;
                for (from, to) in expression.find_iter(text).filter(|_| !done) {
                    parts.push((&text[start..from], false));
                    parts.push((&text[from..to], true));
                    start = to;
                }
                parts.push((&text[start..], done));
                parts
            };
            pieces = pieces.into_iter().flat_map(cut).collect();
        }
        pieces.into_iter().map(|(text, _)| text).filter(|text| !text.is_empty()).collect()
    }

    fn pieces(family: Family, text: &str) -> Vec<String> {
        let mut pieces = Vec::new();
        Rule::new(family).cut(text, |piece| pieces.push(piece.to_string()));
        pieces
    }

    #[test]
    fn white_space_leaves_its_last_character_to_the_next_word() {
        for family in ALL {
            assert_eq!(pieces(family, "a   b"), ["a", "  ", " b"], "{family:?}");
            assert_eq!(pieces(family, "a   "), ["a", "   "], "{family:?}");
            assert_eq!(pieces(family, " a"), [" a"], "{family:?}");
        }
        assert_eq!(pieces(Family::Qwen2, "a\n\n b"), ["a", "\n\n", " b"]);
        assert_eq!(pieces(Family::Gpt2, "a\n\n b"), ["a", "\n\n", " b"]);
        assert_eq!(pieces(Family::Gpt2, "a\n\nb"), ["a", "\n", "\n", "b"]);
        assert_eq!(pieces(Family::Qwen2, "!\n \t x"), ["!\n", " \t", " x"]);
    }

    #[test]
    fn families_differ_in_digits() {
        assert_eq!(pieces(Family::Qwen2, "x 1234"), ["x", " ", "1", "2", "3", "4"]);
        assert_eq!(pieces(Family::Llama3, "x 1234"), ["x", " ", "123", "4"]);
        assert_eq!(pieces(Family::Gpt2, "x 1234"), ["x", " 1234"]);
        assert_eq!(pieces(Family::Gpt4o, "fooBar's 1234"), ["foo", "Bar's", " ", "123", "4"]);
        let apart = ["1", "一二", "ab", " (", "x", ")\n", " c"];
        assert_eq!(pieces(Family::DeepSeek3, "1一二ab (x)\n c"), apart);
        assert_eq!(pieces(Family::Smollm, "x  12 3"), ["x", "  ", "1", "2", " ", "3"]);
    }

    #[test]
    fn every_name_is_of_one_family() {
        let mut names = known_names();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
        assert_eq!(Family::from_name("deepseek-r1-qwen"), Some(Family::Qwen2));
        assert_eq!(Family::from_name("wordpiece"), None);
    }

    proptest! {
        /// The published expression, look-ahead and all, run by a backtracking engine.
        #[test]
        fn cuts_as_the_published_expression_does(
            text in "([ \t\r\n\u{a0}]{0,4}|[a-z'S]{1,3}|[0-9½]{1,5}|[一カ]{1,2}|[.,!-]{1,2}|\\PC{0,4}){0,12}"
        ) {
            for (rule, published) in COMPILED.iter() {
                let mut ours = Vec::new();
                rule.cut(&text, |piece| ours.push(piece));
                prop_assert_eq!(ours, isolated(published, &text));
            }
        }
    }
}
