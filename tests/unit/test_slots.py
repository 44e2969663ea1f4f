from __future__ import annotations

import pytest

from model.slots import Slots

pytestmark = pytest.mark.unit
TALK = list(range(100, 130))


def test_slots_are_taken_in_the_order_in_which_they_became_free() -> None:
    slots = Slots(3)
    assert [slots.take([1])[0] for _ in range(3)] == [0, 1, 2]
    assert len(slots) == 0
    slots.give_back(2, [])
    slots.give_back(0, [])
    assert [slots.take([1])[0] for _ in range(2)] == [2, 0]


def test_the_next_turn_finds_its_conversation() -> None:
    slots = Slots(2)
    slot, reused = slots.take(TALK)
    assert reused == 0
    slots.give_back(slot, [*TALK, 7, 8])
    other, _ = slots.take([5, 6])
    assert other != slot
    assert slots.take([*TALK, 7, 9, 10]) == (slot, len(TALK) + 1)


def test_at_least_the_last_id_is_run_again() -> None:
    slots = Slots(1)
    slots.give_back(slots.take(TALK)[0], TALK)
    assert slots.take(TALK) == (0, len(TALK) - 1)


def test_a_few_common_ids_do_not_cost_a_conversation_its_slot() -> None:
    slots = Slots(2)
    for talk in ([1, 2, *TALK], [1, 2, 3, 4]):
        slot, _ = slots.take(talk)
        slots.give_back(slot, talk)
    first_free = slots.take([1, 2, 3, 9])[0]
    assert first_free == 0
