"""The service in a thread of its own."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from handler import driver as module
from handler.driver import Driver
from handler.replies import Answer, Reply, StreamPart
from handler.served_model import ServedModel
from handler.service import Service
from handler.settings import HandlerSettings
from handler.sqlite_sessions import SqliteSessions
from model.tokenizer import Tokenizer
from tests.conftest import write_checkpoint

pytestmark = pytest.mark.unit


@pytest.fixture
def service(tmp_path: Path, tokenizer: Tokenizer) -> Service:
    write_checkpoint(tmp_path, tokenizer, context_length=128)
    served = ServedModel.load(tmp_path, name="neuroq", version="1.0", device=torch.device("cpu"))
    settings = HandlerSettings(slots=8)
    return Service(served, SqliteSessions(tmp_path / "sessions.db", settings.sessions), settings)


@pytest.fixture
def driver(service: Service) -> Driver:
    return Driver(lambda: service)


def body(number: int, **more: Any) -> dict[str, Any]:
    return {"prompt": f"質問{number}", "session_id": f"s{number}", "seed": number, "max_length": 20, **more}


def wait_for_last(driver: Driver, count: int, seconds: float = 30.0) -> dict[str, list[Answer]]:
    answers: dict[str, list[Answer]] = {}
    deadline = time.monotonic() + seconds
    while sum(parts[-1].is_last for parts in answers.values()) < count:
        assert time.monotonic() < deadline, answers
        for request_id, answer in driver.take(0.1).items():
            answers.setdefault(request_id, []).append(answer)
    return answers


def test_requests_from_another_thread_get_what_the_service_gives_alone(
    driver: Driver, service: Service
) -> None:
    for number in range(6):
        driver.submit(str(number), body(number, stream=number % 2 == 1))
    answers = wait_for_last(driver, 6)
    for number in range(6):
        driver.submit(f"again-{number}", body(number, session_id=f"other{number}"))
        whole = wait_for_last(driver, 1)[f"again-{number}"][0]
        assert isinstance(whole, Reply)
        parts = answers[str(number)]
        if number % 2:
            events = [event for part in parts if isinstance(part, StreamPart) for event in part.events]
            text = "".join(event.get("delta", "") for event in events if isinstance(event, dict))
        else:
            assert isinstance(parts[0], Reply)
            text = parts[0].body["generated"]
        assert text == whole.body["generated"]


def test_health_and_refusals_are_there_at_once_while_the_service_stands_still(
    driver: Driver, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    may_go_on, is_stuck = threading.Event(), threading.Event()
    step = service.step

    def stuck(**options: bool) -> dict[str, Answer]:
        is_stuck.set()
        assert may_go_on.wait(30)
        return step(**options)

    monkeypatch.setattr(service, "step", stuck)
    driver.submit("slow", body(1))
    assert is_stuck.wait(10)
    driver.submit("health", {"action": "health"})
    driver.submit("bad", {"action": "fly"})
    answers = driver.take(0)
    assert {name: answer.status for name, answer in answers.items() if isinstance(answer, Reply)} == {
        "health": 200,
        "bad": 400,
    }
    may_go_on.set()
    assert "slow" in wait_for_last(driver, 1)


def test_nothing_comes_of_cancelled_requests_and_their_places_are_free(
    driver: Driver, service: Service
) -> None:
    for number in range(20):
        driver.submit(str(number), body(number, max_length=100, stream=True))
    driver.cancel_all_but({"3"})
    assert set(wait_for_last(driver, 1)) == {"3"}
    deadline = time.monotonic() + 10
    while service.num_in_flight and time.monotonic() < deadline:
        time.sleep(0.01)
    assert service.num_in_flight == 0


def test_a_service_that_fails_loses_what_is_in_flight_and_goes_on(
    driver: Driver, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(**_: bool) -> dict[str, Answer]:
        monkeypatch.undo()
        raise RuntimeError("broken")

    monkeypatch.setattr(service, "step", broken)
    driver.submit("lost", body(1))
    (lost,) = wait_for_last(driver, 1)["lost"]
    assert isinstance(lost, Reply)
    assert (lost.status, lost.body["code"]) == (500, "internal")
    driver.submit("next", body(2))
    assert isinstance(wait_for_last(driver, 1)["next"][0], Reply)


def test_an_idle_driver_waits_without_turning(
    driver: Driver, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = []
    step = service.step
    monkeypatch.setattr(service, "step", lambda **options: steps.append(1) or step(**options))
    time.sleep(0.5)
    assert len(steps) <= 1


@pytest.fixture
def untaken(driver: Driver, service: Service, monkeypatch: pytest.MonkeyPatch) -> Driver:
    """A stream has begun, and nobody has come for its first piece."""
    monkeypatch.setattr(module, "_RUN_AHEAD", 0.0)
    driver.submit("left", body(1, max_length=100, stream=True))
    while not driver._answers:
        time.sleep(0.01)
    return driver


def test_nothing_is_decoded_for_whom_nobody_comes(untaken: Driver, service: Service) -> None:
    time.sleep(0.5)
    assert service.num_in_flight == 1
    untaken.submit("health", {"action": "health"})
    assert untaken.take(0)["health"].is_last
    (*_, last) = wait_for_last(untaken, 1)["left"]
    assert isinstance(last, StreamPart)
    assert service.conversations._store.count() == 1


def test_what_is_never_come_for_is_lost_and_its_conversation_as_it_was(
    untaken: Driver, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_ABANDONED", 0.2)
    deadline = time.monotonic() + 10
    while service.num_in_flight:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert service.conversations._store.count() == 0
    (*_, last) = wait_for_last(untaken, 1)["left"]
    assert isinstance(last, StreamPart)
    assert isinstance(last.events[-1], dict)
    assert last.events[-1]["code"] == "internal"
    untaken.submit("next", body(1))
    assert isinstance(wait_for_last(untaken, 1)["next"][0], Reply)


def test_what_keeps_the_service_from_opening_is_raised() -> None:
    def fail() -> Service:
        raise ValueError("no such model")

    with pytest.raises(ValueError, match="no such model"):
        Driver(fail)


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="only Linux gives a thread a priority")
def test_decoding_steps_back_behind_its_caller(service: Service) -> None:
    own = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    opened: list[int] = []

    def open_service() -> Service:
        opened.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))
        return service

    Driver(open_service)
    assert opened == [min(own + 5, 19)]
    assert os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) == own
