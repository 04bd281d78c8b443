//! The blocks on AMX tiles: `tdpbf16ps` multiplies 16 × 32 by 32 × 16 in sixteen cycles.
//!
//! The instructions are written as assembly, since the intrinsics are not stable yet; encodings and
//! meaning are in Intel's "Architecture Instruction Set Extensions Programming Reference". All
//! eight tiles are configured as 16 rows of 64 bytes: four hold sums, two `a` and two `b`.
//!
//! Linux lends a process the tiles' 8 KiB of state on request (`arch_prctl`), and some virtual
//! machines announce AMX without having it in working order; so [`works`] asks for permission,
//! multiplies once, and believes only a right answer.

use super::TILE;
use super::block::Block;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
use super::{STEP, TILE_LEN};

/// Whether tiles may be used and give the right answer. Found out once.
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
pub(crate) fn works() -> bool {
    static WORKS: std::sync::OnceLock<bool> = std::sync::OnceLock::new();
    *WORKS.get_or_init(|| announced() && permitted() && probe())
}

/// Whether tiles may be used: on this system nobody asked how yet.
#[cfg(all(target_arch = "x86_64", not(target_os = "linux")))]
pub(crate) fn works() -> bool {
    false
}

/// The processor says it has tiles and their products of bf16 and of bytes (CPUID leaf 7, EDX bits
/// 24, 22 and 25).
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
fn announced() -> bool {
    use std::arch::x86_64::{__cpuid, __cpuid_count};
    const ALL: u32 = 1 << 22 | 1 << 24 | 1 << 25;
    __cpuid(0).eax >= 7 && __cpuid_count(7, 0).edx & ALL == ALL
}

/// Asks the system for the tiles' state, for this process and all its threads.
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
fn permitted() -> bool {
    const ARCH_REQ_XCOMP_PERM: libc::c_long = 0x1023;
    const XFEATURE_XTILEDATA: libc::c_long = 18;
    // SAFETY: this call changes only what state the system saves for us; where it is unknown it
    // fails.
    unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0 }
}

/// Multiplies small whole numbers, whose sums bf16 products get exactly right.
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
fn probe() -> bool {
    use half::bf16;
    let number = |i: usize| (i * 7 % 13) as f32 - 6.0;
    let panel = |seed: usize| -> Vec<u16> {
        (0..4 * TILE_LEN).map(|i| bf16::from_f32(number(i + seed)).to_bits()).collect()
    };
    let panels = (panel(0), panel(5));
    let mut out = [1.0f32; 4 * TILE * TILE];
    let block = Block {
        a: panels.0.as_ptr(),
        a_panel: 2 * TILE_LEN,
        b: panels.1.as_ptr(),
        b_panel: 2 * TILE_LEN,
        steps: 2,
        out: out.as_mut_ptr(),
        stride: 2 * TILE,
        rows: 2 * TILE,
        columns: 2 * TILE,
        add: true,
    };
    let _tiles = Configured::new();
    // SAFETY: the panels have two tiles each, and `out` all the sums; permission was just given.
    unsafe { multiply(&block) };
    let sum = |r: usize, c: usize| -> f32 {
        let term = |k: usize| {
            let a = (r / TILE * 2 + k / STEP) * TILE_LEN + r % TILE * STEP + k % STEP;
            let b = (c / TILE * 2 + k / STEP) * TILE_LEN;
            let b = b + k % STEP / 2 * 2 * TILE + c % TILE * 2 + k % 2;
            bf16::from_bits(panels.0[a]).to_f32() * bf16::from_bits(panels.1[b]).to_f32()
        };
        (0..2 * STEP).map(term).sum()
    };
    let side = 0..2 * TILE;
    side.clone().all(|r| side.clone().all(|c| out[r * 2 * TILE + c] == 1.0 + sum(r, c)))
}

/// This thread's tiles are configured while this value lives.
pub(super) struct Configured(std::marker::PhantomData<*const ()>);

#[cfg(target_arch = "x86_64")]
impl Configured {
    pub(super) fn new() -> Configured {
        #[repr(C, align(64))]
        struct Palette([u8; 64]);
        let mut palette = Palette([0; 64]);
        palette.0[0] = 1;
        for tile in 0..8 {
            palette.0[16 + 2 * tile] = 64;
            palette.0[48 + tile] = TILE as u8;
        }
        // SAFETY: whoever gets here has found AMX in working order; the palette is 64 bytes.
        unsafe {
            std::arch::asm!("ldtilecfg [{}]", in(reg) palette.0.as_ptr(), options(nostack, readonly));
        }
        Configured(std::marker::PhantomData)
    }
}

#[cfg(target_arch = "x86_64")]
impl Drop for Configured {
    fn drop(&mut self) {
        // SAFETY: as in `new`. Released tiles cost nothing when threads are switched.
        unsafe { std::arch::asm!("tilerelease", options(nostack, nomem)) };
    }
}

#[cfg(not(target_arch = "x86_64"))]
impl Configured {
    pub(super) fn new() -> Configured {
        unreachable!("only x86-64 has AMX")
    }
}

/// Works out a block.
///
/// # Safety
/// The tiles are [`Configured`]; otherwise as for [`super::block::multiply`].
pub(super) unsafe fn multiply(block: &Block) {
    const SIDE: usize = 2 * TILE;
    // SAFETY: as the caller vouches. Where the block is not whole, sums go through a buffer that
    // is; panels that don't exist are replaced by the ones before them, and what comes of them is
    // dropped.
    unsafe {
        let mut whole = *block;
        if block.rows <= TILE {
            whole.a_panel = 0;
        }
        if block.columns <= TILE {
            whole.b_panel = 0;
        }
        if block.rows == SIDE && block.columns == SIDE {
            return tiles(&whole);
        }
        let mut sums = [0.0f32; SIDE * SIDE];
        (whole.out, whole.stride) = (sums.as_mut_ptr(), SIDE);
        if block.add {
            for r in 0..block.rows {
                let from = block.out.add(r * block.stride);
                sums.as_mut_ptr().add(r * SIDE).copy_from_nonoverlapping(from, block.columns);
            }
        }
        tiles(&whole);
        for r in 0..block.rows {
            let to = block.out.add(r * block.stride);
            to.copy_from_nonoverlapping(sums.as_ptr().add(r * SIDE), block.columns);
        }
    }
}

/// A whole block.
///
/// # Safety
/// As for [`multiply`], with 32 rows and 32 columns.
#[cfg(target_arch = "x86_64")]
unsafe fn tiles(block: &Block) {
    let row = 4 * block.stride;
    // SAFETY: as the caller vouches; no register is touched that isn't named.
    unsafe {
        let below = block.out.add(TILE * block.stride);
        if block.add {
            std::arch::asm!(
                "tileloadd tmm0, [{top} + {row}*1]",
                "tileloadd tmm1, [{top} + {row}*1 + 64]",
                "tileloadd tmm2, [{below} + {row}*1]",
                "tileloadd tmm3, [{below} + {row}*1 + 64]",
                top = in(reg) block.out,
                below = in(reg) below,
                row = in(reg) row,
                options(nostack, readonly),
            );
        } else {
            std::arch::asm!(
                "tilezero tmm0",
                "tilezero tmm1",
                "tilezero tmm2",
                "tilezero tmm3",
                options(nostack, nomem),
            );
        }
        if block.steps > 0 {
            // The loads of one tile and the products of another overlap: each load stands as far
            // ahead of its first use as eight tiles allow.
            std::arch::asm!(
                "2:",
                "tileloadd tmm4, [{a0} + {line}*1]",
                "tileloadd tmm6, [{b0} + {line}*1]",
                "tileloadd tmm7, [{b1} + {line}*1]",
                "tdpbf16ps tmm0, tmm4, tmm6",
                "tileloadd tmm5, [{a1} + {line}*1]",
                "tdpbf16ps tmm1, tmm4, tmm7",
                "tdpbf16ps tmm2, tmm5, tmm6",
                "tdpbf16ps tmm3, tmm5, tmm7",
                "add {a0}, 1024",
                "add {a1}, 1024",
                "add {b0}, 1024",
                "add {b1}, 1024",
                "dec {steps}",
                "jnz 2b",
                a0 = inout(reg) block.a => _,
                a1 = inout(reg) block.a.add(block.a_panel) => _,
                b0 = inout(reg) block.b => _,
                b1 = inout(reg) block.b.add(block.b_panel) => _,
                steps = inout(reg) block.steps => _,
                line = in(reg) 64usize,
                options(nostack, readonly),
            );
        }
        std::arch::asm!(
            "tilestored [{top} + {row}*1], tmm0",
            "tilestored [{top} + {row}*1 + 64], tmm1",
            "tilestored [{below} + {row}*1], tmm2",
            "tilestored [{below} + {row}*1 + 64], tmm3",
            top = in(reg) block.out,
            below = in(reg) below,
            row = in(reg) row,
            options(nostack),
        );
    }
}

#[cfg(not(target_arch = "x86_64"))]
unsafe fn tiles(_: &Block) {
    unreachable!("only x86-64 has AMX")
}

/// Products of four pairs of tiles, again and again: what tiles can do at best.
#[cfg(target_arch = "x86_64")]
pub(crate) struct Tile4;

#[cfg(target_arch = "x86_64")]
macro_rules! tile_loop {
    ($name:ident, $instruction:literal) => {
        /// Takes so many turns of four products of tiles.
        ///
        /// # Safety
        /// The machine has AMX, found in working order, with this instruction.
        pub(crate) unsafe fn $name(turns: u64) {
            let _tiles = Configured::new();
            // SAFETY: as the caller vouches; configuring the tiles has set them to zero.
            unsafe {
                std::arch::asm!(
                    "2:",
                    concat!($instruction, " tmm0, tmm4, tmm6"),
                    concat!($instruction, " tmm1, tmm4, tmm7"),
                    concat!($instruction, " tmm2, tmm5, tmm6"),
                    concat!($instruction, " tmm3, tmm5, tmm7"),
                    "dec {turns}",
                    "jnz 2b",
                    turns = inout(reg) turns.max(1) => _,
                    options(nostack, nomem),
                );
            }
        }
    };
}

#[cfg(target_arch = "x86_64")]
impl Tile4 {
    /// Multiplications of a turn, in bf16.
    pub(crate) const BF16: u64 = 4 * 16 * 16 * 32;
    /// The same in bytes.
    pub(crate) const INT8: u64 = 4 * 16 * 16 * 64;

    tile_loop!(bf16, "tdpbf16ps");
    tile_loop!(int8, "tdpbssd");
}
