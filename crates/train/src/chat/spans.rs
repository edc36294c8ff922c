//! Where in a conversation's text the assistant speaks.
//!
//! A template that marks the assistant's words (`{% generation %}`) says so itself. In the text of any other, a turn begins where
//! the text of the messages before it, with the generation prompt, ends: just what a model is given when it is to answer. It ends
//! where the text up to and including the message ends, so that the token which ends a turn is learned.
//!
//! Templates that write earlier turns differently from the last one (reasoning left out, the system's message in the last question,
//! an end of text) are asked again with a word of ours in place of the message's: what then stands before and after that word
//! stands before and after the message's words, too, whatever these are. Of ends that the last turn and an earlier one do not have in
//! common, an earlier one learns nothing.

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
    let (text, marked) = template.render_marked(messages, tools, GenerationPrompt::Omit)?;
    if !marked.is_empty() {
        return Ok((text, marked));
    }
    let conversation = Conversation { template, messages, tools, text };
    let mut spans: Vec<Range<usize>> = Vec::new();
    for (index, _) in messages.iter().enumerate().filter(|(_, message)| message["role"] == "assistant") {
        let from = spans.last().map_or(0, |span| span.end);
        let span = conversation.span(index, from).or_else(|| conversation.same_turn(index, from));
        spans.push(span.ok_or_else(|| template.unplaced(index))?);
    }
    Ok((conversation.text, spans))
}

struct Conversation<'a> {
    template: &'a ChatTemplate,
    messages: &'a [Value],
    tools: Option<&'a Value>,
    text: String,
}

impl Conversation<'_> {
    fn render(&self, messages: &[Value], prompt: GenerationPrompt) -> Result<String, TemplateError> {
        self.template.render(messages, self.tools, prompt)
    }

    fn around(&self, messages: &[Value], index: usize) -> Option<(String, String)> {
        self.template.around(messages, index, self.tools)
    }

    /// Turn `index`, which begins at `from` or later.
    fn span(&self, index: usize, from: usize) -> Option<Range<usize>> {
        let asked = || self.behind_prompt(&self.messages[..index]).filter(|_| index > 0);
        let start = asked().map(|start| start.max(from)).or_else(|| self.behind_header(index, from))?;
        let end = self.end(index, start)?;
        (start < end).then_some(start..end)
    }

    /// The text of turn `index` as the last one, where it stands in this text: for turns without words, such as calls of tools,
    /// behind questions that are written otherwise.
    fn same_turn(&self, index: usize, from: usize) -> Option<Range<usize>> {
        let before = self.render(&self.messages[..index], GenerationPrompt::Add).ok()?;
        let through = self.render(&self.messages[..=index], GenerationPrompt::Omit).ok()?;
        let turn = through.strip_prefix(&before).filter(|turn| !turn.is_empty())?;
        let start = from + self.text.get(from..)?.find(turn)?;
        Some(start..start + turn.len())
    }

    /// Behind the prompt that follows `earlier`; some templates refuse to end there.
    fn behind_prompt(&self, earlier: &[Value]) -> Option<usize> {
        let before = self.render(earlier, GenerationPrompt::Add).ok()?;
        if self.text.starts_with(&before) {
            return Some(before.len());
        }
        // The prompt ends in words that the template leaves out of finished turns: what both have in common counts.
        let said = self.render(earlier, GenerationPrompt::Omit).ok()?;
        let (text, prompt) = (self.text.strip_prefix(&said)?, before.strip_prefix(&said)?);
        Some(said.len() + common_prefix(text, prompt))
    }

    /// Behind the header that stands before the words of message `index`.
    fn behind_header(&self, index: usize, from: usize) -> Option<usize> {
        let (before, _) = self.around(self.messages, index)?;
        let place = if self.text.starts_with(&before) { before.len() } else { return None };
        let header = self.prompt().or_else(|| self.words_after_question(index));
        let Some(header) = header else { return (index == 0).then_some(place) };
        // The prompt may end in words that the template leaves out of finished turns, or writes otherwise.
        let earlier = self.text.get(from..place)?;
        let mut cuts = header.char_indices().map(|(cut, _)| &header[..cut]).chain([header.as_str()]).rev();
        let (part, found) = cuts.find_map(|part| Some((part, earlier.rfind(part)?)))?;
        let length = if part == header { part.len() } else { whole_marks(part) };
        (length > 0).then_some(from + found + length)
    }

    /// The generation prompt by itself, if it stands at the end of a text.
    fn prompt(&self) -> Option<String> {
        let asked = self.render(self.messages, GenerationPrompt::Add).ok()?;
        asked.strip_prefix(&self.text).filter(|prompt| !prompt.is_empty()).map(str::to_owned)
    }

    /// What stands between the question and the answer, for templates without a generation prompt.
    fn words_after_question(&self, index: usize) -> Option<String> {
        let earlier = &self.messages[..index];
        let asked = earlier.last()?["content"].as_str()?.trim();
        let before = self.render(earlier, GenerationPrompt::Add).ok()?;
        Some(before[before.rfind(asked)? + asked.len()..].to_owned())
    }

    /// Where turn `index` ends, which begins at `start`.
    fn end(&self, index: usize, start: usize) -> Option<usize> {
        let through = self.render(&self.messages[..=index], GenerationPrompt::Omit).ok();
        if let Some(through) = through.as_ref().filter(|through| self.text.starts_with(*through)) {
            return Some(through.len());
        }
        let end = self.end_around(index).filter(|end| *end > start);
        let by_words = || {
            let words = end_of_words(&self.text[start..], through.as_ref()?, &self.messages[index])?;
            Some(start + words)
        };
        end.or_else(by_words)
    }

    /// What follows the words in this text and in that of the turn as the last one, as far as both are the same.
    fn end_around(&self, index: usize) -> Option<usize> {
        let (_, after) = self.around(self.messages, index)?;
        // Some templates refuse to end there: then as the answer to a question of the conversation.
        let (_, last) = self.around(&self.messages[..=index], index).or_else(|| {
            let question = self.messages.iter().find(|message| message["role"] == "user")?;
            self.around(&[question.clone(), self.messages[index].clone()], 1)
        })?;
        // What parts words from a call of a tool is not there without words.
        let is_silent = self.messages[index]["content"].as_str().is_none_or(|words| words.trim().is_empty());
        let after = if is_silent { after.trim_start() } else { &after };
        let last = if is_silent { last.trim_start() } else { &last };
        let words_end = self.text.len().checked_sub(after.len()).filter(|_| self.text.ends_with(after))?;
        Some(words_end + common_prefix(after, last))
    }
}

/// How far the message's words, and what the template writes after them, reach into `rest`.
fn end_of_words(rest: &str, through: &str, message: &Value) -> Option<usize> {
    let words = message["content"].as_str()?.trim();
    let after = &through[through.rfind(words)? + words.len()..];
    let end = rest.find(words)? + words.len();
    Some(end + common_prefix(&rest[end..], after))
}

/// The bytes that two texts have in common at their beginning: whole characters, and whole marks such as `<|user|>` and `[INST]`,
/// of which two begin alike and are not the same.
fn common_prefix(one: &str, other: &str) -> usize {
    let same = one.chars().zip(other.chars()).take_while(|(a, b)| a == b);
    let length = same.map(|(a, _)| a.len_utf8()).sum();
    if length == one.len() || length == other.len() {
        return length;
    }
    whole_marks(&one[..length])
}

/// How much of `common`, after which two texts part, is whole marks.
fn whole_marks(common: &str) -> usize {
    let open = [('<', '>'), ('[', ']')].into_iter().filter_map(|(open, close)| {
        let place = common.rfind(open)?;
        let mark = &common[place..];
        (!mark.contains(close) && !mark.contains(char::is_whitespace)).then_some(place)
    });
    open.min().unwrap_or(common.len())
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

    /// A last answer ends the text, too, and the prompt of one begins with a mark that is left out later.
    const ENDS: &str = "{% for m in messages %}<|{{ m.role }}|>\n{{ m.content }}<|end|>\n{% endfor %}\
                        {% if add_generation_prompt %}<|assistant|>\n{% else %}<|eos|>{% endif %}";
    const PROMPTS: &str = "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}</s>{% endfor %}\
                           {% if add_generation_prompt %}<|assistant|><think>\n{% endif %}";
    /// The last turn has a place for reasoning; earlier ones have not, and lose theirs.
    const REASONS: &str = "{% for m in messages %}<|start|>{{ m.role }}\n{% if m.role == 'assistant' and loop.last %}\
                           <think>\n\n</think>\n\n{% endif %}{{ m.content.split('</think>')[-1] }}\
                           {% for call in m.tool_calls %}<call>{{ call }}</call>{% endfor %}<|end|>\n{% endfor %}\
                           {% if add_generation_prompt %}<|start|>assistant\n{% endif %}";

    fn talk(answers: [&str; 2]) -> Value {
        json!([
            { "role": "user", "content": "hi" },
            { "role": "assistant", "content": answers[0] },
            { "role": "user", "content": "and?" },
            { "role": "assistant", "content": answers[1] },
        ])
    }

    #[test]
    fn a_turn_ends_before_the_next_ones_header_though_both_begin_alike() {
        check(ENDS, &talk(["hello", "ciao"]), &["hello<|end|>\n", "ciao<|end|>\n<|eos|>"]);
        check(PROMPTS, &talk(["<answer>42</answer>", "yes"]), &["<answer>42</answer></s>", "yes</s>"]);
    }

    #[test]
    fn words_that_stand_in_the_marks_too_and_none_at_all_are_placed() {
        for words in ["e", "end", "assistant", "n", ""] {
            let answer = format!("{words}<|end|>\n");
            check(ENDS, &talk([words, "a"]), &[&answer, "a<|end|>\n<|eos|>"]);
            check(REASONS, &talk([words, "a"]), &[&answer, "<think>\n\n</think>\n\na<|end|>\n"]);
        }
    }

    #[test]
    fn calls_of_tools_and_reasoning_that_is_left_out_later_are_placed() {
        let last = "<think>\n\n</think>\n\nyes<|end|>\n";
        check(REASONS, &talk(["<think>r</think>no", "yes"]), &["no<|end|>\n", last]);
        let mut messages = talk(["", "yes"]);
        messages[1]["tool_calls"] = json!(["f(1)"]);
        messages[2]["role"] = json!("tool");
        check(REASONS, &messages, &["<call>f(1)</call><|end|>\n", last]);
    }

    #[test]
    fn a_call_of_a_tool_is_placed_though_its_words_are_dropped_and_the_question_is_written_otherwise() {
        let source = "{% for m in messages %}{% if m.role == 'user' %}{% if loop.index0 >= messages | length - 2 %}[TOOLS]\
                      {% endif %}[INST] {{ m.content }}[/INST]{% elif m.tool_calls %}[CALLS] {{ m.tool_calls }}</s>\
                      {% else %} {{ m.content }}</s>{% endif %}{% endfor %}";
        let mut messages = talk(["dropped", "yes"]);
        messages[1]["tool_calls"] = json!(["f(1)"]);
        check(source, &messages, &["[CALLS] ['f(1)']</s>", " yes</s>"]);
    }

    #[test]
    fn an_assistant_that_speaks_first_is_placed_behind_its_header() {
        let messages = json!([
            { "role": "assistant", "content": "hello" },
            { "role": "user", "content": "hi" },
            { "role": "assistant", "content": "yes" },
        ]);
        let in_the_loop = "{% for m in messages %}<{{ m.role }}>{{ m.content }}</s>\
                           {% if loop.last and add_generation_prompt %}<assistant>{% endif %}{% endfor %}";
        check(in_the_loop, &messages, &["hello</s>", "yes</s>"]);
        check(CHATML, &messages, &["hello<|end|>\n", "yes<|end|>\n"]);
        check(PROMPTS, &messages, &["hello</s>", "yes</s>"]);
        let of_the_first = format!("{{% set first = messages[0]['role'] + '' %}}{}", &CHATML[15..]);
        check(&of_the_first, &messages, &["hello<|end|>\n", "yes<|end|>\n"]);
    }

    #[test]
    fn marks_of_the_template_go_before_everything() {
        let marked = "{% for m in messages %}<{{ m.role }}>{% if m.role == 'assistant' %}{% generation %}{{ m.content }}\
                      {%- endgeneration %}{% else %}{{ m.content }}{% endif %}</s>\n{% endfor %}";
        check(marked, &talk(["héllo", "ciao"]), &["héllo", "ciao"]);
        let last = "{% for m in messages %}{% if loop.last %}{%generation%}\n{{ m.content }}</s>{%-endgeneration-%}\
                    {% else %}{{ m.content }} {% endif %}{% endfor %}";
        check(last, &talk(["hello", "ciao"]), &["ciao</s>"]);
        let assigns = "{% set seen = namespace(last='') %}{% for m in messages %}{% if m.role == 'assistant' %}\
                       {% generation %}{{ m.content }}{% set seen.last = m.role %}{% set x = 1 %}{% endgeneration %}\
                       {% else %}{{ m.content }}{{ seen.last }}{{ x is defined }} {% endif %}{% endfor %}";
        check(assigns, &talk(["hello", "ciao"]), &["hello", "ciao"]);
        // Characters that could be marks, in a conversation.
        let mut odd = talk(["he\u{f0000}llo\u{f0001}", "ciao"]);
        odd[0]["content"] = json!("\u{f0001}a\u{f0000}b\u{f0001}");
        check(marked, &odd, &["he\u{f0000}llo\u{f0001}", "ciao"]);
        check(CHATML, &odd, &["he\u{f0000}llo\u{f0001}<|end|>\n", "ciao<|end|>\n"]);
    }

    #[test]
    fn words_of_a_question_are_no_marks() {
        let source = "{% for m in messages %}{% if m.role == 'user' %}Human:{{ m.content }}[/INST]{% else %}\
                      {{ m.content }}</s>{% endif %}{% endfor %}{% if add_generation_prompt %}<think>\n{% endif %}";
        let mut messages = talk(["yes", "no"]);
        messages[0]["content"] = json!("is x<y");
        messages[2]["content"] = json!("and a[0");
        check(source, &messages, &["yes</s>", "no</s>"]);
    }

    #[test]
    fn a_template_that_refuses_a_part_of_a_conversation_is_asked_for_the_whole() {
        let source = "{% if not messages | selectattr('role', 'equalto', 'user') | list %}{{ raise_exception('no') }}{% endif %}\
                      {% for m in messages %}<|{{ m.role }}|>{% if m.role == 'assistant' %}<think></think>{% endif %}\
                      {{ m.content }}{% for call in m.tool_calls %}{% if m.content %}\n\n{% endif %}<call>{{ call }}</call>\
                      {% endfor %}<|end|>{% endfor %}{% if add_generation_prompt %}<|assistant|><think>\n{% endif %}";
        let mut messages = json!([
            { "role": "assistant", "content": "hello" },
            { "role": "user", "content": "hi" },
            { "role": "assistant", "content": "", "tool_calls": ["f(1)", "g(2)"] },
            { "role": "tool", "content": "3" },
            { "role": "assistant", "content": "yes" },
        ]);
        let spoken = [
            "</think>hello<|end|>",
            "</think><call>f(1)</call><call>g(2)</call><|end|>",
            "</think>yes<|end|>",
        ];
        check(source, &messages, &spoken);
        messages[2]["content"] = json!(null);
        check(source, &messages, &spoken);
    }

    #[test]
    fn a_refusal_of_the_template_is_an_error_with_its_words() {
        let template =
            ChatTemplate::new("{{ raise_exception('no system role') }}", Vec::new(), "t.jinja".into());
        let error = assistant_spans(&template.expect("parses"), &[], None).expect_err("refused").to_string();
        assert!(error.contains("no system role") && error.contains("t.jinja"), "{error}");
    }
}
