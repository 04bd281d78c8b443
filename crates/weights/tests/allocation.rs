//! Whatever a file claims, opening it allocates no more than what is in it.
//!
//! One test alone in this file: the allocator counts for the whole process.

use std::alloc::{GlobalAlloc, Layout, System};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use weights::gguf::Partial;
use weights::inspect::inspect;
use weights::{Checkpoint, gguf, safetensors};

/// The system's allocator, with the bytes in use and the most there ever were.
struct Counting;

static USED: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call is handed to the system's allocator unchanged; the counters allocate nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let used = USED.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        PEAK.fetch_max(used, Ordering::Relaxed);
        // SAFETY: the caller's promise about `layout` is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        USED.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: `at` came from `alloc` above with this layout, hence from the system.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// The most bytes in use during `run` beyond those in use before.
fn peak(run: impl FnOnce()) -> usize {
    let before = USED.load(Ordering::Relaxed);
    PEAK.store(before, Ordering::Relaxed);
    run();
    PEAK.load(Ordering::Relaxed) - before
}

fn gguf(tensors: u64, keys: u64, rest: &[&[u8]]) -> Vec<u8> {
    let mut bytes = b"GGUF\x03\0\0\0".to_vec();
    bytes.extend(tensors.to_le_bytes());
    bytes.extend(keys.to_le_bytes());
    rest.iter().for_each(|part| bytes.extend(*part));
    bytes
}

fn array_key(ty: u32, len: u64) -> Vec<u8> {
    let mut bytes = 1u64.to_le_bytes().to_vec();
    bytes.push(b'k');
    bytes.extend(9u32.to_le_bytes());
    bytes.extend(ty.to_le_bytes());
    bytes.extend(len.to_le_bytes());
    bytes
}

#[test]
fn nothing_is_allocated_for_what_is_not_there() {
    const SLACK: usize = 64 << 10;
    let dir = tempfile::tempdir().unwrap();
    let filler = vec![0u8; 1 << 20];
    let mut cases = Vec::new();
    for ty in 0..13 {
        for len in [1 << 17, 1 << 20, 1 << 32, u64::MAX / 8, u64::MAX] {
            cases.push(gguf(0, 1, &[&array_key(ty, len), &filler]));
        }
    }
    for count in [1 << 14, 1 << 40, u64::MAX] {
        cases.push(gguf(count, 0, &[]));
        cases.push(gguf(0, count, &[]));
        cases.push(gguf(count, 0, &[&count.to_le_bytes(), &filler]));
        cases.push(gguf(0, 1, &[&count.to_le_bytes(), &filler]));
    }
    // Sound but large: a vocabulary of very short strings, and one array in another.
    let strings: Vec<u8> = (0..100_000).flat_map(|_| *b"\x01\0\0\0\0\0\0\0x").collect();
    cases.push(gguf(0, 1, &[&array_key(8, 100_000), &strings]));
    let inner: Vec<u8> = (0..80_000).flat_map(|_| [0; 12]).collect();
    cases.push(gguf(0, 1, &[&array_key(9, 80_000), &inner]));

    for (i, bytes) in cases.iter().enumerate() {
        let path = dir.path().join("m.gguf");
        std::fs::write(&path, bytes).unwrap();
        let limit = bytes.len() + SLACK;
        let strict = peak(|| drop(gguf::Gguf::open(&path)));
        assert!(strict <= limit, "case {i}: {strict} bytes for a file of {}", bytes.len());
        // The tolerant reader keeps a header for the part and one for the model.
        let tolerant = peak(|| drop(Partial::open(&path)));
        assert!(tolerant <= 2 * bytes.len() + SLACK, "case {i}: {tolerant} bytes");
    }

    for len in [0u64, 1 << 20, 90_000_000, 1 << 40, u64::MAX] {
        let mut bytes = len.to_le_bytes().to_vec();
        bytes.extend(&filler[..1000]);
        let path = dir.path().join("model.safetensors");
        std::fs::write(&path, &bytes).unwrap();
        let used = peak(|| {
            drop(safetensors::Header::parse(&bytes, Path::new("m")));
            drop(Checkpoint::open(&path));
            drop(inspect(&path, None));
        });
        assert!(used <= bytes.len() + SLACK, "{used} bytes for a header length of {len}");
    }

    // Many small things weigh more in memory than in the file, but only by a factor.
    let name = |i: u32| format!("{i:04}");
    let mut many = Vec::new();
    for i in 0..10_000 {
        many.extend(4u64.to_le_bytes());
        many.extend(name(i).as_bytes());
        many.extend(1u32.to_le_bytes());
        many.extend(8u64.to_le_bytes());
        many.extend(0u32.to_le_bytes());
        many.extend(u64::from(i * 32).to_le_bytes());
    }
    many.resize(many.len() + 10_001 * 32, 0);
    let bytes = gguf(10_000, 0, &[&many]);
    let path = dir.path().join("m.gguf");
    std::fs::write(&path, &bytes).unwrap();
    let used = peak(|| assert_eq!(gguf::Gguf::open(&path).unwrap().tensors().len(), 10_000));
    assert!(used <= 8 * bytes.len(), "{used} bytes for a file of {}", bytes.len());
}
