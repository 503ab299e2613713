"""Decoded rows as arrays, on their way from payloads to records."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ingest.contract.readings import Words
from ingest.decoders import Decoded


@dataclass(slots=True)
class Rows:
    """All of shape (rows,); `message` is ascending within one route."""

    message: NDArray[np.intp]
    sensor: NDArray[np.int32]
    ts_us: NDArray[np.int64]
    value: NDArray[np.float64]
    quality: NDArray[np.uint8]
    flags: NDArray[np.uint8]
    text: Words | None
    code: Words | None

    def __len__(self) -> int:
        return self.message.size

    @classmethod
    def of(
        cls,
        decoded: Decoded,
        message: NDArray[np.intp],
        sensor: NDArray[np.int32],
        value: NDArray[np.float64],
    ) -> Rows:
        """A decoder's columns; rows without a sensor (-1) are left out."""
        rows = message.size
        # A burst of numbers has no text and no codes: count() in C tells without a loop.
        text = None if decoded.text.count(None) == rows else Words.encode(decoded.text)
        code = None if decoded.code.count(None) == rows else Words.encode(decoded.code)
        flags = np.zeros(rows, np.uint8) if decoded.flags is None else np.array(decoded.flags, np.uint8)
        out = cls(
            message,
            sensor,
            np.array(decoded.ts_us, np.int64),
            value,
            np.array(decoded.quality, np.uint8),
            flags,
            text,
            code,
        )
        keep = np.flatnonzero(sensor >= 0)
        return out if keep.size == rows else out.take(keep)

    def take(self, rows: NDArray[np.intp]) -> Rows:
        """Some rows, in the order given."""
        return Rows(
            self.message[rows],
            self.sensor[rows],
            self.ts_us[rows],
            self.value[rows],
            self.quality[rows],
            self.flags[rows],
            None if self.text is None else self.text.take(rows),
            None if self.code is None else self.code.take(rows),
        )


def merge(parts: list[Rows]) -> Rows:
    """The rows of several parts, in the order received again."""
    if len(parts) == 1:
        return parts[0]
    sizes = [len(part) for part in parts]
    joined = Rows(
        np.concatenate([part.message for part in parts]),
        np.concatenate([part.sensor for part in parts]),
        np.concatenate([part.ts_us for part in parts]),
        np.concatenate([part.value for part in parts]),
        np.concatenate([part.quality for part in parts]),
        np.concatenate([part.flags for part in parts]),
        Words.join([part.text for part in parts], sizes),
        Words.join([part.code for part in parts], sizes),
    )
    return joined.take(np.argsort(joined.message, kind="stable"))
