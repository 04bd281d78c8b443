"""Rewards to be sought: GRPO and what came after it, with TRL. All settings are in job.json."""

import json
import os
from pathlib import Path

import reward
from datasets import load_dataset
from peft import LoraConfig
from trl import GRPOConfig, GRPOTrainer

HERE = Path(__file__).parent
JOB = json.loads((HERE / "job.json").read_text(encoding="utf-8"))


def text(completion):
    return completion if isinstance(completion, str) else completion[-1]["content"]


def reward_function(settings):
    def function(completions, check, question, **_):
        return reward.scores(settings, [text(c) for c in completions], list(zip(check, question)))

    function.__name__ = settings["name"]
    return function


def overlong(completion_ids, **_):
    return [reward.overlong(len(ids)) for ids in completion_ids]


def problems(name):
    # A prompt is a list of messages, or a text to be gone on from.
    return load_dataset("json", data_files=str(HERE / name), split="train")


def main():
    arguments = dict(JOB["arguments"])
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    for key in ("gradient_accumulation_steps", "steps_per_generation"):
        if arguments[key] % processes:
            raise SystemExit(f"{key} = {arguments[key]} can't be shared by {processes} processes")
        arguments[key] //= processes
    functions = [reward_function(settings) for settings in JOB["rewards"]]
    weights = [settings["weight"] for settings in JOB["rewards"]]
    if JOB["overlong_tokens"]:
        functions.append(overlong)
        weights.append(1.0)
    held_out = problems("held_out.jsonl") if (HERE / "held_out.jsonl").exists() else None
    trainer = GRPOTrainer(
        model=JOB["model"],
        reward_funcs=functions,
        args=GRPOConfig(reward_weights=weights, **arguments),
        train_dataset=problems("problems.jsonl"),
        eval_dataset=held_out,
        peft_config=LoraConfig(**JOB["lora"]),
    )
    trainer.train()
    trainer.save_model(str(Path(arguments["output_dir"]) / "last"))


if __name__ == "__main__":
    main()
