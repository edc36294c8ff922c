//! What a command can end in: one sentence, a hint, and an exit code.

use crate::hints;
use crate::output;
use qtuner_train::DataError;
use std::any::Any;
use std::fmt::Display;
use std::process::ExitCode;

/// A command that did not succeed.
#[derive(Debug)]
pub(crate) struct Failure {
    message: String,
    hint: Option<String>,
    kind: FailureKind,
}

/// Whose fault it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FailureKind {
    /// Something went wrong: exit code 1.
    Failed,
    /// The command line or the configuration file cannot be meant: exit code 2.
    Usage,
    /// Nobody reads the output any more: nothing to say, exit code 0.
    Unread,
}

/// The hint when there is none that is closer.
const MORE: &str = "`qtuner COMMAND --help` lists every option; RUST_LOG=debug shows what led here";

impl Failure {
    /// Something that went wrong, and the way out.
    pub(crate) fn new(message: impl Display, hint: impl Display) -> Self {
        Self { message: message.to_string(), hint: Some(hint.to_string()), kind: FailureKind::Failed }
    }

    /// A command line or configuration file that cannot be meant, and what might be.
    pub(crate) fn usage(message: impl Display, hint: impl Display) -> Self {
        Self { kind: FailureKind::Usage, ..Self::new(message, hint) }
    }

    /// The same with another hint.
    pub(crate) fn with_hint(self, hint: impl Display) -> Self {
        Self { hint: Some(hint.to_string()), ..self }
    }

    /// The same where `flag` stands for what the hint calls `general`.
    pub(crate) fn about_flag(self, general: &str, flag: &str) -> Self {
        Self { hint: self.hint.map(|hint| hint.replace(general, flag)), ..self }
    }

    /// A command line that clap does not understand.
    pub(crate) fn unparsed(error: &clap::Error) -> Self {
        let text = error.render().to_string();
        let sentence = text.split("\n\n").next().unwrap_or_default();
        let sentence: Vec<&str> = sentence.lines().map(str::trim).collect();
        let sentence = sentence.join(" ");
        let tips = text.lines().filter_map(|line| line.trim().strip_prefix("tip: "));
        let tips: Vec<&str> = tips.collect();
        let hint = if tips.is_empty() { MORE.to_owned() } else { tips.join("; ") };
        Self::usage(sentence.strip_prefix("error: ").unwrap_or(&sentence), hint)
    }

    /// A defect of this program, by what it panicked with.
    pub(crate) fn panicked(payload: &(dyn Any + Send)) -> Self {
        let text = payload.downcast_ref::<&str>().copied();
        let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
        let message = format!("a defect of qtuner: {}", text.unwrap_or("it gave up without a word"));
        Self::new(message, "please report it, with the command line and the output of `qtuner env`")
    }

    /// Prints the sentence and the hint to stderr, and gives the exit code.
    pub(crate) fn report(&self) -> ExitCode {
        if self.kind == FailureKind::Unread {
            return ExitCode::SUCCESS;
        }
        let hint = self.hint.as_deref().unwrap_or(MORE);
        output::note(format_args!("error: {}\nhint: {hint}", shortened(&self.message)));
        ExitCode::from(if self.kind == FailureKind::Usage { 2 } else { 1 })
    }
}

/// Lines that are shown of a message that lists much.
const LINES: usize = 12;

/// The first lines, and how many there are besides.
fn shortened(message: &str) -> String {
    let lines: Vec<&str> = message.lines().collect();
    match lines.len().checked_sub(LINES) {
        None | Some(0) => message.to_owned(),
        Some(more) => format!("{}\n  and {more} more", lines[..LINES].join("\n")),
    }
}

impl<E: std::error::Error + 'static> From<E> for Failure {
    fn from(error: E) -> Self {
        let io = (&error as &dyn Any).downcast_ref::<std::io::Error>();
        let is_unread = io.is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe);
        let kind = match (&error as &dyn Any).downcast_ref::<DataError>() {
            _ if is_unread => FailureKind::Unread,
            Some(DataError::Option { .. }) => FailureKind::Usage,
            _ => FailureKind::Failed,
        };
        Self { message: error.to_string(), hint: hints::for_error(&error).map(str::to_owned), kind }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_list_is_cut_with_a_count() {
        let lines: Vec<String> = (0..20).map(|line| format!("  {line}")).collect();
        let text = shortened(&lines.join("\n"));
        assert_eq!(text.lines().count(), LINES + 1);
        assert!(text.ends_with("  11\n  and 8 more"), "{text}");
        assert_eq!(shortened("one\n  two"), "one\n  two");
    }
}
