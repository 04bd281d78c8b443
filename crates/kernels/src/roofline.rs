//! What this machine can do at best: bytes read and numbers multiplied per second.
//!
//! A kernel is bound by one of two things: how fast memory delivers, or how fast the arithmetic
//! units work (Williams, Waterman and Patterson, "Roofline: an insightful visual performance model
//! for multicore architectures", 2009). [`measure`] finds both bounds with loops that do nothing
//! else, so that a speed can be told as a share of what is possible *here*, rather than of a data
//! sheet's figure for another clock and another memory.

use std::fmt;
use std::hint::black_box;
use std::time::{Duration, Instant};

use crate::memory::Arena;
use crate::simd::{Kernel, Simd};
use crate::{Isa, Pool, SendPtr};

#[cfg(target_arch = "x86_64")]
mod x86;

/// The bounds of a machine, measured.
#[derive(Clone, PartialEq, Debug)]
pub struct Roofline {
    /// Threads behind the figures of all threads together.
    pub threads: usize,
    /// GB/s (10⁹ bytes) that one thread reads from memory.
    pub read_one: f64,
    /// GB/s that all threads read together.
    pub read_all: f64,
    /// Arithmetic, by instruction set and type.
    pub peaks: Vec<Peak>,
}

/// The most one kind of instruction computes.
#[derive(Clone, PartialEq, Debug)]
pub struct Peak {
    /// The least set with the instruction.
    pub isa: Isa,
    /// What is multiplied.
    pub number: Number,
    /// What is measured, by the name of the instruction.
    pub instruction: &'static str,
    /// 10⁹ operations a second on one thread; a multiplication and an addition are two.
    pub one: f64,
    /// The same on all threads together.
    pub all: f64,
}

/// Type of the factors. Sums are f32, or i32 for integers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Number {
    /// Single precision.
    F32,
    /// The upper half of single precision.
    Bf16,
    /// Integers of 16 bits.
    Int16,
    /// Bytes.
    Int8,
}

impl Roofline {
    /// The most that a program whose best instruction set is `isa` can compute, on all threads.
    pub fn best(&self, isa: Isa) -> Option<&Peak> {
        let usable = self.peaks.iter().filter(|peak| isa.includes(peak.isa));
        usable.max_by(|a, b| a.all.total_cmp(&b.all))
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Number::F32 => "f32",
            Number::Bf16 => "bf16",
            Number::Int16 => "int16",
            Number::Int8 => "int8",
        })
    }
}

/// A loop that keeps one kind of instruction busy.
struct Loop {
    isa: Isa,
    number: Number,
    instruction: &'static str,
    /// Operations in one turn of the loop.
    operations: u64,
    /// Takes the given number of turns.
    turn: fn(u64),
}

/// How much trouble to take.
#[derive(Clone, Copy)]
struct Effort {
    /// Bytes of the buffer that is read.
    bytes: usize,
    /// Least time of one pass of arithmetic.
    pass: Duration,
    /// Passes, of which the best counts: whatever else the machine does only makes them slower.
    passes: usize,
}

/// Measures this machine on the threads of `pool`, in one to two seconds.
///
/// Nothing else should run meanwhile.
pub fn measure(pool: &Pool) -> Roofline {
    // What the caches keep from one pass to the next must not count.
    let bytes = (8 * last_level_cache()).clamp(256 << 20, 1 << 30);
    measure_with(pool, Effort { bytes, pass: Duration::from_millis(8), passes: 6 })
}

fn measure_with(pool: &Pool, effort: Effort) -> Roofline {
    let (read_one, read_all) = read_bandwidth(pool, effort);
    let peaks = loops()
        .into_iter()
        .map(|l| Peak {
            isa: l.isa,
            number: l.number,
            instruction: l.instruction,
            one: arithmetic(None, &l, effort),
            all: arithmetic(Some(pool), &l, effort),
        })
        .collect();
    Roofline { threads: pool.threads(), read_one, read_all, peaks }
}

/// Everything this machine can multiply with.
fn loops() -> Vec<Loop> {
    let mut loops = vec![Loop {
        isa: Isa::Scalar,
        number: Number::F32,
        instruction: "mul, add",
        operations: 2 * 16 * 4,
        // SAFETY: plain Rust runs everywhere.
        turn: |turns| unsafe { Isa::Scalar.run(MulAdd::<4> { turns }) },
    }];
    #[cfg(target_arch = "x86_64")]
    loops.extend(x86::loops());
    loops
}

/// `N` independent sums of products of f32, sixteen lanes each.
struct MulAdd<const N: usize> {
    turns: u64,
}

impl<const N: usize> Kernel for MulAdd<N> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        // SAFETY: the caller has S's instruction set; no memory is touched.
        unsafe {
            let (a, b) = (S::splat(black_box(1.0)), S::splat(black_box(1e-3)));
            let mut sums = [S::splat(0.0); N];
            for _ in 0..self.turns {
                for sum in &mut sums {
                    *sum = S::fma(a, b, *sum);
                }
            }
            // The sums must be seen to be needed.
            let total: f32 = sums.map(|sum| S::sum(sum)).iter().sum();
            black_box(total);
        }
    }
}

/// 10⁹ operations a second, on this thread or on all of a pool's.
fn arithmetic(pool: Option<&Pool>, l: &Loop, effort: Effort) -> f64 {
    let timed = |turns: u64| {
        let started = Instant::now();
        match pool {
            None => (l.turn)(turns),
            Some(pool) => pool.run(&|_| (l.turn)(turns)),
        }
        started.elapsed()
    };
    // Enough turns that starting the threads and reading the clock take no part of the time.
    let mut turns = 1 << 10;
    while timed(turns) < effort.pass && turns < 1 << 40 {
        turns *= 2;
    }
    // Threads that have slept may share a processor for a while before the system moves them apart.
    let passes = if pool.is_some() { 4 * effort.passes } else { effort.passes };
    let best = (0..passes).map(|_| timed(turns)).min().unwrap_or_default();
    let threads = pool.map_or(1, Pool::threads) as f64;
    threads * (turns * l.operations) as f64 / best.as_nanos().max(1) as f64
}

/// GB/s read by one thread and by all of them.
fn read_bandwidth(pool: &Pool, effort: Effort) -> (f64, f64) {
    let isa = Isa::available().pop().unwrap_or(Isa::Scalar);
    // Written first: pages never written are all the same page of zeros, which is in the cache.
    let mut memory = Arena::default().zeroed(effort.bytes);
    let len = memory.len();
    let start = SendPtr(memory.as_mut_ptr());
    pool.for_each_chunk(len, 2 << 20, |range| {
        // SAFETY: chunks don't overlap, and lie within the buffer.
        unsafe { start.get().add(range.start).write_bytes(0x5a, range.len()) };
    });
    let timed = |threads: usize, streams: usize| {
        let share = len / threads;
        let read = |thread: usize| {
            let part = &memory[thread * share..(thread + 1) * share];
            // SAFETY: `isa` is available.
            black_box(unsafe { isa.run(Read { part, streams }) });
        };
        let started = Instant::now();
        if threads == 1 {
            read(0)
        } else {
            pool.run(&read)
        }
        (share * threads) as f64 / started.elapsed().as_nanos().max(1) as f64
    };
    // Processors differ in how many streams their prefetchers like.
    let best = |threads: usize| {
        let passes = (0..effort.passes).flat_map(|_| [1, 2, 4]);
        passes.map(|streams| timed(threads, streams)).fold(0.0, f64::max)
    };
    (best(1), best(pool.threads()))
}

/// Reads a slice, as `streams` parts side by side.
struct Read<'a> {
    part: &'a [u8],
    streams: usize,
}

/// Bytes of a stream that are read before it is the next one's turn.
const STRETCH: usize = 512;

impl Kernel for Read<'_> {
    type Output = u32;

    #[inline(always)]
    unsafe fn run<S: Simd>(self) -> u32 {
        let length = self.part.len() / self.streams / STRETCH * STRETCH;
        let start = self.part.as_ptr();
        // SAFETY: the caller has S's instruction set; every stretch lies within the slice.
        unsafe {
            let mut seen = [S::load_bytes([0; 64].as_ptr()); 4];
            for at in (0..length).step_by(STRETCH) {
                for stream in 0..self.streams {
                    let from = start.add(stream * length + at);
                    for i in (0..STRETCH).step_by(4 * 64) {
                        seen[0] = S::or(seen[0], S::load_bytes(from.add(i)));
                        seen[1] = S::or(seen[1], S::load_bytes(from.add(i + 64)));
                        seen[2] = S::or(seen[2], S::load_bytes(from.add(i + 128)));
                        seen[3] = S::or(seen[3], S::load_bytes(from.add(i + 192)));
                    }
                }
            }
            let all = S::or(S::or(seen[0], seen[1]), S::or(seen[2], seen[3]));
            // What was read must be seen to be needed.
            let mut bytes = [0u32; 16];
            std::ptr::copy_nonoverlapping(
                (&raw const all).cast::<u8>(),
                bytes.as_mut_ptr().cast(),
                size_of::<S::B>().min(64),
            );
            bytes.iter().fold(0, |all, x| all | x)
        }
    }
}

/// Bytes of the largest cache of the first core; a guess where the system doesn't tell.
fn last_level_cache() -> usize {
    let size = |index: usize| {
        let path = format!("/sys/devices/system/cpu/cpu0/cache/index{index}/size");
        let text = std::fs::read_to_string(path).ok()?;
        let kib: usize = text.trim().strip_suffix('K')?.parse().ok()?;
        Some(kib << 10)
    };
    (0..8).filter_map(size).max().unwrap_or(32 << 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUICK: Effort = Effort { bytes: 4 << 20, pass: Duration::from_micros(200), passes: 2 };

    #[test]
    fn everything_the_machine_has_is_measured() {
        let roofline = measure_with(&Pool::new(2), QUICK);
        assert_eq!(roofline.threads, 2);
        assert!(roofline.read_one > 0.1 && roofline.read_all > 0.1, "{roofline:?}");
        for isa in Isa::available() {
            let peak = roofline.best(isa).unwrap();
            assert!(isa.includes(peak.isa), "{peak:?}");
        }
        for peak in &roofline.peaks {
            // Slower than any processor that runs this, faster than any thread there will be.
            let sensible = 0.05..1e6;
            assert!(sensible.contains(&peak.one) && sensible.contains(&peak.all), "{peak:?}");
        }
    }

    #[test]
    fn the_wider_set_is_at_least_as_good() {
        let roofline = measure_with(&Pool::new(1), QUICK);
        let best: Vec<f64> =
            Isa::available().iter().map(|isa| roofline.best(*isa).unwrap().all).collect();
        assert!(best.is_sorted(), "{best:?}");
    }

    #[test]
    fn every_byte_is_read() {
        for isa in Isa::available() {
            for streams in [1, 2, 4] {
                let n = 4 * STRETCH;
                for at in [0, 1, STRETCH - 1, STRETCH, n / 2, n - 1] {
                    let mut part = vec![0; n];
                    part[at] = 1;
                    // SAFETY: `isa` is available.
                    let seen = unsafe { isa.run(Read { part: &part, streams }) };
                    assert_ne!(seen, 0, "{isa}, {streams} streams, byte {at}");
                }
            }
        }
    }
}
