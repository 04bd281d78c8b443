//! Rows of a file, interleaved into panels.

use super::format::{BLOCK, Format, PANEL};
use super::unpack::RowBlocks;

/// Packs up to sixteen rows into a panel.
///
/// `rows` are the rows' bytes in the file's format, `blocks` the blocks of 32 in a row, `panel` the
/// zeroed memory. Rows that are missing (at a matrix's end) stay zero.
pub(crate) fn pack_panel<F: Format>(rows: &[&[u8]], blocks: usize, panel: &mut [u8]) {
    let chunk_bytes = F::CHUNK * BLOCK / F::TYPE.block_len() * F::TYPE.block_bytes();
    let words = F::CODES.bytes() / 64;
    let chunks = panel.chunks_exact_mut(F::SEGMENT_BYTES).flat_map(|segment| {
        let (codes, scales) = segment.split_at_mut(F::SEGMENT_CODES);
        let codes = codes.chunks_exact_mut(F::CHUNK * F::CODES.bytes());
        codes.zip(scales.chunks_exact_mut(F::SCALE_BYTES))
    });
    let mut row = RowBlocks::EMPTY;
    for (c, (codes, scales)) in chunks.take(blocks / F::CHUNK).enumerate() {
        for (r, bytes) in rows.iter().enumerate() {
            F::unpack(&bytes[c * chunk_bytes..(c + 1) * chunk_bytes], &mut row);
            for (b, block) in codes.chunks_exact_mut(F::CODES.bytes()).enumerate() {
                for v in 0..words {
                    block[64 * v + 4 * r..64 * v + 4 * r + 4]
                        .copy_from_slice(&row.codes[b][v].to_le_bytes());
                }
            }
            scales[2 * r..2 * r + 2].copy_from_slice(&row.d.to_le_bytes());
            let mut at = 2 * PANEL;
            if F::MINIMUM {
                scales[at + 2 * r..at + 2 * r + 2].copy_from_slice(&row.m.to_le_bytes());
                at += 2 * PANEL;
            }
            if F::NESTED {
                for i in 0..8 * F::PARTS {
                    scales[at + PANEL * i + r] = row.scales[i];
                }
                at += 8 * F::NESTED_BYTES;
                if F::MINIMUM {
                    for i in 0..8 * F::PARTS {
                        scales[at + PANEL * i + r] = row.minima[i];
                    }
                }
            }
        }
    }
}
