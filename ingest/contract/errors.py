"""Errors, grouped by what the caller does next.

MillstreamError
├── StopError         stop and tell a person: nothing we do here makes it better (exit 2)
│   ├── SettingsError     every mistake in the settings, at once
│   └── IncompatibleError another version's or another layout's data
├── ReconnectError    the connection is gone: connect again, with back-off
└── QuarantineError   this piece of data is bad: set it aside with `reason`, go on with the next
"""

from __future__ import annotations

from enum import StrEnum


class MillstreamError(Exception):
    """Base of all errors that Millstream raises on purpose."""


class StopError(MillstreamError):
    """A person has to act; the message says how."""


class SettingsError(StopError):
    """The settings are wrong. `problems` holds one line for each mistake."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        super().__init__("\n".join(problems))


class IncompatibleError(StopError):
    """The log was written by a newer version or under another partition count."""


class ReconnectError(MillstreamError):
    """A connection was lost or refused."""


class Reason(StrEnum):
    """Why a message or record is in quarantine: a closed set, so that it can be a metric's label."""

    EMPTY = "empty"
    """The payload has no bytes."""
    TOO_LARGE = "too_large"
    """The payload is larger than `gateway.max_payload_bytes`."""
    ENCODING = "encoding"
    """Text that is not valid UTF-8."""
    SYNTAX = "syntax"
    """Not a document of the format at all."""
    TOO_DEEP = "too_deep"
    """Nested deeper than the decoder follows."""
    NO_VALUE = "no_value"
    """A document without the configured value field."""
    TYPE = "type"
    """A value of a type that cannot be a reading (an object, an array)."""
    NUMBER = "number"
    """A number that does not fit: 1e400, thousands of digits, NaN."""
    TIMESTAMP = "timestamp"
    """A time that cannot be read or is not between the years 1990 and 2200."""
    QUALITY = "quality"
    """A quality code that the route's mapping does not know."""
    NAME = "name"
    """A sensor path with forbidden characters, too long or too deep."""
    NO_ROUTE = "no_route"
    """A topic that matches no route."""
    OVER_BUDGET = "over_budget"
    """A new sensor, although `plant.max_sensors` are known already."""
    UNIT = "unit"
    """A unit that is unknown, or that cannot be converted into the sensor's."""
    CLOCK = "clock"
    """A time too far from its arrival, from a device whose clock is to be right."""
    NO_BIRTH = "no_birth"
    """Data of a device whose birth was never heard: its names and types are unknown."""
    RECORD = "record"
    """A Kafka record that is not what its headers say."""


class QuarantineError(MillstreamError):
    """A piece of data cannot be used; the stream goes on without it."""

    def __init__(self, reason: Reason, detail: str = "") -> None:
        self.reason = reason
        self.detail = detail
        super().__init__(f"{reason}: {detail}" if detail else str(reason))
