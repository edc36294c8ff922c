//! Token numbers to text as they come: a token may be a part of a character, and its text may depend on the one before.
//!
//! Each piece is what the last few tokens' text grows by; text that ends within a character waits for its end.

use qtuner_train::{SpecialTokens, Tokenizer, TokenizerError};

/// What a byte that is no character yet is shown as.
const INCOMPLETE: char = '\u{fffd}';

/// The text of a growing list of tokens.
#[derive(Debug)]
pub(crate) struct TextStream<'t> {
    tokenizer: &'t Tokenizer,
    tokens: Vec<u32>,
    /// Where the tokens start that are decoded together: a few that were shown, then the new ones.
    start: usize,
    /// How many tokens were shown.
    shown: usize,
}

impl<'t> TextStream<'t> {
    /// What follows `prompt`.
    pub(crate) fn after(tokenizer: &'t Tokenizer, prompt: &[u32]) -> Self {
        Self { tokenizer, tokens: prompt.to_vec(), start: 0, shown: prompt.len() }
    }

    /// The text that `token` completes, which may be none.
    pub(crate) fn push(&mut self, token: u32) -> Result<String, TokenizerError> {
        self.tokens.push(token);
        let text = self.decode(self.tokens.len())?;
        if text.ends_with(INCOMPLETE) {
            return Ok(String::new());
        }
        self.take(&text)
    }

    /// The text that is left at the end, whole or not.
    pub(crate) fn finish(&mut self) -> Result<String, TokenizerError> {
        let text = self.decode(self.tokens.len())?;
        self.take(&text)
    }

    fn take(&mut self, text: &str) -> Result<String, TokenizerError> {
        let before = self.decode(self.shown)?;
        let new = text.strip_prefix(&before).unwrap_or_default().to_owned();
        self.start = self.shown;
        self.shown = self.tokens.len();
        Ok(new)
    }

    fn decode(&self, end: usize) -> Result<String, TokenizerError> {
        self.tokenizer.decode(&self.tokens[self.start..end], SpecialTokens::Skip)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pieces_of_a_text_make_the_text() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../assets/tiny-kjv-awq");
        let tokenizer = Tokenizer::open(folder).expect("the small model's tokenizer");
        for text in
            ["In the beginning", " God\n\n created", "naïve “quotes” \u{1f600} 漢字", "ends within: 漢"]
        {
            let prompt = tokenizer.encode("And", SpecialTokens::Skip).expect("a text");
            let tokens = tokenizer.encode(text, SpecialTokens::Skip).expect("a text");
            let mut stream = TextStream::after(&tokenizer, &prompt);
            let mut pieces: Vec<String> =
                tokens.iter().map(|token| stream.push(*token).expect("a token")).collect();
            assert!(pieces.iter().all(|piece| !piece.contains(INCOMPLETE)), "{pieces:?}");
            pieces.push(stream.finish().expect("the rest"));
            assert_eq!(pieces.concat(), text);
        }
    }

    #[test]
    fn a_character_that_is_never_finished_shows_at_the_end() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../assets/tiny-kjv-awq");
        let tokenizer = Tokenizer::open(folder).expect("the small model's tokenizer");
        let tokens = tokenizer.encode("漢", SpecialTokens::Skip).expect("a text");
        let mut stream = TextStream::after(&tokenizer, &[]);
        let (first, rest) = (tokens[0], &tokens[1..]);
        assert!(!rest.is_empty(), "a character of several tokens");
        assert_eq!(stream.push(first).expect("a token"), "");
        assert_eq!(stream.finish().expect("the rest"), INCOMPLETE.to_string());
    }
}
