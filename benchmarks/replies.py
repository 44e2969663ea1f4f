"""What a running server answers to questions from its corpus and to paraphrases of them.

    ./neuroq serve && .venv/bin/python -m benchmarks.replies

Prints a Markdown table: temperature 0, a new conversation for each question. A reply counts as on the
subject when it is Japanese and holds one of the subject's words (questions.json).
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

from client.api import NeuroQClient
from client.options import settings_from
from client.session import new_session_id, running_client

QUESTIONS = Path(__file__).with_name("questions.json")
_JAPANESE = re.compile(r"[\u3040-\u30ff\u4e00-\u9fff]")


@dataclass(frozen=True)
class Row:
    """One question with the reply that it got."""

    group: str
    question: str
    reply: str
    fits: bool


def ask_all(client: NeuroQClient) -> list[Row]:
    """Ask every question of questions.json."""
    groups: dict[str, list[dict[str, list[str] | str]]] = json.loads(QUESTIONS.read_text(encoding="utf-8"))
    return [_ask(client, group, **entry) for group, entries in groups.items() for entry in entries]  # type: ignore[arg-type]


def table(rows: list[Row]) -> str:
    """Return the rows as Markdown, each group with its count."""
    lines = []
    for group in dict.fromkeys(row.group for row in rows):
        members = [row for row in rows if row.group == group]
        fitting = sum(row.fits for row in members)
        lines += ["", f"| {group}: {fitting} of {len(members)} on the subject | reply |  |", "|---|---|---|"]
        lines += [f"| {row.question} | {row.reply} | {'✓' if row.fits else '✗'} |" for row in members]
    return "\n".join(lines[1:])


def _ask(client: NeuroQClient, group: str, question: str, subject: list[str]) -> Row:
    session = new_session_id()
    reply = client.generate(question, temperature=0, session_id=session)["generated"]
    client.clear_session(session)
    fits = bool(_JAPANESE.search(reply)) and any(word in reply for word in subject)
    return Row(group, question, reply, fits)


if __name__ == "__main__":
    with running_client(settings_from({})) as running:
        print(table(ask_all(running)))
