"""Random numbers without state: each is a function of a request's seed and of what it is drawn for.

So a sequence can stop, move or be decoded in any company and still draw the same numbers, in PyTorch and
in native code alike. The mixing function is the finaliser of SplitMix64 (Steele, Lea, Flood 2014); all
arithmetic is modulo 2^64.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_WORD = 2**64 - 1
_GOLDEN = 0x9E3779B97F4A7C15
_FIRST, _SECOND = 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
_UNIT = 2.0**-53  # the upper 53 bits of a word make a double in [0, 1)


def uniform(seed: int, index: int) -> float:
    """Return the number in [0, 1) that draws token `index` of a sequence."""
    word = _mix(_stream(seed, index) + _GOLDEN)
    return (word >> 11) * _UNIT


def normals(seed: int, index: int, count: int) -> NDArray[np.float32]:
    """Return `count` standard normal values for the logits of token `index` (Box and Muller 1958)."""
    lanes = np.arange(2, 2 * count + 2, dtype=np.uint64)
    words = _mix_all(np.uint64(_stream(seed, index)) + np.uint64(_GOLDEN) * lanes)
    a, b = (words >> np.uint64(11)).astype(np.float64).reshape(count, 2).T * _UNIT
    values: NDArray[np.float64] = np.sqrt(-2 * np.log(1 - a)) * np.cos(2 * np.pi * b)
    return values.astype(np.float32)


def _stream(seed: int, index: int) -> int:
    return _mix(seed + _GOLDEN * (index + 1))


def _mix(z: int) -> int:
    z &= _WORD
    z = ((z ^ (z >> 30)) * _FIRST) & _WORD
    z = ((z ^ (z >> 27)) * _SECOND) & _WORD
    return z ^ (z >> 31)


def _mix_all(z: NDArray[np.uint64]) -> NDArray[np.uint64]:
    z = (z ^ (z >> np.uint64(30))) * np.uint64(_FIRST)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(_SECOND)
    mixed: NDArray[np.uint64] = z ^ (z >> np.uint64(31))
    return mixed
