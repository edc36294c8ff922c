//! What Hugging Face adds to Jinja for chat templates: `raise_exception`, `strftime_now` and Python's JSON.

use minijinja::value::Kwargs;
use minijinja::{Error, ErrorKind, Value};
use serde::Serialize;
use serde_json::ser::Formatter;
use std::io;
use std::time::{SystemTime, UNIX_EPOCH};

/// `raise_exception(message)`: the template refuses the conversation.
#[allow(clippy::needless_pass_by_value, reason = "the engine hands arguments over by value")]
pub(super) fn raise_exception(message: String) -> Result<Value, Error> {
    Err(Error::new(ErrorKind::InvalidOperation, message))
}

/// The `tojson` filter: Python's `json.dumps(value, ensure_ascii=False, indent=...)`.
#[allow(clippy::needless_pass_by_value, reason = "the engine hands arguments over by value")]
pub(super) fn tojson(value: Value, kwargs: Kwargs) -> Result<Value, Error> {
    let indent: Option<usize> = kwargs.get("indent")?;
    let _: Option<bool> = kwargs.get("ensure_ascii")?;
    kwargs.assert_all_used()?;
    let mut bytes = Vec::new();
    let failed = |error: serde_json::Error| Error::new(ErrorKind::BadSerialization, error.to_string());
    if let Some(indent) = indent {
        let blanks = vec![b' '; indent];
        let formatter = serde_json::ser::PrettyFormatter::with_indent(&blanks);
        let mut serializer = serde_json::Serializer::with_formatter(&mut bytes, formatter);
        value.serialize(&mut serializer).map_err(failed)?;
    } else {
        let mut serializer = serde_json::Serializer::with_formatter(&mut bytes, PythonCompact);
        value.serialize(&mut serializer).map_err(failed)?;
    }
    let text = String::from_utf8_lossy(&bytes).into_owned();
    Ok(Value::from_safe_string(text))
}

/// Python's separators: `", "` and `": "`.
struct PythonCompact;

impl Formatter for PythonCompact {
    fn begin_array_value<W: ?Sized + io::Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_key<W: ?Sized + io::Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_value<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b": ")
    }
}

const DAYS: [&str; 7] = ["Thursday", "Friday", "Saturday", "Sunday", "Monday", "Tuesday", "Wednesday"];
const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

/// `now.strftime(format)` in UTC, for the fields that templates use; an unknown one is an error.
pub(super) fn strftime(now: SystemTime, format: &str) -> Result<String, Error> {
    let seconds = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil(days);
    let month_name = MONTHS[usize::try_from(month - 1).unwrap_or(0)];
    let day_name = DAYS[usize::try_from(days % 7).unwrap_or(0)];
    let mut text = String::new();
    let mut rest = format.chars();
    while let Some(letter) = rest.next() {
        if letter != '%' {
            text.push(letter);
            continue;
        }
        let field = match rest.next() {
            Some('Y') => year.to_string(),
            Some('y') => two_digits(year % 100),
            Some('m') => two_digits(month),
            Some('d') => two_digits(day),
            Some('B') => month_name.to_owned(),
            Some('b') => month_name[..3].to_owned(),
            Some('A') => day_name.to_owned(),
            Some('a') => day_name[..3].to_owned(),
            Some('H') => two_digits(second / 3600),
            Some('M') => two_digits(second / 60 % 60),
            Some('S') => two_digits(second % 60),
            Some('%') => "%".to_owned(),
            other => {
                let field: String = std::iter::once('%').chain(other).collect();
                let reason = format!("strftime_now does not know {field}");
                return Err(Error::new(ErrorKind::InvalidOperation, reason));
            }
        };
        text.push_str(&field);
    }
    Ok(text)
}

fn two_digits(number: u64) -> String {
    format!("{number:02}")
}

/// Year, month and day of a day number from 1970-01-01 (H. Hinnant's `civil_from_days`, for days from then on).
fn civil(days: u64) -> (u64, u64, u64) {
    let z = days + 719_468;
    let era = z / 146_097;
    let day_of_era = z % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn check(seconds: u64, format: &str, expected: &str) {
        let now = UNIX_EPOCH + Duration::from_secs(seconds);
        assert_eq!(strftime(now, format).expect("known fields"), expected);
    }

    #[test]
    fn dates_are_pythons() {
        check(0, "%d %b %Y", "01 Jan 1970");
        check(951_782_400, "%A %Y-%m-%d %H:%M:%S", "Tuesday 2000-02-29 00:00:00");
        check(1_721_952_000, "%d %b %Y", "26 Jul 2024");
        check(4_107_542_399, "%a %d %B %y %H:%M:%S 100%%", "Sun 28 February 00 23:59:59 100%");
    }

    #[test]
    fn an_unknown_field_is_an_error() {
        assert!(strftime(UNIX_EPOCH, "%Q").is_err());
        assert!(strftime(UNIX_EPOCH, "50%").is_err());
    }
}
