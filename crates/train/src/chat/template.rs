//! The Jinja chat template of a checkpoint folder.
//!
//! Read from `chat_template.jinja`, else from `chat_template` in `tokenizer_config.json`, which may be a list of named ones
//! (the one called `default` counts). Rendered as transformers does: `trim_blocks`, `lstrip_blocks`, Python's methods on
//! strings and lists, `break` and `continue`, `raise_exception`, `strftime_now`, and the special tokens as variables.

use super::functions;
use crate::files::read_if_there;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{Environment, Value, context};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

/// The template's own file.
const TEMPLATE_FILE: &str = "chat_template.jinja";

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
    tokens: Vec<(&'static str, String)>,
    date: Arc<Mutex<SystemTime>>,
}

impl ChatTemplate {
    /// The template of a folder, if it has one.
    pub(crate) fn open(
        folder: &Path,
        config: &serde_json::Value,
        special_token: impl Fn(&str) -> Option<String>,
    ) -> Result<Option<Self>, TemplateError> {
        let path = folder.join(TEMPLATE_FILE);
        let own = read_if_there(&path)
            .map_err(|source| TemplateError::Io { path: path.clone(), reason: source.to_string() })?;
        let (path, source) = match (own, config.get("chat_template")) {
            (Some(source), _) => (path, source),
            (None, Some(serde_json::Value::String(source))) => {
                (folder.join("tokenizer_config.json"), source.clone())
            }
            (None, Some(serde_json::Value::Array(named))) => {
                let default = named.iter().find(|entry| entry["name"] == "default");
                let Some(source) = default.and_then(|entry| entry["template"].as_str()) else {
                    return Ok(None);
                };
                (folder.join("tokenizer_config.json"), source.to_owned())
            }
            _ => return Ok(None),
        };
        let names = ["bos_token", "eos_token", "pad_token", "unk_token"];
        let tokens = names.into_iter().filter_map(|name| Some((name, special_token(name)?))).collect();
        Self::new(&source, tokens, path).map(Some)
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
        let unusable =
            |error: &minijinja::Error| TemplateError::Syntax { path: path.clone(), reason: describe(error) };
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
        environment.set_syntax(syntax.map_err(|error| unusable(&error))?);
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_function("raise_exception", functions::raise_exception);
        environment.add_function("strftime_now", move |format: String| {
            let now = *now.lock().unwrap_or_else(PoisonError::into_inner);
            functions::strftime(now, &format)
        });
        environment.add_filter("tojson", functions::tojson);
        environment
            .add_template_owned("chat", without_generation_tags(source))
            .map_err(|error| unusable(&error))?;
        Ok(Self { environment, path, tokens, date })
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
        let failed = |error: minijinja::Error| TemplateError::Render {
            path: self.path.clone(),
            reason: describe(&error),
        };
        let tokens = Value::from_pairs(self.tokens.iter().map(|(name, token)| (*name, token.as_str())));
        let variables = context! {
            messages => Value::from(Serde(messages)),
            tools => tools.map(|tools| Value::from(Serde(tools))),
            add_generation_prompt => prompt == GenerationPrompt::Add,
            ..tokens
        };
        self.environment.get_template("chat").and_then(|chat| chat.render(variables)).map_err(failed)
    }
}

/// Words that stand in no template.
const PROBE: &str = "qtuner-probes-the-end-of-a-turn";

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
        let messages = [("user", "?"), ("assistant", PROBE)]
            .map(|(role, content)| serde_json::json!({ "role": role, "content": content }));
        let text = self.render(&messages, None, GenerationPrompt::Omit).ok()?;
        text.rsplit_once(PROBE).map(|(_, end)| end.to_owned())
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

/// transformers marks the assistant's words with `{% generation %}`, a tag of its own: here it is a block that always is.
fn without_generation_tags(source: &str) -> String {
    let mut text = source.to_owned();
    for (tag, block) in [("generation", "if true"), ("endgeneration", "endif")] {
        for open in ["{%", "{%-"] {
            for close in ["%}", "-%}"] {
                text = text.replace(&format!("{open} {tag} {close}"), &format!("{open} {block} {close}"));
            }
        }
    }
    text
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
}
