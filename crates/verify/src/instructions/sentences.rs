//! How many sentences a text has, as Punkt counts them (Kiss and Strunk 2006, in the form that
//! NLTK 3.9 gives it).
//!
//! A full stop ends a sentence unless it belongs to an abbreviation, an initial or a number, which
//! the word after it decides. Of what Punkt has learnt from newspapers this keeps the abbreviations
//! and the words that begin sentences; in place of its table of twenty thousand words stand two
//! lists of common ones, told apart by whether it has seen them with a capital within sentences. So
//! the two can differ where an abbreviation or a single letter with a full stop comes before a rarer
//! word with a capital (`tests/instructions/README.md` says how often).

use std::collections::HashSet;
use std::ops::Range;
use std::sync::LazyLock;

type Words = LazyLock<HashSet<&'static str>>;

/// The words of a text.
macro_rules! words_of {
    ($text:expr) => {
        LazyLock::new(|| $text.split_whitespace().collect())
    };
}

/// Words that are abbreviations when a full stop follows, in lower case.
static ABBREVIATIONS: Words = words_of!(
    " \
 mr mrs ms messrs dr prof st lt col gen sen sens rep reps adm maj jr sr \
 inc corp co cos ltd bros cie vs mg ft yr ct pa ga va \
 jan feb aug sep sept oct nov dec tues wed fri \
 ala ariz calif colo conn fla ill kan ky la mich minn nev okla ore tenn vt w.va wash wis ave \
 a.m p.m a.d b.c u.s u.k u.n u.s.a u.s.s.r d.c n.y n.j n.c n.d n.h n.m n.v s.c l.a ph.d w.va \
 s.p.a s.a b.v a.g a.c s.g s.s p.a.m m.d m.d.c m.j a.m.e \
 a.a a.s a.t c.v d.h d.w e.f e.h e.l e.m b.f f.g f.j g.d g.f g.k h.c h.f h.m j.b j.c j.j j.k j.p \
 j.r k.r l.f l.p m.b r.a r.h r.i r.j r.k r.t t.j v.a w.c w.r w.w c.i.t c.o.m.b i.m.s \
 c d e f g h k l m n p r s t v w chg sw ok "
);

/// Words that begin sentences so often that, capitalised, they begin one after an abbreviation.
static STARTERS: Words = words_of!(
    " \
 according although among both but despite even he however i if in indeed instead it many meanwhile \
 moreover most nevertheless nonetheless nor sales separately similarly since so some that the there \
 these they this though thus under when while yet "
);

/// Words that have a capital only where a sentence begins: after an abbreviation, one does.
static COMMON: Words = words_of!(include_str!("common_words.txt"));

/// Words that titles and names have in capitals, too: after a lone letter, a sentence begins.
static FAMILIAR: Words = words_of!(include_str!("familiar_words.txt"));

/// How many sentences `text` has.
pub fn count(text: &str) -> usize {
    let text: Vec<char> = text.chars().collect();
    let mut slices = Vec::new();
    let mut from = 0;
    for end in candidates(&text) {
        if breaks(&text[end.word.start..end.after.end]) {
            slices.push(from..end.mark + 1);
            from = end.next.unwrap_or(end.mark + 1);
        }
    }
    let trimmed = text.iter().rposition(|&c| !is_space(c)).map_or(0, |last| last + 1);
    slices.push(from..trimmed);

    // Closing quotes and brackets belong to the sentence before them.
    let mut sentences = 0;
    let mut skip = 0;
    for (i, slice) in slices.iter().enumerate() {
        let start = slice.start + skip;
        let Some(next) = slices.get(i + 1) else {
            sentences += usize::from(start < slice.end);
            break;
        };
        skip = closing(&text[next.start..next.end.max(next.start)]);
        sentences += usize::from(skip > 0 || start < slice.end);
    }
    sentences
}

/// A mark that may end a sentence.
struct Candidate {
    mark: usize,
    /// From the beginning of the word it ends to the mark.
    word: Range<usize>,
    /// What follows it, with the white space between.
    after: Range<usize>,
    /// Where the next word begins, if white space follows.
    next: Option<usize>,
}

fn candidates(text: &[char]) -> Vec<Candidate> {
    let mut found: Vec<Candidate> = Vec::new();
    let mut word = 0..0;
    for mark in (0..text.len()).filter(|&i| matches!(text[i], '.' | '?' | '!')) {
        let Some((after, next)) = context(text, mark) else { continue };
        let space = text[word.end.min(mark)..mark].iter().rposition(|c| c.is_ascii_whitespace());
        let start = match space {
            // A space right at the beginning is taken for none, as in NLTK.
            None | Some(0) => word.start,
            Some(space) => word.end + space + 1,
        };
        // Of marks that end the same word, the last decides.
        if found.last().is_some_and(|_| word.end > start) {
            found.pop();
        }
        word = start..mark;
        found.push(Candidate { mark, word: word.clone(), after, next });
    }
    found
}

/// What follows the mark at `mark`, if that lets it end a sentence.
fn context(text: &[char], mark: usize) -> Option<(Range<usize>, Option<usize>)> {
    let after = mark + 1;
    let c = *text.get(after)?;
    if ends_word(c) {
        return Some((after..after + 1, None));
    }
    let next = after + text[after..].iter().position(|&c| !is_space(c))?;
    if next == after {
        return None;
    }
    let len = text[next..].iter().position(|&c| is_space(c)).unwrap_or(text.len() - next);
    Some((after..next + len, Some(next)))
}

/// The length of the closing quotes and brackets at the beginning of `text`, with the space after.
fn closing(text: &[char]) -> usize {
    let is = |c: &char| matches!(c, '"' | '\'' | ')' | ']' | '}');
    let marks = text.iter().take_while(|c| is(c)).count();
    if marks == 0 {
        return 0;
    }
    let rest = &text[marks..];
    let spaces = rest.iter().take_while(|&&c| is_space(c)).count();
    let fits = rest.is_empty() || spaces > 0 || rest.starts_with(&['-', '-']);
    if fits { marks + spaces } else { 0 }
}

/// Whether a sentence ends before the last word of `context`.
fn breaks(context: &[char]) -> bool {
    let words: Vec<Word> =
        context.split(|&c| c == '\n').flat_map(words).map(|w| Word::new(&w)).collect();
    let mut ended = false;
    for (i, word) in words.iter().enumerate() {
        if ended {
            return true;
        }
        ended = match words.get(i + 1) {
            Some(next) => word.ends_before(next),
            None => false,
        };
    }
    false
}

/// A word with what its own form says of it.
struct Word {
    text: String,
    lower: String,
    /// It is an abbreviation or an ellipsis.
    kept: bool,
    ends: bool,
}

impl Word {
    fn new(text: &str) -> Self {
        let lower = text.to_lowercase();
        let dots = text.len() > 1 && text.bytes().all(|b| b == b'.');
        let stem = lower.strip_suffix('.').filter(|_| !text.ends_with(".."));
        let abbreviation = stem.is_some_and(|stem| {
            let last = stem.rsplit('-').next().unwrap_or_default();
            ABBREVIATIONS.contains(stem) || ABBREVIATIONS.contains(last)
        });
        let mark = matches!(text, "." | "?" | "!");
        let ends = mark || !dots && stem.is_some() && !abbreviation;
        Self { text: text.to_owned(), lower, kept: dots || abbreviation, ends }
    }

    /// Without the full stop that ends a sentence.
    fn bare(&self) -> &str {
        match self.lower.strip_suffix('.') {
            Some(stem) if self.ends && !stem.is_empty() => stem,
            _ => &self.lower,
        }
    }

    fn is_initial(&self) -> bool {
        let mut chars = self.text.chars();
        let letter = chars.next().is_some_and(|c| c.is_alphabetic() || c == '_');
        letter && chars.as_str() == "."
    }

    /// A number, as in "2." or "-3,000.5".
    fn is_number(&self) -> bool {
        let number = self.text.strip_prefix('-').unwrap_or(&self.text);
        let number = number.strip_prefix(['.', ',']).unwrap_or(number);
        number.starts_with(|c: char| c.is_ascii_digit())
            && number.chars().all(|c| c.is_ascii_digit() || matches!(c, '.' | ',' | '-'))
    }

    fn ends_before(&self, next: &Word) -> bool {
        if !self.text.ends_with('.') {
            return self.ends;
        }
        let upper = next.text.starts_with(char::is_uppercase);
        let lower = next.text.starts_with(char::is_lowercase);
        let goes_on = lower || matches!(&*next.text, ";" | ":" | "," | "." | "!" | "?");
        let common = COMMON.contains(next.bare());
        let starter = STARTERS.contains(next.bare());
        if self.is_initial() {
            // Every other starter is seen without a capital, too.
            let known = common || starter && next.bare() != "i" || FAMILIAR.contains(next.bare());
            return self.ends && !goes_on && (known || !upper);
        }
        if self.kept {
            return self.ends || !goes_on && upper && (common || starter);
        }
        self.ends && !(self.is_number() && goes_on)
    }
}

/// The words and marks of a line.
fn words(line: &[char]) -> Vec<String> {
    let mut words = Vec::new();
    let mut i = 0;
    while i < line.len() {
        if is_space(line[i]) {
            i += 1;
            continue;
        }
        let len = match repeated(&line[i..]) {
            0 if begins_word(line[i]) => {
                let ends = |&j: &usize| j == line.len() || word_ends_at(line, j);
                (i + 1..=line.len()).find(ends).unwrap_or(line.len()) - i
            }
            0 => 1,
            len => len,
        };
        words.push(line[i..i + len].iter().collect());
        i += len;
    }
    words
}

fn word_ends_at(line: &[char], at: usize) -> bool {
    let end = |c: char| is_space(c) || ends_word(c);
    let comma = line[at] == ','
        && line.get(at + 1).is_none_or(|&c| end(c) || repeated(&line[at + 1..]) > 0);
    end(line[at]) || comma || repeated(&line[at..]) > 0
}

/// The length of the dashes or dots in a row, or of dots with spaces between, at the beginning.
fn repeated(line: &[char]) -> usize {
    let run = |of: char| line.iter().take_while(|&&c| c == of).count();
    let same = run('-').max(run('.'));
    if same > 1 {
        return same;
    }
    let spaced = line.chunks_exact(2).take_while(|two| two[0] == '.' && is_space(two[1])).count();
    // The last of them need not be followed by a space.
    let dots = if line.get(spaced * 2) == Some(&'.') { spaced + 1 } else { spaced };
    if dots > 2 { dots * 2 - 1 } else { 0 }
}

fn begins_word(c: char) -> bool {
    !matches!(
        c,
        '(' | '"'
            | '`'
            | '{'
            | '['
            | ':'
            | ';'
            | '&'
            | '#'
            | '*'
            | '@'
            | ')'
            | '}'
            | ']'
            | '-'
            | ','
    )
}

/// Marks that cannot be inside a word.
fn ends_word(c: char) -> bool {
    matches!(c, ')' | '"' | ';' | '}' | ']' | '*' | ':' | '@' | '\'' | '(' | '{' | '[' | '!' | '?')
}

fn is_space(c: char) -> bool {
    super::is_space(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_sentences() {
        for (text, expected) in [
            ("", 0),
            ("   ", 0),
            ("One", 1),
            ("One. Two. Three.", 3),
            ("Mr. Smith met Dr. Brown at 5 p.m. on Jan. 3.", 1),
            ("He left at 5 p.m. The others stayed.", 2),
            ("Is it? Yes! Really!!! Good.", 4),
            ("\"Stop!\" he said. (It was late.) They stopped.", 4),
            ("Pi is 3.14 or so. Version 2. is old.", 2),
            ("Wait... what? No.", 2),
            ("J. Bach wrote it. A. Then B.", 3),
            ("no capitals here. none here either.", 2),
            ("Line one.\nLine two.\n\nLine three", 3),
        ] {
            assert_eq!(count(text), expected, "{text:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn never_more_sentences_than_marks(text in "[a-cA-C.?! \n\"'(),:-]{0,60}") {
            let marks = text.chars().filter(|c| ".?!".contains(*c)).count();
            proptest::prop_assert!(count(&text) <= marks + 1);
        }
    }
}
