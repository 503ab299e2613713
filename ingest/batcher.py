"""Bursts of messages → columns per Kafka partition."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from ingest.array_features import ArrayFeatures
from ingest.batch import Batch, Block, RawWaveform, Refused
from ingest.contract.errors import QuarantineError, Reason
from ingest.contract.readings import Flag, Readings, Words
from ingest.decoders import Decoded, Messages, Rejected
from ingest.decoders.base import ByException, Drop
from ingest.packets import DUP_BIT, RETAIN_BIT, Burst
from ingest.profiles import Profiles
from ingest.rows import Rows, merge
from ingest.sensor_table import SensorTable
from ingest.sensor_values import SensorValues
from ingest.topic_table import Route, TopicTable

NO_ROUTE = "none"
_ON_CHANGE = int(Flag.ON_CHANGE)
_NO_ROUTE = QuarantineError(Reason.NO_ROUTE)
_WRONG_CLOCK = QuarantineError(Reason.CLOCK, "the device's clock is too far off")


@dataclass(slots=True)
class _Run:
    """One burst under way. topics, routes: numbers by message, shape (messages,)."""

    burst: Burst
    arrival_us: NDArray[np.int64]
    topics: NDArray[np.int32]
    routes: NDArray[np.int32]
    out: Batch
    rejected: list[Rejected] = field(default_factory=list)
    dropped: dict[int, Drop] = field(default_factory=dict)

    def reject(self, message: int, wrong: QuarantineError) -> None:
        self.rejected.append(Rejected(message, wrong.reason, wrong.detail))


class Batcher:
    """Decodes and sorts the messages of one connection. No I/O, no clock.

    sensors, values: what is known of sensors and their devices; the connections of a gateway share them, and with them
    the bound on their number: what is new beyond it is refused with OVER_BUDGET.
    max_payload_bytes, max_record_bytes: of a message, and of a waveform that is kept; what is larger is TOO_LARGE.
    """

    def __init__(
        self,
        routes: Sequence[Route],
        sensors: SensorTable,
        values: SensorValues,
        max_payload_bytes: int,
        max_record_bytes: int = 900_000,
    ) -> None:
        self.routes = list(routes)
        self._route_names = [*(route.name for route in routes), NO_ROUTE]  # so that route -1 has a name
        self._sensors = sensors
        self._values = values
        self._arrays = ArrayFeatures(sensors, values, max_record_bytes)
        self._max_payload_bytes = max_payload_bytes
        self._topics = TopicTable(routes, sensors.number_of, sensors.max_sensors)

    @classmethod
    def alone(
        cls,
        routes: Sequence[Route],
        partitions: int,
        max_sensors: int,
        max_payload_bytes: int,
        profiles: Profiles | None = None,
    ) -> Batcher:
        """A batcher with tables of its own. profiles: nothing special by default."""
        sensors = SensorTable(partitions, max_sensors)
        return cls(routes, sensors, SensorValues(sensors, profiles or Profiles.none()), max_payload_bytes)

    @property
    def sensors(self) -> int:
        """Sensors met so far, on all connections."""
        return len(self._sensors)

    def batch(self, burst: Burst, arrival_us: NDArray[np.int64]) -> Batch:
        """Turn messages into a batch. `arrival_us`: shape (messages,), ascending."""
        count = len(burst)
        topics = np.fromiter(map(self._topics.numbers.__getitem__, burst.topics), np.int32, count)
        routes = np.fromiter(map(self._topics.route_of.__getitem__, topics.tolist()), np.int32, count)
        run = _Run(burst, arrival_us, topics, routes, Batch(int(arrival_us[-1])))
        parts: list[Rows] = []
        first, last = int(routes.min()), int(routes.max())
        for route in (first,) if first == last else np.unique(routes).tolist():
            which = np.flatnonzero(routes == route)
            run.out.received[self._route_names[route]] += int(which.size)
            if route < 0:
                for at in which.tolist():
                    run.reject(at, self._topics.wrong_with[int(topics[at])] or _NO_ROUTE)
            else:
                parts += self._decode(run, self.routes[route], which)
        rows = self._flagged_and_timed(run, merge(parts)) if parts else None
        if run.out.waveforms:
            run.out.waveforms = _as_timed(run.out.waveforms, rows, arrival_us)
        counted = self._refuse(run)
        if rows is not None and len(rows):
            self._add_blocks(run, rows, counted)
        self._count_empty(run, counted)
        self._topics.forget_surplus()
        return run.out

    # --- messages → rows ------------------------------------------------------------------------------------

    def _decode(self, run: _Run, route: Route, which: NDArray[np.intp]) -> list[Rows]:
        """The rows of one route's messages, and those that their arrays become."""
        topics, payloads = run.burst.topics, run.burst.payloads
        which = self._within_size(run, which)
        if which.size < len(run.burst):
            topics, payloads = [topics[at] for at in which.tolist()], [payloads[at] for at in which.tolist()]
        decoded = route.decoder.decode(Messages(topics, payloads, run.arrival_us[which].tolist()))
        run.rejected += [Rejected(int(which[at]), reason, detail) for at, reason, detail in decoded.rejected]
        run.dropped.update((int(which[at]), reason) for at, reason in decoded.dropped)
        run.out.requests += decoded.requests
        message = which[np.array(decoded.message, np.intp)]
        if route.pattern.per_field:
            sensor = self._sensors_by_field(run, decoded, message)
        else:
            sensor = self._sensors_by_topic(run, message)
        if isinstance(route.decoder, ByException):
            decoded.flags = [flags | _ON_CHANGE for flags in decoded.flags or [0] * message.size]
        value, wrong = self._values.take(decoded, sensor)
        for row, error in wrong.items():
            run.reject(int(message[row]), error)
            sensor[row] = -1
        rows: list[Rows] = []
        if decoded.waveforms:
            arrays = self._arrays.take(decoded, message, sensor)
            for row, error in arrays.wrong.items():
                run.reject(int(message[row]), error)
            run.out.waveforms += arrays.raw
            sensor[list(decoded.waveforms)] = -1
            rows.append(arrays.rows)
        return [Rows.of(decoded, message, sensor, value), *rows]

    def _within_size(self, run: _Run, which: NDArray[np.intp]) -> NDArray[np.intp]:
        limit, payloads = self._max_payload_bytes, run.burst.payloads
        if max(map(len, payloads)) <= limit:
            return which
        too_large = [at for at in which.tolist() if len(payloads[at]) > limit]
        run.rejected += [Rejected(at, Reason.TOO_LARGE, f"over {limit} bytes") for at in too_large]
        return np.setdiff1d(which, too_large)

    def _sensors_by_topic(self, run: _Run, message: NDArray[np.intp]) -> NDArray[np.int32]:
        topics = run.topics[message]
        sensor = np.fromiter(map(self._topics.sensor_of.__getitem__, topics.tolist()), np.int32, message.size)
        for row in np.flatnonzero(sensor < 0).tolist():
            wrong = self._topics.wrong_with[int(topics[row])]
            assert wrong is not None
            run.reject(int(message[row]), wrong)
        return sensor

    def _sensors_by_field(self, run: _Run, decoded: Decoded, message: NDArray[np.intp]) -> NDArray[np.int32]:
        out = np.full(message.size, -1, np.int32)
        known = self._topics.by_field
        for row, key in enumerate(zip(run.topics[message].tolist(), decoded.field, strict=True)):
            number = known.get(key)
            if number is None:
                found = self._topics.resolve_field(*key)
                if isinstance(found, QuarantineError):
                    run.reject(int(message[row]), found)
                    continue
                number = found
            out[row] = number
        return out

    # --- rows → blocks ----------------------------------------------------------------------------------------

    def _flagged_and_timed(self, run: _Run, rows: Rows) -> Rows:
        rows.flags |= _flags_of(np.fromiter(run.burst.first, np.uint8, len(run.burst)))[rows.message]
        arrival_us = run.arrival_us[rows.message]
        if rows.ts_us.any():
            judged = self._values.judge_times(rows, arrival_us)
            rows.ts_us = judged.ts_us
            rows.flags |= judged.corrected * np.uint8(Flag.CLOCK_CORRECTED)
            if judged.rejected.any():
                for message in np.unique(rows.message[judged.rejected]).tolist():
                    run.reject(message, _WRONG_CLOCK)
                keep = np.flatnonzero(~judged.rejected)
                rows, arrival_us = rows.take(keep), arrival_us[keep]
        unstamped = rows.ts_us == 0
        if unstamped.any():
            rows.ts_us[unstamped] = self._sensors.stamp(rows.sensor[unstamped], arrival_us[unstamped])
            rows.flags[unstamped] |= np.uint8(Flag.ARRIVAL_STAMPED)
        return rows

    def _refuse(self, run: _Run) -> NDArray[np.bool_]:
        """Fill in what goes to quarantine; returns which messages are counted there, shape (messages,)."""
        counted = np.zeros(len(run.burst), np.bool_)
        for at, reason, detail in run.rejected:
            if counted[at]:
                continue  # one entry a message, however many of its parts are bad
            counted[at] = True
            name, burst = self._route_names[run.routes[at]], run.burst
            run.out.refused.append(
                Refused(
                    burst.topics[at],
                    burst.payloads[at],
                    name,
                    reason,
                    detail,
                    int(run.arrival_us[at]),
                    at,
                    int(_flags_of(np.uint8(burst.first[at]))),
                )
            )
            run.out.quarantined[name, reason] += 1
        return counted

    def _add_blocks(self, run: _Run, rows: Rows, counted: NDArray[np.bool_]) -> None:
        """The blocks, and in them the messages whose first row is there; `counted` grows by these."""
        readings = Readings(
            Words(rows.sensor, self._sensors.names),
            rows.ts_us,
            rows.value,
            rows.quality,
            rows.flags,
            rows.text,
            rows.code,
        )
        partition = self._sensors.partition_of[rows.sensor]
        begins = np.ones(len(rows), np.bool_)
        begins[1:] = rows.message[1:] != rows.message[:-1]
        begins &= ~counted[rows.message]
        counted[rows.message] = True
        for number in np.unique(partition).tolist():
            here = partition == number
            messages = Counter(run.routes[rows.message[here & begins]].tolist())
            by_route = {self._route_names[route]: count for route, count in messages.items()}
            run.out.blocks.append(Block(number, readings.take(np.flatnonzero(here)), by_route))

    def _count_empty(self, run: _Run, counted: NDArray[np.bool_]) -> None:
        for at in np.flatnonzero(~counted).tolist():
            run.out.dropped[self._route_names[run.routes[at]], run.dropped.get(at, Drop.NO_READINGS)] += 1


def _as_timed(waveforms: list[RawWaveform], rows: Rows | None, arrival_us: NDArray[np.int64]) -> list[RawWaveform]:
    """With the times that their features got in the end; without those that were refused for their device's clock."""
    timed: dict[tuple[int, int], int] = {}
    if rows is not None:
        timed = dict(
            zip(zip(rows.message.tolist(), rows.sensor.tolist(), strict=True), rows.ts_us.tolist(), strict=True)
        )
    kept = []
    for one in waveforms:
        # Without features there is only its own time, or its arrival.
        ts_us = timed.get((one.message, one.beside)) if one.beside >= 0 else one.ts_us or int(arrival_us[one.message])
        if ts_us is not None:
            kept.append(one._replace(ts_us=ts_us))
    return kept


@overload
def _flags_of(first: NDArray[np.uint8]) -> NDArray[np.uint8]: ...
@overload
def _flags_of(first: np.uint8) -> np.uint8: ...
def _flags_of(first: Any) -> Any:
    """What the first byte of a PUBLISH packet says, as bits of `Flag`."""
    retained = (first & RETAIN_BIT) * np.uint8(Flag.RETAINED)
    return retained | ((first & DUP_BIT) != 0) * np.uint8(Flag.REDELIVERED)
