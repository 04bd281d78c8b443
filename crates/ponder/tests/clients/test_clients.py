"""Official clients against `ponder serve`, unchanged. Run with PONDER_URL set; see tests/clients.rs."""

import json
import os

import anthropic
import openai
import pytest
from pydantic import BaseModel

URL = os.environ["PONDER_URL"]
MODEL = "any"
# Anthropic's client has no argument for it.
GREEDY = {"temperature": 0}

WEATHER = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "unit": {"enum": ["celsius", "fahrenheit"]}},
    "required": ["city", "unit"],
    "additionalProperties": False,
}
TOOL = {
    "type": "function",
    "function": {"name": "get_weather", "description": "The weather in a city.", "parameters": WEATHER},
}
QUESTION = [{"role": "user", "content": "What is the weather in Paris, in celsius?"}]


@pytest.fixture(scope="module")
def client():
    return openai.OpenAI(base_url=f"{URL}/v1", api_key="none", max_retries=0)


@pytest.fixture(scope="module")
def claude():
    return anthropic.Anthropic(base_url=URL, api_key="none", max_retries=0)


def test_chat(client):
    answer = client.chat.completions.create(
        model=MODEL, messages=[{"role": "user", "content": "What is 2 + 2? Answer with a number."}],
        temperature=0, max_tokens=40,
    )
    assert "4" in answer.choices[0].message.content
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


def test_stream(client):
    stream = client.chat.completions.create(
        model=MODEL, messages=[{"role": "user", "content": "Count from one to five."}],
        temperature=0, max_tokens=40, stream=True, stream_options={"include_usage": True},
    )
    text, usage, reasons = "", None, []
    for chunk in stream:
        usage = chunk.usage or usage
        for choice in chunk.choices:
            text += choice.delta.content or ""
            reasons += [choice.finish_reason] if choice.finish_reason else []
    whole = client.chat.completions.create(
        model=MODEL, messages=[{"role": "user", "content": "Count from one to five."}],
        temperature=0, max_tokens=40,
    )
    assert text == whole.choices[0].message.content
    assert reasons == [whole.choices[0].finish_reason]
    assert usage.completion_tokens == whole.usage.completion_tokens


def test_several_answers_with_logprobs(client):
    answer = client.chat.completions.create(
        model=MODEL, messages=[{"role": "user", "content": "A colour?"}], n=3, seed=1, max_tokens=5,
        temperature=1.0, logprobs=True, top_logprobs=2,
    )
    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    for choice in answer.choices:
        assert all(len(token.top_logprobs) == 2 for token in choice.logprobs.content)
        text = b"".join(bytes(token.bytes) for token in choice.logprobs.content)
        assert text.decode(errors="replace").startswith(choice.message.content)


def test_required_tool(client):
    answer = client.chat.completions.create(
        model=MODEL, messages=QUESTION, tools=[TOOL], tool_choice="required", temperature=0, max_tokens=100,
    )
    assert answer.choices[0].finish_reason == "tool_calls"
    call = answer.choices[0].message.tool_calls[0]
    assert call.function.name == "get_weather"
    arguments = json.loads(call.function.arguments)
    assert set(arguments) == {"city", "unit"} and arguments["unit"] in ["celsius", "fahrenheit"]


def test_tool_round_trip(client):
    messages = list(QUESTION)
    answer = client.chat.completions.create(
        model=MODEL, messages=messages, tools=[TOOL], temperature=0, max_tokens=100,
        tool_choice={"type": "function", "function": {"name": "get_weather"}},
    )
    message = answer.choices[0].message
    messages.append(message)
    for call in message.tool_calls:
        messages.append({"role": "tool", "tool_call_id": call.id, "content": "17 degrees and rain"})
    answer = client.chat.completions.create(
        model=MODEL, messages=messages, tools=[TOOL], tool_choice="none", temperature=0, max_tokens=80,
    )
    # What a small model says is its own affair; that it says it is ours.
    assert answer.choices[0].message.content and not answer.choices[0].message.tool_calls


def test_streamed_tool_arguments(client):
    stream = client.chat.completions.create(
        model=MODEL, messages=QUESTION, tools=[TOOL], tool_choice="required", parallel_tool_calls=False,
        temperature=0, max_tokens=100, stream=True,
    )
    names, arguments, pieces = [], "", 0
    for chunk in stream:
        for call in (chunk.choices[0].delta.tool_calls or []) if chunk.choices else []:
            assert call.index == 0
            names += [call.function.name] if call.function.name else []
            arguments += call.function.arguments or ""
            pieces += bool(call.function.arguments)
    assert names == ["get_weather"]
    assert set(json.loads(arguments)) == {"city", "unit"}
    assert pieces > 1, "arguments are streamed"


class Person(BaseModel):
    name: str
    age: int


def test_parse(client):
    answer = client.chat.completions.parse(
        model=MODEL, messages=[{"role": "user", "content": "Anna is 31. Describe her as JSON."}],
        response_format=Person, temperature=0, max_tokens=60,
    )
    assert answer.choices[0].message.parsed == Person(name="Anna", age=31)


def test_completions(client):
    answer = client.completions.create(model=MODEL, prompt="def add(a, b):\n    return", max_tokens=8, temperature=0)
    assert "a + b" in answer.choices[0].text
    stream = client.completions.create(
        model=MODEL, prompt="def add(a, b):\n    return", max_tokens=8, temperature=0, stream=True
    )
    assert "".join(c.choices[0].text for c in stream) == answer.choices[0].text


def test_embeddings(client):
    vectors = client.embeddings.create(
        model=MODEL, input=["a cat sat on a mat", "the cat is on the mat", "quarterly tax revenue fell"]
    )
    a, b, c = (v.embedding for v in vectors.data)
    dot = lambda x, y: sum(p * q for p, q in zip(x, y))
    assert abs(dot(a, a) - 1) < 1e-4
    assert dot(a, b) > dot(a, c)


def test_responses(client):
    answer = client.responses.create(
        model=MODEL, input="What is 2 + 2? Answer with a number.", temperature=0, max_output_tokens=40
    )
    assert answer.status == "completed" and "4" in answer.output_text
    assert answer.usage.input_tokens > 0


def test_responses_stream(client):
    seen = []
    with client.responses.stream(model=MODEL, input="Say hello.", temperature=0, max_output_tokens=20) as stream:
        for event in stream:
            seen.append(event.type)
        final = stream.get_final_response()
    assert seen[0] == "response.created" and seen[-1] in ("response.completed", "response.incomplete")
    assert "response.output_text.delta" in seen and final.output_text


def test_responses_tools(client):
    tool = {"type": "function", "name": "get_weather", "parameters": WEATHER, "strict": True}
    answer = client.responses.create(
        model=MODEL, input=QUESTION, tools=[tool], tool_choice="required", temperature=0, max_output_tokens=100
    )
    calls = [item for item in answer.output if item.type == "function_call"]
    assert calls and json.loads(calls[0].arguments)["city"]


def test_responses_parse(client):
    answer = client.responses.parse(
        model=MODEL, input="Anna is 31. Describe her as JSON.", text_format=Person, temperature=0
    )
    assert answer.output_parsed == Person(name="Anna", age=31)


def test_errors_have_their_classes(client):
    with pytest.raises(openai.BadRequestError) as error:
        client.chat.completions.create(model=MODEL, messages=QUESTION, temperature=1000)
    assert error.value.param == "temperature"
    with pytest.raises(openai.BadRequestError) as error:
        client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "x " * 200_000}])
    assert error.value.code == "context_length_exceeded"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("no-such-model")


def test_anthropic(claude):
    message = claude.messages.create(
        model=MODEL, max_tokens=40, extra_body=GREEDY, system="You are brief.",
        messages=[{"role": "user", "content": "What is 2 + 2? Answer with a number."}],
    )
    assert message.stop_reason == "end_turn" and "4" in message.content[0].text
    count = claude.messages.count_tokens(
        model=MODEL, system="You are brief.",
        messages=[{"role": "user", "content": "What is 2 + 2? Answer with a number."}],
    )
    usage = message.usage
    assert count.input_tokens == usage.input_tokens + usage.cache_read_input_tokens


def test_anthropic_stream_and_stop(claude):
    with claude.messages.stream(
        model=MODEL, max_tokens=60, extra_body=GREEDY, stop_sequences=["4"],
        messages=[{"role": "user", "content": "Write the numbers from 1 to 6."}],
    ) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
    assert "4" not in text and final.stop_reason == "stop_sequence" and final.stop_sequence == "4"


def test_anthropic_tools(claude):
    tool = {"name": "get_weather", "description": "The weather in a city.", "input_schema": WEATHER}
    messages = list(QUESTION)
    with claude.messages.stream(
        model=MODEL, max_tokens=100, extra_body=GREEDY, tools=[tool], tool_choice={"type": "any"}, messages=messages
    ) as stream:
        message = stream.get_final_message()
    assert message.stop_reason == "tool_use"
    call = next(block for block in message.content if block.type == "tool_use")
    assert call.name == "get_weather" and call.input["unit"] in ["celsius", "fahrenheit"]
    messages.append({"role": "assistant", "content": message.content})
    result = {"type": "tool_result", "tool_use_id": call.id, "content": "17 degrees and rain"}
    messages.append({"role": "user", "content": [result]})
    message = claude.messages.create(
        model=MODEL, max_tokens=80, extra_body=GREEDY, tools=[tool], tool_choice={"type": "none"}, messages=messages
    )
    assert [block.type for block in message.content] == ["text"] and message.stop_reason == "end_turn"


def test_anthropic_errors(claude):
    with pytest.raises(anthropic.BadRequestError) as error:
        claude.messages.create(model=MODEL, max_tokens=5, messages=[{"role": "king", "content": "x"}])
    assert error.value.body["error"]["type"] == "invalid_request_error"


def test_agent_framework():
    from pydantic_ai import Agent
    from pydantic_ai.models.openai import OpenAIChatModel
    from pydantic_ai.providers.openai import OpenAIProvider

    provider = OpenAIProvider(base_url=f"{URL}/v1", api_key="none")
    agent = Agent(OpenAIChatModel(MODEL, provider=provider), output_type=Person, model_settings={"temperature": 0})
    result = agent.run_sync("Anna is 31 years old. Who is she?")
    assert result.output == Person(name="Anna", age=31)
