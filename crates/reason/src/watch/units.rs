//! Text in units about the size of tokens, whatever the model's vocabulary.

/// Letters and digits in a unit at most: `00000000` is several.
const LONGEST: usize = 12;

/// One unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unit {
    /// Says what it is: equal units, equal numbers.
    pub(super) hash: u64,
    /// The same, with all numbers taken for one.
    pub(super) shape: u64,
    /// Where it begins, in bytes from the start of all text.
    pub(super) start: usize,
}

/// Cuts a text that comes in pieces. White space separates and is not told.
#[derive(Clone, Debug, Default)]
pub(super) struct Cutter {
    /// Bytes taken so far.
    at: usize,
    word: Option<Word>,
}

#[derive(Clone, Copy, Debug)]
struct Word {
    hash: u64,
    start: usize,
    length: usize,
    kind: Kind,
    last: char,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Letters,
    Digits,
    /// The same sign over and over.
    Sign,
}

impl Kind {
    fn of(c: char) -> Kind {
        match c {
            '0'..='9' => Kind::Digits,
            // Scripts without spaces are cut at every letter.
            c if c.is_alphabetic() && (c as u32) < 0x2e80 => Kind::Letters,
            _ => Kind::Sign,
        }
    }
}

/// FNV-1a.
fn mix(hash: u64, c: char) -> u64 {
    (hash ^ u64::from(c)).wrapping_mul(0x100_0000_01b3)
}

const SEED: u64 = 0xcbf2_9ce4_8422_2325;

impl Cutter {
    /// Takes more text, and tells the units that are whole.
    pub(super) fn push(&mut self, text: &str, mut tell: impl FnMut(Unit)) {
        for c in text.chars() {
            let start = self.at;
            self.at += c.len_utf8();
            if c.is_whitespace() {
                self.word.take().map(Word::unit).into_iter().for_each(&mut tell);
                continue;
            }
            let kind = Kind::of(c);
            let fits = self.word.filter(|word| {
                word.kind == kind
                    && word.length < LONGEST
                    && (kind != Kind::Sign || word.last == c && c.is_ascii_punctuation())
            });
            if fits.is_none() {
                self.word.take().map(Word::unit).into_iter().for_each(&mut tell);
            }
            let word = fits.unwrap_or(Word { hash: SEED, start, length: 0, kind, last: c });
            self.word =
                Some(Word { hash: mix(word.hash, c), length: word.length + 1, last: c, ..word });
        }
    }
}

impl Word {
    fn unit(self) -> Unit {
        let shape = if self.kind == Kind::Digits { 0 } else { self.hash };
        Unit { hash: self.hash, shape, start: self.start }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(pieces: &[&str]) -> Vec<(usize, u64)> {
        let (mut cutter, mut units) = (Cutter::default(), Vec::new());
        pieces.iter().for_each(|piece| cutter.push(piece, |unit| units.push(unit)));
        units.iter().map(|unit| (unit.start, unit.hash)).collect()
    }

    #[test]
    fn cuts_do_not_depend_on_pieces() {
        let whole = cut(&["ab 12 + ab == 12; 所以 ---- x "]);
        assert_eq!(whole, cut(&["a", "b 1", "2 + ab =", "= 12; 所", "以 --", "-- x "]));
        let starts: Vec<usize> = whole.iter().map(|(start, _)| *start).collect();
        assert_eq!(starts, [0, 3, 6, 8, 11, 14, 16, 18, 21, 25, 30]);
        assert_eq!(whole[0].1, whole[3].1, "the same word");
        assert_eq!(cut(&[&"0".repeat(120), " "]).len(), 10);
    }
}
