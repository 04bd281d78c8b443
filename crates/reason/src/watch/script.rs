//! Does a model stray from the question's writing?

/// A sample mixes languages if more than this share of its letters is foreign …
pub const FOREIGN_THRESHOLD: f64 = 0.02;
/// … and at least so many of them are: a single letter may be a symbol.
const FOREIGN_LETTERS: usize = 3;
/// A script is one of the question's if at least one in so many of its letters belongs to it: who asks
/// for a translation writes two.
const HOME_SHARE: usize = 10;
/// Latin words below this length are names of variables and units wherever they stand.
const LATIN_WORD: usize = 4;

/// A family of letters, by ranges of Unicode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs)] // Their names are what they are.
pub enum Script {
    Latin,
    Cyrillic,
    Armenian,
    Hebrew,
    Arabic,
    Devanagari,
    Bengali,
    Tamil,
    Thai,
    Georgian,
    Hangul,
    Kana,
    Han,
    /// Letters of any other script.
    Other,
}

impl Script {
    /// The script of a letter. `None` for what is no letter, and for Greek and the mathematical
    /// alphabets: they are notation in every language.
    pub fn of(c: char) -> Option<Self> {
        Some(match u32::from(c) {
            0x41..=0x5a | 0x61..=0x7a => Self::Latin,
            0..=0xbf | 0xd7 | 0xf7 => return None,
            0xc0..=0x24f
            | 0x1e00..=0x1eff
            | 0x2c60..=0x2c7f
            | 0xff21..=0xff3a
            | 0xff41..=0xff5a => Self::Latin,
            0x370..=0x3ff | 0x1f00..=0x1fff | 0x2100..=0x214f | 0x1_d400..=0x1_d7ff => return None,
            0x400..=0x52f => Self::Cyrillic,
            0x530..=0x58f => Self::Armenian,
            0x590..=0x5ff => Self::Hebrew,
            0x600..=0x6ff | 0x750..=0x77f | 0xfb50..=0xfdff | 0xfe70..=0xfefe => Self::Arabic,
            0x900..=0x97f => Self::Devanagari,
            0x980..=0x9ff => Self::Bengali,
            0xb80..=0xbff => Self::Tamil,
            0xe00..=0xe7f => Self::Thai,
            0x10a0..=0x10ff => Self::Georgian,
            0x1100..=0x11ff | 0x3130..=0x318f | 0xac00..=0xd7af => Self::Hangul,
            0x3041..=0x30ff | 0x31f0..=0x31ff | 0xff66..=0xff9d => Self::Kana,
            0x3005..=0x3007
            | 0x3400..=0x4dbf
            | 0x4e00..=0x9fff
            | 0xf900..=0xfaff
            | 0x2_0000..=0x3_ffff => Self::Han,
            _ => Self::Other,
        })
        .filter(|_| c.is_alphabetic())
    }
}

const SCRIPTS: usize = Script::Other as usize + 1;

/// How many letters of each script a text has. Fenced code and LaTeX's commands are not counted, and
/// short Latin words not where Latin is foreign (`latin_symbols`).
fn count(text: &str, latin_symbols: bool) -> [usize; SCRIPTS] {
    let mut counts = [0; SCRIPTS];
    for (i, part) in text.split("```").enumerate() {
        if i % 2 == 1 {
            continue;
        }
        let mut letters = part.chars().peekable();
        let mut command = false;
        while let Some(c) = letters.next() {
            match Script::of(c) {
                Some(Script::Latin) => {
                    let mut length = 1;
                    while letters.next_if(|&c| Script::of(c) == Some(Script::Latin)).is_some() {
                        length += 1;
                    }
                    if !command && (!latin_symbols || length >= LATIN_WORD) {
                        counts[Script::Latin as usize] += length;
                    }
                }
                Some(script) => counts[script as usize] += 1,
                None => {}
            }
            command = c == '\\';
        }
    }
    counts
}

/// Of an answer's letters, those that belong to no script of the question: how many, and of how many.
/// A question's scripts are those of at least a tenth of its letters; a question without letters
/// takes the answer's commonest script for its own.
pub fn foreign_share(question: &str, answer: &str) -> (usize, usize) {
    let mut asked = count(question, false);
    if asked.iter().sum::<usize>() == 0 {
        asked = count(answer, false);
        let most = asked.iter().copied().max().unwrap_or(0);
        asked.iter_mut().for_each(|n| *n = if *n == most { *n } else { 0 });
    }
    let total: usize = asked.iter().sum();
    let mut home = asked.map(|n| n > 0 && n * HOME_SHARE >= total);
    // Japanese is written with both; a short question may happen to have no Han.
    if home[Script::Kana as usize] {
        home[Script::Han as usize] = true;
    }
    let counts = count(answer, !home[Script::Latin as usize]);
    let foreign = counts.iter().zip(home).filter(|(_, home)| !home).map(|(n, _)| n).sum();
    (foreign, counts.iter().sum())
}

/// Whether so many foreign letters of so many are a mix of languages: more than 2 %, and at least
/// three.
pub fn is_mixed(foreign: usize, letters: usize) -> bool {
    foreign >= FOREIGN_LETTERS && foreign as f64 > FOREIGN_THRESHOLD * letters as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mixed(question: &str, answer: &str) -> bool {
        let (foreign, letters) = foreign_share(question, answer);
        is_mixed(foreign, letters)
    }

    #[test]
    fn straying_is_seen() {
        assert!(mixed("How many apples?", "First add them: 所以一共有七个苹果。 So 7."));
        assert!(mixed("一共有多少个苹果？", "Okay, let me think about this. 一共七个。"));
        assert!(mixed("Сколько яблок?", "There are seven apples."));
        assert_eq!(foreign_share("How many?", "seven 七"), (1, 6));
    }

    #[test]
    fn notation_is_no_language() {
        assert!(!mixed("Area of a circle?", "It is πr², with π ≈ 3.14, so α = 2π, Δx → 𝔼[x]."));
        assert!(!mixed(
            "圆的面积是多少？",
            "面积是 $\\frac{\\pi r}{2}$，其中 r = 3 cm，所以 sin x = 1。"
        ));
        assert!(!mixed(
            "写一个函数",
            "好的：\n```python\ndef add(first, second): return first\n```\n完成。"
        ));
        assert!(!mixed(
            "Translate 'thank you very much' into Chinese: 谢谢你们",
            "谢谢你们 means thanks"
        ));
        assert!(!mixed("りんごはいくつ？", "合計七個です。"));
        assert!(!mixed("2 + 2 = ?", "四个苹果"));
        assert!(!mixed("", ""));
    }

    #[test]
    fn letters_have_scripts() {
        let of = |s: &str| s.chars().map(Script::of).collect::<Vec<_>>();
        assert_eq!(of("é1π×"), [Some(Script::Latin), None, None, None]);
        assert_eq!(
            of("한कあЖ中"),
            [
                Some(Script::Hangul),
                Some(Script::Devanagari),
                Some(Script::Kana),
                Some(Script::Cyrillic),
                Some(Script::Han)
            ]
        );
    }
}
