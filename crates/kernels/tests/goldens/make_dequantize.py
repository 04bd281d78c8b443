#!/usr/bin/env python3
"""Makes dequantize/<TYPE>.bin: blocks of random bytes and the weights they stand for.

Made with gguf 0.19.0 and numpy 2.4.6 (pip install gguf==0.19.0 numpy==2.4.6); run it from
anywhere, it writes next to itself. A file is: number of blocks (u32), the blocks, the weights
(f32), all little-endian.

The bytes are random apart from the half-precision scales, which take every corner of their
range in turn: both zeros, both ends, both subnormal ends, and ordinary values of either sign.
"""

from pathlib import Path

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType
from gguf.quants import dequantize

# Type -> byte offsets of the halves in its block.
HALVES = {
    "F32": [], "F16": [], "BF16": [],
    "Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0],
    "Q2_K": [80, 82], "Q3_K": [108], "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208],
    "IQ4_NL": [0], "IQ4_XS": [0],
    "IQ1_S": [0], "IQ1_M": [], "IQ2_XXS": [0], "IQ2_XS": [0], "IQ2_S": [0], "IQ3_XXS": [0], "IQ3_S": [0],
    "TQ1_0": [52], "TQ2_0": [64],
}
CORNERS = np.array([0.0, -0.0, 65504, -65504, 2**-24, -3 * 2**-24, 0.01171875, -1.25], np.float16)
FLOATS = {  # Corner values of the formats without blocks, as bits.
    "F32": np.array([0, 0x80000000, 1, 0x007FFFFF, 0x7F7FFFFF, 0xFF7FFFFF, 0x7F800000, 0xFF800000], np.uint32),
    "F16": np.array([0, 0x8000, 1, 0x03FF, 0x0400, 0x7BFF, 0x7C00, 0xFC00], np.uint16),
    "BF16": np.array([0, 0x8000, 1, 0x007F, 0x0080, 0x7F7F, 0x7F80, 0xFF80], np.uint16),
}

here = Path(__file__).parent / "dequantize"
here.mkdir(exist_ok=True)
rng = np.random.default_rng(20240501)
for name, halves in HALVES.items():
    ty = GGMLQuantizationType[name]
    _, block_bytes = GGML_QUANT_SIZES[ty]
    n = len(CORNERS)
    if name in FLOATS:
        ordinary = rng.normal(size=56).astype(np.float32)
        if name == "F16":
            ordinary = ordinary.astype(np.float16)
        elif name == "BF16":
            ordinary = (ordinary.view(np.uint32) >> 16).astype(np.uint16)
        data = np.concatenate([FLOATS[name].view(np.uint8), ordinary.view(np.uint8)])
        n = data.size // block_bytes
    else:
        blocks = rng.integers(0, 256, size=(n, block_bytes), dtype=np.uint8)
        for k, at in enumerate(halves):
            # The second half runs through the corners in another order than the first.
            blocks[:, at : at + 2] = np.roll(CORNERS, 3 * k).view(np.uint8).reshape(n, 2)
        if name == "IQ1_M":  # Its half is in pieces: the upper four bits of four words at byte 48.
            words = blocks[:, 48:].view(np.uint16)
            for i in range(4):
                words[:, i] = words[:, i] & 0x0FFF | CORNERS.view(np.uint16) << (12 - 4 * i) & 0xF000
            blocks[:, 48:] = words.view(np.uint8)
        data = blocks.reshape(-1)
    weights = dequantize(data, ty).astype("<f4")
    assert weights.size == n * GGML_QUANT_SIZES[ty][0]
    (here / f"{name}.bin").write_bytes(np.uint32(n).tobytes() + data.tobytes() + weights.tobytes())
