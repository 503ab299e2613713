"""What a decoder takes and gives: a burst of payloads in, columns out."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple, Protocol

from ingest.contract.errors import Reason


class Rejected(NamedTuple):
    """A message, or a part of it, that could not be read."""

    message: int
    reason: Reason
    detail: str


@dataclasses.dataclass(slots=True)
class Decoded:
    """Readings in columns (lists while they grow), each of the same length but `rejected`.

    message: index of the payload a row came from, ascending.
    field:   the payload's name or id for the value; None where the topic alone names the sensor.
    ts_us:   µs UTC; 0 where the payload has no time.
    value:   bool as 0.0 or 1.0; NaN where `text` has the value or there is none.
    text:    for strings, else None.
    quality: `Quality` as int. code: the original code, None for none.
    rejected: what could not be read; a message may have both rows and rejected parts.
    """

    message: list[int] = dataclasses.field(default_factory=list)
    field: list[str | None] = dataclasses.field(default_factory=list)
    ts_us: list[int] = dataclasses.field(default_factory=list)
    value: list[float] = dataclasses.field(default_factory=list)
    text: list[str | None] = dataclasses.field(default_factory=list)
    quality: list[int] = dataclasses.field(default_factory=list)
    code: list[str | None] = dataclasses.field(default_factory=list)
    rejected: list[Rejected] = dataclasses.field(default_factory=list)


class Decoder(Protocol):
    """A payload format. Instances hold their options and nothing else."""

    @property
    def names_fields(self) -> bool:
        """Whether rows carry a `field` (then the route's path needs `{field}` or `{id}`)."""
        ...

    def decode(self, payloads: Sequence[bytes]) -> Decoded:
        """Read a burst. Never raises for data: what cannot be read is in `rejected`."""
        ...
