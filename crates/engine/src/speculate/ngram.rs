//! Guesses from the text itself: what followed the last time these tokens were said.
//!
//! Of the places where the last few tokens were said before, the one is taken that agrees furthest
//! back. Where there is none, a text that has been following another (a program given back with a
//! name changed, a quotation in other words) is taken to go on following it, one token for one.

use std::collections::HashMap;

/// Tokens that have to agree for a place to be found.
const N: usize = 3;
/// How far back it matters whether two places agree.
const BACK: usize = 24;
/// Places that are compared, the latest first.
const PLACES: usize = 32;
/// Of the last [`BACK`] tokens, so many must be those of the text that is being followed.
const FOLLOWS: usize = 12;

/// How well founded a guess is; an index into what guesses of its kind have been worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ground {
    /// The text has followed another so far, but its last tokens differ.
    Following = 0,
    /// The last few tokens were said before.
    Few = 1,
    /// The last [`MANY`] tokens, or more.
    Many = 2,
    /// All of the last [`BACK`] tokens.
    All = 3,
}

/// Tokens that make a ground [`Ground::Many`].
const MANY: usize = 6;

/// Where each run of [`N`] tokens was seen.
#[derive(Default)]
pub(crate) struct Ngrams {
    /// The place after the latest such run.
    latest: HashMap<[u32; N], usize>,
    /// For the place after each run, the place after the one before it; 0 if there is none.
    before: Vec<usize>,
    /// The place that the next token was last taken from, and the length of the text then.
    followed: Option<(usize, usize)>,
}

impl Ngrams {
    /// The place in `tokens` whose tokens are likely to come next, and why. `tokens` is the text of
    /// the call before, and more.
    pub(crate) fn find(&mut self, tokens: &[u32]) -> Option<(usize, Ground)> {
        self.read(tokens);
        let found = self.said_before(tokens).or_else(|| self.following(tokens));
        if let Some((at, _)) = found {
            self.followed = Some((at, tokens.len()));
        }
        found
    }

    /// Notes all runs that end before the last token.
    fn read(&mut self, tokens: &[u32]) {
        for end in self.before.len()..tokens.len() {
            let run = tokens[..end].last_chunk::<N>();
            let before = run.and_then(|run| self.latest.insert(*run, end));
            self.before.push(before.unwrap_or(0));
        }
    }

    fn said_before(&self, tokens: &[u32]) -> Option<(usize, Ground)> {
        let mut at = *self.latest.get(tokens.last_chunk::<N>()?)?;
        let (mut best, mut most) = (at, 0);
        for _ in 0..PLACES {
            let agree = agree(tokens, at);
            if agree > most {
                (best, most) = (at, agree);
            }
            at = self.before[at];
            if at == 0 || most == BACK {
                break;
            }
        }
        let ground = match most {
            BACK.. => Ground::All,
            MANY.. => Ground::Many,
            _ => Ground::Few,
        };
        Some((best, ground))
    }

    fn following(&self, tokens: &[u32]) -> Option<(usize, Ground)> {
        let (from, len) = self.followed?;
        let at = from + (tokens.len() - len);
        let same = (1..=BACK.min(at)).filter(|i| tokens[at - i] == tokens[tokens.len() - i]);
        (at < tokens.len() && same.count() >= FOLLOWS).then_some((at, Ground::Following))
    }
}

/// How many tokens before `at` are those at the end, up to [`BACK`].
fn agree(tokens: &[u32], at: usize) -> usize {
    let pairs = tokens[..at].iter().rev().zip(tokens.iter().rev());
    pairs.take(BACK).take_while(|(a, b)| a == b).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(text: &[u32]) -> Option<(usize, Ground)> {
        Ngrams::default().find(text)
    }

    #[test]
    fn what_followed_last_time_is_found() {
        let mut ngrams = Ngrams::default();
        let mut text = vec![1, 2, 3, 4, 5, 9, 1, 2];
        assert_eq!(ngrams.find(&text), None);
        text.push(3);
        assert_eq!(ngrams.find(&text), Some((3, Ground::Few)));
        text.extend([7, 1, 2, 3]);
        assert_eq!(ngrams.find(&text), Some((9, Ground::Few)), "the latest of equals counts");
    }

    #[test]
    fn the_place_that_agrees_furthest_is_taken() {
        let text = [5, 1, 2, 3, 70, 6, 1, 2, 3, 80, 5, 1, 2, 3];
        assert_eq!(find(&text), Some((4, Ground::Few)));
        let mut long: Vec<u32> = (0..40).collect();
        long.extend(10..38);
        assert_eq!(find(&long), Some((38, Ground::All)));
        assert_eq!(find(&long[..48]), Some((18, Ground::Many)));
    }

    #[test]
    fn a_run_of_one_token_goes_on() {
        assert_eq!(find(&[8, 8, 8, 8]), Some((3, Ground::Few)));
        assert_eq!(find(&[8, 8]), None);
        assert_eq!(find(&[]), None);
    }

    #[test]
    fn a_changed_word_does_not_lose_the_place() {
        let mut text: Vec<u32> = (0..40).collect();
        text.extend(0..20);
        let mut ngrams = Ngrams::default();
        assert_eq!(ngrams.find(&text), Some((20, Ground::Many)));
        text.push(99);
        assert_eq!(ngrams.find(&text), Some((21, Ground::Following)));
        text.extend([21, 22, 23]);
        assert_eq!(ngrams.find(&text), Some((24, Ground::Few)));
        text.extend([500, 501, 502, 503, 504, 505, 506, 507, 508, 509, 510, 511, 512]);
        assert_eq!(ngrams.find(&text), None, "it no longer follows anything");
    }
}
