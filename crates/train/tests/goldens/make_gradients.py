#!/usr/bin/env python3
"""Make the gradients beside this file, with PyTorch's autograd through `transformers` and PEFT.

    python3 -m venv venv && venv/bin/pip install torch==2.15.0 transformers==5.24.0 peft==0.21.2
    venv/bin/python make_gradients.py

The models are the tiny random ones of crates/model/tests/goldens. Everything is computed in float64 and
written as f32; everything random comes from seeded generators, so running it again with these versions
gives the same files. The loss is `sum(weight * -log p(target))` over three texts, each run by itself; a
third of the weights is 0, and some are negative.
"""

from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM

HERE = Path(__file__).parent
MODELS = HERE.parents[2] / "model/tests/goldens"
ALL = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
VOCAB = 291
LENGTHS = [23, 2, 71]

FULL = ["qwen2", "llama", "qwen3"]
LORA = {
    "qwen2-lora": ("qwen2", {"r": 4, "lora_alpha": 6, "target_modules": ALL}),
    "llama-lora": ("llama", {"r": 3, "lora_alpha": 5, "use_rslora": True, "target_modules": ALL}),
    "qwen3-lora": ("qwen3", {"r": 2, "lora_alpha": 4, "target_modules": ALL}),
}


def texts(rng):
    for length in LENGTHS:
        tokens = torch.randint(0, VOCAB, (length,), generator=rng)
        weights = torch.randn(length, generator=rng)
        weights[torch.rand(length, generator=rng) < 1 / 3] = 0
        weights[-1] = 0.75  # at least one counts
        yield tokens, weights.float()


def run(model, batch):
    """The loss and, for each text, what the model makes of its tokens."""
    loss, made = 0, []
    for tokens, weights in batch:
        log_p = model(tokens[None]).logits[0, :-1].log_softmax(-1)
        chosen = log_p.gather(1, tokens[1:, None])[:, 0]
        loss = loss - (weights[1:].to(chosen.dtype) * chosen).sum()
        made.append((chosen.detach(), -(log_p.exp() * log_p).sum(-1).detach()))
    return loss, made


def base_of(name, dtype):
    path = MODELS / name
    return AutoModelForCausalLM.from_pretrained(path, dtype=dtype, attn_implementation="eager").eval()


def gradients(model, batch):
    loss, made = run(model, batch)
    loss.backward()
    return made, {n: p.grad.detach() for n, p in model.named_parameters() if p.requires_grad}


def write(name, batch, made, grads, inputs):
    out = {}
    for i, ((tokens, weights), (log_p, entropy)) in enumerate(zip(batch, made, strict=True)):
        out |= {f"tokens.{i}": tokens, f"weights.{i}": weights}
        out |= {f"log_probs.{i}": log_p, f"entropies.{i}": entropy}
    out |= {f"parameter.{n}": p for n, p in inputs.items()}
    out |= {f"gradient.{n}": g for n, g in grads.items()}
    save_file({n: t.float().contiguous() for n, t in out.items()}, HERE / f"{name}.safetensors")


def difference(a, b):
    return max(((a[n].double() - b[n]).norm() / b[n].norm()).item() for n in b)


def main():
    torch.set_num_threads(1)
    for seed, name in enumerate(FULL):
        batch = list(texts(torch.Generator().manual_seed(3000 + seed)))
        made, grads = gradients(base_of(name, torch.float64), batch)
        _, single = gradients(base_of(name, torch.float32), batch)
        write(name, batch, made, grads, {})
        print(f"{name:12} {len(grads)} gradients, float32 against float64 {difference(single, grads):.1e}")
    for seed, (name, (base, settings)) in enumerate(LORA.items()):
        rng = torch.Generator().manual_seed(4000 + seed)
        batch = list(texts(rng))
        model = get_peft_model(base_of(base, torch.float64), LoraConfig(task_type="CAUSAL_LM", **settings))
        model = model.double().eval()
        pairs = {n: p for n, p in model.named_parameters() if p.requires_grad}
        with torch.no_grad():
            for p in pairs.values():
                p.copy_((torch.randn(p.shape, generator=rng) * (0.5 / p.shape[1] ** 0.5)).float())
        made, grads = gradients(model, batch)
        names = {n: n.replace(".default", "").removeprefix("base_model.model.") for n in pairs}
        write(name, batch, made, {names[n]: g for n, g in grads.items()}, {names[n]: p.detach() for n, p in pairs.items()})
        print(f"{name:12} {len(grads)} gradients")


if __name__ == "__main__":
    main()
