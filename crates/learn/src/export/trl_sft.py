"""Examples to be followed, with TRL. All settings are in job.json."""

import json
import os
from pathlib import Path

from datasets import load_dataset
from peft import LoraConfig
from transformers import AutoTokenizer
from trl import SFTConfig, SFTTrainer

HERE = Path(__file__).parent
JOB = json.loads((HERE / "job.json").read_text(encoding="utf-8"))


def main():
    arguments = dict(JOB["arguments"])
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    if arguments["gradient_accumulation_steps"] % processes:
        raise SystemExit(f"a step's texts can't be shared by {processes} processes")
    arguments["gradient_accumulation_steps"] //= processes
    tokenizer = AutoTokenizer.from_pretrained(JOB["model"])

    def fits(row):
        messages = row["prompt"] + row["completion"]
        tokens = tokenizer.apply_chat_template(messages, tools=row.get("tools"), return_dict=False)
        return len(tokens) <= arguments["max_length"]

    def examples(name):
        # What is too long is left out, not cut.
        return load_dataset("json", data_files=str(HERE / name), split="train").filter(fits)

    held_out = examples("held_out.jsonl") if (HERE / "held_out.jsonl").exists() else None
    trainer = SFTTrainer(
        model=JOB["model"],
        args=SFTConfig(**arguments),
        train_dataset=examples("examples.jsonl"),
        eval_dataset=held_out,
        processing_class=tokenizer,
        peft_config=LoraConfig(**JOB["lora"]) if JOB["lora"] else None,
    )
    trainer.train()
    trainer.save_model(str(Path(arguments["output_dir"]) / "last"))


if __name__ == "__main__":
    main()
