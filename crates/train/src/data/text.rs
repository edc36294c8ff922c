//! Plain text: one stream of tokens, cut into windows.

use super::Sample;

/// Splits `text` where all but the last `eval_fraction` of its characters end.
pub(super) fn split(text: &str, eval_fraction: f64) -> (&str, &str) {
    #[allow(clippy::cast_precision_loss, reason = "texts have fewer than 2^53 characters")]
    let count = text.chars().count() as f64;
    // Of the count, since a fraction such as 0.9 taken from 1 leaves less than 0.1.
    let kept = count - count * eval_fraction;
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a fraction of a length, rounded down"
    )]
    let kept = kept as usize;
    let place = text.char_indices().nth(kept).map_or(text.len(), |(place, _)| place);
    text.split_at(place)
}

/// Windows of `length` tokens without overlap; what is left over at the end fills no window and is left out.
pub(super) fn windows(tokens: &[u32], length: usize) -> Vec<Sample> {
    tokens.chunks_exact(length).map(Sample::window).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, fraction: f64, expected: (&str, &str)) {
        assert_eq!(split(text, fraction), expected);
    }

    #[test]
    fn the_last_characters_are_held_out() {
        check("abcdefghij", 0.3, ("abcdefg", "hij"));
        check("äöüßéèê", 0.5, ("äöü", "ßéèê"));
        check("abcdefghij", 0.9, ("a", "bcdefghij"));
        check("abc", 0.0, ("abc", ""));
        check("abc", 1.0, ("", "abc"));
        check("", 0.5, ("", ""));
    }
}
