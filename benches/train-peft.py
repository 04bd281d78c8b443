"""Times one step of LoRA in PyTorch + PEFT, for comparing with `ponder`'s:

    cargo run --release -p ponder-train --example lora_step -- MODEL.gguf 4 256 16 4 2 4000
    python benches/train-peft.py --texts 4 --tokens 256 --rank 16 --steps 4 --threads 2

Needs torch, transformers and peft from PyPI. The model has the shape of Qwen2.5-0.5B and random
weights, in bf16 unless asked otherwise: what a step takes doesn't depend on the weights. The work is the same: rank-16 pairs on
all seven matrices of each layer, every token counts, AdamW with gradients clipped.
"""

import argparse
import resource
import time

import peft
import torch
import transformers

import random_model

parser = argparse.ArgumentParser()
for name, default in [("texts", 4), ("tokens", 256), ("rank", 16), ("steps", 4), ("threads", 2)]:
    parser.add_argument(f"--{name}", type=int, default=default)
parser.add_argument("--dtype", choices=["bfloat16", "float32"], default="bfloat16",
                    help="float32 is the faster one where the processor can't multiply bf16")
parser.add_argument("--checkpointing", action="store_true", help="work activations out again")
args = parser.parse_args()

torch.set_num_threads(args.threads)
model = random_model.qwen2_half_billion(getattr(torch, args.dtype))
targets = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
model = peft.get_peft_model(
    model, peft.LoraConfig(r=args.rank, lora_alpha=2 * args.rank, target_modules=targets)
)
if args.checkpointing:
    model.gradient_checkpointing_enable()
    model.enable_input_require_grads()
model.train()
learned = [p for p in model.parameters() if p.requires_grad]
optimizer = torch.optim.AdamW(learned, lr=1e-4)
print(f"torch {torch.__version__}, transformers {transformers.__version__}, peft {peft.__version__}, "
      f"{sum(p.numel() for p in learned)} parameters, {args.threads} threads")
for _ in range(args.steps):
    tokens = torch.randint(0, model.config.vocab_size, (args.texts, args.tokens + 1))
    start = time.perf_counter()
    loss = model(input_ids=tokens, labels=tokens).loss
    loss.backward()
    torch.nn.utils.clip_grad_norm_(learned, 1.0)
    optimizer.step()
    optimizer.zero_grad()
    seconds = time.perf_counter() - start
    print(f"step: {seconds:.2f} s, {args.texts * args.tokens / seconds:.1f} tokens/s, "
          f"loss {loss.item():.3f}")
print(f"peak memory: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024} MiB")
