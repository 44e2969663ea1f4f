"""hf:// against a server that speaks the few routes of the hub that huggingface_hub asks for."""

from __future__ import annotations

import hashlib
import json
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from storage.cache import local_path
from storage.errors import MissingError, StorageError, TransferError
from storage.hub import HubPlace, parse_hub
from train.corpus import Corpus, CorpusError, files_of
from train.hub import hub_files

pytestmark = pytest.mark.unit
_COMMIT = "0123456789abcdef0123456789abcdef01234567"
_REPOSITORIES = {
    "datasets/me/talks": {
        "README.md": b"# talks",
        ".gitattributes": b"",
        "config.json": b'{"architectures": ["x"]}',
        "data/train-00000.jsonl": '{"question": "営業は？", "answer": "9時です。"}\n'.encode(),
        "data/train-00001.jsonl": '{"text": "文です。"}\n'.encode(),
        "data/test-00000.jsonl": b'{"text": "test"}\n',
    },
    "datasets/me/table": {"faq.csv": "質問,回答\nはい？,はい。\n".encode("cp932")},
    "datasets/me/pictures": {"a.png": b"x"},
    "me/mine": {"mine.pt": b"weights", "tokenizer.model": b"symbols"},
}


class Hub(BaseHTTPRequestHandler):
    """One commit of each repository: its tree, and its files with the headers of the hub."""

    asked: list[str]

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def log_message(self, format: str, *args: object) -> None:
        self.asked.append(args[0] if isinstance(args[0], str) else "")

    def _answer(self, *, with_body: bool) -> None:
        path = unquote(urlsplit(self.path).path).strip("/")
        for repository, files in _REPOSITORIES.items():
            full = repository if repository.startswith("datasets/") else f"models/{repository}"
            if path == f"api/{full}/tree/main":
                self._send(json.dumps([_entry(name, content) for name, content in files.items()]).encode())
                return
            for revision in ("main", _COMMIT):
                prefix = f"{repository}/resolve/{revision}/"
                if path.startswith(prefix) and path.removeprefix(prefix) in files:
                    self._send(files[path.removeprefix(prefix)], with_body=with_body)
                    return
        known = any(repository in path for repository in _REPOSITORIES)
        self.send_response(404)
        self.send_header("X-Error-Code", "EntryNotFound" if known else "RepoNotFound")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _send(self, content: bytes, *, with_body: bool = True) -> None:
        self.send_response(200)
        self.send_header("ETag", f'"{hashlib.sha1(content).hexdigest()}"')
        self.send_header("X-Repo-Commit", _COMMIT)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if with_body:
            self.wfile.write(content)


def _entry(name: str, content: bytes) -> dict[str, object]:
    return {"type": "file", "path": name, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    pytest.importorskip("huggingface_hub", reason="huggingface_hub is not installed")
    Hub.asked = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    endpoint = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setenv("HF_ENDPOINT", endpoint)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    hub_files.cache_clear()
    yield endpoint
    server.shutdown()
    thread.join()
    server.server_close()
    hub_files.cache_clear()


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("hf://datasets/me/talks", ("dataset", "me/talks", None, "")),
        ("hf://datasets/me/talks@v1.0/data/a.csv", ("dataset", "me/talks", "v1.0", "data/a.csv")),
        ("hf://me/mine/a b.pt", ("model", "me/mine", None, "a b.pt")),
        ("hf://me/mine/", ("model", "me/mine", None, "")),
    ],
)
def test_a_url(url: str, place: tuple[str, ...]) -> None:
    assert parse_hub(url) == HubPlace(url, *place)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "url", ["hf://", "hf://me", "hf:/me/mine", "HF://me/mine", "hf://me/m/../x", "hf://m e/x"]
)
def test_a_bad_url_tells_what_it_must_be(url: str) -> None:
    with pytest.raises(CorpusError, match="must be hf://OWNER/NAME/FILE or hf://datasets/OWNER/NAME"):
        files_of([url])


def test_the_training_split_of_a_dataset_is_read(hub: str) -> None:
    corpus = Corpus(["hf://datasets/me/talks"])
    first, second = corpus
    assert (first.turns[1].text, second.text) == ("9時です。", "文です。")
    assert str(corpus.tally).startswith("read 1 dialogue and 1 text from 2 files; left out: config.json (")
    stamp, asked = corpus.stamp, len(Hub.asked)
    assert stamp is not None
    assert len(list(corpus)) == 2
    assert len(Hub.asked) == asked  # a run fetches once


def test_a_file_or_folder_of_a_dataset(hub: str) -> None:
    assert [d.text for d in Corpus(["hf://datasets/me/talks/data/test-00000.jsonl"])] == ["test"]
    assert len(files_of(["hf://datasets/me/talks/data"])) == 2
    (pair,) = Corpus(["hf://datasets/me/table"])
    assert pair.turns[0].text == "はい？"


def test_a_checkpoint_is_fetched_with_its_tokenizer(hub: str) -> None:
    assert local_path("hf://me/mine/mine.pt").read_bytes() == b"weights"
    assert local_path("hf://me/mine/tokenizer.model").read_bytes() == b"symbols"
    with pytest.raises(ValueError, match="must name a file"):
        local_path("hf://me/mine")


def test_what_is_not_there_is_told(hub: str) -> None:
    for url in ("hf://me/mine/other.pt", "hf://me/nothing/a.pt"):
        with pytest.raises(MissingError, match=f"^{url}: there is no such repository, revision or file"):
            local_path(url)
    with pytest.raises(CorpusError, match="there is no such repository"):
        files_of(["hf://datasets/me/nothing"])
    with pytest.raises(CorpusError, match=r"hf://datasets/me/pictures: there is no \.txt, "):
        files_of(["hf://datasets/me/pictures"])


def test_without_the_network_one_line_tells(hub: str, monkeypatch: pytest.MonkeyPatch) -> None:
    held = local_path("hf://me/mine/mine.pt")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(TransferError, match=r"http://127\.0\.0\.1:9 cannot be reached") as caught:
        local_path("hf://me/mine/tokenizer.model")
    assert "\n" not in str(caught.value)
    assert local_path("hf://me/mine/mine.pt") == held  # a copy of an earlier run
    with pytest.raises(CorpusError, match="cannot be reached"):
        files_of(["hf://datasets/me/talks"])


def test_without_the_package_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(StorageError, match="without huggingface_hub: pip install huggingface_hub"):
        local_path("hf://me/mine/mine.pt")
    with pytest.raises(CorpusError, match="without huggingface_hub: pip install huggingface_hub"):
        hub_files("hf://datasets/me/talks")
