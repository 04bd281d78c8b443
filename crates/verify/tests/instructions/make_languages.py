"""Writes ../../src/instructions/languages.txt: how often each language uses which one to three
characters in a row, taken from the profiles inside the PyPI package langdetect 1.0.9 (Apache-2.0,
Nakatani Shuyo, Michal Danilak; drawn from Wikipedia's abstracts).

    pip install langdetect==1.0.9 && python make_languages.py

Rare entries are dropped (shares under 2e-5 of single characters, 5e-5 of pairs, 1e-4 of triples)
and shares rounded to a quarter of a power of two; tests/instructions.rs counts what that changes.
"""

import collections
import json
import math
import pathlib

import langdetect

CUT = {1: 2e-5, 2: 5e-5, 3: 1e-4}
HEAD = """\
# Made by tests/instructions/make_languages.py from langdetect 1.0.9 (Apache-2.0; Copyright
# 2014-2015 Michal "Mimino" Danilak, 2010-2014 Cybozu Labs, Inc.). A line with a language's code;
# then per line: -4 log2 of the share, a tab, the length n, a tab, n-grams without a gap.
"""

profiles = pathlib.Path(langdetect.__file__).parent / "profiles"
out = [HEAD]
for path in sorted(profiles.iterdir()):
    profile = json.loads(path.read_text(encoding="utf-8"))
    lines = collections.defaultdict(list)
    for gram, count in profile["freq"].items():
        n = len(gram)
        if n > 3:
            continue
        share = count / profile["n_words"][n - 1]
        if share >= CUT[n]:
            lines[n, round(-4 * math.log2(share))].append(gram)
    out.append(profile["name"] + "\n")
    for (n, bucket), grams in sorted(lines.items()):
        out.append(f"{bucket}\t{n}\t{''.join(sorted(grams))}\n")
target = pathlib.Path(__file__).parent / "../../src/instructions/languages.txt"
target.write_text("".join(out), encoding="utf-8")
