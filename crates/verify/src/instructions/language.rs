//! Which language a text is in.
//!
//! The published checker asks `langdetect`, a naive Bayes guess from one to three characters in a
//! row that draws some of them at random and so may answer differently on every call. Here all of
//! them count, once each time they occur, so the answer is the one it would give most often.

use std::collections::HashMap;
use std::sync::LazyLock;

use regex::Regex;

/// How many characters are looked at, as in `langdetect`.
const MAX_CHARS: usize = 10_000;
/// What is added to every share, so that an unseen n-gram rules nothing out.
const SMOOTHING: f64 = 0.5 / 10_000.0;

static DATA: &str = include_str!("languages.txt");
static TABLE: LazyLock<Table> = LazyLock::new(Table::read);
static NOT_TEXT: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"https?://[-_.?&~;+=/#0-9A-Za-z]+|[-_.0-9A-Za-z]+@[-_0-9A-Za-z]+[-_.0-9A-Za-z]+")
        .expect("a constant")
});

/// Up to three characters in one number.
type Gram = u64;

struct Table {
    languages: Vec<&'static str>,
    /// Per n-gram and language: what its logarithm is above that of an unseen one; sorted.
    entries: Vec<(Gram, u8, f32)>,
}

impl Table {
    fn read() -> Self {
        let mut languages = Vec::new();
        let mut entries = Vec::new();
        for line in DATA.lines().filter(|line| !line.starts_with('#')) {
            let mut fields = line.splitn(3, '\t');
            let first = fields.next().unwrap_or_default();
            let (Some(n), Some(grams)) = (fields.next(), fields.next()) else {
                languages.push(first);
                continue;
            };
            let quarters: f64 = first.parse().expect("a share in our own file");
            let n: usize = n.parse().expect("a length in our own file");
            let share = (-quarters / 4.0).exp2();
            let gain = ((SMOOTHING + share) / SMOOTHING).ln() as f32;
            let language = (languages.len() - 1) as u8;
            let chars: Vec<char> = grams.chars().collect();
            entries.extend(chars.chunks(n).map(|gram| (pack(gram), language, gain)));
        }
        entries.sort_unstable_by_key(|&(gram, language, _)| (gram, language));
        Self { languages, entries }
    }

    fn of(&self, gram: Gram) -> &[(Gram, u8, f32)] {
        let from = self.entries.partition_point(|entry| entry.0 < gram);
        let len = self.entries[from..].iter().take_while(|entry| entry.0 == gram).count();
        &self.entries[from..from + len]
    }
}

fn pack(chars: &[char]) -> Gram {
    chars.iter().fold(0, |gram, &c| gram << 21 | u64::from(u32::from(c)))
}

/// The ISO 639-1 code of the language `text` is in (Chinese as `zh-cn` or `zh-tw`), or `None` if
/// nothing in it points to any.
pub fn detect(text: &str) -> Option<&'static str> {
    let table = &*TABLE;
    let mut counts: HashMap<Gram, u32> = HashMap::new();
    for gram in grams(text) {
        *counts.entry(gram).or_default() += 1;
    }
    // In a fixed order, so that sums don't depend on the map's.
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_unstable();
    let mut sums = vec![0.0f64; table.languages.len()];
    let mut known = false;
    for (gram, count) in counts {
        for &(_, language, gain) in table.of(gram) {
            known = true;
            sums[usize::from(language)] += f64::from(count) * f64::from(gain);
        }
    }
    let best = (0..sums.len()).max_by(|&a, &b| sums[a].total_cmp(&sums[b]))?;
    known.then(|| table.languages[best])
}

/// The n-grams of `text` that count: not across words, and not within words in capitals, of which
/// only the beginning does.
fn grams(text: &str) -> Vec<Gram> {
    let mut grams = Vec::new();
    let mut last = [' '; 3];
    let mut len = 1;
    let mut capitals = false;
    for c in cleaned(text) {
        let c = normalised(c);
        let before = last[2];
        if before == ' ' {
            len = 1;
            capitals = false;
            if c == ' ' {
                continue;
            }
        }
        last = [last[1], before, c];
        len = (len + 1).min(3);
        capitals = c.is_uppercase() && (capitals || before.is_uppercase());
        if !capitals {
            let whole = (1..=len).filter(|&n| n > 1 || c != ' ');
            grams.extend(whole.map(|n| pack(&last[3 - n..])));
        }
    }
    grams
}

/// Without addresses, and without Latin letters where most are of another script.
fn cleaned(text: &str) -> Vec<char> {
    let text = NOT_TEXT.replace_all(text, " ");
    let mut chars: Vec<char> = Vec::new();
    for c in text.chars().take(MAX_CHARS) {
        match chars.last().and_then(|&letter| vietnamese(letter, c)) {
            Some(whole) => *chars.last_mut().expect("was looked at") = whole,
            None => chars.push(c),
        }
    }
    let latin = |c: char| ('A'..='z').contains(&c);
    let others = |c: char| c >= '\u{300}' && !('\u{1e00}'..='\u{1eff}').contains(&c);
    let count = |is: &dyn Fn(char) -> bool| chars.iter().filter(|&&c| is(c)).count();
    if count(&latin) * 2 < count(&others) {
        chars.retain(|&c| !latin(c));
    }
    chars
}

/// A letter and a Vietnamese tone mark that follows it as one character.
fn vietnamese(letter: char, mark: char) -> Option<char> {
    if !matches!(mark, '\u{300}' | '\u{301}' | '\u{303}' | '\u{309}' | '\u{323}') {
        return None;
    }
    let vowel = "AEIOUYaeiouyÂÊÔâêôĂăƠơƯư".contains(letter);
    vowel.then(|| unicode_normalization::char::compose(letter, mark)).flatten()
}

/// Characters that say nothing apart become one: punctuation a space, kana and Hangul one each.
fn normalised(c: char) -> char {
    match c {
        'A'..='Z' | 'a'..='z' => c,
        '\0'..='\u{7f}' | '\u{a0}' | '«' | '°' | '»' | '\u{2000}'..='\u{206f}' => ' ',
        'ș' => 'ş',
        'ț' => 'ţ',
        'ی' => 'ي',
        '\u{1ea0}'..='\u{1eff}' => 'ể',
        '\u{3040}'..='\u{309f}' => 'あ',
        '\u{30a0}'..='\u{30ff}' => 'ア',
        '\u{3100}'..='\u{312f}' | '\u{31a0}'..='\u{31bf}' => 'ㄅ',
        '\u{ac00}'..='\u{d7af}' => '가',
        _ => c,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_languages_apart() {
        assert_eq!(detect("The quick brown fox jumps over the lazy dog."), Some("en"));
        assert_eq!(detect("THE SHIPS COULD SEE ITS LIGHT, AND EVERYBODY WAS HAPPY."), Some("en"));
        assert_eq!(detect("Der schnelle braune Fuchs springt über den Hund."), Some("de"));
        assert_eq!(detect("Mbweha mwepesi anaruka juu ya mbwa mvivu."), Some("sw"));
        assert_eq!(detect("तेज़ भूरी लोमड़ी आलसी कुत्ते के ऊपर कूदती है।"), Some("hi"));
        assert_eq!(detect("123 ... 456"), None);
        assert_eq!(detect(""), None);
    }

    #[test]
    fn addresses_do_not_count() {
        assert_eq!(detect("https://example.org/the/english/words a@b.example"), None);
    }
}
