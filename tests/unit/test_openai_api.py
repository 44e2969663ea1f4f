"""OpenAI's paths on the service with a tiny network: shapes, errors, and the same text as `generate`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from handler.openai_requests import ChatRequest, read
from model.tokenizer import Tokenizer
from tests.unit.test_service import Harness

pytestmark = pytest.mark.unit
CHAT, COMPLETIONS = "v1/chat/completions", "v1/completions"
SAID: dict[str, Any] = {"model": "neuroq", "messages": [{"role": "user", "content": "はい"}]}
TEXT: dict[str, Any] = {"model": "neuroq", "prompt": "はい"}
SAMPLING: dict[str, Any] = {"temperature": 1.1, "seed": 5, "max_tokens": 30}


@pytest.fixture
def harness(tmp_path: Path, tokenizer: Tokenizer) -> Harness:
    return Harness(tmp_path, tokenizer)


@pytest.fixture
def expected(harness: Harness) -> dict[str, Any]:
    return harness.generate(
        "はい", temp_min=1.1, temp_max=1.1, seed=5, max_length=30, session_id="x", logprobs=2
    )


def test_a_chat_says_what_generate_says(harness: Harness, expected: dict[str, Any]) -> None:
    body = harness.ask(path=CHAT, **SAID, **SAMPLING).body
    assert body["id"].startswith("chatcmpl-")
    assert (body["object"], body["model"]) == ("chat.completion", "neuroq")
    assert harness.served.checkpoint_sha256.startswith(body["system_fingerprint"])
    assert body["choices"] == [
        {
            "index": 0,
            "message": {"role": "assistant", "content": expected["generated"]},
            "logprobs": None,
            "finish_reason": expected["finish_reason"],
        }
    ]
    assert body["usage"]["total_tokens"] == expected["usage"]["total_tokens"]
    assert harness.store.count() == 1  # generate's own: a chat keeps nothing


def test_a_completion_says_what_generate_says(harness: Harness, expected: dict[str, Any]) -> None:
    body = harness.ask(path=COMPLETIONS, **TEXT, **SAMPLING, logprobs=2).body
    assert (body["object"], body["id"][:5]) == ("text_completion", "cmpl-")
    choice = body["choices"][0]
    assert choice["text"] == expected["generated"]
    assert choice["logprobs"]["tokens"] == [entry["token"] for entry in expected["logprobs"]]
    assert choice["logprobs"]["token_logprobs"] == [entry["logprob"] for entry in expected["logprobs"]]
    assert [len(top) for top in choice["logprobs"]["top_logprobs"]] == [2] * len(expected["logprobs"])
    assert choice["logprobs"]["text_offset"][0] == 0
    assert (
        harness.ask(path=COMPLETIONS, model="neuroq", prompt="はい").body["usage"]["completion_tokens"] <= 16
    )


def test_a_chat_stream(harness: Harness, expected: dict[str, Any]) -> None:
    options = {"stream_options": {"include_usage": True}, "logprobs": True, "top_logprobs": 2}
    *chunks, done = harness.stream(path=CHAT, **SAID, **SAMPLING, **options)
    assert done == "[DONE]"
    *pieces, end, usage = chunks
    assert len({chunk["id"] for chunk in chunks}) == 1
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    deltas = [piece["choices"][0]["delta"] for piece in pieces]
    assert deltas[0]["role"] == "assistant"
    assert all("role" not in delta for delta in deltas[1:])
    assert "".join(delta["content"] for delta in deltas) == expected["generated"]
    logprobs = [entry for piece in pieces for entry in piece["choices"][0]["logprobs"]["content"]]
    assert logprobs == expected["logprobs"]
    assert (end["choices"][0]["delta"], end["choices"][0]["finish_reason"]) == ({}, expected["finish_reason"])
    assert usage["choices"] == []
    assert usage["usage"]["total_tokens"] == expected["usage"]["total_tokens"]
    assert {chunk["usage"] for chunk in chunks[:-1]} == {None}


def test_a_completion_stream_of_several_prompts_and_replies(harness: Harness) -> None:
    body = {"model": "neuroq", "prompt": ["はい", "水"], "n": 2, **SAMPLING}
    whole = harness.ask(path=COMPLETIONS, **body).body
    alone = [
        harness.ask(path=COMPLETIONS, **{**body, "prompt": prompt, "n": 1, "seed": seed}).body["choices"][0][
            "text"
        ]
        for prompt in ("はい", "水")
        for seed in (5, 6)
    ]
    assert [choice["text"] for choice in whole["choices"]] == alone
    *chunks, done = harness.stream(path=COMPLETIONS, **body)
    assert done == "[DONE]"
    choices = [chunk["choices"][0] for chunk in chunks]
    texts = ["".join(c["text"] for c in choices if c["index"] == index) for index in range(4)]
    assert texts == alone
    assert sum(choice["finish_reason"] is not None for choice in choices) == 4
    assert not any("usage" in chunk for chunk in chunks)


def test_an_empty_stream_still_says_who_speaks(harness: Harness) -> None:
    text = harness.ask(path=CHAT, **SAID, **SAMPLING).body["choices"][0]["message"]["content"]
    end, done = harness.stream(path=CHAT, **SAID, **SAMPLING, stop=text[:2])
    assert end["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert end["choices"][0]["finish_reason"] == "stop"
    assert done == "[DONE]"


def test_messages_become_a_dialogue(harness: Harness) -> None:
    first = harness.generate("犬を飼っています", session_id="a", temp_min=1, temp_max=1)
    second = harness.generate("名前は？", session_id="a", temp_min=1, temp_max=1, seed=9, max_length=20)
    messages = [
        {"role": "user", "content": "犬を飼っています"},
        {"role": "assistant", "content": first["generated"], "refusal": None},
        {"role": "user", "content": [{"type": "text", "text": "名前"}, {"type": "text", "text": "は？"}]},
    ]
    chat = harness.ask(
        path=CHAT, model="neuroq", messages=messages, temperature=1, seed=9, max_tokens=20
    ).body
    assert chat["choices"][0]["message"]["content"] == second["generated"]


def test_messages_in_a_row_of_one_speaker_are_one_turn() -> None:
    messages = [
        {"role": "system", "content": "短く"},
        {"role": "user", "content": "はい"},
        {"role": "assistant", "content": "どうぞ"},
        {"role": "user", "content": "一"},
        {"role": "user", "content": "二"},
    ]
    prompt = read(ChatRequest, {"model": "m", "messages": messages}).generation().prompts[0]
    assert [(turn.role, turn.text) for turn in prompt.history] == [
        ("user", "短く\nはい"),
        ("assistant", "どうぞ"),
    ]
    assert prompt.text == "一\n二"


def test_without_a_bound_a_reply_ends_with_the_context(harness: Harness) -> None:
    body = harness.ask(path=CHAT, **SAID, temperature=2, seed=1, top_p=1, extra=None).body
    reason, usage = body["choices"][0]["finish_reason"], body["usage"]
    assert reason == "stop" or usage["total_tokens"] == harness.service._engine.context_length + 1
    assert usage["completion_tokens"] > 16


def test_models(harness: Harness) -> None:
    harness.service.submit("list", b"", path="v1/models")
    harness.service.submit("one", b"", path="v1/models/neuroq")
    replies = harness.run()
    card = replies["one"].body
    assert (card["id"], card["object"], card["created"]) == ("neuroq", "model", 1767225600)
    assert replies["list"].body == {"object": "list", "data": [card]}


@pytest.mark.parametrize(
    ("path", "change", "status", "param", "words"),
    [
        (CHAT, {"messages": []}, 400, "messages", "at least 1"),
        (CHAT, {"messages": "はい"}, 400, "messages", "list"),
        (CHAT, {"messages": [{"role": "assistant", "content": "x"}]}, 400, "messages", "last"),
        (CHAT, {"messages": [{"role": "tool", "content": "x"}]}, 400, "messages", "'user'"),
        (
            CHAT,
            {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
            400,
            "messages",
            "'text'",
        ),
        (CHAT, {"model": "gpt-4"}, 404, "model", "'neuroq'"),
        (CHAT, {"tools": [{"type": "function"}]}, 400, "tools", "unknown parameter"),
        (CHAT, {"response_format": {"type": "json_object"}}, 400, "response_format", "'text'"),
        (CHAT, {"top_logprobs": 2}, 400, "top_logprobs", "logprobs"),
        (CHAT, {"presence_penalty": 0.5}, 400, "presence_penalty", "0"),
        (COMPLETIONS, {"frequency_penalty": -0.5}, 400, "frequency_penalty", "0"),
        (COMPLETIONS, {"echo": True}, 400, "echo", "False"),
        (COMPLETIONS, {"prompt": [1, 2, 3]}, 400, "prompt", "string"),
        (COMPLETIONS, {"prompt": ["x"] * 16, "n": 2}, 400, "prompt", "16"),
        (COMPLETIONS, {"max_tokens": 0}, 400, "max_tokens", "1"),
        (COMPLETIONS, {"temperature": 3}, 400, "temperature", "0 to 2"),
        (COMPLETIONS, {"prompt": "長い話" * 500}, 400, "prompt", "context"),
        (COMPLETIONS, {"model": "\ud800"}, 400, "model", "unicode"),
        ("v1/embeddings", {}, 404, None, "v1/embeddings"),
    ],
)
def test_errors_are_openais(
    harness: Harness, path: str, change: dict[str, Any], status: int, param: str | None, words: str
) -> None:
    body = {**(SAID if path == CHAT else TEXT), **change}
    reply = harness.ask(path=path, **body)
    assert reply.status == status, reply
    error = reply.body["error"]
    assert (error["type"], error["param"]) == ("invalid_request_error", param), reply
    assert words in error["message"], error
    assert error["code"]


def test_a_body_that_is_no_object(harness: Harness) -> None:
    for number, body in enumerate((b"", b"[]", b"{", b"null")):
        harness.service.submit(f"bad-{number}", body, path=CHAT)
    assert {reply.status for reply in harness.run().values()} == {400}
    assert all("JSON object" in reply.body["error"]["message"] for reply in harness.replies.values())


def test_a_foreign_path_is_refused_in_our_words(harness: Harness) -> None:
    reply = harness.ask(path="v2/infer")
    assert (reply.status, reply.body["code"]) == (404, "not_found")


def test_what_clients_send_by_habit_is_taken(harness: Harness) -> None:
    habits = {
        "user": "me", "presence_penalty": 0, "frequency_penalty": 0.0, "n": 1, "stop": None, "tools": None,
        "logit_bias": None, "response_format": {"type": "text"}, "stream": False, "top_k": 5,
        "repetition_penalty": 1.0,
    }  # fmt: skip
    assert harness.ask(path=CHAT, **SAID, **habits, max_completion_tokens=3).status == 200
    habits = {"best_of": 1, "echo": False, "suffix": None, "logprobs": None}
    assert harness.ask(path=COMPLETIONS, **TEXT, **habits).status == 200
