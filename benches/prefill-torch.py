"""Prompts a second: `ponder bench` and PyTorch + transformers, in turn, on a model of one shape.

    python benches/prefill-torch.py --ponder target/release/ponder -p 512 --rounds 3
    python benches/prefill-torch.py --ponder target/release/ponder --dtype float32     # without bf16 arithmetic

Needs torch and transformers from PyPI. PyTorch's model has the shape of Qwen2.5-0.5B and random weights: what a
prompt takes doesn't depend on them. With --gemm, the product 512 x 896 x 4864 of both as well.
"""

import argparse
import json
import statistics
import subprocess
import time

import torch
import transformers

import random_model

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--ponder", required=True, help="the program")
parser.add_argument("-m", "--model", default="qwen2.5-coder-0.5b", help="ponder's model, of the same shape")
parser.add_argument("-p", "--prompt", type=int, default=512)
parser.add_argument("--rounds", type=int, default=3)
parser.add_argument("--threads", type=int, default=2)
parser.add_argument("--dtype", choices=["bfloat16", "float32"], default="bfloat16")
parser.add_argument("--gemm", action="store_true")
args = parser.parse_args()

torch.set_num_threads(args.threads)
dtype = getattr(torch, args.dtype)
model = random_model.qwen2_half_billion(dtype)
model.eval()


def torchs() -> float:
    tokens = torch.randint(0, model.config.vocab_size, (1, args.prompt))
    with torch.inference_mode():
        start = time.perf_counter()
        # As an engine does it: logits of the last position alone.
        model(input_ids=tokens, use_cache=True, logits_to_keep=1)
        return args.prompt / (time.perf_counter() - start)


def ponders() -> float:
    command = [args.ponder, "bench", "-m", args.model, "-p", str(args.prompt), "-n", "0", "-r", "1",
               "-t", str(args.threads), "-o", "json"]
    rows = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return next(row["avg_ts"] for row in rows if row["test"] == "prefill")


print(f"torch {torch.__version__}, transformers {transformers.__version__}, {args.dtype}, {args.threads} threads")
torchs()
ours, theirs = [], []
for round in range(args.rounds):
    for run, rates in [(ponders, ours), (torchs, theirs)][:: 1 if round % 2 else -1]:
        rates.append(run())
shown = lambda rates: f"{statistics.median(rates):.1f} ({min(rates):.1f}-{max(rates):.1f})"
print(f"prompt of {args.prompt}, tokens/s: ponder {shown(ours)}, PyTorch {shown(theirs)}, "
      f"ratio of medians {statistics.median(ours) / statistics.median(theirs):.2f}")
if args.gemm:
    a, b = torch.randn(512, 896, dtype=dtype), torch.randn(4864, 896, dtype=dtype)
    times = []
    for _ in range(30):
        start = time.perf_counter()
        a @ b.T
        times.append(time.perf_counter() - start)
    theirs = 2 * 512 * 896 * 4864 / statistics.median(times) / 1e9
    rows = subprocess.run([args.ponder, "bench", "--gemm", "512x896x4864", "--no-roofline", "-o", "json"],
                          check=True, capture_output=True, text=True).stdout
    ours = next(row["gflops"] for row in json.loads(rows) if row["form"] == "forward")
    print(f"product 512 x 896 x 4864, GFLOP/s: ponder {ours:.0f}, PyTorch {theirs:.0f}, ratio {ours / theirs:.2f}")
