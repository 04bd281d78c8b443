#!/usr/bin/env python3
"""Makes the tokenizer goldens in this folder.

    pip install gguf==0.19.0 tokenizers==0.23.3
    python make_tokenizer_goldens.py --llama-cpp LLAMA_CPP --models MODELS

LLAMA_CPP is a llama.cpp source tree (for `models/ggml-vocab-*.gguf` with their `.inp` and `.out`,
MIT licence); MODELS holds SmolLM2-135M-Instruct (`smollm2-*.gguf`) and the first parts of
DeepSeek-R1-Distill-Qwen-7B (`r1-*.gguf`), of which only the headers are read.

Whole vocabularies are megabytes. What is committed are excerpts: the 256 bytes, the added tokens,
and every merge whose result occurs anywhere in the test texts. No other merge can ever apply to
them, so the excerpt gives the very ids of the whole, whatever the pre-tokenizer does, up to the
renumbering that the excerpt records. The expected ids come from llama.cpp for its own texts, and
from the Python package with the makers' published expression, on the whole vocabulary, for all.
"""

import argparse
import glob
import json
import os

import gguf
import tokenizers
from gguf.gguf_reader import GGUFReader
from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers

HERE = os.path.dirname(os.path.abspath(__file__))

QWEN2 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
LLAMA3 = QWEN2.replace(r"\p{N}|", r"\p{N}{1,3}|")

TEXTS = [
    "The quick brown fox jumps over 13 lazy dogs, doesn't it?",
    "def f(x):\n    return x ** 2  # squared\n\n\nclass A:\n\tpass\r\n\r\n",
    "  leading and trailing   ",
    "a\u00a0b\u2003c\u2028d\u0085e\u3000f",
    "\t\t\n \n\t x \r y \r\n z",
    "I'LL you'Ve IT'S don'T 'tis it'\u017f we'r e",
    "1 12 123 1234 12345 \u0661\u0662\u0663\u0664 \u00b2\u00bd\u2167 \u5341\u4e8c x1y22z333",
    "na\u00efve cafe\u0301 Zu\u0308rich \u1e9e \ufb01 \ud55c\uad6d\uc5b4 \u1100\u1161",
    "\u4f60\u597d\uff0c\u4e16\u754c\uff01\u3053\u3093\u306b\u3061\u306f \u041f\u0440\u0438\u0432\u0435\u0442 \u0645\u0631\u062d\u0628\u0627 \u0928\u092e\u0938\u094d\u0924\u0947 \u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35",
    "\U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466 \U0001f3f3\ufe0f\u200d\U0001f308 \U0001d54f \U00020bb7 \ufffd \u200b\ufeff",
    "!!! ... --- ??? \"'\"' ([{<>}]) \\n \\ /* */ && || => ->",
    "\x00\x01\x7f\x1b[0m",
    "x" * 40 + " " * 40 + "\n" * 5 + "=" * 40,
    "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n<think>\n<tool_call>{}</tool_call><|endoftext|>",
    "<|begin_of_text|><|eot_id|> <|im_end |> <|im_end|> <\uff5cUser\uff5c>hi<\uff5cAssistant\uff5c>",
    "",
]


class Header(GGUFReader):
    """The metadata of a file that may be cut off after them."""

    def _build_tensors(self, *_):
        pass


def alphabet():
    kept = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    moved = [b for b in range(256) if b not in kept]
    return {b: chr(b) for b in kept} | {b: chr(0x100 + i) for i, b in enumerate(moved)}


ALPHABET = alphabet()


def spell(text):
    return "".join(ALPHABET[b] for b in text.encode())


def read(path):
    fields = Header(path).fields
    get = lambda key: fields[f"tokenizer.ggml.{key}"].contents() if f"tokenizer.ggml.{key}" in fields else None
    return {key: get(key) for key in ["pre", "tokens", "token_type", "merges", "bos_token_id", "eos_token_id", "add_bos_token"]}


def pre_tokenizer(pre):
    if pre == "gpt-2":
        return pre_tokenizers.ByteLevel(add_prefix_space=False)
    if pre == "smollm":
        return pre_tokenizers.Sequence(
            [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
        )
    expression = LLAMA3 if pre == "llama-bpe" else QWEN2
    return pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(expression), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )


def reference(vocabulary):
    """The Python package on the whole vocabulary."""
    ids = {token: id for id, token in enumerate(vocabulary["tokens"])}
    merges = [tuple(merge.split(" ")) for merge in vocabulary["merges"]]
    tokenizer = Tokenizer(models.BPE(ids, merges, ignore_merges=vocabulary["pre"] == "llama-bpe"))
    tokenizer.pre_tokenizer = pre_tokenizer(vocabulary["pre"])
    for token, kind in zip(vocabulary["tokens"], vocabulary["token_type"]):
        if kind == 3:
            tokenizer.add_special_tokens([AddedToken(token, normalized=False)])
        elif kind == 4:
            tokenizer.add_tokens([AddedToken(token, normalized=False)])
    return tokenizer


def excerpt(vocabulary, texts):
    tokens, kinds = vocabulary["tokens"], vocabulary["token_type"]
    ids = {token: id for id, token in enumerate(tokens)}
    everything = "\n".join(spell(text) for text in texts)
    merges = [merge for merge in vocabulary["merges"] if merge.replace(" ", "") in everything]
    keep = {ids[letter] for letter in ALPHABET.values() if letter in ids}
    keep |= {ids[part] for merge in merges for part in [*merge.split(" "), merge.replace(" ", "")]}
    # With `ignore_merges` a whole word may be a token that no merge leads to.
    keep |= {id for id, token in enumerate(tokens) if len(token) > 1 and kinds[id] == 1 and token in everything}
    # Added tokens: the ones that occur, and a few that do not.
    added = [id for id, kind in enumerate(kinds) if kind in (3, 4)]
    keep |= {id for id in added if any(tokens[id] in text for text in texts)} | set(added[:20])
    keep |= {vocabulary["bos_token_id"], vocabulary["eos_token_id"]}
    keep = sorted(keep)
    return {
        "pre": vocabulary["pre"],
        "bos": keep.index(vocabulary["bos_token_id"]),
        "eos": keep.index(vocabulary["eos_token_id"]),
        "add_bos": vocabulary["add_bos_token"],
        "tokens": [tokens[id] for id in keep],
        "token_types": [int(kinds[id]) for id in keep],
        "ids_in_the_whole": keep,
        "merges": merges,
    }


def encode(tokenizer, texts):
    parsed = [tokenizer.encode(text, add_special_tokens=False).ids for text in texts]
    tokenizer.encode_special_tokens = True
    plain = [tokenizer.encode(text, add_special_tokens=False).ids for text in texts]
    tokenizer.encode_special_tokens = False
    return {"parse": parsed, "plain": plain}


def write(name, value):
    with open(os.path.join(HERE, name), "w", encoding="utf-8") as file:
        json.dump(value, file, ensure_ascii=False, indent=None, separators=(",", ":"))
        file.write("\n")


def excerpts(llama_cpp, models_folder):
    folder = os.path.join(llama_cpp, "models")
    with open(os.path.join(folder, "ggml-vocab-qwen2.gguf.inp"), encoding="utf-8", newline="") as file:
        theirs = file.read().split("\n__ggml_vocab_test__\n")[:-1]
    texts = theirs + TEXTS
    write("texts.json", {"llama_cpp": theirs, "ours": TEXTS})
    sources = {name: os.path.join(folder, f"ggml-vocab-{name}.gguf") for name in ["qwen2", "gpt-2", "llama-bpe"]}
    sources["smollm"] = glob.glob(os.path.join(models_folder, "smollm2-*.gguf"))[0]
    sources["deepseek-r1-qwen"] = glob.glob(os.path.join(models_folder, "r1*.gguf"))[0]
    for name, path in sources.items():
        vocabulary = read(path)
        assert vocabulary["pre"] == name
        expected = encode(reference(vocabulary), texts)
        output = path + ".out"
        if os.path.exists(output):
            with open(output) as file:
                lines = file.read().split("\n")[: len(theirs)]
            expected["llama_cpp"] = [[int(id) for id in line.split()] for line in lines]
            different = [i for i in range(len(theirs)) if expected["llama_cpp"][i] != expected["parse"][i]]
            print(name, "llama.cpp and the Python package differ on", different)
        write(f"vocabularies/{name}.json", {"vocabulary": excerpt(vocabulary, texts), "expected": expected})


def trained():
    """Small tokenizers of our own, as `tokenizer.json`, with what files in the wild have."""
    corpus = TEXTS + [open(__file__, encoding="utf-8").read()]
    kinds = {
        # A known expression and a normalizer, as Qwen's.
        "qwen2": (normalizers.NFC(), pre_tokenizer("qwen2")),
        "smollm": (None, pre_tokenizer("smollm")),
        # Not one of the rules we know by name.
        "described": (
            normalizers.Sequence([normalizers.NFKC(), normalizers.Replace("fox", "cat")]),
            pre_tokenizers.Sequence(
                [
                    pre_tokenizers.Split(Regex(r"\p{N}{1,2}"), "isolated"),
                    pre_tokenizers.Punctuation(),
                    pre_tokenizers.ByteLevel(add_prefix_space=True, use_regex=True),
                ]
            ),
        ),
    }
    for name, (normalizer, splitter) in kinds.items():
        tokenizer = Tokenizer(models.BPE())
        if normalizer:
            tokenizer.normalizer = normalizer
        tokenizer.pre_tokenizer = splitter
        trainer = trainers.BpeTrainer(
            vocab_size=600, show_progress=False, initial_alphabet=sorted(ALPHABET.values()), special_tokens=["<|endoftext|>"]
        )
        tokenizer.train_from_iterator(corpus, trainer)
        tokenizer.add_special_tokens([AddedToken("<|im_start|>"), AddedToken("<|im_end|>", rstrip=True)])
        tokenizer.add_tokens(
            [AddedToken("<think>"), AddedToken("dogs", single_word=True), AddedToken("caf\u00e9", lstrip=True, normalized=True)]
        )
        if name == "qwen2":
            tokenizer.post_processor = tokenizers.processors.TemplateProcessing(
                single="<|im_start|> $A", special_tokens=[("<|im_start|>", tokenizer.token_to_id("<|im_start|>"))]
            )
        tokenizer.save(os.path.join(HERE, f"tokenizer_{name}.json"), pretty=False)
        texts = TEXTS + ["hotdogs dogs dogs. caf\u00e9 un cafe\u0301s <|im_end|>   x", "\ufb01x the fox"]
        expected = encode(tokenizer, texts)
        write(f"tokenizer_{name}.expected.json", {"texts": texts, **expected})


if __name__ == "__main__":
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--llama-cpp", required=True)
    arguments.add_argument("--models", required=True)
    arguments = arguments.parse_args()
    print("gguf", getattr(gguf, "__version__", "?"), "tokenizers", tokenizers.__version__)
    excerpts(arguments.llama_cpp, arguments.models)
    trained()
