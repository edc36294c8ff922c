//! Lets the program find libtorch's shared libraries when it is started directly, and tells it where they were.

use std::env;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let Ok(folder) = env::var("DEP_QTUNER_CORE_LIBTORCH_LIB") else { return };
    println!("cargo::rustc-env=QTUNER_LIBTORCH_LIB={folder}");
    if matches!(env::var("CARGO_CFG_TARGET_OS").as_deref(), Ok("linux" | "macos")) {
        println!("cargo::rustc-link-arg-bins=-Wl,-rpath,{folder}");
    }
}
