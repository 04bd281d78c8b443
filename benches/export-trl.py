#!/usr/bin/env python3
"""Do exported jobs run? One step of each with the real TRL, on a tiny model made by `ponder train`, on this CPU.

    python3 -m venv venv && venv/bin/pip install torch trl==1.16.* peft datasets pandas pyarrow hydra-core
    venv/bin/python benches/export-trl.py --ponder target/release/ponder [--verl DIR]

The jobs are the exported ones but for what a CPU can't do: bf16, vLLM and checkpointed gradients are turned off, and
one step is taken. With --verl, a folder that has verl's package (`pip download --no-deps verl==0.9.1`, unzipped), its
job is composed with verl's own configuration as well; it isn't run, as verl wants GPUs. Skips what isn't installed.
"""

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

PRETRAIN = """
out = "tiny"
steps = 2
[optimizer]
learning_rate = 1e-2
[evaluate]
every = 0
[pretrain]
data = ["texts.txt"]
held_out_share = 0.0
sequence_tokens = 64
batch = 2
tokenizer = { vocabulary = 300 }
shape = { layers = 2, hidden = 32, heads = 2, kv_heads = 1, head_dim = 16, ffn = 48, context = 512 }
"""

HEAD = """
model = "MODEL"
out = "run"
steps = 1
[lora]
rank = 4
[evaluate]
every = 1
items = 2
"""

RECIPES = {
    "grpo": """
[grpo]
prompts = 2
completions = 4
max_tokens = 16
overlong_tokens = 8
objective = { kl_coefficient = 0.01 }
[[grpo.problems]]
benchmark = "arithmetic"
difficulties = [1]
[[grpo.rewards]]
[[grpo.rewards]]
name = "has-a-letter"
weight = 0.5
check = { kind = "regex", pattern = "[a-z]" }
""",
    "sft": """
[sft]
batch = 2
max_tokens = 256
data = ["examples.jsonl"]
""",
    "dpo": """
[preference]
objective = { loss = "dpo", nll_coefficient = 0.1 }
[preference.pairs]
batch = 2
max_tokens = 256
data = ["pairs.jsonl"]
""",
    "simpo": """
[preference]
objective = { loss = "simpo" }
[preference.pairs]
batch = 2
max_tokens = 256
data = ["pairs.jsonl"]
""",
    "orpo": """
[preference]
objective = { loss = "orpo" }
[preference.pairs]
batch = 2
max_tokens = 256
data = ["pairs.jsonl"]
""",
}

# What a CPU can't do, or needn't.
HERE_ONLY = {
    "bf16": False,
    "use_cpu": True,
    "use_vllm": False,
    "gradient_checkpointing": False,
    "save_strategy": "no",
}


def installed(*names):
    return all(importlib.util.find_spec(name) for name in names)


def run(command, place, **more):
    done = subprocess.run(command, cwd=place, capture_output=True, text=True, **more)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))}:\n{done.stdout}\n{done.stderr}")
    return done.stdout + done.stderr


def export(ponder, place, name, library, model):
    (place / "recipe.toml").write_text(HEAD.replace("MODEL", model) + RECIPES[name])
    job = place / f"{library}-{name}"
    run([ponder, "train", "export", "recipe.toml", "--to", library, "-o", job], place)
    return job


def trl(ponder, place, name, model):
    job = export(ponder, place, name, "trl", model)
    path = job / "job.json"
    settings = json.loads(path.read_text())
    known = settings["arguments"]
    known.update({key: value for key, value in HERE_ONLY.items() if key in known or key == "use_cpu"})
    path.write_text(json.dumps(settings))
    told = run([sys.executable, "train.py"], job, env=dict(os.environ, PONDER=ponder, TOKENIZERS_PARALLELISM="false"))
    taught = job / known["output_dir"] / "last" / "adapter_model.safetensors"
    assert taught.exists(), f"{name}: no adapter was written\n{told}"
    steps = [line for line in told.splitlines() if "'loss'" in line]
    assert steps, f"{name}: no step was taken\n{told}"
    print(f"trl {name}: {steps[0]}")
    if name == "grpo":
        for figure in ("rewards/correct/mean", "rewards/has-a-letter/mean", "rewards/overlong/mean"):
            assert figure in told, f"{figure} is missing\n{told}"


def verl(ponder, place, package, model):
    """The job's settings, composed with verl's own: a name that verl doesn't know would be an error."""
    from hydra import compose, initialize_config_dir
    from omegaconf import OmegaConf

    job = export(ponder, place, "grpo", "verl", model)
    sys.path.insert(0, str(package))
    config = package / "verl" / "trainer" / "config"
    known = OmegaConf.load(config / "_generated_ppo_trainer.yaml")
    with initialize_config_dir(str(job), version_base=None):
        made = compose("job", overrides=[f"hydra.searchpath=[file://{config}]"])
    ours = OmegaConf.load(job / "job.yaml")
    unknown = []

    def walk(part, ours, known):
        for key, value in ours.items():
            # What must be given has a key and no value.
            if key not in known.keys():
                unknown.append(f"{part}{key}")
            elif OmegaConf.is_dict(value) and known[key] is not None:
                walk(f"{part}{key}.", value, known[key])

    del ours["hydra"], ours["defaults"]
    walk("", ours, known)
    # DAPO's reward manager reads it, and no default names it.
    assert set(unknown) <= {"reward.reward_kwargs"}, unknown
    assert made.actor_rollout_ref.rollout.n == 4 and made.algorithm.adv_estimator == "grpo"
    if installed("pandas", "pyarrow"):
        print(run([sys.executable, "to_parquet.py"], job).strip())
    score = (
        "import json, reward\n"
        "row = json.loads(open('problems.jsonl').readline())\n"
        "truth = row['reward_model']['ground_truth']\n"
        "gold = json.loads(json.loads(truth)['check'])['gold']\n"
        "print(reward.compute_score('ponder', f'so it is {gold}', truth))\n"
        "print(reward.compute_score('ponder', '<think>hm', truth))\n"
    )
    told = run([sys.executable, "-c", score], job, env=dict(os.environ, PONDER=ponder)).splitlines()
    assert "'score': 1.5" in told[0] and "'score': 0.0" in told[1], told
    print(f"verl grpo: its settings are verl's; {told[0]}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ponder", default="target/release/ponder")
    parser.add_argument("--only", nargs="*", default=list(RECIPES), help="which of TRL's jobs")
    parser.add_argument("--verl", type=Path, help="a folder with verl's package")
    options = parser.parse_args()
    ponder = str(Path(options.ponder).resolve())
    with tempfile.TemporaryDirectory() as place:
        place = Path(place)
        (place / "texts.txt").write_text("one and two and three, a little text for a little model. " * 40)
        (place / "pretrain.toml").write_text(PRETRAIN)
        run([ponder, "train", "pretrain.toml"], place)
        model = str(place / "tiny" / "checkpoints" / "000002")
        example = {"prompt": "say a", "completion": "a"}
        pair = {"prompt": "say a", "chosen": "a", "rejected": "b"}
        (place / "examples.jsonl").write_text((json.dumps(example) + "\n") * 30)
        (place / "pairs.jsonl").write_text((json.dumps(pair) + "\n") * 30)
        if installed("trl", "peft", "datasets", "torch"):
            for name in options.only:
                trl(ponder, place, name, model)
        else:
            print("skipped: trl, peft, datasets and torch are not all installed")
        if options.verl and installed("hydra", "omegaconf"):
            verl(ponder, place, options.verl.resolve(), model)
        else:
            print("skipped: verl's job (--verl and hydra-core)")


if __name__ == "__main__":
    main()
