//! The C++ compiler: looked for before anything is downloaded, as the build asks for it late.

use std::process::{Command, Stdio};

/// There is no compiler the build would find.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Error {
    /// CXX names something that does not run.
    #[error("CXX is set to `{0}`, which does not run: set it to a C++ compiler, or unset it")]
    BrokenChoice(String),
    /// A compiler is there under a name that the build does not try.
    #[error("the C++ compiler is named `{0}` here and there is no `c++`: set CXX={0} in your environment")]
    OtherName(&'static str),
    /// No compiler at all.
    #[error(
        "no C++ compiler found (tried c++, g++, clang++): install one (Debian, Ubuntu: `apt-get install g++`; \
         macOS: `xcode-select --install`), or set CXX"
    )]
    Missing,
}

/// Makes sure that the build will find a C++ compiler: `$CXX`, or else `c++`.
pub(crate) fn check() -> Result<(), Error> {
    let chosen = std::env::var("CXX").ok().filter(|name| !name.trim().is_empty());
    choose(chosen.as_deref(), runs)
}

fn choose(chosen: Option<&str>, runs: impl Fn(&str) -> bool) -> Result<(), Error> {
    match chosen {
        Some(name) if runs(name) => Ok(()),
        Some(name) => Err(Error::BrokenChoice(name.to_owned())),
        None if runs("c++") => Ok(()),
        None => match ["g++", "clang++"].into_iter().find(|name| runs(name)) {
            Some(name) => Err(Error::OtherName(name)),
            None => Err(Error::Missing),
        },
    }
}

/// Whether a compiler, or any program that knows `--version`, is there.
///
/// CXX may hold a wrapper and flags (`ccache g++`), so it is split at spaces as the build does.
pub(crate) fn runs(command: &str) -> bool {
    let mut words = command.split_whitespace();
    words.next().is_some_and(|program| {
        let mut command = Command::new(program);
        command.args(words).arg("--version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(chosen: Option<&str>, installed: &[&str], expected: &Result<(), Error>) {
        assert_eq!(&choose(chosen, |name| installed.contains(&name)), expected);
    }

    #[test]
    fn the_compiler_is_the_one_the_build_will_use() {
        check(None, &["c++", "g++"], &Ok(()));
        check(Some("ccache g++"), &["ccache g++"], &Ok(()));
        check(Some("icpx"), &["c++"], &Err(Error::BrokenChoice("icpx".to_owned())));
        check(None, &["clang++"], &Err(Error::OtherName("clang++")));
        check(None, &[], &Err(Error::Missing));
    }

    #[test]
    fn a_program_that_is_not_there_does_not_run() {
        assert!(!runs("no-such-compiler-of-any-kind"));
        assert!(!runs(" "));
    }
}
