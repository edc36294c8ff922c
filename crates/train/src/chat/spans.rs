//! Where in a conversation's text the assistant speaks.
//!
//! A turn begins where the text of the messages before it, with the generation prompt, ends: just what a model is given
//! when it is to answer. It ends where the text up to and including the message ends, so that the token which ends a turn
//! is learned. Templates that write earlier turns differently from the last one (reasoning left out, the system's message in
//! the last question) are followed by looking for the message's own words, after the header that stands before them.

use super::{ChatTemplate, GenerationPrompt, TemplateError};
use serde_json::Value;
use std::ops::Range;

/// The text of a conversation, and the bytes of it that the assistant's turns take.
///
/// # Errors
/// [`TemplateError::Render`] when the template refuses the messages, [`TemplateError::Unplaced`] when a turn cannot be found.
pub fn assistant_spans(
    template: &ChatTemplate,
    messages: &[Value],
    tools: Option<&Value>,
) -> Result<(String, Vec<Range<usize>>), TemplateError> {
    let text = template.render(messages, tools, GenerationPrompt::Omit)?;
    let mut spans: Vec<Range<usize>> = Vec::new();
    for (index, message) in messages.iter().enumerate().filter(|(_, message)| message["role"] == "assistant")
    {
        let before = template.render(&messages[..index], tools, GenerationPrompt::Add)?;
        let through = template.render(&messages[..=index], tools, GenerationPrompt::Omit)?;
        let from = spans.last().map_or(0, |span| span.end);
        let start = if text.starts_with(&before) {
            before.len().max(from)
        } else if text.starts_with(&template.render(&messages[..index], tools, GenerationPrompt::Omit)?) {
            // The prompt ends in words that the template leaves out of finished turns: what both have in common counts.
            common_prefix(&text, &before).max(from)
        } else {
            let found = start_of_words(&text[from..], &before, &messages[..index], message);
            from + found.ok_or_else(|| template.unplaced(index))?
        };
        let end = if text.starts_with(&through) {
            through.len()
        } else {
            end_of_words(&text[start..], &through, message).map_or(0, |length| start + length)
        };
        if end <= start {
            return Err(template.unplaced(index));
        }
        spans.push(start..end);
    }
    Ok((text, spans))
}

/// Where in `rest` the header that `before` ends in is followed by the message's words.
fn start_of_words(rest: &str, before: &str, earlier: &[Value], message: &Value) -> Option<usize> {
    let words = message["content"].as_str()?.trim();
    let asked = earlier.last()?["content"].as_str()?.trim();
    let header = &before[before.rfind(asked)? + asked.len()..];
    let mut places = rest.match_indices(header).map(|(place, _)| place + header.len());
    places.find(|place| rest[*place..].trim_start().starts_with(words))
}

/// How far the message's words, and what the template writes after them, reach into `rest`.
fn end_of_words(rest: &str, through: &str, message: &Value) -> Option<usize> {
    let words = message["content"].as_str()?.trim();
    let after = &through[through.rfind(words)? + words.len()..];
    let end = rest.find(words)? + words.len();
    Some(end + common_prefix(&rest[end..], after))
}

/// The bytes that two texts have in common at their beginning, whole characters.
fn common_prefix(one: &str, other: &str) -> usize {
    one.chars().zip(other.chars()).take_while(|(a, b)| a == b).map(|(a, _)| a.len_utf8()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const CHATML: &str = "{{ bos_token }}{% for m in messages %}<|{{ m.role }}|>\n{{ m['content'].strip() }}<|end|>\n\
                          {% endfor %}{% if add_generation_prompt %}<|assistant|>\n{% endif %}";
    /// Reasoning is kept in the last turn alone, and asked for in the prompt.
    const THINKS: &str = "{% for m in messages %}<{{ m.role }}>{% if m.role == 'assistant' and loop.last %}[think]\
                          {% endif %}{{ m.content }}</s>{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}";

    /// The system's message stands in the last question, whichever that is.
    const INSTRUCTS: &str = "{{ bos_token }}{% for m in messages if m.role != 'system' %}{% if m.role == 'user' %}[INST] \
                             {% if loop.last or loop.index == loop.length - 1 %}{{ messages[0].content }}\n\n{% endif %}\
                             {{ m.content }} [/INST]{% else %} {{ m.content }}</s>{% endif %}{% endfor %}";

    fn check(source: &str, messages: &Value, expected: &[&str]) {
        let tokens = vec![("bos_token", "<s>".to_owned())];
        let template = ChatTemplate::new(source, tokens, "chat_template.jinja".into()).expect("parses");
        let messages = messages.as_array().expect("a list");
        let (text, spans) = assistant_spans(&template, messages, None).expect("renders");
        assert_eq!(text.starts_with("<s>"), source.starts_with("{{ bos_token }}"), "{text}");
        let spoken: Vec<&str> = spans.into_iter().map(|span| &text[span]).collect();
        assert_eq!(spoken, expected, "{text}");
    }

    fn two_turns() -> Value {
        json!([
            { "role": "user", "content": "hi" },
            { "role": "assistant", "content": " ünlike \n" },
            { "role": "user", "content": "ünlike?" },
            { "role": "assistant", "content": "yes" },
        ])
    }

    #[test]
    fn the_assistants_turns_are_found_with_their_end() {
        check(CHATML, &two_turns(), &["ünlike<|end|>\n", "yes<|end|>\n"]);
    }

    #[test]
    fn turns_that_are_written_differently_later_are_found_by_their_words() {
        check(THINKS, &two_turns(), &[" ünlike \n</s>", "[think]yes</s>"]);
    }

    #[test]
    fn a_question_that_is_written_differently_later_is_no_part_of_the_answer() {
        let messages = json!([
            { "role": "system", "content": "Be brief." },
            { "role": "user", "content": "Say yes" },
            { "role": "assistant", "content": "yes" },
            { "role": "user", "content": "Again" },
            { "role": "assistant", "content": "yes" },
        ]);
        check(INSTRUCTS, &messages, &[" yes</s>", " yes</s>"]);
    }

    #[test]
    fn a_refusal_of_the_template_is_an_error_with_its_words() {
        let template =
            ChatTemplate::new("{{ raise_exception('no system role') }}", Vec::new(), "t.jinja".into());
        let error = assistant_spans(&template.expect("parses"), &[], None).expect_err("refused").to_string();
        assert!(error.contains("no system role") && error.contains("t.jinja"), "{error}");
    }
}
