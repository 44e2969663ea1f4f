"""The engine with a tiny random network and made-up token ids."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model.engine import LEAST_TOKENS, YOUNG_TOKENS, Engine, EngineFullError, PromptTooLongError
from model.network import NeuroQ
from model.sampling import SamplingParams
from model.torch_decoder import TorchDecoder
from tests.conftest import tiny_model

pytestmark = pytest.mark.unit
V = 120


END = 3


def make_engine(num_slots: int = 8, max_waiting: int = 64, network: NeuroQ | None = None) -> Engine:
    torch.set_num_threads(1)
    network = network or tiny_model(V)
    decoder = TorchDecoder(network, num_slots=num_slots, end_ids={END})
    return Engine(decoder, temperature=network.quantum_temperature, end_ids={END}, max_waiting=max_waiting)


def finish(engine: Engine, max_tokens: int = 4) -> dict[object, tuple[list[int], str]]:
    ids: dict[object, list[int]] = {}
    reasons: dict[object, str] = {}
    for _ in range(1000):
        for request, progress in engine.step(max_tokens).items():
            ids.setdefault(request, []).extend(progress.new_ids)
            if progress.finish_reason:
                reasons[request] = progress.finish_reason
        check(engine)
        if not engine.num_running and not engine.num_waiting:
            return {request: (ids[request], reasons[request]) for request in reasons}
    raise AssertionError("the engine did not finish")


def check(engine: Engine) -> None:
    """Invariants that hold after every step."""
    running = list(engine._running.values())
    assert len({s.slot for s in running}) == len(running) == engine.num_slots - len(engine._slots)
    for sequence in running:
        assert sequence.finish_reason is None
        assert 0 <= sequence.num_cached < len(sequence.ids)
        assert sequence.num_cached < engine.context_length


def requests(count: int) -> list[tuple[list[int], SamplingParams]]:
    generator = torch.Generator().manual_seed(5)
    return [
        (
            torch.randint(4, V, (1 + 3 * i,), generator=generator).tolist(),
            SamplingParams(
                max_new_tokens=3 + 4 * i,
                temp_min=0.1 * i,
                temp_max=0.3 * i,
                top_k=(0, 5, 40)[i % 3],
                top_p=(1.0, 0.9)[i % 2],
                quantum_noise=i % 4 == 3,
                seed=100 + i,
            ),
        )
        for i in range(count)
    ]


def test_each_request_gives_the_same_ids_alone_and_in_company() -> None:
    work = requests(12)
    together = make_engine(num_slots=16)
    for number, (prompt, params) in enumerate(work):
        together.add(number, prompt, params)
    crowd = finish(together)
    for number, (prompt, params) in enumerate(work):
        alone = make_engine(num_slots=8)
        alone.add("one", prompt, params)
        assert finish(alone, max_tokens=1)["one"] == crowd[number]


def test_requests_join_and_leave_between_steps() -> None:
    work = requests(6)
    engine, results = make_engine(num_slots=8), {}
    for number, (prompt, params) in enumerate(work):
        engine.add(number, prompt, params)
        for request, progress in engine.step(2).items():
            results.setdefault(request, []).extend(progress.new_ids)
    for request, (ids, _) in finish(engine).items():
        results.setdefault(request, []).extend(ids)
    for number, (prompt, params) in enumerate(work):
        alone = make_engine(num_slots=8)
        alone.add("one", prompt, params)
        assert finish(alone)["one"][0] == results[number]


def test_greedy_agrees_with_the_plain_forward_pass() -> None:
    network = tiny_model(V)
    engine = make_engine(network=network)
    prompt = [5, 6, 7, 8]
    engine.add("x", prompt, SamplingParams(max_new_tokens=20, temp_min=0, temp_max=0, repetition_penalty=1.0))
    ids, _ = finish(engine)["x"]
    expected = list(prompt)
    with torch.inference_mode():
        while len(expected) < len(prompt) + len(ids):
            expected.append(int(network(torch.tensor([expected]))[0, -1].argmax()))
    assert prompt + ids == expected


def test_finish_reasons() -> None:
    engine = make_engine(num_slots=8)
    engine.add("length", [5, 6], SamplingParams(max_new_tokens=7, seed=1))
    engine.add("context", [5] * 60, SamplingParams(max_new_tokens=50, seed=1))
    results = finish(engine)
    assert len(results["length"][0]) <= 7
    assert len(results["context"][0]) <= 64 - 60 + 1
    stopper = tiny_model(V)
    stopper.head.weight.data[3] = stopper.head.weight.data.mean(0) * 0
    with torch.no_grad():
        stopper.norm.bias.fill_(1.0)
        stopper.head.weight.fill_(-1.0)
        stopper.head.weight[3].fill_(1.0)
    engine = make_engine(network=stopper)
    engine.add("stop", [5], SamplingParams(temp_min=0, temp_max=0))
    assert finish(engine)["stop"] == ([], "stop")


def test_admission_is_bounded() -> None:
    engine = make_engine(num_slots=8, max_waiting=2)
    for number in range(10):
        engine.add(number, [5], SamplingParams(max_new_tokens=50))
    with pytest.raises(EngineFullError, match="the bound is 2"):
        engine.add("more", [5], SamplingParams())
    engine.step()
    assert (engine.num_running, engine.num_waiting) == (8, 2)


def test_cancelling_frees_the_slot_at_once_and_disturbs_nobody() -> None:
    work = requests(4)
    engine = make_engine(num_slots=8)
    for number, (prompt, params) in enumerate(work):
        engine.add(number, prompt, params)
    engine.step(2)
    running = engine.num_running
    engine.cancel(3)
    engine.cancel("nobody")
    assert engine.num_running == running - 1
    rest = finish(engine)
    assert 3 not in rest


@pytest.mark.parametrize(("prompt", "error"), [([], ValueError), ([5] * 65, PromptTooLongError)])
def test_bad_prompts_are_refused(prompt: list[int], error: type[Exception]) -> None:
    with pytest.raises(error, match="prompt"):
        make_engine(num_slots=8).add("x", prompt, SamplingParams())


def test_a_prompt_that_fills_the_context_gets_one_token() -> None:
    engine = make_engine(num_slots=8)
    engine.add("x", [5] * 64, SamplingParams(max_new_tokens=10, temp_min=0, temp_max=0))
    ids, reason = finish(engine)["x"]
    assert (len(ids), reason) in {(1, "length"), (0, "stop")}


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 60), st.integers(1, 30), st.booleans()), min_size=1, max_size=20))
def test_any_mix_of_requests_and_cancellations_drains(mix: list[tuple[int, int, bool]]) -> None:
    engine = make_engine(num_slots=8, max_waiting=64)
    for number, (length, new, cancelled) in enumerate(mix):
        engine.add(number, [4 + number] * length, SamplingParams(max_new_tokens=new, seed=number))
        if cancelled:
            engine.step()
            engine.cancel(number)
    assert all(len(ids) <= mix[number][1] for number, (ids, _) in finish(engine).items())


def prompt_of(length: int, seed: int = 0) -> list[int]:
    return torch.randint(4, V, (length,), generator=torch.Generator().manual_seed(seed)).tolist()


def test_a_conversations_next_turn_reuses_its_prefix_and_gives_the_same_ids() -> None:
    engine = make_engine()
    prompt, params = prompt_of(20), SamplingParams(max_new_tokens=6, seed=3)
    engine.add("first", prompt, params)
    reply, _ = finish(engine)["first"]
    engine.add("other", prompt_of(20, seed=9), params)
    finish(engine)
    turn = [*prompt, *reply, *prompt_of(5, seed=1)]
    engine.add("second", turn, params)
    progress = engine.step(6)["second"]
    assert progress.cached_tokens >= len(prompt) + len(reply) - 1
    fresh = make_engine()
    fresh.add("second", turn, params)
    assert fresh.step(6)["second"].new_ids == progress.new_ids


def test_a_cancelled_request_leaves_what_it_computed() -> None:
    engine = make_engine()
    prompt, params = prompt_of(20), SamplingParams(max_new_tokens=30, temp_min=1.5, temp_max=1.5, seed=3)
    engine.add("first", prompt, params)
    before = engine.step(3)["first"].new_ids
    engine.cancel("first")
    engine.add("again", prompt, params)
    progress = engine.step(3)["again"]
    assert progress.cached_tokens == len(prompt) - 1
    assert progress.new_ids == before


def test_logprobs_come_with_every_token_and_change_none() -> None:
    plain, told = make_engine(), make_engine()
    plain.add("x", [5, 6], SamplingParams(max_new_tokens=10, seed=4))
    told.add("x", [5, 6], SamplingParams(max_new_tokens=10, seed=4, logprobs=3))
    without, with_logprobs = plain.step(10)["x"], told.step(10)["x"]
    assert without.new_ids == with_logprobs.new_ids
    assert without.logprobs is None
    assert with_logprobs.logprobs is not None
    assert len(with_logprobs.logprobs) == len(with_logprobs.new_ids)
    for each in with_logprobs.logprobs:
        assert len(each.top) == 3
        assert each.logprob <= each.top[0][1] <= 0


def test_many_long_prompts_are_taken_in_over_several_steps() -> None:
    engine = make_engine(num_slots=16)
    for number in range(16):
        engine.add(number, prompt_of(60, seed=number), SamplingParams(max_new_tokens=3, seed=number))
    assert len(engine.step(1)) < 16
    assert len(finish(engine)) == 16


def test_a_failing_decoder_loses_no_slot() -> None:
    engine = make_engine()
    engine.add("x", [5, 6], SamplingParams(max_new_tokens=5, seed=1))
    engine.step()
    decode = engine.decoder.decode
    engine.decoder.decode = lambda rows: (_ for _ in ()).throw(RuntimeError("broken"))  # type: ignore[method-assign]
    with pytest.raises(RuntimeError, match="broken"):
        engine.step()
    engine.decoder.decode = decode  # type: ignore[method-assign]
    check(engine)
    engine.cancel("x")
    check(engine)
    assert engine.num_running == 0


def test_a_budget_is_shared_and_young_requests_come_first() -> None:
    network = tiny_model(V)
    decoder = TorchDecoder(network, num_slots=8)
    engine = Engine(decoder, temperature=network.quantum_temperature, end_ids=())
    for number in range(3):
        engine.add(number, prompt_of(5), SamplingParams(max_new_tokens=50, seed=number))
    assert [len(news.new_ids) for news in engine.step(YOUNG_TOKENS).values()] == [YOUNG_TOKENS] * 3
    engine.add("young", prompt_of(5), SamplingParams(max_new_tokens=20, seed=9))
    progress = engine.step(32, budget=26)
    assert len(progress["young"].new_ids) == 20
    assert [len(progress[number].new_ids) for number in range(3)] == [LEAST_TOKENS] * 3


def test_a_small_budget_still_moves_every_request_and_changes_no_text() -> None:
    work = requests(8)
    free, tight = make_engine(), make_engine()
    for number, (prompt, params) in enumerate(work):
        free.add(number, prompt, params)
        tight.add(number, prompt, params)
    assert len(tight.step(32, budget=1)) == 8
    rest = finish(tight)
    for number, (ids, _) in finish(free).items():
        assert number not in rest or ids[-len(rest[number][0]) :] == rest[number][0]
