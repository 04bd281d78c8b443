//! Which instruction set the kernels use: found out once, at start.

use std::fmt;
use std::str::FromStr;
use std::sync::OnceLock;

use crate::simd::{Kernel, scalar::Scalar};

/// An instruction set with kernels of its own. Every one gives the same results as
/// [`Isa::Scalar`] within the tolerances the tests state.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Isa {
    /// Plain Rust: the reference every other is tested against.
    Scalar,
    /// AVX2 with FMA and F16C (x86-64-v3).
    Avx2,
    /// AVX-512 F, BW, DQ, VL and VNNI.
    Avx512,
    /// The same with BF16 dot products.
    Avx512Bf16,
    /// The same with AMX: bf16 tiles of 16 × 32.
    Amx,
}

/// An instruction set this program or this machine doesn't have.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum IsaError {
    /// The name is none of ours.
    #[error("PONDER_ISA={name}: unknown instruction set; choose one of {all}", name = .0, all = names(&Isa::ALL))]
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
                Ok(isa) if isa.is_available() => Ok(isa),
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

    /// Every instruction set there is, from the plainest to the most capable.
    pub const ALL: [Isa; 5] = [Isa::Scalar, Isa::Avx2, Isa::Avx512, Isa::Avx512Bf16, Isa::Amx];

    /// Whether a machine with this set has `other`, too.
    pub fn includes(self, other: Isa) -> bool {
        let place = |isa| Isa::ALL.iter().position(|one| *one == isa);
        place(other) <= place(self)
    }

    /// Every instruction set this machine can run, the scalar one first, the best one last.
    pub fn available() -> Vec<Isa> {
        Isa::ALL.into_iter().filter(|isa| isa.is_available()).collect()
    }

    fn best() -> Isa {
        Isa::available().pop().unwrap_or(Isa::Scalar)
    }

    /// Whether this machine, and its operating system, can run it.
    #[cfg(target_arch = "x86_64")]
    pub fn is_available(self) -> bool {
        match self {
            Isa::Scalar => true,
            Isa::Avx2 => {
                is_x86_feature_detected!("avx2")
                    && is_x86_feature_detected!("fma")
                    && is_x86_feature_detected!("f16c")
            }
            Isa::Avx512 => {
                Isa::Avx2.is_available()
                    && is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512dq")
                    && is_x86_feature_detected!("avx512vl")
                    && is_x86_feature_detected!("avx512vnni")
            }
            Isa::Avx512Bf16 => Isa::Avx512.is_available() && is_x86_feature_detected!("avx512bf16"),
            Isa::Amx => Isa::Avx512Bf16.is_available() && crate::gemm::amx_works(),
        }
    }

    /// Whether this machine, and its operating system, can run it.
    #[cfg(not(target_arch = "x86_64"))]
    pub fn is_available(self) -> bool {
        self == Isa::Scalar
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
                #[cfg(target_arch = "x86_64")]
                Isa::Avx512Bf16 | Isa::Amx => crate::simd::avx512::run_bf16(kernel),
                #[cfg(not(target_arch = "x86_64"))]
                _ => kernel.run::<Scalar>(),
            }
        }
    }

    /// The same for kernels that have no use for bf16 or tiles: one copy of them less.
    ///
    /// # Safety
    /// As for [`Isa::run`].
    #[inline]
    pub(crate) unsafe fn run_without_tiles<K: Kernel>(self, kernel: K) -> K::Output {
        // SAFETY: the caller vouches for the instruction set and for the kernel.
        unsafe {
            match self {
                Isa::Scalar => kernel.run::<Scalar>(),
                #[cfg(target_arch = "x86_64")]
                Isa::Avx2 => crate::simd::avx2::run(kernel),
                #[cfg(target_arch = "x86_64")]
                Isa::Avx512 | Isa::Avx512Bf16 | Isa::Amx => crate::simd::avx512::run(kernel),
                #[cfg(not(target_arch = "x86_64"))]
                _ => kernel.run::<Scalar>(),
            }
        }
    }
}

impl Isa {
    /// The name `PONDER_ISA` knows it by.
    pub const fn name(self) -> &'static str {
        match self {
            Isa::Scalar => "scalar",
            Isa::Avx2 => "avx2",
            Isa::Avx512 => "avx512",
            Isa::Avx512Bf16 => "avx512_bf16",
            Isa::Amx => "amx",
        }
    }
}

/// A list for people to read.
fn names(sets: &[Isa]) -> String {
    sets.iter().map(|isa| isa.name()).collect::<Vec<_>>().join(", ")
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Isa {
    type Err = IsaError;

    fn from_str(name: &str) -> Result<Isa, IsaError> {
        let lower = name.to_ascii_lowercase();
        let found = Isa::ALL.into_iter().find(|isa| isa.name() == lower);
        found.ok_or_else(|| IsaError::Unknown(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        for isa in Isa::ALL {
            assert_eq!(isa.to_string().parse(), Ok(isa));
        }
        assert_eq!("mmx".parse::<Isa>(), Err(IsaError::Unknown("mmx".to_owned())));
    }

    #[test]
    fn the_scalar_set_is_everywhere() {
        assert_eq!(Isa::available()[0], Isa::Scalar);
    }
}
