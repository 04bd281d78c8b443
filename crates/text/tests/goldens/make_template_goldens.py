#!/usr/bin/env python3
"""Makes `templates.expected.json`: all conversations through all templates, by transformers.

    pip install jinja2==3.1.6 transformers==5.23.0
    python make_template_goldens.py
"""

import copy
import datetime
import glob
import json
import os

import jinja2
import transformers
from transformers.utils import chat_template_utils

HERE = os.path.dirname(os.path.abspath(__file__))

# The moment all goldens were made at, as far as the templates can tell.
NOW = datetime.datetime(2026, 11, 24, 10, 30, 5)


class Clock(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return NOW


chat_template_utils.datetime = Clock

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "Gets the weather at a <place> & \"time\"; caf\u00e9\u2019s too.\nIn \u00b0C.",
            "parameters": {
                "type": "object",
                "properties": {
                    "place": {"type": "string", "description": "A city's name"},
                    "days": {"type": "integer", "minimum": 1, "maximum": 7.5, "default": None},
                    "exact": {"type": "boolean", "default": True, "enum": [True, False], "weight": 1e-07},
                },
                "required": ["place"],
                "additionalProperties": False,
            },
        },
    },
    {"type": "function", "function": {"name": "now", "description": "", "parameters": {"type": "object", "properties": {}}}},
]


def user(text):
    return {"role": "user", "content": text}


def assistant(text, **more):
    return {"role": "assistant", "content": text, **more}


def call(id, name, arguments):
    text = json.dumps(arguments, ensure_ascii=False)
    return {"id": id, "type": "function", "function": {"name": name, "arguments": text}}


SYSTEM = {"role": "system", "content": "  You are terse.\n"}
THOUGHT = "<think>\nHm, 2 < 3 & so on.\n</think>\n\n"
WEATHER = [
    user("What's the weather in Z\u00fcrich and Bern?"),
    assistant(
        None,
        tool_calls=[
            call("call00001", "get_weather", {"place": "Z\u00fcrich", "days": 2}),
            call("call00002", "get_weather", {"place": "Bern", "exact": True}),
        ],
    ),
    {"role": "tool", "tool_call_id": "call00001", "name": "get_weather", "content": "{\"temp\": 3.5}"},
    {"role": "tool", "tool_call_id": "call00002", "name": "get_weather", "content": "<rain>"},
]

CONVERSATIONS = {
    "one question": {"messages": [user("Hi  there\n")]},
    "system": {"messages": [SYSTEM, user("Hi")]},
    "two turns": {"messages": [SYSTEM, user("1+1?"), assistant("2"), user("2+2?")]},
    "earlier thinking": {"messages": [user("1+1?"), assistant(THOUGHT + "2"), user("2+2?"), assistant(THOUGHT + "4"), user("3+3?")]},
    "last thinking": {"messages": [user("1+1?"), assistant(THOUGHT + "2")], "add_generation_prompt": False},
    "reasoning field": {
        "messages": [user("1+1?"), assistant("2", reasoning_content="Hm."), user("2+2?"), assistant("4", reasoning_content="\nHm!\n")],
        "add_generation_prompt": False,
    },
    "tools": {"messages": [user("Weather?")], "tools": TOOLS},
    "tools and system": {"messages": [SYSTEM, user("Weather?")], "tools": TOOLS},
    "tool results": {"messages": WEATHER, "tools": TOOLS},
    "after tool results": {"messages": [SYSTEM, *WEATHER, assistant(THOUGHT + "Cold."), user("And now?")], "tools": TOOLS},
    "one call": {"messages": [*WEATHER[:1], {**WEATHER[1], "tool_calls": WEATHER[1]["tool_calls"][:1]}, WEATHER[2]]},
    "thinking off": {"messages": [user("Hi")], "extra": {"enable_thinking": False}},
    "thinking on": {"messages": [user("Hi")], "extra": {"enable_thinking": True, "style": "so so"}},
    "refused": {"messages": [{"role": "nobody", "content": "Hm"}]},
    "unicode": {"messages": [user("\U0001f999 \u4f60\u597d \u2028 e\u0301 \\n {{ x }} {% y %}"), assistant(" \t ok"), user("\n")]},
}

# Which templates want a message that only calls to have no content, and arguments as text.
TEXT_ARGUMENTS = {"r1-distill-qwen-7b", "r1-distill-llama-8b"}


def for_template(messages, name):
    messages = copy.deepcopy(messages)
    for message in messages:
        if message["content"] is None and name not in TEXT_ARGUMENTS:
            message["content"] = ""
        for each in message.get("tool_calls", []):
            if name not in TEXT_ARGUMENTS:
                each["function"]["arguments"] = json.loads(each["function"]["arguments"])
    return messages


def render(source, name, conversation):
    try:
        template = chat_template_utils._compile_jinja_template(source)
        return template.render(
            messages=for_template(conversation["messages"], name),
            tools=conversation.get("tools"),
            documents=None,
            add_generation_prompt=conversation.get("add_generation_prompt", True),
            bos_token="<s>",
            eos_token="</s>",
            **conversation.get("extra", {}),
        )
    except (jinja2.exceptions.TemplateError, TypeError) as error:
        print(f"{name}: {type(error).__name__}: {error}")
        return None


if __name__ == "__main__":
    print("jinja2", jinja2.__version__, "transformers", transformers.__version__)
    expected = {}
    for path in sorted(glob.glob(os.path.join(HERE, "templates", "*.jinja"))):
        name = os.path.basename(path).removesuffix(".jinja")
        with open(path, encoding="utf-8", newline="") as file:
            source = file.read()
        expected[name] = {title: render(source, name, each) for title, each in CONVERSATIONS.items()}
    with open(os.path.join(HERE, "templates.expected.json"), "w", encoding="utf-8") as file:
        json.dump({"now": int(NOW.replace(tzinfo=datetime.timezone.utc).timestamp()), "conversations": CONVERSATIONS, "expected": expected}, file, ensure_ascii=False, indent=1)
        file.write("\n")
