#!/usr/bin/env python3
"""What Hugging Face's Math-Verify says of the pairs in pairs.tsv; writes math-verify.tsv beside it.

    pip install math-verify==0.9.0 antlr4-python3-runtime==4.13.2
    python3 math-verify.py

Both sides are given as a model is asked to give its answer: in a box. Columns: `=` or `!`, the right answer,
the answer.
"""

from importlib.metadata import version
from pathlib import Path

from math_verify import parse, verify

FOLDER = Path(__file__).resolve().parent
HEAD = "# math-verify {}, latex2sympy2_extended {}, sympy {}; made by math-verify.py."


def boxed(text: str) -> list:
    dollars = "$" in text.replace("\\$", "")  # formulas marked as such already
    return parse(text if dollars else "\\boxed{" + text + "}", raise_on_error=False)


packages = ["math-verify", "latex2sympy2_extended", "sympy"]
lines = [HEAD.format(*map(version, packages))]
for line in (FOLDER / "pairs.tsv").read_text(encoding="utf-8").splitlines():
    if line and not line.startswith("#"):
        gold, answer = line.split("\t")[1:3]
        lines.append("\t".join(["=" if verify(boxed(gold), boxed(answer)) else "!", gold, answer]))
(FOLDER / "math-verify.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
