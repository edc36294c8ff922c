//! Which instructions the kernels use: the best the CPU has, or what the environment asks for.

use std::fmt;
use std::str::FromStr;
use std::sync::OnceLock;

use super::simd;

/// The environment variable that overrides detection: `portable`, `avx2`, `avx512`, `amx` or `neon`.
pub(crate) const ISA_VARIABLE: &str = "QTUNER_ISA";

/// A set of instructions that the kernels are written for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Isa {
    /// Plain Rust, on every CPU.
    Portable,
    /// AVX2, FMA and F16C.
    Avx2,
    /// AVX-512 F, BW, VL and DQ.
    Avx512,
    /// AVX-512 with BF16, and AMX with bf16, under Linux.
    Amx,
    /// NEON, what every 64-bit Arm CPU has.
    Neon,
}

/// Why an instruction set cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum IsaError {
    /// The name means nothing.
    Unknown(String),
    /// The CPU lacks the instructions.
    Unavailable(Isa),
}

impl fmt::Display for IsaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(name) => {
                write!(
                    f,
                    "{ISA_VARIABLE}={name:?} is none of portable, avx2, avx512, amx and neon; correct or unset it"
                )
            }
            Self::Unavailable(isa) => {
                write!(f, "{ISA_VARIABLE}={isa}: this CPU has not got it, only ")?;
                for (index, isa) in Isa::available().into_iter().enumerate() {
                    write!(f, "{}{isa}", if index == 0 { "" } else { ", " })?;
                }
                f.write_str("; choose one of these or unset it")
            }
        }
    }
}

impl std::error::Error for IsaError {}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Portable => "portable",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
            Self::Amx => "amx",
            Self::Neon => "neon",
        })
    }
}

impl FromStr for Isa {
    type Err = IsaError;

    fn from_str(name: &str) -> Result<Self, IsaError> {
        match name {
            "portable" => Ok(Self::Portable),
            "avx2" => Ok(Self::Avx2),
            "avx512" => Ok(Self::Avx512),
            "amx" => Ok(Self::Amx),
            "neon" => Ok(Self::Neon),
            _ => Err(IsaError::Unknown(name.to_owned())),
        }
    }
}

impl Isa {
    /// Every set the CPU has, the plainest first.
    pub(crate) fn available() -> Vec<Self> {
        let all = [Self::Portable, Self::Avx2, Self::Avx512, Self::Amx, Self::Neon];
        all.into_iter().filter(|isa| simd::supported(*isa)).collect()
    }

    /// The best set the CPU has.
    pub(crate) fn detect() -> Self {
        Self::available().pop().unwrap_or(Self::Portable)
    }

    /// The set the environment asks for, else the best.
    pub(crate) fn from_env() -> Result<Self, IsaError> {
        match std::env::var_os(ISA_VARIABLE) {
            None => Ok(Self::detect()),
            Some(name) => Self::choose(&name.to_string_lossy()),
        }
    }

    /// [`Isa::from_env`], read once for the life of the process.
    pub(crate) fn current() -> Result<Self, IsaError> {
        static CURRENT: OnceLock<Result<Isa, IsaError>> = OnceLock::new();
        CURRENT.get_or_init(Self::from_env).clone()
    }

    fn choose(name: &str) -> Result<Self, IsaError> {
        let isa = name.parse()?;
        if simd::supported(isa) { Ok(isa) } else { Err(IsaError::Unavailable(isa)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_available_can_be_chosen_by_name() {
        assert_eq!(Isa::available()[0], Isa::Portable);
        for isa in Isa::available() {
            assert_eq!(Isa::choose(&isa.to_string()), Ok(isa));
        }
        assert!(Isa::available().contains(&Isa::detect()));
        assert_eq!(Isa::current(), Isa::from_env());
    }

    #[test]
    fn an_unknown_name_is_an_error_that_lists_the_names() {
        let error = IsaError::Unknown("sse9".to_owned());
        assert_eq!(Isa::choose("sse9"), Err(error.clone()));
        assert!(error.to_string().contains("portable, avx2, avx512, amx and neon"));
    }

    #[test]
    fn a_set_the_cpu_lacks_is_an_error_that_lists_the_rest() {
        assert!(IsaError::Unavailable(Isa::Avx512).to_string().contains("only portable"));
        for isa in [Isa::Avx2, Isa::Avx512, Isa::Amx, Isa::Neon] {
            if !Isa::available().contains(&isa) {
                assert_eq!(Isa::choose(&isa.to_string()), Err(IsaError::Unavailable(isa)));
            }
        }
    }
}
