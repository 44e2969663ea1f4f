"""Paths and URLs: pure, so tables."""

from __future__ import annotations

import pytest

from storage.location import Location, beside, is_remote, parse_folder, parse_object

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("url", "location"),
    [
        ("s3://bucket/mine.pt", Location("s3", "bucket", "mine.pt")),
        ("gs://my_bucket.eu/a/日本 語.pt", Location("gs", "my_bucket.eu", "a/日本 語.pt")),
    ],
)
def test_an_object(url: str, location: Location) -> None:
    assert parse_object(url) == location
    assert str(location) == url


@pytest.mark.parametrize("url", ["s3://bucket", "s3://bucket/", "s3://bucket/a", "s3://bucket/a/"])
def test_a_folder(url: str) -> None:
    folder = parse_folder(url)
    assert folder.key == ("a" if "/a" in url else "")
    assert str(folder.below("x")) == ("s3://bucket/a/x" if "/a" in url else "s3://bucket/x")


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("s3:/bucket/key", "s3://BUCKET/KEY"),
        ("S3://bucket/key", "s3://BUCKET/KEY"),
        ("https://bucket/key", "s3://BUCKET/KEY"),
        ("s3://", "a bucket"),
        ("s3://Bucket/key", "a bucket"),
        ("s3://b/key", "a bucket"),
        ("s3://user:pw@bucket/key", "a bucket"),
        ("s3://bucket", "an object"),
        ("s3://bucket/folder/", "an object"),
        ("s3://bucket//key", "a key without"),
        ("s3://bucket/../key", "a key without"),
        ("s3://bucket/key?versionId=1", "a key without"),
        ("s3://bucket/a\nb", "a key without"),
    ],
)
def test_a_bad_url_tells_what_it_must_be(url: str, words: str) -> None:
    assert is_remote(url)
    with pytest.raises(ValueError, match=r"^must ") as caught:
        parse_object(url)
    assert words in str(caught.value)


@pytest.mark.parametrize("path", ["mine.pt", "/a/b.pt", "./s3/x", "a:b", ""])
def test_a_path_is_no_url(path: str) -> None:
    assert not is_remote(path)


def test_beside() -> None:
    assert beside("s3://bucket/a/mine.pt", "t.model") == "s3://bucket/a/t.model"
    assert beside("s3://bucket/mine.pt", "t.model") == "s3://bucket/t.model"
    assert beside("a/mine.pt", "t.model") == "a/t.model"
    assert beside("mine.pt", "t.model") == "t.model"
