//! Merging by score, as SentencePiece does (Kudo and Richardson 2018, arXiv:1808.06226).
//!
//! Of all neighbours in a text that make a token together, those whose token has the best score become one,
//! the leftmost first among equals, until no two make any. What is left and is no token is written in bytes.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use super::table::hexadecimal;
use super::{Error, TokenType};

/// What a vocabulary says of its tokens beside their texts.
pub(super) struct Scores {
    /// Of each token by its id; none of those that text can't be merged into: control tokens, bytes.
    scores: Vec<Option<f32>>,
    /// The token of each byte.
    bytes: Box<[Option<u32>; 256]>,
    /// Stands for a run of what there is no token for.
    unknown: Option<u32>,
    /// Bytes of the longest token.
    longest: usize,
}

/// A stretch of the text that is, or may become, a token. Symbols are a list: merging takes one out.
struct Symbol {
    start: usize,
    end: usize,
    token: Option<u32>,
    before: usize,
    after: usize,
}

/// The place of no symbol.
const NONE: usize = usize::MAX;

/// Two neighbours that make a token.
struct Pair {
    score: f32,
    left: usize,
    right: usize,
    token: u32,
    /// Of both, when they were found: if it is another by now, one of them has been merged.
    bytes: usize,
}

impl Ord for Pair {
    fn cmp(&self, other: &Pair) -> Ordering {
        self.score.total_cmp(&other.score).then_with(|| other.left.cmp(&self.left))
    }
}

impl PartialOrd for Pair {
    fn partial_cmp(&self, other: &Pair) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Pair {
    fn eq(&self, other: &Pair) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Pair {}

impl Scores {
    /// `types` and `scores` are of the tokens, one for each.
    ///
    /// # Errors
    /// A score is no number.
    pub(super) fn new(
        tokens: &[String],
        types: &[TokenType],
        scores: &[f32],
        unknown: Option<u32>,
    ) -> Result<Scores, Error> {
        if let Some(id) = scores.iter().position(|score| score.is_nan()) {
            return Err(Error::Score { id });
        }
        let merged = |(score, kind): (&f32, &TokenType)| match kind {
            TokenType::Normal | TokenType::UserDefined | TokenType::Unused => {
                // The best score of all is sometimes -0, which is no worse than 0.
                Some(*score + 0.0)
            }
            TokenType::Unknown | TokenType::Control | TokenType::Byte => None,
        };
        let mut bytes = Box::new([None; 256]);
        for (id, (token, kind)) in (0..).zip(tokens.iter().zip(types)) {
            if let (TokenType::Byte, Some(byte)) = (kind, hexadecimal(token)) {
                bytes[usize::from(byte)] = Some(id);
            }
        }
        Ok(Scores {
            scores: scores.iter().zip(types).map(merged).collect(),
            bytes,
            unknown,
            longest: tokens.iter().map(String::len).max().unwrap_or(0),
        })
    }

    /// Appends the ids of `text`; `find` knows tokens by their texts. In a text of n bytes some n merges are
    /// looked for and kept in order: n log n.
    pub(super) fn merge(&self, text: &str, find: impl Fn(&str) -> Option<u32>, ids: &mut Vec<u32>) {
        let find = |start: usize, end: usize| {
            let token = find(text.get(start..end).filter(|part| part.len() <= self.longest)?)?;
            self.scores.get(token as usize).copied().flatten().map(|score| (token, score))
        };
        let mut symbols: Vec<Symbol> = Vec::new();
        for (start, letter) in text.char_indices() {
            let (at, end) = (symbols.len(), start + letter.len_utf8());
            let token = find(start, end).map(|(token, _)| token);
            symbols.push(Symbol { start, end, token, before: at.wrapping_sub(1), after: at + 1 });
        }
        if let Some(last) = symbols.last_mut() {
            last.after = NONE;
        }

        let mut pairs = BinaryHeap::new();
        let look = |symbols: &[Symbol], left: usize, right: usize, pairs: &mut BinaryHeap<Pair>| {
            if let (Some(a), Some(b)) = (symbols.get(left), symbols.get(right))
                && let Some((token, score)) = find(a.start, b.end)
            {
                pairs.push(Pair { score, left, right, token, bytes: b.end - a.start });
            }
        };
        for right in 1..symbols.len() {
            look(&symbols, right - 1, right, &mut pairs);
        }
        while let Some(Pair { left, right, token, bytes, .. }) = pairs.pop() {
            let (a, b) = (&symbols[left], &symbols[right]);
            // A symbol that was merged into the one before it is empty.
            let both = a.start < a.end && b.start < b.end;
            if !both || b.end - a.start != bytes || a.after != right {
                continue;
            }
            let (end, after) = (b.end, b.after);
            symbols[right].start = end;
            let Symbol { before, .. } = symbols[left];
            symbols[left] = Symbol { end, after, token: Some(token), ..symbols[left] };
            if let Some(next) = symbols.get_mut(after) {
                next.before = left;
            }
            look(&symbols, before, left, &mut pairs);
            look(&symbols, left, after, &mut pairs);
        }

        let mut unknown = false;
        let mut next = 0;
        while let Some(symbol) = symbols.get(next) {
            next = symbol.after;
            let was_unknown = std::mem::take(&mut unknown);
            if let Some(token) = symbol.token {
                ids.push(token);
                continue;
            }
            let letter = &text.as_bytes()[symbol.start..symbol.end];
            let bytes = || letter.iter().map(|byte| self.bytes[usize::from(*byte)]);
            if bytes().all(|token| token.is_some()) {
                ids.extend(bytes().flatten());
            } else {
                ids.extend(self.unknown.filter(|_| !was_unknown));
                unknown = true;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Merges until nothing can be merged, looking at all neighbours each time.
    fn by_hand(text: &str, vocabulary: &[(&str, f32)]) -> Vec<String> {
        let mut parts: Vec<String> = text.chars().map(String::from).collect();
        let score = |text: &str| vocabulary.iter().find(|(token, _)| *token == text);
        loop {
            let mut best: Option<(f32, usize)> = None;
            for at in 1..parts.len() {
                if let Some((_, score)) = score(&format!("{}{}", parts[at - 1], parts[at]))
                    && best.is_none_or(|(known, _)| *score > known)
                {
                    best = Some((*score, at));
                }
            }
            let Some((_, at)) = best else { return parts };
            let right = parts.remove(at);
            parts[at - 1].push_str(&right);
        }
    }

    fn scores(vocabulary: &[(&str, f32)]) -> Scores {
        let tokens: Vec<String> = vocabulary.iter().map(|(token, _)| token.to_string()).collect();
        let numbers: Vec<f32> = vocabulary.iter().map(|(_, score)| *score).collect();
        Scores::new(&tokens, &vec![TokenType::Normal; tokens.len()], &numbers, None).unwrap()
    }

    #[test]
    fn merges_are_those_of_looking_at_everything_each_time() {
        // Scores are few on purpose: equals have to come from the left.
        let vocabulary = [
            ("a", -9.0),
            ("b", -9.0),
            ("c", -9.0),
            ("aa", -2.0),
            ("ab", -1.0),
            ("ba", -1.0),
            ("bc", -0.0),
            ("aaa", 0.0),
            ("aba", -1.0),
            ("abc", -3.0),
            ("cc", -2.0),
            ("aaaa", -2.0),
            ("bcaa", -2.0),
        ];
        let scores = scores(&vocabulary);
        let find = |text: &str| vocabulary.iter().position(|(token, _)| *token == text);
        let mut state = 7u64;
        for length in 0..300 {
            let text: String = (0..length % 60)
                .map(|_| {
                    state =
                        state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                    ['a', 'b', 'c'][(state >> 33) as usize % 3]
                })
                .collect();
            let mut ids = Vec::new();
            scores.merge(&text, |text| find(text).map(|id| id as u32), &mut ids);
            let merged: Vec<&str> = ids.iter().map(|id| vocabulary[*id as usize].0).collect();
            assert_eq!(merged, by_hand(&text, &vocabulary), "{text}");
        }
    }

    #[test]
    fn what_is_no_token_is_bytes_or_unknown_or_nothing() {
        let tokens: Vec<String> =
            ["<unk>", "a", "<0xC3>", "<0xA9>", "<s>", "<s", "s>", "<", "s", ">"]
                .map(str::to_owned)
                .to_vec();
        let mut types = vec![TokenType::Normal; tokens.len()];
        types[0] = TokenType::Unknown;
        types[2] = TokenType::Byte;
        types[3] = TokenType::Byte;
        types[4] = TokenType::Control;
        let merge = |unknown, text: &str| {
            let scores = Scores::new(&tokens, &types, &vec![0.0; tokens.len()], unknown).unwrap();
            let mut ids = Vec::new();
            let find = |text: &str| tokens.iter().position(|t| t == text).map(|id| id as u32);
            scores.merge(text, find, &mut ids);
            ids
        };
        assert_eq!(merge(Some(0), "aéa"), [1, 2, 3, 1]);
        assert_eq!(merge(Some(0), "xyazé"), [0, 1, 0, 2, 3]);
        assert_eq!(merge(None, "xyazé"), [1, 2, 3]);
        // No text becomes a control token.
        assert_eq!(merge(None, "<s>"), [5, 9]);
        assert_eq!(merge(None, ""), [] as [u32; 0]);
    }
}
