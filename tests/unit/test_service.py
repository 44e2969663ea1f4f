"""The service with a tiny network and no server: every action, conversations, deadlines, faults."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
import torch

from handler.generation import MAX_LOGPROBS_IN_ALL
from handler.replies import Answer, Event, Reply, StreamPart
from handler.served_model import ServedModel
from handler.service import Service
from handler.settings import HandlerSettings, SessionSettings, TrainingSettings
from handler.sqlite_sessions import SqliteSessions
from model.tokenizer import Tokenizer
from tests.conftest import ROOT, write_checkpoint

pytestmark = pytest.mark.unit


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Harness:
    """A service, its store, and a loop that plays TorchServe's part."""

    def __init__(self, folder: Path, tokenizer: Tokenizer, **settings: Any) -> None:
        torch.set_num_threads(1)  # as the handler does
        write_checkpoint(folder, tokenizer, context_length=128)
        self.served = ServedModel.load(folder, name="neuroq", version="1.0", device=torch.device("cpu"))
        self.settings = HandlerSettings(**{"slots": 8, "deadline_seconds": 1e6, **settings})
        self.clock = Clock()
        self.store = SqliteSessions(folder / "sessions.db", self.settings.sessions)
        self.service = Service(self.served, self.store, self.settings, self.clock)
        self.replies: dict[str, Reply] = {}  # whole ones
        self.events: dict[str, list[Event]] = defaultdict(list)  # of streams
        self.num_asked = 0

    def step(self) -> dict[str, Answer]:
        answers = self.service.step()
        for name, answer in answers.items():
            if isinstance(answer, StreamPart):
                assert answer.events
                self.events[name] += answer.events
            else:
                self.replies[name] = answer
        return answers

    def run(self, steps: int = 500) -> dict[str, Reply]:
        for _ in range(steps):
            self.clock.now += 1.0
            if not self.step() and not self.service.num_in_flight:
                break
        return self.replies

    def ask(self, *, path: str = "", **body: Any) -> Reply:
        self.num_asked += 1
        name = f"ask-{self.num_asked}"
        self.service.submit(name, body, path=path)
        return self.run()[name]

    def stream(self, *, path: str = "", **body: Any) -> list[Any]:
        self.num_asked += 1
        name = f"stream-{self.num_asked}"
        self.service.submit(name, {"stream": True, **body}, path=path)
        self.run()
        return self.events[name]

    def generate(self, prompt: str, **body: Any) -> dict[str, Any]:
        reply = self.ask(prompt=prompt, **{"seed": 1, "max_length": 8, **body})
        assert reply.status == 200, reply
        return reply.body


@pytest.fixture
def harness(tmp_path: Path, tokenizer: Tokenizer) -> Harness:
    return Harness(tmp_path, tokenizer)


def test_health(harness: Harness) -> None:
    expected = {"status": "healthy", "device": "cpu", "cuda_available": False, "model_initialized": True}
    assert harness.ask(action="health") == Reply(200, expected)


def test_status_tells_the_lineage_and_the_load(harness: Harness) -> None:
    body = harness.ask(action="status").body
    assert body["status"] == "ok"
    assert body["initialized"] is True
    assert body["model_version"] == "1.0"
    assert body["precision"] in {"float32", "bfloat16"}
    assert body["vocab_size"] == harness.served.tokenizer.vocab_size
    assert body["tokenizer_sha256"] == harness.served.tokenizer.sha256
    assert (body["requests_running"], body["requests_waiting"], body["sessions"]) == (0, 0, 0)
    for number in range(10):
        harness.service.submit(f"r{number}", {"prompt": "x", "session_id": f"s{number}", "max_length": 100})
    harness.service.step()
    harness.service.submit("status", {"action": "status"})
    harness.step()
    body = harness.replies["status"].body
    assert body["requests_running"] + body["requests_waiting"] <= 10
    assert body["requests_running"] > 0


def test_generate_answers_by_the_contract(harness: Harness) -> None:
    body = harness.generate("こんにちは", session_id="a", seed=5)
    assert set(body) == {
        "status", "prompt", "generated", "session_id", "finish_reason", "usage", "model_version", "seed"
    }  # fmt: skip
    assert (body["status"], body["prompt"]) == ("success", "こんにちは")
    assert (body["session_id"], body["seed"]) == ("a", 5)
    assert body["finish_reason"] in {"stop", "length"}
    assert body["usage"]["completion_tokens"] <= 8
    usage = body["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    assert 0 <= usage["prompt_tokens_details"]["cached_tokens"] < usage["prompt_tokens"]


def test_a_seed_is_chosen_and_told_and_gives_the_same_text_again(harness: Harness) -> None:
    first = harness.ask(prompt="はい", session_id="a", temperature=1.5).body
    again = harness.generate("はい", session_id="b", temperature=1.5, max_length=50, seed=first["seed"])
    assert again["generated"] == first["generated"]


def test_requests_together_give_what_they_give_alone(harness: Harness) -> None:
    bodies = [
        {
            "prompt": f"質問{i}",
            "max_length": 4 + 5 * i,
            "temperature": 0.25 * i,
            "seed": i,
            "session_id": f"t{i}",
        }
        for i in range(8)
    ]
    for number, body in enumerate(bodies):
        harness.service.submit(f"together-{number}", body)
    together = {name: reply.body["generated"] for name, reply in harness.run().items()}
    for number, body in enumerate(bodies):
        alone = harness.generate(**{**body, "session_id": f"alone{number}"})
        assert alone["generated"] == together[f"together-{number}"]


def test_a_conversation_continues_and_is_forgotten(harness: Harness) -> None:
    first = harness.generate("犬を飼っています", session_id="a")
    second = harness.generate("名前は？", session_id="a")
    fresh = harness.generate("名前は？", session_id="b")
    assert second["usage"]["prompt_tokens"] > fresh["usage"]["prompt_tokens"] >= 1
    assert first["usage"]["prompt_tokens"] < second["usage"]["prompt_tokens"]
    assert harness.ask(action="clear_session", session_id="a").body["status"] == "success"
    assert harness.generate("名前は？", session_id="a")["generated"] == fresh["generated"]


def test_clearing_an_unknown_session_succeeds(harness: Harness) -> None:
    assert harness.ask(action="clear_session", session_id="nobody").status == 200
    assert harness.store.count() == 0


def test_without_a_session_id_the_default_conversation_goes_on(harness: Harness) -> None:
    assert harness.generate("はい")["session_id"] == "default"
    second = harness.generate("はい")
    other = harness.generate("はい", session_id="other")
    assert second["usage"]["prompt_tokens"] > other["usage"]["prompt_tokens"]


def test_the_shared_conversation_can_be_switched_off(tmp_path: Path, tokenizer: Tokenizer) -> None:
    harness = Harness(tmp_path, tokenizer, sessions=SessionSettings(share_default=False))
    first, second = harness.generate("はい"), harness.generate("はい")
    assert first["session_id"] is None
    assert first["usage"]["prompt_tokens"] == second["usage"]["prompt_tokens"]
    assert harness.store.count() == 0


def test_two_requests_of_one_session_are_answered_one_after_the_other(harness: Harness) -> None:
    for number in range(4):
        body = {"prompt": f"問{number}", "session_id": "a", "max_length": 6, "seed": 1}
        harness.service.submit(f"r{number}", body)
    harness.step()
    assert harness.service._engine.num_running <= 1
    tokens = [harness.run()[f"r{number}"].body["usage"]["prompt_tokens"] for number in range(4)]
    assert tokens == sorted(tokens)
    assert len(set(tokens)) == 4


def test_a_stop_string_ends_the_reply_before_it(harness: Harness) -> None:
    whole = harness.generate("こんにちは", session_id="a", temperature=1.0, max_length=60)["generated"]
    middle = whole[len(whole) // 2]
    cut = harness.generate("こんにちは", session_id="b", temperature=1.0, max_length=60, stop=["zzz", middle])
    assert cut["generated"] == whole[: whole.index(middle)]
    assert cut["finish_reason"] == "stop"


def test_training_is_refused_with_the_offline_command(harness: Harness) -> None:
    reply = harness.ask(action="train", epochs=3)
    assert (reply.status, reply.body["code"]) == (403, "train_disabled")
    assert "./neuroq train" in str(reply.body)


def test_training_starts_a_job_where_the_operator_allows_it(tmp_path: Path, tokenizer: Tokenizer) -> None:
    training = TrainingSettings(enabled=True, command="sh -c 'exec sleep 1'", path=str(tmp_path / "jobs"))
    harness = Harness(tmp_path, tokenizer, training=training)
    assert harness.ask(action="status").body["training_job"] is None
    assert harness.ask(action="train", epochs=0).status == 400
    reply = harness.ask(action="train", texts=["こんにちは"], epochs=3)
    assert (reply.status, reply.body["status"], reply.body["job_id"]) == (202, "accepted", "1")
    busy = harness.ask(action="train")
    assert (busy.status, busy.body["code"]) == (409, "train_busy")
    assert harness.ask(action="status").body["training_job"]["state"] == "queued"


def test_a_prompt_beyond_the_context_is_refused(harness: Harness) -> None:
    reply = harness.ask(prompt="長い話" * 500, session_id="a")
    assert (reply.status, reply.body["code"]) == (400, "prompt_too_long")
    assert harness.store.take("a", 1) == []  # the session is free again


def test_requests_beyond_the_bound_are_refused_at_once(tmp_path: Path, tokenizer: Tokenizer) -> None:
    harness = Harness(tmp_path, tokenizer, max_waiting=2)
    for number in range(12):
        body = {"prompt": "x", "session_id": f"s{number}", "max_length": 90, "seed": 1}
        harness.service.submit(f"r{number}", body)
    harness.step()
    refused = {name: reply for name, reply in harness.replies.items() if reply.status != 200}
    assert sorted(refused) == ["r10", "r11"]
    assert {reply.body["code"] for reply in refused.values()} == {"overloaded"}
    harness.service.submit("health", {"action": "health"})  # gets through all the same
    harness.step()
    assert harness.replies["health"].status == 200


def test_a_request_past_its_deadline_is_given_up(tmp_path: Path, tokenizer: Tokenizer) -> None:
    harness = Harness(tmp_path, tokenizer, deadline_seconds=10.0, tokens_per_step=1)
    harness.service.submit("slow", {"prompt": "x", "session_id": "a", "max_length": 100, "seed": 1})
    harness.service.submit("behind", {"prompt": "x", "session_id": "a", "max_length": 100, "seed": 1})
    harness.clock.now += 5
    harness.service.step()
    harness.clock.now += 6
    harness.step()
    assert {name: (r.status, r.body["code"]) for name, r in harness.replies.items()} == {
        "slow": (504, "deadline_exceeded"),
        "behind": (504, "deadline_exceeded"),
    }
    assert harness.service._engine.num_running == 0


def test_a_client_that_leaves_frees_slot_and_session(tmp_path: Path, tokenizer: Tokenizer) -> None:
    harness = Harness(tmp_path, tokenizer, tokens_per_step=1)
    harness.service.submit("gone", {"prompt": "x", "session_id": "a", "max_length": 100, "seed": 1})
    harness.service.step()
    harness.service.cancel_all_but(set())
    assert harness.service.num_in_flight == harness.service._engine.num_running == 0
    assert harness.store.take("a", 1) == []


def test_a_fault_of_ours_is_told_without_details(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    def explode(*_: object) -> None:
        raise OSError("disk full at /secret/path")

    monkeypatch.setattr(harness.store, "take", explode)
    reply = harness.ask(prompt="x", session_id="a")
    assert (reply.status, reply.body["code"]) == (500, "internal")
    assert "secret" not in str(reply.body)


def test_one_failing_request_takes_nobody_with_it(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    give_back = harness.store.give_back

    def fail_for_a(session_id: str, *rest: Any) -> bool:
        if session_id == "a":
            raise OSError("no")
        return give_back(session_id, *rest)

    monkeypatch.setattr(harness.store, "give_back", fail_for_a)
    for name in ("a", "b"):
        harness.service.submit(name, {"prompt": "x", "session_id": name, "max_length": 5, "seed": 1})
    replies = harness.run()
    assert (replies["a"].status, replies["b"].status) == (500, 200)


def test_a_failing_engine_answers_everybody_and_goes_on(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(harness.service._engine, "step", lambda _: 1 / 0)
        reply = harness.ask(prompt="x", session_id="a")
    assert (reply.status, reply.body["code"]) == (500, "internal")
    assert harness.generate("x", session_id="a")["status"] == "success"


# --- several replies, streams, log probabilities ---


def test_several_replies_have_the_seeds_that_follow(harness: Harness) -> None:
    body = {"prompt": "はい", "temperature": 1.5, "max_length": 20, "seed": 7}
    alone = [harness.generate(**{**body, "seed": 7 + i}, session_id=f"alone-{i}") for i in range(4)]
    several = harness.generate(**body, n=4, session_id="several")
    assert [c["generated"] for c in several["choices"]] == [a["generated"] for a in alone]
    assert [(c["index"], c["seed"]) for c in several["choices"]] == [(i, 7 + i) for i in range(4)]
    assert several["generated"] == alone[0]["generated"]
    assert several["usage"]["completion_tokens"] == sum(a["usage"]["completion_tokens"] for a in alone)
    assert several["usage"]["prompt_tokens"] == alone[0]["usage"]["prompt_tokens"]


def test_only_the_first_reply_goes_into_the_conversation(harness: Harness) -> None:
    several = harness.generate("はい", temperature=1.5, n=3, session_id="a")
    turns = harness.store.take("a", 1)
    assert turns is not None
    assert [turn.text for turn in turns] == ["はい", several["choices"][0]["generated"]]


def test_a_request_for_more_replies_than_there_is_room_is_refused_whole(
    tmp_path: Path, tokenizer: Tokenizer
) -> None:
    harness = Harness(tmp_path, tokenizer, max_waiting=2)
    harness.service.submit("big", {"prompt": "x", "n": 8, "session_id": "a", "seed": 1})
    harness.service.submit("too big", {"prompt": "x", "n": 3, "session_id": "b", "seed": 1})
    harness.service.submit("small", {"prompt": "x", "n": 2, "session_id": "c", "seed": 1})
    replies = harness.run()
    assert {name: reply.status for name, reply in replies.items()} == {
        "big": 200,
        "too big": 503,
        "small": 200,
    }


def joined(events: list[Any], index: int = 0) -> str:
    return "".join(event["delta"] for event in events if "delta" in event and event.get("index", 0) == index)


@pytest.mark.parametrize("tokens_per_step", [1, 3, 50])
def test_a_stream_is_the_same_text_in_pieces(
    tmp_path: Path, tokenizer: Tokenizer, tokens_per_step: int
) -> None:
    harness = Harness(tmp_path, tokenizer, tokens_per_step=tokens_per_step)
    body = {"prompt": "はい", "temperature": 1.5, "max_length": 60, "seed": 3}
    whole = harness.generate(**body, session_id="whole")
    *pieces, last = harness.stream(**body, session_id="stream")
    assert joined(pieces) == whole["generated"]
    assert all(set(piece) == {"delta"} for piece in pieces)
    assert len(pieces) > 5 or tokens_per_step == 50
    different = ("status", "prompt", "generated", "session_id", "usage")
    assert last.pop("session_id") == "stream"
    assert last.pop("usage")["total_tokens"] == whole["usage"]["total_tokens"]
    assert last == {name: value for name, value in whole.items() if name not in different}


def test_a_stream_of_several_replies_with_stop_strings(harness: Harness) -> None:
    body = {"prompt": "はい", "temperature": 1.5, "max_length": 40, "seed": 3, "n": 3}
    free = harness.generate(**body, session_id="free")
    stop = [choice["generated"][5:7] for choice in free["choices"][:2]]
    whole = harness.generate(**body, stop=stop, session_id="whole")
    *pieces, last = harness.stream(**body, stop=stop, session_id="stream")
    assert [c["finish_reason"] for c in last["choices"]][:2] == ["stop", "stop"]
    for index, choice in enumerate(whole["choices"]):
        assert joined(pieces, index) == choice["generated"]
        assert not any(s in choice["generated"] for s in stop)
    assert harness.service._engine.num_running == 0


def test_log_probabilities_of_each_token(harness: Harness) -> None:
    body = {"prompt": "はい", "temperature": 1.5, "max_length": 20, "seed": 3}
    plain = harness.generate(**body, session_id="plain")
    told = harness.generate(**body, logprobs=3, session_id="told")
    assert told["generated"] == plain["generated"]
    assert "logprobs" not in plain
    entries = told["logprobs"]
    assert len(entries) == told["usage"]["completion_tokens"]
    spelled = b"".join(bytes(entry["bytes"]) for entry in entries).decode(errors="ignore")
    assert spelled.startswith(told["generated"].replace("\ufffd", ""))
    for entry in entries:
        assert set(entry) == {"token", "logprob", "bytes", "top_logprobs"}
        values = [top["logprob"] for top in entry["top_logprobs"]]
        assert len(values) == 3
        assert values == sorted(values, reverse=True)
        assert entry["logprob"] <= values[0] <= 0
    *pieces, _ = harness.stream(**body, logprobs=3, session_id="stream")
    assert [e["bytes"] for piece in pieces for e in piece["logprobs"]] == [e["bytes"] for e in entries]
    bare = harness.generate(**body, logprobs=True, session_id="bare")
    assert [e["top_logprobs"] for e in bare["logprobs"]] == [[]] * len(entries)


def test_more_log_probabilities_than_a_reply_can_hold_are_refused(harness: Harness) -> None:
    for body in ({"n": 8, "logprobs": 20, "max_length": 128}, {"n": 3, "logprobs": 20, "max_length": 1024}):
        reply = harness.ask(prompt="x", **body)
        assert (reply.status, reply.body["code"]) == (400, "invalid_request")
        assert "logprobs" in reply.body["error"]
    assert harness.generate("x", n=2, logprobs=20, max_length=128)["status"] == "success"
    config = (ROOT / "config.properties").read_text()
    assert f"max_response_size={MAX_LOGPROBS_IN_ALL * 600 // 2**20 + 1 << 20}" in config


def test_a_finished_stream_joins_the_conversation_and_a_cancelled_one_does_not(harness: Harness) -> None:
    *pieces, _ = harness.stream(prompt="はい", session_id="a", seed=1, max_length=30)
    endless = {"max_length": 100, "stream": True, "seed": 1, "temperature": 2.0, "top_k": 0, "top_p": 1.0}
    harness.service.submit("gone", {"prompt": "次", "session_id": "a", **endless})
    assert not harness.step()["gone"].is_last
    harness.service.cancel_all_but(set())
    turns = harness.store.take("a", 1)
    assert turns is not None
    assert [turn.text for turn in turns] == ["はい", joined(pieces)]


def test_a_caller_that_cannot_stream_gets_one_reply(harness: Harness) -> None:
    harness.service.submit("r", {"prompt": "はい", "stream": True, "seed": 1}, can_stream=False)
    assert harness.run()["r"].body["status"] == "success"


def test_an_error_before_the_first_piece_has_its_status_and_one_after_is_an_event(
    tmp_path: Path, tokenizer: Tokenizer
) -> None:
    harness = Harness(tmp_path, tokenizer, deadline_seconds=10.0, tokens_per_step=4)
    assert harness.ask(prompt="長い話" * 500, stream=True).status == 400
    body = {"prompt": "x", "max_length": 100, "temperature": 1.5, "seed": 1, "stream": True}
    harness.service.submit("late", {**body, "session_id": "a"})
    harness.step()
    harness.service.submit("never", {**body, "session_id": "a"})
    harness.step()
    harness.clock.now += 11
    answers = harness.step()
    assert isinstance(answers["late"], StreamPart)
    assert answers["late"].is_last
    assert harness.events["late"][-1]["code"] == "deadline_exceeded"  # type: ignore[index]
    assert harness.replies["never"].status == 504


# --- one that fails ---


class Bomb:
    """Stands for a function of one argument too many; explodes for one text or sequence only."""

    def __init__(self, function: Any, is_mine: Any) -> None:
        self.function, self.is_mine = function, is_mine

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        if self.is_mine(*arguments):
            raise RuntimeError("boom at /secret/path")
        return self.function(*arguments, **named)


@pytest.mark.parametrize("streams", [False, True])
@pytest.mark.parametrize("place", ["encode", "add", "data", "event", "reply"])
def test_whatever_fails_for_one_request_the_others_do_not_notice(
    harness: Harness, monkeypatch: pytest.MonkeyPatch, place: str, streams: bool
) -> None:
    """The tokenizer, the engine's admission, the reading of tokens, the shape of the reply."""
    bodies = {
        name: {
            "prompt": name,
            "session_id": name,
            "max_length": 30,
            "temperature": 1.5,
            "seed": 4,
            "stream": streams,
        }
        for name in ("bad", "good", "fine")
    }

    def results() -> dict[str, object]:
        harness.replies.clear()
        harness.events.clear()
        for name, body in bodies.items():
            harness.service.submit(name, body)
        harness.run()
        for name in bodies:
            harness.ask(action="clear_session", session_id=name)
        cached = json.dumps([harness.replies, harness.events], default=vars)
        assert "secret" not in cached
        return {
            name: joined(harness.events[name]) or harness.replies[name].body.get("generated")
            for name in bodies
        }

    undisturbed = results()
    service = harness.service
    targets: dict[str, tuple[object, Any]] = {
        "encode": (harness.served.tokenizer, lambda text: text == "bad"),
        "add": (service._engine, lambda sequence_id, *_: sequence_id.request_id == "bad"),
        "data": (service._vocabulary, lambda _: "bad" in service._exchanges and len(moved) == 1),
        "event": (service._paths[""], lambda exchange, *_: exchange.request_id == "bad"),
        "reply": (service._paths[""], lambda exchange: exchange.request_id == "bad"),
    }
    moved: list[str] = []
    advance = service._advance

    def note(exchange: Any, news: Any) -> None:
        moved[:] = [exchange.request_id] if exchange.request_id == "bad" else []
        advance(exchange, news)

    monkeypatch.setattr(service, "_advance", note)
    target, is_mine = targets[place]
    monkeypatch.setattr(target, place, Bomb(getattr(target, place), is_mine))
    disturbed = results()
    assert {name: disturbed[name] for name in ("good", "fine")} == {
        name: undisturbed[name] for name in ("good", "fine")
    }
    if place != "reply" or not streams:
        assert disturbed["bad"] is None
        assert harness.replies["bad"].body["code"] == "internal"
    assert harness.store.take("bad", 1) == []
    assert service._engine.num_running == service._engine.num_waiting == 0


def test_a_server_that_is_stopped_ends_what_it_has_and_refuses_the_rest(
    tmp_path: Path, tokenizer: Tokenizer
) -> None:
    path = tmp_path / "in-flight.lock"
    harness = Harness(tmp_path, tokenizer, in_flight_path=str(path))
    harness.service.submit("early", {"prompt": "はい", "max_length": 60})
    harness.step()
    path.write_text("closed")
    assert (late := harness.ask(prompt="はい")).status == 503
    assert late.body["code"] == "stopping"
    assert harness.ask(action="health").status == 503
    assert harness.ask(action="status").status == 200
    assert harness.run()["early"].status == 200
