"""Object stores: moto's S3 server and a GCS emulator, with the faults that networks and people make."""

from __future__ import annotations

import hashlib
import os
import random
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from storage.cache import RANGE_SIZE, Cache, local_path
from storage.errors import MissingError, RefusedError, StorageError
from storage.location import Location
from storage.upload import upload
from tests.conftest import ROOT
from tests.object_stores import BUCKET, Fault, ObjectStore, Seen, aws_client, gcs, s3

pytestmark = pytest.mark.integration
SECRET = "a-secret-that-nobody-may-see"
LARGE = random.Random(0).randbytes(2 * RANGE_SIZE + 1000)  # three ranges


@dataclass
class Place:
    """A store, a cache of its own, and the environment that leads there."""

    scheme: str
    store: ObjectStore
    cache: Cache

    def location(self, key: str) -> Location:
        return Location(self.scheme, BUCKET, key)

    def put(self, key: str, content: bytes) -> Location:
        self.store.put(key, content)
        return self.location(key)

    def fetch(self, key: str) -> bytes:
        return self.cache.fetch(self.location(key)).read_bytes()

    def starts(self, key: str) -> list[int | None]:
        """Where each request for an object's content began."""
        return [seen.range_start for seen in self.store.proxy.reads(key)]

    def files(self) -> list[str]:
        """What the cache holds, without its books."""
        found = [p for p in self.cache.folder.rglob("*") if p.is_file()]
        return sorted(p.name for p in found if p.suffix not in (".lock", ".json"))


@pytest.fixture(scope="module")
def s3_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectStore]:
    with s3(tmp_path_factory.mktemp("moto")) as store:
        yield store


@pytest.fixture(scope="module")
def gcs_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectStore]:
    with gcs(tmp_path_factory.mktemp("gcs")) as store:
        yield store


def _point_at(store: ObjectStore, scheme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(("AWS_", "GOOGLE_", "STORAGE_"))]:
        monkeypatch.delenv(name)
    if scheme == "gs":
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", store.url)
        return
    monkeypatch.setenv("AWS_ENDPOINT_URL", store.url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "somebody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)


@pytest.fixture(params=["s3", "gs"])
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    store: ObjectStore = request.getfixturevalue("s3_store" if request.param == "s3" else "gcs_store")
    _point_at(store, request.param, monkeypatch)
    monkeypatch.setenv("NEUROQ_CACHE", str(tmp_path / "cache"))
    store.proxy.reset()
    yield Place(request.param, store, Cache(tmp_path / "cache", pauses=(0.01, 0.01)))
    store.proxy.reset()


@pytest.fixture
def s3_place(s3_store: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    _point_at(s3_store, "s3", monkeypatch)
    monkeypatch.setenv("NEUROQ_CACHE", str(tmp_path / "cache"))
    s3_store.proxy.reset()
    yield Place("s3", s3_store, Cache(tmp_path / "cache", pauses=(0.01, 0.01)))
    s3_store.proxy.reset()


def once(start: int, fault: Fault, key: str) -> object:
    """A judge that makes one fault, at the first request for a range that begins there."""
    pending = [fault]

    def judge(seen: Seen) -> Fault | None:
        is_it = seen.method == "GET" and seen.path.endswith(key) and seen.range_start == start
        return pending.pop() if is_it and pending else None

    return judge


def test_what_is_fetched_lies_under_its_digest_and_is_not_fetched_again(place: Place) -> None:
    location = place.put("a/日本 語.pt", b"one")
    path = place.cache.fetch(location)
    assert path.read_bytes() == b"one"
    assert path.parts[-2:] == (hashlib.sha256(b"one").hexdigest(), "日本 語.pt")
    place.store.proxy.reset()
    assert place.cache.fetch(location) == path
    assert place.starts("日本 語.pt") == []
    place.put("a/日本 語.pt", b"two")
    assert place.fetch("a/日本 語.pt") == b"two"
    assert place.files() == ["日本 語.pt"] * 2


def test_a_spoilt_copy_is_fetched_again(place: Place) -> None:
    place.cache.fetch(place.put("spoilt", b"good")).write_bytes(b"evil")
    assert place.fetch("spoilt") == b"good"


def test_a_cut_connection_goes_on_where_it_broke(place: Place) -> None:
    place.put("cut", LARGE)
    place.store.proxy.judge = once(RANGE_SIZE, Fault(cut_after=1000), "cut")
    assert place.fetch("cut") == LARGE
    starts = place.starts("cut")
    assert starts[:2] == [0, RANGE_SIZE]
    assert starts[2] in (RANGE_SIZE, RANGE_SIZE + 1000)  # where obstore or the cache took it up again
    assert starts.count(0) == 1


def test_a_killed_process_leaves_what_it_has_to_the_next(place: Place) -> None:
    location = place.put("killed", LARGE)
    is_there, may_go = threading.Event(), threading.Event()

    def judge(seen: Seen) -> None:
        if seen.range_start == RANGE_SIZE:
            is_there.set()
            may_go.wait(30)

    place.store.proxy.judge = judge
    code = f"from storage.cache import local_path; local_path({str(location)!r})"
    process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT)
    assert is_there.wait(30)
    process.kill()
    process.wait()
    may_go.set()
    place.store.proxy.reset()
    assert place.fetch("killed") == LARGE
    assert place.starts("killed") == [RANGE_SIZE, 2 * RANGE_SIZE]
    assert place.files() == ["killed"]


def test_a_connection_that_is_always_cut_ends_in_one_line(place: Place) -> None:
    place.put("never", LARGE)
    place.store.proxy.judge = lambda seen: Fault(cut_after=10) if seen.range_start else None
    with pytest.raises(StorageError, match=r"never: .* \(3 tries\)") as caught:
        place.fetch("never")
    assert "\n" not in str(caught.value)
    place.store.proxy.reset()
    assert place.fetch("never") == LARGE
    assert place.starts("never") == [RANGE_SIZE, 2 * RANGE_SIZE]


def test_an_object_replaced_meanwhile_is_read_anew_and_never_mixed(place: Place) -> None:
    place.put("replaced", LARGE)
    new, pending = LARGE[::-1], [True]

    def judge(seen: Seen) -> None:
        if seen.range_start == RANGE_SIZE and pending:
            pending.pop()
            place.put("replaced", new)

    place.store.proxy.judge = judge
    assert place.fetch("replaced") == new
    assert place.starts("replaced").count(0) == 2
    assert place.files() == ["replaced"]


def test_an_object_replaced_again_and_again_ends_in_one_line(place: Place) -> None:
    place.put("restless", LARGE)

    def judge(seen: Seen) -> None:
        if seen.range_start == RANGE_SIZE:
            place.put("restless", random.randbytes(len(LARGE)))

    place.store.proxy.judge = judge
    with pytest.raises(StorageError, match="replaced while it was read"):
        place.fetch("restless")
    assert "restless" not in place.files()


def test_a_checksum_beside_it_is_heeded(place: Place) -> None:
    place.put("sum", b"content")
    place.put("sum.sha256", f"{hashlib.sha256(b'content').hexdigest()}  sum\n".encode())
    assert place.fetch("sum") == b"content"
    place.put("sum", b"conten")  # cut off by who wrote it
    with pytest.raises(StorageError, match=r"/sum: its SHA-256 is .*, it should be "):
        place.fetch("sum")
    place.put("sum.sha256", b"nonsense")
    with pytest.raises(StorageError, match=r"sum\.sha256: is no SHA-256"):
        place.fetch("sum")
    assert place.files() == ["sum"]


def test_content_that_does_not_fit_its_etag_is_refused(s3_place: Place) -> None:
    s3_place.put("bytes", b"content")
    s3_place.store.proxy.judge = lambda seen: Fault(is_spoilt=seen.path.endswith("bytes"))
    with pytest.raises(StorageError, match="its MD5 is not its ETag"):
        s3_place.fetch("bytes")
    assert s3_place.files() == []


@pytest.mark.parametrize("bucket", [BUCKET, "no-such-bucket"])
def test_a_missing_object_is_one_line(place: Place, bucket: str) -> None:
    with pytest.raises(MissingError) as caught:
        place.cache.fetch(Location(place.scheme, bucket, "a/b"))
    assert str(caught.value) == f"{place.scheme}://{bucket}/a/b: there is no such object"


@pytest.fixture
def guarded(s3_place: Place) -> Iterator[dict[str, str]]:
    """moto as it checks signatures: the credentials of the one user who may read."""
    base = f"http://127.0.0.1:{s3_place.store.port}"
    iam = aws_client("iam", s3_place.store.port)
    iam.create_user(UserName="reader")
    rule = '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:*","Resource":"*"}]}'
    iam.put_user_policy(UserName="reader", PolicyName="all", PolicyDocument=rule)
    key = iam.create_access_key(UserName="reader")["AccessKey"]
    httpx.post(f"{base}/moto-api/reset-auth", content=b"0", trust_env=False).raise_for_status()
    yield {"AWS_ACCESS_KEY_ID": key["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"]}
    httpx.post(f"{base}/moto-api/reset-auth", content=b"inf", trust_env=False).raise_for_status()


def test_wrong_credentials_are_one_line_without_a_secret(
    s3_place: Place, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    s3_place.put("guarded", b"content")
    good = request.getfixturevalue("guarded")
    for name, value in good.items():
        monkeypatch.setenv(name, value)
    assert s3_place.fetch("guarded") == b"content"
    for name in good:
        monkeypatch.setenv(name, SECRET)
        with pytest.raises(RefusedError) as caught:
            s3_place.fetch("guarded")
        monkeypatch.setenv(name, good[name])
        words = f"s3://{BUCKET}/guarded: access refused; check the credentials and what they may do"
        assert str(caught.value) == words


def test_a_refused_token_is_one_line(place: Place) -> None:
    place.store.proxy.judge = lambda seen: Fault(status=401 if place.scheme == "gs" else 403)
    with pytest.raises(RefusedError, match="access refused"):
        place.fetch("x")


def test_a_passing_fault_of_the_store_is_outlived_and_a_lasting_one_told(place: Place) -> None:
    place.put("busy", b"content")
    faults = [Fault(status=503)]
    place.store.proxy.judge = lambda seen: faults.pop() if faults else None
    assert place.fetch("busy") == b"content"
    place.store.proxy.judge = lambda seen: Fault(status=503)
    with pytest.raises(StorageError, match="the store answered 503"):
        place.fetch("busy")


def test_nobody_listening_is_one_line(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ENDPOINT_URL", "STORAGE_EMULATOR_HOST"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    with pytest.raises(StorageError) as caught:
        place.fetch("x")
    assert "\n" not in str(caught.value)


def test_a_full_disk_is_one_line(place: Place) -> None:
    location = place.put("full", LARGE)
    code = f"""
import resource
from storage.cache import local_path
from storage.errors import StorageError
resource.setrlimit(resource.RLIMIT_FSIZE, ({RANGE_SIZE + 1000}, {RANGE_SIZE + 1000}))
try:
    local_path({str(location)!r})
except StorageError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == f"{location}: cannot be kept in {place.cache.folder}: File too large\n"


def test_an_upload_can_be_fetched_and_checked_by_other_tools(place: Place, tmp_path: Path) -> None:
    content = LARGE if place.scheme == "s3" else b"small"  # the emulator has no uploads in parts
    path = tmp_path / "mine.pt"
    path.write_bytes(content)
    upload(path, place.location("up/mine.pt"))
    assert place.fetch("up/mine.pt") == content
    checksum = place.fetch("up/mine.pt.sha256").decode()
    assert checksum == f"{hashlib.sha256(content).hexdigest()}  mine.pt\n"


def test_an_upload_in_the_metadata_outweighs_a_checksum_of_before(s3_place: Place, tmp_path: Path) -> None:
    path = tmp_path / "mine.pt"
    path.write_bytes(b"new")
    upload(path, s3_place.location("meta/mine.pt"))
    s3_place.put("meta/mine.pt.sha256", b"0" * 64)  # as if the uploader had not got so far yet
    assert s3_place.fetch("meta/mine.pt") == b"new"


def test_paths_need_no_object_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "obstore", None)
    assert local_path(str(tmp_path / "x")) == tmp_path / "x"
    with pytest.raises(StorageError, match="pip install obstore"):
        local_path("s3://bucket/key")
