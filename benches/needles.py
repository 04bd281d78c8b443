#!/usr/bin/env python3
"""Questions about needles in a haystack: long made-up texts, each with some numbers to be found again.

    python3 benches/needles.py --words 6000 > needles.jsonl
    ponder eval benches/needles.toml -m qwen2.5-coder-1.5b --items needles.jsonl --attention sparse

After RULER's multi-key task (Hsieh et al. 2024, arXiv:2404.06654): every text has `--needles` names with a number each,
spread evenly from its beginning to its end, and a question for every one of them, so that the others are there to be
confused with. Questions about one text follow each other: a cache reads it once. The same seed gives the same texts.
"""

import argparse
import json
import random

PEOPLE = "Anna Boris Chandra Dolores Emeka Farida Goran Hana Ivo Jun Kwame Lena Mateo Nadia Omar Petra".split()
PLACES = "mill harbour library market bakery station orchard school bridge museum chapel garden".split()
DEEDS = [
    "carried {n} boxes from the {a} to the {b}", "waited {n} minutes at the {a} before walking to the {b}",
    "counted {n} birds on the roof of the {a}, and fewer at the {b}", "painted {n} doors at the {a}, though the {b} needed it more",
    "lent {n} books to somebody at the {a} who had come from the {b}", "sold {n} lamps at the {a} and spent the money at the {b}",
]
DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
COLOURS = "amber blue crimson dark emerald fading golden hollow ivory jade kindly little misty northern old pale".split()
BEASTS = "falcon otter badger heron lynx marten salmon swallow tortoise walrus weasel wren adder bison crane dormouse".split()


def haystack(rng, words):
    sentences, count = [], 0
    while count < words:
        a, b = rng.sample(PLACES, 2)
        deed = rng.choice(DEEDS).format(n=rng.randint(2, 60), a=a, b=b)
        sentence = f"On {rng.choice(DAYS)} {rng.choice(PEOPLE)} {deed}."
        sentences.append(sentence)
        count += len(sentence.split())
    return sentences


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--words", type=int, default=6000, help="of a text (a word is about 1.3 tokens here)")
    parser.add_argument("--needles", type=int, default=8)
    parser.add_argument("--texts", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    for number in range(args.texts):
        rng = random.Random(f"{args.seed} {number} {args.words} {args.needles}")
        sentences = haystack(rng, args.words)
        names = rng.sample([f"{colour} {beast}" for colour in COLOURS for beast in BEASTS], args.needles)
        needles = [(name, str(rng.randint(1_000_000, 9_999_999))) for name in names]
        for place, (name, code) in reversed(list(enumerate(needles))):
            at = (2 * place + 1) * len(sentences) // (2 * args.needles)
            sentences.insert(at, f"The secret number of the {name} is {code}.")
        text = " ".join(sentences)
        for place, (name, code) in enumerate(needles):
            print(json.dumps({
                "id": f"{args.seed}-{args.words}-{number}-{place}", "text": text, "name": name, "code": code,
                "depth": f"{(2 * place + 1) * 100 // (2 * args.needles)} %",
            }))


if __name__ == "__main__":
    main()
