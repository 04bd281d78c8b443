//! Guesses from the text itself: what followed the last time these tokens were said.

use std::collections::HashMap;

/// Tokens that have to agree.
const N: usize = 3;

/// Where each run of [`N`] tokens was seen last.
#[derive(Default)]
pub(crate) struct Ngrams {
    /// The place after the run.
    after: HashMap<[u32; N], usize>,
    /// Runs that end before here are in the map.
    read: usize,
}

impl Ngrams {
    /// Up to `n` tokens that followed the last [`N`] tokens when they were seen before; none if
    /// they weren't. `tokens` is the text of the call before, and more.
    pub(crate) fn guess<'t>(&mut self, tokens: &'t [u32], n: usize) -> &'t [u32] {
        let Some(last) = tokens.last_chunk::<N>() else { return &[] };
        for end in self.read.max(N)..tokens.len() {
            if let Some(run) = tokens[..end].last_chunk::<N>() {
                self.after.insert(*run, end);
            }
        }
        self.read = tokens.len();
        match self.after.get(last) {
            Some(&at) => &tokens[at..tokens.len().min(at + n)],
            None => &[],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_followed_last_time_is_guessed() {
        let mut ngrams = Ngrams::default();
        let mut text = vec![1, 2, 3, 4, 5, 9, 1, 2];
        assert!(ngrams.guess(&text, 4).is_empty());
        text.push(3);
        assert_eq!(ngrams.guess(&text, 4), [4, 5, 9, 1]);
        assert!(ngrams.guess(&text, 0).is_empty());
        text.extend([7, 1, 2, 3]);
        assert_eq!(ngrams.guess(&text, 2), [7, 1], "the latest place counts");
    }

    #[test]
    fn a_run_of_one_token_goes_on() {
        assert_eq!(Ngrams::default().guess(&[8, 8, 8, 8], 5), [8]);
        assert!(Ngrams::default().guess(&[8, 8], 5).is_empty());
    }
}
