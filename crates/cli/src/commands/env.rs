//! `qtuner env`: what a report of a problem should say.

use super::backends::{self, Backend};
use crate::failure::Failure;
use crate::output::{self, JsonFlag, Reader};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// Arguments of `qtuner env`.
#[derive(Debug, clap::Args)]
pub(crate) struct EnvArgs {
    #[command(flatten)]
    json: JsonFlag,
}

#[derive(Debug, Serialize)]
struct Environment {
    qtuner: &'static str,
    platform: String,
    libtorch: Libtorch,
    cpu: Option<String>,
    cores: usize,
    threads: i32,
    instruction_sets: Vec<String>,
    instruction_set_in_use: Option<String>,
    memory: Option<u64>,
    backends: Vec<Backend>,
}

/// Where libtorch is: where the build found it, and what the process has loaded.
#[derive(Debug, Serialize)]
struct Libtorch {
    version: Option<String>,
    built_with: Option<&'static str>,
    loaded: Option<PathBuf>,
}

/// Prints the facts.
pub(crate) fn run(args: &EnvArgs) -> Result<(), Failure> {
    let environment = Environment::look()?;
    match args.json.reader() {
        Reader::Program => output::json(&environment),
        Reader::Person => output::part(&environment.table()),
    }
}

impl Environment {
    fn look() -> Result<Self, Failure> {
        let instruction_sets = qtuner_awq::instruction_sets();
        let chosen = std::env::var("QTUNER_ISA").ok().filter(|isa| instruction_sets.contains(isa));
        Ok(Self {
            qtuner: env!("CARGO_PKG_VERSION"),
            platform: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
            libtorch: Libtorch::look(),
            cpu: line_of("/proc/cpuinfo", "model name"),
            cores: std::thread::available_parallelism().map_or(1, Into::into),
            threads: tch::get_num_threads(),
            instruction_set_in_use: chosen.or_else(|| instruction_sets.last().cloned()),
            instruction_sets,
            memory: memory(),
            backends: backends::linked()?,
        })
    }

    fn table(&self) -> String {
        let unknown = || "unknown".to_owned();
        let libtorch = &self.libtorch;
        let loaded = libtorch.loaded.as_ref().map_or_else(unknown, |path| path.display().to_string());
        let used = self.instruction_set_in_use.clone().unwrap_or_else(unknown);
        let linked: Vec<&str> = self.backends.iter().map(Backend::name).collect();
        let rows = [
            ("qtuner", self.qtuner.to_owned()),
            ("platform", self.platform.clone()),
            ("libtorch", libtorch.version.clone().unwrap_or_else(unknown)),
            ("  loaded from", loaded),
            ("  built with", libtorch.built_with.unwrap_or("unknown").to_owned()),
            ("cpu", self.cpu.clone().unwrap_or_else(unknown)),
            ("threads", format!("{} of {} cores", self.threads, self.cores)),
            ("instruction sets", format!("{}; in use: {used}", self.instruction_sets.join(", "))),
            ("memory", self.memory.map_or_else(unknown, output::size)),
            ("backends", linked.join(", ")),
        ];
        output::table(&rows.map(|(name, value)| vec![name.to_owned(), value]), 2)
    }
}

impl Libtorch {
    fn look() -> Self {
        let loaded = loaded_library();
        let folders =
            [loaded.as_deref().and_then(Path::parent), option_env!("QTUNER_LIBTORCH_LIB").map(Path::new)];
        let version = folders.into_iter().flatten().find_map(version_beside);
        Self { version, built_with: option_env!("QTUNER_LIBTORCH_LIB"), loaded }
    }
}

/// The version file beside (a Python package) or above (a libtorch folder) the libraries' folder.
fn version_beside(lib: &Path) -> Option<String> {
    let root = std::fs::canonicalize(lib).ok()?.parent()?.to_owned();
    if let Ok(version) = std::fs::read_to_string(root.join("build-version")) {
        return Some(version.trim().to_owned());
    }
    let python = std::fs::read_to_string(root.join("version.py")).ok()?;
    let line = python.lines().find(|line| line.starts_with("__version__ = "))?;
    line.split(['\'', '"']).nth(1).map(str::to_owned)
}

/// The libtorch that this process runs with; only Linux tells.
fn loaded_library() -> Option<PathBuf> {
    let maps = std::fs::read_to_string("/proc/self/maps").ok()?;
    let library = maps.lines().find(|line| line.ends_with("/libtorch_cpu.so"))?;
    library.find('/').map(|start| PathBuf::from(&library[start..]))
}

/// The value of a line `key : value` of a file of `/proc`.
fn line_of(path: &str, key: &str) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?;
    let line = text.lines().find(|line| line.starts_with(key))?;
    line.split_once(':').map(|(_, value)| value.trim().to_owned())
}

/// Bytes of main memory; only Linux tells.
pub(super) fn memory() -> Option<u64> {
    let total = line_of("/proc/meminfo", "MemTotal")?;
    let kibibytes: u64 = total.split_whitespace().next()?.parse().ok()?;
    Some(kibibytes * 1024)
}
