//! What Hugging Face adds to Jinja for chat templates: `raise_exception`, `strftime_now` and Python's JSON.

use super::python::{Letters, PythonJson};
use minijinja::value::Kwargs;
use minijinja::{Error, ErrorKind, Value};
use serde::Serialize;
use std::time::{SystemTime, UNIX_EPOCH};

/// `raise_exception(message)`: the template refuses the conversation.
#[allow(clippy::needless_pass_by_value, reason = "the engine hands arguments over by value")]
pub(super) fn raise_exception(message: String) -> Result<Value, Error> {
    Err(Error::new(ErrorKind::InvalidOperation, message))
}

/// The `tojson` filter: Python's `json.dumps(value, ensure_ascii=False, indent=..., separators=..., sort_keys=...)`.
#[allow(clippy::needless_pass_by_value, reason = "the engine hands arguments over by value")]
pub(super) fn tojson(value: Value, kwargs: Kwargs) -> Result<Value, Error> {
    if value.is_undefined() {
        return Err(Error::new(ErrorKind::UndefinedError, "tojson: the value is undefined"));
    }
    let mut python = PythonJson::new(kwargs.get("indent")?);
    if kwargs.get::<Option<bool>>("ensure_ascii")? == Some(true) {
        python.letters = Letters::Escaped;
    }
    if let Some(separators) = kwargs.get::<Option<Vec<String>>>("separators")? {
        let [item, key] = <[String; 2]>::try_from(separators)
            .map_err(|_| Error::new(ErrorKind::InvalidOperation, "tojson: separators are two strings"))?;
        (python.item, python.key) = (item, key);
    }
    let is_sorted = kwargs.get::<Option<bool>>("sort_keys")? == Some(true);
    kwargs.assert_all_used()?;
    let failed = |error: serde_json::Error| Error::new(ErrorKind::BadSerialization, error.to_string());
    let mut json = serde_json::to_value(&value).map_err(failed)?;
    if is_sorted {
        json.sort_all_objects();
    }
    let mut bytes = Vec::new();
    json.serialize(&mut serde_json::Serializer::with_formatter(&mut bytes, python)).map_err(failed)?;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    Ok(Value::from_safe_string(text))
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
            Some('I') => two_digits((second / 3600 + 11) % 12 + 1),
            Some('p') => if second < 43_200 { "AM" } else { "PM" }.to_owned(),
            Some('j') => format!("{:03}", days - first_of(days, year) + 1),
            Some('-') => match rest.next() {
                Some('d') => day.to_string(),
                Some('m') => month.to_string(),
                Some('H') => (second / 3600).to_string(),
                Some('I') => ((second / 3600 + 11) % 12 + 1).to_string(),
                other => return Err(unknown("%-", other)),
            },
            Some('%') => "%".to_owned(),
            other => return Err(unknown("%", other)),
        };
        text.push_str(&field);
    }
    Ok(text)
}

fn unknown(start: &str, letter: Option<char>) -> Error {
    let field: String = start.chars().chain(letter).collect();
    Error::new(ErrorKind::InvalidOperation, format!("strftime_now does not know {field}"))
}

/// The day number of the first of January of `year`, which `day` is in.
fn first_of(day: u64, year: u64) -> u64 {
    let is_before = |first: &u64| civil(*first).0 == year;
    (day.saturating_sub(365)..=day).find(is_before).unwrap_or(day)
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
        check(951_782_400, "%-d/%-m %I %p %j", "29/2 12 AM 060");
        check(978_303_599, "%j %I:%M %p %-H", "366 10:59 PM 22");
        check(4_107_542_399, "%a %d %B %y %H:%M:%S 100%%", "Sun 28 February 00 23:59:59 100%");
    }

    #[test]
    fn an_unknown_field_is_an_error() {
        assert!(strftime(UNIX_EPOCH, "%Q").is_err());
        assert!(strftime(UNIX_EPOCH, "50%").is_err());
    }
}
