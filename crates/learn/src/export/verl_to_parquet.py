"""problems.jsonl and held_out.jsonl as the Parquet files that verl reads."""

import json
from pathlib import Path

import pandas as pd

HERE = Path(__file__).parent

for path in sorted(HERE.glob("*.jsonl")):
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    pd.DataFrame(rows).to_parquet(path.with_suffix(".parquet"))
    print(f"{path.with_suffix('.parquet')}: {len(rows)} problems")
