//! Where Python and the engine differ in what templates use: some methods of strings, two tests, numbers in JSON.

use minijinja::value::ValueKind;
use minijinja::{Error, Output, State, Value};
use serde_json::ser::Formatter;
use std::io;

/// A method that the engine does not know.
pub(super) fn method(
    state: &mut State<'_, '_>,
    value: &Value,
    name: &str,
    args: &[Value],
) -> Result<Value, Error> {
    let words: Option<Vec<&str>> = args.iter().take(1).map(Value::as_str).collect();
    let parts = |parts: [&str; 3]| Value::from(parts.map(Value::from).to_vec());
    match (value.as_str(), name, words.as_deref()) {
        (Some(text), "removeprefix", Some([prefix])) => Ok(text.strip_prefix(prefix).unwrap_or(text).into()),
        (Some(text), "removesuffix", Some([suffix])) => Ok(text.strip_suffix(suffix).unwrap_or(text).into()),
        (Some(text), "partition", Some([mark])) => {
            Ok(parts(text.split_once(mark).map_or([text, "", ""], |(one, other)| [one, mark, other])))
        }
        (Some(text), "rpartition", Some([mark])) => {
            Ok(parts(text.rsplit_once(mark).map_or(["", "", text], |(one, other)| [one, mark, other])))
        }
        (Some(text), "rsplit", Some([mark])) if !mark.is_empty() => {
            let most = args.get(1).map(|most| usize::try_from(most.clone())).transpose()?;
            let mut pieces: Vec<&str> = match most {
                Some(most) => text.rsplitn(most + 1, mark).collect(),
                None => text.rsplit(mark).collect(),
            };
            pieces.reverse();
            Ok(Value::from(pieces.into_iter().map(Value::from).collect::<Vec<_>>()))
        }
        _ => minijinja_contrib::pycompat::unknown_method_callback(state, value, name, args),
    }
}

/// Writes a value into the text: floats as Python does, all else as the engine.
pub(super) fn write(out: &mut Output<'_>, state: &mut State<'_, '_>, value: &Value) -> Result<(), Error> {
    match number(value) {
        Some(number) => out.write_str(&float(number)).map_err(Error::from),
        None => minijinja::escape_formatter(out, state, value),
    }
}

/// The `string` filter.
#[allow(clippy::needless_pass_by_value, reason = "the engine hands arguments over by value")]
pub(super) fn text(value: Value) -> String {
    number(&value).map_or_else(|| value.to_string(), float)
}

/// The value, if it is a float.
fn number(value: &Value) -> Option<f64> {
    let is_float = value.is_number() && !value.is_integer();
    is_float.then(|| f64::try_from(value.clone()).ok()).flatten()
}

/// The `iterable` test: `none` is none, and what is undefined is an empty sequence.
pub(super) fn is_iterable(value: &Value) -> bool {
    !value.is_none() && value.try_iter().is_ok()
}

/// The `sequence` test: what has a length and is indexed, strings and mappings among it.
pub(super) fn is_sequence(value: &Value) -> bool {
    value.is_undefined() || matches!(value.kind(), ValueKind::Seq | ValueKind::Map | ValueKind::String)
}

/// Whether characters beyond ASCII are written as they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Letters {
    AsTheyAre,
    Escaped,
}

/// JSON as `json.dumps` writes it.
pub(super) struct PythonJson {
    /// Between two items.
    pub(super) item: String,
    /// Between a key and its value.
    pub(super) key: String,
    /// Blanks for each level; without it, all is on one line.
    pub(super) indent: Option<usize>,
    pub(super) letters: Letters,
    depth: usize,
    is_empty: bool,
}

impl PythonJson {
    /// With Python's separators for this indent.
    pub(super) fn new(indent: Option<usize>) -> Self {
        let item = if indent.is_some() { "," } else { ", " };
        Self {
            item: item.to_owned(),
            key: ": ".to_owned(),
            indent,
            letters: Letters::AsTheyAre,
            depth: 0,
            is_empty: true,
        }
    }

    fn open<W: ?Sized + io::Write>(&mut self, writer: &mut W, bracket: &[u8]) -> io::Result<()> {
        self.depth += 1;
        self.is_empty = true;
        writer.write_all(bracket)
    }

    fn close<W: ?Sized + io::Write>(&mut self, writer: &mut W, bracket: &[u8]) -> io::Result<()> {
        self.depth -= 1;
        if !self.is_empty {
            self.break_line(writer)?;
        }
        self.is_empty = false;
        writer.write_all(bracket)
    }

    fn next<W: ?Sized + io::Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        self.is_empty = false;
        if !first {
            writer.write_all(self.item.as_bytes())?;
        }
        self.break_line(writer)
    }

    fn break_line<W: ?Sized + io::Write>(&self, writer: &mut W) -> io::Result<()> {
        match self.indent {
            None => Ok(()),
            Some(indent) => write!(writer, "\n{:1$}", "", indent * self.depth),
        }
    }
}

impl Formatter for PythonJson {
    fn begin_array<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.open(writer, b"[")
    }

    fn end_array<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.close(writer, b"]")
    }

    fn begin_array_value<W: ?Sized + io::Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        self.next(writer, first)
    }

    fn begin_object<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.open(writer, b"{")
    }

    fn end_object<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.close(writer, b"}")
    }

    fn begin_object_key<W: ?Sized + io::Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        self.next(writer, first)
    }

    fn begin_object_value<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(self.key.as_bytes())
    }

    fn write_f64<W: ?Sized + io::Write>(&mut self, writer: &mut W, value: f64) -> io::Result<()> {
        writer.write_all(float(value).as_bytes())
    }

    fn write_string_fragment<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        if self.letters == Letters::AsTheyAre {
            return writer.write_all(fragment.as_bytes());
        }
        for letter in fragment.chars() {
            if letter.is_ascii() {
                write!(writer, "{letter}")?;
                continue;
            }
            for unit in letter.encode_utf16(&mut [0; 2]) {
                write!(writer, "\\u{unit:04x}")?;
            }
        }
        Ok(())
    }
}

/// Python's `repr` of a float: with an exponent of two digits at least below 1e-4 and from 1e16 on.
fn float(value: f64) -> String {
    let text = format!("{value:e}");
    let Some((digits, exponent)) = text.split_once('e') else { return text };
    match exponent.parse::<i32>() {
        Ok(exponent) if !(-4..16).contains(&exponent) => {
            let sign = if exponent < 0 { '-' } else { '+' };
            format!("{digits}e{sign}{:02}", exponent.unsigned_abs())
        }
        _ => format!("{value:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_are_written_as_python_writes_them() {
        for (value, expected) in [
            (1e-7, "1e-07"),
            (1.5e-5, "1.5e-05"),
            (1e-4, "0.0001"),
            (0.1, "0.1"),
            (2.0, "2.0"),
            (-0.0, "-0.0"),
            (123_456.789, "123456.789"),
            (1e15, "1000000000000000.0"),
            (1e16, "1e+16"),
            (-2.5e300, "-2.5e+300"),
        ] {
            assert_eq!(float(value), expected);
        }
    }
}
