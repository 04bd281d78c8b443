"""Rewards that `ponder verify` gives: it must be on the PATH, or named by PONDER.

Each verifier is one process that answers a JSON line with a JSON line, as long as there are questions.
"""

import json
import math
import os
import queue
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

JOB = json.loads(Path(__file__).with_name("job.json").read_text(encoding="utf-8"))
VERIFIERS = int(os.environ.get("PONDER_VERIFIERS", os.cpu_count() or 1))


class Verifier:
    """A running `ponder verify`, started when it is first asked."""

    def __init__(self):
        self.process = None

    def ask(self, line):
        """The score from 0 to 1, or none where nobody can tell."""
        if self.process is None or self.process.poll() is not None:
            command = [os.environ.get("PONDER", "ponder"), "verify"]
            self.process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8"
            )
        self.process.stdin.write(json.dumps(line) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise RuntimeError("`ponder verify` ended; what it said is above. Is it as new as this job?")
        return json.loads(answer)["score"]


_idle = queue.Queue()
for _ in range(VERIFIERS):
    _idle.put(Verifier())
_threads = ThreadPoolExecutor(VERIFIERS)


def _ask(line):
    verifier = _idle.get()
    try:
        return verifier.ask(line)
    finally:
        _idle.put(verifier)


def split(text):
    """Thinking and answer of a completion."""
    opening, closing = JOB["thinking_tags"]
    thinking, closed, answer = text.partition(closing)
    if closed:
        return thinking.replace(opening, "", 1).strip(), answer.strip()
    # Cut off while thinking: there is no answer.
    return (text.replace(opening, "", 1), "") if opening in text else ("", text)


def scores(reward, texts, problems):
    """The scores of one reward of the job: `problems` are their problems' checks and questions."""
    lines = []
    for text, (check, question) in zip(texts, problems, strict=True):
        reasoning, answer = split(text)
        check = json.loads(check) if reward["check"] is None else reward["check"]
        lines.append({"check": check, "question": question, "reasoning": reasoning, "answer": answer})
    return list(_threads.map(_ask, lines))


def overlong(tokens):
    """DAPO's soft overlong punishment, from 0 to -1 (arXiv:2503.14476)."""
    most, buffer = JOB["max_tokens"], JOB["overlong_tokens"]
    return -min(max(tokens - (most - buffer), 0) / buffer, 1.0)


def compute_score(data_source, solution_str, ground_truth, extra_info=None, **_):
    """The sum of all rewards, as verl asks for it; 0 where a verifier can't tell."""
    problem = json.loads(ground_truth)
    given = [
        (reward, scores(reward, [solution_str], [(problem["check"], problem["question"])])[0])
        for reward in JOB["rewards"]
    ]
    known = all(score is not None for _, score in given)
    total = sum(reward["weight"] * score for reward, score in given) if known else 0.0
    each = {reward["name"]: math.nan if score is None else score for reward, score in given}
    return {"score": total, **{f"reward/{name}": score for name, score in each.items()}}
