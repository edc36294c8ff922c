//! The user's Python: it fetches with pip, so that pip's settings, mirrors, proxies and certificates count.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use super::Error;
use super::error::{Ensurepip, cannot};

/// An interpreter of version 3.8 or newer that has pip.
#[derive(Debug)]
pub(crate) struct Python {
    program: &'static str,
}

/// What an interpreter says of itself.
#[derive(Debug, PartialEq, Eq)]
struct Probe {
    version: (u32, u32),
    installer: Installer,
}

#[derive(Debug, PartialEq, Eq)]
enum Installer {
    Pip,
    None(Ensurepip),
}

const OLDEST: (u32, u32) = (3, 8);

/// Prints `3 11 pip`, or what there is in pip's stead; runs on Python 2 as well.
const PROBE: &str = "
import sys
found = 'nothing'
for module in ['ensurepip', 'pip']:
    try:
        __import__(module)
        found = module
    except ImportError:
        pass
print('%d %d %s' % (sys.version_info[0], sys.version_info[1], found))
";

impl Python {
    /// The first interpreter that will do; a virtual environment's is `python`.
    pub(crate) fn find() -> Result<Self, Error> {
        let names = match std::env::var_os("VIRTUAL_ENV") {
            Some(_) => ["python", "python3"],
            None => ["python3", "python"],
        };
        choose(&names.map(|name| (name, probe(name)))).map(|program| Self { program })
    }

    /// The name it is called by.
    pub(crate) fn name(&self) -> &'static str {
        self.program
    }

    /// A script, to which the caller adds arguments.
    pub(crate) fn script(&self, text: &str) -> Command {
        self.command(["-c", text])
    }

    /// `pip` with what comes after it.
    pub(crate) fn pip(&self) -> Command {
        self.command(["-m", "pip"])
    }

    fn command<const N: usize>(&self, arguments: [&str; N]) -> Command {
        let mut command = Command::new(self.program);
        command.args(arguments).env("PYTHONUNBUFFERED", "1").stdin(Stdio::null());
        command
    }

    /// Free bytes on the disk that holds `folder`.
    pub(crate) fn free_bytes(&self, folder: &Path) -> Result<u64, Error> {
        const SCRIPT: &str = "import shutil, sys; print(shutil.disk_usage(sys.argv[1]).free)";
        let output = self.script(SCRIPT).arg(folder).output().map_err(cannot("start", self.program))?;
        let free = String::from_utf8_lossy(&output.stdout).trim().parse().ok();
        free.ok_or_else(|| self.failed("measuring the free disk space", &output))
    }

    /// Whether `file` is a zip file with its table of contents, which stands at the end.
    pub(crate) fn opens_as_zip(&self, file: &Path) -> Result<bool, Error> {
        const SCRIPT: &str = "import sys, zipfile; zipfile.ZipFile(sys.argv[1])";
        let output = self.script(SCRIPT).arg(file).output().map_err(cannot("start", self.program))?;
        Ok(output.status.success())
    }

    /// The error for a script that failed.
    pub(crate) fn failed(&self, task: &'static str, output: &Output) -> Error {
        let python = self.program.to_owned();
        Error::Python { python, task, status: output.status, output: words_of(output) }
    }
}

/// What a program said, on both streams.
pub(crate) fn words_of(output: &Output) -> String {
    let streams =
        [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).trim().to_owned());
    streams.into_iter().filter(|text| !text.is_empty()).collect::<Vec<_>>().join("\n")
}

fn probe(program: impl AsRef<OsStr>) -> Option<Probe> {
    let output = Command::new(program).args(["-c", PROBE]).stdin(Stdio::null()).output().ok()?;
    output.status.success().then(|| parse(&String::from_utf8_lossy(&output.stdout)))?
}

fn parse(line: &str) -> Option<Probe> {
    let mut words = line.split_whitespace();
    let version = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    let installer = match words.next()? {
        "pip" => Installer::Pip,
        "ensurepip" => Installer::None(Ensurepip::Present),
        _ => Installer::None(Ensurepip::Absent),
    };
    Some(Probe { version, installer })
}

/// The first that is new enough and has pip; else the error of the one that came nearest.
fn choose(candidates: &[(&'static str, Option<Probe>)]) -> Result<&'static str, Error> {
    let new_enough = || {
        let probed = candidates.iter().filter_map(|(name, probe)| Some((*name, probe.as_ref()?)));
        probed.filter(|(_, probe)| probe.version >= OLDEST)
    };
    if let Some((name, _)) = new_enough().find(|(_, probe)| probe.installer == Installer::Pip) {
        return Ok(name);
    }
    if let Some((name, Probe { version: (major, minor), installer: Installer::None(ensurepip) })) =
        new_enough().next()
    {
        let (python, version) = (name.to_owned(), format!("{major}.{minor}"));
        return Err(Error::NoPip { python, version, ensurepip: *ensurepip });
    }
    let tried = candidates.iter().map(|(name, probe)| match probe {
        Some(Probe { version: (major, minor), .. }) => format!("{name}: version {major}.{minor}"),
        None => format!("{name}: not found"),
    });
    Err(Error::NoPython { tried: tried.collect::<Vec<_>>().join(", ") })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(python3: Option<&str>, python: Option<&str>) -> Result<&'static str, String> {
        let candidates = [("python3", python3.and_then(parse)), ("python", python.and_then(parse))];
        choose(&candidates).map_err(|error| error.to_string())
    }

    #[test]
    fn the_first_python_with_pip_is_taken() {
        assert_eq!(check(Some("3 11 pip"), Some("3 12 pip")), Ok("python3"));
        assert_eq!(check(Some("3 11 nothing"), Some("3 12 pip")), Ok("python"));
        assert_eq!(check(Some("3 7 pip"), Some("3 8 pip")), Ok("python"));
        assert_eq!(check(None, Some("3 12 pip")), Ok("python"));
    }

    #[test]
    fn a_missing_python_is_one_sentence_with_the_way_out() {
        let message = check(None, Some("2 7 pip")).expect_err("too old");
        assert!(message.contains("python3: not found, python: version 2.7"), "{message}");
        assert!(message.contains("apt-get install python3"), "{message}");
        assert_eq!(message.lines().count(), 1);
    }

    #[test]
    fn a_missing_pip_is_one_sentence_with_the_way_out() {
        let message = check(Some("3 11 ensurepip"), None).expect_err("no pip");
        assert!(message.starts_with("python3 (Python 3.11) has no pip"), "{message}");
        assert!(message.contains("python3 -m ensurepip"), "{message}");
        let message = check(Some("3 11 nothing"), None).expect_err("no pip");
        assert!(
            message.contains("apt-get install python3-pip") && !message.contains("ensurepip"),
            "{message}"
        );
    }

    #[test]
    fn a_program_that_is_no_python_is_passed_over() {
        assert_eq!(parse(""), None);
        assert_eq!(parse("pyenv: version `3.9` is not installed"), None);
        assert_eq!(probe("no-such-python-of-any-kind"), None);
    }
}
