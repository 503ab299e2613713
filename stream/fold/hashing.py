"""SipHash-1-3 over columns of UTF-8, compiled: with a key that nobody outside knows, nobody can send names that
collide.

Aumasson and Bernstein, "SipHash: a fast short-input PRF" (2012), with one round a word and three at the end, as Rust
and CPython have it for their dictionaries.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.compiled import kernel

# Compiled, a signed and an unsigned integer make a float: everything here is unsigned.
_0, _1, _2, _3, _4, _5, _6, _7, _8 = (np.uint64(number) for number in range(9))
_13, _16, _17, _21, _24, _32, _40, _43, _47, _48, _51, _56, _64 = (
    np.uint64(number) for number in (13, 16, 17, 21, 24, 32, 40, 43, 47, 48, 51, 56, 64)
)
_V0, _V1, _V2, _V3 = (
    np.uint64(number) for number in (0x736F6D6570736575, 0x646F72616E646F6D, 0x6C7967656E657261, 0x7465646279746573)
)
_END = np.uint64(0xFF)


@kernel
def load(data: NDArray[np.uint8], at: np.uint64) -> np.uint64:
    """Eight bytes as a number, the lowest first: one instruction, once compiled."""
    return (
        np.uint64(data[at])
        | np.uint64(data[at + _1]) << _8
        | np.uint64(data[at + _2]) << _16
        | np.uint64(data[at + _3]) << _24
        | np.uint64(data[at + _4]) << _32
        | np.uint64(data[at + _5]) << _40
        | np.uint64(data[at + _6]) << _48
        | np.uint64(data[at + _7]) << _56
    )


@kernel
def _round(
    v0: np.uint64, v1: np.uint64, v2: np.uint64, v3: np.uint64
) -> tuple[np.uint64, np.uint64, np.uint64, np.uint64]:
    v0 += v1
    v1 = (v1 << _13 | v1 >> _51) ^ v0
    v0 = v0 << _32 | v0 >> _32
    v2 += v3
    v3 = (v3 << _16 | v3 >> _48) ^ v2
    v0 += v3
    v3 = (v3 << _21 | v3 >> _43) ^ v0
    v2 += v1
    v1 = (v1 << _17 | v1 >> _47) ^ v2
    v2 = v2 << _32 | v2 >> _32
    return v0, v1, v2, v3


@kernel
def siphash(data: NDArray[np.uint8], start: int, end: int, key: NDArray[np.uint64]) -> np.uint64:
    """The hash of `data[start:end]` under a key of two numbers."""
    v0, v1, v2, v3 = key[0] ^ _V0, key[1] ^ _V1, key[0] ^ _V2, key[1] ^ _V3
    at, upto = np.uint64(start), np.uint64(end)
    word = (upto - at) << _56
    while at + _8 <= upto:
        eight = load(data, at)
        v3 ^= eight
        v0, v1, v2, v3 = _round(v0, v1, v2, v3)
        v0 ^= eight
        at += _8
    shift = _0
    while at < upto:
        word |= np.uint64(data[at]) << shift
        shift += _8
        at += _1
    v3 ^= word
    v0, v1, v2, v3 = _round(v0, v1, v2, v3)
    v0 ^= word
    v2 ^= _END
    v0, v1, v2, v3 = _round(v0, v1, v2, v3)
    v0, v1, v2, v3 = _round(v0, v1, v2, v3)
    v0, v1, v2, v3 = _round(v0, v1, v2, v3)
    return v0 ^ v1 ^ v2 ^ v3


@kernel
def same_bytes(one: NDArray[np.uint8], start: int, other: NDArray[np.uint8], other_start: int, size: int) -> bool:
    """Whether `size` bytes are the same."""
    at, place, left = np.uint64(start), np.uint64(other_start), np.uint64(size)
    while left >= _8:
        if load(one, at) != load(other, place):
            return False
        at += _8
        place += _8
        left -= _8
    while left > _0:
        if one[at] != other[place]:
            return False
        at += _1
        place += _1
        left -= _1
    return True
