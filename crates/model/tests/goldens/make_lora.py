#!/usr/bin/env python3
"""Make the small random adapters beside this file and the logits PEFT gives with them.

    python3 -m venv venv && venv/bin/pip install torch==2.15.0 transformers==5.24.0 peft==0.21.2
    venv/bin/python make_lora.py

Every weight comes from a seeded generator, so running it again with these versions gives the same
files. The adapters are written by PEFT and read back by it from disk, as any reader would.
"""

import json
import shutil
import struct
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM

HERE = Path(__file__).parent
ALL = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]

# Name: base, settings.
ADAPTERS = {
    # Every matrix; ranks and alphas that differ by module, the first pattern that fits counting.
    "qwen2-lora": (
        "qwen2",
        {
            "r": 3,
            "lora_alpha": 6,
            "target_modules": ALL,
            "rank_pattern": {"layers.1.self_attn.v_proj": 1, "v_proj": 2, "down_proj": 4},
            "alpha_pattern": {r"^model\.layers\.0\.mlp\.up_proj": 1.5, "k_proj": 12},
        },
    ),
    # Some matrices of one layer, rank-stabilised; q and k are permuted where the base is a GGUF file.
    "llama-lora": (
        "llama",
        {
            "r": 4,
            "lora_alpha": 5,
            "target_modules": ["q_proj", "k_proj", "v_proj", "down_proj"],
            "layers_to_transform": [1],
            "use_rslora": True,
        },
    ),
}
# Of the base's prompts (`expected.json` there) these, and the positions whose logits are kept.
KEPT = [(0, [0]), (1, [0, 9, 22]), (3, [64, 96])]


def base_of(name: str, dtype: torch.dtype):
    return AutoModelForCausalLM.from_pretrained(HERE / name, dtype=dtype, attn_implementation="eager").eval()


def write_adapter(folder: Path, base: str, settings: dict, rng: torch.Generator):
    shutil.rmtree(folder, ignore_errors=True)
    model = get_peft_model(base_of(base, torch.float32), LoraConfig(task_type="CAUSAL_LM", **settings))
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_" in name:
                # B is not zero, as it would be before training, and the change is one to be noticed.
                rows, cols = weight.shape
                weight.copy_(torch.randn(rows, cols, generator=rng) * (0.5 / cols**0.5))
    model.save_pretrained(folder)
    (folder / "README.md").unlink()
    config = json.loads((folder / "adapter_config.json").read_text())
    config["base_model_name_or_path"] = base  # not where it lay when this was made
    config["target_modules"] = sorted(config["target_modules"])
    (folder / "adapter_config.json").write_text(json.dumps(config, indent=2) + "\n")


@torch.no_grad()
def write_expected(folder: Path, base: str):
    prompts = json.loads((HERE / base / "expected.json").read_text())["prompts"]
    plain = base_of(base, torch.float32)
    model = PeftModel.from_pretrained(base_of(base, torch.float32), folder).eval()
    double = PeftModel.from_pretrained(base_of(base, torch.float64), folder).double().eval()
    rows, noise, change = [], 0.0, []
    for prompt, positions in KEPT:
        ids = torch.tensor([prompts[prompt]["tokens"]])
        logits = model(ids).logits[0, positions]
        noise = max(noise, (double(ids).logits[0, positions] - logits).abs().max().item())
        change.append((plain(ids).logits[0, positions] - logits).abs().max().item())
        rows.append(logits.contiguous())
    flat = torch.cat(rows).flatten().tolist()
    (folder / "expected.bin").write_bytes(struct.pack(f"<{len(flat)}f", *flat))
    kept = [{"prompt": prompt, "positions": positions} for prompt, positions in KEPT]
    (folder / "expected.json").write_text(json.dumps({"base": base, "kept": kept}) + "\n")
    print(f"{folder.name:12} float32 against float64 {noise:.1e}, changed by {min(change):.2f} at least")


def main():
    torch.set_num_threads(1)
    for seed, (name, (base, settings)) in enumerate(ADAPTERS.items()):
        rng = torch.Generator().manual_seed(2000 + seed)
        write_adapter(HERE / name, base, settings, rng)
        write_expected(HERE / name, base)


if __name__ == "__main__":
    main()
