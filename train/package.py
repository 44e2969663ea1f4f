"""Make the archive that TorchServe hosts: python -m train.package [--version 1.0]."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import click

from model.checkpoint import CHECKPOINT_NAME, TOKENIZER_NAME, CheckpointError, file_sha256
from model.native import build
from model.tokenizer import TokenizerError
from storage.errors import StorageError
from storage.location import Location, is_remote, parse_object
from storage.upload import upload
from train import interruption
from train.place import checkpoint_option, default_at_home
from train.remote import OpenedCheckpoint, open_checkpoint

MODEL_NAME = "neuroq"
PROFILES = {"continuous": "model-config.yaml", "workers": "model-config.workers.yaml"}
RECORD = "package.json"  # in the archive: what it was made of
_ROOT = Path(__file__).resolve().parent.parent
_CODE = ("model", "handler")
_CODE_SUFFIXES = (".py", ".yaml", ".cpp", ".h")


class PackageError(RuntimeError):
    """The archive could not be made."""


@dataclass(frozen=True)
class Package:
    """What goes into one archive."""

    source: OpenedCheckpoint
    version: str
    profile: str

    def record(self) -> dict[str, str]:
        """Return what identifies the archive's content."""
        return {
            "version": self.version,
            "profile": self.profile,
            "checkpoint_sha256": file_sha256(self.source.path),
            "tokenizer_sha256": self.source.tokenizer.sha256,
            "code_sha256": _code_sha256(),
        }

    def write(self, archive: Path) -> int:
        """Run torch-model-archiver and put the result at `archive`, whole or not at all; return its bytes."""
        archive.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".package-", dir=archive.parent.resolve()) as folder:
            content, export, private = (Path(folder) / name for name in ("content", "export", "tmp"))
            for each in (content, export, private):
                each.mkdir()
            self._stage(content)
            self._archive(content, export, private)
            (export / f"{MODEL_NAME}.mar").replace(archive)
        return archive.stat().st_size

    def _stage(self, content: Path) -> None:
        for path in _code_files():
            if path.suffix != ".yaml":
                target = content / path.relative_to(_ROOT)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, target)
        shutil.copyfile(self.source.path, content / CHECKPOINT_NAME)
        (content / TOKENIZER_NAME).write_bytes(self.source.tokenizer.model_bytes)
        shutil.copyfile(_ROOT / "handler" / PROFILES[self.profile], content / "model-config.yaml")
        (content / RECORD).write_text(json.dumps(self.record(), indent=1))

    def _archive(self, content: Path, export: Path, private: Path) -> None:
        command = [sys.executable, "-m", "model_archiver.model_packaging"]
        options = {
            "--model-name": MODEL_NAME,
            "--version": self.version,
            "--handler": str(_ROOT / "handler" / "neuroq_handler.py"),
            "--config-file": str(content / "model-config.yaml"),
            "--extra-files": str(content),
            "--export-path": str(export),
        }
        done = subprocess.run(
            [*command, *(word for option in options.items() for word in option)],
            cwd=_ROOT,  # not where the user stands: a file of theirs may have a module's name
            env={**os.environ, "TMPDIR": str(private), "TEMP": str(private)},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise PackageError(f"torch-model-archiver failed: {done.stderr.strip()[-500:]}")


def read_record(archive: Path) -> dict[str, str] | None:
    """Return what an archive was made of, None when there is none or it tells nothing."""
    try:
        with zipfile.ZipFile(archive) as file:
            record: dict[str, str] = json.loads(file.read(RECORD))
            return record
    except (OSError, KeyError, ValueError, zipfile.BadZipFile):
        return None


def _build_native() -> None:
    """Build the native decoder unless it is there; without a compiler the archive serves with PyTorch."""
    try:
        build.build()
    except build.BuildError as error:
        click.echo(f"package: no native decoder, PyTorch will be used: {error}", err=True)


def _code_files() -> list[Path]:
    """Return the files that serve, in a fixed order: the code, and its native part if it could be built."""
    library = build.library_path()
    files = [p for name in _CODE for p in (_ROOT / name).rglob("*") if p.suffix in _CODE_SUFFIXES]
    return sorted([*files, library] if library else files)


def _code_sha256() -> str:
    digest = hashlib.sha256()
    for path in _code_files():
        digest.update(str(path.relative_to(_ROOT)).encode() + path.read_bytes())
    return digest.hexdigest()


def _check_version(_context: click.Context, _option: click.Parameter, value: str) -> str:
    if not value.replace(".", "").isdigit() or not value.isascii():
        raise click.BadParameter(f"must be numbers with dots such as 1.0, got {value!r}")
    return value


@click.command(name="package")
@checkpoint_option
@click.option("--tokenizer_path", "--tokenizer-path", "tokenizer", help="Default: the one in the checkpoint.")
@click.option("--version", default="1.0", show_default=True, callback=_check_version)
@click.option("--profile", type=click.Choice(sorted(PROFILES)), default="continuous", show_default=True)
@click.option(
    "--model_store", "--model-store", default="model_store", show_default=True, callback=default_at_home
)
@click.option("--output", help=f"Default: MODEL_STORE/{MODEL_NAME}.mar.")
@click.option("--if-changed", is_flag=True, help="Do nothing when the archive holds exactly this already.")
def main(
    checkpoint_path: str,
    tokenizer: str | None,
    version: str,
    profile: str,
    model_store: str,
    output: str | None,
    if_changed: bool,
) -> None:
    """Make MODEL_STORE/neuroq.mar from a checkpoint and its tokenizer.

    The checkpoint, the tokenizer and the model store may be s3:// or gs://.
    """
    target = output or f"{model_store.rstrip('/')}/{MODEL_NAME}.mar"
    try:
        location = parse_object(target) if is_remote(target) else None
        source = open_checkpoint(checkpoint_path, tokenizer)
        source.checkpoint.build()  # now, not in a worker
        package = Package(source, version, profile)
        _build_native()
        if if_changed and read_record(Path(target)) == package.record():
            click.echo(f"{target} is up to date (version {version}, profile {profile})")
            return
        num_bytes = _write_remote(package, location) if location else package.write(Path(target))
    except (CheckpointError, TokenizerError, PackageError, StorageError, ValueError) as error:
        click.echo(f"package: {error}", err=True)
        sys.exit(1)
    except OSError as error:
        click.echo(f"package: {error.filename or target}: {error.strerror or error}", err=True)
        sys.exit(1)
    click.echo(f"{target}: version {version}, profile {profile}, {num_bytes / 1e6:.1f} MB")


def _write_remote(package: Package, location: Location) -> int:
    with tempfile.TemporaryDirectory(prefix="neuroq-package-") as folder:
        archive = Path(folder) / location.name
        num_bytes = package.write(archive)
        upload(archive, location)
    return num_bytes


if __name__ == "__main__":
    interruption.run(main)
