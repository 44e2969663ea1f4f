"""All servers of a run: started one after the other, stopped together; one that cannot start is left out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from benchmarks.serving.llama import LlamaServer
from benchmarks.serving.models import Model
from benchmarks.serving.profiling import Profile, profile
from benchmarks.serving.systems import System, hugging_face, neuroq, neuroq_config, noop
from benchmarks.serving.verdicts import JUDGED
from benchmarks.serving.workload import Ask, Mix
from model.precision import INT8

_PROFILE_SECONDS = 5.0


@dataclass
class Fleet:
    """The servers that run, and why others do not."""

    folder: Path
    model: Model
    asks: Mapping[Mix, Sequence[Ask]]
    systems: list[System] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)

    @property
    def slots(self) -> int:
        """How many sequences NeuroQ decodes at once; the rivals get as many."""
        return int(neuroq_config()["handler"]["slots"])

    @cached_property
    def profile(self) -> Profile:
        """NeuroQ's steps where the no-op handler is compared with it."""
        return profile(self.folder / "profile", self.model, self.asks, JUDGED, _PROFILE_SECONDS)


# What the command line calls a system -> how to make it.
SYSTEMS: dict[str, Callable[[Fleet, Path], System]] = {
    "neuroq": lambda fleet, folder: neuroq(folder, fleet.model),
    "neuroq-int8": lambda fleet, folder: neuroq(folder, fleet.model, INT8),
    "no-op": lambda fleet, folder: noop(folder, fleet.profile.tokens_per_step),
    "hugging-face": lambda fleet, folder: hugging_face(folder, fleet.model, fleet.slots, workers=1),
    "hugging-face-2": lambda fleet, folder: hugging_face(folder, fleet.model, fleet.slots, workers=2),
    "llama.cpp": lambda fleet, folder: LlamaServer(folder, fleet.slots),
}


@contextmanager
def running(fleet: Fleet, names: Sequence[str], report: Callable[[str], None]) -> Iterator[None]:
    """Start the named systems; stop every one of them at the end."""
    with ExitStack() as stack:
        for name in (name for name in SYSTEMS if name in names):
            report(f"starting {name}")
            try:
                system = SYSTEMS[name](fleet, fleet.folder / name)
                stack.callback(system.stop)
                system.start()
            except Exception as error:  # however it fails, the others go on
                report(f"{name} is left out: {error}")
                fleet.left_out[name] = str(error)
            else:
                fleet.systems.append(system)
        yield
