//! One line of a JSONL file.

use serde_json::{Map, Value};

/// What a line holds.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Record {
    /// `{"text": "..."}`: a document, all of which is learned.
    Text(String),
    /// `{"prompt": "...", "completion": "..."}`: the completion is learned.
    Completion {
        /// What is given.
        prompt: String,
        /// What is to follow.
        completion: String,
    },
    /// `{"messages": [{"role": "...", "content": "..."}, ...]}`: what the assistant says is learned.
    Messages {
        /// The conversation.
        messages: Vec<Value>,
        /// Tools that the template may describe (`tools`).
        tools: Option<Value>,
    },
}

impl Record {
    /// Reads a line. Keys that are not of the record's own are left alone.
    ///
    /// # Errors
    /// The reason, for the report of bad lines.
    ///
    /// ```
    /// use qtuner_train::data::Record;
    /// assert_eq!(Record::parse(r#"{"text": "hello"}"#), Ok(Record::Text("hello".to_owned())));
    /// assert!(Record::parse(r#"{"prompt": "hello"}"#).unwrap_err().contains("completion"));
    /// ```
    pub fn parse(line: &str) -> Result<Self, String> {
        let value: Value = serde_json::from_str(line).map_err(|error| format!("no JSON: {error}"))?;
        let Value::Object(object) = value else {
            return Err(format!("found {}, expected an object", kind(&value)));
        };
        let has = |key: &str| object.contains_key(key);
        match (has("messages"), has("prompt") || has("completion"), has("text")) {
            (true, false, false) => messages(&object),
            (false, true, false) => Ok(Self::Completion {
                prompt: string(&object, "prompt")?,
                completion: string(&object, "completion").and_then(not_empty("completion"))?,
            }),
            (false, false, true) => Ok(Self::Text(string(&object, "text").and_then(not_empty("text"))?)),
            _ => {
                let keys: Vec<&str> = object.keys().map(String::as_str).collect();
                Err(format!(
                    "found the keys {keys:?}, expected one of `text`, `messages`, or `prompt` with `completion`"
                ))
            }
        }
    }
}

fn messages(object: &Map<String, Value>) -> Result<Record, String> {
    let Some(Value::Array(messages)) = object.get("messages") else {
        return Err(format!("`messages` is {}, expected a list", kind(&object["messages"])));
    };
    for (index, message) in messages.iter().enumerate() {
        if !message["role"].is_string() {
            return Err(format!("message {} has no `role`", index + 1));
        }
    }
    if !messages.iter().any(|message| message["role"] == "assistant") {
        return Err("no message has the role `assistant`, so there is nothing to learn".to_owned());
    }
    let tools = object.get("tools").filter(|tools| !tools.is_null()).cloned();
    Ok(Record::Messages { messages: messages.clone(), tools })
}

fn string(object: &Map<String, Value>, key: &str) -> Result<String, String> {
    match object.get(key) {
        Some(Value::String(text)) => Ok(text.clone()),
        Some(other) => Err(format!("`{key}` is {}, expected a string", kind(other))),
        None => Err(format!("`{key}` is missing")),
    }
}

fn not_empty(key: &str) -> impl Fn(String) -> Result<String, String> {
    move |text| if text.is_empty() { Err(format!("`{key}` is empty")) } else { Ok(text) }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str, words: &str) {
        let error = Record::parse(line).expect_err("a bad line");
        assert!(error.contains(words), "{line}: {error}");
    }

    #[test]
    fn bad_lines_say_what_is_wrong() {
        check("{", "no JSON");
        check("[]", "found a list");
        check("{}", "expected one of");
        check(r#"{"text": 1}"#, "`text` is a number");
        check(r#"{"text": ""}"#, "`text` is empty");
        check(r#"{"text": "a", "prompt": "b"}"#, "expected one of");
        check(r#"{"prompt": "a"}"#, "`completion` is missing");
        check(r#"{"messages": "a"}"#, "expected a list");
        check(r#"{"messages": [{"content": "a"}]}"#, "message 1 has no `role`");
        check(r#"{"messages": [{"role": "user", "content": "a"}]}"#, "nothing to learn");
    }
}
