"""What decides about a release: figures of both versions in, verdicts out. Pure.

A figure that is no number (NaN) passes nothing.
"""

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
class Score:
    """What train.compare tells of a checkpoint on held-out text."""

    bits_per_char: float
    characters: int
    tokens: int

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


def check_sanity(replies: Sequence[str | None]) -> Check:
    """Judge the replies to the fixed prompts, None for one that failed: none broken, most of them sane."""
    num_broken = sum(reply is None or REPLACEMENT in reply for reply in replies)
    num_sane = sum(is_sane(reply) for reply in replies if reply is not None)
    needed = MIN_SANE_SHARE * len(replies)
    return Check(
        "sanity",
        "",
        f"{num_sane} of {len(replies)} replies",
        f"at least {needed:.0f}, none failed or with a broken character ({num_broken})",
        num_sane >= needed and not num_broken,
    )


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
