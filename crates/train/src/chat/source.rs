//! A template's source, in the words of the engine that reads it here.
//!
//! - transformers marks the assistant's words with `{% generation %} .. {% endgeneration %}`, a tag of its own: here they are a
//!   scope between two templates that are included, [`OPEN`] and [`CLOSE`].
//! - Jinja reads every line break as `\n`.
//! - Python leaves out a line break after a backslash in a string, and knows other escapes.

/// The template that stands before the assistant's words.
pub(super) const OPEN: &str = "qtuner_open";
/// The one behind them.
pub(super) const CLOSE: &str = "qtuner_close";

/// The source as the engine is to read it.
pub(super) fn prepared(source: &str) -> String {
    let source = &source.replace("\r\n", "\n").replace('\r', "\n");
    let mut out = String::with_capacity(source.len());
    let mut rest = source.as_str();
    while let Some(place) = rest.find('{') {
        out.push_str(&rest[..place]);
        rest = &rest[place..];
        let length = match rest.as_bytes().get(1) {
            Some(b'#') => rest.find("#}").map_or(rest.len(), |end| end + 2),
            Some(b'%') if tag(rest).is_some_and(|(_, word)| word == "raw") => end_of_raw(rest),
            Some(b'%' | b'{') => {
                rest = inside(rest, &mut out);
                continue;
            }
            _ => 1,
        };
        out.push_str(&rest[..length]);
        rest = &rest[length..];
    }
    out + rest
}

/// The name of the tag that `rest` begins with, and where it stands.
fn tag(rest: &str) -> Option<(usize, &str)> {
    let body = rest.strip_prefix("{%")?.trim_start_matches(['-', '+']).trim_start();
    let word = body.split(|letter: char| !(letter.is_alphanumeric() || letter == '_')).next()?;
    Some((rest.len() - body.len(), word))
}

/// Where the block of `{% raw %}` ends, in which nothing is a tag.
fn end_of_raw(rest: &str) -> usize {
    let mut tags = rest.match_indices("{%");
    let end = tags.find(|(place, _)| tag(&rest[*place..]).is_some_and(|(_, word)| word == "endraw"));
    end.map_or(rest.len(), |(place, _)| place + 2)
}

/// Writes the tag or expression that `rest` begins with, and gives what follows it.
fn inside<'s>(rest: &'s str, out: &mut String) -> &'s str {
    let mut place = 2;
    match tag(rest) {
        Some((at, word @ ("generation" | "endgeneration"))) => {
            out.push_str(&rest[..at]);
            if word == "generation" {
                out.extend(["include '", OPEN, "' %}{% with"]);
            } else {
                out.extend(["endwith %}{% include '", CLOSE, "'"]);
            }
            place = at + word.len();
        }
        _ => out.push_str(&rest[..place]),
    }
    let close = if rest.starts_with("{%") { "%}" } else { "}}" };
    let (mut quote, mut braces) = (None, 0_usize);
    let mut letters = rest[place..].char_indices().peekable();
    while let Some((offset, letter)) = letters.next() {
        match (quote, letter) {
            // A mapping's braces are its own, also where two stand together.
            (None, '{') => braces += 1,
            (None, '}') if braces > 0 => braces -= 1,
            (None, _) if rest[place + offset..].starts_with(close) => return &rest[place + offset..],
            (None, '"' | '\'') => quote = Some(letter),
            (Some(open), _) if letter == open => quote = None,
            (Some(_), '\\') => {
                match letters.next() {
                    Some((_, '\n')) | None => {}
                    Some((_, 'a')) => out.push('\x07'),
                    Some((_, 'v')) => out.push('\x0b'),
                    Some((_, '/')) => out.push_str("\\\\/"),
                    Some((at, 'U')) => {
                        let digits = rest[place + at + 1..].get(..8);
                        let letter =
                            digits.and_then(|digits| char::from_u32(u32::from_str_radix(digits, 16).ok()?));
                        out.extend(letter);
                        if letter.is_some() {
                            letters.nth(7);
                        } else {
                            out.push_str("\\U");
                        }
                    }
                    Some((_, other)) => out.extend(['\\', other]),
                }
                continue;
            }
            _ => {}
        }
        out.push(letter);
    }
    ""
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(source: &str, expected: &str) {
        assert_eq!(prepared(source), expected);
    }

    #[test]
    fn generation_is_a_call_however_it_is_written() {
        for (open, close) in [("{%", "%}"), ("{%- ", " -%}"), ("{%+  ", "  %}"), ("{% ", " %}")] {
            check(
                &format!("a{open}generation{close}b{open}endgeneration{close}c"),
                &format!(
                    "a{open}include 'qtuner_open' %}}{{% with{close}b{open}endwith %}}{{% include 'qtuner_close'{close}c"
                ),
            );
        }
        check("{% generation_id %}{# {% generation %} #}", "{% generation_id %}{# {% generation %} #}");
        check("{% generations %}", "{% generations %}");
        check("{% raw %}{% generation %}{% endraw %}x", "{% raw %}{% generation %}{% endraw %}x");
        check("a { b }} {", "a { b }} {");
    }

    #[test]
    fn strings_are_read_as_python_reads_them() {
        check("{{ 'a\\\nb' }}", "{{ 'ab' }}");
        check("{% set x = \"a\\\r\nb\\a\\v\" %}\r\n\r", "{% set x = \"ab\x07\x0b\" %}\n\n");
        check(r"{{ '\U0001F600\U00zz\/' }}", "{{ '\u{1f600}\\U00zz\\\\/' }}");
        check(r"{{ 'it\'s }} \n \\' }}\a", r"{{ 'it\'s }} \n \\' }}\a");
        check("{{ \"{% generation %}\" }}", "{{ \"{% generation %}\" }}");
        check("{{ 'open", "{{ 'open");
        check(
            "{{ {'a': {}}['a'] ~ '\\v{#' }}{{ {'{': {}}}}",
            "{{ {'a': {}}['a'] ~ '\x0b{#' }}{{ {'{': {}}}}",
        );
    }
}
