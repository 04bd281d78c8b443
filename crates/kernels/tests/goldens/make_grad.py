#!/usr/bin/env python3
"""Makes grad/<OPERATION>.bin: what PyTorch's autograd says of the backward passes.

Made with torch 2.15.0 (CPU, in float64) and numpy 2.4.6 (pip install torch==2.15.0 numpy==2.4.6);
run it from anywhere, it writes next to itself. A file is any number of tensors: length of the name
(u32), the name, how many numbers (u32), the numbers (f32), all little-endian. What goes in is made
here by `numbers` and by its twin in tests/grad_common/mod.rs, and not stored.
"""

from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

HERE = Path(__file__).parent / "grad"
F64 = torch.float64


def numbers(*shape, seed):
    """Uniform in [-1, 1), each exact in f32."""
    with np.errstate(over="ignore"):
        x = np.arange(np.prod(shape), dtype=np.uint64) + (np.uint64(seed) << np.uint64(32))
        x *= np.uint64(0x9E3779B97F4A7C15)
        x = (x ^ (x >> np.uint64(31))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x >> np.uint64(40)).astype(np.float64) / 2**23 - 1
    return torch.tensor(x.reshape(shape), dtype=F64)


def leaf(*shape, seed):
    return numbers(*shape, seed=seed).requires_grad_()


def write(name, **tensors):
    data = b""
    for key, x in tensors.items():
        x = x.detach().numpy().astype("<f4").reshape(-1)
        data += np.uint32(len(key)).tobytes() + key.encode()
        data += np.uint32(x.size).tobytes() + x.tobytes()
    (HERE / f"{name}.bin").write_bytes(data)


def rms_norm():
    x, weight = leaf(5, 37, seed=1), leaf(37, seed=2)
    out = F.rms_norm(x, (37,), weight, eps=1e-5)
    out.backward(numbers(5, 37, seed=3))
    write("rms_norm", out=out, dx=x.grad, dweight=weight.grad)


def rope():
    # [tokens, heads, head_dim], of which the first 16 are rotated.
    angles = 3 * numbers(4, 8, seed=2)
    cos, sin = angles.cos()[:, None], angles.sin()[:, None]
    result = {}
    for layout in ["halves", "interleaved"]:
        x = leaf(4, 3, 24, seed=1)
        turned, rest = x[..., :16], x[..., 16:]
        if layout == "halves":
            a, b = turned[..., :8], turned[..., 8:]
            out = torch.cat([a * cos - b * sin, b * cos + a * sin], -1)
        else:
            a, b = turned[..., 0::2], turned[..., 1::2]
            out = torch.stack([a * cos - b * sin, b * cos + a * sin], -1).flatten(-2)
        out = torch.cat([out, rest], -1)
        out.backward(numbers(4, 3, 24, seed=3))
        result[layout] = x.grad
    write("rope", **result)


def swiglu():
    gate, up = numbers(77, seed=1) * 8, leaf(77, seed=2)
    gate.requires_grad_()
    out = F.silu(gate) * up
    out.backward(numbers(77, seed=3))
    write("swiglu", out=out, dgate=gate.grad, dup=up.grad)


def attention():
    # Three sequences packed, one of a single token and one longer than a tile of 64.
    lengths, heads, kv_heads, head_dim = [70, 1, 29], 4, 2, 16
    tokens = sum(lengths)
    q, k = leaf(tokens, heads, head_dim, seed=1), leaf(tokens, kv_heads, head_dim, seed=2)
    v = leaf(tokens, kv_heads, head_dim, seed=3)
    outs, lses, at = [], [], 0
    for n in lengths:
        mine = slice(at, at + n)
        at += n
        # [heads, n, head_dim]
        a, b, c = (x[mine].transpose(0, 1) for x in (q, k, v))
        outs.append(
            F.scaled_dot_product_attention(a, b, c, is_causal=True, scale=0.75, enable_gqa=True)
        )
        scores = 0.75 * a @ b.repeat_interleave(heads // kv_heads, 0).mT
        scores = scores.masked_fill(torch.ones(n, n).triu(1).bool(), -torch.inf)
        lses.append(scores.logsumexp(-1))
    out = torch.cat(outs, 1).transpose(0, 1)
    lse = torch.cat(lses, 1).T
    out.backward(numbers(tokens, heads, head_dim, seed=4))
    write("attention", out=out, lse=lse, dq=q.grad, dk=k.grad, dv=v.grad)


def cross_entropy():
    # 7 tokens over a vocabulary of 501; -100 doesn't count; weights of either sign.
    logits = 6 * numbers(7, 501, seed=1)
    logits.requires_grad_()
    targets = torch.tensor([0, 500, -100, 17, 250, 249, -100])
    weights = numbers(7, seed=2)
    losses = F.cross_entropy(logits, targets, reduction="none", ignore_index=-100)
    (losses * weights).sum().backward()
    entropies = torch.distributions.Categorical(logits=logits).entropy() * (targets >= 0)
    write("cross_entropy", losses=losses, entropies=entropies, dlogits=logits.grad)


def adamw():
    # Three steps over two tensors, clipped to a norm of 0.5 (the third is below that).
    x, y = leaf(33, seed=1), leaf(20, seed=2)
    optimizer = torch.optim.AdamW(
        [x, y], lr=0.01, betas=(0.9, 0.95), eps=1e-6, weight_decay=0.1, foreach=False
    )
    norms = []
    for step in range(3):
        size = 0.01 if step == 2 else 1.0
        x.grad, y.grad = size * numbers(33, seed=10 + step), size * numbers(20, seed=20 + step)
        norms.append(torch.nn.utils.clip_grad_norm_([x, y], 0.5))
        optimizer.step()
    state = optimizer.state
    write(
        "adamw", x=x, y=y, norms=torch.stack(norms), bf16=x.detach().float().bfloat16().double(),
        mx=state[x]["exp_avg"], vx=state[x]["exp_avg_sq"],
        my=state[y]["exp_avg"], vy=state[y]["exp_avg_sq"],
    )


HERE.mkdir(exist_ok=True)
for make in [rms_norm, rope, swiglu, attention, cross_entropy, adamw]:
    make()
