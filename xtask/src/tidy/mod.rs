//! `cargo xtask tidy`: the house rules that neither compiler nor formatter checks. A failure is one line.
//!
//! | rule | on |
//! |---|---|
//! | at most 600 lines | `.rs`, `.cpp`, `.h`, `.py` |
//! | first line says what the module is (`//!`) | `.rs` in a `src` folder, `build.rs` |
//! | no stub, no ignored test | `.rs` |
//! | dependency tables in order | `Cargo.toml` |
//! | no path of one's home folder | every text file |

mod files;
mod manifest;
mod rules;

use std::path::{Path, PathBuf};

use crate::workspace::Workspace;

/// The tree is not tidy, or could not be looked at.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// Each failure has been printed.
    #[error("{0} tidy failures, listed above")]
    Untidy(usize),
    /// A file or folder could not be read.
    #[error("cannot read {}: {source}", .path.display())]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// The operating system's reason.
        source: std::io::Error,
    },
}

/// One broken rule at one place.
#[derive(Debug, PartialEq, Eq)]
struct Failure {
    /// Counted from 1; 0 for the file as a whole.
    line: usize,
    message: String,
}

/// Checks every file that belongs to the repository and prints what is wrong.
pub(crate) fn run(workspace: &Workspace) -> Result<(), Error> {
    let files = files::of_repository(workspace.root())?;
    let mut count = 0;
    for file in &files {
        let path = workspace.root().join(file);
        let bytes = std::fs::read(&path).map_err(|source| Error::Read { path, source })?;
        // What is not text has no lines to be tidy.
        let Ok(text) = String::from_utf8(bytes) else { continue };
        for Failure { line, message } in check(file, &text) {
            count += 1;
            match line {
                0 => eprintln!("{}: {message}", file.display()),
                line => eprintln!("{}:{line}: {message}", file.display()),
            }
        }
    }
    if count > 0 {
        return Err(Error::Untidy(count));
    }
    eprintln!("tidy: {} files", files.len());
    Ok(())
}

/// Every rule that applies to a file of this name.
fn check(file: &Path, text: &str) -> Vec<Failure> {
    let mut failures = rules::no_home_paths(text);
    let extension = file.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    if ["rs", "cpp", "h", "py"].contains(&extension) {
        failures.extend(rules::not_too_long(text));
    }
    if extension == "rs" {
        failures.extend(rules::no_stubs(text));
        let source = file.parent().is_some_and(|folder| folder.iter().any(|name| name == "src"));
        if source || file.file_name().is_some_and(|name| name == "build.rs") {
            failures.extend(rules::has_header(text));
        }
    }
    if file.file_name().is_some_and(|name| name == "Cargo.toml") {
        failures.extend(manifest::dependencies_sorted(text));
    }
    failures
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failures(file: &str, text: &str) -> usize {
        check(Path::new(file), text).len()
    }

    #[test]
    fn each_rule_applies_to_its_files_only() {
        assert_eq!(failures("crates/core/src/lib.rs", "fn f() {}\n"), 1);
        assert_eq!(failures("crates/core/build.rs", "fn main() {}\n"), 1);
        assert_eq!(failures("crates/core/tests/laws.rs", "fn f() {}\n"), 0);
        assert_eq!(failures("docs/guide.md", &"line\n".repeat(601)), 0);
        assert_eq!(failures("crates/awq/src/kernel.cpp", &"\n".repeat(601)), 1);
        assert_eq!(failures("Cargo.toml", "[dependencies]\nb = \"1\"\na = \"1\"\n"), 1);
        assert_eq!(failures("other.toml", "[dependencies]\nb = \"1\"\na = \"1\"\n"), 0);
    }

    #[test]
    fn this_crate_is_tidy() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let files = files::of_repository(root).expect("a readable folder");
        assert!(files.iter().any(|file| file.ends_with("src/main.rs")), "{files:?}");
        for file in files {
            let text = std::fs::read_to_string(root.join(&file)).expect("text");
            assert_eq!(check(&file, &text), [], "{}", file.display());
        }
    }
}
