"""What every test can ask for: tiny models, tokenizers, checkpoints, Japanese text, gRPC stubs."""

from __future__ import annotations

import importlib
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import hypothesis
import pytest
import torch

from model.checkpoint import CHECKPOINT_NAME, TOKENIZER_NAME, Checkpoint
from model.config import ModelConfig
from model.native import build
from model.network import NeuroQ
from model.tokenizer import Tokenizer
from train.corpus import BUILT_IN, Document, read_documents
from train.tokenizer import train_tokenizer

# The machine may be busy: no test judges a time.
hypothesis.settings.register_profile("any machine", deadline=None)
hypothesis.settings.load_profile("any machine")

ROOT = Path(__file__).resolve().parent.parent
SHARED_DATA = ROOT.parent / "shared" / "data"


def pytest_sessionstart() -> None:
    """Build the native library, as packaging does: collecting the tests asks whether it is there."""
    with suppress(build.BuildError):
        build.build()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Unit tests first, servers last, whatever the folders are called."""
    order = {"unit": 0, "integration": 1, "e2e": 2}
    items.sort(key=lambda item: min(order.get(mark.name, 9) for mark in item.iter_markers()))


@pytest.fixture(scope="session")
def native_library() -> Path | None:
    """The native library, None where there is no compiler."""
    return build.library_path()


@pytest.fixture(scope="session")
def documents() -> list[Document]:
    return read_documents([str(BUILT_IN / "varied")])


@pytest.fixture(scope="session")
def tokenizer(documents: list[Document]) -> Tokenizer:
    return train_tokenizer(documents[:300], 1500)


@pytest.fixture(scope="session")
def stubs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], ModuleType]]:
    """Generated modules by name, such as inference_pb2_grpc."""
    folder = tmp_path_factory.mktemp("stubs")
    spec = find_spec("ts")
    assert spec is not None
    assert spec.origin is not None
    with zipfile.ZipFile(Path(spec.origin).parent / "frontend" / "model-server.jar") as jar:
        jar.extractall(folder, [name for name in jar.namelist() if name.endswith(".proto")])
    protos = [str(folder / "proto" / f"{name}.proto") for name in ("inference", "management")]
    protos.append(str(folder / "google" / "rpc" / "status.proto"))
    include = [f"-I{folder / 'proto'}", f"-I{folder}"]
    out = [f"--python_out={folder}", f"--grpc_python_out={folder}"]
    subprocess.run([sys.executable, "-m", "grpc_tools.protoc", *include, *out, *protos], check=True)
    sys.path.insert(0, str(folder))
    yield importlib.import_module
    sys.path.remove(str(folder))


def tiny_config(vocab_size: int, **changes: object) -> ModelConfig:
    sizes = {"embed_dim": 32, "num_heads": 4, "num_layers": 2, "num_neurons": 16, "context_length": 64}
    return ModelConfig(vocab_size=vocab_size, **{**sizes, **changes})  # type: ignore[arg-type]


def tiny_model(vocab_size: int, *, seed: int = 0, **changes: object) -> NeuroQ:
    """A random network, scaled up so that logits differ by whole units, as trained ones do."""
    torch.manual_seed(seed)
    model = NeuroQ(tiny_config(vocab_size, **changes))
    with torch.no_grad():
        model.token_embedding.weight.mul_(20)
        model.head.weight.mul_(30)
    return model.eval()


def never_end(model: NeuroQ, tokenizer: Tokenizer) -> None:
    """Give one dimension of the last activations to the end symbols, to keep their logits far down."""
    with torch.no_grad():
        model.norm.bias[0] = 100.0
        model.head.weight[:, 0] = 0.0
        model.head.weight[list(tokenizer.stop_ids), 0] = -1.0


def write_checkpoint(
    folder: Path, tokenizer: Tokenizer, *, seed: int = 0, endless: bool = False, **changes: object
) -> Path:
    """A random tiny checkpoint with its tokenizer beside it; an endless one never ends a reply by itself."""
    model = tiny_model(tokenizer.vocab_size, seed=seed, **changes)
    if endless:
        never_end(model, tokenizer)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / TOKENIZER_NAME).write_bytes(tokenizer.model_bytes)
    lineage = {"style": "dialogue", "trained_at": "2026-01-01T00:00:00+00:00", "metrics": {}, "data": {}}
    Checkpoint(model.config, model.state_dict(), tokenizer.sha256, lineage).save(folder / CHECKPOINT_NAME)
    return folder / CHECKPOINT_NAME
