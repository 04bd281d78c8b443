#!/usr/bin/env python3
"""Makes objectives.json: what TRL's trainers and PyTorch's autograd say of the objectives.

Made with trl 1.16.0, torch 2.15.0 and transformers 5.24.0 (CPU, in float64 but for ORPO's odds,
which TRL casts to float32):
pip install trl==1.16.0 torch==2.15.0 transformers==5.24.0 peft accelerate; run it from anywhere, it
writes next to itself.

TRL's own code, called with a minimal `self` and a model that returns the numbers below:

- GRPOTrainer._compute_loss: the clipped surrogate in all its forms;
- GRPOTrainer._generate_and_score_completions and RLOOTrainer's: of these only the statements that
  work out advantages and the weights of vLLM's samples, cut out of the source at lines quoted here;
- DPOTrainer._compute_loss (DPO, IPO), KTOTrainer._compute_loss, CPOTrainer.cpo_loss (SimPO),
  ORPOTrainer.odds_ratio_loss, RewardTrainer.compute_loss;
- rewards.get_soft_overlong_punishment and get_cosine_scaled_reward.

TRL has no code for these, so they are the papers' formulas, written in PyTorch: REINFORCE++ and its
baseline (`batch_advantages`), DPO's label smoothing, likelihoods added to losses over pairs
(`with_nll`, of which ORPO's: TRL counts the prompt's tokens, too), PPO's value loss and GAE, Kimi
k1.5's length reward.
"""

import inspect
import json
import math
import textwrap
from collections import defaultdict
from pathlib import Path
from types import SimpleNamespace

import torch
import transformers
import trl
from torch.nn import functional as F
from trl import rewards as trl_rewards
from trl.experimental.cpo import CPOTrainer
from trl.experimental.orpo import ORPOTrainer
from trl.rewards import accuracy_rewards
from trl.trainer import grpo_trainer, rloo_trainer
from trl.trainer.dpo_trainer import DPOTrainer
from trl.trainer.grpo_trainer import GRPOTrainer
from trl.trainer.kto_trainer import KTOTrainer
from trl.trainer.reward_trainer import RewardTrainer
from trl.trainer.rloo_trainer import RLOOTrainer

torch.set_default_dtype(torch.float64)
torch.manual_seed(2402)
CPU = torch.device("cpu")


def short(x):
    """Multiples of 1/256: exact in float32, and short in decimal."""
    return (x * 256).round() / 256


def plain(x):
    if isinstance(x, torch.Tensor):
        x = x.detach().tolist()
    if isinstance(x, dict):
        return {k: plain(v) for k, v in x.items()}
    if isinstance(x, (list, tuple)):
        return [plain(v) for v in x]
    return float(f"{x:.10g}") if isinstance(x, float) else x


def accelerator():
    same = lambda x, **_: x
    return SimpleNamespace(
        device=CPU, num_processes=1, sync_gradients=False,
        gather=same, gather_for_metrics=same, reduce=same,
    )


def trainer(**fields):
    return SimpleNamespace(
        accelerator=accelerator(), model=SimpleNamespace(training=True),
        _metrics={"train": defaultdict(list)}, _total_train_tokens=0, _tp_size=1,
        aux_loss_enabled=False, **fields,
    )


def cut(function, first, last):
    """A method's statements from the line that starts with `first` to the one before `last`."""
    lines = inspect.getsource(function).splitlines()
    starts = [i for i, line in enumerate(lines) if line.strip().startswith(first)]
    assert len(starts) == 1, (first, starts)
    ends = [i for i, line in enumerate(lines) if i > starts[0] and line.strip().startswith(last)]
    return textwrap.dedent("\n".join(lines[starts[0]:ends[0]]))


def run(module, code, **names):
    scope = {**vars(module), **names}
    exec(code, scope)
    return scope


# ---------------------------------------------------------------------------- policy

LENGTHS = [4, 1, 6, 3, 5, 2]
WIDTH = max(LENGTHS)
MASK = (torch.arange(WIDTH)[None] < torch.tensor(LENGTHS)[:, None]).double()
NEW = short(-2 * torch.rand(len(LENGTHS), WIDTH) - 1 / 256)
OLD = short(NEW + 0.35 * torch.randn_like(NEW)).clamp(max=-1 / 256)
REFERENCE = short(NEW + 0.5 * torch.randn_like(NEW)).clamp(max=-1 / 256)
SAMPLER = short(OLD + 0.5 * torch.randn_like(NEW)).clamp(max=-1 / 256)
ENTROPIES = short(2 * torch.rand_like(NEW))
ADVANTAGES = short(torch.randn(len(LENGTHS)))
TOKEN_ADVANTAGES = short(torch.randn_like(NEW))
WROTE = (torch.rand_like(NEW) > 0.3).double()
MAX_TOKENS = 8


def ragged(x):
    return [row[:n] for row, n in zip(plain(x), LENGTHS)]


def policy(settings, gives=(), left_out=None):
    """`gives`: what completions have beside advantages and log-probabilities."""
    s = {
        "ratio": "token", "clip_low": 0.2, "clip_high": 0.28, "delta": None,
        "aggregate": "token-mean", "kl_coefficient": 0.0, "unbiased_kl": False,
        "entropy_coefficient": 0.0, "sampler_correction": "off", "sampler_cap": 2.0, **settings,
    }
    mask = MASK.clone()
    if left_out is not None:
        mask[left_out] = 0
    active = mask * WROTE if "mask" in gives else mask
    log_probs, entropies = NEW.clone().requires_grad_(), ENTROPIES.clone().requires_grad_()
    loss_type = {"sequence-mean": "grpo", "token-mean": "dapo", "constant": "dr_grpo"}
    corrects = s["sampler_correction"] != "off"
    self = trainer(
        _get_per_token_logps_and_entropies=lambda *_, **__: (log_probs, entropies, None),
        top_entropy_quantile=1.0, off_policy_mask_threshold=None,
        importance_sampling_level=s["ratio"], beta=s["kl_coefficient"],
        loss_type=loss_type[s["aggregate"]], epsilon_low=s["clip_low"], epsilon_high=s["clip_high"],
        use_vllm=corrects, vllm_importance_sampling_correction=corrects,
        vllm_importance_sampling_mode=s["sampler_correction"].replace("-", "_"),
        vllm_importance_sampling_clip_min=None,
        vllm_importance_sampling_clip_max=s["sampler_cap"],
        current_gradient_accumulation_steps=1, max_completion_length=MAX_TOKENS,
        _entropy_bonus_enabled=s["entropy_coefficient"] != 0, use_adaptive_entropy=False,
        entropy_coef=s["entropy_coefficient"],
        args=SimpleNamespace(
            use_bias_correction_kl=s["unbiased_kl"], delta=s["delta"], steps_per_generation=1
        ),
    )
    ids = torch.zeros(len(LENGTHS), WIDTH, dtype=torch.long)
    inputs = {
        "prompt_ids": ids[:, :1], "prompt_mask": ids[:, :1], "completion_ids": ids,
        "completion_mask": mask, "num_items_in_batch": active.sum(),
        "advantages": TOKEN_ADVANTAGES if "token_advantages" in gives else ADVANTAGES,
    }
    if "mask" in gives:
        inputs["tool_mask"] = WROTE
    if "old_log_probs" in gives:
        inputs["old_per_token_logps"] = OLD
    if "reference_log_probs" in gives:
        inputs["ref_per_token_logps"] = REFERENCE
    if corrects:
        code = cut(
            GRPOTrainer._generate_and_score_completions,
            "mask = completion_mask if tool_mask is None",
            "# Compute the per-token log probabilities for the reference model",
        )
        scope = run(
            grpo_trainer, code, self=self, completion_mask=mask,
            tool_mask=WROTE if "mask" in gives else None,
            old_per_token_logps=OLD, sampling_per_token_logps=SAMPLER,
        )
        inputs["importance_sampling_ratio"] = scope["vllm_importance_sampling_ratio"]
    loss = GRPOTrainer._compute_loss(self, None, inputs)
    loss.backward()
    metrics = {k: v[-1] for k, v in self._metrics["train"].items()}
    statistics = {"policy/entropy": metrics["entropy"]}
    if "kl" in metrics and not s["unbiased_kl"]:
        statistics["policy/kl"] = metrics["kl"]
    if s["ratio"] == "token":  # else TRL's are over completions
        statistics["policy/clip_low"] = metrics["clip_ratio/low_mean"]
        statistics["policy/clip_high"] = metrics["clip_ratio/high_mean"]
    d_entropies = entropies.grad
    return plain({
        "settings": s, "gives": list(gives), "left_out": left_out,
        "normalizers": [len(LENGTHS), int(active.sum()), MAX_TOKENS], "loss": loss.item(),
        "d_log_probs": ragged(log_probs.grad),
        "d_entropies": ragged(d_entropies) if d_entropies is not None else None,
        "statistics": statistics,
    })


def policies():
    old, reference = "old_log_probs", "reference_log_probs"
    grpo = {"aggregate": "sequence-mean", "clip_high": 0.2, "kl_coefficient": 0.04}
    gspo = {"ratio": "sequence", "aggregate": "sequence-mean", "clip_low": 0.05, "clip_high": 0.06}
    modes = ["token-truncate", "token-mask", "sequence-truncate", "sequence-mask"]
    return [
        policy(grpo, [old, reference]),
        policy({**grpo, "unbiased_kl": True}, [old, reference]),
        policy({**grpo, "kl_coefficient": 0.0}),
        policy({**grpo, "unbiased_kl": True}, [reference]),
        policy({}, [old]),
        policy({}, [old, "mask"], left_out=2),
        policy({"aggregate": "sequence-mean"}, [old, "mask"], left_out=0),
        policy({}, [old, "token_advantages"]),
        policy({"aggregate": "constant"}, [old]),
        policy({"delta": 1.35}, [old]),
        policy(gspo, [old]),
        policy({**gspo, "kl_coefficient": 0.1, "unbiased_kl": True}, [old, reference, "mask"]),
        policy({**gspo, "aggregate": "token-mean", "delta": 1.1}, [old, "token_advantages"]),
        policy({"entropy_coefficient": 0.01, **grpo}, [old, reference]),
        policy({"entropy_coefficient": 0.01, "aggregate": "constant"}, [old, "mask"]),
        *[policy({"sampler_correction": m, "sampler_cap": 1.2}, [old, "mask"]) for m in modes],
        policy({**gspo, "sampler_correction": "token-truncate"}, [old, "sampler_log_probs"]),
    ]


# ---------------------------------------------------------------------------- advantages

REWARDS = short(torch.randn(4, 3))
REWARDS[2] = 1.0


def grpo_advantages(scale):
    code = cut(
        GRPOTrainer._generate_and_score_completions,
        'if self.multi_objective_aggregation == "sum_then_normalize"',
        'elif self.multi_objective_aggregation == "normalize_then_sum"',
    )
    names = dict(rewards_per_func=REWARDS.reshape(-1, 1), num_generations=3, device=CPU)
    self = SimpleNamespace(
        reward_weights=torch.ones(1), scale_rewards=scale,
        multi_objective_aggregation="sum_then_normalize",
    )
    unscorable = torch.zeros(REWARDS.numel(), dtype=torch.bool)
    scope = run(grpo_trainer, code, self=self, unscorable_mask=unscorable, **names)
    return scope["advantages"], scope["is_std_zero"].view(-1, 3)[:, 0]


def rloo_advantages():
    code = cut(
        RLOOTrainer._generate_and_score_completions,
        "grouped_rewards = rewards.view(-1, num_generations)",
        "is_std_zero = ",
    )
    self = SimpleNamespace(normalize_advantages=False)
    names = dict(rewards=REWARDS.reshape(-1), num_generations=3)
    return run(rloo_trainer, code, self=self, **names)["advantages"]


def batch_advantages(groups):
    """arXiv:2501.03262: normalised over the batch, with TRL's epsilon."""
    a = REWARDS - REWARDS.mean(1, keepdim=True) if groups else REWARDS - REWARDS.mean()
    return (a / (a.std() + 1e-4)).reshape(-1)


def all_advantages():
    group, flat = grpo_advantages("group")
    return plain({
        "rewards": REWARDS, "flat": flat.nonzero().view(-1),
        "advantages": {
            "grpo": group,
            "dr-grpo": grpo_advantages("none")[0],
            "lite-ppo": grpo_advantages("batch")[0],
            "reinforce-plus-plus-baseline": batch_advantages(True),
            "rloo": rloo_advantages(),
            "reinforce-plus-plus": batch_advantages(False),
        },
    })


# ---------------------------------------------------------------------------- preferences

TOKENS = torch.tensor([3, 5, 2, 4, 4, 1, 6, 2])  # four chosen, four rejected
TEXTS = short(-8 * torch.rand(8) - 1)
TEXT_REFERENCE = short(TEXTS + torch.randn(8))
KL_TEXTS = short(-8 * torch.rand(8) - 1)
KL_REFERENCE = short(KL_TEXTS + 0.5 * torch.randn(8) - 0.5)
DESIRABLE = torch.tensor([1, 1, 0, 1, 0, 0, 1, 0])


def with_masks(leaf):
    """A model's outputs in which the tokens of each text share its log-probability."""
    width = int(TOKENS.max())
    mask = (torch.arange(width)[None] < TOKENS[:, None]).double()
    zeros = torch.zeros(8, width)
    outputs = SimpleNamespace(
        log_probs=leaf[:, None] / TOKENS[:, None] * mask, entropy=zeros, mean_logits=zeros,
        is_top1=zeros.bool(),
    )
    inputs = {
        "input_ids": torch.zeros(8, width + 1, dtype=torch.long),
        "attention_mask": torch.ones(8, width + 1),
        "completion_mask": torch.cat([torch.zeros(8, 1), mask], 1),
    }
    return outputs, inputs


def with_nll(leaf, coefficient):
    return -coefficient * (leaf / TOKENS)[:4].mean()


def outcome(settings, loss, leaf, metrics):
    loss.backward()
    keys = ["rewards/chosen", "rewards/rejected", "rewards/margins", "rewards/accuracies"]
    statistics = {k: metrics[k] for k in keys if k in metrics}
    return plain({
        "settings": settings, "loss": loss.item(), "d_log_probs": leaf.grad,
        "statistics": statistics,
    })


def dpo(name, beta, label_smoothing=0.0, nll_coefficient=0.0):
    leaf = TEXTS.clone().requires_grad_()
    outputs, inputs = with_masks(leaf)
    self = trainer(
        ld_alpha=None, precompute_ref_logps=True, f_divergence_type="reverse_kl", beta=beta,
        loss_types=["sigmoid" if name == "dpo" else name], loss_weights=[1.0],
        label_smoothing=label_smoothing, use_weighting=False,
    )
    inputs |= {"ref_chosen_logps": TEXT_REFERENCE[:4], "ref_rejected_logps": TEXT_REFERENCE[4:]}
    loss = DPOTrainer._compute_loss(self, lambda **_: outputs, inputs, False)
    settings = {"loss": name, "beta": beta, "nll_coefficient": nll_coefficient}
    if label_smoothing:
        d = leaf - TEXT_REFERENCE
        swapped = -F.logsigmoid(-beta * (d[:4] - d[4:])).mean()
        loss = (1 - label_smoothing) * loss + label_smoothing * swapped
        settings["label_smoothing"] = label_smoothing
    loss = loss + with_nll(leaf, nll_coefficient)
    return outcome(settings, loss, leaf, {k: v[-1] for k, v in self._metrics["train"].items()})


def pair_metrics(chosen, rejected):
    return {
        "rewards/chosen": chosen.mean(), "rewards/rejected": rejected.mean(),
        "rewards/margins": (chosen - rejected).mean(),
        "rewards/accuracies": (chosen > rejected).double().mean(),
    }


def simpo(beta, gamma):
    leaf = TEXTS.clone().requires_grad_()
    means = leaf / TOKENS
    self = trainer(
        alpha=0.0, loss_type="simpo", simpo_gamma=gamma, beta=beta, label_smoothing=0.0
    )
    losses, *rewards = CPOTrainer.cpo_loss(self, means[:4], means[4:])
    settings = {"loss": "simpo", "beta": beta, "gamma": gamma}
    return outcome(settings, losses.mean(), leaf, pair_metrics(*rewards))


def orpo(weight):
    leaf = TEXTS.clone().requires_grad_()
    means = leaf / TOKENS
    losses, *rewards, _, _ = ORPOTrainer.odds_ratio_loss(
        trainer(beta=weight), means[:4], means[4:]
    )
    loss = with_nll(leaf, 1.0) - losses.mean()
    return outcome({"loss": "orpo", "lambda": weight}, loss, leaf, pair_metrics(*rewards))


def kto(kl_texts, **settings):
    leaf = TEXTS.clone().requires_grad_()
    outputs, inputs = with_masks(leaf)
    self = trainer(
        _compute_kl_logps=lambda *_: kl_texts, precompute_ref_logps=True, calculate_KL=True,
        loss_type="kto", **settings,
    )
    inputs |= {"label": DESIRABLE, "ref_logps": TEXT_REFERENCE, "ref_KL_logps": KL_REFERENCE}
    loss = KTOTrainer._compute_loss(self, lambda **_: outputs, inputs, False)
    metrics = {k: v[-1] for k, v in self._metrics["train"].items()}
    return {
        **outcome(settings, loss, leaf, metrics), "mismatched": plain(kl_texts),
        "baseline": plain(metrics["kl"]),
    }


def preferences():
    return plain({
        "tokens": TOKENS, "log_probs": TEXTS, "references": TEXT_REFERENCE,
        "pairs": [
            dpo("dpo", 0.1), dpo("dpo", 0.5, label_smoothing=0.1),
            dpo("dpo", 0.1, nll_coefficient=0.2), dpo("ipo", 0.1), dpo("ipo", 0.7),
            simpo(2.0, 1.0), simpo(2.5, 0.3), orpo(0.1), orpo(1.0),
        ],
        "desirable": [bool(d) for d in DESIRABLE], "mismatched_references": KL_REFERENCE,
        "kto": [
            kto(KL_TEXTS, beta=0.1, desirable_weight=1.0, undesirable_weight=1.0),
            kto(KL_TEXTS, beta=0.4, desirable_weight=1.0, undesirable_weight=1.25),
            kto(KL_TEXTS - 4, beta=0.4, desirable_weight=1.5, undesirable_weight=1.0),
        ],
    })


# ---------------------------------------------------------------------------- rewards and values

PAIR_REWARDS = short(2 * torch.randn(8))
MARGINS = short(torch.rand(4))


def bradley_terry(centering, margins):
    leaf = PAIR_REWARDS.clone().requires_grad_()
    self = trainer(args=SimpleNamespace(center_rewards_coefficient=centering))
    inputs = {"attention_mask": torch.ones(8, 1)} | ({"margin": MARGINS} if margins else {})
    model = lambda **_: SimpleNamespace(logits=leaf[:, None])
    loss = RewardTrainer.compute_loss(self, model, inputs)
    loss.backward()
    m = {k: v[-1] for k, v in self._metrics["train"].items()}
    return plain({
        "settings": {"centering_coefficient": centering or 0.0},
        "margins": MARGINS if margins else None, "loss": loss.item(), "d_rewards": leaf.grad,
        "statistics": {
            "reward/accuracy": m["accuracy"], "reward/margin": m["margin"],
            "reward/mean": m["mean_reward"],
        },
    })


VALUES = short(torch.randn(9))
OLD_VALUES = short(VALUES + 0.3 * torch.randn(9))
RETURNS = short(VALUES + torch.randn(9))
TOKEN_REWARDS = short(torch.randn(9))


def value_loss(clip):
    leaf = VALUES.clone().requires_grad_()
    losses = (leaf - RETURNS) ** 2
    if clip is not None:
        near = torch.clamp(leaf, OLD_VALUES - clip, OLD_VALUES + clip)
        losses = torch.max(losses, (near - RETURNS) ** 2)
    loss = 0.5 * losses.mean()
    loss.backward()
    return plain({"settings": {"clip": clip}, "loss": loss.item(), "d_values": leaf.grad})


def gae(gamma, lam, bootstrap):
    """arXiv:1506.02438, (16): the sum itself, not the recursion."""
    after = torch.cat([VALUES[1:], torch.tensor([bootstrap])])
    surprises = TOKEN_REWARDS + gamma * after - VALUES
    advantages = torch.stack([
        sum((gamma * lam) ** (u - t) * surprises[u] for u in range(t, 9)) for t in range(9)
    ])
    return plain({
        "settings": {"gamma": gamma, "lambda": lam}, "bootstrap": bootstrap,
        "advantages": advantages, "returns": advantages + VALUES,
    })


def shaping():
    lengths = [0, 1, 60, 79, 80, 81, 90, 99, 100, 101, 200]
    ids = [[1] * n for n in lengths]
    below = [n for n in lengths if n < 100]  # there TRL knows no value for cut-off ones
    # Which are right is given, in the place of a check of their text.
    accuracy_rewards.accuracy_reward = lambda right, _: right
    cosine = trl_rewards.get_cosine_scaled_reward(100, -10.0, 0.0, 1.0, 2.0)
    ids_below = ids[:len(below)]
    cosines = {right: cosine([right] * len(below), None, ids_below) for right in (True, False)}
    group = [(12, True), (40, True), (26, False), (33, False), (12, False), (40, False)]
    least, most = 12, 40
    scores = [0.5 - (n - least) / (most - least) for n, _ in group]  # arXiv:2501.12599, 2.3.3
    return plain({
        "lengths": lengths,
        "overlong": trl_rewards.get_soft_overlong_punishment(100, 20)(completion_ids=ids),
        "abrupt": trl_rewards.get_soft_overlong_punishment(100, 0)(completion_ids=ids),
        "cosine_right": cosines[True], "cosine_wrong": cosines[False],
        "group": group,
        "group_rewards": [s if right else min(0.0, s) for s, (_, right) in zip(scores, group)],
    })


def main():
    numbers = {
        "versions": {
            "trl": trl.__version__, "torch": torch.__version__,
            "transformers": transformers.__version__,
        },
        "policy": {
            "log_probs": ragged(NEW), "old_log_probs": ragged(OLD),
            "reference_log_probs": ragged(REFERENCE), "sampler_log_probs": ragged(SAMPLER),
            "entropies": ragged(ENTROPIES), "advantages": plain(ADVANTAGES),
            "token_advantages": ragged(TOKEN_ADVANTAGES), "mask": ragged(WROTE.bool()),
            "cases": policies(),
        },
        "advantages": all_advantages(),
        "preferences": preferences(),
        "rewards": {
            "rewards": plain(PAIR_REWARDS),
            "cases": [bradley_terry(*c) for c in [(None, False), (0.01, False), (0.1, True)]],
        },
        "values": {
            "values": plain(VALUES), "old_values": plain(OLD_VALUES), "returns": plain(RETURNS),
            "rewards": plain(TOKEN_REWARDS),
            "cases": [value_loss(None), value_loss(0.2), value_loss(0.0)],
            "gae": [gae(1.0, 1.0, 0.0), gae(0.99, 0.95, 0.5), gae(1.0, 0.0, 0.0)],
        },
        "shaping": shaping(),
    }
    out = Path(__file__).parent / "objectives.json"
    rows = [f"{json.dumps(k)}: {json.dumps(v)}" for k, v in numbers.items()]
    out.write_text("{\n" + ",\n".join(rows) + "\n}\n")


if __name__ == "__main__":
    main()
