"""The metrics port of a real server: every metric, with exact counts, in both profiles."""

from __future__ import annotations

import json
import re
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
import yaml

from model.tokenizer import Tokenizer
from tests.conftest import ROOT
from tests.e2e.callers import LONG, SLOW
from tests.e2e.conftest import Server, serve

pytestmark = pytest.mark.e2e
SAMPLE = re.compile(r"^(?P<name>\w+)\{(?P<labels>[^}]*)} (?P<value>\S+)$")
DEFINED = yaml.safe_load((ROOT / "server" / "metrics.yaml").read_text(encoding="utf-8"))
REQUESTS = "neuroq_requests_total"
RANDOM = {"temperature": 2.0, "top_k": 0, "top_p": 1.0}  # so that a reply is long
SLOWEST_REPORT = 20  # seconds; the usual is one


@pytest.fixture
def slow(tmp_path: Path, tokenizer: Tokenizer) -> Iterator[Server]:
    """A server whose replies take seconds."""
    yield from serve(tmp_path, "continuous", tokenizer, **SLOW)


class Scrape:
    """What Prometheus would read."""

    def __init__(self, text: str) -> None:
        self.types = dict(re.findall(r"^# TYPE (\w+) (\w+)$", text, re.MULTILINE))
        self.samples: dict[str, dict[frozenset[tuple[str, str]], float]] = defaultdict(dict)
        for line in text.splitlines():
            if line and not line.startswith("#"):
                found = SAMPLE.match(line)
                assert found, line
                labels = frozenset(re.findall(r'(\w+)="([^"]*)"', found["labels"]))
                self.samples[found["name"]][labels] = float(found["value"])

    def total(self, name: str, **labels: str) -> float:
        """The sum over the series that have these labels."""
        wanted = labels.items()
        return sum(value for found, value in self.samples[name].items() if wanted <= found)

    def labels(self, name: str) -> dict[str, set[str]]:
        """The values of each label."""
        values = defaultdict(set)
        for labels in self.samples[name]:
            for label, value in labels:
                values[label].add(value)
        return values


def scrape(server: Server) -> Scrape:
    reply = httpx.get(f"{server.status['addresses']['metrics']}/metrics", timeout=60, trust_env=False)
    assert reply.status_code == 200  # needs no token
    assert reply.headers["content-type"].startswith("text/plain; version=0.0.4")
    return Scrape(reply.text)


def wait_for(server: Server, condition: Callable[[Scrape], bool]) -> Scrape:
    deadline = time.monotonic() + SLOWEST_REPORT
    while not condition(now := scrape(server)):
        assert time.monotonic() < deadline, dict(now.samples)
        time.sleep(0.2)
    return now


def gained(now: Scrape, before: Scrape) -> dict[str, float]:
    """How often requests ended in which way."""
    counts = {
        name: now.total(REQUESTS, outcome=name) - before.total(REQUESTS, outcome=name)
        for name in now.labels(REQUESTS)["outcome"]
    }
    return {name: count for name, count in counts.items() if count}


def settled(server: Server, before: Scrape, outcomes: dict[str, int]) -> Scrape:
    """The metrics once these outcomes are counted, and one report later."""
    wait_for(server, lambda now: gained(now, before) == outcomes)
    return at_rest(server)


def at_rest(server: Server) -> Scrape:
    """The metrics when they tell of all that was asked before: a report has changed nothing."""
    before = scrape(server)
    while True:
        time.sleep(1.5)
        now = scrape(server)
        if now.samples[REQUESTS] == before.samples[REQUESTS]:
            return now
        before = now


def test_every_metric_is_there_with_its_type_and_labels(server: Server) -> None:
    before = at_rest(server)
    reply = server.generate("こんにちは", session_id="types", seed=1, max_length=100, **RANDOM)
    now = settled(server, before, {reply["finish_reason"]: 1})
    for kind, metrics in DEFINED["model_metrics"].items():
        for metric in metrics:
            assert now.types[metric["name"]] == kind
            name = metric["name"] + "_count" * (kind == "histogram")
            labels = now.labels(name)
            assert set(labels) == {*metric["dimensions"], "Hostname"}, name
            assert labels["model_name"] == {"neuroq"}
            assert "1.0" in labels["model_version"]
    assert {name for name in now.types if name.startswith("neuroq_")} == {
        metric["name"] for metrics in DEFINED["model_metrics"].values() for metric in metrics
    }
    workers = {str(number) for number in range(len(server.ready_workers()))}
    assert now.labels("neuroq_requests_running")["worker"] >= workers


def test_the_dashboard_asks_for_metrics_that_are_there(continuous: Server) -> None:
    dashboard = json.loads((ROOT / "deploy" / "monitoring" / "dashboard.json").read_text(encoding="utf-8"))
    queries = " ".join(target["expr"] for panel in dashboard["panels"] for target in panel["targets"])
    asked = set(re.findall(r"\b(?:neuroq_|ts_|Requests)\w+", queries))
    assert len(asked) > 12
    assert {name.removesuffix("_bucket") for name in asked} <= scrape(continuous).types.keys()


def test_counts_are_exact(server: Server) -> None:
    before = at_rest(server)
    bodies = [
        {"prompt": "これは少し長い質問です", "session_id": f"exact {n}", "seed": n, "max_length": 2 + 3 * n}
        for n in range(4)
    ]
    ok = [server.generate(**body) for body in bodies]
    *_, last = server.stream("これは少し長い質問です", session_id="exact 4", seed=4, max_length=30)
    assert server.post(b"no json").status_code == 400
    assert server.post({"prompt": "長い話" * 300, "session_id": "exact 5"}).status_code == 400
    server.post({"action": "clear_session", "session_id": "exact 0"})
    server.post({"action": "health"})
    outcomes = {"invalid_request": 1, "prompt_too_long": 1, "cleared": 1}
    for each in [*ok, last]:
        outcomes[each["finish_reason"]] = outcomes.get(each["finish_reason"], 0) + 1
    now = settled(server, before, outcomes)

    def counted(name: str) -> float:
        return now.total(name) - before.total(name)

    usages = [each["usage"] for each in [*ok, last]]
    assert counted("neuroq_generated_tokens_total") == sum(u["completion_tokens"] for u in usages)
    assert counted("neuroq_prompt_tokens_total") == sum(u["prompt_tokens"] for u in usages)
    reused = sum(u["prompt_tokens_details"]["cached_tokens"] for u in usages)
    assert counted("neuroq_prompt_tokens_reused_total") == reused
    with_text = sum(u["completion_tokens"] > 0 for u in usages)
    assert counted("neuroq_time_to_first_token_seconds_count") == with_text
    assert counted("neuroq_time_per_output_token_milliseconds_count") <= with_text
    assert 0 < counted("neuroq_time_to_first_token_seconds_sum") < 60
    assert counted("neuroq_step_sequences_total") == counted("neuroq_steps_total") >= len(usages)
    assert now.total("neuroq_sessions") > 0
    for name in ("requests_running", "requests_waiting", "cache_slots_used", "generated_tokens_per_second"):
        assert now.total(f"neuroq_{name}") == 0, name
    assert now.total("neuroq_cache_slots") > 0


def test_a_stream_that_its_client_leaves_is_counted_as_cancelled(slow: Server) -> None:
    """Also when nobody else asks for anything: TorchServe is silent then."""
    before = at_rest(slow)
    body = {"prompt": "はい", "stream": True, "session_id": "left", **LONG}
    with slow.client() as client, client.stream("POST", slow.url, json=body) as reply:
        next(reply.iter_lines())
    now = wait_for(slow, lambda now: bool(gained(now, before)))
    assert gained(now, before) == {"cancelled": 1}
    assert now.total("neuroq_requests_running") == 0
    again, fresh = (slow.generate("はい", session_id=name, max_length=1) for name in ("left", "fresh"))
    assert again["usage"]["prompt_tokens"] == fresh["usage"]["prompt_tokens"]


def test_a_worker_that_is_scaled_away_leaves_no_load_behind(workers: Server) -> None:
    places, slots = len(workers.ready_workers()), scrape(workers).total("neuroq_cache_slots")
    scale(workers, places + 1)
    wait_for(workers, lambda now: now.total("neuroq_cache_slots") > slots)
    scale(workers, places)
    wait_for(workers, lambda now: now.total("neuroq_cache_slots") == slots)


def scale(server: Server, count: int) -> None:
    url = f"{server.management_url}/neuroq?min_worker={count}&max_worker={count}&synchronous=true"
    assert httpx.put(url, headers=server.management, timeout=120, trust_env=False).is_success


def test_no_client_can_make_new_series(server: Server) -> None:
    server.generate("x", session_id="before", max_length=1)
    before = at_rest(server)
    for number in range(5):
        server.generate("x", session_id=f"series {number}", max_length=1)
        server.post({"action": f"fly {number}"})
        server.post({"prompt": "x", f"field {number}": 1})
        server.post({"prompt": "x"}, version=f"{number}.9")
        with server.client() as client:
            client.post(server.url.replace("neuroq", f"model{number}"), json={})
            client.post(f"{server.url}/1.0/v1/nothing{number}", json={})
    time.sleep(1.5)
    now = scrape(server)
    new = {name: now.samples[name].keys() - before.samples[name].keys() for name in now.samples}
    allowed = {"Requests4XX", "ts_inference_requests_total", "ts_inference_latency_microseconds"}
    assert {name for name, labels in new.items() if labels} <= {*allowed, "ts_queue_latency_microseconds"}
    assert all(len(labels) <= 1 for labels in new.values())  # the version 1.0 by its name
