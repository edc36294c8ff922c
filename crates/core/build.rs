//! Makes libtorch's shared libraries findable at run time, and passes its place on to dependents.
//!
//! A link argument of a library does not reach the programs that use it, so an rpath here would help nobody.
//! Cargo does put every native search path inside its own target folder on the loader's path for `cargo run`,
//! `cargo test` and doctests, of this workspace and of any other that depends on this crate. So the libraries are
//! linked (symbolically) into `OUT_DIR` and that folder is announced as a search path.
//!
//! Then compiles the crate's own C++ files, against the headers that tch was built with.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=LIBTORCH_INCLUDE");
    let lib = env::var_os("DEP_TCH_LIBTORCH_LIB").map(PathBuf::from).ok_or(
        "tch found no libtorch: run `cargo xtask libtorch`, or set LIBTORCH to a libtorch 2.13 folder",
    )?;
    println!("cargo::rerun-if-changed={}", lib.display());
    println!("cargo::metadata=libtorch_lib={}", lib.display());
    make_findable(&lib)?;
    let root = env::var_os("LIBTORCH_INCLUDE").map(PathBuf::from);
    let root = root.or_else(|| lib.parent().map(Path::to_path_buf)).ok_or("libtorch has no folder")?;
    let include = root.join("include");
    println!("cargo::metadata=libtorch_include={}", include.display());
    let own = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?).join("include");
    println!("cargo::metadata=include={}", own.display());
    compile_extension(&include, &own);
    Ok(())
}

/// What tch cannot say: `src/extension`.
fn compile_extension(include: &Path, own: &Path) {
    println!("cargo::rerun-if-changed={}", own.display());
    println!("cargo::rerun-if-changed=src/extension");
    println!("cargo::rerun-if-env-changed=LIBTORCH_CXX11_ABI");
    let abi = env::var("LIBTORCH_CXX11_ABI").unwrap_or_else(|_| "1".to_owned());
    cc::Build::new()
        .cpp(true)
        .pic(true)
        .std("c++17")
        .opt_level(3)
        .warnings(false)
        .include(own)
        .include(include)
        .include(include.join("torch/csrc/api/include"))
        .define("_GLIBCXX_USE_CXX11_ABI", abi.as_str())
        .files(["autograd", "linear", "lora", "products"].map(|name| format!("src/extension/{name}.cpp")))
        .compile("qtuner_core_extension");
}

/// Links libtorch's libraries into a folder that cargo puts on the loader's path.
fn make_findable(lib: &Path) -> Result<(), Box<dyn Error>> {
    let folder = PathBuf::from(env::var("OUT_DIR")?).join("libtorch");
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir_all(&folder)?;
    for entry in fs::read_dir(lib)? {
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
