"""The report of a run: an HTML page with plots, TensorBoard logs, and a model card, beside the checkpoint."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from train.card import model_card
from train.history import History
from train.page import Picture, render
from train.summary import Summary


def report_path(checkpoint_path: Path) -> Path:
    """Return the folder of a checkpoint's report: beside it."""
    return checkpoint_path.with_suffix(".report")


def write_report(folder: Path, summary: Summary, history: History, say: Callable[[str], None]) -> None:
    """Write what can be written, and say in one line for each part what could not: nothing is raised.

    The checkpoint is saved by now, and no report is worth a failed run.
    """
    failure = _failure("report", lambda: folder.mkdir(parents=True, exist_ok=True))
    if failure:
        say(failure)
        return
    page = folder / "index.html"
    pictures: list[Picture] = []
    failures: list[str] = []
    parts: dict[str, Callable[[], object]] = {
        "plots": lambda: pictures.extend(_draw(folder, history)),
        "TensorBoard logs": lambda: _write_events(folder / "tensorboard", history),
        "model card": lambda: _write(folder / "README.md", model_card(summary)),
        "page": lambda: _write(page, render(summary, history, pictures, failures)),
    }
    if summary.weights_sha256 is None:  # there may be an earlier run's checkpoint, with its card
        del parts["model card"]
    for part, write in parts.items():
        failure = _failure(part, write)
        if failure:
            failures.append(failure)
            say(failure)
    say(f"report {page if failure is None else folder}")


def _failure(part: str, write: Callable[[], object]) -> str | None:
    """Write a part; return why it failed, if it did."""
    try:
        write()
    except ModuleNotFoundError as error:
        return f"no {part}: {error.name} is not installed"
    except Exception as error:
        reason = next(iter(str(error).splitlines()), "")
        return f"no {part}: {type(error).__name__}: {reason}"
    return None


def _draw(folder: Path, history: History) -> list[Picture]:
    from train.plots import draw  # noqa: PLC0415 - takes a second, and may not be there

    return draw(folder, history)


def _write_events(folder: Path, history: History) -> None:
    from train.tensorboard import write_events  # noqa: PLC0415 - takes a second, and may not be there

    write_events(folder, history)


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
