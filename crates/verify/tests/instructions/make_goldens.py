"""Writes goldens.json: responses made up here, with the verdicts of the published IFEval checker.

    pip download --no-deps lm-eval==0.4.13 llama-index-core==0.14.25    # and unpack both here:
        lm_eval/tasks/ifeval from the one, llama_index/core/_static/nltk_cache from the other
    pip install nltk==3.9.1 langdetect==1.0.9 immutabledict packaging
    NLTK_DATA=.../nltk_cache PYTHONPATH=... python make_goldens.py

lm-eval carries Google's instruction_following_eval; llama-index-core carries NLTK's Punkt. The
checker draws at random where it guesses a language: such a case is asked twenty times and kept
only if the answer is always the same; how many are not is printed.
"""

import collections
import json
import logging
import pathlib
import random
import sys
import types

# Only three modules of the harness are needed, not what it imports on its way to them.
for name in ("lm_eval", "lm_eval.tasks"):
    module = types.ModuleType(name)
    for root in sys.path:
        if (path := pathlib.Path(root, *name.split("."))).is_dir():
            module.__path__ = [str(path)]
    sys.modules[name] = module

import langdetect
import nltk.data
from lm_eval.tasks.ifeval import instructions_util, utils
from nltk.tokenize import PunktTokenizer

# The checker loads the model under its old name.
instructions_util._get_sentence_tokenizer = lambda tokenizer=PunktTokenizer(): tokenizer
logging.disable(logging.CRITICAL)
langdetect.detect("the first call loads the profiles")
FACTORY = langdetect.detector_factory._factory

here = pathlib.Path(__file__).parent
sentences = json.loads((here / "sentences.json").read_text(encoding="utf-8"))
rng = random.Random(20)

EN = sentences["en"] + [
    "Dr. Ellis came at 5 p.m. on Tuesday.",
    "Was the lamp still burning?",
    "Nobody knew!",
    "It cost about $3.50, or so they said.",
    "The U.S. Coast Guard wrote to Mr. Hale in Jan. 1912.",
    "He waited... and then he left.",
    "\"Come in,\" she said. \"It is cold.\"",
    "We have three goals, e.g. speed, clarity and care.",
    "Section B. ends here. See p. 12 for more.",
    "The result was 42. They were pleased.",
    "I saw J. R. Hartley there (he was fishing).",
    "Note: the well-known keeper's log isn't lost; it's in St. Ives.",
    "He works at Acme Inc. The firm is old.",
    "Is this it?! Yes... Perhaps.",
    "Plan A. Go north. Plan B. Go south.",
    "1. Climb the stairs. 2. Light the lamp.",
    "What a night (so dark!). Everyone slept.",
    "She left at 9 a.m. We followed at noon.",
    "They've got a NASA map and a BBC radio.",
    "DON'T touch the LAMP, it's HOT.",
    "CANNOT, WON'T, SHAN'T: the KEEPER'S rules.",
    "‘Curly quotes,’ he said. “Like these.” Done.",
    "See https://example.org/a.b?c=d or write to keeper@example.org today.",
    "No. 7 is Prof. Brown's, etc. and so on.",
    "The A-B-C of it: X-ray, T-shirt, O'NEIL, ROCK-N-ROLL.",
]
OPENERS = ["Sure, here is my answer:", "**Answer**", "Of course!", "***", "Note", ""]
CLOSERS = ["I hope this helps!", "**End**", "Is there anything else I can help with?", "***", ""]


def text(low=1, high=6, joiners=(" ", "\n", "\n\n")):
    n = rng.randint(low, high)
    return "".join(rng.choice(EN) + rng.choice(joiners) for _ in range(n)).strip()


def dressed(body):
    """The body as it stands, or with lines around it that the loose check may take away."""
    how = rng.randrange(6)
    if how == 1:
        return rng.choice(OPENERS) + "\n" + body
    if how == 2:
        return body + "\n" + rng.choice(CLOSERS)
    if how == 3:
        return rng.choice(OPENERS) + "\n\n" + body + "\n\n" + rng.choice(CLOSERS)
    if how == 4:
        return rng.choice(["*", "**", " ", "\n", "\t"]) + body + rng.choice(["*", "**", " ", "\n"])
    return body


cases = []


def add(name, response, **kwargs):
    cases.append((name, kwargs, response))


RELATIONS = ["at least", "less than"]
for _ in range(60):
    words = rng.sample(["lamp", "Keeper", "light", "sea", "night", "well-known", "St. Ives", "U.S.",
                        "mail", "the", "oldest", "C++"[:1] + "oast"], rng.randint(1, 3))
    body = dressed(text())
    add("keywords:existence", rng.choice([body, body.upper(), body.lower()]), keywords=words)
    add("keywords:forbidden_words", body, forbidden_words=rng.sample(
        ["lamp", "keeper", "lighthouse", "sea", "so", "it", "NASA", "B", "'s", "radio.", "s"],
        rng.randint(1, 2)))
    add("keywords:frequency", body, keyword=rng.choice(["the", "lamp", "is", "it", "keeper", "."]),
        frequency=rng.randint(1, 6), relation=rng.choice(RELATIONS))
    add("keywords:letter_frequency", body, letter=rng.choice("aeiotqzJKE"),
        let_frequency=rng.randint(1, 25), let_relation=rng.choice(RELATIONS))
for _ in range(140):
    body = dressed(text(1, 8))
    count = instructions_util.count_sentences(body)
    add("length_constraints:number_sentences", body, relation=rng.choice(RELATIONS),
        num_sentences=max(1, count + rng.choice([-1, 0, 0, 1, 1])))
MARKS = [" ", "\n", ". ", "! ", "? ", ".", "...", " . . . ", '."', '." ', "?) ", "! (", ".' ", "; ",
         ": ", " - ", "--", ".\n\n", ".  ", ".) ", "!!! ", "?!", ".] ", ".* ", "**. ", ".”  ", "., "]
WORDS = ["the", "The", "He", "he", "It", "lamp", "Lamp", "Mr", "Dr", "U.S", "p.m", "etc", "e.g",
         "i.e", "No", "5", "1912", "3.14", "A", "b", "I", "x", "Inc", "Jan", "Smith", "Paris", "and",
         "But", "However", "when", "When", "(see", "[1]", "J", "St", "vs", "approx", "Fig", "-",
         "well-known", "co", "Ph.D", "a.m", "They", "We", "Then", "What", "$5", "a"]
for _ in range(160):
    body = "".join(rng.choice(WORDS) + rng.choice(MARKS if rng.random() < 0.5 else [" ", ". "])
                   for _ in range(rng.randint(3, 25)))
    count = instructions_util.count_sentences(body)
    add("length_constraints:number_sentences", body, relation=rng.choice(RELATIONS),
        num_sentences=max(1, count + rng.choice([0, 0, 1])))
for _ in range(60):
    body = rng.choice([text(), " ".join(rng.choice(list(sentences.values()))), text() + " a_b c-d"])
    count = instructions_util.count_words(body)
    add("length_constraints:number_words", dressed(body), relation=rng.choice(RELATIONS),
        num_words=max(1, count + rng.choice([-3, -1, 0, 0, 1, 3])))
    n = rng.randint(1, 5)
    parts = [text(1, 2, (" ",)) for _ in range(n)]
    if rng.random() < 0.2:
        parts[rng.randrange(n)] = " "
    body = rng.choice(["***", "\n***\n", "\n\n***\n\n", " *** ", "****", "\n* * *\n"]).join(parts)
    add("length_constraints:number_paragraphs", dressed(rng.choice(["", "", "***\n"]) + body
        + rng.choice(["", "", "\n***"])), num_paragraphs=max(1, n + rng.choice([0, 0, 0, 1, -1])))
    first = rng.choice(["lamp", "Lamp", "light", "once"])
    n = rng.randint(1, 5)
    parts = [text(1, 2, (" ", "\n")) for _ in range(n)]
    nth = rng.randint(1, n)
    quote = rng.choice(["", "", "'", '"', "**", "''"])
    parts[nth - 1] = (quote + rng.choice([first, first, first.upper(), "Other"])
                      + rng.choice([" ", ", ", ". ", "'s ", "-like ", "\n"]) + parts[nth - 1])
    add("length_constraints:nth_paragraph_first_word",
        dressed(rng.choice(["\n\n", "\n\n", "\n\n\n", "\n\n\n\n", "\n"]).join(parts)),
        num_paragraphs=max(nth, n + rng.choice([0, 0, 0, 1])), nth_paragraph=nth, first_word=first)
    n = rng.randint(0, 5)
    marks = rng.choices(["[name]", "[]", "[a b]", "[", "]", "[x\ny]", "[[z]]", "[1] [2]"], k=n)
    add("detectable_content:number_placeholders", dressed(text(1, 3) + " " + " and ".join(marks)),
        num_placeholders=rng.randint(1, 5))
    marker, near = rng.choice([
        ("P.S.", ["P.S. More.", "p.s. more", "P. S. More", "PS: more", "P.P.S. More", "P.S more"]),
        ("P.P.S", ["P.P.S More", "P.P.S. More", "p. p. s more", "P.S. More", "PPS more"]),
        ("Afterword", ["Afterword: more", "AFTERWORD", "after word", "P.S. More"])])
    add("detectable_content:postscript", dressed(text(1, 3) + rng.choice(["\n\n", " ", ""])
        + rng.choice(near)), postscript_marker=marker)
    n = rng.randint(0, 5)
    lines = [rng.choice(["* ", "- ", "*", "  * ", "** ", "**bold** ", "*\n", "-", "--- ", "+ ", "• ",
                         "1. ", "*it* "]) + rng.choice(EN) for _ in range(n)]
    add("detectable_format:number_bullet_lists", dressed("\n".join(
        [rng.choice(["", text(1, 1)])] + lines)), num_bullets=max(1, n + rng.choice([0, 0, -1, 1])))
    n = rng.randint(0, 5)
    marks = rng.choices(["*one*", "**two**", "* *", "****", "*a\nb*", "***c***", "**", "*d e*",
                         "** **", "*f**g*"], k=n)
    add("detectable_format:number_highlighted_sections", dressed(rng.choice(EN) + " "
        + rng.choice([" ", " and ", ""]).join(marks)), num_highlights=rng.randint(1, 6))
    splitter = rng.choice(["Section", "SECTION", "Day", "PARAGRAPH"])
    n = rng.randint(0, 4)
    body = "".join(rng.choice([splitter, splitter, splitter.lower(), splitter + ":"])
                   + rng.choice([" ", "", "  ", "\n"]) + rng.choice([str(i + 1), "X", "1" * (i + 1)])
                   + rng.choice(["\n", ": ", ""]) + rng.choice(EN) + "\n" for i in range(n))
    add("detectable_format:multiple_sections", dressed(body or rng.choice(EN)),
        section_spliter=splitter, num_sections=max(1, n + rng.choice([0, 0, -1, 1])))
    add("change_case:capital_word_frequency", dressed(rng.choice([text(), text(1, 3).upper()])),
        capital_frequency=rng.randint(1, 25), capital_relation=rng.choice(RELATIONS))
CAPITALS = ["DON'T", "WE'LL", "CANNOT", "GONNA", "O'NEIL", "U.S.", "U.S", "A", "I", "I'M", "'TIS",
            "X-RAY", "A--B", "B2B", "R&D", "\"QUOTED\"", "'QUOTED'", "(BIG)", "*BOLD*", "[X]", "3D",
            "ALL-CAPS", "E.G.", "NO:", "NO:W", "A,B", "1,000", "JOHN'S", "HE'S", "word", "Title",
            "SHE'D", "YOU'RE", "AND/OR", "C++", "#TAG", "@ME", "50%", "$USD", "ISN'T.", "«X»", "É",
            "N'T", "'S", "YES!NO", "END.", "P.M.", "...OK", "OK...GO", "A_B", "ROCK'N'ROLL", "“Q”"]
for _ in range(120):
    body = " ".join(rng.choices(CAPITALS, k=rng.randint(1, 8))) + rng.choice(["", ".", "!", "\n"])
    tokens = nltk.word_tokenize(body)
    count = sum(word.isupper() for word in tokens)
    add("change_case:capital_word_frequency", body, capital_relation="at least",
        capital_frequency=max(1, count + rng.choice([0, 1])))
for _ in range(40):
    add("detectable_format:constrained_response", dressed(rng.choice(
        ["My answer is yes.", "My answer is no.", "My answer is maybe.", "my answer is yes.",
         "My answer is yes", "My answer is **yes**.", "**My answer is no.** " + rng.choice(EN),
         "My answer is\nyes.", "Yes."])))
    add("detectable_format:json_format", dressed(rng.choice(
        ['{"a": 1}', '```json\n{"a": [1, 2, {"b": null}]}\n```', "```\n[1, 2]\n```", "{'a': 1}",
         '{"a": 1,}', '```JSON\n"x"\n```', '{"a": NaN}', '{"a": "line\nbreak"}', '{"a": "\\ud800"}',
         "17", "[1, 2", '{"a": 01}', '{"a": 1e999, "b": -Infinity}', '````json\n{}\n````',
         '```Json{"k": "```"}```', '{"a": 1} {"b": 2}', "// note\n{}", '{"é": "\\u00e9"}', "null",
         '"' + rng.choice(EN).replace('"', '') + '"', "\ufeff{}", '{"a" : tru}', "[1.]", "[.5]"])))
    add("detectable_format:title", dressed(rng.choice(
        ["<<The Lamp>>", "<< >>", "<<>>", "<The Lamp>", "<<The\nLamp>>", "<<<Deep>>>", "<<a>", "<<>>>"])
        + rng.choice([" ", "\n"]) + text(1, 2)))
    parts = [text(1, 2, (" ",)) for _ in range(rng.choice([1, 2, 2, 2, 3]))]
    if rng.random() < 0.2:
        parts.append(parts[0])
    add("combination:two_responses", dressed(rng.choice(["", "", "******"]) + rng.choice(
        ["******", "\n******\n", "\n******\n\n******\n", "*****", "*******"]).join(parts)
        + rng.choice(["", "", "\n******\n"])))
    request = text(1, 2)
    add("combination:repeat_prompt", dressed(rng.choice(
        [request, request.upper(), request[:-1], '"' + request + '"', "", request.replace(" ", "  ")])
        + "\n" + text(1, 2)), prompt_to_repeat=rng.choice([request, request + " "]))
    phrase = rng.choice(["That is all.", "Any other questions?", "so be it", "The End"])
    add("startend:end_checker", dressed(text(1, 3) + " " + rng.choice(
        [phrase, phrase.upper(), phrase + '"', phrase + ' "', phrase[:-1], phrase + "!", "", phrase
         + "**"])), end_phrase=phrase)
    body = text(1, 3)
    add("startend:quotation", dressed(rng.choice(
        ['"' + body + '"', '"' + body, body + '"', "'" + body + "'", '" "', '"', "“" + body + "”",
         ' "' + body + '" ', '"' + body + '".'])))
    add("punctuation:no_comma", dressed(rng.choice(
        [body, body.replace(",", ""), body.replace(",", ";"), body.replace(",", "،")])))
for code, own in sentences.items():
    if code in instructions_util.LANGUAGE_CODES:
        near = rng.choice(list(instructions_util.LANGUAGE_CODES))
        for body in [own[0], " ".join(own), own[0] + " " + rng.choice(EN), "12, 34!",
                     " ".join(own).upper()]:
            add("language:response_language", dressed(body), language=code)
        add("language:response_language", own[0], language=near)
        add("language:response_language", rng.choice(EN), language=code)
        add("language:response_language", own[-1][:30], language=code)
    for change in (str.upper, str.lower):
        kind = {"UPPER": "english_capital", "lower": "english_lowercase"}[change("UPPER")
            if change is str.upper else "lower"]
        add("change_case:" + kind, change(" ".join(own)))
for _ in range(60):
    body = text(1, 4)
    add("change_case:english_capital", dressed(rng.choice([body.upper(), body.upper(), body,
        rng.choice(EN[:4]).upper() + " 1, 2.", "123 !", body.upper() + " ß"])))
    add("change_case:english_lowercase", dressed(rng.choice([body.lower(), body.lower(), body,
        rng.choice(EN[:4]).lower() + " 1, 2.", "123 !", body.lower() + " É"])))
for name in sorted({name for name, _, _ in cases}):
    for response in ("", "  \n "):
        kwargs = next(kwargs for known, kwargs, _ in cases if known == name)
        add(name, response, **kwargs)


def verdicts(name, kwargs, response):
    given = utils.InputExample(0, [name], "", [kwargs])
    strict = utils.test_instruction_following_strict(given, response)
    loose = utils.test_instruction_following_loose(given, response)
    return bool(strict.follow_all_instructions), bool(loose.follow_all_instructions)


goldens, unsure = [], collections.Counter()
for name, kwargs, response in cases:
    guesses = name.startswith(("language:", "change_case:english"))
    seen = set()
    for seed in range(20 if guesses else 1):
        FACTORY.set_seed(seed)
        seen.add(verdicts(name, kwargs, response))
    if len(seen) == 1:
        goldens.append([name, kwargs, response, *map(int, seen.pop())])
    else:
        unsure[name] += 1
counts = collections.Counter((golden[0], golden[3]) for golden in goldens)
for name in sorted({golden[0] for golden in goldens}):
    print(f"{name}: {counts[name, 1]} followed, {counts[name, 0]} not, {unsure[name]} unsure")
lines = [json.dumps(golden, ensure_ascii=False, separators=(",", ":")) for golden in goldens]
head = ('{"made_by":"make_goldens.py","checker":"lm-eval 0.4.13","nltk":"3.9.1",'
        '"langdetect":"1.0.9","columns":["instruction","kwargs","response","strict","loose"],'
        '"goldens":[\n')
(here / "goldens.json").write_text(head + ",\n".join(lines) + "\n]}\n", encoding="utf-8")
