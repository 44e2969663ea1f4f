"""The README says what is there: its commands exist, its links lead somewhere, its twin keeps up."""

from __future__ import annotations

import re

import pytest

from client.cli import cli
from tests.conftest import ROOT

pytestmark = pytest.mark.unit
PAGES = ["README.md", "README.ja.md", "docs/serving.md", "docs/training.md", "docs/decisions.md"]
PAGES += ["docs/metrics.md", "docs/benchmarks.md", "docs/docker.md", "docs/storage.md"]
PAGES += ["docs/runpod.md", "docs/kubernetes.md", "docs/compose.md", "docs/sessions.md"]


@pytest.mark.parametrize("page", PAGES)
def test_its_commands_exist(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    commands = set(re.findall(r"\./neuroq ([a-z]+)", text))
    assert commands <= set(cli.commands), page
    for module in re.findall(r"python -m ([a-z.]+)", text):
        path = ROOT / module.replace(".", "/")
        assert path.with_suffix(".py").exists() or (path / "__main__.py").exists(), module


@pytest.mark.parametrize("page", PAGES)
def test_its_links_lead_somewhere(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    for link in re.findall(r"\]\((?!https?:)([^)#]+)", text):
        assert ((ROOT / page).parent / link).exists(), link


def test_the_twins_show_the_same_commands_and_tables() -> None:
    english, japanese = ((ROOT / name).read_text(encoding="utf-8") for name in PAGES[:2])
    commands = [
        re.findall(r"^    (\./neuroq [^#\n]*?)\s*(?:#.*)?$", text, re.M) for text in (english, japanese)
    ]
    assert commands[0] == commands[1]
    tables = [re.findall(r"^\|.*[✓✗] \|$", text, re.M) for text in (english, japanese)]
    assert tables[0] == tables[1]


def test_every_command_of_the_storage_page_is_run_by_a_test() -> None:
    text = (ROOT / "docs" / "storage.md").read_text(encoding="utf-8")
    commands = set(re.findall(r"^    \./neuroq (.+)$", text, re.M))
    names = ["integration/test_storage_commands.py", "e2e/test_object_store.py"]
    tests = "".join((ROOT / "tests" / name).read_text(encoding="utf-8") for name in names)
    assert len(commands) > 5
    assert {command for command in commands if f'("{command}")' not in tests} == set()
