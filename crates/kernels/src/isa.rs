//! Which instruction set the kernels use: found out once, at start.

use std::fmt;
use std::str::FromStr;
use std::sync::OnceLock;

use crate::simd::{Kernel, scalar::Scalar};

/// An instruction set with kernels of its own. Every one gives the same results as
/// [`Isa::Scalar`] within the tolerances the tests state.
#[derive(Clone, Copy, PartialEq, Eq, Debug, PartialOrd, Ord, Hash)]
pub enum Isa {
    /// Plain Rust: the reference every other is tested against.
    Scalar,
    /// AVX2 with FMA and F16C (x86-64-v3).
    Avx2,
    /// AVX-512 F, BW, DQ, VL and VNNI.
    Avx512,
}

/// An instruction set this program or this machine doesn't have.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum IsaError {
    /// The name is none of ours.
    #[error("PONDER_ISA={0}: unknown instruction set; choose one of scalar, avx2, avx512")]
    Unknown(String),
    /// The machine lacks it.
    #[error("PONDER_ISA={wanted}: this machine has no {wanted}; the best it has is {best}")]
    Unavailable {
        /// What was asked for.
        wanted: Isa,
        /// What the machine has.
        best: Isa,
    },
}

impl Isa {
    /// The best instruction set of this machine, or the one the environment variable `PONDER_ISA`
    /// names.
    ///
    /// # Errors
    /// `PONDER_ISA` names a set that doesn't exist, or that this machine lacks.
    pub fn detect() -> Result<Isa, IsaError> {
        static DETECTED: OnceLock<Result<Isa, (String, Option<Isa>)>> = OnceLock::new();
        let best = Isa::best();
        let found = DETECTED.get_or_init(|| match std::env::var("PONDER_ISA") {
            Err(_) => Ok(best),
            Ok(name) if name.is_empty() => Ok(best),
            Ok(name) => match name.parse::<Isa>() {
                Ok(isa) if isa <= best => Ok(isa),
                Ok(isa) => Err((name, Some(isa))),
                Err(_) => Err((name, None)),
            },
        });
        match found {
            Ok(isa) => Ok(*isa),
            Err((_, Some(wanted))) => Err(IsaError::Unavailable { wanted: *wanted, best }),
            Err((name, None)) => Err(IsaError::Unknown(name.clone())),
        }
    }

    /// Every instruction set this machine can run, the scalar one first.
    pub fn available() -> Vec<Isa> {
        let best = Isa::best();
        [Isa::Scalar, Isa::Avx2, Isa::Avx512].into_iter().filter(|isa| *isa <= best).collect()
    }

    #[cfg(target_arch = "x86_64")]
    fn best() -> Isa {
        let avx2 = is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("fma")
            && is_x86_feature_detected!("f16c");
        let avx512 = avx2
            && is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512vnni");
        match (avx512, avx2) {
            (true, _) => Isa::Avx512,
            (_, true) => Isa::Avx2,
            _ => Isa::Scalar,
        }
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn best() -> Isa {
        Isa::Scalar
    }

    /// Runs a kernel compiled for this instruction set.
    ///
    /// # Safety
    /// `self` must be available on this machine (it is if it came from [`Isa::detect`] or
    /// [`Isa::available`]), and the kernel's own conditions must hold.
    #[inline]
    pub(crate) unsafe fn run<K: Kernel>(self, kernel: K) -> K::Output {
        // SAFETY: the caller vouches for the instruction set and for the kernel.
        unsafe {
            match self {
                Isa::Scalar => kernel.run::<Scalar>(),
                #[cfg(target_arch = "x86_64")]
                Isa::Avx2 => crate::simd::avx2::run(kernel),
                #[cfg(target_arch = "x86_64")]
                Isa::Avx512 => crate::simd::avx512::run(kernel),
                #[cfg(not(target_arch = "x86_64"))]
                _ => kernel.run::<Scalar>(),
            }
        }
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Isa::Scalar => "scalar",
            Isa::Avx2 => "avx2",
            Isa::Avx512 => "avx512",
        })
    }
}

impl FromStr for Isa {
    type Err = IsaError;

    fn from_str(name: &str) -> Result<Isa, IsaError> {
        match name.to_ascii_lowercase().as_str() {
            "scalar" => Ok(Isa::Scalar),
            "avx2" => Ok(Isa::Avx2),
            "avx512" => Ok(Isa::Avx512),
            _ => Err(IsaError::Unknown(name.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        for isa in [Isa::Scalar, Isa::Avx2, Isa::Avx512] {
            assert_eq!(isa.to_string().parse(), Ok(isa));
        }
        assert_eq!("mmx".parse::<Isa>(), Err(IsaError::Unknown("mmx".to_owned())));
    }

    #[test]
    fn the_scalar_set_is_everywhere() {
        assert_eq!(Isa::available()[0], Isa::Scalar);
    }
}
