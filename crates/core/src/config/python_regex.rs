//! Python's `re` on top of `fancy-regex`, as far as module names need it: anchoring, and the syntax that
//! differs.
//!
//! Translated: `\Z`, literal braces, and in character classes `[`, `&`, `~`, `\b` and a leading `]`. A name
//! has no line breaks, so that `$` means the same in both.
//!
//! Where PEFT pastes an entry of `layers_pattern` or `modules_to_save` into its own pattern, alternatives
//! (`a|b`) and groups in the entry break it there; here the entry is one unit.

use fancy_regex::Regex;

use super::error::ConfigError;

/// The group that holds a layer's number. Named, so that groups in a user's `layers_pattern` do not shift it.
const INDEX: &str = "layer_index__";

/// One compiled pattern, with what errors have to name.
#[derive(Debug, Clone)]
pub(super) struct PythonRegex {
    field: &'static str,
    pattern: String,
    regex: Regex,
}

impl PythonRegex {
    /// `re.fullmatch(pattern, name)`.
    pub(super) fn full(field: &'static str, pattern: &str) -> Result<Self, ConfigError> {
        Self::compile(field, pattern, |pattern| format!(r"\A(?:{pattern})\z"))
    }

    /// A key of `rank_pattern` or `alpha_pattern`: whole dotted parts at the end of a name. The groups are
    /// PEFT's, so that a back-reference in a key counts as it does there.
    pub(super) fn ending(field: &'static str, key: &str) -> Result<Self, ConfigError> {
        Self::compile(field, key, |key| format!(r"\A(.*\.)?({key})\z"))
    }

    /// An entry of `modules_to_save`: the module of that name, or anything below it.
    pub(super) fn saved(entry: &str) -> Result<Self, ConfigError> {
        Self::compile("modules_to_save", entry, |entry| format!(r"\A(?:^|.*\.)(?:{entry})(?:\z|\..*)"))
    }

    /// The first number after the list called `pattern`, which is inside something.
    pub(super) fn layer_of(pattern: &str) -> Result<Self, ConfigError> {
        Self::compile("layers_pattern", pattern, |pattern| {
            format!(r"\A.*?\.(?:{pattern})\.(?P<{INDEX}>[0-9]+)\.")
        })
    }

    /// The first number after any list that is inside something.
    pub(super) fn any_layer() -> Self {
        Self::layer_of(r"[^.]*").expect("the pattern is valid")
    }

    /// Compiles `pattern` by itself first, so that errors speak of it and no parenthesis escapes the frame.
    fn compile(
        field: &'static str,
        pattern: &str,
        frame: impl Fn(&str) -> String,
    ) -> Result<Self, ConfigError> {
        let translated = translate(pattern);
        let framed = Regex::new(&translated).and_then(|_| Regex::new(&frame(&translated)));
        let regex = framed.map_err(|error| ConfigError::Regex {
            field,
            pattern: pattern.to_owned(),
            reason: error.to_string(),
        })?;
        Ok(Self { field, pattern: pattern.to_owned(), regex })
    }

    /// The pattern as it was given.
    pub(super) fn pattern(&self) -> &str {
        &self.pattern
    }

    pub(super) fn is_match(&self, module: &str) -> Result<bool, ConfigError> {
        self.regex.is_match(module).map_err(|error| self.failed(module, &error))
    }

    /// The digits of the layer that `module` is in.
    pub(super) fn layer_index<'m>(&self, module: &'m str) -> Result<Option<&'m str>, ConfigError> {
        let captures = self.regex.captures(module).map_err(|error| self.failed(module, &error))?;
        Ok(captures.and_then(|captures| captures.name(INDEX)).map(|index| index.as_str()))
    }

    fn failed(&self, module: &str, error: &fancy_regex::Error) -> ConfigError {
        ConfigError::RegexFailed {
            field: self.field,
            pattern: self.pattern.clone(),
            module: module.to_owned(),
            reason: error.to_string(),
        }
    }
}

/// Rewrites what Python reads differently.
fn translate(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len());
    let mut rest = pattern;
    // Where the current character class began, once its `[`, `^` and leading `]` are out.
    let mut in_class = false;
    while let Some(char) = rest.chars().next() {
        let after = &rest[char.len_utf8()..];
        let escaped = after.chars().next();
        match (char, escaped) {
            ('\\', Some(escape)) => {
                match escape {
                    'Z' if !in_class => out.push_str(r"\z"),
                    'b' if in_class => out.push_str(r"\x08"),
                    '<' | '>' => out.push(escape),
                    _ => out.extend(['\\', escape]),
                }
                rest = &after[escape.len_utf8()..];
                continue;
            }
            ('[', _) if !in_class => {
                in_class = true;
                out.push('[');
                rest = after;
                if let Some(negated) = rest.strip_prefix('^') {
                    out.push('^');
                    rest = negated;
                }
                if let Some(leading) = rest.strip_prefix(']') {
                    out.push_str(r"\]");
                    rest = leading;
                }
                continue;
            }
            (']', _) if in_class => {
                in_class = false;
                out.push(']');
            }
            ('[' | '&' | '~', _) if in_class => out.extend(['\\', char]),
            ('{', _) if !in_class => match repetition(after) {
                Some((repetition, after)) => {
                    out.push_str(&repetition);
                    rest = after;
                    continue;
                }
                None => out.push_str(r"\{"),
            },
            ('}', _) if !in_class => out.push_str(r"\}"),
            _ => out.push(char),
        }
        rest = after;
    }
    out
}

/// Reads `m}`, `m,}`, `,n}` or `m,n}` after an opening brace; anything else makes the brace a literal in
/// Python.
fn repetition(text: &str) -> Option<(String, &str)> {
    let (body, after) = text.split_once('}')?;
    let is_number = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    let (low, high) = body.split_once(',').unwrap_or((body, body));
    if body.is_empty() || !is_number(low) || !is_number(high) {
        return None;
    }
    let low = if low.is_empty() { "0" } else { low };
    Some((if body.contains(',') { format!("{{{low},{high}}}") } else { format!("{{{low}}}") }, after))
}
