//! The codebooks of the IQ1, IQ2 and IQ3 formats: vectors of eight or four weights, as places among
//! the few magnitudes a format has. Which vectors there are is part of the formats.
//!
//! An entry is a number of two-bit digits (three-bit in IQ3), the first weight's lowest. The file is
//! made by `tests/goldens/make_grids.py`.

static FILE: &[u8; 9216] = include_bytes!("grids.bin");

/// `IQ2_XXS`: eight of [`super::IQ2_MAGNITUDES`].
pub(crate) static IQ2_XXS: [u16; 256] = entries(0);
/// `IQ2_XS`: eight of [`super::IQ2_MAGNITUDES`].
pub(crate) static IQ2_XS: [u16; 512] = entries(256);
/// `IQ2_S`: eight of [`super::IQ2_MAGNITUDES`].
pub(crate) static IQ2_S: [u16; 1024] = entries(768);
/// `IQ3_XXS`: four of [`super::IQ3_XXS_MAGNITUDES`].
pub(crate) static IQ3_XXS: [u16; 256] = entries(1792);
/// `IQ3_S`: four odd numbers, `2 * digit + 1`.
pub(crate) static IQ3_S: [u16; 512] = entries(2048);
/// `IQ1_S` and `IQ1_M`: eight of -1, 0, 1.
pub(crate) static IQ1: [u16; 2048] = entries(2560);

/// `N` entries from the `first` on.
const fn entries<const N: usize>(first: usize) -> [u16; N] {
    let mut all = [0; N];
    let mut i = 0;
    while i < N {
        let at = 2 * (first + i);
        all[i] = u16::from_le_bytes([FILE[at], FILE[at + 1]]);
        i += 1;
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    /// No vector twice, and no digit that stands for nothing.
    #[test]
    fn entries_are_distinct_vectors_of_known_digits() {
        for ternary in [&IQ2_XXS[..], &IQ2_XS, &IQ2_S, &IQ1] {
            assert!(ternary.iter().all(|entry| entry & entry >> 1 & 0x5555 == 0));
        }
        for octal in [&IQ3_XXS[..], &IQ3_S] {
            assert!(octal.iter().all(|entry| *entry < 1 << 12));
        }
        for all in [&IQ2_XXS[..], &IQ2_XS, &IQ2_S, &IQ1, &IQ3_XXS, &IQ3_S] {
            let mut sorted = all.to_vec();
            sorted.sort_unstable();
            sorted.dedup();
            assert_eq!(sorted.len(), all.len());
        }
    }
}
