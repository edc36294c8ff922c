//! The Jinja chat template of a checkpoint folder.
//!
//! Read from `chat_template.jinja`, else from `chat_template` in `tokenizer_config.json`, which may be a list of named ones: the one
//! called `default` counts, and `tool_use`, also in `additional_chat_templates/`, for conversations with tools. Rendered as
//! transformers does: `trim_blocks`, `lstrip_blocks`, Python's methods on strings and lists, `break` and `continue`,
//! `raise_exception`, `strftime_now`, and the special tokens as variables.

use super::{functions, messages, python, source};
use crate::files::read_if_there;
use crate::tokenizer::special_token;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{Environment, Value, context};
use std::fmt;
use std::ops::{Range, RangeInclusive};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

/// The template's own file.
const TEMPLATE_FILE: &str = "chat_template.jinja";
/// The file of the template for conversations with tools, beside it.
const TOOL_USE_FILE: &str = "additional_chat_templates/tool_use.jinja";
/// That template's name.
const TOOL_USE: &str = "tool_use";
/// The variables of special tokens.
const TOKENS: [&str; 7] =
    ["bos_token", "eos_token", "pad_token", "unk_token", "sep_token", "cls_token", "mask_token"];
/// What can stand around the words that a template marks as the assistant's, until they are placed: 131,000 characters of private
/// use, of which those that a conversation has are not taken.
const MARKS: RangeInclusive<char> = '\u{f0000}'..='\u{10fffd}';

/// Whether the text ends with the header of the assistant's next turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GenerationPrompt {
    /// It does: the model is to answer.
    Add,
    /// It ends with the last message.
    Omit,
}

/// How a conversation becomes text.
pub struct ChatTemplate {
    environment: Environment<'static>,
    path: PathBuf,
    tokens: Vec<(String, String)>,
    date: Arc<Mutex<SystemTime>>,
}

impl ChatTemplate {
    /// The template of a folder, if it has one.
    pub(crate) fn open(
        folder: &Path,
        config: &serde_json::Value,
        usual_token: impl Fn(&str) -> Option<String>,
    ) -> Result<Option<Self>, TemplateError> {
        let path = folder.join(TEMPLATE_FILE);
        let read = |path: &Path| {
            let failed = |error: std::io::Error| TemplateError::Io {
                path: path.to_owned(),
                reason: error.to_string(),
            };
            read_if_there(path).map_err(failed)
        };
        let mut tool_use = None;
        let (path, source) = match (read(&path)?, config.get("chat_template")) {
            (Some(source), _) => {
                tool_use = read(&folder.join(TOOL_USE_FILE))?;
                (path, source)
            }
            (None, Some(serde_json::Value::String(source))) => {
                (folder.join("tokenizer_config.json"), source.clone())
            }
            (None, Some(serde_json::Value::Array(named))) => {
                let called = |name| {
                    let entry = named.iter().find(|entry| entry["name"] == name)?;
                    entry["template"].as_str().map(str::to_owned)
                };
                let Some(source) = called("default") else { return Ok(None) };
                tool_use = called(TOOL_USE);
                (folder.join("tokenizer_config.json"), source)
            }
            _ => return Ok(None),
        };
        let tokens = TOKENS.into_iter().filter_map(|name| Some((name, usual_token(name)?))).collect();
        let mut template = Self::new(&source, tokens, path)?;
        template.tokens.extend(extra_tokens(config));
        if let Some(source) = tool_use {
            template.add(TOOL_USE, &source)?;
        }
        Ok(Some(template))
    }

    /// A template from its source, with the special tokens that it may name (`bos_token`, ...).
    ///
    /// # Errors
    /// [`TemplateError::Syntax`] with the line; `path` is where the source is from.
    pub fn new(
        source: &str,
        tokens: Vec<(&'static str, String)>,
        path: PathBuf,
    ) -> Result<Self, TemplateError> {
        let date = Arc::new(Mutex::new(SystemTime::now()));
        let now = Arc::clone(&date);
        let mut environment = Environment::new();
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
        let unusable =
            |error: minijinja::Error| TemplateError::Syntax { path: path.clone(), reason: describe(&error) };
        environment.set_syntax(syntax.map_err(unusable)?);
        environment.set_unknown_method_callback(python::method);
        environment.add_test("iterable", python::is_iterable);
        environment.add_test("sequence", python::is_sequence);
        environment.set_formatter(python::write);
        environment.add_filter("string", python::text);
        for name in [source::OPEN, source::CLOSE] {
            environment.add_template_owned(name, format!("{{{{ {name} }}}}")).map_err(unusable)?;
        }
        environment.add_function("raise_exception", functions::raise_exception);
        environment.add_function("strftime_now", move |format: String| {
            let now = *now.lock().unwrap_or_else(PoisonError::into_inner);
            functions::strftime(now, &format)
        });
        environment.add_filter("tojson", functions::tojson);
        let tokens = tokens.into_iter().map(|(name, token)| (name.to_owned(), token)).collect();
        let mut template = Self { environment, path, tokens, date };
        template.add("chat", source)?;
        Ok(template)
    }

    fn add(&mut self, name: &'static str, source: &str) -> Result<(), TemplateError> {
        let added = self.environment.add_template_owned(name, source::prepared(source));
        added.map_err(|error| TemplateError::Syntax { path: self.path.clone(), reason: describe(&error) })
    }

    /// Fixes what `strftime_now` says: data must give the same tokens on every day. A new template says today's date.
    pub fn set_date(&mut self, date: SystemTime) {
        *self.date.lock().unwrap_or_else(PoisonError::into_inner) = date;
    }

    /// The text of a conversation: `messages` is a list of objects with `role` and `content`, `tools` a list or null.
    ///
    /// # Errors
    /// [`TemplateError::Render`] when the template refuses the messages or cannot be evaluated on them.
    pub fn render(
        &self,
        messages: &[serde_json::Value],
        tools: Option<&serde_json::Value>,
        prompt: GenerationPrompt,
    ) -> Result<String, TemplateError> {
        self.render_marked(messages, tools, prompt).map(|(text, _)| text)
    }

    /// The same, and the bytes that the template marks as the assistant's (`{% generation %}`), none if it marks nothing.
    pub(super) fn render_marked(
        &self,
        messages: &[serde_json::Value],
        tools: Option<&serde_json::Value>,
        prompt: GenerationPrompt,
    ) -> Result<(String, Vec<Range<usize>>), TemplateError> {
        let failed = |error: minijinja::Error| TemplateError::Render {
            path: self.path.clone(),
            reason: describe(&error),
        };
        let tokens =
            Value::from_pairs(self.tokens.iter().map(|(name, token)| (name.as_str(), token.as_str())));
        let tools = tools.filter(|tools| !tools.is_null());
        let has_own = tools.is_some() && self.environment.get_template(TOOL_USE).is_ok();
        let name = if has_own { TOOL_USE } else { "chat" };
        let chat = self.environment.get_template(name).map_err(failed)?;
        let marks = chat.source().contains(source::OPEN).then(|| marks(messages, tools));
        let [open, close] = marks.unwrap_or_default();
        let variables = context! {
            messages => Value::from(Serde(messages::normalized(messages))),
            tools => tools.map(|tools| Value::from(Serde(tools))),
            documents => (),
            qtuner_open => open,
            qtuner_close => close,
            add_generation_prompt => prompt == GenerationPrompt::Add,
            ..tokens
        };
        let text = chat.render(variables).map_err(failed)?;
        match marks {
            Some(marks) => Ok(without_marks(&text, marks)),
            None => Ok((text, Vec::new())),
        }
    }
}

/// Words that stand in no template and no conversation.
const PROBE: &str = "qtuner-probes-the-place-of-a-message";

impl ChatTemplate {
    /// What stands after an assistant's words, which ends its turn; nothing when the template refuses a question with an answer.
    ///
    /// ```
    /// use qtuner_train::chat::ChatTemplate;
    ///
    /// let source = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}";
    /// let template = ChatTemplate::new(source, Vec::new(), "chat_template.jinja".into())?;
    /// assert_eq!(template.turn_end().as_deref(), Some("<|im_end|>\n"));
    /// # Ok::<(), qtuner_train::chat::TemplateError>(())
    /// ```
    pub fn turn_end(&self) -> Option<String> {
        let message = |role: &str| serde_json::json!({ "role": role, "content": "?" });
        self.around(&[message("user"), message("assistant")], 1, None).map(|(_, end)| end)
    }

    /// What stands before and after the words of message `index` in the text of `messages`, whatever the words are; nothing when
    /// the template refuses others, or writes them never or twice.
    pub(super) fn around(
        &self,
        messages: &[serde_json::Value],
        index: usize,
        tools: Option<&serde_json::Value>,
    ) -> Option<(String, String)> {
        let mut messages = messages.to_vec();
        messages[index].as_object_mut()?.insert("content".to_owned(), serde_json::Value::from(PROBE));
        let text = self.render(&messages, tools, GenerationPrompt::Omit).ok()?;
        let (before, after) = text.split_once(PROBE)?;
        (!after.contains(PROBE)).then(|| (before.to_owned(), after.to_owned()))
    }

    pub(super) fn unplaced(&self, index: usize) -> TemplateError {
        TemplateError::Unplaced { path: self.path.clone(), message: index + 1 }
    }
}

impl fmt::Debug for ChatTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChatTemplate").field("path", &self.path).finish_non_exhaustive()
    }
}

/// The special tokens that a tokenizer names beside the usual ones.
fn extra_tokens(config: &serde_json::Value) -> impl Iterator<Item = (String, String)> {
    let named = &config["extra_special_tokens"];
    let names = named.as_object().into_iter().flat_map(serde_json::Map::keys);
    names.filter_map(|name| Some((name.clone(), special_token(named, name)?)))
}

/// Two marks that stand nowhere in a conversation.
fn marks(messages: &[serde_json::Value], tools: Option<&serde_json::Value>) -> [char; 2] {
    fn has(value: &serde_json::Value, mark: char) -> bool {
        match value {
            serde_json::Value::String(text) => text.contains(mark),
            serde_json::Value::Array(values) => values.iter().any(|value| has(value, mark)),
            serde_json::Value::Object(fields) => {
                fields.iter().any(|(name, value)| name.contains(mark) || has(value, mark))
            }
            _ => false,
        }
    }
    let mut free = MARKS.filter(|mark| !messages.iter().chain(tools).any(|value| has(value, *mark)));
    [free.next(), free.next()].map(|mark| mark.unwrap_or(*MARKS.start()))
}

/// A text without the marks of `{% generation %}`, and what stood between them; what was marked within marks is one.
fn without_marks(marked: &str, [begin, end]: [char; 2]) -> (String, Vec<Range<usize>>) {
    let mut text = String::with_capacity(marked.len());
    let mut spans = Vec::new();
    let mut open = Vec::new();
    for letter in marked.chars() {
        if letter == begin {
            open.push(text.len());
        } else if letter != end {
            text.push(letter);
        } else if let (Some(start), true) = (open.pop(), open.is_empty())
            && start < text.len()
        {
            spans.push(start..text.len());
        }
    }
    (text, spans)
}

fn describe(error: &minijinja::Error) -> String {
    let reason = error.detail().map_or_else(|| error.kind().to_string(), str::to_owned);
    match error.line() {
        Some(line) => format!("line {line}: {reason}"),
        None => reason,
    }
}

/// A chat template that cannot be used.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum TemplateError {
    /// The system refused to read.
    #[error("{}: {reason}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        reason: String,
    },
    /// The source is no template.
    #[error("{}: the chat template cannot be parsed: {reason}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Line and reason.
        reason: String,
    },
    /// The template refuses the conversation.
    #[error("{}: the chat template refuses the messages: {reason}", path.display())]
    Render {
        /// The file.
        path: PathBuf,
        /// Line and reason.
        reason: String,
    },
    /// It cannot be told where in the text an assistant's turn is.
    #[error("{}: the chat template rewrites message {message}, so that its place in the text is unknown: give each assistant turn its own line, with the messages before it", path.display())]
    Unplaced {
        /// The file.
        path: PathBuf,
        /// The message, counted from 1.
        message: usize,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_special_tokens_are_variables() {
        let tokens = vec![("bos_token", "<s>".to_owned()), ("eos_token", "</s>".to_owned())];
        let source = "{{ bos_token }}{% for m in messages %}{{ ' ' + m['content'] | trim + eos_token }}{% endfor %}\
                      {% if pad_token is not defined and not tools %}.{% endif %}";
        let template = ChatTemplate::new(source, tokens, "chat_template.jinja".into()).expect("parses");
        let text = template.render(
            &[json!({ "role": "assistant", "content": "yes " })],
            None,
            GenerationPrompt::Omit,
        );
        assert_eq!(text.expect("renders"), "<s> yes</s>.");
    }

    fn rendered(source: &str, messages: &serde_json::Value) -> String {
        let template = ChatTemplate::new(source, Vec::new(), "t.jinja".into()).expect("parses");
        template.render(messages.as_array().expect("a list"), None, GenerationPrompt::Omit).expect("renders")
    }

    #[test]
    fn what_templates_ask_is_answered_as_in_python() {
        let message = json!([{ "role": "user", "content": "a.b.c", "tool_calls": null }]);
        let check =
            |source: &str, expected: &str| assert_eq!(rendered(source, &message), expected, "{source}");
        check("{{ tools is iterable }} {{ tools is none }} {{ documents is none }}", "False True True");
        check(
            "{{ 'a' is sequence }} {{ {} is sequence }} {{ [] is iterable }} {{ 1 is sequence }}",
            "True True True False",
        );
        check("{{ messages[0].tool_calls is defined }}", "False");
        check(
            "{{ 1e-5 }} {{ 1e16 | string }} {{ 2.0 }} {{ 3 }} {{ none }}\r\n.",
            "1e-05 1e+16 2.0 3 None\n.",
        );
        check("{{ messages[0].content.rsplit('.', 1) | join('|') }}", "a.b|c");
        check(
            "{{ 'x:y:z'.partition(':')[2] }} {{ 'x:y'.rpartition(':')[0] }} {{ 'xy'.partition(':')[0] }}",
            "y:z x xy",
        );
        check("{{ 'abc'.removeprefix('a').removesuffix('c').removesuffix('q') }}", "b");
        check(
            "{{ {'b': 1e-7, 'a': ['é', 2.0, none]} | tojson }}",
            "{\"b\": 1e-07, \"a\": [\"\u{e9}\", 2.0, null]}",
        );
        check(
            "{{ {'b': 1, 'a': 'é'} | tojson(sort_keys=true, ensure_ascii=true, separators=(',', ':')) }}",
            r#"{"a":"\u00e9","b":1}"#,
        );
        check(
            "{{ {'b': [1, {}], 'a': []} | tojson(indent=2) }}",
            "{\n  \"b\": [\n    1,\n    {}\n  ],\n  \"a\": []\n}",
        );
    }

    #[test]
    fn conversations_with_tools_have_a_template_of_their_own_where_the_folder_has_one() {
        let folder = tempfile::tempdir().expect("a folder");
        let write = |name: &str, source: &str| {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("writable");
            std::fs::write(path, source).expect("writable");
        };
        let config = json!({
            "chat_template": [{ "name": "tool_use", "template": "T{{ sep_token }}" }, { "name": "default", "template": "D{{ image }}" }],
            "extra_special_tokens": { "image": "<i>", "other": { "content": "<o>" } },
        });
        let open = || {
            let token = |name: &str| (name == "sep_token").then(|| "<sep>".to_owned());
            ChatTemplate::open(folder.path(), &config, token).expect("parses").expect("there")
        };
        let check = |template: &ChatTemplate, tools: &serde_json::Value, expected: &str| {
            assert_eq!(template.render(&[], Some(tools), GenerationPrompt::Omit).expect("renders"), expected);
        };
        check(&open(), &json!([{}]), "T<sep>");
        check(&open(), &json!(null), "D<i>");
        write("chat_template.jinja", "own");
        check(&open(), &json!([{}]), "own");
        write("additional_chat_templates/tool_use.jinja", "own{{ other }}");
        check(&open(), &json!([{}]), "own<o>");
        check(&open(), &json!(null), "own");
    }
}
