"""The serving benchmark works: its load generator against a small server, and all of it against NeuroQ."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.serving.figures import Cell, Percentiles, Results, make_sample, ratio
from benchmarks.serving.kinds import Wire
from benchmarks.serving.load import NUMBER, Call, Outcome, Plan, Run, Traffic, run_plan
from benchmarks.serving.models import Model, make_model
from benchmarks.serving.scenarios import SHORT_ALONE, SHORT_BESIDE_LONG, Scenario, closed_loop
from benchmarks.serving.systems import HUGGING_FACE_HANDLER, NEUROQ, post
from benchmarks.serving.verdicts import judge
from benchmarks.serving.workload import LONG, MIXED, SHORT, make_asks
from server.ports import free_ports
from tests.conftest import ROOT

pytestmark = pytest.mark.integration


class TinyServer:
    """Answers as the path says: whole, in chunks, too short, with an error, or by hanging up."""

    def __init__(self) -> None:
        self.port = free_ports(1)[0]
        self.bodies: list[bytes] = []
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))

    def __enter__(self) -> TinyServer:
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    def call(self, path: str, num_tokens: int = 3) -> Call:
        body = json.dumps({"session_id": NUMBER, "n": num_tokens}).encode()
        return Call(post(path, self.port, body), num_tokens)

    async def _run(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        async with await asyncio.start_server(self._serve, "127.0.0.1", self.port):
            self._ready.set()
            await self._stop.wait()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                found = re.search(rb"Content-Length: (\d+)", head)
                assert found
                self.bodies.append(await reader.readexactly(int(found[1])))
                await self._answer(head.split()[1].decode(), writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _answer(self, path: str, writer: asyncio.StreamWriter) -> None:
        if path == "/chunks":
            await self._stream(writer)
            return
        if path == "/hang-up":
            raise ConnectionError
        count = 1 if path == "/short" else 3
        status = "503 Busy" if path == "/busy" else "200 OK"
        body = json.dumps({"usage": {"completion_tokens": count}}).encode()
        writer.write(f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)

    async def _stream(self, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for event in ({"delta": "a"}, {"delta": "b"}, {"usage": {"completion_tokens": 3}}):
            await asyncio.sleep(0.01)
            data = f"data: {json.dumps(event)}\n\n".encode()
            half = len(data) // 2
            writer.write(f"{len(data):x}\r\n".encode() + data[:half])
            await asyncio.sleep(0.001)  # a chunk in two pieces
            writer.write(data[half:] + b"\r\n")
        writer.write(b"0\r\n\r\n")


@pytest.fixture
def tiny_server() -> Iterator[TinyServer]:
    with TinyServer() as server:
        yield server


def send(server: TinyServer, *traffics: Traffic) -> Run:
    return run_plan(Plan("127.0.0.1", server.port, traffics, warm_up=0.0, seconds=0.3))


def test_whole_and_streamed_replies_count_their_tokens(tiny_server: TinyServer) -> None:
    whole = Traffic("whole", [tiny_server.call("/whole")], clients=2)
    streamed = Traffic("streamed", [tiny_server.call("/chunks")], clients=2)
    run = send(tiny_server, whole, streamed)
    assert not [o.error for o in run.outcomes if o.error]
    sample = make_sample(run, {"server": 0.0})
    assert sample.figures["whole"].tokens_per_second > sample.figures["streamed"].tokens_per_second > 0
    assert sample.figures["whole"].first is None
    assert sample.figures["streamed"].tokens_per_event == pytest.approx(1.5)
    for outcome in (o for o in run.outcomes if o.traffic == "streamed"):
        assert outcome.started < outcome.first < outcome.ended
        assert outcome.num_events == 3


def test_each_request_has_its_own_number(tiny_server: TinyServer) -> None:
    run = send(tiny_server, Traffic("whole", [tiny_server.call("/whole")], clients=4))
    numbers = {json.loads(body)["session_id"] for body in tiny_server.bodies}
    assert len(numbers) == len(tiny_server.bodies) == len(run.outcomes)
    assert NUMBER not in numbers


@pytest.mark.parametrize(
    ("path", "words"), [("/short", "1 tokens, not 3"), ("/busy", "status 503"), ("/hang-up", "Stale")]
)
def test_what_is_not_a_good_reply_is_an_error(tiny_server: TinyServer, path: str, words: str) -> None:
    run = send(tiny_server, Traffic("bad", [tiny_server.call(path)], clients=1))
    assert run.outcomes
    assert all(words in outcome.error for outcome in run.outcomes)
    figures = make_sample(run, {}).figures["bad"]
    assert (figures.tokens_per_second, figures.num_errors) == (0.0, len(run.outcomes))


def test_an_open_loop_does_not_wait_for_replies(tiny_server: TinyServer) -> None:
    run = send(tiny_server, Traffic("open", [tiny_server.call("/chunks")], rate=200.0))
    assert len(run.outcomes) > 0.3 / 0.03 * 2  # twice what one client that waits could send
    assert not [o.error for o in run.outcomes if o.error]


def outcome(started: float, ended: float, num_tokens: int = 100, traffic: str = "mixed") -> Outcome:
    return Outcome(traffic, num_tokens, started, ended, ended, num_events=0)


def test_tokens_count_where_their_time_was_spent() -> None:
    run = Run([outcome(-1.0, 1.0), outcome(0.0, 1.0), outcome(1.5, 2.5)], seconds=2.0, cpu=0.5, wall=5.0)
    sample = make_sample(run, {"worker": 2.5})
    assert sample.figures["mixed"].tokens_per_second == pytest.approx((50 + 100 + 50) / 2)
    assert sample.figures["mixed"].num_requests == 2  # those that began inside the window
    assert sample.cpu == {"worker": 0.5, "load generator": 0.1}


def test_percentiles() -> None:
    assert Percentiles.of(range(1, 101)) == Percentiles(50, 95, 99)
    assert Percentiles.of([7]) == Percentiles(7, 7, 7)
    assert Percentiles.of([]) is None


def test_ratios_are_of_the_same_round() -> None:
    assert ratio([10, 30, 2], [1, 1, 1]) == 10
    assert ratio([], [1]) is None


def results_with(rates: dict[str, float], short: dict[Scenario, float]) -> Results:
    results = Results()
    for system, rate in rates.items():
        run = Run([outcome(0.0, 1.0, int(rate))], seconds=1.0, cpu=0.0, wall=1.0)
        results.add(Cell(system, closed_loop(32, Wire.REST)), make_sample(run, {}))
    for scenario, seconds in short.items():
        run = Run([outcome(0.0, seconds, traffic="short")], seconds=1.0, cpu=0.0, wall=1.0)
        results.add(Cell(NEUROQ, scenario), make_sample(run, {}))
    return results


@pytest.mark.parametrize(
    ("rate", "seconds", "words"), [(2000, 0.2, ["met", "met"]), (1999, 0.21, ["**not met**"] * 2)]
)
def test_verdicts(rate: float, seconds: float, words: list[str]) -> None:
    rates = {NEUROQ: rate, f"{HUGGING_FACE_HANDLER}, 1 worker": 100}
    results = results_with(rates, {SHORT_ALONE: 0.1, SHORT_BESIDE_LONG: seconds})
    assert [line.word for line in judge(results)] == words


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return make_model(tmp_path_factory.mktemp("model"))


def test_the_workload_fits_the_context(model: Model) -> None:
    for mix in (MIXED, SHORT, LONG):
        asks = make_asks(model.tokenizer, model.text, mix)
        assert asks == make_asks(model.tokenizer, model.text, mix)
        for ask in asks:
            assert model.tokenizer.encode(ask.prompt) == ask.prompt_ids
            assert 8 <= len(ask.prompt_ids) <= 64
            assert mix.shortest <= ask.num_tokens <= mix.longest
            assert len(ask.prompt_ids) + ask.num_tokens <= 248


@pytest.mark.e2e
def test_a_quick_run(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.serving", "--quick", "--system", "neuroq"]
    done = subprocess.run(
        [*command, "--output", str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    page = json.loads((tmp_path / "serving.json").read_text())
    assert page["left_out"] == {}
    assert [cell["wire"] for cell in page["cells"]] == [wire.value for wire in Wire]
    for cell in page["cells"]:
        figures = cell["rounds"][0]["figures"]["mixed"]
        assert (figures["num_errors"], figures["error"]) == (0, ""), cell
        assert figures["tokens_per_second"] > 0
    assert "| 4 clients | NeuroQ | mixed |" in (tmp_path / "serving.md").read_text()
