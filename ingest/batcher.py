"""Bursts of messages → columns per Kafka partition."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ingest.contract.errors import QuarantineError, Reason
from ingest.contract.partition import partition_of
from ingest.contract.readings import Flag, Readings, Words
from ingest.contract.sensors import MAX_PATH_BYTES, TopicPattern, check_path, fill_field
from ingest.decoders import Decoded, Decoder, Messages, Rejected
from ingest.packets import DUP_BIT, RETAIN_BIT, Burst

_MAX_TOPICS_PER_SENSOR = 2  # routes may overlap; beyond this a topic is looked up anew each time


@dataclass(frozen=True, slots=True)
class Route:
    """A topic pattern and the decoder of its payloads. `name` labels its metrics."""

    name: str
    pattern: TopicPattern
    decoder: Decoder


@dataclass(frozen=True, slots=True)
class Refused:
    """A message, or a part of it, for quarantine."""

    topic: bytes
    payload: bytes
    route: str
    reason: Reason
    detail: str


@dataclass(slots=True)
class Batch:
    """What became of a run of messages.

    blocks: (partition, readings), at most one a partition, rows in the order received.
    arrival_us: when the youngest message came. received, quarantined: messages per route; a message is counted as
    quarantined when a part of it is, even if other parts became readings.
    """

    arrival_us: int
    blocks: list[tuple[int, Readings]]
    refused: list[Refused]
    received: dict[str, int]
    quarantined: dict[tuple[str, Reason], int]


NO_ROUTE = "none"


class _Topics(dict[bytes, int]):
    """topic → its number; a new topic is resolved on first sight (dict calls `__missing__`)."""

    def __init__(self, batcher: Batcher) -> None:
        self._batcher = batcher

    def __missing__(self, topic: bytes) -> int:
        return self._batcher.resolve_topic(topic)


class Batcher:
    """Decodes and sorts. Knows the routes and every sensor met; no I/O, no clock.

    max_sensors bounds all tables: what is new beyond it is refused with OVER_BUDGET.
    """

    def __init__(self, routes: Sequence[Route], partitions: int, max_sensors: int, max_payload_bytes: int) -> None:
        self._routes = list(routes)
        self._partitions = partitions
        self._max_sensors = max_sensors
        self._max_payload_bytes = max_payload_bytes
        self._topics = _Topics(self)
        # Per topic number: route (-1: none), sensor (-1: depends on the field), path template, what is wrong.
        self._route_of: list[int] = []
        self._sensor_of: list[int] = []
        self._template_of: list[str] = []
        self._wrong_with: list[QuarantineError | None] = []
        self._by_field: dict[tuple[int, str], int] = {}
        self._remembered_bytes = 0
        # Per sensor number.
        self._numbers: dict[str, int] = {}
        self._names: list[str] = []
        self._partition_of = np.zeros(64, np.int32)
        self._last_stamp_us = np.zeros(64, np.int64)

    @property
    def sensors(self) -> int:
        """Sensors met so far."""
        return len(self._names)

    def batch(self, burst: Burst, arrival_us: NDArray[np.int64]) -> Batch:
        """Turn messages into a batch. `arrival_us`: shape (messages,), ascending."""
        count = len(burst)
        topics = np.fromiter(map(self._topics.__getitem__, burst.topics), np.int32, count)
        routes = np.fromiter(map(self._route_of.__getitem__, topics.tolist()), np.int32, count)
        out = Batch(int(arrival_us[-1]), [], [], {}, {})
        rejected: list[Rejected] = []
        parts: list[_Rows] = []
        for route in np.unique(routes).tolist():
            which = np.flatnonzero(routes == route)
            name = NO_ROUTE if route < 0 else self._routes[route].name
            out.received[name] = out.received.get(name, 0) + int(which.size)
            if route < 0:
                rejected += [Rejected(at, Reason.NO_ROUTE, "") for at in which.tolist()]
                continue
            parts.append(self._decode(self._routes[route], which, burst, topics, arrival_us, rejected))
        if parts:
            out.blocks = self._blocks(_merge(parts), burst, arrival_us)
        self._refuse(out, rejected, burst, routes)
        self._forget_surplus_topics()
        return out

    # --- messages → rows ------------------------------------------------------------------------------------

    def _decode(
        self,
        route: Route,
        which: NDArray[np.intp],
        burst: Burst,
        topics: NDArray[np.int32],
        arrival_us: NDArray[np.int64],
        rejected: list[Rejected],
    ) -> _Rows:
        every = which.size == len(burst)
        payloads = burst.payloads if every else [burst.payloads[at] for at in which.tolist()]
        which, payloads = self._within_size(which, payloads, rejected)
        names = burst.topics if which.size == len(burst) else [burst.topics[at] for at in which.tolist()]
        decoded = route.decoder.decode(Messages(names, payloads, arrival_us[which].tolist()))
        rejected += [Rejected(int(which[at]), reason, detail) for at, reason, detail in decoded.rejected]
        message = which[np.array(decoded.message, np.intp)]
        if route.pattern.per_field:
            sensor = self._sensors_by_field(decoded, message, topics, rejected)
        else:
            sensor = np.fromiter(map(self._sensor_of.__getitem__, topics[message].tolist()), np.int32, message.size)
            for at in np.flatnonzero(sensor < 0).tolist():
                wrong = self._wrong_with[int(topics[message[at]])]
                assert wrong is not None
                rejected.append(Rejected(int(message[at]), wrong.reason, wrong.detail))
        return _Rows.of(decoded, message, sensor)

    def _within_size(
        self, which: NDArray[np.intp], payloads: list[bytes], rejected: list[Rejected]
    ) -> tuple[NDArray[np.intp], list[bytes]]:
        limit = self._max_payload_bytes
        if max(map(len, payloads)) <= limit:
            return which, payloads
        fits = np.fromiter((len(payload) <= limit for payload in payloads), np.bool_, len(payloads))
        rejected += [Rejected(int(at), Reason.TOO_LARGE, f"over {limit} bytes") for at in which[~fits].tolist()]
        return which[fits], [payload for payload in payloads if len(payload) <= limit]

    def _sensors_by_field(
        self, decoded: Decoded, message: NDArray[np.intp], topics: NDArray[np.int32], rejected: list[Rejected]
    ) -> NDArray[np.int32]:
        out = np.full(message.size, -1, np.int32)
        known = self._by_field
        for at, key in enumerate(zip(topics[message].tolist(), decoded.field, strict=True)):
            topic, name = key
            number = known.get((topic, name or ""))
            if number is None:
                # Not raised: a stored error that is raised again keeps every frame it came through.
                if wrong := self._wrong_with[topic]:
                    rejected.append(Rejected(int(message[at]), wrong.reason, wrong.detail))
                    continue
                try:
                    number = self._sensor(fill_field(self._template_of[topic], name or ""))
                except QuarantineError as error:
                    rejected.append(Rejected(int(message[at]), error.reason, error.detail))
                    continue
                known[topic, name or ""] = number
            out[at] = number
        return out

    # --- names → numbers --------------------------------------------------------------------------------------

    def resolve_topic(self, topic: bytes) -> int:
        """Number a topic that was not met before."""
        number = len(self._route_of)
        self._topics[topic] = number
        route, sensor, template, wrong = -1, -1, "", None
        try:
            text = topic.decode()
            for at, one in enumerate(self._routes):
                path = one.pattern.match(text)
                if path is None:
                    continue
                route, template = at, path
                if not one.pattern.per_field:
                    sensor = self._sensor(path)
                break
        except UnicodeDecodeError:
            wrong = QuarantineError(Reason.NAME, "a topic that is not UTF-8")
        except QuarantineError as error:
            wrong = error.with_traceback(None)
        self._remembered_bytes += len(topic) + len(template)
        if wrong is not None and route < 0:
            # The match itself failed: any route can carry the message to quarantine.
            route = 0
        self._route_of.append(route)
        self._sensor_of.append(sensor)
        self._template_of.append(template)
        self._wrong_with.append(wrong)
        return number

    def _sensor(self, path: str) -> int:
        number = self._numbers.get(path)
        if number is not None:
            return number
        check_path(path)
        number = len(self._names)
        if number >= self._max_sensors:
            raise QuarantineError(Reason.OVER_BUDGET, f"plant.max_sensors = {self._max_sensors}")
        if number >= self._partition_of.size:
            self._partition_of = np.resize(self._partition_of, 2 * number)
            self._last_stamp_us = np.concatenate([self._last_stamp_us, np.zeros(number, np.int64)])
        self._numbers[path] = number
        self._names.append(path)
        self._partition_of[number] = partition_of(path, self._partitions)
        return number

    def _forget_surplus_topics(self) -> None:
        # Topics that name no sensor (no route, bad names, over budget) must not fill memory either, nor long ones, nor
        # the many spellings of one sensor (`a.b` and `a/b` are the same id).
        most = _MAX_TOPICS_PER_SENSOR * self._max_sensors
        if max(len(self._route_of), len(self._by_field), self._remembered_bytes // MAX_PATH_BYTES) > most:
            self._remembered_bytes = 0
            self._topics.clear()
            self._by_field.clear()
            for column in (self._route_of, self._sensor_of, self._template_of, self._wrong_with):
                column.clear()

    # --- rows → blocks ----------------------------------------------------------------------------------------

    def _blocks(self, rows: _Rows, burst: Burst, arrival_us: NDArray[np.int64]) -> list[tuple[int, Readings]]:
        first = np.fromiter(burst.first, np.uint8, len(burst))[rows.message]
        flags = ((first & RETAIN_BIT) * np.uint8(Flag.RETAINED)) | (
            ((first & DUP_BIT) != 0) * np.uint8(Flag.REDELIVERED)
        )
        ts_us = rows.ts_us
        unstamped = np.flatnonzero(ts_us == 0)
        if unstamped.size:
            self._stamp(rows, unstamped, arrival_us)
            flags[unstamped] |= np.uint8(Flag.ARRIVAL_STAMPED)
        readings = Readings(
            Words(rows.sensor, self._names),
            ts_us,
            rows.value,
            rows.quality,
            flags.astype(np.uint8),
            rows.text,
            rows.code,
        )
        partition = self._partition_of[rows.sensor]
        return [
            (number, readings.take(np.flatnonzero(partition == number))) for number in np.unique(partition).tolist()
        ]

    def _stamp(self, rows: _Rows, which: NDArray[np.intp], arrival_us: NDArray[np.int64]) -> None:
        """The arrival time, strictly increasing per sensor, so that no two readings of one fall together."""
        last = self._last_stamp_us
        arrivals = arrival_us[rows.message[which]].tolist()
        for row, sensor, stamp in zip(which.tolist(), rows.sensor[which].tolist(), arrivals, strict=True):
            stamp_us = max(stamp, int(last[sensor]) + 1)
            last[sensor] = stamp_us
            rows.ts_us[row] = stamp_us

    def _refuse(self, out: Batch, rejected: list[Rejected], burst: Burst, routes: NDArray[np.int32]) -> None:
        counted: set[int] = set()
        for at, reason, detail in rejected:
            route = int(routes[at])
            name = NO_ROUTE if route < 0 else self._routes[route].name
            if at in counted:
                continue  # one entry a message, however many of its parts are bad
            counted.add(at)
            out.refused.append(Refused(burst.topics[at], burst.payloads[at], name, reason, detail))
            out.quarantined[name, reason] = out.quarantined.get((name, reason), 0) + 1


@dataclass(slots=True)
class _Rows:
    """Decoded rows as arrays, those without a sensor left out."""

    message: NDArray[np.intp]
    sensor: NDArray[np.int32]
    ts_us: NDArray[np.int64]
    value: NDArray[np.float64]
    quality: NDArray[np.uint8]
    text: Words | None
    code: Words | None

    @classmethod
    def of(cls, decoded: Decoded, message: NDArray[np.intp], sensor: NDArray[np.int32]) -> _Rows:
        rows = message.size
        # A burst of numbers has no text and no codes: count() in C tells without a loop.
        text = None if decoded.text.count(None) == rows else Words.encode(decoded.text)
        code = None if decoded.code.count(None) == rows else Words.encode(decoded.code)
        out = cls(
            message,
            sensor,
            np.array(decoded.ts_us, np.int64),
            np.array(decoded.value, np.float64),
            np.array(decoded.quality, np.uint8),
            text,
            code,
        )
        keep = np.flatnonzero(sensor >= 0)
        return out if keep.size == rows else out.take(keep)

    def take(self, rows: NDArray[np.intp]) -> _Rows:
        return _Rows(
            self.message[rows],
            self.sensor[rows],
            self.ts_us[rows],
            self.value[rows],
            self.quality[rows],
            None if self.text is None else self.text.take(rows),
            None if self.code is None else self.code.take(rows),
        )


def _merge(parts: list[_Rows]) -> _Rows:
    """The rows of several routes, in the order received again."""
    if len(parts) == 1:
        return parts[0]
    joined = _Rows(
        np.concatenate([part.message for part in parts]),
        np.concatenate([part.sensor for part in parts]),
        np.concatenate([part.ts_us for part in parts]),
        np.concatenate([part.value for part in parts]),
        np.concatenate([part.quality for part in parts]),
        _merge_words([part.text for part in parts], [part.message.size for part in parts]),
        _merge_words([part.code for part in parts], [part.message.size for part in parts]),
    )
    return joined.take(np.argsort(joined.message, kind="stable"))


def _merge_words(columns: list[Words | None], sizes: list[int]) -> Words | None:
    if all(column is None for column in columns):
        return None
    texts: list[str | None] = []
    for column, size in zip(columns, sizes, strict=True):
        texts += [None] * size if column is None else column.decode()
    return Words.encode(texts)
