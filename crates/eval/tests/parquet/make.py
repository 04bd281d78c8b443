"""Makes the Parquet files of this folder, and the same rows as JSON lines: pip install pyarrow==26.0.1."""

import json
import pathlib

import pyarrow
import pyarrow.parquet

HERE = pathlib.Path(__file__).parent
ROWS = [
    {
        "id": i,
        "question": f"What is {i} + {i}? 什么",
        "share": i / 4,
        "hard": i % 2 == 0,
        "hint": None if i % 3 else "add",
        "messages": [{"role": "user", "content": f"{i}?"}, {"role": "assistant", "content": str(2 * i)}],
        "tags": ["a"] * (i % 3),
    }
    for i in range(7)
]

table = pyarrow.Table.from_pylist(ROWS)
for codec in ["snappy", "zstd", "gzip", "none"]:
    # Several groups of rows, as large files have them.
    pyarrow.parquet.write_table(table, HERE / f"{codec}.parquet", compression=codec, row_group_size=3)
with open(HERE / "rows.jsonl", "w") as out:
    out.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS)
