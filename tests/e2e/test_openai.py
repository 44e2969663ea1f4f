"""The official OpenAI client, as it is, against both profiles."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from tests.conftest import ROOT
from tests.e2e.conftest import Server

pytestmark = pytest.mark.e2e
SAID = [{"role": "user", "content": "はい"}]
SAMPLING = {"model": "neuroq", "temperature": 1.1, "seed": 5, "max_tokens": 30}


def connect(server: Server, *, version: str = "1.0", token: str | None = None) -> openai.OpenAI:
    return openai.OpenAI(
        base_url=f"{server.url}/{version}/v1",
        api_key=token or server.status["token"],
        max_retries=0,
        http_client=openai.DefaultHttpxClient(trust_env=False),
    )


@pytest.fixture
def client(server: Server) -> Iterator[openai.OpenAI]:
    with connect(server) as client:
        yield client


@pytest.fixture
def expected(server: Server) -> str:
    """What `generate` says at the same temperature and seed."""
    body = {"temp_min": 1.1, "temp_max": 1.1, "seed": 5, "max_length": 30}
    server.post({"action": "clear_session", "session_id": "openai"})
    text: str = server.generate("はい", session_id="openai", **body)["generated"]
    return text


def test_chat(server: Server, client: openai.OpenAI, expected: str) -> None:
    chat = client.chat.completions.create(messages=SAID, **SAMPLING)  # type: ignore[call-overload]
    assert chat.choices[0].message.content == expected
    assert chat.choices[0].message.role == "assistant"
    assert chat.choices[0].finish_reason in {"stop", "length"}
    assert chat.usage.total_tokens == chat.usage.prompt_tokens + chat.usage.completion_tokens
    assert chat.usage.prompt_tokens_details.cached_tokens >= 0
    digest = server.post({"action": "status"}).json()["checkpoint_sha256"]
    assert digest.startswith(chat.system_fingerprint)
    second = [*SAID, chat.choices[0].message, {"role": "user", "content": "次"}]
    assert (
        client.chat.completions.create(messages=second, **SAMPLING).usage.prompt_tokens
        > chat.usage.prompt_tokens
    )


def test_chat_stream(client: openai.OpenAI, expected: str) -> None:
    stream = client.chat.completions.create(
        messages=SAID, stream=True, stream_options={"include_usage": True}, **SAMPLING
    )  # type: ignore[call-overload]
    chunks = list(stream)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks[:-1]) == expected
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[-2].choices[0].finish_reason in {"stop", "length"}
    assert chunks[-1].usage.completion_tokens > 0


def test_the_clients_own_stream_helper(client: openai.OpenAI, expected: str) -> None:
    stop = expected[12:14]  # the helper takes a reply that ends by its length for an error
    with client.chat.completions.stream(messages=SAID, stop=stop, **SAMPLING) as stream:  # type: ignore[arg-type]
        for _ in stream:
            pass
        content = stream.get_final_completion().choices[0].message.content
    assert content == expected[: expected.index(stop)]


def test_completion(client: openai.OpenAI, expected: str) -> None:
    done = client.completions.create(prompt="はい", logprobs=2, **SAMPLING)  # type: ignore[call-overload]
    assert done.choices[0].text == expected
    assert len(done.choices[0].logprobs.tokens) == done.usage.completion_tokens
    stream = client.completions.create(prompt="はい", stream=True, **SAMPLING)  # type: ignore[call-overload]
    assert "".join(chunk.choices[0].text for chunk in stream) == expected


def test_several_prompts_and_replies(client: openai.OpenAI, expected: str) -> None:
    done = client.completions.create(prompt=["はい", "水"], n=2, **SAMPLING)  # type: ignore[call-overload]
    assert [choice.index for choice in done.choices] == [0, 1, 2, 3]
    assert done.choices[0].text == expected
    assert len({choice.text for choice in done.choices}) > 1


def test_log_probabilities(client: openai.OpenAI, expected: str) -> None:
    chat = client.chat.completions.create(messages=SAID, logprobs=True, top_logprobs=3, **SAMPLING)  # type: ignore[call-overload]
    content = chat.choices[0].logprobs.content
    assert (
        b"".join(bytes(entry.bytes) for entry in content)
        .decode(errors="ignore")
        .startswith(expected.replace("\ufffd", ""))
    )
    assert all(len(entry.top_logprobs) == 3 for entry in content)


def test_stop(client: openai.OpenAI, expected: str) -> None:
    stop = expected[3:5]
    chat = client.chat.completions.create(messages=SAID, stop=[stop, "無い字"], **SAMPLING)  # type: ignore[call-overload]
    assert chat.choices[0].message.content == expected[: expected.index(stop)]
    assert chat.choices[0].finish_reason == "stop"
    stream = client.chat.completions.create(messages=SAID, stop=stop, stream=True, **SAMPLING)  # type: ignore[call-overload]
    pieces = [chunk.choices[0].delta.content or "" for chunk in stream]
    assert "".join(pieces) == expected[: expected.index(stop)]


def test_models(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["neuroq"]
    assert client.models.retrieve("neuroq").owned_by == "neuroq"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("gpt-4")
    assert client.get("/models?limit=20", cast_to=object)["object"] == "list"  # type: ignore[index]


def test_errors(server: Server, client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(messages=SAID, **{**SAMPLING, "temperature": 9})  # type: ignore[call-overload]
    assert (caught.value.param, caught.value.code) == ("temperature", "invalid_request")
    assert "0 to 2" in caught.value.message
    with pytest.raises(openai.BadRequestError) as caught:  # before a stream starts: a status, not an event
        client.chat.completions.create(messages=[], stream=True, **SAMPLING)  # type: ignore[call-overload]
    assert caught.value.param == "messages"
    with pytest.raises(openai.NotFoundError) as missing:
        client.chat.completions.create(messages=SAID, **{**SAMPLING, "model": "gpt-4"})  # type: ignore[call-overload]
    assert (missing.value.param, missing.value.code) == ("model", "model_not_found")
    with pytest.raises(openai.NotFoundError):
        client.embeddings.create(model="neuroq", input="はい")
    with connect(server, version="9.9") as other, pytest.raises(openai.NotFoundError):
        other.models.list()
    with (
        connect(server, token="wrong") as stranger,
        pytest.raises(openai.BadRequestError, match="Token Authorization failed"),
    ):
        stranger.models.list()


def test_the_snippet_of_the_docs(
    server: Server, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (ROOT / "docs" / "serving.md").read_text()
    indented = text[text.index("    from openai") : text.index("The messages are the whole")]
    snippet = textwrap.dedent(indented).replace("TOKEN", server.status["token"])
    snippet = snippet.replace("http://127.0.0.1:8080", server.status["addresses"]["inference"])
    for name in ("http_proxy", "https_proxy", "all_proxy"):  # for the world outside, not for loopback
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    names: dict[str, Any] = {}
    exec(snippet, names)
    names["client"].close()
    unstreamed, streamed = capsys.readouterr().out.split("\n", 1)
    assert unstreamed == streamed
    assert unstreamed == names["reply"].choices[0].message.content
