#!/usr/bin/env python3
"""Makes the goldens of SentencePiece's vocabularies in this folder.

    pip install sentencepiece==0.2.3 tokenizers==0.23.3
    python make_sentencepiece_goldens.py

Small vocabularies are trained on the spot, on the texts below and those of `texts.json`. What is expected of the
vocabularies themselves (`sentencepiece.json`) is what the package `sentencepiece` gives; of the same in the layout
of a `tokenizer.json`, it is what `tokenizers` gives.
"""

import io
import json
import os

import sentencepiece
from tokenizers import Tokenizer

HERE = os.path.dirname(os.path.abspath(__file__))

CORPUS = """
The owl sat in the old oak, and the more it saw the less it spoke. The less it spoke the more it heard.
In the beginning there was a word, and nobody could say which one it had been, for nobody had been there.
    def area(width, height):
        return width * height

    for n in range(10):
        print(n, n ** 2)
Numbers: 1, 2, 3, 10, 20, 30, 100, 1000, 3.14159, 2.71828, 299792458.
Der Wald steht schwarz und schweiget, und aus den Wiesen steiget der weisse Nebel wunderbar.
Ein Männlein steht im Walde ganz still und stumm. Größe, Übermut, Äpfel.
Всё смешалось в доме. Кто виноват и что делать?
人生得意須盡歡，莫使金樽空對月。天生我材必有用。
"""

TEXTS = [
    "The owl sat in the old oak.",
    " a space in front, two at the end  ",
    "   three   and     five",
    "line\nafter\n\nline\r\n\ttab",
    "    for n in range(10):\n        print(n)\n",
    "Männlein im Walde, Größe",
    "смешалось в доме",
    "人生得意 money 空對月",
    "emoji 🦉 and 𝔘𝔫𝔦𝔠𝔬𝔡𝔢, zero\u0000byte, \u200b, \u3000",
    "<s>not a token</s> <unk> <0x41>",
    "▁already ▁▁there",
    "x" * 50,
    " ",
    "",
    "\n",
    "thethethethe thethe",
    "<table> <b>bold</b> <table>",
    "1000 299792458 3.14159",
]

# Runs of texts with tokens that are parsed.
PARSED = [
    "<s>The owl</s>",
    "<s> The owl </s> sat",
    "The<s>owl</s></s>\n",
    "<table>the <table> owl<table>",
    "<|end|>\n the",
    " <s>",
]


def train(**options):
    out = io.BytesIO()
    with open(os.path.join(HERE, "texts.json"), encoding="utf-8") as file:
        texts = json.load(file)
    lines = CORPUS.strip("\n").split("\n") * 4 + [t for ts in texts.values() for t in ts if t.strip()]
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines),
        model_writer=out,
        model_type="bpe",
        byte_fallback=True,
        character_coverage=0.98,
        normalization_rule_name="identity",
        allow_whitespace_only_pieces=True,
        split_digits=True,
        minloglevel=2,
        **{"remove_extra_whitespaces": False, "vocab_size": 700, **options},
    )
    return sentencepiece.SentencePieceProcessor(model_proto=out.getvalue())


def describe(model, opens, collapses):
    kinds = []
    for id in range(model.vocab_size()):
        if model.is_unknown(id):
            kind = 2
        elif model.is_control(id):
            kind = 3
        elif model.is_byte(id):
            kind = 6
        else:
            kind = 1
        kinds.append(kind)
    return {
        "tokens": [model.id_to_piece(id) for id in range(model.vocab_size())],
        "scores": [model.get_score(id) for id in range(model.vocab_size())],
        "token_types": kinds,
        "add_space_prefix": opens,
        "remove_extra_whitespaces": collapses,
    }


def vocabularies():
    made = {}
    # Llama's.
    made["prefixed"] = train(), True, False, ()
    # Gemma's: no space in front, and words of a markup.
    markup = ("<table>", "<b>", "</b>", "\n\n")
    made["bare"] = train(add_dummy_prefix=False, user_defined_symbols=list(markup)), False, False, markup
    # T5's spaces.
    made["collapsed"] = train(remove_extra_whitespaces=True), True, True, ()
    return made


def merges(tokens, scores, skip):
    """Pairs of tokens that make a third, in the order that `transformers` gives them."""
    ids = {token: id for id, token in enumerate(tokens)}
    rules = []
    for token, score in zip(tokens, scores):
        if token in skip:
            continue
        halves = [(token[:at], token[at:]) for at in range(1, len(token))]
        halves = [(a, b) for a, b in halves if a in ids and b in ids and a not in skip and b not in skip]
        halves.sort(key=lambda half: (ids[half[0]], ids[half[1]]))
        rules += [(score, a, b) for a, b in halves]
    rules.sort(key=lambda rule: (rule[0], len(rule[1]), len(rule[2])), reverse=True)
    return [[a, b] for _, a, b in rules]


def tokenizer_json(description, scheme):
    tokens, kinds = description["tokens"], description["token_types"]
    special = [token for token, kind in zip(tokens, kinds) if kind in (2, 3)]
    bytes_ = [token for token, kind in zip(tokens, kinds) if kind == 6]
    extra = ["<|end|>", "<table>"]
    token = lambda content, id, special: {
        "id": id, "content": content, "single_word": False, "lstrip": False,
        "rstrip": content == "<|end|>", "normalized": False, "special": special,
    }
    added = [token(text, tokens.index(text), True) for text in special]
    added += [token(text, len(tokens) + n, n == 0) for n, text in enumerate(extra)]
    replace = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
    prepend = {"type": "Prepend", "prepend": "▁"}
    metaspace = lambda how: {
        "type": "Metaspace", "replacement": "▁", "prepend_scheme": how, "split": False,
    }
    normalizer, pre_tokenizer = {
        "legacy": ({"type": "Sequence", "normalizers": [prepend, replace]}, None),
        "first": (None, metaspace("first")),
        "always": (None, metaspace("always")),
        "never": (replace, {"type": "Split", "pattern": {"String": " "}, "behavior": "MergedWithPrevious", "invert": False}),
        # Words, which merges stay within: none of those that are known.
        "words": (None, {**metaspace("always"), "split": True}),
    }[scheme]
    begins = {"SpecialToken": {"id": "<s>", "type_id": 0}}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": normalizer,
        "pre_tokenizer": pre_tokenizer,
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [begins, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [begins, {"Sequence": {"id": "A", "type_id": 0}}, begins, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {"<s>": {"id": "<s>", "ids": [tokens.index("<s>")], "tokens": ["<s>"]}},
        },
        "decoder": {
            "type": "Sequence",
            "decoders": [
                {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
                {"type": "ByteFallback"},
                {"type": "Fuse"},
                {"type": "Strip", "content": " ", "start": 1, "stop": 0},
            ],
        },
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": "<unk>",
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": True,
            "byte_fallback": True,
            "ignore_merges": False,
            "vocab": {token: id for id, token in enumerate(tokens)},
            "merges": merges(tokens, description["scores"], {*special, *bytes_}),
        },
    }


def write(name, value):
    with open(os.path.join(HERE, name), "w", encoding="utf-8") as file:
        json.dump(value, file, ensure_ascii=False, separators=(",", ":"))
        file.write("\n")


def main():
    made, goldens = vocabularies(), {"texts": TEXTS, "vocabularies": {}}
    for name, (model, opens, collapses, markup) in made.items():
        description = describe(model, opens, collapses)
        for word in markup:
            description["token_types"][description["tokens"].index(word)] = 4
        description["ids"] = [model.encode(text) for text in TEXTS]
        description["decoded"] = [model.decode(ids) for ids in description["ids"]]
        goldens["vocabularies"][name] = description
    write("sentencepiece.json", goldens)

    description = goldens["vocabularies"]["prefixed"]
    expected = {"texts": TEXTS + PARSED, "schemes": {}}
    for scheme in ["legacy", "first", "always", "never", "words"]:
        described = tokenizer_json(description, scheme)
        tokenizer = Tokenizer.from_str(json.dumps(described))
        encode = lambda: [tokenizer.encode(text, add_special_tokens=False).ids for text in TEXTS + PARSED]
        parse = encode()
        tokenizer.encode_special_tokens = True
        keys = ["normalizer", "pre_tokenizer"]
        expected["schemes"][scheme] = {key: described[key] for key in keys} | {"parse": parse, "plain": encode()}
    write("tokenizer_sentencepiece.json", tokenizer_json(description, "legacy"))
    write("tokenizer_sentencepiece.expected.json", expected)


if __name__ == "__main__":
    main()
