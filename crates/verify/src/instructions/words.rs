//! Words, counted as the published checker counts them.

use std::sync::LazyLock;

use regex::Regex;

/// Letters, digits and the underscore, without combining marks: what Python calls `\w`.
static WORD: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"[\p{L}\p{N}_]+").expect("a constant"));

/// How many words `text` has.
pub fn count(text: &str) -> usize {
    WORD.find_iter(text).count()
}

/// How many words in capitals: tokens of the Penn Treebank's kind, which part "DON'T" in two, that
/// have letters, all of them capitals.
pub fn count_capitals(text: &str) -> usize {
    text.split(super::is_space).map(capitals_in).sum()
}

fn capitals_in(word: &str) -> usize {
    let chars: Vec<char> = word.chars().collect();
    let mut count = 0;
    let mut from = 0;
    for (i, &c) in chars.iter().enumerate() {
        let next = chars.get(i + 1);
        let doubled = next == Some(&c) || i > from && chars[i - 1] == c;
        let parts = match c {
            '.' | '-' | '\'' => doubled,
            ',' | ':' => next.is_none_or(|next| !next.is_numeric()),
            _ => is_separator(c),
        };
        if parts {
            count += capitals_of(&chars[from..i]);
            from = i + 1;
        }
    }
    count + capitals_of(&chars[from..])
}

fn is_separator(c: char) -> bool {
    "?!;@#$%&*()[]{}<>\"`«»“”‘’„".contains(c) || ('\u{2012}'..='\u{2015}').contains(&c)
}

/// Of a word without marks around it: the endings that count for themselves are cut off.
fn capitals_of(word: &[char]) -> usize {
    let word = word.strip_suffix(&['.']).unwrap_or(word);
    let text: String = word.iter().collect();
    // 'TIS and 'TWAS are two words; any other leading quote is none.
    for (whole, first) in [("'tis", 2), ("'twas", 2)] {
        if text.to_lowercase() == whole {
            return both(word, first);
        }
    }
    let pairs =
        [("cannot", 3), ("gimme", 3), ("gonna", 3), ("gotta", 3), ("lemme", 3), ("wanna", 3)];
    let lower = text.to_lowercase();
    for (whole, first) in pairs {
        if lower == whole {
            return both(word, first);
        }
    }
    let cut = match text.rfind('\'') {
        Some(at) if at > 0 => match &text[at..] {
            "'" | "'S" | "'M" | "'D" | "'LL" | "'RE" | "'VE" | "'s" | "'m" | "'d" | "'ll"
            | "'re" | "'ve" => Some(text[..at].chars().count()),
            "'T" if text[..at].ends_with('N') && at > 1 => Some(word.len() - 3),
            "'t" if text[..at].ends_with('n') && at > 1 => Some(word.len() - 3),
            _ => None,
        },
        _ => None,
    };
    match cut {
        Some(cut) => both(word, cut),
        None => usize::from(super::is_upper(&text)),
    }
}

fn both(word: &[char], cut: usize) -> usize {
    let upper = |part: &[char]| usize::from(super::is_upper(&part.iter().collect::<String>()));
    upper(&word[..cut]) + upper(&word[cut..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_words() {
        assert_eq!(count("It's a well-known fact, isn't it?"), 9);
        assert_eq!(count(""), 0);
        // The vowel signs of Devanagari part words, as in Python.
        assert_eq!(count("हिन्दी"), 3);
    }

    #[test]
    fn counts_capitals() {
        for (text, expected) in [
            ("THE END", 2),
            ("I am NASA's own.", 2),
            ("DON'T CAN'T WE'LL", 6),
            ("CANNOT", 2),
            ("A-B and C--D", 3),
            ("(U.S.) *BIG* **NEWS**", 3),
            ("'QUOTED' \"TEXT\"", 2),
            ("B2B 4K 12", 2),
            ("ROCK'N'ROLL O'NEIL'S", 3),
        ] {
            assert_eq!(count_capitals(text), expected, "{text:?}");
        }
    }
}
