//! The byte-level alphabet, and a table from token id to text and raw bytes.

use super::whole::SPACE;

/// What GPT-2's byte-level alphabet writes for each byte: printable Latin-1 stands for itself,
/// the rest are moved to U+0100 and up in order, so that every byte is a visible character.
pub(super) fn alphabet() -> [char; 256] {
    let mut moved = 0;
    std::array::from_fn(|byte| match byte as u8 {
        b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff => byte as u8 as char,
        _ => {
            moved += 1;
            char::from_u32(0xff + moved).expect("U+0100 to U+0143 are characters")
        }
    })
}

/// How a token's text stands for bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spelling {
    /// In the byte-level alphabet, one character a byte.
    Alphabet,
    /// In UTF-8, with `▁` for a space: SentencePiece's tokens.
    Spaces,
    /// As itself, in UTF-8: added tokens.
    Verbatim,
    /// As `<0xHH>`, one byte.
    Hexadecimal,
}

/// Texts and bytes of all tokens, each in one allocation.
#[derive(Debug, Default)]
pub(super) struct TokenTable {
    texts: String,
    text_ends: Vec<u32>,
    bytes: Vec<u8>,
    byte_ends: Vec<u32>,
}

impl TokenTable {
    /// Builds the table from the tokens in the order of their ids.
    pub(super) fn new<'a>(tokens: impl Iterator<Item = (&'a str, Spelling)>) -> TokenTable {
        let mut byte_of = [None; 0x144];
        for (byte, letter) in alphabet().into_iter().enumerate() {
            byte_of[letter as usize] = Some(byte as u8);
        }
        let mut table = TokenTable::default();
        for (text, spelling) in tokens {
            table.texts.push_str(text);
            table.text_ends.push(table.texts.len() as u32);
            match (spelling, hexadecimal(text)) {
                (Spelling::Hexadecimal, Some(byte)) => table.bytes.push(byte),
                (Spelling::Spaces, _) => {
                    for (i, part) in text.split(SPACE).enumerate() {
                        table.bytes.extend((i > 0).then_some(b' '));
                        table.bytes.extend(part.as_bytes());
                    }
                }
                (Spelling::Alphabet, _) => {
                    for letter in text.chars() {
                        match byte_of.get(letter as usize).copied().flatten() {
                            Some(byte) => table.bytes.push(byte),
                            // Not of the alphabet, so it can only mean itself.
                            None => {
                                let mut utf8 = [0; 4];
                                table.bytes.extend(letter.encode_utf8(&mut utf8).as_bytes());
                            }
                        }
                    }
                }
                _ => table.bytes.extend(text.as_bytes()),
            }
            table.byte_ends.push(table.bytes.len() as u32);
        }
        table
    }

    /// How many ids there are.
    pub(super) fn len(&self) -> usize {
        self.text_ends.len()
    }

    /// The token's text as the vocabulary spells it; empty for an id outside it.
    pub(super) fn text(&self, id: u32) -> &str {
        span(&self.text_ends, id).map_or("", |(start, end)| &self.texts[start..end])
    }

    /// The bytes the token stands for; empty for an id outside the vocabulary.
    pub(super) fn bytes(&self, id: u32) -> &[u8] {
        span(&self.byte_ends, id).map_or(&[], |(start, end)| &self.bytes[start..end])
    }
}

fn span(ends: &[u32], id: u32) -> Option<(usize, usize)> {
    let end = *ends.get(id as usize)? as usize;
    let start = if id == 0 { 0 } else { ends[id as usize - 1] as usize };
    Some((start, end))
}

/// The byte that `<0xHH>` stands for.
pub(super) fn hexadecimal(text: &str) -> Option<u8> {
    let digits = text.strip_prefix("<0x")?.strip_suffix('>')?;
    if digits.len() == 2 { u8::from_str_radix(digits, 16).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_alphabet_is_one_to_one_and_visible() {
        let letters = alphabet();
        let distinct: std::collections::HashSet<_> = letters.iter().collect();
        assert_eq!(distinct.len(), 256);
        assert_eq!(letters[b' ' as usize], 'Ġ');
        assert_eq!(letters[b'\n' as usize], 'Ċ');
        assert_eq!(letters[0xad], '\u{143}');
        assert!(letters.iter().all(|letter| !letter.is_whitespace() && !letter.is_control()));
    }

    #[test]
    fn tokens_become_bytes_by_their_spelling() {
        let table = TokenTable::new(
            [
                ("Ġhi", Spelling::Alphabet),
                ("<|é|>", Spelling::Verbatim),
                ("<0x0A>", Spelling::Hexadecimal),
                ("", Spelling::Alphabet),
                ("é€", Spelling::Alphabet),
                ("▁▁é▁", Spelling::Spaces),
            ]
            .into_iter(),
        );
        assert_eq!(table.bytes(0), b" hi");
        assert_eq!(table.text(0), "Ġhi");
        assert_eq!(table.bytes(1), "<|é|>".as_bytes());
        assert_eq!(table.bytes(2), b"\n");
        assert_eq!(table.bytes(3), b"");
        assert_eq!(table.bytes(4), b"\xe9\xe2\x82\xac");
        assert_eq!(table.bytes(5), "  é ".as_bytes());
        assert_eq!(table.bytes(6), b"");
        assert_eq!(table.text(u32::MAX), "");
    }
}
