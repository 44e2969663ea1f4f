"""The report's page, card and pictures."""

from __future__ import annotations

import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from model.config import ModelConfig
from tests.conftest import tiny_model
from tests.unit.test_history import history
from train import report
from train.angles import measure_angles
from train.card import model_card
from train.history import Evaluation, History
from train.page import render
from train.report import write_report
from train.samples import Sample
from train.summary import Summary
from train.text_quality import TextQuality

pytestmark = pytest.mark.unit
_HOSTILE = '<script>alert("x")</script> & | `x`'


def summary(**changes: Any) -> Summary:
    lineage = {
        "code_version": "0.1.0",
        "trained_at": "2026-01-01T00:00:00+00:00",
        "style": "dialogue",
        "data": {"sources": ["/home/me/a|b.txt"], "fingerprint": "f" * 64, "documents": 7, "characters": 99},
        "arguments": {
            "texts": ["/home/me/a|b.txt"],
            "epochs": 3,
            "lr": 0.002,
            "checkpoint_path": "/home/me/c",
        },
        "precision": "fp32",
        "epochs_done": 3,
        "metrics": {"validation_bits_per_char": 4.25, "train_bits_per_char": None, "tokens_per_second": 1234},
        "parent": None,
    }
    values: dict[str, Any] = {
        "name": "mine",
        "status": "finished after 3 of 3 epochs",
        "seconds": 61.0,
        "num_parameters": 1_600_000,
        "config": ModelConfig(),
        "weights_sha256": "w" * 64,
        "tokenizer_sha256": "t" * 64,
        "lineage": lineage,
    }
    return Summary(**{**values, **changes})


def evaluated(*samples: Sample) -> History:
    made = history(60)
    angles = measure_angles(tiny_model(300))
    made.evaluations.append(Evaluation(0, 0, None, angles))
    made.evaluations.append(Evaluation(1, 30, 4.5, angles, samples))
    made.evaluations.append(Evaluation(2, 60, 4.25, angles, samples, TextQuality(0.25, 0.875)))
    return made


class _Elements(HTMLParser):
    """What a page consists of; an element that is not closed is a failure."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.names: set[str] = set()
        self.images: list[str] = []
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)
        if tag == "img":
            self.images.append(dict(attrs)["src"] or "")
        if tag not in ("img", "meta"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_every_picture_of_the_page_is_there_and_valid(tmp_path: Path) -> None:
    said: list[str] = []
    write_report(tmp_path, summary(), evaluated(Sample("こんにちは", "はい")), said.append)
    assert said == [f"report {tmp_path / 'index.html'}"]
    images = _Elements((tmp_path / "index.html").read_text(encoding="utf-8")).images
    assert sorted(images) == sorted(path.name for path in tmp_path.glob("*.png"))
    assert len(images) == 8
    for name in images:
        with Image.open(tmp_path / name) as image:
            image.verify()


@pytest.mark.parametrize("num_steps", [0, 1])
def test_a_run_that_has_hardly_begun_has_a_report(tmp_path: Path, num_steps: int) -> None:
    (tmp_path / "loss.png").write_text("that of an earlier run")
    made = history(num_steps)
    made.evaluations.append(Evaluation(0, 0, None, measure_angles(tiny_model(300))))
    said: list[str] = []
    write_report(tmp_path, summary(status="interrupted after 0 of 3 epochs"), made, said.append)
    assert said == [f"report {tmp_path / 'index.html'}"]
    assert (tmp_path / "loss.png").exists() == (num_steps > 0)
    assert not (tmp_path / "bits_per_char.png").exists()


def test_a_failed_run_has_no_card_and_says_why(tmp_path: Path) -> None:
    card = tmp_path / "README.md"
    card.write_text("that of the checkpoint, which is an earlier run's")
    failed = summary(status="failed after 1.5 of 3 epochs: the loss is nan", weights_sha256=None)
    write_report(tmp_path, failed, evaluated(), lambda _: None)
    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert "failed after 1.5 of 3 epochs: the loss is nan" in page
    assert "README.md" not in page
    assert card.read_text().startswith("that of the checkpoint")


def test_the_page_escapes_every_text() -> None:
    page = render(summary(name=_HOSTILE), evaluated(Sample(_HOSTILE, _HOSTILE)), [], [_HOSTILE])
    assert "<script" not in page
    assert "script" not in _Elements(page).names
    assert page.count("&lt;script&gt;") >= 5


def test_the_page_shows_samples_over_time() -> None:
    page = render(summary(), evaluated(Sample("こんにちは", "はい、どうぞ")), [], [])
    assert page.count("はい、どうぞ") == 2
    assert "epoch 1" in page
    assert "epoch 2" in page


def test_the_card_has_a_head_for_hubs_and_the_lineage() -> None:
    card = model_card(summary())
    head = yaml.safe_load(card.split("---\n")[1])
    assert head["language"] == ["ja"]
    assert head["model-index"][0]["results"][0]["metrics"][0]["value"] == 4.25
    for text in ("f" * 64, "w" * 64, "t" * 64, "2026-01-01", "0.1.0", "| lr | 0.002 |", "1 min 1 s"):
        assert text in card
    assert "a\\|b.txt" in card
    assert "/home/me" not in card  # a card is made to be shown to others


def test_the_card_of_a_model_without_score() -> None:
    lineage = {**summary().lineage, "metrics": {"validation_bits_per_char": None}, "parent": "p" * 64}
    card = model_card(summary(lineage=lineage, name='a: "b"'))
    assert "model-index" not in yaml.safe_load(card.split("---\n")[1])
    assert "p" * 64 in card


@pytest.mark.parametrize(
    ("library", "part", "rest"),
    [("matplotlib", "plots", "tensorboard"), ("tensorboard", "TensorBoard logs", "loss.png")],
)
def test_a_missing_library_costs_its_part_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, library: str, part: str, rest: str
) -> None:
    for name in ("train.plots", "train.tensorboard", "torch.utils.tensorboard"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setitem(sys.modules, library, None)
    said: list[str] = []
    write_report(tmp_path, summary(), evaluated(), said.append)
    assert said == [f"no {part}: {library} is not installed", f"report {tmp_path / 'index.html'}"]
    assert f"no {part}" in (tmp_path / "index.html").read_text(encoding="utf-8")
    assert (tmp_path / rest).exists()


def test_a_report_that_cannot_be_written_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in the way")
    said: list[str] = []
    write_report(tmp_path / "file", summary(), history(3), said.append)
    assert len(said) == 1
    assert said[0].startswith("no report: FileExistsError")

    def fail(*_: object) -> str:
        raise RuntimeError("first line\nsecond line")

    monkeypatch.setattr(report, "model_card", fail)
    write_report(tmp_path / "folder", summary(), history(3), said.append)
    assert said[1:] == [
        "no model card: RuntimeError: first line",
        f"report {tmp_path / 'folder' / 'index.html'}",
    ]
