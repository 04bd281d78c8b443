//! Memory for weights: aligned to cache lines, in pages as large as the system gives.
//!
//! Decoding reads every weight once a token. With pages of 4 KiB a gigabyte of weights takes a
//! quarter of a million entries of the address translation caches, which hold a few thousand, and
//! the hardware's prefetchers stop at the end of each page. An [`Arena`] asks for pages of 2 MiB.

use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::sync::Arc;

/// Bytes of a huge page, to which chunks are aligned.
const HUGE: usize = 2 << 20;
/// Bytes an arena reserves at a time; what is never touched takes no memory.
const CHUNK: usize = 64 << 20;

/// Zeroed memory from the system.
struct Chunk {
    start: NonNull<u8>,
    len: usize,
    /// What was asked of the system, alignment included.
    #[cfg(unix)]
    mapping: (*mut libc::c_void, usize),
}

// SAFETY: a chunk is plain memory; who may read and write which part is the owners' business.
unsafe impl Send for Chunk {}
// SAFETY: as above.
unsafe impl Sync for Chunk {}

impl Chunk {
    #[cfg(unix)]
    fn new(len: usize, align: usize) -> Chunk {
        let layout = std::alloc::Layout::from_size_align(len, align).expect("a length that fits");
        let reserved = len.checked_add(align).expect("a length that fits in memory");
        // SAFETY: a new private mapping touches nobody's memory; its result is checked.
        let mapping = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                reserved,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
                -1,
                0,
            )
        };
        if mapping == libc::MAP_FAILED {
            std::alloc::handle_alloc_error(layout);
        }
        let skip = mapping.cast::<u8>().align_offset(align);
        // SAFETY: `skip < align`, so `len` bytes from there on lie within the mapping.
        let start = unsafe { NonNull::new_unchecked(mapping.cast::<u8>().add(skip)) };
        #[cfg(target_os = "linux")]
        if align == HUGE {
            // SAFETY: the range is ours. A refusal costs speed, nothing else.
            unsafe { libc::madvise(start.as_ptr().cast(), len, libc::MADV_HUGEPAGE) };
        }
        Chunk { start, len, mapping: (mapping, reserved) }
    }

    #[cfg(not(unix))]
    fn new(len: usize, align: usize) -> Chunk {
        let layout = std::alloc::Layout::from_size_align(len, 64.min(align)).expect("it fits");
        // SAFETY: the layout is not empty: `len` is at least one.
        let start = unsafe { std::alloc::alloc_zeroed(layout) };
        let Some(start) = NonNull::new(start) else { std::alloc::handle_alloc_error(layout) };
        Chunk { start, len }
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        #[cfg(unix)]
        // SAFETY: the mapping was made by `new`, and nobody holds a part of it any more.
        unsafe {
            libc::munmap(self.mapping.0, self.mapping.1);
        }
        #[cfg(not(unix))]
        // SAFETY: as above, with the layout of `new`.
        unsafe {
            let layout = std::alloc::Layout::from_size_align_unchecked(self.len, 64);
            std::alloc::dealloc(self.start.as_ptr(), layout);
        }
    }
}

/// Hands out memory of one lifetime, such as a model's weights, from chunks of huge pages.
#[derive(Default)]
pub struct Arena {
    chunk: Option<Arc<Chunk>>,
    used: usize,
}

impl Arena {
    /// `len` zero bytes that start on a cache line.
    pub fn zeroed(&mut self, len: usize) -> Aligned {
        let taken = len.next_multiple_of(64).max(64);
        let chunk = match &self.chunk {
            Some(chunk) if chunk.len - self.used >= taken => chunk,
            _ => {
                self.used = 0;
                let bytes = taken.max(CHUNK).next_multiple_of(HUGE);
                self.chunk.insert(Arc::new(Chunk::new(bytes, HUGE)))
            }
        };
        // SAFETY: the chunk has `taken` bytes from `used` on, which nobody else gets.
        let start = unsafe { chunk.start.add(self.used) };
        self.used += taken;
        Aligned { start, len, _chunk: Arc::clone(chunk) }
    }
}

/// Bytes that start on a cache line. Fresh ones are zero, and pages never written take no memory.
pub struct Aligned {
    start: NonNull<u8>,
    len: usize,
    _chunk: Arc<Chunk>,
}

// SAFETY: these bytes belong to this value alone, as a vector's do.
unsafe impl Send for Aligned {}
// SAFETY: as above.
unsafe impl Sync for Aligned {}

impl Aligned {
    /// `len` zero bytes of their own.
    pub fn zeroed(len: usize) -> Aligned {
        let chunk = Chunk::new(len.max(64), 64);
        Aligned { start: chunk.start, len, _chunk: Arc::new(chunk) }
    }
}

impl Deref for Aligned {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: `len` bytes lie within the chunk, and bytes have no invalid values.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

impl DerefMut for Aligned {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as for `deref`; no other value has these bytes.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }
}

/// A pointer that several threads write through, each to elements of its own.
pub(crate) struct SendPtr<T>(pub(crate) *mut T);

impl<T> Clone for SendPtr<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for SendPtr<T> {}

// SAFETY: whoever dereferences the pointer says why no two threads touch the same element.
unsafe impl<T: Send> Send for SendPtr<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for SendPtr<T> {}

impl<T> SendPtr<T> {
    /// The pointer (a method, so that closures capture the wrapper and not its field).
    pub(crate) fn get(self) -> *mut T {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_an_arena_are_zero_aligned_and_apart() {
        let mut arena = Arena::default();
        let mut parts: Vec<Aligned> =
            [0, 1, 64, 65, CHUNK - 64, CHUNK + 1, 7].iter().map(|n| arena.zeroed(*n)).collect();
        drop(arena);
        for (i, part) in parts.iter_mut().enumerate() {
            assert!(part.as_ptr().addr().is_multiple_of(64));
            assert!(part.first().is_none_or(|b| *b == 0) && part.last().is_none_or(|b| *b == 0));
            let len = part.len();
            for at in [0, len.saturating_sub(1)] {
                if let Some(byte) = part.get_mut(at) {
                    *byte = i as u8 + 1;
                }
            }
        }
        for (i, part) in parts.iter().enumerate() {
            assert!(part.first().is_none_or(|b| *b == i as u8 + 1));
            assert!(part.last().is_none_or(|b| *b == i as u8 + 1));
        }
    }
}
