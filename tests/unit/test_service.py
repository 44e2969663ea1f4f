"""The service with a tiny network and no server: every action, conversations, deadlines, faults."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from handler.served_model import ServedModel
from handler.service import Reply, Service
from handler.sessions import SessionStore
from handler.settings import HandlerSettings, SessionSettings
from model.tokenizer import Tokenizer
from tests.conftest import write_checkpoint

pytestmark = pytest.mark.unit


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Harness:
    """A service, its store, and a loop that plays TorchServe's part."""

    def __init__(self, folder: Path, tokenizer: Tokenizer, **settings: Any) -> None:
        write_checkpoint(folder, tokenizer, context_length=128)
        self.served = ServedModel.load(folder, name="neuroq", version="1.0", device=torch.device("cpu"))
        self.settings = HandlerSettings(**{"slots": 8, "deadline_seconds": 1e6, **settings})
        self.clock = Clock()
        self.store = SessionStore(folder / "sessions.db", self.settings.sessions)
        self.service = Service(self.served, self.store, self.settings, self.clock)
        self.replies: dict[str, Reply] = {}

    def run(self, steps: int = 500) -> dict[str, Reply]:
        for _ in range(steps):
            self.clock.now += 1.0
            self.replies |= self.service.step()
            if not self.service.num_in_flight:
                break
        return self.replies

    def ask(self, **body: Any) -> Reply:
        name = f"ask-{len(self.replies)}"
        self.service.submit(name, body)
        return self.run()[name]

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
    assert body["vocab_size"] == harness.served.tokenizer.vocab_size
    assert body["tokenizer_sha256"] == harness.served.tokenizer.sha256
    assert (body["requests_running"], body["requests_waiting"], body["sessions"]) == (0, 0, 0)
    for number in range(10):
        harness.service.submit(f"r{number}", {"prompt": "x", "session_id": f"s{number}", "max_length": 100})
    harness.service.step()
    harness.service.submit("status", {"action": "status"})
    body = harness.service.step()["status"].body
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
    total = body["usage"].pop("total_tokens")
    assert total == sum(body["usage"].values())


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
    assert first["usage"] == second["usage"]
    assert harness.store.count() == 0


def test_two_requests_of_one_session_are_answered_one_after_the_other(harness: Harness) -> None:
    for number in range(4):
        body = {"prompt": f"問{number}", "session_id": "a", "max_length": 6, "seed": 1}
        harness.service.submit(f"r{number}", body)
    harness.replies |= harness.service.step()
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


def test_a_prompt_beyond_the_context_is_refused(harness: Harness) -> None:
    reply = harness.ask(prompt="長い話" * 500, session_id="a")
    assert (reply.status, reply.body["code"]) == (400, "prompt_too_long")
    assert harness.store.take("a", 1) == []  # the session is free again


def test_requests_beyond_the_bound_are_refused_at_once(tmp_path: Path, tokenizer: Tokenizer) -> None:
    harness = Harness(tmp_path, tokenizer, max_waiting=2)
    for number in range(12):
        body = {"prompt": "x", "session_id": f"s{number}", "max_length": 90, "seed": 1}
        harness.service.submit(f"r{number}", body)
    refused = {name: reply for name, reply in harness.service.step().items() if reply.status != 200}
    assert sorted(refused) == ["r10", "r11"]
    assert {reply.body["code"] for reply in refused.values()} == {"overloaded"}
    harness.service.submit("health", {"action": "health"})  # gets through all the same
    assert harness.service.step()["health"].status == 200


def test_a_request_past_its_deadline_is_given_up(tmp_path: Path, tokenizer: Tokenizer) -> None:
    harness = Harness(tmp_path, tokenizer, deadline_seconds=10.0, tokens_per_step=1)
    harness.service.submit("slow", {"prompt": "x", "session_id": "a", "max_length": 100, "seed": 1})
    harness.service.submit("behind", {"prompt": "x", "session_id": "a", "max_length": 100, "seed": 1})
    harness.clock.now += 5
    harness.service.step()
    harness.clock.now += 6
    replies = harness.service.step()
    assert {name: (r.status, r.body["code"]) for name, r in replies.items()} == {
        "slow": (504, "deadline_exceeded"),
        "behind": (504, "deadline_exceeded"),
    }
    assert harness.service._engine.num_running == 0


def test_a_client_that_leaves_frees_slot_and_session(harness: Harness) -> None:
    harness.service.submit("gone", {"prompt": "x", "session_id": "a", "max_length": 100})
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

    def fail_for_a(session_id: str, *rest: Any) -> None:
        if session_id == "a":
            raise OSError("no")
        give_back(session_id, *rest)

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
