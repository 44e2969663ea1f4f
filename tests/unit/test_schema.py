from __future__ import annotations

import json

import pytest

from handler.errors import ApiError
from handler.schema import ACTIONS, GenerateRequest, parse
from tests.bad_requests import BAD_REQUESTS

pytestmark = pytest.mark.unit


def test_defaults_are_the_contract() -> None:
    request = parse({"prompt": "こんにちは"})
    assert isinstance(request, GenerateRequest)
    assert (request.action, request.max_length, request.temperature) == ("generate", 50, 0.5)
    assert (request.top_k, request.top_p, request.repetition_penalty) == (40, 0.9, 1.2)
    assert (request.quantum_noise, request.stream, request.seed) == (False, False, None)
    generation = request.generation("default")
    assert (generation.params.temp_min, generation.params.temp_max) == pytest.approx((0.4, 0.6))
    assert (generation.session_id, generation.num_choices, generation.params.logprobs) == ("default", 1, None)


@pytest.mark.parametrize("action", ACTIONS)
def test_both_body_forms_in_every_encoding(action: str) -> None:
    inner = {"action": action, **({"prompt": "はい"} if action == "generate" else {})}
    text = json.dumps({"input": inner}, ensure_ascii=False)
    forms = [inner, {"input": inner}, text, text.encode(), bytearray(text.encode())]
    assert len({repr(parse(form)) for form in forms}) == 1


def test_the_seeds_train_parameters_are_known() -> None:
    request = parse({"action": "train", "texts": ["文"], "checkpoint_path": "s3://bucket/x.pt"})
    defaults = {"epochs": 25, "batch_size": 16, "lr": 0.002, "seq_length": 48}
    assert defaults.items() <= request.model_dump().items()


@pytest.mark.parametrize(("body", "code", "words"), BAD_REQUESTS)
def test_bad_requests_name_the_field_and_the_range(body: object, code: str, words: tuple[str, ...]) -> None:
    with pytest.raises(ApiError) as caught:
        parse(body)
    assert caught.value.status == 400
    assert caught.value.body["code"] == code
    for word in words:
        assert word in str(caught.value.body), caught.value.body


def test_a_stop_string_may_stand_alone() -> None:
    one, many = parse({"prompt": "x", "stop": "。"}), parse({"prompt": "x", "stop": ["。", "！"]})
    assert isinstance(one, GenerateRequest)
    assert isinstance(many, GenerateRequest)
    assert one.generation(None).stop == ("。",)
    assert many.generation(None).stop == ("。", "！")


@pytest.mark.parametrize(
    ("logprobs", "expected"), [(None, None), (False, None), (True, 0), (0, 0), (1, 1), (20, 20)]
)
def test_log_probabilities_may_be_a_switch_or_a_number(logprobs: object, expected: int | None) -> None:
    request = parse({"prompt": "x", "logprobs": logprobs})
    assert isinstance(request, GenerateRequest)
    assert request.generation(None).params.logprobs == expected


def test_a_request_names_its_session_or_takes_the_default() -> None:
    for body, expected in (({}, "default"), ({"session_id": "a"}, "a")):
        request = parse({"prompt": "x", **body})
        assert isinstance(request, GenerateRequest)
        assert request.generation("default").session_id == expected
