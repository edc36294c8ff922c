//! Messages as transformers hands them to a template.

use serde_json::Value;

/// The names under which reasoning is passed; templates read the first.
const REASONING: [&str; 3] = ["reasoning_content", "thinking", "reasoning"];

/// The messages without keys that are null, which templates would take for words, and with reasoning under the names that
/// templates know.
pub(super) fn normalized(messages: &[Value]) -> Vec<Value> {
    messages.iter().map(one).collect()
}

fn one(message: &Value) -> Value {
    let Some(fields) = message.as_object() else { return message.clone() };
    let mut fields = fields.clone();
    fields.retain(|_, value| !value.is_null());
    if let Some(reasoning) = REASONING.iter().find_map(|name| fields.get(*name)).cloned() {
        fields.entry("thinking").or_insert_with(|| reasoning.clone());
        fields.insert(REASONING[0].to_owned(), reasoning);
    }
    Value::Object(fields)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn null_is_as_if_it_were_not_there_and_reasoning_has_the_names_that_templates_read() {
        let check = |message: Value, expected: Value| assert_eq!(normalized(&[message]), [expected]);
        check(json!({"role": "a", "content": null, "tool_calls": null}), json!({"role": "a"}));
        check(
            json!({"role": "a", "content": "x", "reasoning": "r"}),
            json!({"role": "a", "content": "x", "reasoning": "r", "thinking": "r", "reasoning_content": "r"}),
        );
        check(
            json!({"role": "a", "thinking": "t", "reasoning_content": null}),
            json!({"role": "a", "thinking": "t", "reasoning_content": "t"}),
        );
        check(json!("no object"), json!("no object"));
    }
}
