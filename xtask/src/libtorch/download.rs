//! One wheel, fetched by pip, or found whole from an earlier run.

use std::fs;
use std::io::{self, BufRead, BufReader, IsTerminal, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::Error;
use super::error::cannot;
use super::platform::Wheel;
use super::progress::{Progress, Style, announced_size};
use super::python::{Python, words_of};
use super::tree::{sync_file, sync_folder};

const POLL: Duration = Duration::from_millis(100);

/// The path of the whole wheel in its folder in `wheels`, downloaded by way of `run` unless it is there.
pub(crate) fn download(python: &Python, wheel: &Wheel, wheels: &Path, run: &Path) -> Result<PathBuf, Error> {
    let folder = wheels.join(format!("{}-{}-{}", wheel.name, wheel.version, wheel.tag));
    if let Some(file) = whole_wheel(python, &folder)? {
        eprintln!("{wheel}: downloaded before");
        return Ok(file);
    }
    remove(&folder)?;
    let incoming = run.join("incoming");
    remove(&incoming)?;
    let (arriving, temporary) = (incoming.join("wheel"), incoming.join("tmp"));
    for folder in [wheels, &arriving, &temporary] {
        fs::create_dir_all(folder).map_err(cannot("create", folder))?;
    }

    let output = watch(&mut pip(python, wheel, &arriving, &temporary), python, wheel, &incoming)?;
    if !output.status.success() {
        let (python, words) = (python.name().to_owned(), words_of(&output));
        return Err(Error::Download {
            wheel: wheel.to_string(),
            python,
            status: output.status,
            output: words,
        });
    }
    let file = whole_wheel(python, &arriving)?.ok_or_else(|| Error::NoWheel { wheel: wheel.to_string() })?;
    sync_file(&file)?;
    fs::rename(&arriving, &folder).map_err(cannot("rename a wheel to", &folder))?;
    sync_folder(wheels)?;
    remove(&incoming)?;
    whole_wheel(python, &folder)?.ok_or_else(|| Error::NoWheel { wheel: wheel.to_string() })
}

/// `pip download`, of the same files whatever Python runs it: nothing that we take depends on Python's version.
fn pip(python: &Python, wheel: &Wheel, arriving: &Path, temporary: &Path) -> Command {
    let mut command = python.pip();
    command.args([
        "download",
        "--no-deps",
        "--only-binary=:all:",
        "--implementation=cp",
        "--python-version=3.11",
    ]);
    // Without the cache: it would double what a large wheel takes on the disk, and slow it down.
    command.args(["--no-cache-dir", "--progress-bar=off", "--no-color", "--disable-pip-version-check"]);
    command.args(["--platform", wheel.tag, "--dest"]).arg(arriving);
    command.arg(format!("{}=={}", wheel.name, wheel.version));
    // Nothing gets installed, so a demand for a virtual environment has no bearing.
    command.env("TMPDIR", temporary).env("PIP_REQUIRE_VIRTUALENV", "0").env("PIP_NO_INPUT", "1");
    command
}

/// The one wheel in a folder, if it is whole.
fn whole_wheel(python: &Python, folder: &Path) -> Result<Option<PathBuf>, Error> {
    let Ok(entries) = fs::read_dir(folder) else { return Ok(None) };
    let mut wheels = entries.filter_map(Result::ok).map(|entry| entry.path());
    let wheel = wheels.find(|path| path.extension().is_some_and(|extension| extension == "whl"));
    match wheel {
        Some(wheel) if python.opens_as_zip(&wheel)? => Ok(Some(wheel)),
        _ => Ok(None),
    }
}

/// Runs pip to its end, telling how the largest file under `incoming` grows.
fn watch(command: &mut Command, python: &Python, wheel: &Wheel, incoming: &Path) -> Result<Output, Error> {
    let style = if io::stderr().is_terminal() { Style::Terminal } else { Style::Log };
    let mut progress = Progress::new(io::stderr(), style, wheel.to_string());
    let start = Instant::now();
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let child = child.map_err(cannot("start", python.name()))?;
    let output = collect(child, |total| {
        progress.update(largest_file(incoming), total, start.elapsed());
    })
    .map_err(cannot("run", python.name()))?;
    if output.status.success() {
        progress.finish(largest_file(incoming), start.elapsed());
    } else {
        progress.end();
    }
    Ok(output)
}

/// A child's whole output. Until it ends, `tick` is called with the size that its stdout announced.
fn collect(mut child: Child, mut tick: impl FnMut(Option<u64>)) -> io::Result<Output> {
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let total = AtomicU64::new(0);
    std::thread::scope(|scope| {
        let stdout = scope.spawn(|| stdout.map_or(Ok(Vec::new()), |pipe| read_lines(pipe, &total)));
        let stderr = scope.spawn(|| {
            let mut bytes = Vec::new();
            stderr.map_or(Ok(0), |mut pipe| pipe.read_to_end(&mut bytes)).map(|_| bytes)
        });
        let status = loop {
            if let Some(status) = child.try_wait()? {
                break status;
            }
            let total = total.load(Ordering::Relaxed);
            tick((total > 0).then_some(total));
            std::thread::sleep(POLL);
        };
        let stdout = stdout.join().expect("the reader does not panic")?;
        let stderr = stderr.join().expect("the reader does not panic")?;
        Ok(Output { status, stdout, stderr })
    })
}

/// Reads to the end; the size of a wheel, once a line tells it, goes to `total`.
fn read_lines(pipe: impl Read, total: &AtomicU64) -> io::Result<Vec<u8>> {
    let mut reader = BufReader::new(pipe);
    let mut bytes = Vec::new();
    loop {
        let start = bytes.len();
        if reader.read_until(b'\n', &mut bytes)? == 0 {
            return Ok(bytes);
        }
        if let Some(size) = announced_size(&String::from_utf8_lossy(&bytes[start..])) {
            total.store(size, Ordering::Relaxed);
        }
    }
}

/// The size of the largest file in a folder and its folders: pip's growing one, wherever pip keeps it. pip
/// creates and removes files meanwhile, so one that is gone counts as nothing.
fn largest_file(folder: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    let sizes = entries.filter_map(Result::ok).map(|entry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => largest_file(&entry.path()),
        Ok(metadata) => metadata.len(),
        Err(_) => 0,
    });
    sizes.max().unwrap_or(0)
}

/// Removes a folder with everything in it, a file, or a link; whatever is there.
pub(crate) fn remove(path: &Path) -> Result<(), Error> {
    let removed = match path.symlink_metadata() {
        Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(cannot("remove", path)(error)),
        _ => Ok(()),
    }
}
