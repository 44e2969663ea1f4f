from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from model.checkpoint import (
    CHECKPOINT_NAME,
    TOKENIZER_NAME,
    Checkpoint,
    CheckpointError,
    tokenizer_path,
    weights_sha256,
)
from model.tokenizer import Tokenizer, TokenizerError
from tests.conftest import tiny_model, write_checkpoint
from train.corpus import Document
from train.remote import open_checkpoint
from train.tokenizer import train_tokenizer

pytestmark = pytest.mark.unit


def test_a_checkpoint_comes_back_as_it_was(tmp_path: Path, tokenizer: Tokenizer) -> None:
    path = write_checkpoint(tmp_path, tokenizer)
    loaded = Checkpoint.load(path)
    loaded.check_tokenizer(Tokenizer.load(tokenizer_path(path)))
    ids = torch.arange(10)[None]
    with torch.inference_mode():
        assert torch.equal(loaded.build().eval()(ids), tiny_model(tokenizer.vocab_size)(ids))
    assert loaded.lineage["style"] == "dialogue"


def test_the_file_needs_no_trust(tmp_path: Path, tokenizer: Tokenizer) -> None:
    values = torch.load(write_checkpoint(tmp_path, tokenizer), weights_only=True)
    assert {"format_version", "config", "model", "tokenizer_sha256", "lineage"} == set(values)


def with_tokenizer(folder: Path, tokenizer: Tokenizer, name: str) -> Path:
    made = Checkpoint.load(write_checkpoint(folder / "made", tokenizer))
    replace(made, tokenizer_model=tokenizer.model_bytes).save(folder / name)
    return folder / name


def test_two_checkpoints_in_one_folder_keep_their_tokenizers(
    tmp_path: Path, tokenizer: Tokenizer, documents: list[Document]
) -> None:
    other = train_tokenizer(documents[300:400], 700)
    a, b = (with_tokenizer(tmp_path, each, f"{each.vocab_size}.pt") for each in (tokenizer, other))
    opened = [open_checkpoint(str(path)).tokenizer for path in (a, b)]
    assert [each.sha256 for each in opened] == [tokenizer.sha256, other.sha256]
    assert {path.name for path in tmp_path.iterdir()} == {"made", a.name, b.name}


def test_the_seeds_names_are_written_and_read(tmp_path: Path, tokenizer: Tokenizer) -> None:
    path = with_tokenizer(tmp_path, tokenizer, CHECKPOINT_NAME)
    assert Tokenizer.load(tmp_path / TOKENIZER_NAME).sha256 == tokenizer.sha256
    values = torch.load(path, weights_only=True)
    older = {key: value for key, value in values.items() if key != "tokenizer_model"}
    torch.save({**older, "format_version": 1}, path)  # as it was before tokenizers went into checkpoints
    assert open_checkpoint(str(path)).tokenizer.sha256 == tokenizer.sha256


def test_a_damaged_tokenizer_in_a_checkpoint_is_told(tmp_path: Path, tokenizer: Tokenizer) -> None:
    path = with_tokenizer(tmp_path, tokenizer, "x.pt")
    replace(Checkpoint.load(path), tokenizer_model=b"rubbish").save(path)
    with pytest.raises(TokenizerError, match="not a SentencePiece model"):
        open_checkpoint(str(path))


def test_a_foreign_tokenizer_is_told(tmp_path: Path, tokenizer: Tokenizer, documents: list[Document]) -> None:
    other = train_tokenizer(documents[300:400], 700)
    with pytest.raises(CheckpointError, match="do not belong together"):
        Checkpoint.load(write_checkpoint(tmp_path, tokenizer)).check_tokenizer(other)


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="there is no checkpoint at"):
        Checkpoint.load(tmp_path / "none.pt")


def test_a_truncated_file_is_told(tmp_path: Path, tokenizer: Tokenizer) -> None:
    path = write_checkpoint(tmp_path, tokenizer)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match="cannot be read as a checkpoint"):
        Checkpoint.load(path)


@pytest.mark.parametrize("content", [{"a": 1}, [1, 2], {"format_version": 9}])
def test_another_kind_of_file_is_told(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "other.pt")
    with pytest.raises(CheckpointError, match="is not a NeuroQ checkpoint"):
        Checkpoint.load(tmp_path / "other.pt")


def test_another_format_version_is_told(tmp_path: Path, tokenizer: Tokenizer) -> None:
    path = write_checkpoint(tmp_path, tokenizer)
    torch.save({**torch.load(path, weights_only=True), "format_version": 99}, path)
    with pytest.raises(CheckpointError, match="has checkpoint format 99"):
        Checkpoint.load(path)


def test_tensors_of_another_shape_are_told(tmp_path: Path, tokenizer: Tokenizer) -> None:
    path = write_checkpoint(tmp_path, tokenizer)
    values = torch.load(path, weights_only=True)
    values["config"]["embed_dim"] = 64
    torch.save(values, path)
    with pytest.raises(CheckpointError, match="do not fit its configuration"):
        Checkpoint.load(path).build()


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, tokenizer: Tokenizer) -> None:
    path = write_checkpoint(tmp_path, tokenizer)
    before = path.read_bytes()
    bad = Checkpoint(Checkpoint.load(path).config, {"x": lambda: None}, "", {})  # type: ignore[dict-item]
    with pytest.raises(Exception, match="pickle"):
        bad.save(path)
    assert path.read_bytes() == before
    assert {p.name for p in tmp_path.iterdir()} == {path.name, tokenizer_path(path).name}


def test_weights_have_one_digest() -> None:
    one, two, other = (tiny_model(50, seed=seed).state_dict() for seed in (1, 1, 2))
    assert weights_sha256(one) == weights_sha256(two) != weights_sha256(other)
