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
    /// NEON with 8-bit dot products (Armv8.2 `dotprod`).
    Neon,
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
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
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
        static DETECTED: OnceLock<Result<Isa, IsaError>> = OnceLock::new();
        let asked = || std::env::var("PONDER_ISA").ok();
        DETECTED.get_or_init(|| Isa::choose(asked().as_deref())).clone()
    }

    /// The set of that name, or the best.
    fn choose(name: Option<&str>) -> Result<Isa, IsaError> {
        match name {
            None | Some("") => Ok(Isa::best()),
            Some(name) => match name.parse::<Isa>()? {
                isa if isa.is_available() => Ok(isa),
                wanted => Err(IsaError::Unavailable { wanted, best: Isa::best() }),
            },
        }
    }

    /// Every instruction set there is. Those of one architecture stand together, the plainest
    /// first; what a machine has is asked of each (no set stands for those before it).
    pub const ALL: [Isa; 6] =
        [Isa::Scalar, Isa::Neon, Isa::Avx2, Isa::Avx512, Isa::Avx512Bf16, Isa::Amx];

    /// Whether a machine with this set has `other`, too.
    pub fn includes(self, other: Isa) -> bool {
        let place = |isa| Isa::ALL.iter().position(|one| *one == isa);
        let same = (self == Isa::Neon) == (other == Isa::Neon);
        other == Isa::Scalar || same && place(other) <= place(self)
    }

    /// Every instruction set this machine can run, the scalar one first, the best one last.
    pub fn available() -> Vec<Isa> {
        Isa::ALL.into_iter().filter(|isa| isa.is_available()).collect()
    }

    fn best() -> Isa {
        Isa::available().pop().unwrap_or(Isa::Scalar)
    }

    /// Whether this machine, and its operating system, can run it.
    pub fn is_available(self) -> bool {
        match self {
            Isa::Scalar => true,
            #[cfg(target_arch = "aarch64")]
            Isa::Neon => {
                std::arch::is_aarch64_feature_detected!("neon")
                    && std::arch::is_aarch64_feature_detected!("dotprod")
            }
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => {
                is_x86_feature_detected!("avx2")
                    && is_x86_feature_detected!("fma")
                    && is_x86_feature_detected!("f16c")
            }
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => {
                Isa::Avx2.is_available()
                    && is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512dq")
                    && is_x86_feature_detected!("avx512vl")
                    && is_x86_feature_detected!("avx512vnni")
            }
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512Bf16 => Isa::Avx512.is_available() && is_x86_feature_detected!("avx512bf16"),
            #[cfg(target_arch = "x86_64")]
            Isa::Amx => Isa::Avx512Bf16.is_available() && crate::gemm::amx_works(),
            // The other architectures' sets.
            _ => false,
        }
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
                #[cfg(target_arch = "aarch64")]
                Isa::Neon => crate::simd::neon::run(kernel),
                #[cfg(target_arch = "x86_64")]
                Isa::Avx2 => crate::simd::avx2::run(kernel),
                #[cfg(target_arch = "x86_64")]
                Isa::Avx512 => crate::simd::avx512::run(kernel),
                #[cfg(target_arch = "x86_64")]
                Isa::Avx512Bf16 | Isa::Amx => crate::simd::avx512::run_bf16(kernel),
                // The scalar set: this machine has none of the other architectures'.
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
                #[cfg(target_arch = "x86_64")]
                Isa::Avx2 => crate::simd::avx2::run(kernel),
                #[cfg(target_arch = "x86_64")]
                Isa::Avx512 | Isa::Avx512Bf16 | Isa::Amx => crate::simd::avx512::run(kernel),
                #[cfg(target_arch = "aarch64")]
                Isa::Neon => crate::simd::neon::run(kernel),
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
            Isa::Neon => "neon",
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
        assert_eq!(Isa::choose(Some("scalar")), Ok(Isa::Scalar));
    }

    #[test]
    fn no_machine_has_another_architectures_sets() {
        let x86 = [Isa::Avx2, Isa::Avx512, Isa::Avx512Bf16, Isa::Amx];
        let arm = [Isa::Neon];
        let mut strange = Vec::new();
        if !cfg!(target_arch = "x86_64") {
            strange.extend(x86);
        }
        if !cfg!(target_arch = "aarch64") {
            strange.extend(arm);
        }
        for wanted in strange {
            assert!(!wanted.is_available());
            let refused = Err(IsaError::Unavailable { wanted, best: Isa::best() });
            assert_eq!(Isa::choose(Some(wanted.name())), refused);
        }
    }

    #[test]
    fn the_best_set_is_chosen_unless_one_is_named() {
        let best = *Isa::available().last().unwrap();
        assert_eq!(Isa::choose(None), Ok(best));
        assert_eq!(Isa::choose(Some("")), Ok(best));
        for isa in Isa::available() {
            assert_eq!(Isa::choose(Some(isa.name())), Ok(isa));
        }
        assert_eq!(Isa::choose(Some("mmx")), Err(IsaError::Unknown("mmx".to_owned())));
    }
}
