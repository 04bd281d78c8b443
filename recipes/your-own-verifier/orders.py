"""Orders as people say them, and as a shop's till wants them:
{"number": 3, "size": "M", "colour": "blue", "day": "THU"}.

    python3 orders.py data --seed 1 --count 400     # questions, one JSON line each
    python3 orders.py check                         # a JSON line in, a verdict out, until the input ends

Both halves of a verifier of your own, in any language that can read and write lines. Nothing here knows
of models; `ponder` keeps `check` running and asks it about every answer.
"""

import argparse
import json
import random
import re
import sys

NUMBERS = "one two three four five six seven eight nine ten eleven twelve".split()
SIZES = {"small": "S", "medium": "M", "large": "L", "extra large": "XL"}
COLOURS = ["red", "blue", "green", "black", "white", "grey", "brown", "pink"]
DAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"]
SAID = [
    "{number} {colour} shirts, size {size}, to be fetched on {day}.",
    "I'd like {number} {size} shirts in {colour}; I'll come by on {day}.",
    "On {day} I need {number} shirts. {Colour}, please, and {size}.",
    "Could you put {number} {size} {colour} shirts aside for {day}?",
]
# Said only where it is measured: what is learned has to hold for words never seen.
SAID_HELD_OUT = [
    "Please keep {number} shirts in {size} until {day}. The colour is {colour}.",
    "My team wants {number} of the {colour} ones in {size}, ready by {day}.",
]


def data(seed: int, count: int, held_out: bool):
    rng = random.Random(f"{seed} {held_out}")
    for i in range(count):
        number = rng.randrange(1, 13)
        size, colour, day = rng.choice(list(SIZES)), rng.choice(COLOURS), rng.choice(DAYS)
        said = rng.choice(SAID_HELD_OUT if held_out else SAID).format(
            number=NUMBERS[number - 1] if rng.random() < 0.7 else number,
            size=size, colour=colour, Colour=colour.capitalize(), day=day)
        want = {"number": number, "size": SIZES[size], "colour": colour, "day": day[:3].upper()}
        said = said[0].upper() + said[1:]
        print(json.dumps({"id": f"{seed}-{i}", "question": said, "task": want}))


def judge(answer: str, want: dict) -> tuple[float, str]:
    """A tenth for an object with the right names, the rest for what is right in it."""
    found = re.fullmatch(r"\s*(?:```(?:json)?)?\s*(\{.*\})\s*(?:```)?\s*", answer, re.DOTALL)
    try:
        order = json.loads(found[1]) if found else None
    except ValueError:
        order = None
    if not isinstance(order, dict) or order.keys() != want.keys():
        return 0.0, "no JSON object of " + ", ".join(want) + ", and nothing else"
    # 3 is not "3", nor True 1.
    wrong = [name for name in want if json.dumps(order[name]) != json.dumps(want[name])]
    if not wrong:
        return 1.0, "right"
    return 0.1 + 0.15 * (len(want) - len(wrong)), "wrong: " + ", ".join(wrong)


def check():
    for line in sys.stdin:
        ask = json.loads(line)
        score, why = judge(ask["answer"], ask["task"])
        print(json.dumps({"id": ask["id"], "score": score, "why": why}), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    make = verbs.add_parser("data")
    make.add_argument("--seed", type=int, default=1)
    make.add_argument("--count", type=int, default=400)
    make.add_argument("--held-out", action="store_true")
    verbs.add_parser("check")
    args = parser.parse_args()
    if args.verb == "data":
        data(args.seed, args.count, args.held_out)
    else:
        check()


if __name__ == "__main__":
    main()
