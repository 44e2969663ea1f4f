"""The same contract over gRPC."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from types import ModuleType

import grpc
import pytest

from model.tokenizer import Tokenizer
from tests.e2e.conftest import Server
from tests.e2e.grpc_calls import Grpc

pytestmark = [pytest.mark.e2e, pytest.mark.filterwarnings("ignore::DeprecationWarning")]


@pytest.fixture
def calls(server: Server, stubs: Callable[[str], ModuleType]) -> Iterator[Grpc]:
    grpc_calls = Grpc(server, stubs)
    yield grpc_calls
    grpc_calls.close()


def test_every_action_answers_as_over_rest(server: Server, calls: Grpc) -> None:
    for body in (
        {"action": "health"},
        {"input": {"action": "health"}},
        {"action": "train"},
        {"action": "fly"},
        {"prompt": "x", "max_length": 0},
        {"action": "clear_session", "session_id": "grpc"},
        b"not json",
    ):
        assert calls.predict(body) == server.post(body).json()
    assert calls.predict({"action": "status"})["model_version"] == "1.0"


def test_a_seed_gives_the_same_text_over_both_protocols(server: Server, calls: Grpc) -> None:
    body = {"prompt": "こんにちは", "seed": 21, "temperature": 1.2, "max_length": 30}
    over_grpc = calls.predict({**body, "session_id": "over-grpc"}, version="1.0")
    over_rest = server.generate(**body, session_id="over-rest")
    assert over_grpc["generated"] == over_rest["generated"]


def test_a_stream_is_one_message_for_each_piece(workers: Server, stubs: Callable[[str], ModuleType]) -> None:
    calls = Grpc(workers, stubs)
    body = {"prompt": "はい", "seed": 8, "max_length": 60, "temperature": 1.5, "n": 2, "stop": "。"}
    whole = workers.generate(**body, session_id="grpc whole")
    *pieces, last = calls.stream({**body, "session_id": "grpc stream", "stream": True})
    for index, choice in enumerate(whole["choices"]):
        mine = [piece["delta"] for piece in pieces if piece["index"] == index]
        assert "".join(mine) == choice["generated"]
    assert len(pieces) > 1
    assert last["usage"]["total_tokens"] == whole["usage"]["total_tokens"]
    calls.close()


BODIES: list[object] = [
    {"action": "health"},
    {"prompt": "はい", "session_id": "no-stream", "max_length": 20, "seed": 1},
    {"prompt": "はい", "session_id": "no-stream", "max_length": 20, "seed": 1, "stream": True},
    {"prompt": "はい", "session_id": "no-stream", "max_length": 1, "seed": 1, "stream": True},
    {"prompt": "", "stream": True},
    {"action": "fly"},
    {"prompt": "長い話" * 300, "session_id": "no-stream", "stream": True},
    b"not json",
]


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("key", [None, b"true", b"StreamPredictions"])
def test_no_stream_call_hangs_or_ends_a_worker(
    server: Server, calls: Grpc, body: object, key: bytes | None
) -> None:
    """A call that does not say in its inputs which call it is, or cannot get a stream, gets one message."""
    workers = server.ready_workers()
    streams = key == b"StreamPredictions" and server.profile == "workers"
    *_, last = messages = calls.stream(body, key)
    assert streams or len(messages) == 1
    wants_pieces = isinstance(body, dict) and body.get("stream") and body.get("prompt") == "はい"
    assert "usage" in last if wants_pieces else {"status"} <= set(last)
    assert server.ready_workers() == workers
    assert server.post({"action": "health"}).status_code == 200


@pytest.mark.parametrize("body", BODIES)
def test_an_unary_call_that_asks_for_a_stream_gets_the_whole_reply(
    server: Server, calls: Grpc, body: object
) -> None:
    workers = server.ready_workers()
    assert "status" in calls.predict(body)
    assert server.ready_workers() == workers
    assert server.post({"action": "health"}).status_code == 200


def test_calls_that_are_cancelled_leave_a_server_well(server: Server, calls: Grpc) -> None:
    body = {
        "prompt": "はい",
        "max_length": 1024,
        "temperature": 2.0,
        "top_k": 0,
        "top_p": 1.0,
        "stream": True,
    }
    for number in range(10):
        content = json.dumps({**body, "session_id": f"cancelled-{number}"}).encode()
        request = calls.inference.PredictionsRequest(
            model_name="neuroq", input={"data": content, "stream": b"StreamPredictions"}
        )
        call = calls._inference.StreamPredictions(request, metadata=calls._token("token"), timeout=60)
        if number % 2:
            next(call)
        call.cancel()
    server.wait_until_idle()
    assert calls.predict({"prompt": "はい", "session_id": "after", "max_length": 2})["status"] == "success"


def test_a_conversation_goes_on_over_the_other_protocol(server: Server, calls: Grpc) -> None:
    first = server.generate("はい", session_id="mixed", max_length=3)
    second = calls.predict({"prompt": "はい", "session_id": "mixed", "max_length": 3})
    assert second["usage"]["prompt_tokens"] > first["usage"]["prompt_tokens"]


def test_a_call_needs_the_token(server: Server, calls: Grpc) -> None:
    calls._token = lambda _: (("protocol", "gRPC"),)  # type: ignore[method-assign]
    with pytest.raises(grpc.RpcError) as caught:
        calls.predict({"action": "health"})
    assert caught.value.code() == grpc.StatusCode.PERMISSION_DENIED


def test_an_unknown_version_is_an_error(calls: Grpc) -> None:
    with pytest.raises(grpc.RpcError):
        calls.predict({"action": "health"}, version="9.9")


def test_versions_are_managed_over_grpc(server: Server, calls: Grpc, tokenizer: Tokenizer) -> None:
    messages = calls.management
    archive = server.package("3.0", seed=9, tokenizer=tokenizer)
    described = calls.manage("DescribeModel", messages.DescribeModelRequest(model_name="neuroq"))
    assert json.loads(described.msg)[0]["modelVersion"] == "1.0"
    listed = calls.manage("ListModels", messages.ListModelsRequest(limit=10))
    assert json.loads(listed.msg)["models"][0]["modelName"] == "neuroq"
    calls.manage(
        "RegisterModel",
        messages.RegisterModelRequest(url=archive, initial_workers=1, synchronous=True),
    )
    chosen = {"model_name": "neuroq", "model_version": "3.0"}
    calls.manage("SetDefault", messages.SetDefaultRequest(**chosen))
    assert calls.predict({"action": "status"})["model_version"] == "3.0"
    calls.manage("SetDefault", messages.SetDefaultRequest(model_name="neuroq", model_version="1.0"))
    assert calls.predict({"action": "status"})["model_version"] == "1.0"
    calls.manage("UnregisterModel", messages.UnregisterModelRequest(**chosen))
    with pytest.raises(grpc.RpcError):
        calls.predict({"action": "health"}, version="3.0")
