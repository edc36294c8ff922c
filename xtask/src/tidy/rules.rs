//! The rules on text, each a function from a file's text to its failures.

use super::Failure;

const MOST_LINES: usize = 600;

/// What may not be in Rust code; cut in two, so that this file may hold them.
const STUBS: [&str; 3] = [concat!("todo", "!("), concat!("unimplemented", "!("), concat!("#[", "ignore")];

/// Where the systems keep home folders; cut in two likewise.
const HOMES: [&str; 4] =
    [concat!("/ho", "me/"), concat!("/ro", "ot/"), concat!("/Us", "ers/"), concat!(":\\Us", "ers\\")];

/// A file that needs a table of contents is two files.
pub(crate) fn not_too_long(text: &str) -> Option<Failure> {
    let lines = text.lines().count();
    let message = || format!("{lines} lines, at most {MOST_LINES}: split it by concept");
    (lines > MOST_LINES).then(|| Failure { line: 0, message: message() })
}

/// The first line of a module says what it is.
pub(crate) fn has_header(text: &str) -> Option<Failure> {
    let header = text.lines().next().and_then(|line| line.strip_prefix("//!"));
    let message = "the first line is no `//!` header: say what the module is";
    let missing = header.is_none_or(|words| words.trim().is_empty());
    missing.then(|| Failure { line: 1, message: message.to_owned() })
}

/// Nothing unfinished, and no test that does not run.
pub(crate) fn no_stubs(text: &str) -> Vec<Failure> {
    let find = |line: &str| STUBS.into_iter().find(|stub| line.contains(stub));
    each_line(text, |line| find(line).map(|stub| format!("`{stub}`: finish it or take it out")))
}

/// Nothing that is true on one machine only.
pub(crate) fn no_home_paths(text: &str) -> Vec<Failure> {
    let find = |line: &str| HOMES.into_iter().find(|home| starts_a_path(line, home));
    each_line(text, |line| find(line).map(|home| format!("a path in a home folder (`{home}...`)")))
}

fn each_line(text: &str, rule: impl Fn(&str) -> Option<String>) -> Vec<Failure> {
    let lines = text.lines().enumerate();
    lines.filter_map(|(index, line)| Some(Failure { line: index + 1, message: rule(line)? })).collect()
}

/// Whether `folder` is in the line as the start of an absolute path, and not the middle of a relative one.
fn starts_a_path(line: &str, folder: &str) -> bool {
    line.match_indices(folder).any(|(index, _)| {
        let before = line[..index].chars().next_back();
        folder.starts_with(':') || !before.is_some_and(|c| c.is_alphanumeric() || "._-~})>".contains(c))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_at_most_600_lines() {
        assert_eq!(not_too_long(&"x\n".repeat(600)), None);
        let failure = not_too_long(&"x\n".repeat(601)).expect("one line too many");
        assert!(failure.message.starts_with("601 lines"), "{failure:?}");
    }

    #[test]
    fn a_module_starts_with_what_it_is() {
        let check = |text: &str, expected: bool| assert_eq!(has_header(text).is_none(), expected, "{text:?}");
        check("//! Packed weights.\n", true);
        check("//!\n//! Packed weights.\n", false);
        check("// Packed weights.\n", false);
        check("\n//! Packed weights.\n", false);
        check("", false);
    }

    #[test]
    fn stubs_and_ignored_tests_are_found_where_they_stand() {
        for stub in STUBS {
            let failures = no_stubs(&format!("fn f() {{\n    {stub}\n}}\n"));
            assert_eq!(failures.iter().map(|failure| failure.line).collect::<Vec<_>>(), [2], "{stub}");
        }
        assert_eq!(no_stubs("fn todo() {}\n// ignore\n"), []);
    }

    #[test]
    fn home_paths_are_found_and_relative_ones_are_not() {
        for home in HOMES {
            for line in [format!("\"{home}me/x\""), format!("{home}me"), format!("see file://{home}me")] {
                let line = if home.starts_with(':') { format!("C{line}") } else { line };
                assert_eq!(no_home_paths(&line).len(), 1, "{line}");
            }
        }
        let (home, root) = (HOMES[0], HOMES[1]);
        for line in [format!("docs{home}index.md"), format!("~{root}"), format!("${{DIR}}{root}x")] {
            assert_eq!(no_home_paths(&line), [], "{line}");
        }
    }
}
