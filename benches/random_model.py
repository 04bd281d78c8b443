"""A model of Qwen2.5-0.5B's shape with random weights, for the scripts that time PyTorch: what it takes doesn't
depend on the weights. Needs torch and transformers from PyPI."""

import torch
import transformers


def qwen2_half_billion(dtype: torch.dtype) -> transformers.Qwen2ForCausalLM:
    torch.manual_seed(0)
    config = transformers.Qwen2Config(
        vocab_size=151936, hidden_size=896, intermediate_size=4864, num_hidden_layers=24,
        num_attention_heads=14, num_key_value_heads=2, max_position_embeddings=32768,
        tie_word_embeddings=True,
    )
    with torch.device("meta"):
        model = transformers.Qwen2ForCausalLM(config)
    model = model.to_empty(device="cpu").to(dtype)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0.0, 0.02)
        # `to_empty` leaves what isn't a parameter without a value.
        model.model.rotary_emb = type(model.model.rotary_emb)(config)
    model.tie_weights()
    return model
