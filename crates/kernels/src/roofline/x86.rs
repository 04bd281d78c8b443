//! The loops that keep the arithmetic units of x86-64 busy.

use std::arch::asm;
use std::arch::x86_64::*;
use std::hint::black_box;

use super::{Loop, MulAdd, Number};
use crate::Isa;
use crate::gemm::Tile4;

/// Independent sums: more than an instruction takes cycles, times the units that take it, and few
/// enough to stay in registers (16 of 256 bits, 32 of 512).
const SUMS_256: usize = 10;
const SUMS_512: usize = 16;

/// Those of the instruction sets this machine has.
pub(super) fn loops() -> Vec<Loop> {
    let mut loops = Vec::new();
    let available = Isa::available();
    if available.contains(&Isa::Avx2) {
        loops.push(Loop {
            isa: Isa::Avx2,
            number: Number::F32,
            instruction: "vfmadd",
            operations: 2 * 16 * 5,
            // SAFETY: the machine has AVX2. Sixteen lanes are two registers, so five make ten.
            turn: |turns| unsafe { Isa::Avx2.run(MulAdd::<5> { turns }) },
        });
        loops.push(Loop {
            isa: Isa::Avx2,
            number: Number::Int16,
            instruction: "vpmaddwd, vpaddd",
            operations: 2 * 16 * SUMS_256 as u64,
            // SAFETY: the machine has AVX2.
            turn: |turns| unsafe { int16_avx2(turns) },
        });
        loops.push(Loop {
            isa: Isa::Avx2,
            number: Number::Int8,
            instruction: "vpmaddubsw, vpmaddwd, vpaddd",
            operations: 2 * 32 * SUMS_256 as u64,
            // SAFETY: the machine has AVX2.
            turn: |turns| unsafe { int8_avx2(turns) },
        });
    }
    if available.contains(&Isa::Avx512) {
        loops.push(Loop {
            isa: Isa::Avx512,
            number: Number::F32,
            instruction: "vfmadd",
            operations: 2 * 16 * SUMS_512 as u64,
            // SAFETY: the machine has AVX-512.
            turn: |turns| unsafe { Isa::Avx512.run(MulAdd::<SUMS_512> { turns }) },
        });
        if available.contains(&Isa::Avx512Bf16) {
            loops.push(Loop {
                isa: Isa::Avx512Bf16,
                number: Number::Bf16,
                instruction: "vdpbf16ps",
                operations: 2 * 32 * SUMS_512 as u64,
                // SAFETY: the machine has AVX-512 and its BF16 extension.
                turn: |turns| unsafe { bf16_avx512(turns) },
            });
        }
        loops.push(Loop {
            isa: Isa::Avx512,
            number: Number::Int8,
            instruction: "vpdpbusd",
            operations: 2 * 64 * SUMS_512 as u64,
            // SAFETY: the machine has AVX-512 with VNNI.
            turn: |turns| unsafe { int8_avx512(turns) },
        });
    }
    if available.contains(&Isa::Amx) {
        loops.push(Loop {
            isa: Isa::Amx,
            number: Number::Bf16,
            instruction: "tdpbf16ps",
            operations: 2 * Tile4::BF16,
            // SAFETY: the machine has AMX.
            turn: |turns| unsafe { Tile4::bf16(turns) },
        });
        loops.push(Loop {
            isa: Isa::Amx,
            number: Number::Int8,
            instruction: "tdpbssd",
            operations: 2 * Tile4::INT8,
            // SAFETY: the machine has AMX.
            turn: |turns| unsafe { Tile4::int8(turns) },
        });
    }
    loops
}

/// # Safety
/// The machine has AVX2.
#[target_feature(enable = "avx2")]
unsafe fn int8_avx2(turns: u64) {
    let (mut a, b) = (_mm256_set1_epi8(black_box(3)), _mm256_set1_epi8(black_box(5)));
    let ones = _mm256_set1_epi16(1);
    let mut sums = [_mm256_setzero_si256(); SUMS_256];
    for _ in 0..turns {
        for sum in &mut sums {
            // SAFETY: no instruction at all. The factor might have changed, for all the compiler
            // knows, so that it can't take the product out of the loop.
            unsafe { asm!("/* {0} */", inout(ymm_reg) a, options(nomem, nostack)) };
            let pairs = _mm256_maddubs_epi16(a, b);
            *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(pairs, ones));
        }
    }
    black_box(sums);
}

/// # Safety
/// The machine has AVX2.
#[target_feature(enable = "avx2")]
unsafe fn int16_avx2(turns: u64) {
    let (mut a, b) = (_mm256_set1_epi16(black_box(3)), _mm256_set1_epi16(black_box(5)));
    let mut sums = [_mm256_setzero_si256(); SUMS_256];
    for _ in 0..turns {
        for sum in &mut sums {
            // SAFETY: no instruction at all; see `int8_avx2`.
            unsafe { asm!("/* {0} */", inout(ymm_reg) a, options(nomem, nostack)) };
            *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(a, b));
        }
    }
    black_box(sums);
}

/// # Safety
/// The machine has AVX-512 F and VNNI.
#[target_feature(enable = "avx512f,avx512vnni")]
unsafe fn int8_avx512(turns: u64) {
    let (a, b) = (_mm512_set1_epi32(black_box(0x0303_0303)), _mm512_set1_epi32(0x0505_0505));
    let mut sums = [_mm512_setzero_si512(); SUMS_512];
    for _ in 0..turns {
        for sum in &mut sums {
            *sum = _mm512_dpbusd_epi32(*sum, a, b);
        }
    }
    black_box(sums);
}

/// # Safety
/// The machine has AVX-512 F and BF16.
#[target_feature(enable = "avx512f,avx512bf16")]
unsafe fn bf16_avx512(turns: u64) {
    // Pairs of ones.
    let bits = _mm512_set1_epi32(black_box(0x3f80_3f80));
    // SAFETY: both are 512 bits of plain numbers.
    let ones: __m512bh = unsafe { std::mem::transmute(bits) };
    let mut sums = [_mm512_setzero_ps(); SUMS_512];
    for _ in 0..turns {
        for sum in &mut sums {
            *sum = _mm512_dpbf16_ps(*sum, ones, ones);
        }
    }
    black_box(sums);
}
