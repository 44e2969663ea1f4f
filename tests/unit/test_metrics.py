"""Metrics: the right numbers, each told once, through the metrics API of TorchServe."""

from __future__ import annotations

import logging
import re
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from handler import metrics as names
from handler import worker_log
from handler.metrics import METRICS, OUTCOMES, Kind, Metric, Metrics, Sample
from handler.served_model import ServedModel
from handler.service import Service
from handler.settings import HandlerSettings
from handler.sqlite_sessions import SqliteSessions
from handler.worker_place import NoPlaceError, WorkerPlace, claim
from model.tokenizer import Tokenizer
from tests.conftest import ROOT, write_checkpoint

with warnings.catch_warnings():
    warnings.simplefilter("ignore", ResourceWarning)  # TorchServe leaves files open
    from ts.metrics.metric_cache_yaml_impl import MetricsCacheYamlImpl

    from handler.reporter import Reporter, label_names

pytestmark = pytest.mark.unit
METRICS_FILE = ROOT / "server" / "metrics.yaml"
LABELS = {"model_name": "neuroq", "model_version": "1.0"}
# How TorchServe's front end reads a line (Metric.java), less what it does not look at.
LINE = re.compile(
    r"\[METRICS](?P<name>\w+)\.(?P<unit>\w+):(?P<value>[0-9\-,.e]+)\|#(?P<labels>[^|]*)\|#type:(?P<type>\w+)"
)


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def counted(clock: Clock) -> Metrics:
    metrics = Metrics(8, lambda: 3, clock)
    metrics.take()
    return metrics


def values(metrics: Metrics) -> dict[tuple[Metric, str | None], list[float]]:
    """What is new, by metric and label; without the gauges."""
    found: dict[tuple[Metric, str | None], list[float]] = {}
    for sample in metrics.take():
        if sample.metric.kind is not Kind.GAUGE:
            found.setdefault((sample.metric, sample.label), []).append(sample.value)
    return found


def gauges(metrics: Metrics) -> dict[str, float]:
    return {s.metric.name: s.value for s in metrics.take() if s.metric.kind is Kind.GAUGE}


def test_everything_is_told_once_at_the_start_so_that_rates_see_the_first_event() -> None:
    first = Metrics(8, lambda: 0).take()
    counters = {(s.metric, s.label): s.value for s in first if s.metric.kind is Kind.COUNTER}
    assert set(counters.values()) == {0}
    assert {label for metric, label in counters if metric is names.REQUESTS} == set(OUTCOMES)
    told = {s.metric for s in first}
    assert told == {metric for metric in METRICS if metric.kind is not Kind.HISTOGRAM}


def test_nothing_new_is_nothing_told(counted: Metrics, clock: Clock) -> None:
    clock.now += 1
    assert counted.take() == []


def test_counters_add_up_between_two_reports(counted: Metrics) -> None:
    counted.ended("stop")
    counted.ended("stop")
    counted.ended("overloaded")
    counted.prompt(10, 0)
    counted.prompt(20, 15)
    counted.step(2, 16)
    counted.step(3, 5)
    counted.step(0, 0)
    assert values(counted) == {
        (names.REQUESTS, "stop"): [2],
        (names.REQUESTS, "overloaded"): [1],
        (names.PROMPT_TOKENS, None): [30],
        (names.REUSED_TOKENS, None): [15],
        (names.STEPS, None): [2],
        (names.STEP_SEQUENCES, None): [5],
        (names.GENERATED_TOKENS, None): [21],
    }
    assert values(counted) == {}


def test_the_times_of_a_request(counted: Metrics, clock: Clock) -> None:
    timeline = counted.arrived()
    for seconds, tokens in ((0.25, 4), (0.5, 4), (0.5, 0), (0.5, 6)):
        clock.now += seconds
        timeline.tokens(tokens)
    clock.now += 10
    timeline.end()
    assert values(counted) == {
        (names.FIRST_TOKEN, None): [0.25],
        (names.OUTPUT_TOKEN, None): [pytest.approx(1500 / 10)],  # milliseconds, of the ten later tokens
    }


@pytest.mark.parametrize("tokens", [0, 5])
def test_a_request_of_one_step_has_no_time_per_token(counted: Metrics, clock: Clock, tokens: int) -> None:
    timeline = counted.arrived()
    timeline.tokens(tokens)
    timeline.end()
    assert list(values(counted)) == [(names.FIRST_TOKEN, None)] * (tokens > 0)


def test_gauges_are_told_when_they_change(counted: Metrics, clock: Clock) -> None:
    counted.load(running=2, waiting=1)
    counted.step(2, 10)
    counted.step(1, 10)
    clock.now += 2
    assert gauges(counted) == {
        "neuroq_requests_running": 2,
        "neuroq_requests_waiting": 1,
        "neuroq_cache_slots_used": 2,
        "neuroq_batch_size_max": 2,
        "neuroq_generated_tokens_per_second": 10,
    }
    counted.load(running=2, waiting=0)
    clock.now += 2
    assert gauges(counted) == {
        "neuroq_requests_waiting": 0,
        "neuroq_batch_size_max": 0,
        "neuroq_generated_tokens_per_second": 0,
    }


def test_a_failure_to_count_sessions_loses_nothing(clock: Clock) -> None:
    counts: Iterator[int] = iter([0])
    metrics = Metrics(8, lambda: next(counts), clock)
    metrics.take()
    metrics.ended("stop")
    with pytest.raises(StopIteration):
        metrics.take()
    counts = iter([7])
    assert Sample(names.REQUESTS, 1, "stop") in metrics.take()


def test_memory_is_bounded_when_nobody_takes(counted: Metrics) -> None:
    for _ in range(1 << 17):
        counted.arrived().tokens(1)
    assert len(counted.take()) <= (1 << 16) + len(METRICS)


def test_no_count_is_lost_between_threads(counted: Metrics) -> None:
    def work() -> None:
        for _ in range(2000):
            counted.ended("stop")

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    total = 0.0
    while any(thread.is_alive() for thread in threads):
        total += sum(sum(counts) for counts in values(counted).values())
    assert total + sum(sum(counts) for counts in values(counted).values()) == 6000


def test_the_page_explains_every_metric_and_outcome() -> None:
    page = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
    assert all(f"`{metric.name}`" in page for metric in METRICS)
    assert all(f"`{outcome}`" in page for outcome in OUTCOMES)
    defined = yaml.safe_load(METRICS_FILE.read_text(encoding="utf-8"))["ts_metrics"]
    assert all(f"`{each['name']}`" in page for metrics in defined.values() for each in metrics)
    used = set(re.findall(r"neuroq_\w+", page))
    series = {m.name + suffix for m in METRICS for suffix in ("", "_bucket" * (m.kind is Kind.HISTOGRAM))}
    assert used <= series


# --- to TorchServe ---------------------------------------------------------------------------------------


@pytest.fixture
def take_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., WorkerPlace]]:
    """`claim` in a temporary folder of its own; every place is free again in the end."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with ExitStack() as stack:

        def take(version: str = "1.0", *, only_one: bool) -> WorkerPlace:
            place = claim("m", version, only_one=only_one)
            stack.enter_context(place.lock)
            return place

        yield take


@pytest.fixture
def place(take_place: Callable[..., WorkerPlace]) -> WorkerPlace:
    return take_place(only_one=False)


@pytest.fixture
def cache() -> MetricsCacheYamlImpl:
    """What a worker gets as context.metrics."""
    cache = empty_cache()
    cache.initialize_cache()
    return cache


def empty_cache() -> MetricsCacheYamlImpl:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        return MetricsCacheYamlImpl(config_file_path=str(METRICS_FILE))


def test_the_metrics_file_defines_each_metric_as_the_handler_reports_it() -> None:
    defined = yaml.safe_load(METRICS_FILE.read_text(encoding="utf-8"))["model_metrics"]
    assert {
        (kind, each["name"], each["unit"], tuple(each["dimensions"]))
        for kind, metrics in defined.items()
        for each in metrics
    } == {(m.kind.value, m.name, m.unit, tuple(label_names(m))) for m in METRICS}


def test_names_follow_prometheus() -> None:
    for metric in METRICS:
        assert metric.name.startswith("neuroq_")
        assert metric.name.endswith("_total") == (metric.kind is Kind.COUNTER)
        assert metric.kind is not Kind.HISTOGRAM or metric.name.endswith(f"_{metric.unit}")


def reported(reporter: Reporter, samples: list[Sample], caplog: pytest.LogCaptureFixture) -> list[Any]:
    caplog.clear()
    with caplog.at_level(logging.INFO):
        reporter.report(samples)
    found = [LINE.match(record.message) for record in caplog.records]
    assert all(found), caplog.text
    return [match.groupdict() for match in found if match]


def test_each_sample_is_a_line_that_the_front_end_understands(
    counted: Metrics, cache: MetricsCacheYamlImpl, place: WorkerPlace, caplog: pytest.LogCaptureFixture
) -> None:
    reporter = Reporter(counted, cache, LABELS, place)
    samples = [
        Sample(names.REQUESTS, 3, "stop"),
        Sample(names.FIRST_TOKEN, 1.25e-05),
        Sample(names.RUNNING, 4),
        Sample(names.SESSIONS, 10_000),
    ]
    common = "model_name:neuroq,model_version:1.0"
    fields = ("name", "unit", "value", "type", "labels")
    assert [tuple(line[f] for f in fields) for line in reported(reporter, samples, caplog)] == [
        ("neuroq_requests_total", "requests", "3", "COUNTER", f"{common},outcome:stop"),
        ("neuroq_time_to_first_token_seconds", "seconds", "1.25e-05", "HISTOGRAM", common),
        ("neuroq_requests_running", "requests", "4", "GAUGE", f"{common},worker:0"),
        ("neuroq_sessions", "sessions", "10000", "GAUGE", common),
    ]


def test_a_server_with_another_metrics_file_gets_the_same_lines(
    counted: Metrics, cache: MetricsCacheYamlImpl, place: WorkerPlace, caplog: pytest.LogCaptureFixture
) -> None:
    """Plain torchserve with its own metrics.yaml, or an archive that is newer than the server."""
    samples = [Sample(metric, 1, "stop" if metric.label == "outcome" else None) for metric in METRICS]
    known = reported(Reporter(counted, cache, LABELS, place), samples, caplog)
    assert reported(Reporter(counted, empty_cache(), LABELS, place), samples, caplog) == known


def test_the_thread_reports_and_survives_a_failure(
    clock: Clock,
    cache: MetricsCacheYamlImpl,
    place: WorkerPlace,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("handler.reporter.INTERVAL", 0.01)
    tries: list[int] = []

    def count() -> int:
        tries.append(1)
        if len(tries) == 1:
            raise OSError("locked")
        return 5

    with caplog.at_level(logging.INFO):
        reporter = Reporter(Metrics(8, count, clock), cache, LABELS, place)
        reporter.start()
        wait_until(lambda: "neuroq_sessions" in caplog.text)
        reporter.stop()
        reporter.join(5)
    assert "metrics could not be reported" in caplog.text
    assert not reporter.is_alive()


def test_the_gauges_of_a_worker_that_is_gone_are_cleared_once(
    counted: Metrics,
    cache: MetricsCacheYamlImpl,
    take_place: Callable[..., WorkerPlace],
    caplog: pytest.LogCaptureFixture,
) -> None:
    gone, here, stays = (take_place(only_one=False) for _ in range(3))
    reporter = Reporter(counted, cache, LABELS, here)
    with caplog.at_level(logging.INFO):
        reporter.clear_vacant()
        assert caplog.text == ""
        gone.lock.close()
        reporter.clear_vacant()
        reporter.clear_vacant()
    found = [LINE.match(record.message) for record in caplog.records]
    cleared = [(each["name"], each["value"], each["labels"].rpartition(",")[2]) for each in found if each]
    assert cleared == [(m.name, "0", "worker:0") for m in METRICS if m.label == "worker"]
    assert take_place(only_one=False).number == gone.number  # looking does not keep it taken
    assert not stays.lock.closed


def wait_until(condition: Callable[[], bool]) -> None:
    for _ in range(500):
        if condition():
            return
        threading.Event().wait(0.01)
    raise AssertionError("it did not happen")


# --- in the service --------------------------------------------------------------------------------------


@pytest.fixture
def service(tmp_path: Path, tokenizer: Tokenizer, clock: Clock) -> Service:
    write_checkpoint(tmp_path, tokenizer, context_length=128)
    served = ServedModel.load(tmp_path, name="neuroq", version="1.0", device=torch.device("cpu"))
    settings = HandlerSettings(slots=4, max_waiting=2, tokens_per_step=4)
    return Service(served, SqliteSessions(tmp_path / "sessions.db", settings.sessions), settings, clock)


def outcomes(service: Service) -> dict[str | None, float]:
    return {label: sum(counts) for (_, label), counts in values(service.metrics).items() if label}


def run(service: Service) -> dict[str, Any]:
    answers: dict[str, Any] = {}
    while service.num_in_flight:
        answers |= service.step()
    return answers


def test_the_service_counts_what_it_answers(service: Service) -> None:
    service.metrics.take()
    asked = {"prompt": "こんにちは、長い挨拶です", "seed": 1, "stop": ["無い"]}
    service.submit("a", {**asked, "max_length": 9, "session_id": "a", "n": 2})
    service.submit("b", {**asked, "max_length": 1, "session_id": "b", "stream": True})
    usages = [run(service)["a"].body["usage"]]
    service.submit("c", {**asked, "max_length": 9, "session_id": "c"})
    usages.append(run(service)["c"].body["usage"])
    samples = values(service.metrics)
    (prompt,) = {usage["prompt_tokens"] for usage in usages}
    assert samples[names.PROMPT_TOKENS, None] == [4 * prompt]  # each reply's, so twice that of "a"
    assert samples[names.REUSED_TOKENS, None] == [usages[1]["prompt_tokens_details"]["cached_tokens"]]
    assert usages[1]["prompt_tokens_details"]["cached_tokens"] > 0
    generated = sum(usage["completion_tokens"] for usage in usages)
    assert sum(samples[names.GENERATED_TOKENS, None]) - generated in (0, 1)  # "b" may have stopped at once
    assert len(samples[names.FIRST_TOKEN, None]) in (2, 3)
    assert len(samples[names.OUTPUT_TOKEN, None]) == 2
    assert sum(sum(n) for (m, _), n in samples.items() if m is names.REQUESTS) == 3
    assert {label for m, label in samples if m is names.REQUESTS} <= {"stop", "length"}


def test_each_way_to_end_is_counted_once(service: Service) -> None:
    service.metrics.take()
    service.submit("bad", b"no json")
    service.submit("fly", {"action": "fly"})
    service.submit("train", {"action": "train"})
    service.submit("long", {"prompt": "長い話" * 500})
    service.submit("path", {}, path="v1/nothing")
    service.submit("model", {"model": "gpt", "prompt": "x"}, path="v1/completions")
    service.submit("clear", {"action": "clear_session", "session_id": "c"})
    service.submit("health", {"action": "health"})  # not counted: it is asked all the time
    service.step()
    service.submit("gone", {"prompt": "x", "session_id": "g", "max_length": 100})
    service.cancel_all_but(set())
    service.cancel_all_but(set())
    assert outcomes(service) == {
        "invalid_request": 1,
        "unknown_action": 1,
        "train_disabled": 1,
        "prompt_too_long": 1,
        "not_found": 1,
        "model_not_found": 1,
        "cleared": 1,
        "cancelled": 1,
    }


LONG = {"max_length": 100, "temperature": 0}  # always the same, and more than one step


def test_the_load_of_a_full_service(service: Service) -> None:
    for number in range(7):
        service.submit(f"r{number}", {"prompt": "x", "session_id": f"s{number}", **LONG})
    service.step()
    told = gauges(service.metrics)
    assert (told["neuroq_requests_running"], told["neuroq_requests_waiting"]) == (4, 2)
    assert told["neuroq_batch_size_max"] == told["neuroq_cache_slots_used"] == told["neuroq_cache_slots"] == 4


def test_overload_deadline_and_faults_are_counted(
    service: Service, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    service.metrics.take()
    for number in range(7):
        service.submit(f"r{number}", {"prompt": "x", "session_id": f"s{number}", "max_length": 100})
    with monkeypatch.context() as patch:
        patch.setattr(service._engine, "step", lambda *_: 1 / 0)
        service.step()
    service.submit("late", {"prompt": "x", "session_id": "late"})
    clock.now += 1000
    service.step()
    assert outcomes(service) == {"overloaded": 1, "internal": 6, "deadline_exceeded": 1}


# --- the worker's log and place --------------------------------------------------------------------------


def test_the_lines_of_every_step_are_left_out(caplog: pytest.LogCaptureFixture) -> None:
    loggers = [logging.getLogger(name) for name in ("root", "ts.metrics.caching_metric")]
    before = [list(logger.filters) for logger in loggers]
    try:
        worker_log.quiet()
        with caplog.at_level(logging.INFO):
            logging.info("Backend received inference at: %d", 1)
            logging.info("something else")
            loggers[1].info("[METRICS]PredictionTime.Milliseconds:1|#...")
            loggers[1].info("[METRICS]neuroq_steps_total.steps:1|#...")
        assert [r.message[:20] for r in caplog.records] == ["something else", "[METRICS]neuroq_steps"[:20]]
    finally:
        for logger, filters in zip(loggers, before, strict=True):
            logger.filters[:] = filters


def test_places_are_numbered_and_free_again(take_place: Callable[..., WorkerPlace]) -> None:
    first, second = take_place(only_one=False), take_place(only_one=False)
    assert (first.number, second.number) == (0, 1)
    assert take_place("2.0", only_one=True).number == 0
    with pytest.raises(NoPlaceError, match="must not have two"):
        take_place(only_one=True)
    first.lock.close()
    assert take_place(only_one=False).number == 0


def test_a_place_is_free_when_its_process_is_gone(
    tmp_path: Path, take_place: Callable[..., WorkerPlace]
) -> None:
    code = (
        f"import tempfile; tempfile.tempdir = {str(tmp_path)!r}; from handler.worker_place import claim;"
        "place = claim('m', '1.0', only_one=True); import os; os._exit(9)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 9
    assert take_place(only_one=True).number == 0
