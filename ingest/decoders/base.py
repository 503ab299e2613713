"""What a decoder takes and gives: a burst of messages in, columns out."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from enum import StrEnum
from typing import ClassVar, NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from ingest.contract.errors import Reason


class Messages(NamedTuple):
    """A burst of one route, in the order received; all of the same length.

    topics, payloads: as they came. arrival_us: µs UTC, ascending: the only clock a decoder has.
    """

    topics: Sequence[bytes]
    payloads: Sequence[bytes]
    arrival_us: Sequence[int]


class Rejected(NamedTuple):
    """A message, or a part of it, that could not be read."""

    message: int
    reason: Reason
    detail: str


class Drop(StrEnum):
    """Why a message that was understood gives no reading: a closed set, so that it can be a metric's label."""

    NO_READINGS = "no_readings"
    """The format's own empty message: nothing is lost with it."""
    CONTROL = "control"
    """It steers other parts of the plant: a command to a device, the state of a host."""
    OUTDATED = "outdated"
    """It says what newer messages have overtaken: the death of a session that was replaced."""


class Dropped(NamedTuple):
    """A message without readings."""

    message: int
    reason: Drop


class Request(NamedTuple):
    """What a decoder wants published on the broker that its messages came from."""

    topic: str
    payload: bytes


class Waveform(NamedTuple):
    """An array in one reading. rate_hz: samples a second; None where only the settings know it."""

    samples: NDArray[np.float64]
    rate_hz: float | None = None


class Description(NamedTuple):
    """What a payload says of a sensor, rather than of a reading. low, high: the physical range, in `unit`."""

    field: str
    unit: str = ""
    low: float | None = None
    high: float | None = None


@dataclasses.dataclass(slots=True)
class Decoded:
    """Readings in columns (lists while they grow), those from `message` to `code` of the same length.

    message: index of the message a row came from, ascending.
    field:   the payload's name or id for the value; None where the topic alone names the sensor.
    ts_us:   µs UTC; 0 where the payload has no time.
    value:   bool as 0.0 or 1.0; NaN where `text` or `waveforms` has the value or there is none.
    text:    for strings, else None.
    quality: `Quality` as int. code: the original code, None for none.

    unit:      None where no payload of the burst names any; else of the same length, None for rows without.
    flags:     None for none; else of the same length, bits of `Flag` that the payload itself shows.
    waveforms: arrays, by row.
    rejected:  what could not be read; a message may have both rows and rejected parts.
    dropped:   messages that were understood and have no readings. Every message has a row or is here or above.
    requests:  to be published. described: in the order said; the last word counts.
    """

    message: list[int] = dataclasses.field(default_factory=list)
    field: list[str | None] = dataclasses.field(default_factory=list)
    ts_us: list[int] = dataclasses.field(default_factory=list)
    value: list[float] = dataclasses.field(default_factory=list)
    text: list[str | None] = dataclasses.field(default_factory=list)
    quality: list[int] = dataclasses.field(default_factory=list)
    code: list[str | None] = dataclasses.field(default_factory=list)
    unit: list[str | None] | None = None
    flags: list[int] | None = None
    waveforms: dict[int, Waveform] = dataclasses.field(default_factory=dict)
    rejected: list[Rejected] = dataclasses.field(default_factory=list)
    dropped: list[Dropped] = dataclasses.field(default_factory=list)
    requests: list[Request] = dataclasses.field(default_factory=list)
    described: list[Description] = dataclasses.field(default_factory=list)


class Decoder(Protocol):
    """A payload format. Instances hold their options; those that hold more are `Remembering`."""

    @property
    def names_fields(self) -> bool:
        """Whether rows carry a `field` (then the route's path needs `{field}` or `{id}`)."""
        ...

    def decode(self, messages: Messages) -> Decoded:
        """Read a burst. Never raises for data: what cannot be read is in `rejected`."""
        ...


@runtime_checkable
class Remembering(Protocol):
    """A decoder whose messages build on earlier ones. Its memory outlives the process, and is bounded by options."""

    @property
    def changes(self) -> int:
        """Grows whenever `snapshot` would say something new that is worth writing down."""
        ...

    def snapshot(self) -> bytes:
        """What it remembers."""
        ...

    def restore(self, snapshot: bytes) -> None:
        """Remember again, in place of what is remembered now. Raises ValueError for what it did not write."""
        ...


@runtime_checkable
class ByException(Protocol):
    """A decoder of a format that is sent when a value changes, not every so often: `reporting` says so."""

    reporting: ClassVar[str]
