"""Better answers to be preferred, with TRL. All settings are in job.json."""

import json
import os
from pathlib import Path

from datasets import load_dataset
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoTokenizer

HERE = Path(__file__).parent
JOB = json.loads((HERE / "job.json").read_text(encoding="utf-8"))


def trainer():
    """The trainer of the job's loss, and its arguments."""
    if JOB["trainer"] == "DPO":
        from trl import DPOConfig, DPOTrainer

        return DPOTrainer, DPOConfig
    if JOB["trainer"] == "CPO":
        from trl.experimental.cpo import CPOConfig, CPOTrainer

        return CPOTrainer, CPOConfig
    from trl.experimental.orpo import ORPOConfig, ORPOTrainer

    return ORPOTrainer, ORPOConfig


def main():
    arguments = dict(JOB["arguments"])
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    if arguments["gradient_accumulation_steps"] % processes:
        raise SystemExit(f"a step's pairs can't be shared by {processes} processes")
    arguments["gradient_accumulation_steps"] //= processes
    tokenizer = AutoTokenizer.from_pretrained(JOB["model"])

    def fits(row):
        def tokens(answer):
            return len(tokenizer.apply_chat_template(row["prompt"] + answer, return_dict=False))

        return max(tokens(row["chosen"]), tokens(row["rejected"])) <= arguments["max_length"]

    def pairs(name):
        # What is too long is left out, not cut.
        return load_dataset("json", data_files=str(HERE / name), split="train").filter(fits)

    held_out = pairs("held_out.jsonl") if (HERE / "held_out.jsonl").exists() else None
    Trainer, Config = trainer()
    taught = Trainer(
        model=AutoModelForCausalLM.from_pretrained(JOB["model"]),
        args=Config(**arguments),
        train_dataset=pairs("pairs.jsonl"),
        eval_dataset=held_out,
        processing_class=tokenizer,
        peft_config=LoraConfig(**JOB["lora"]),
    )
    taught.train()
    taught.save_model(str(Path(arguments["output_dir"]) / "last"))


if __name__ == "__main__":
    main()
