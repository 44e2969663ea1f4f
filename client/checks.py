"""What decides about a release: figures of both versions in, verdicts out. Pure.

A figure that is no number (NaN) passes nothing.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

MAX_QUALITY_LOSS = 0.01  # bits per character, as a share of the current version's
MAX_SLOWDOWN = 1.5  # time for the same number of characters, the current version's being 1
MIN_SANE_SHARE = 0.75  # of the fixed prompts' replies
MIN_VARIETY = 3  # different characters of a reply that is longer than that
JAPANESE = re.compile(r"[\u3041-\u30ff\u4e00-\u9fff]")
REPLACEMENT = "\ufffd"  # stands where bytes were no character


@dataclass(frozen=True)
class Answers:
    """How many known questions a checkpoint answers as it should, and how many foreign ones it refuses."""

    known: int
    fitting: int
    foreign: int
    foreign_refused: int

    def __str__(self) -> str:
        known = f"{self.fitting} of {self.known} fitting" if self.known else ""
        foreign = f"{self.foreign_refused} of {self.foreign} refused" if self.foreign else ""
        return ", ".join(filter(None, (known, foreign)))


@dataclass(frozen=True)
class Score:
    """What train.compare tells of a checkpoint on held-out text, and of its answers if asked for."""

    bits_per_char: float
    characters: int
    tokens: int
    answers: Answers | None = None

    @property
    def tokens_per_char(self) -> float:
        """How many steps a character costs: tokenizers differ."""
        return self.tokens / self.characters


@dataclass(frozen=True)
class Timing:
    """One prompt, answered with the same number of tokens by both versions, one right after the other."""

    num_tokens: int
    current_seconds: float
    candidate_seconds: float

    @property
    def ratio(self) -> float:
        """The candidate's time, the current version's being 1."""
        return self.candidate_seconds / self.current_seconds


@dataclass(frozen=True)
class Check:
    """One row of the table: the figures of both versions, the limit, and the verdict."""

    name: str
    current: str
    candidate: str
    limit: str
    has_passed: bool


def check_quality(current: Score, candidate: Score) -> Check:
    """Judge bits per character on the same held-out text."""
    limit = current.bits_per_char * (1 + MAX_QUALITY_LOSS)
    return Check(
        "quality",
        f"{current.bits_per_char:.3f} bits/char",
        f"{candidate.bits_per_char:.3f} bits/char",
        f"at most {limit:.3f}, on {candidate.characters:,} held-out characters",
        candidate.bits_per_char <= limit,
    )


def check_answers(current: Answers, candidate: Answers) -> Check:
    """Judge the replies to questions of one's own: as many fit, and as many foreign ones are refused."""
    has_passed = candidate.fitting >= current.fitting and candidate.foreign_refused >= current.foreign_refused
    return Check("answers", str(current), str(candidate), "no fewer than before", has_passed)


def check_latency(timings: Sequence[Timing], current: Score, candidate: Score) -> Check:
    """Judge the time that a character takes, by the median of neighbouring pairs of requests."""
    longer = candidate.tokens_per_char / current.tokens_per_char
    slowdown = median(timing.ratio for timing in timings) * longer
    before = median(timing.current_seconds / timing.num_tokens for timing in timings)
    before *= current.tokens_per_char * 1000
    return Check(
        "latency",
        f"{before:.2f} ms/char",
        f"{before * slowdown:.2f} ms/char",
        f"at most {before * MAX_SLOWDOWN:.2f} ({len(timings)} pairs of requests, {slowdown:.2f} x)",
        slowdown <= MAX_SLOWDOWN,
    )


def check_sanity(current: Sequence[str | None], candidate: Sequence[str | None]) -> Check:
    """Judge the replies to the fixed prompts, None for one that failed.

    None may fail; most must be sane, and no more may have broken characters than before. A current version
    that does worse sets the measure: a better one must have a chance to replace it.
    """
    needed = min(math.ceil(MIN_SANE_SHARE * len(candidate)), _num_sane(current))
    is_whole = _num_broken(candidate) <= _num_broken(current)
    return Check(
        "sanity",
        _replies_in_words(current),
        _replies_in_words(candidate),
        f"at least {needed} sane, at most {_num_broken(current)} broken, none failed",
        _num_sane(candidate) >= needed and is_whole and None not in candidate,
    )


def _num_sane(replies: Sequence[str | None]) -> int:
    return sum(reply is not None and is_sane(reply) for reply in replies)


def _num_broken(replies: Sequence[str | None]) -> int:
    return sum(reply is not None and REPLACEMENT in reply for reply in replies)


def _replies_in_words(replies: Sequence[str | None]) -> str:
    """Return the counts, those that are not zero."""
    words = f"{_num_sane(replies)} of {len(replies)} sane"
    for number, name in ((_num_broken(replies), "broken"), (list(replies).count(None), "failed")):
        words += f", {number} {name}" if number else ""
    return words


def is_sane(reply: str) -> bool:
    """Tell whether a reply is whole characters, has Japanese ones, and not a few of them over and over."""
    is_varied = len(set(reply)) >= MIN_VARIETY or len(reply) <= MIN_VARIETY
    return is_varied and REPLACEMENT not in reply and JAPANESE.search(reply) is not None


def table(checks: Sequence[Check], current: str, candidate: str) -> str:
    """Return the checks as aligned lines."""
    rows = [["check", f"current {current}", f"candidate {candidate}", "verdict", "limit"]]
    for check in checks:
        verdict = "ok" if check.has_passed else "REFUSED"
        rows.append([check.name, check.current, check.candidate, verdict, check.limit])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    return "\n".join(f"  {line.rstrip()}" for line in lines)
