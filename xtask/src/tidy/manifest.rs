//! Dependency tables in a `Cargo.toml`, in alphabetical order.
//!
//! A blank line or a comment starts a new run that is in order by itself, so a manifest may keep its own crates
//! apart from the others. Reads lines, not TOML: the tables of a manifest have one dependency a line.

use super::Failure;

/// One failure for each dependency that stands before its place.
pub(crate) fn dependencies_sorted(text: &str) -> Vec<Failure> {
    let mut failures = Vec::new();
    let mut in_dependencies = false;
    let mut previous: Option<&str> = None;
    for (index, line) in text.lines().enumerate() {
        if let Some(table) = line.strip_prefix('[').and_then(|rest| rest.split(']').next()) {
            in_dependencies = table.rsplit('.').next().is_some_and(|name| name.ends_with("dependencies"));
            previous = None;
        } else if line.trim().is_empty() || line.trim_start().starts_with('#') {
            previous = None;
        } else if let Some(name) = dependency(line).filter(|_| in_dependencies) {
            if let Some(previous) = previous.filter(|previous| *previous > name) {
                let message = format!("dependency `{name}` stands after `{previous}`: sort the table");
                failures.push(Failure { line: index + 1, message });
            }
            previous = Some(name);
        }
    }
    failures
}

/// The name in `name = ...`, `name.workspace = true` or `"name" = ...`; a continued line starts with a blank.
fn dependency(line: &str) -> Option<&str> {
    let (key, _) = line.split_once('=')?;
    let name = key.split('.').next().unwrap_or(key).trim_end().trim_matches('"');
    (!name.is_empty() && !name.starts_with([' ', '\t', '}', ']'])).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, lines: &[usize]) {
        let found: Vec<usize> = dependencies_sorted(text).iter().map(|failure| failure.line).collect();
        assert_eq!(found, lines, "{text}");
    }

    #[test]
    fn dependencies_stand_in_alphabetical_order() {
        check("[dependencies]\nhalf = \"2\"\nserde = \"1\"\nserde_json.workspace = true\n", &[]);
        check("[dependencies]\nserde_json = \"1\"\nserde.workspace = true\n", &[3]);
        check(
            "[dev-dependencies]\nb = \"1\"\na = \"1\"\n\n[build-dependencies]\nb = \"1\"\na = \"1\"\n",
            &[3, 7],
        );
        check("[workspace.dependencies]\nb = \"1\"\na = \"1\"\n", &[3]);
        check("[target.'cfg(unix)'.dependencies]\nb = \"1\"\na = \"1\"\n", &[3]);
    }

    #[test]
    fn a_blank_line_or_a_comment_starts_a_new_run() {
        check("[dependencies]\nz = { path = \"z\" }\n\na = \"1\"\n# tests\nA = \"1\"\n", &[]);
    }

    #[test]
    fn other_tables_and_continued_lines_are_left_alone() {
        check("[features]\nb = []\na = []\n", &[]);
        check("[dependencies]\nb = { version = \"1\",\n  a = 1 }\nc = \"1\"\n", &[]);
    }
}
