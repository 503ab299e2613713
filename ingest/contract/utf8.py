"""Strings as Arrow has them: one buffer of UTF-8, and where each begins. A `str` is made only of what is asked for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from typing import overload

import numpy as np
from numpy.typing import NDArray


class Utf8(Sequence[str]):
    """A sequence of strings.

    data: uint8. offsets: int32, shape (strings + 1,), ascending: string i is `data[offsets[i]:offsets[i + 1]]`.
    Both become read-only: a compiled loop has one form for all columns, wherever they come from.
    """

    __slots__ = ("data", "offsets")

    def __init__(self, data: NDArray[np.uint8], offsets: NDArray[np.int32]) -> None:
        data.flags.writeable = offsets.flags.writeable = False
        self.data = data
        self.offsets = offsets

    @classmethod
    def of(cls, strings: Iterable[str]) -> Utf8:
        """Encode strings; a lone surrogate, which is no UTF-8, gets bytes that no UTF-8 has.

        >>> Utf8.of(["a", "", "ä"]).offsets.tolist()
        [0, 1, 1, 3]
        """
        encoded = [one.encode("utf-8", "surrogatepass") for one in strings]
        offsets = np.fromiter(accumulate(map(len, encoded), initial=0), np.int32, len(encoded) + 1)
        return cls(np.frombuffer(b"".join(encoded), np.uint8), offsets)

    def __len__(self) -> int:
        return self.offsets.size - 1

    @overload
    def __getitem__(self, at: int) -> str: ...
    @overload
    def __getitem__(self, at: slice) -> list[str]: ...
    def __getitem__(self, at: int | slice) -> str | list[str]:
        if isinstance(at, slice):
            return [self[one] for one in range(*at.indices(len(self)))]
        if not -len(self) <= at < len(self):
            raise IndexError("string index out of range")
        at %= len(self)
        return self.data[self.offsets[at] : self.offsets[at + 1]].tobytes().decode("utf-8", "surrogatepass")

    def __iter__(self) -> Iterator[str]:
        start, *ends = self.offsets.tolist()
        data = self.data.tobytes()
        for end in ends:
            yield data[start:end].decode("utf-8", "surrogatepass")
            start = end
