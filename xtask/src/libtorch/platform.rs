//! Which wheels hold libtorch for which machine: a table, and nothing else.
//!
//! A wheel is named by `name==version` and the one platform tag it is published under. From each we take the
//! listed libraries; torch's own wheel also holds the headers. The library lists are the closure of
//! `libtorch_cpu`'s needs inside the wheels. Linux wheels are CUDA builds, whose `libtorch_cpu.so` is linked to
//! CUDA's runtime and profiler (12 MB); `libtorch.so` itself would pull in all of CUDA, so a linker script that
//! names the CPU library stands in for it. Linux `x86_64` is tested; the other rows are read off their wheels.

use super::{Error, VERSION};

/// One machine's row.
#[derive(Debug)]
pub(crate) struct Platform {
    /// As in [`std::env::consts::OS`].
    pub(crate) os: &'static str,
    /// As in [`std::env::consts::ARCH`].
    pub(crate) arch: &'static str,
    /// The wheels, torch's first.
    pub(crate) wheels: &'static [Wheel],
    /// A linker script to write into `lib/`: file name and text.
    pub(crate) linker_script: Option<(&'static str, &'static str)>,
    /// Megabytes (10^6 bytes) on the disk at the peak: pip's two copies of the largest wheel, or all wheels
    /// beside the tree, with a tenth to spare.
    pub(crate) peak_megabytes: u64,
}

/// One wheel, and what we take from it.
#[derive(Debug)]
pub(crate) struct Wheel {
    /// The project's name.
    pub(crate) name: &'static str,
    /// The exact version.
    pub(crate) version: &'static str,
    /// pip's `--platform`.
    pub(crate) tag: &'static str,
    /// The folder of headers to take, if any, with its closing slash.
    pub(crate) headers: Option<&'static str>,
    /// The files to take from any `lib/` folder.
    pub(crate) libraries: &'static [&'static str],
}

const HEADERS: Option<&str> = Some("torch/include/");
const LINUX_LINKER_SCRIPT: Option<(&str, &str)> = Some(("libtorch.so", "INPUT(-ltorch_cpu)\n"));

/// Every machine that `cargo xtask libtorch` knows.
const PLATFORMS: &[Platform] = &[
    Platform {
        os: "linux",
        arch: "x86_64",
        wheels: &[
            Wheel {
                name: "torch",
                version: VERSION,
                tag: "manylinux_2_28_x86_64",
                headers: HEADERS,
                libraries: &["libtorch_cpu.so", "libc10.so", "libgomp.so.1"],
            },
            cuda_runtime("manylinux2014_x86_64"),
            cuda_profiler("manylinux_2_25_x86_64"),
        ],
        linker_script: LINUX_LINKER_SCRIPT,
        peak_megabytes: 1200,
    },
    Platform {
        os: "linux",
        arch: "aarch64",
        wheels: &[
            Wheel {
                name: "torch",
                version: VERSION,
                tag: "manylinux_2_28_aarch64",
                headers: HEADERS,
                libraries: &[
                    "libtorch_cpu.so",
                    "libc10.so",
                    "libgomp.so.1",
                    "libarm_compute.so",
                    "libarm_compute_graph.so",
                    "libnvpl_blas_core.so.0",
                    "libnvpl_blas_lp64_gomp.so.0",
                    "libnvpl_lapack_core.so.0",
                    "libnvpl_lapack_lp64_gomp.so.0",
                ],
            },
            cuda_runtime("manylinux2014_aarch64"),
            cuda_profiler("manylinux_2_25_aarch64"),
        ],
        linker_script: LINUX_LINKER_SCRIPT,
        peak_megabytes: 1000,
    },
    Platform {
        os: "macos",
        arch: "aarch64",
        wheels: &[Wheel {
            name: "torch",
            version: VERSION,
            tag: "macosx_14_0_arm64",
            headers: HEADERS,
            libraries: &["libtorch.dylib", "libtorch_cpu.dylib", "libc10.dylib", "libomp.dylib"],
        }],
        linker_script: None,
        peak_megabytes: 600,
    },
];

const fn cuda_runtime(tag: &'static str) -> Wheel {
    let libraries = &["libcudart.so.13"];
    Wheel { name: "nvidia-cuda-runtime", version: "13.0.96", tag, headers: None, libraries }
}

const fn cuda_profiler(tag: &'static str) -> Wheel {
    let libraries = &["libcupti.so.13"];
    Wheel { name: "nvidia-cuda-cupti", version: "13.0.85", tag, headers: None, libraries }
}

impl Platform {
    /// The row of the machine we run on. The Linux wheels are built for glibc.
    pub(crate) fn host() -> Result<&'static Self, Error> {
        let os = if cfg!(target_env = "musl") { "linux-musl" } else { std::env::consts::OS };
        Self::find(os, std::env::consts::ARCH)
    }

    /// The row of a machine.
    pub(crate) fn find(os: &str, arch: &str) -> Result<&'static Self, Error> {
        PLATFORMS
            .iter()
            .find(|platform| platform.os == os && platform.arch == arch)
            .ok_or_else(|| Error::Platform(format!("{os} {arch}")))
    }

    /// The files a whole tree has in `lib/`.
    pub(crate) fn libraries(&self) -> impl Iterator<Item = &'static str> {
        let unpacked = self.wheels.iter().flat_map(|wheel| wheel.libraries.iter().copied());
        unpacked.chain(self.linker_script.map(|(name, _)| name))
    }
}

impl std::fmt::Display for Wheel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.name, self.version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_makes_what_the_linker_asks_for() {
        for platform in PLATFORMS {
            let extension = if platform.os == "macos" { "dylib" } else { "so" };
            for stem in ["libtorch", "libtorch_cpu", "libc10"] {
                let name = format!("{stem}.{extension}");
                assert_eq!(platform.libraries().filter(|library| *library == name).count(), 1, "{name}");
            }
            let headers = platform.wheels.iter().filter(|wheel| wheel.headers.is_some()).count();
            assert_eq!(headers, 1, "{} {}", platform.os, platform.arch);
        }
    }

    #[test]
    fn a_wheels_tag_is_of_its_rows_machine() {
        for platform in PLATFORMS {
            let arch = if platform.os == "macos" { "arm64" } else { platform.arch };
            for wheel in platform.wheels {
                assert!(wheel.tag.ends_with(arch), "{wheel}: {}", wheel.tag);
            }
        }
    }

    #[test]
    fn an_unknown_machine_is_told_how_to_bring_its_own_libtorch() {
        let message = Platform::find("plan9", "mips").expect_err("no such wheels").to_string();
        assert!(message.contains("plan9 mips") && message.contains("set LIBTORCH"), "{message}");
    }
}
