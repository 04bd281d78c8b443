//! Documents as sequences of about one length.

use std::ops::Range;

use crate::chance::shuffled;
use crate::data::Text;

/// Documents as tokens, each between two ends of a text, and which of them share a sequence.
///
/// Documents are taken in an order that the seed decides; one that fits into the sequence before it joins it, and
/// one that is longer than a sequence is cut into as few pieces as it takes. Nothing else is ever cut: what is at a
/// document's end is predicted with all of it in sight. Sequences needn't be full, as nothing is filled up.
///
/// Pieces are texts of their own: none sees another.
#[derive(Clone, Debug, PartialEq)]
pub struct Sequences {
    /// All documents with the end of a text before the first, between two, and after the last.
    tokens: Vec<u32>,
    /// Of the tokens: the last token of one piece of a document is the first of the next, as the end of a text is
    /// that of two documents.
    pieces: Vec<Range<usize>>,
    /// Of the pieces.
    sequences: Vec<Range<usize>>,
    documents: usize,
    cut: usize,
}

impl Sequences {
    /// Packs texts into sequences of at most `longest` slots, which is at least 1; `end` is the end of a text.
    pub fn pack(
        mut texts: Vec<String>,
        seed: u64,
        end: u32,
        longest: usize,
        encode: impl Fn(&str) -> Vec<u32>,
    ) -> Sequences {
        let mut tokens = vec![end];
        let (mut pieces, mut sequences) = (Vec::new(), Vec::<Range<usize>>::new());
        let (mut filled, mut cut) = (0, 0);
        for place in shuffled(seed, "documents", 0, texts.len()) {
            let first = tokens.len() - 1;
            tokens.extend(encode(&std::mem::take(&mut texts[place])));
            tokens.push(end);
            let last = tokens.len() - 1;
            cut += usize::from(last - first > longest);
            for start in (first..last).step_by(longest) {
                let slots = longest.min(last - start);
                let piece = pieces.len();
                pieces.push(start..start + slots + 1);
                match sequences.last_mut() {
                    Some(sequence) if filled + slots <= longest => {
                        sequence.end += 1;
                        filled += slots;
                    }
                    _ => {
                        sequences.push(piece..piece + 1);
                        filled = slots;
                    }
                }
            }
        }
        Sequences { tokens, pieces, sequences, documents: texts.len(), cut }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.sequences.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.sequences.is_empty()
    }

    /// Documents, and how many of them were cut.
    pub fn documents(&self) -> (usize, usize) {
        (self.documents, self.cut)
    }

    /// Tokens that are predicted: those of the documents and the end of each.
    pub fn predicted(&self) -> usize {
        let all = self.sequences.iter().flat_map(|sequence| &self.pieces[sequence.clone()]);
        all.map(|piece| piece.len() - 1).sum()
    }

    /// Leaves the first `n`.
    pub fn truncate(&mut self, n: usize) {
        self.sequences.truncate(n);
    }

    /// The texts of one of them. Of each all tokens but the first are predicted.
    ///
    /// # Panics
    /// If there is no such sequence.
    pub fn texts(&self, sequence: usize) -> impl Iterator<Item = Text> + '_ {
        self.pieces[self.sequences[sequence].clone()].iter().map(|piece| {
            let tokens = self.tokens[piece.clone()].to_vec();
            Text { weights: vec![1.0; tokens.len()], tokens }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const END: u32 = 999;

    fn bytes(text: &str) -> Vec<u32> {
        text.bytes().map(u32::from).collect()
    }

    fn pack(texts: &[String], seed: u64, longest: usize) -> Sequences {
        Sequences::pack(texts.to_vec(), seed, END, longest, bytes)
    }

    #[test]
    fn only_what_is_too_long_is_cut() {
        let texts = ["abc".to_owned(), "0123456789".to_owned()];
        let packed = pack(&texts, 1, 4);
        assert_eq!(packed.documents(), (2, 1));
        assert_eq!(packed.predicted(), 4 + 11);
        let all: Vec<Vec<u32>> =
            (0..packed.len()).flat_map(|i| packed.texts(i)).map(|text| text.tokens).collect();
        let text =
            |text: &str| text.bytes().map(|b| if b == b'.' { END } else { b.into() }).collect();
        for wanted in [".abc.", ".0123", "34567", "789."] {
            let wanted: Vec<u32> = text(wanted);
            assert!(all.contains(&wanted), "{wanted:?} in {all:?}");
        }
        assert_eq!(all.len(), 4);
        assert!(pack(&[], 1, 4).is_empty());
    }

    proptest! {
        /// Every token of every document is predicted once, from what came before it in its document, and no
        /// sequence is too long.
        #[test]
        fn everything_is_predicted_once(
            texts in prop::collection::vec("[a-z]{1,20}", 0..12), seed in 0u64..9, longest in 1usize..12
        ) {
            let packed = pack(&texts, seed, longest);
            prop_assert_eq!(&packed, &pack(&texts, seed, longest));
            let mut predicted = Vec::new();
            for i in 0..packed.len() {
                let texts: Vec<Text> = packed.texts(i).collect();
                let slots: usize = texts.iter().map(|text| text.tokens.len() - 1).sum();
                prop_assert!(slots >= 1 && slots <= longest);
                for text in texts {
                    predicted.extend_from_slice(&text.tokens[1..]);
                }
            }
            let read: Vec<Vec<u32>> = predicted.split(|t| *t == END).map(<[u32]>::to_vec).collect();
            let mut found: Vec<Vec<u32>> = read.into_iter().filter(|text| !text.is_empty()).collect();
            let mut wanted: Vec<Vec<u32>> = texts.iter().map(|text| bytes(text)).collect();
            found.sort();
            wanted.sort();
            prop_assert_eq!(found, wanted);
        }
    }
}
