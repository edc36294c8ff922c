//! `--rank-pattern` and `--alpha-pattern`: `NAME=NUMBER`, as often as wanted, in an order that counts.
//!
//! A name is PEFT's key, a regular expression for the end of a module's name. The first key that hits decides, so the order of
//! the command line is kept. In the file they are tables, `rank_pattern = { name = 4 }`.

use super::Table;
use serde::Serializer;
use serde::ser::Error;
use serde_json::{Number, Value};

/// What one flag says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Patterns(Vec<(String, Number)>);

/// `NAME=R`, several with commas between.
pub(super) fn ranks(text: &str) -> Result<Patterns, String> {
    parse(text, |number| number.parse().ok().filter(|rank: &i64| *rank > 0).map(Number::from), "NAME=R")
}

/// `NAME=ALPHA`, several with commas between.
pub(super) fn alphas(text: &str) -> Result<Patterns, String> {
    parse(text, |number| number.parse().ok(), "NAME=ALPHA")
}

/// A comma ends an entry only after its number: a regular expression may have commas, too.
fn parse(text: &str, number: impl Fn(&str) -> Option<Number>, expected: &str) -> Result<Patterns, String> {
    let mut entries = Vec::new();
    let mut entry = String::new();
    for piece in text.split(',') {
        entry.push_str(piece);
        let found = entry.rsplit_once('=').and_then(|(name, value)| Some((name, number(value.trim())?)));
        match found {
            Some((name, value)) if !name.trim().is_empty() => {
                entries.push((name.trim().to_owned(), value));
                entry.clear();
            }
            _ => entry.push(','),
        }
    }
    match entry.strip_suffix(',') {
        None if !entries.is_empty() => Ok(Patterns(entries)),
        rest => Err(format!("`{}` is not {expected}", rest.unwrap_or(text))),
    }
}

/// All flags as one table.
#[allow(clippy::ref_option, reason = "serde hands a field over by reference")]
pub(super) fn table<S: Serializer>(flags: &Option<Vec<Patterns>>, serializer: S) -> Result<S::Ok, S::Error> {
    let Some(flags) = flags else { return serializer.serialize_none() };
    let mut table = Table::new();
    for (name, number) in flags.iter().flat_map(|flag| &flag.0) {
        if table.insert(name.clone(), Value::Number(number.clone())).is_some() {
            return Err(S::Error::custom(format!("the pattern `{name}` is given twice")));
        }
    }
    serializer.collect_map(table)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &[(&str, i64)]) {
        let expected = expected.iter().map(|(name, rank)| ((*name).to_owned(), Number::from(*rank)));
        assert_eq!(ranks(text), Ok(Patterns(expected.collect())), "{text}");
    }

    #[test]
    fn patterns_keep_their_order_and_their_regular_expressions() {
        check("q_proj=16", &[("q_proj", 16)]);
        check("v_proj=2, q_proj = 16,down_proj=4", &[("v_proj", 2), ("q_proj", 16), ("down_proj", 4)]);
        check(r"layers\.\d{1,2}\.q_proj=4,up_proj=8", &[(r"layers\.\d{1,2}\.q_proj", 4), ("up_proj", 8)]);
        check("(?=x)y=3", &[("(?=x)y", 3)]);
        let halves = alphas("q_proj=0.5,v_proj=2").expect("two numbers");
        assert_eq!(halves.0[0].1.as_f64(), Some(0.5));
    }

    #[test]
    fn an_entry_without_a_name_or_a_number_is_shown() {
        for (text, shown) in
            [("q_proj", "q_proj"), ("a=1,b", "b"), ("a=x", "a=x"), ("=4", "=4"), ("", ""), ("a=0", "a=0")]
        {
            assert_eq!(ranks(text), Err(format!("`{shown}` is not NAME=R")));
        }
        assert_eq!(ranks("a=1.5"), Err("`a=1.5` is not NAME=R".to_owned()));
    }
}
