//! A threadpool made for token latency.
//!
//! Decoding one token is about a hundred short parallel steps with nothing to do in between, so a
//! general pool's wake-up time would dominate. Workers here spin for a moment after each step and
//! only then go to sleep; work is a shared counter over chunks, so that a thread that loses its
//! core to another program holds nobody up for longer than a chunk.

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

/// How often a waiting thread looks before it sleeps: some 50 to 100 µs.
const SPINS: u32 = 2_000;

type Job = &'static (dyn Fn(usize) + Sync);

struct Shared {
    /// The running job. Written only while no worker is at work.
    job: Mutex<Option<Job>>,
    /// Grows by one with each job; a change tells the workers to start.
    epoch: AtomicU32,
    /// Workers that have not finished the current job.
    pending: AtomicUsize,
    /// Workers asleep, or about to be.
    sleepers: Mutex<usize>,
    wake: Condvar,
    quit: AtomicBool,
    panicked: AtomicBool,
}

/// Persistent worker threads. The thread that calls [`Pool::run`] is one of them.
pub struct Pool {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
    /// Held while a job runs: two callers take turns.
    turn: Mutex<()>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Pool {
    /// A pool that runs work on `threads` threads (at least one), the caller's among them.
    pub fn new(threads: usize) -> Pool {
        let shared = Arc::new(Shared {
            job: Mutex::new(None),
            epoch: AtomicU32::new(0),
            pending: AtomicUsize::new(0),
            sleepers: Mutex::new(0),
            wake: Condvar::new(),
            quit: AtomicBool::new(false),
            panicked: AtomicBool::new(false),
        });
        let workers = (1..threads.max(1))
            .filter_map(|index| {
                let shared = Arc::clone(&shared);
                std::thread::Builder::new()
                    .name(format!("ponder-{index}"))
                    .spawn(move || worker(index, &shared))
                    .ok()
            })
            .collect();
        Pool { shared, workers, turn: Mutex::new(()) }
    }

    /// A pool with a thread for each core this process may use.
    pub fn with_all_cores() -> Pool {
        Pool::new(Pool::cores())
    }

    /// Cores this process may use (affinity and container limits counted).
    pub fn cores() -> usize {
        std::thread::available_parallelism().map_or(1, usize::from)
    }

    /// Threads that take part, the caller's included.
    pub fn threads(&self) -> usize {
        self.workers.len() + 1
    }

    /// Calls `f(0)` … `f(threads - 1)`, each on a thread of its own, and returns when all have
    /// returned. Calls must not nest.
    ///
    /// # Panics
    /// If a call of `f` panics: on the caller's thread, after the others have finished.
    pub fn run(&self, f: &(dyn Fn(usize) + Sync)) {
        if self.workers.is_empty() {
            return f(0);
        }
        let _turn = lock(&self.turn);
        let shared = &*self.shared;
        // SAFETY: only the lifetime changes. No worker touches the job after `pending` has fallen
        // to zero, and this function doesn't return, or unwind, before that.
        let job: Job = unsafe { std::mem::transmute::<&(dyn Fn(usize) + Sync), Job>(f) };
        *lock(&shared.job) = Some(job);
        shared.pending.store(self.workers.len(), Ordering::Release);
        shared.epoch.fetch_add(1, Ordering::SeqCst);
        if *lock(&shared.sleepers) > 0 {
            shared.wake.notify_all();
        }
        let mine = catch_unwind(AssertUnwindSafe(|| f(0)));
        let mut spins = 0;
        while shared.pending.load(Ordering::Acquire) != 0 {
            spins += 1;
            if spins < SPINS {
                std::hint::spin_loop();
            } else {
                // The worker may be waiting for this very core.
                std::thread::yield_now();
            }
        }
        if let Err(panic) = mine {
            resume_unwind(panic);
        }
        assert!(
            !shared.panicked.swap(false, Ordering::Relaxed),
            "a worker thread of the pool panicked"
        );
    }

    /// Splits `0..n` into chunks of at most `most` and hands them out to the threads as they come
    /// free: large ones first, so that each thread walks through long stretches of memory, smaller
    /// ones towards the end, so that all finish together (guided self-scheduling, Polychronopoulos
    /// and Kuck 1987).
    ///
    /// # Panics
    /// As [`Pool::run`].
    pub fn for_each_guided(&self, n: usize, most: usize, f: impl Fn(Range<usize>) + Sync) {
        let threads = self.threads();
        if n <= 1 || self.workers.is_empty() {
            for start in (0..n).step_by(most.max(1)) {
                f(start..n.min(start + most.max(1)));
            }
            return;
        }
        let size = |left: usize| (left / (2 * threads)).clamp(1, most.max(1));
        let next = AtomicUsize::new(0);
        self.run(&|_| {
            while let Ok(start) = next.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |start| {
                (start < n).then(|| start + size(n - start))
            }) {
                f(start..start + size(n - start));
            }
        });
    }

    /// Splits `0..n` into chunks of `grain` and hands them out to the threads as they come free.
    ///
    /// # Panics
    /// As [`Pool::run`].
    pub fn for_each_chunk(&self, n: usize, grain: usize, f: impl Fn(Range<usize>) + Sync) {
        let grain = grain.max(1);
        if n <= grain || self.workers.is_empty() {
            if n > 0 {
                f(0..n);
            }
            return;
        }
        let next = AtomicUsize::new(0);
        self.run(&|_| {
            loop {
                let start = next.fetch_add(grain, Ordering::Relaxed);
                if start >= n {
                    return;
                }
                f(start..(start + grain).min(n));
            }
        });
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.quit.store(true, Ordering::SeqCst);
        self.shared.epoch.fetch_add(1, Ordering::SeqCst);
        drop(lock(&self.shared.sleepers));
        self.shared.wake.notify_all();
        for worker in self.workers.drain(..) {
            // A worker catches the panics of jobs, so joining can't fail; if it did there would be
            // nothing left to do about it.
            let _ = worker.join();
        }
    }
}

fn worker(index: usize, shared: &Shared) {
    let mut seen = 0;
    loop {
        let mut spins = 0;
        while shared.epoch.load(Ordering::SeqCst) == seen {
            spins += 1;
            if spins < SPINS {
                std::hint::spin_loop();
                continue;
            }
            let mut sleepers = lock(&shared.sleepers);
            *sleepers += 1;
            while shared.epoch.load(Ordering::SeqCst) == seen {
                sleepers = shared.wake.wait(sleepers).unwrap_or_else(PoisonError::into_inner);
            }
            *sleepers -= 1;
        }
        seen = shared.epoch.load(Ordering::SeqCst);
        if shared.quit.load(Ordering::SeqCst) {
            return;
        }
        let job = *lock(&shared.job);
        if let Some(job) = job
            && catch_unwind(AssertUnwindSafe(|| job(index))).is_err()
        {
            shared.panicked.store(true, Ordering::Relaxed);
        }
        shared.pending.fetch_sub(1, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_item_once_for_any_number_of_threads() {
        for threads in [1, 2, 3, 8] {
            let pool = Pool::new(threads);
            for n in [0, 1, 2, 7, 100] {
                let counts: Vec<AtomicUsize> = (0..n).map(|_| AtomicUsize::new(0)).collect();
                let count = |range: Range<usize>| {
                    for i in range {
                        counts[i].fetch_add(1, Ordering::Relaxed);
                    }
                };
                pool.for_each_chunk(n, 3, count);
                assert!(counts.iter().all(|c| c.load(Ordering::Relaxed) == 1));
                pool.for_each_guided(n, 20, count);
                assert!(counts.iter().all(|c| c.load(Ordering::Relaxed) == 2));
            }
        }
    }

    #[test]
    fn wakes_sleeping_workers() {
        let pool = Pool::new(3);
        for _ in 0..5 {
            std::thread::sleep(std::time::Duration::from_millis(5));
            let seen = AtomicUsize::new(0);
            pool.run(&|index| {
                seen.fetch_or(1 << index, Ordering::Relaxed);
            });
            assert_eq!(seen.into_inner(), 0b111);
        }
    }

    #[test]
    fn callers_take_turns() {
        let pool = Pool::new(2);
        let total = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..200 {
                        pool.for_each_chunk(10, 1, |r| {
                            total.fetch_add(r.len(), Ordering::Relaxed);
                        });
                    }
                });
            }
        });
        assert_eq!(total.into_inner(), 4 * 200 * 10);
    }

    #[test]
    fn a_panic_reaches_the_caller_and_the_pool_lives_on() {
        let pool = Pool::new(2);
        for bad in 0..2 {
            let result = catch_unwind(AssertUnwindSafe(|| {
                pool.run(&|index| assert_ne!(index, bad, "on purpose"));
            }));
            assert!(result.is_err());
            pool.run(&|_| {});
        }
    }
}
