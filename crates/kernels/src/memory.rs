//! Memory aligned to cache lines.

use std::ops::{Deref, DerefMut};

/// A cache line.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([u8; 64]);

/// Bytes that start on a cache line. Fresh ones are zero, and pages never written take no memory.
pub struct Aligned {
    lines: Vec<Line>,
    len: usize,
}

impl Aligned {
    /// `len` zero bytes.
    pub fn zeroed(len: usize) -> Aligned {
        let n = len.div_ceil(64);
        let layout = std::alloc::Layout::array::<Line>(n).expect("a length that fits in memory");
        let lines = if n == 0 {
            Vec::new()
        } else {
            // SAFETY: the layout is not empty; zeroed bytes are valid lines; the vector gets the
            // very allocation it would have made itself.
            unsafe {
                let p = std::alloc::alloc_zeroed(layout);
                if p.is_null() {
                    std::alloc::handle_alloc_error(layout);
                }
                Vec::from_raw_parts(p.cast::<Line>(), n, n)
            }
        };
        Aligned { lines, len }
    }
}

impl Deref for Aligned {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: `len` bytes lie within the lines, and bytes have no invalid values.
        unsafe { std::slice::from_raw_parts(self.lines.as_ptr().cast(), self.len) }
    }
}

impl DerefMut for Aligned {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as for `deref`.
        unsafe { std::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast(), self.len) }
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
