"""The engine under any order of arrivals, cancellations, steps and failures: its invariants, after each.

Every answer is compared with that of an engine of its own that sees the one request only, log probabilities
included, bit for bit: so a wrong position, a slot that two share, or a reused prefix that is not what the
slot holds cannot pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache

import pytest
import torch
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from torch import Tensor

from model.decoder import Decoded, Decoder, Row
from model.engine import LEAST_TOKENS, Engine, EngineFullError, Progress, PromptTooLongError
from model.native import decoder as native
from model.sampling import SamplingParams, TokenLogprobs
from model.torch_decoder import TorchDecoder
from tests.conftest import tiny_model

pytestmark = pytest.mark.unit
V, END, CONTEXT = 120, 3, 64
NUM_SLOTS, MAX_WAITING = 4, 3
NETWORK = tiny_model(V)
# Few openings, so that requests share beginnings; a prompt is one of them cut short, with an end of its own.
OPENINGS = [[(7 * i * (n + 1)) % (V - 4) + 4 for i in range(CONTEXT + 1)] for n in range(3)]
PROMPTS = st.builds(
    lambda opening, length, end: opening[:length] + end,
    st.sampled_from(OPENINGS),
    st.integers(0, CONTEXT) | st.just(CONTEXT + 1),
    st.lists(st.integers(4, V - 1), max_size=2),
)
PARAMS = [
    SamplingParams(max_new_tokens=6, temp_min=0, temp_max=0, logprobs=2),
    SamplingParams(max_new_tokens=1, seed=1),
    SamplingParams(max_new_tokens=20, temp_min=0.5, temp_max=1.5, top_k=0, top_p=1.0, seed=2, logprobs=0),
    SamplingParams(max_new_tokens=40, temp_min=1.0, temp_max=3.0, quantum_noise=True, seed=3),
]


Content = tuple[list[int], list[TokenLogprobs], "str | None"]  # ids, logprobs, finish reason


class InjectedError(RuntimeError):
    """The decoder's fault, on demand."""


class FragileDecoder:
    """A decoder that fails when told: before it has computed anything, or with its results at hand."""

    def __init__(self, decoder: Decoder) -> None:
        self.decoder = decoder
        self.num_slots, self.context_length = decoder.num_slots, decoder.context_length
        self.precision = decoder.precision
        self.failure: str | None = None

    def decode(self, rows: Sequence[Row]) -> list[Decoded]:
        assert len({row.slot for row in rows}) == len(rows)
        assert all(row.pending_ids and row.limit >= 1 for row in rows)
        assert all(row.position + len(row.pending_ids) + row.limit - 1 <= CONTEXT for row in rows)
        if self.failure == "before":
            raise InjectedError
        decoded = self.decoder.decode(rows)
        if self.failure == "after":
            raise InjectedError
        return decoded

    def logits(self, ids: Sequence[int]) -> Tensor:
        return self.decoder.logits(ids)


@dataclass
class Answer:
    """What a request has brought so far."""

    prompt: tuple[int, ...]
    params: SamplingParams
    ids: list[int] = field(default_factory=list)
    logprobs: list[TokenLogprobs] = field(default_factory=list)
    reason: str | None = None
    cached_tokens: int | None = None

    def accept(self, progress: Progress) -> None:
        assert self.reason is None
        assert self.cached_tokens in (None, progress.cached_tokens)
        assert (progress.logprobs is None) == (self.params.logprobs is None)
        self.cached_tokens = progress.cached_tokens
        self.ids += progress.new_ids
        self.logprobs += progress.logprobs or []
        self.reason = progress.finish_reason

    @property
    def content(self) -> Content:
        return self.ids, self.logprobs, self.reason


def make_engine(decoder: Decoder, max_waiting: int) -> Engine:
    return Engine(decoder, temperature=NETWORK.quantum_temperature, end_ids={END}, max_waiting=max_waiting)


def make_decoder(path: str) -> Decoder:
    torch.set_num_threads(1)
    if path == "torch":
        return TorchDecoder(NETWORK, num_slots=NUM_SLOTS, end_ids={END})
    return native.NativeDecoder(NETWORK, num_slots=NUM_SLOTS, end_ids={END}, precision=path)


@cache
def alone(path: str, prompt: tuple[int, ...], params: SamplingParams) -> Content:
    """What a request gives in an engine that has never seen another one."""
    engine, answer = make_engine(make_decoder(path), 0), Answer(prompt, params)
    engine.add("one", list(prompt), params)
    while engine.num_running or engine.num_waiting:
        answer.accept(engine.step(CONTEXT)["one"])
    return answer.content


class EngineMachine(RuleBasedStateMachine):
    """An engine, and what must be true of it."""

    path = "torch"  # or a precision of the native decoder

    def __init__(self) -> None:
        super().__init__()
        self.decoder = FragileDecoder(make_decoder(self.path))
        self.engine = make_engine(self.decoder, MAX_WAITING)
        self.live: dict[int, Answer] = {}
        self.finished: list[Answer] = []
        self.over: set[int] = set()
        self.number = 0

    @rule(prompts=st.lists(PROMPTS, min_size=1, max_size=6), params=st.sampled_from(PARAMS))
    def arrive(self, prompts: list[list[int]], params: SamplingParams) -> None:
        for prompt in prompts:
            self.add(prompt, params)

    @precondition(lambda self: self.finished)
    @rule(data=st.data(), end=st.lists(st.integers(4, V - 1), max_size=3), params=st.sampled_from(PARAMS))
    def arrive_again(self, data: st.DataObject, end: list[int], params: SamplingParams) -> None:
        """A conversation's next turn: what the cache may still hold, and more."""
        earlier = data.draw(st.sampled_from(self.finished))
        self.add([*earlier.prompt, *earlier.ids, *end], params)

    def add(self, prompt: list[int], params: SamplingParams) -> None:
        self.number += 1
        waiting, free = self.engine.num_waiting, NUM_SLOTS - self.engine.num_running
        error = None
        if not prompt:
            error = ValueError
        elif len(prompt) > CONTEXT:
            error = PromptTooLongError
        elif waiting >= MAX_WAITING + free:
            error = EngineFullError
        if error:
            with pytest.raises(error):
                self.engine.add(self.number, prompt, params)
        else:
            self.engine.add(self.number, prompt, params)
            self.live[self.number] = Answer(tuple(prompt), params)

    @rule(max_tokens=st.integers(1, 12), budget=st.none() | st.integers(1, 40))
    def step(self, max_tokens: int, budget: int | None = None) -> None:
        had_work = bool(self.live)
        progress = self.engine.step(max_tokens, budget)
        assert bool(progress) == had_work
        for number, news in progress.items():
            assert isinstance(number, int)
            assert number not in self.over  # neither cancelled nor answered before
            assert len(news.new_ids) <= max_tokens
            assert news.new_ids or news.finish_reason
            assert END not in news.new_ids
            self.live[number].accept(news)
            if news.finish_reason:
                self.finish(number)
        if budget is not None:
            num_tokens = sum(len(news.new_ids) for news in progress.values())
            assert num_tokens <= budget + LEAST_TOKENS * len(progress)

    def finish(self, number: int) -> None:
        answer = self.live.pop(number)
        self.over.add(number)
        self.finished.append(answer)
        assert answer.cached_tokens is not None
        assert 0 <= answer.cached_tokens < len(answer.prompt)
        assert answer.content == alone(self.path, answer.prompt, answer.params)

    @precondition(lambda self: self.live)
    @rule(when=st.sampled_from(["before", "after"]), max_tokens=st.integers(1, 12))
    def step_that_fails(self, when: str, max_tokens: int) -> None:
        """The decoder raises once: nothing is lost, and the next step goes on."""
        self.decoder.failure = when
        with pytest.raises(InjectedError):
            self.engine.step(max_tokens)
        self.decoder.failure = None

    @precondition(lambda self: self.live)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(sorted(self.live)))
        self.engine.cancel(number)
        del self.live[number]
        self.over.add(number)

    @rule(number=st.integers(-3, 0))
    def cancel_what_is_not_there(self, number: int) -> None:
        self.engine.cancel(number)
        self.engine.cancel(max(self.over, default=0))

    @invariant()
    def slots_are_used_once_and_never_lost(self) -> None:
        used = [sequence.slot for sequence in self.engine._running.values()]
        assert sorted([*used, *self.engine._slots._free]) == list(range(NUM_SLOTS))

    @invariant()
    def every_request_is_somewhere_once(self) -> None:
        running, waiting = list(self.engine._running), [s.request_id for s in self.engine._waiting]
        assert sorted(running + waiting) == sorted(self.live)
        assert waiting == sorted(waiting)  # first come, first served
        assert not running or not waiting or max(running) < min(waiting)
        assert (len(running), len(waiting)) == (self.engine.num_running, self.engine.num_waiting)
        assert len(waiting) <= MAX_WAITING + NUM_SLOTS - len(running)

    @invariant()
    def lengths_fit(self) -> None:
        for sequence in self.engine._running.values():
            assert sequence.finish_reason is None
            assert 0 <= sequence.num_cached < len(sequence.ids) <= CONTEXT
            assert tuple(sequence.prompt_ids) == self.live[sequence.request_id].prompt
            assert sequence.output_ids == self.live[sequence.request_id].ids
            assert len(sequence.output_ids) < sequence.params.max_new_tokens
        assert all(len(held) <= CONTEXT for held in self.engine._slots._free.values())

    def teardown(self) -> None:
        """Whatever happened, the engine drains."""
        for _ in range(CONTEXT):
            if self.live:
                self.step(12)
        assert not self.live
        assert (self.engine.num_running, self.engine.num_waiting) == (0, 0)
        self.slots_are_used_once_and_never_lost()


class Float32Machine(EngineMachine):
    path = "float32"


class Int8Machine(EngineMachine):
    path = "int8"


for machine, num_examples in ((EngineMachine, 15), (Float32Machine, 40), (Int8Machine, 40)):
    machine.TestCase.settings = settings(
        max_examples=num_examples,
        stateful_step_count=40,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
needs_native = pytest.mark.skipif(not native.is_available(), reason="the native library is not built")
TestTorchDecoder = EngineMachine.TestCase
TestNativeFloat32 = needs_native(Float32Machine.TestCase)
TestNativeInt8 = needs_native(Int8Machine.TestCase)
