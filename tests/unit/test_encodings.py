from __future__ import annotations

import pytest

from train.encodings import explain, guess

pytestmark = pytest.mark.unit
_TEXT = "吾輩は猫である。名前はまだ無い。\n"


@pytest.mark.parametrize(
    ("codec", "name"),
    [
        ("cp932", "Shift_JIS"),
        ("euc_jp", "EUC-JP"),
        ("utf_16", "UTF-16"),
        ("utf_16_le", "UTF-16LE"),
        ("utf_16_be", "UTF-16BE"),
    ],
)
@pytest.mark.parametrize("times", [1, 5000])
def test_the_encodings_of_japanese_are_told_apart(codec: str, name: str, times: int) -> None:
    content = (_TEXT * times).encode(codec)
    assert guess(content) == name
    assert (
        explain(content[0], 0, content)
        == f"{name}, not UTF-8: convert it, for example with iconv -f {name} -t UTF-8"
    )


@pytest.mark.parametrize(
    "content",
    [
        _TEXT.encode()[:20] + b"\xff" + _TEXT.encode(),
        _TEXT.encode() * 9 + b"\xe3\x81",
        b"\x80\x01\x02" * 40,
        b"\xff",
        b"GIF89a\x90\x00\xf4\x00\x00",
    ],
)
def test_bad_bytes_are_no_encoding(content: bytes) -> None:
    assert guess(content) is None
    with pytest.raises(UnicodeDecodeError) as error:
        content.decode()
    position = error.value.start
    assert (
        explain(content[position], position, content)
        == f"not UTF-8: byte {content[position]:#04x} at offset {position}"
    )
