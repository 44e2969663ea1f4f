"""The chat benchmark: ./neuroq serve && .venv/bin/python -m benchmarks.chat [--output docs/benchmarks]

Asks the running server the questions of questions.jsonl, each in a conversation of its own, at temperature 0.
The verdicts come from judgements.jsonl, where each stands beside the replies that were judged: a reply that
nobody has judged counts as wrong and is marked ?. Writes chat.md with every reply.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from benchmarks.machine import as_markdown, describe
from benchmarks.markdown import table
from client.api import NeuroQClient
from client.options import settings_from
from client.session import new_session_id, running_client

FOLDER = Path(__file__).parent
QUESTIONS, JUDGEMENTS = FOLDER / "questions.jsonl", FOLDER / "judgements.jsonl"
MARKS = {True: "✓", False: "✗", None: "?"}


@dataclass(frozen=True)
class Verdict:
    """Whether a reply is well-formed Japanese; and whether all of it fits, is true and well-formed."""

    is_well_formed: bool | None = None
    is_right: bool | None = None

    @property
    def marks(self) -> tuple[str, str]:
        """The verdict as it stands in a table."""
        return MARKS[self.is_well_formed], MARKS[self.is_right]


@dataclass(frozen=True)
class Exchange:
    """A conversation: what the user said, what came back, and the verdict on the last reply."""

    kind: str
    turns: tuple[str, ...]
    replies: tuple[str, ...]
    verdict: Verdict = Verdict()


def read_questions() -> list[tuple[str, tuple[str, ...]]]:
    """Return kind and user's turns of each conversation."""
    return [(each["kind"], tuple(each["turns"])) for each in _records(QUESTIONS)]


def read_judgements() -> dict[tuple[tuple[str, ...], str], Verdict]:
    """Return the verdict on each last reply that was judged, by the user's turns and the reply."""
    return {
        (tuple(each["turns"]), each["reply"]): Verdict(each["well_formed"], each["right"])
        for each in _records(JUDGEMENTS)
    }


def ask_all(client: NeuroQClient) -> list[Exchange]:
    """Hold every conversation and look its verdict up."""
    judgements = read_judgements()
    return [_hold(client, kind, turns, judgements) for kind, turns in read_questions()]


def page(exchanges: list[Exchange]) -> list[str]:
    """Return the page's lines: counts by kind, then every reply."""
    kinds = list(dict.fromkeys(each.kind for each in exchanges))
    groups = {kind: [each for each in exchanges if each.kind == kind] for kind in kinds}
    counts = [[kind, *_counts(group)] for kind, group in groups.items()]
    lines = [
        "# What the shipped model says",
        "",
        "Conversations that nobody trained on (`benchmarks/chat/questions.jsonl`; a test compares them with",
        "the corpus), temperature 0. A reply is right when it fits and all of it is true and well-formed.",
        "What nobody judged (`?`) counts as wrong. [How it is measured](../benchmarks.md).",
        "",
        *table(["kind", "conversations", "well-formed", "right"], [*counts, ["all", *_counts(exchanges)]]),
        "",
    ]
    for kind, group in groups.items():
        rows = [[*_in_words(each), *each.verdict.marks] for each in group]
        lines += [f"## {kind}", "", *table(["user", "NeuroQ", "well-formed", "right"], rows), ""]
    return [*lines, *as_markdown(describe(["torch"])), ""]


@click.command(help=__doc__)
@click.option("--output", type=click.Path(path_type=Path), default=Path("docs/benchmarks"), show_default=True)
@click.option("--unjudged", type=click.Path(path_type=Path), help="Write here what has no verdict yet.")
def main(output: Path, unjudged: Path | None) -> None:
    """Ask, look up, write."""
    with running_client(settings_from({})) as client:
        exchanges = ask_all(client)
    (output / "chat.md").write_text("\n".join(page(exchanges)), encoding="utf-8")
    if unjudged:
        open_ones = [each for each in exchanges if each.verdict.is_right is None]
        unjudged.write_text("".join(map(_record, open_ones)), encoding="utf-8")
    click.echo("\n".join(page(exchanges)[:18]))


def _hold(
    client: NeuroQClient,
    kind: str,
    turns: tuple[str, ...],
    judgements: dict[tuple[tuple[str, ...], str], Verdict],
) -> Exchange:
    session = new_session_id()
    replies = tuple(client.generate(turn, temperature=0, session_id=session)["generated"] for turn in turns)
    client.clear_session(session)
    return Exchange(kind, turns, replies, judgements.get((turns, replies[-1]), Verdict()))


def _counts(exchanges: list[Exchange]) -> list[str]:
    well_formed = sum(bool(each.verdict.is_well_formed) for each in exchanges)
    right = sum(bool(each.verdict.is_right) for each in exchanges)
    return [str(len(exchanges)), *(f"{n} ({n / len(exchanges):.0%})" for n in (well_formed, right))]


def _in_words(exchange: Exchange) -> tuple[str, str]:
    return _cell(exchange.turns), _cell(exchange.replies)


def _cell(texts: tuple[str, ...]) -> str:
    return "<br>".join(text.replace("|", "\\|").replace("\n", " ") for text in texts)


def _record(exchange: Exchange) -> str:
    record = {"kind": exchange.kind, "turns": exchange.turns, "replies": exchange.replies}
    return json.dumps(record, ensure_ascii=False) + "\n"


def _records(path: Path) -> list[dict[str, Any]]:
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return [json.loads(line) for line in lines if line.strip()]


if __name__ == "__main__":
    main()
