//! Compiles the libtorch extension, against the headers that tch was built with.

use std::env;
use std::error::Error;
use std::path::PathBuf;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=src/extension");
    println!("cargo::rerun-if-env-changed=LIBTORCH_CXX11_ABI");
    let include = PathBuf::from(env::var("DEP_QTUNER_CORE_LIBTORCH_INCLUDE").map_err(
        |_| "qtuner-core found no libtorch: run `cargo xtask libtorch`, or set LIBTORCH to a libtorch 2.13 folder",
    )?);
    let own = env::var("DEP_QTUNER_CORE_INCLUDE")?;
    println!("cargo::rerun-if-changed={own}");
    let mut files = vec!["elementwise"];
    if env::var("CARGO_CFG_TARGET_ARCH").as_deref() == Ok("x86_64") {
        // Its numbers are in AVX-512 alone.
        files.push("attention");
    }
    let abi = env::var("LIBTORCH_CXX11_ABI").unwrap_or_else(|_| "1".to_owned());
    cc::Build::new()
        .cpp(true)
        .pic(true)
        .std("c++17")
        .opt_level(2)
        .warnings(false)
        .include(own)
        .include(&include)
        .include(include.join("torch/csrc/api/include"))
        .define("_GLIBCXX_USE_CXX11_ABI", abi.as_str())
        .files(files.into_iter().map(|name| format!("src/extension/{name}.cpp")))
        .compile("qtuner_models_extension");
    Ok(())
}
