#!/usr/bin/env python3
"""Logits of a GGUF file's weights computed in float32 by `transformers`: what rounding is judged against.

    python3 -m venv venv && venv/bin/pip install torch transformers gguf
    venv/bin/python exact_logits.py MODEL.gguf DUMP CTX THREADS OUT

Both ponder and llama.cpp round activations to 8 bits where they meet quantised weights; this rounds nothing.
The token ids are taken from DUMP (as `ponder logits` writes it), OUT gets the same format, and every chunk
of CTX tokens is evaluated from an empty cache. `benches/accuracy --exact-python` runs it.
"""

import sys
from pathlib import Path

import numpy as np
import torch
from transformers import AutoModelForCausalLM


def main():
    model, dump, ctx, threads, out = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), sys.argv[5]
    torch.set_num_threads(threads)
    header = np.fromfile(dump, "<u4", 5)
    vocab, positions = int(header[3]), int(header[4])
    row = np.dtype([("token", "<u4"), ("logits", "<f4", (vocab,))])
    tokens = np.array(np.memmap(dump, row, "r", offset=20, shape=(positions,))["token"])

    network = AutoModelForCausalLM.from_pretrained(
        model.parent, gguf_file=model.name, dtype=torch.float32, attn_implementation="eager"
    ).eval()
    with torch.no_grad(), open(out, "wb") as file:
        file.write(header.tobytes())
        for start in range(0, positions, ctx):
            chunk = tokens[start : start + ctx]
            rows = np.empty(len(chunk), row)
            rows["token"] = chunk
            rows["logits"] = network(torch.from_numpy(chunk.astype(np.int64))[None]).logits[0].numpy()
            file.write(rows.tobytes())


if __name__ == "__main__":
    main()
