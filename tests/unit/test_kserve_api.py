"""KServe's protocol v1 on the service with a tiny network: an envelope around `generate`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from handler.streams import KSERVE_PATH, Caller
from model.tokenizer import Tokenizer
from tests.unit.test_service import Harness

pytestmark = pytest.mark.unit
REQUEST: dict[str, Any] = {
    "prompt": "はい",
    "seed": 5,
    "temperature": 0.9,
    "max_length": 20,
    "session_id": "x",
}


@pytest.fixture
def harness(tmp_path: Path, tokenizer: Tokenizer) -> Harness:
    return Harness(tmp_path, tokenizer)


def test_a_prediction_is_the_reply_of_generate(harness: Harness) -> None:
    expected = harness.ask(**REQUEST).body
    harness.ask(action="clear_session", session_id="x")
    for instance in (REQUEST, {"input": {"action": "generate", **REQUEST}}):
        reply = harness.ask(path=KSERVE_PATH, instances=[instance])
        assert reply.status == 200
        (prediction,) = reply.body["predictions"]
        assert (prediction["generated"], prediction["seed"]) == (expected["generated"], expected["seed"])
        harness.ask(action="clear_session", session_id="x")


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (REQUEST, 'the body must be {"instances": [REQUEST]}'),
        ({"instances": [REQUEST], "parameters": {}}, 'the body must be {"instances": [REQUEST]}'),
        ({"inputs": []}, 'the body must be {"instances": [REQUEST]}'),  # protocol v2
        ({"instances": REQUEST}, "instances: must be a list of one request"),
        ({"instances": []}, "instances: must be a list of one request"),
        ({"instances": [REQUEST, REQUEST]}, "instances: must be a list of one request"),
        ({"instances": [["はい"]]}, "the body must be a JSON object in UTF-8"),
        ({"instances": [{"prompt": 1}]}, "prompt: input should be a valid string"),
        (
            {"instances": [{"action": "health"}]},
            "action: only generate is answered here, others at /predictions",
        ),
    ],
)
def test_anything_else_is_refused_in_one_line(harness: Harness, body: dict[str, Any], error: str) -> None:
    reply = harness.ask(path=KSERVE_PATH, **body)
    assert reply.status == 400
    assert reply.body["code"] == "invalid_request"
    assert reply.body["error"].startswith(error)


def test_the_front_end_tells_kserve_s_path_by_leaving_out_the_path() -> None:
    """Measured with TorchServe 0.12: both get `explain`, /predictions also `url_path`."""
    for headers, path in (
        ({"host": "x", "explain": "False"}, KSERVE_PATH),
        ({"host": "x", "explain": "False", "url_path": ""}, ""),
        ({"host": "x"}, ""),
    ):
        assert Caller.of(headers, {}, continuous=True).path == path
