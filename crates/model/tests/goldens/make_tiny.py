#!/usr/bin/env python3
"""Make the tiny random checkpoints beside this file and the logits `transformers` gives for them.

    python3 -m venv venv && venv/bin/pip install torch==2.15.0 transformers==5.23.0 safetensors==0.8.0
    venv/bin/python make_tiny.py [NAME ...]

Every weight comes from a seeded generator, so running it again with these versions gives the same
files. The configurations are written by hand in the layout of the published models (`rope_theta` and
`rope_scaling`); `qwen3` has the newer one (`rope_parameters`). They are then read back by `transformers`
from disk, as any reader would, so that what is expected here is what the files say.
"""

import json
import shutil
import struct
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModelForCausalLM

HERE = Path(__file__).parent
VOCAB = 291  # odd on purpose: no vector width divides it

COMMON = {
    "hidden_act": "silu",
    "hidden_size": 64,
    "initializer_range": 0.02,
    "num_attention_heads": 4,
    "num_hidden_layers": 2,
    "num_key_value_heads": 2,
    "use_cache": True,
    "vocab_size": VOCAB,
    "bos_token_id": 288,
    "eos_token_id": 290,
}

QWEN2 = COMMON | {
    "architectures": ["Qwen2ForCausalLM"],
    "model_type": "qwen2",
    "attention_dropout": 0.0,
    "max_window_layers": 2,
    "sliding_window": None,
    "use_sliding_window": False,
    "torch_dtype": "float32",
}

LLAMA = COMMON | {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "attention_bias": False,
    "mlp_bias": False,
    "pretraining_tp": 1,
    "torch_dtype": "float32",
}

QWEN3 = COMMON | {
    "architectures": ["Qwen3ForCausalLM"],
    "model_type": "qwen3",
    "attention_bias": False,
    "attention_dropout": 0.0,
    "sliding_window": None,
    "use_sliding_window": False,
    "dtype": "float32",
}

QWEN3_MOE = QWEN3 | {
    "architectures": ["Qwen3MoeForCausalLM"],
    "model_type": "qwen3_moe",
    "decoder_sparse_step": 1,
    "mlp_only_layers": [],
    "output_router_logits": False,
    "router_aux_loss_coef": 0.001,
}

HUNYUAN_DENSE = COMMON | {
    "architectures": ["HunYuanDenseV1ForCausalLM"],
    "model_type": "hunyuan_v1_dense",
    "attention_bias": False,
    "attention_dropout": 0.0,
    "mlp_bias": False,
    "pad_token_id": 289,
    "use_qk_norm": True,
    "dtype": "float32",
}

PHI3 = COMMON | {
    "architectures": ["Phi3ForCausalLM"],
    "model_type": "phi3",
    "attention_bias": False,
    "attention_dropout": 0.0,
    "embd_pdrop": 0.0,
    "resid_pdrop": 0.0,
    "pad_token_id": 289,
    "torch_dtype": "float32",
}

# `num_key_value_heads` is in the published files, and of no use.
DEEPSEEK_V2 = COMMON | {
    "architectures": ["DeepseekV2ForCausalLM"],
    "model_type": "deepseek_v2",
    "attention_bias": False,
    "attention_dropout": 0.0,
    "first_k_dense_replace": 1,
    "intermediate_size": 96,
    "kv_lora_rank": 64,
    "max_position_embeddings": 256,
    "moe_intermediate_size": 32,
    "moe_layer_freq": 1,
    "norm_topk_prob": False,
    "num_key_value_heads": 4,
    "qk_nope_head_dim": 32,
    "qk_rope_head_dim": 32,
    "rms_norm_eps": 1e-3,
    "rope_theta": 10000.0,
    "scoring_func": "softmax",
    "tie_word_embeddings": False,
    "v_head_dim": 48,
    "torch_dtype": "float32",
}

HUNYUAN_MOE = HUNYUAN_DENSE | {
    "architectures": ["HunYuanMoEV1ForCausalLM"],
    "model_type": "hunyuan_v1_moe",
}

GEMMA3 = {key: value for key, value in COMMON.items() if key != "hidden_act"} | {
    "architectures": ["Gemma3ForCausalLM"],
    "model_type": "gemma3_text",
    "attention_bias": False,
    "attention_dropout": 0.0,
    "attn_logit_softcapping": None,
    "final_logit_softcapping": None,
    "hidden_activation": "gelu_pytorch_tanh",
    "hidden_size": 48,
    "intermediate_size": 64,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "pad_token_id": 289,
    "rms_norm_eps": 1e-3,
    "tie_word_embeddings": True,
}

# Epsilons are large enough that forgetting or swapping one moves the logits by more than the tolerance.
MODELS = {
    "qwen2": QWEN2
    | {
        "intermediate_size": 96,
        "max_position_embeddings": 256,
        "rms_norm_eps": 1e-3,
        "rope_theta": 1000000.0,
        "tie_word_embeddings": True,
    },
    "qwen2-yarn": QWEN2
    | {
        "intermediate_size": 96,
        "max_position_embeddings": 64,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        # The published factor is 4 too. With so short an original context the default beta_fast of 32
        # would be clamped away, so one is given that is not.
        "rope_scaling": {
            "beta_fast": 2.0,
            "factor": 4.0,
            "original_max_position_embeddings": 64,
            "type": "yarn",
        },
        "tie_word_embeddings": False,
    },
    "llama": LLAMA
    | {
        "intermediate_size": 112,
        "max_position_embeddings": 256,
        "rms_norm_eps": 2e-3,
        "rope_theta": 10000.0,
        "tie_word_embeddings": False,
    },
    "llama3-rope": LLAMA
    | {
        "intermediate_size": 96,
        "max_position_embeddings": 512,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "rope_scaling": {
            "factor": 8.0,
            "high_freq_factor": 4.0,
            "low_freq_factor": 1.0,
            "original_max_position_embeddings": 64,
            "rope_type": "llama3",
        },
        "tie_word_embeddings": True,
    },
    # head_dim is twice hidden_size / num_attention_heads.
    "qwen3": QWEN3
    | {
        "head_dim": 32,
        "intermediate_size": 96,
        "max_position_embeddings": 256,
        "rms_norm_eps": 1e-3,
        "rope_parameters": {"rope_theta": 1000000.0, "rope_type": "default"},
        "tie_word_embeddings": False,
    },
    # Stored in bfloat16; what is expected is those very values computed with in float32.
    "qwen2-bf16": QWEN2
    | {
        "intermediate_size": 96,
        "max_position_embeddings": 256,
        "num_hidden_layers": 3,
        "rms_norm_eps": 1e-6,
        "rope_theta": 1000000.0,
        "tie_word_embeddings": True,
        "torch_dtype": "bfloat16",
    },
    # Two shards and an index; the cut goes through the middle of layer 1.
    "llama-sharded": LLAMA
    | {
        "intermediate_size": 96,
        "max_position_embeddings": 256,
        "rms_norm_eps": 1e-5,
        "rope_theta": 500000.0,
        "tie_word_embeddings": True,
    },
    # Two of six experts; the width of a layer that has none is in the file, and of no use.
    "qwen3-moe": QWEN3_MOE
    | {
        "head_dim": 16,
        "intermediate_size": 96,
        "max_position_embeddings": 256,
        "moe_intermediate_size": 32,
        "norm_topk_prob": True,
        "num_experts": 6,
        "num_experts_per_tok": 2,
        "rms_norm_eps": 1e-3,
        "rope_theta": 1000000.0,
        "rope_scaling": None,
        "tie_word_embeddings": False,
    },
    # The published alpha; the base becomes 10 million.
    "hunyuan-dense": HUNYUAN_DENSE
    | {
        "head_dim": 32,
        "intermediate_size": 96,
        "max_position_embeddings": 256,
        "rms_norm_eps": 1e-2,
        "rope_theta": 10000.0,
        "rope_scaling": {
            "alpha": 1000.0,
            "beta_fast": 32,
            "beta_slow": 1,
            "factor": 1.0,
            "mscale": 1.0,
            "mscale_all_dim": 1.0,
            "type": "dynamic",
        },
        "tie_word_embeddings": True,
    },
    # As Phi-3-mini: every element turned, and a window, which is shorter than a page of the cache.
    "phi3": PHI3
    | {
        "intermediate_size": 96,
        "max_position_embeddings": 256,
        "original_max_position_embeddings": 256,
        "rms_norm_eps": 1e-3,
        "rope_theta": 10000.0,
        "rope_scaling": None,
        "sliding_window": 20,
        "tie_word_embeddings": False,
    },
    # As Phi-4-mini: three quarters of a head turned, divisors for texts longer than 64 and others for the rest.
    # The window is longer than a page.
    "phi3-longrope": PHI3
    | {
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "intermediate_size": 96,
        "max_position_embeddings": 512,
        "original_max_position_embeddings": 64,
        "partial_rotary_factor": 0.75,
        "rms_norm_eps": 1e-3,
        "rope_theta": 10000.0,
        "rope_scaling": {
            "long_factor": [1.0, 1.12, 1.3, 1.7, 2.2, 2.9, 3.5, 4.4, 5.1, 6.3, 7.2, 7.9],
            "short_factor": [1.0, 1.02, 1.04, 1.05, 1.08, 1.1, 1.15, 1.2, 1.3, 1.45, 1.6, 1.8],
            "type": "longrope",
        },
        "sliding_window": 90,
        "tie_word_embeddings": True,
    },
    # As DeepSeek-V2: two matrices for queries, experts of two of four groups, their weights scaled; no layer is dense.
    "deepseek-v2": DEEPSEEK_V2
    | {
        "first_k_dense_replace": 0,
        "n_group": 4,
        "n_routed_experts": 8,
        "n_shared_experts": 2,
        "num_experts_per_tok": 3,
        "q_lora_rank": 96,
        "rope_scaling": None,
        "routed_scaling_factor": 1.7,
        "topk_group": 2,
        "topk_method": "group_limited_greedy",
    },
    # As DeepSeek-V2-Lite: one matrix for queries, YaRN with its own part of the attention factor. The original context
    # is so short that the published beta_fast would be clamped away.
    "deepseek-v2-lite": DEEPSEEK_V2
    | {
        "kv_lora_rank": 32,
        "max_position_embeddings": 512,
        "n_group": 1,
        "n_routed_experts": 6,
        "n_shared_experts": 1,
        "num_experts_per_tok": 2,
        "q_lora_rank": None,
        "qk_rope_head_dim": 16,
        "rope_scaling": {
            "beta_fast": 2,
            "beta_slow": 1,
            "factor": 8,
            "mscale": 0.707,
            "mscale_all_dim": 0.707,
            "original_max_position_embeddings": 64,
            "type": "yarn",
        },
        "routed_scaling_factor": 1.0,
        "topk_group": 1,
        "topk_method": "greedy",
    },
    # As DeepSeek-V3 and R1: a sigmoid, a bias for the choice alone, groups by their best two, weights normalised and
    # scaled, YaRN.
    "deepseek-v3": DEEPSEEK_V2
    | {
        "architectures": ["DeepseekV3ForCausalLM"],
        "model_type": "deepseek_v3",
        "max_position_embeddings": 512,
        "n_group": 4,
        "n_routed_experts": 8,
        "n_shared_experts": 1,
        "norm_topk_prob": True,
        "num_experts_per_tok": 3,
        "num_nextn_predict_layers": 0,
        "q_lora_rank": 32,
        "rope_scaling": {
            "beta_fast": 2,
            "beta_slow": 1,
            "factor": 8,
            "mscale": 1.0,
            "mscale_all_dim": 1.0,
            "original_max_position_embeddings": 64,
            "type": "yarn",
        },
        "routed_scaling_factor": 2.5,
        "scoring_func": "sigmoid",
        "topk_group": 2,
        "topk_method": "noaux_tc",
    },
    # As Hunyuan-A13B, where some numbers are there for each layer.
    "hunyuan-moe": HUNYUAN_MOE
    | {
        "head_dim": 32,
        "intermediate_size": 32,
        "max_position_embeddings": 256,
        "moe_intermediate_size": [32, 32],
        "moe_topk": [2, 2],
        "num_experts": 6,
        "num_shared_expert": [1, 1],
        "rms_norm_eps": 1e-2,
        "rope_theta": 10000.0,
        "rope_scaling": {"alpha": 1000.0, "factor": 1.0, "type": "dynamic"},
        "tie_word_embeddings": True,
    },
    # As published: of six layers the last sees everything, by frequencies that are divided.
    "gemma3": GEMMA3
    | {
        "head_dim": 32,
        "max_position_embeddings": 512,
        "num_hidden_layers": 7,
        "query_pre_attn_scalar": 32,
        "rope_local_base_freq": 10000.0,
        "rope_scaling": {"factor": 8.0, "rope_type": "linear"},
        "rope_theta": 1000000.0,
        "sliding_window": 20,
        "sliding_window_pattern": 6,
        "torch_dtype": "float32",
    },
    # The newer layout, a window that is longer than a page, and scores scaled by another length than a head's.
    "gemma3-layers": GEMMA3
    | {
        "dtype": "float32",
        "head_dim": 16,
        "layer_types": [
            "sliding_attention", "full_attention", "full_attention", "sliding_attention",
        ],
        "max_position_embeddings": 512,
        "num_hidden_layers": 4,
        "query_pre_attn_scalar": 24,
        "rope_parameters": {
            "full_attention": {"rope_theta": 1000000.0, "rope_type": "default"},
            "sliding_attention": {"rope_theta": 10000.0, "rope_type": "default"},
        },
        "sliding_window": 90,
    },
}

GENERATION = {
    "do_sample": True,
    "temperature": 0.6,
    "top_k": 40,
    "top_p": 0.95,
    "repetition_penalty": 1.05,
    "bos_token_id": 288,
    "pad_token_id": 289,
    "eos_token_id": [290, 289],
    "transformers_version": "5.23.0",
}


def random_weights(config: dict, rng: torch.Generator) -> dict[str, torch.Tensor]:
    """Weights large enough that attention is far from uniform and the logits far from flat."""
    hidden, ffn = config["hidden_size"], config["intermediate_size"]
    head_dim = config.get("head_dim", hidden // config["num_attention_heads"])
    q, kv = config["num_attention_heads"] * head_dim, config["num_key_value_heads"] * head_dim

    def matrix(rows, cols):
        return torch.randn(rows, cols, generator=rng) * (1.6 / cols**0.5)

    def gain(n):
        return 0.5 + torch.rand(n, generator=rng)

    weights = {"model.embed_tokens.weight": torch.randn(VOCAB, hidden, generator=rng) * 0.2}
    for layer in range(config["num_hidden_layers"]):
        block = {
            "input_layernorm.weight": gain(hidden),
            "self_attn.q_proj.weight": matrix(q, hidden),
            "self_attn.k_proj.weight": matrix(kv, hidden),
            "self_attn.v_proj.weight": matrix(kv, hidden),
            "self_attn.o_proj.weight": matrix(hidden, q),
            "post_attention_layernorm.weight": gain(hidden),
        }
        if "kv_lora_rank" in config:
            block = latent_attention(config, matrix, gain)
        feed_forward = {"mlp": ffn}
        if config["model_type"] == "qwen3_moe":
            block["mlp.gate.weight"] = matrix(config["num_experts"], hidden)
            width = config["moe_intermediate_size"]
            feed_forward = {f"mlp.experts.{e}": width for e in range(config["num_experts"])}
        if config["model_type"] == "hunyuan_v1_moe":
            block["mlp.gate.wg.weight"] = matrix(config["num_experts"], hidden)
            feed_forward = {f"mlp.experts.{e}": ffn for e in range(config["num_experts"])}
            feed_forward["mlp.shared_mlp"] = ffn
        if layer >= config.get("first_k_dense_replace", 1000):
            experts, width = config["n_routed_experts"], config["moe_intermediate_size"]
            block["mlp.gate.weight"] = matrix(experts, hidden)
            if config["model_type"] == "deepseek_v3":
                bias = torch.randn(experts, generator=rng) * 0.2
                block["mlp.gate.e_score_correction_bias"] = bias
            feed_forward = {f"mlp.experts.{e}": width for e in range(experts)}
            feed_forward["mlp.shared_experts"] = width * config["n_shared_experts"]
        for module, width in feed_forward.items():
            block[f"{module}.gate_proj.weight"] = matrix(width, hidden)
            block[f"{module}.up_proj.weight"] = matrix(width, hidden)
            block[f"{module}.down_proj.weight"] = matrix(hidden, width)
        if config["model_type"] == "phi3":  # one matrix of several, one below the other
            fused = {
                "self_attn.qkv_proj": ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"],
                "mlp.gate_up_proj": ["mlp.gate_proj", "mlp.up_proj"],
            }
            for name, parts in fused.items():
                block[f"{name}.weight"] = torch.cat([block.pop(f"{part}.weight") for part in parts])
        if config["model_type"] == "qwen2":
            for name, n in (("q", q), ("k", kv), ("v", kv)):
                block[f"self_attn.{name}_proj.bias"] = torch.randn(n, generator=rng) * 0.5
        if config["model_type"].startswith("qwen3"):
            block["self_attn.q_norm.weight"] = gain(head_dim)
            block["self_attn.k_norm.weight"] = gain(head_dim)
        if config["model_type"].startswith("hunyuan"):
            block["self_attn.query_layernorm.weight"] = gain(head_dim)
            block["self_attn.key_layernorm.weight"] = gain(head_dim)
        if config["model_type"].startswith("gemma"):
            for name in ("self_attn.q_norm", "self_attn.k_norm"):
                block[f"{name}.weight"] = gain(head_dim)
            for name in ("pre_feedforward_layernorm", "post_feedforward_layernorm"):
                block[f"{name}.weight"] = gain(hidden)
            # What is kept of a norm is less by one, in steps that survive adding it.
            for name in block:
                if name.endswith("norm.weight"):
                    block[name] = torch.round((block[name] - 1) * 256) / 256
        weights |= {f"model.layers.{layer}.{name}": tensor for name, tensor in block.items()}
    weights["model.norm.weight"] = gain(hidden)
    if config["model_type"].startswith("gemma"):
        weights["model.norm.weight"] = torch.round((weights["model.norm.weight"] - 1) * 256) / 256
    if not config["tie_word_embeddings"]:
        weights["lm_head.weight"] = torch.randn(VOCAB, hidden, generator=rng) * 0.2
    return weights


def latent_attention(config: dict, matrix, gain) -> dict[str, torch.Tensor]:
    hidden, heads, low = config["hidden_size"], config["num_attention_heads"], config["q_lora_rank"]
    rank, nope = config["kv_lora_rank"], config["qk_nope_head_dim"]
    rotated, value = config["qk_rope_head_dim"], config["v_head_dim"]
    block = {"input_layernorm.weight": gain(hidden)}
    if low is None:
        block["self_attn.q_proj.weight"] = matrix(heads * (nope + rotated), hidden)
    else:
        block["self_attn.q_a_proj.weight"] = matrix(low, hidden)
        block["self_attn.q_a_layernorm.weight"] = gain(low)
        block["self_attn.q_b_proj.weight"] = matrix(heads * (nope + rotated), low)
    return block | {
        "self_attn.kv_a_proj_with_mqa.weight": matrix(rank + rotated, hidden),
        "self_attn.kv_a_layernorm.weight": gain(rank),
        "self_attn.kv_b_proj.weight": matrix(heads * (nope + value), rank),
        "self_attn.o_proj.weight": matrix(hidden, heads * value),
        "post_attention_layernorm.weight": gain(hidden),
    }


def write_checkpoint(folder: Path, config: dict, weights: dict[str, torch.Tensor]):
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    (folder / "generation_config.json").write_text(json.dumps(GENERATION, indent=2) + "\n")
    metadata = {"format": "pt"}
    if "sharded" not in folder.name:
        save_file(weights, folder / "model.safetensors", metadata)
        return
    names = list(weights)
    cut = names.index("model.layers.1.self_attn.v_proj.weight")
    shards = {
        "model-00001-of-00002.safetensors": names[:cut],
        "model-00002-of-00002.safetensors": names[cut:],
    }
    for shard, members in shards.items():
        save_file({name: weights[name] for name in members}, folder / shard, metadata)
    index = {
        "metadata": {"total_size": sum(t.numel() * t.element_size() for t in weights.values())},
        "weight_map": {name: shard for shard, members in shards.items() for name in members},
    }
    (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n")


def prompts(config: dict, rng: torch.Generator) -> list[dict]:
    """Token ids, and the positions whose logits are kept: all of short prompts, some of long ones."""

    def tokens(n):
        return torch.randint(0, VOCAB, (n,), generator=rng).tolist()

    chosen = [{"tokens": [17], "positions": [0]}]
    chosen.append({"tokens": tokens(23), "positions": list(range(23))})
    # A repeated token: only the positions tell its occurrences apart.
    chosen.append({"tokens": tokens(2) + [42] * 6 + [290], "positions": list(range(9))})
    if config.get("rope_scaling") or config["model_type"].startswith("gemma"):  # three times beyond the original context
        chosen.append({"tokens": tokens(200), "positions": list(range(7, 200, 16)) + [63, 64, 65, 198]})
    else:
        chosen.append({"tokens": tokens(97), "positions": [31, 32, 63, 64, 65, 95, 96]})
    return chosen


@torch.no_grad()
def write_expected(folder: Path, config: dict, rng: torch.Generator):
    checked = AutoConfig.from_pretrained(folder)
    plainly = {"attn_implementation": "eager"}
    if "num_experts" in config or "n_routed_experts" in config:
        plainly["experts_implementation"] = "eager"
    load = AutoModelForCausalLM.from_pretrained
    model = load(folder, config=checked, dtype=torch.float32, **plainly).eval()
    double = load(folder, config=checked, dtype=torch.float64, **plainly).eval()
    chosen = prompts(config, rng)
    rows, noise, spread = [], 0.0, 0.0
    for prompt in chosen:
        ids = torch.tensor([prompt["tokens"]])
        logits = model(ids).logits[0, prompt["positions"]]
        noise = max(noise, (double(ids).logits[0, prompt["positions"]] - logits).abs().max().item())
        spread = max(spread, logits.abs().max().item())
        rows.append(logits.contiguous())
    flat = torch.cat(rows).flatten().tolist()
    (folder / "expected.bin").write_bytes(struct.pack(f"<{len(flat)}f", *flat))
    body = ",\n".join("    " + json.dumps(prompt) for prompt in chosen)
    (folder / "expected.json").write_text(
        f'{{\n  "vocab_size": {VOCAB},\n  "prompts": [\n{body}\n  ]\n}}\n'
    )
    print(f"{folder.name:14} max |logit| {spread:6.2f}, float32 against float64 {noise:.1e}")


def main():
    torch.set_num_threads(1)
    wanted = set(sys.argv[1:])
    for seed, (name, config) in enumerate(MODELS.items()):
        if wanted and name not in wanted:
            continue
        rng = torch.Generator().manual_seed(1000 + seed)
        weights = random_weights(config, rng)
        if name.endswith("bf16"):
            weights = {key: tensor.to(torch.bfloat16) for key, tensor in weights.items()}
        write_checkpoint(HERE / name, config, weights)
        write_expected(HERE / name, config, rng)


if __name__ == "__main__":
    main()
