#!/usr/bin/env python3
"""Makes src/blocks/grids.bin: the codebooks of the IQ1, IQ2 and IQ3 formats.

Made with gguf 0.19.0 and numpy 2.4.6 (pip install gguf==0.19.0 numpy==2.4.6); run it from
anywhere. With --check it writes nothing, and fails where the file is not what it would write.

An entry is a vector of eight weights (four in IQ3), each a place among the few magnitudes its
format has: a digit of two bits (three in IQ3), the first weight's lowest. Entries are 16-bit
little-endian numbers, codebooks follow one another in the order below.
"""

import sys
from pathlib import Path

import numpy as np
from gguf import quants

# Class -> what its digits stand for.
CODEBOOKS = {
    "IQ2_XXS": [8, 25, 43], "IQ2_XS": [8, 25, 43], "IQ2_S": [8, 25, 43],
    "IQ3_XXS": [4, 12, 20, 28, 36, 44, 52, 62], "IQ3_S": [1, 3, 5, 7, 9, 11, 13, 15],
    "IQ1_S": [-1, 0, 1],
}

entries = []
for name, values in CODEBOOKS.items():
    codebook = getattr(quants, name)
    codebook.init_grid()
    grid = codebook.grid.reshape(codebook.grid_shape)
    digits = np.searchsorted(values, grid)
    assert (np.array(values)[digits] == grid).all(), f"{name} has other values"
    bits = (len(values) - 1).bit_length()
    entries.append((digits << (bits * np.arange(grid.shape[1]))).sum(axis=1).astype("<u2"))
data = np.concatenate(entries).tobytes()

path = Path(__file__).parents[2] / "src/blocks/grids.bin"
if sys.argv[1:] == ["--check"]:
    sys.exit(0 if path.read_bytes() == data else f"{path} is not what this makes")
path.write_bytes(data)
