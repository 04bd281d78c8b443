#!/usr/bin/env python3
"""Makes quantize.txt: what rows of reproducible weights quantise to.

    make_quantize.py path/to/llama.cpp

Made with gguf 0.19.0, numpy 2.4.6, gcc 12.2 and the llama.cpp sources inside
llama-cpp-python 0.3.36 (pip download --no-binary :all: llama-cpp-python==0.3.36). The types the
gguf package quantises come from it; the others from ggml-quants.c, built here without fused
multiply-adds (a build with them differs in rare last bits).

A line is: type, kind of row, FNV-1a hash of all bytes of the row, its first block in hex; and a
second time with `+` behind the type, where the row was quantised with the importances of
`importance()`. The rows are those of `row()` below; tests/quantize.rs has both as well.
"""

import ctypes
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType
from gguf.quants import quantize

WEIGHTS = 64 * 256
KINDS = 10
BY_GGML = {
    "Q2_K": "quantize_row_q2_K_ref", "Q3_K": "quantize_row_q3_K_ref",
    "Q4_K": "quantize_row_q4_K_ref", "Q5_K": "quantize_row_q5_K_ref",
    "Q6_K": "quantize_row_q6_K_ref", "IQ4_NL": "quantize_iq4_nl", "IQ4_XS": "quantize_iq4_xs",
}
BY_GGUF = ["F32", "F16", "BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0"]


def row(kind: int) -> np.ndarray:
    """Weights in f32 arithmetic only, so that any language can make the same ones."""
    with np.errstate(over="ignore"):
        i = np.arange(WEIGHTS, dtype=np.uint64)
        z = (i + np.uint64(1 + WEIGHTS * kind)) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    parts = sum((z >> np.uint64(16 * k)) & np.uint64(0xFFFF) for k in range(4))
    # A sum of four uniforms: bell-shaped, -2 to 2, exact in f32.
    x = (parts.astype(np.int64) - 131070).astype(np.float32) / np.float32(65536)
    f = np.float32
    match kind:
        case 0: return x * f(0.02)
        case 1: return x * x * x
        case 2: return x * f(0.1) + f(1)
        case 3: return x * f(0.01) - f(0.0625)
        case 4: return x / (np.uint64(1) << (i // np.uint64(32) % np.uint64(12))).astype(np.float32)
        case 5: return np.where(i // np.uint64(16) % np.uint64(3) == 0, f(0), x * f(0.5))
        case 6: return np.repeat(x[::64], 64) * f(0.25)
        case 7: return x * f(1e-6)
        case 8: return x * f(10000)
        case 9: return np.where(i % np.uint64(97) == 0, x * f(4), x * f(0.001))
    raise ValueError(kind)


def importance() -> np.ndarray:
    """Of each column; a few matter much more than others, some not at all."""
    x = row(1)
    i = np.arange(WEIGHTS, dtype=np.uint64)
    return np.where(i % np.uint64(61) == 0, np.float32(0), x * x + np.float32(0.001))


def build(llama_cpp: Path) -> ctypes.CDLL:
    ggml = llama_cpp / "ggml"
    # The size of a row only tells where the next one begins, and there is but one.
    stubs = "unsigned long ggml_row_size(void) { return 0; }\n" + "".join(
        f"void {f}(void) {{ __builtin_trap(); }}\n"
        for f in ["ggml_abort", "ggml_type_name", "ggml_type_size"])
    with tempfile.TemporaryDirectory() as tmp:
        (Path(tmp) / "stubs.c").write_text(stubs)
        library = Path(tmp) / "libggmlquants.so"
        includes = [f"-I{ggml / d}" for d in ["include", "src", "src/ggml-cpu"]]
        subprocess.run(["gcc", "-O2", "-ffp-contract=off", "-DNDEBUG", "-shared", "-fPIC", *includes,
                        "-o", library, ggml / "src/ggml-quants.c", Path(tmp) / "stubs.c", "-lm"],
                       check=True)
        return ctypes.CDLL(str(library))


def quantize_by_ggml(library: ctypes.CDLL, name: str, x: np.ndarray) -> np.ndarray:
    block_len, block_bytes = GGML_QUANT_SIZES[GGMLQuantizationType[name]]
    x = np.ascontiguousarray(x, np.float32)
    out = np.zeros(x.size // block_len * block_bytes, np.uint8)
    src, dst = x.ctypes.data_as(ctypes.c_void_p), out.ctypes.data_as(ctypes.c_void_p)
    function = getattr(library, BY_GGML[name])
    if name.startswith("IQ4"):
        function(src, dst, ctypes.c_int64(1), ctypes.c_int64(x.size), None)
    else:
        function(src, dst, ctypes.c_int64(x.size))
    return out


def quantize_weighted(library: ctypes.CDLL, name: str, x: np.ndarray) -> np.ndarray:
    block_len, block_bytes = GGML_QUANT_SIZES[GGMLQuantizationType[name]]
    x, w = (np.ascontiguousarray(v, np.float32) for v in (x, importance()))
    out = np.zeros(x.size // block_len * block_bytes, np.uint8)
    pointers = [v.ctypes.data_as(ctypes.c_void_p) for v in (x, out, w)]
    function = getattr(library, f"quantize_{name.lower().replace('_k', '_K')}")
    function(pointers[0], pointers[1], ctypes.c_int64(1), ctypes.c_int64(x.size), pointers[2])
    return out


def fnv1a(data: bytes) -> int:
    h = 0xCBF29CE484222325
    for byte in data:
        h = (h ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return h


if __name__ == "__main__":
    library = build(Path(sys.argv[1]))
    lines = []
    for kind in range(KINDS):
        x = row(kind)
        assert x.dtype == np.float32
        for name in BY_GGUF + list(BY_GGML):
            ty = GGMLQuantizationType[name]
            data = quantize_by_ggml(library, name, x) if name in BY_GGML else quantize(x, ty)
            data = data.tobytes()
            first = data[: GGML_QUANT_SIZES[ty][1]]
            lines.append(f"{name} {kind} {fnv1a(data):016x} {first.hex()}\n")
            if GGML_QUANT_SIZES[ty][0] == 1 or name == "Q8_0":
                continue  # Importances change nothing.
            data = quantize_weighted(library, name, x).tobytes()
            first = data[: GGML_QUANT_SIZES[ty][1]]
            lines.append(f"{name}+ {kind} {fnv1a(data):016x} {first.hex()}\n")
    (Path(__file__).parent / "quantize.txt").write_text("".join(lines))
