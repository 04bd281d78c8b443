//! Detokenizing one token at a time.

use std::sync::Arc;

use super::Tokenizer;

/// Turns a stream of token ids into text, holding back bytes that are not yet a character.
///
/// All that comes out, put together, is what [`Tokenizer::decode`] gives for all the ids at once.
#[derive(Clone, Debug)]
pub struct StreamDecoder {
    tokenizer: Arc<Tokenizer>,
    text: Utf8Stream,
    /// A space may have been put before the next token that isn't in the text.
    opens: bool,
}

impl StreamDecoder {
    /// A decoder at the start of a text.
    pub fn new(tokenizer: Arc<Tokenizer>) -> StreamDecoder {
        StreamDecoder { tokenizer, text: Utf8Stream::default(), opens: true }
    }

    /// A decoder of what goes on from the token `last`, as [`Tokenizer::encode_after`] has it.
    pub fn after(tokenizer: Arc<Tokenizer>, last: u32) -> StreamDecoder {
        let mut decoder = StreamDecoder::new(tokenizer);
        decoder.push(last);
        decoder.text = Utf8Stream::default();
        decoder
    }

    /// A decoder of a piece of text, whatever stands before it.
    pub fn within(tokenizer: Arc<Tokenizer>) -> StreamDecoder {
        StreamDecoder { opens: false, ..StreamDecoder::new(tokenizer) }
    }

    /// The characters that this token completes; empty while one is still open.
    pub fn push(&mut self, id: u32) -> String {
        self.text.push(self.tokenizer.piece(id, &mut self.opens))
    }

    /// What was held back: U+FFFD if the text ended within a character, else nothing.
    pub fn finish(&mut self) -> String {
        self.text.finish()
    }
}

/// Turns a stream of bytes into text; invalid sequences become U+FFFD, exactly where
/// [`String::from_utf8_lossy`] puts it, once no further byte could complete them.
#[derive(Clone, Debug, Default)]
pub struct Utf8Stream {
    /// The beginning of one character, at most three bytes between calls.
    open: Vec<u8>,
}

impl Utf8Stream {
    /// The characters that these bytes complete.
    pub fn push(&mut self, bytes: &[u8]) -> String {
        self.open.extend_from_slice(bytes);
        let mut text = String::with_capacity(self.open.len());
        let mut done = 0;
        for chunk in self.open.utf8_chunks() {
            text.push_str(chunk.valid());
            done += chunk.valid().len();
            let invalid = chunk.invalid();
            let at_end = done + invalid.len() == self.open.len();
            if at_end && could_continue(invalid) {
                break;
            }
            if !invalid.is_empty() {
                text.push(char::REPLACEMENT_CHARACTER);
            }
            done += invalid.len();
        }
        self.open.drain(..done);
        text
    }

    /// Ends the text: U+FFFD if it broke off within a character, else nothing.
    pub fn finish(&mut self) -> String {
        let broken = !std::mem::take(&mut self.open).is_empty();
        if broken { char::REPLACEMENT_CHARACTER.to_string() } else { String::new() }
    }
}

/// Whether the bytes are the beginning of a character rather than no character at all.
fn could_continue(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_err_and(|error| error.error_len().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_character_in_four_pieces_comes_out_whole() {
        let mut stream = Utf8Stream::default();
        let pieces: Vec<String> = "😀".bytes().map(|byte| stream.push(&[byte])).collect();
        assert_eq!(pieces, ["", "", "", "😀"]);
        assert_eq!(stream.finish(), "");
    }

    #[test]
    fn a_broken_character_is_replaced_once_it_cannot_be_completed() {
        let mut stream = Utf8Stream::default();
        assert_eq!(stream.push(b"a\xf0\x9f"), "a");
        assert_eq!(stream.push(b"b"), "\u{fffd}b");
        assert_eq!(stream.push(b"\xe2\x82"), "");
        assert_eq!(stream.finish(), "\u{fffd}");
        assert_eq!(stream.finish(), "");
    }

    proptest! {
        #[test]
        fn any_cutting_gives_what_lossy_decoding_gives(
            pieces in prop::collection::vec(prop::collection::vec(
                prop_oneof![any::<u8>(), 0x80u8..0xc0, 0xe0u8..0xf5], 0..6), 0..12)
        ) {
            let mut stream = Utf8Stream::default();
            let mut text = String::new();
            for piece in &pieces {
                text.push_str(&stream.push(piece));
                prop_assert!(stream.open.len() <= 3);
            }
            text.push_str(&stream.finish());
            prop_assert_eq!(text, String::from_utf8_lossy(&pieces.concat()).into_owned());
        }
    }
}
