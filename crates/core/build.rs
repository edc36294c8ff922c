//! Makes libtorch's shared libraries findable at run time, and passes its place on to dependents.
//!
//! A link argument of a library does not reach the programs that use it, so an rpath here would help nobody.
//! Cargo does put every native search path inside its own target folder on the loader's path for `cargo run`,
//! `cargo test` and doctests, of this workspace and of any other that depends on this crate. So the libraries are
//! linked (symbolically) into `OUT_DIR` and that folder is announced as a search path.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    let Some(lib) = env::var_os("DEP_TCH_LIBTORCH_LIB").map(PathBuf::from) else {
        return Ok(());
    };
    println!("cargo::rerun-if-changed={}", lib.display());
    println!("cargo::metadata=libtorch_lib={}", lib.display());
    println!("cargo::rerun-if-env-changed=LIBTORCH_INCLUDE");
    let root =
        env::var_os("LIBTORCH_INCLUDE").map(PathBuf::from).or_else(|| lib.parent().map(Path::to_path_buf));
    if let Some(root) = root {
        println!("cargo::metadata=libtorch_include={}", root.join("include").display());
    }

    let folder = PathBuf::from(env::var("OUT_DIR")?).join("libtorch");
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir_all(&folder)?;
    for entry in fs::read_dir(&lib)? {
        let path = entry?.path();
        if let Some(name) = path.file_name().filter(|name| is_shared_library(&name.to_string_lossy())) {
            link(&path, &folder.join(name))?;
        }
    }
    println!("cargo::rustc-link-search=native={}", folder.display());
    Ok(())
}

/// `libtorch_cpu.so`, `libgomp.so.1`, `libc10.dylib`; not the archives or Python's own folders beside them.
fn is_shared_library(name: &str) -> bool {
    name.contains(".so") || name.contains(".dylib") || name.contains(".dll")
}

#[cfg(unix)]
fn link(from: &Path, to: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(from, to)
}

#[cfg(not(unix))]
fn link(from: &Path, to: &Path) -> io::Result<()> {
    fs::copy(from, to).map(|_| ())
}
