//! The TOML file of `--config`.

use super::{Table, check, names};
use crate::failure::Failure;
use serde_json::Value;
use std::path::Path;

/// The table of the file at `path`: known names alone, each with a value that it can have.
pub(super) fn read(path: &Path) -> Result<Table, Failure> {
    let place = path.display();
    let text = std::fs::read_to_string(path).map_err(|error| {
        Failure::new(format!("{place}: {error}"), "--config wants a TOML file; flags alone do, too")
    })?;
    parse(&text).map_err(|(message, hint)| Failure::usage(format!("{place}: {message}"), hint))
}

/// An error's sentence and hint.
type Refusal = (String, String);

fn parse(text: &str) -> Result<Table, Refusal> {
    let listed = || "`qtuner train --help` lists every name; in the file, `-` is `_`".to_owned();
    let parsed: Table = toml::from_str(text).map_err(|error| not_toml(text, &error))?;
    let mut table = Table::new();
    let mut unknown = Vec::new();
    for (key, value) in parsed {
        let name = names::canonical(&key).to_owned();
        if names::owner(&name).is_none() {
            unknown.push(key);
            continue;
        }
        if !is_finite(&value) {
            let message = format!("`{key}` is nan or inf, expected a finite number");
            return Err((message, super::SEE_HELP.to_owned()));
        }
        check(&name, &value).map_err(|reason| {
            (format!("`{key}` is {}: {reason}", names::shown(&value)), super::SEE_HELP.to_owned())
        })?;
        if table.insert(name.clone(), value).is_some() {
            return Err((format!("`{name}` is said twice, once as `{key}`"), format!("keep `{name}`")));
        }
    }
    if unknown.is_empty() {
        return Ok(table);
    }
    let hints: Vec<String> = unknown
        .iter()
        .filter_map(|key| Some(format!("did you mean `{}` for `{key}`?", names::suggestion(key)?)))
        .collect();
    let keys: Vec<String> = unknown.iter().map(|key| format!("`{key}`")).collect();
    let what = if keys.len() == 1 { "unknown key" } else { "unknown keys" };
    let hint = if hints.is_empty() { listed() } else { hints.join(" ") };
    Err((format!("{what} {}", keys.join(", ")), hint))
}

/// An error of the parser with its line, and with the key if one is there twice.
fn not_toml(text: &str, error: &toml::de::Error) -> Refusal {
    let span = error.span().filter(|span| text.get(span.clone()).is_some());
    let line = span.clone().map(|span| 1 + text[..span.start].matches('\n').count());
    let line = line.map_or_else(String::new, |line| format!("line {line}: "));
    let key = span.filter(|_| error.message() == "duplicate key").map(|span| format!(" `{}`", &text[span]));
    (
        format!("{line}not TOML: {}{}", error.message(), key.unwrap_or_default()),
        "a line is `name = value`; texts stand in quotes".to_owned(),
    )
}

/// Whether a number in `value` is not finite: TOML has such numbers, JSON writes null for them, and TOML has no null.
fn is_finite(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Array(values) => values.iter().all(is_finite),
        Value::Object(table) => table.values().all(is_finite),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_transformers_are_taken_for_ours() {
        let table = parse("per_device_train_batch_size = 8\nr = 4\n").expect("known names");
        assert_eq!(
            table.into_iter().collect::<Vec<_>>(),
            [("batch_size".to_owned(), 8.into()), ("r".to_owned(), 4.into())]
        );
        let (message, _) = parse("batch_size = 1\nper_device_train_batch_size = 8\n").expect_err("twice");
        assert_eq!(message, "`batch_size` is said twice, once as `per_device_train_batch_size`");
    }

    #[test]
    fn unknown_names_are_refused_together_with_suggestions() {
        let (message, hint) = parse("lerning_rate = 1\nfoo = 2\n").expect_err("unknown");
        assert_eq!(message, "unknown keys `lerning_rate`, `foo`");
        assert_eq!(hint, "did you mean `learning_rate` for `lerning_rate`?");
    }

    #[test]
    fn a_value_of_the_wrong_kind_names_its_key() {
        let (message, _) = parse("learning_rate = \"fast\"\n").expect_err("a text");
        assert!(message.starts_with("`learning_rate` is \"fast\": invalid type: string"), "{message}");
        let (message, _) = parse("seed = -1\n").expect_err("a negative number");
        assert_eq!(
            message,
            "`seed` is -1: invalid value: integer `-1`, expected a whole number of at least 0"
        );
        let (message, _) = parse("learning_rate = nan\n").expect_err("no number");
        assert_eq!(message, "`learning_rate` is nan or inf, expected a finite number");
        let (message, _) = parse("alpha_pattern = { q = -inf }\n").expect_err("not finite");
        assert_eq!(message, "`alpha_pattern` is nan or inf, expected a finite number");
        let (message, _) = parse("model = 3\n").expect_err("a number");
        assert_eq!(message, "`model` is 3: expected a path in quotes");
    }

    #[test]
    fn a_file_that_is_not_toml_is_refused_with_the_line() {
        let (message, _) = parse("r = 4\nmodel = my model\n").expect_err("no quotes");
        assert!(message.starts_with("line 2: not TOML"), "{message}");
        let (message, _) = parse("r = 4\nseed = 1\nr = 8\n").expect_err("twice");
        assert_eq!(message, "line 3: not TOML: duplicate key `r`");
    }
}
