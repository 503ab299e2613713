"""Logs for tests: readings as plain rows, records as the fold gets them, and logs that hypothesis makes up."""

from __future__ import annotations

import os
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

import models
from ingest.contract.class_settings import ClassSettings, ModelSettings, RuleSettings
from ingest.contract.classes import Kind as SensorKind
from ingest.contract.classes import Reporting
from ingest.contract.readings import Flag, Quality, Readings, Words
from ingest.contract.registry import Registry
from ingest.contract.wire import ARROW, Envelope, Kind, encode_readings, headers_of
from models.base import Model
from stream.fold.alerts import Transition
from stream.fold.backlog import Digest
from stream.fold.clock import AGREED_US, AWAY_US
from stream.fold.definitions import Definitions
from stream.fold.gate import RING
from stream.fold.partition import Effects, LogRecord, PartitionFold
from stream.fold.plan import Plan, make_plan

START_US = 1_700_000_000_000_000
S_US = 1_000_000
MINUTE_US = 60 * S_US
HOUR_US = 3_600 * S_US
PARTITIONS = 4
FUTURE_US = 300 * S_US

MODELS: Registry[Model] = Registry("model", models.TABLE)


_ANY_PACE = [HealthCheck.too_slow, HealthCheck.filter_too_much]


def examples(most: int) -> settings:
    """So many examples, however slow the machine; MILLSTREAM_EXAMPLES is a factor, 0.4 unless it is set."""
    share = float(os.environ.get("MILLSTREAM_EXAMPLES", "0.4"))
    return settings(max_examples=max(5, round(most * share)), deadline=None, suppress_health_check=_ANY_PACE)


class Row(NamedTuple):
    """A reading."""

    sensor: str
    ts_us: int
    value: float = float("nan")
    text: str | None = None
    quality: int = Quality.GOOD
    flags: int = 0


class Batch(NamedTuple):
    """Readings that arrived together; without any, time passed."""

    arrival_us: int
    rows: tuple[Row, ...] = ()
    sent_us: int | None = None
    """When it left a spool, if it was in one."""


class Encoding(NamedTuple):
    """One of the ways to write the same column of strings."""

    backwards: bool = False
    unused: bool = False
    doubled: bool = False
    """Every word is in the dictionary twice, as Arrow allows."""


PLAIN = Encoding()


def plan_of(*classes: ClassSettings, max_sensors: int = 1_000, future_us: int = FUTURE_US) -> Plan:
    """The plan of some classes, the last of which should match everything."""
    # Tests of other matters are to see every alert.
    return make_plan(Definitions(classes, max_sensors, future_us, alerts_per_day=1_000_000), MODELS)


def readings_of(rows: Sequence[Row], encoding: Encoding = PLAIN) -> Readings:
    """Rows in columns."""
    texts = [row.text for row in rows]
    return Readings(
        sensor=_words([row.sensor for row in rows], encoding),
        ts_us=np.array([row.ts_us for row in rows], np.int64),
        value=np.array([row.value for row in rows], np.float64),
        quality=np.array([row.quality for row in rows], np.uint8),
        flags=np.array([row.flags for row in rows], np.uint8),
        text=_words(texts, encoding) if any(text is not None for text in texts) else None,
    )


def _words(column: Sequence[str | None], encoding: Encoding) -> Words:
    words = list(dict.fromkeys(word for word in column if word is not None))
    if encoding.backwards:
        words.reverse()
    if encoding.unused:
        words = ["never/used", *words, "nor/this"]
    place = {word: at for at, word in enumerate(words)}
    single = len(words)
    if encoding.doubled:
        words = words + words
    index = [
        -1 if word is None else place[word] + (single if encoding.doubled and row % 2 else 0)
        for row, word in enumerate(column)
    ]
    return Words(np.array(index, np.int32), words)


def record_of(
    offset: int, batch: Batch, encoding: Encoding = PLAIN, *, tick: bool = False, partitions: int = PARTITIONS
) -> LogRecord:
    """A batch as a record of the log; tick: as a tick (it has no rows then)."""
    kind = Kind.TICK if tick else Kind.READINGS
    headers = headers_of(Envelope(kind, ARROW, "test", offset, batch.arrival_us, partitions, batch.sent_us))
    return LogRecord(offset, headers, b"" if tick else encode_readings(readings_of(batch.rows, encoding)))


def records_of(batches: Iterable[Batch], first_offset: int = 0) -> list[LogRecord]:
    """A log; batches without rows become ticks."""
    return [record_of(first_offset + at, batch, tick=not batch.rows) for at, batch in enumerate(batches)]


def with_ticks(batches: Iterable[Batch]) -> list[Batch]:
    """A log whose time leaps, and ticks as its owner writes them: the clock follows no leap that one record tells."""
    log: list[Batch] = []
    for batch in batches:
        if log and batch.arrival_us > log[-1].arrival_us + AWAY_US:
            log += [Batch(batch.arrival_us - AGREED_US), Batch(batch.arrival_us - AGREED_US // 2)]
        log.append(batch)
    return log


@dataclass(slots=True)
class Folded:
    """What folding a log came to."""

    fold: PartitionFold
    transitions: list[Transition]
    effects: list[Effects]

    @property
    def digests(self) -> list[Digest]:
        """Of what was over when it was learned of."""
        return [one for effects in self.effects for one in effects.digests]

    @property
    def late(self) -> list[tuple[str | None, int]]:
        """Sensor and time of what came too late."""
        late = [effects.late for effects in self.effects if effects.late is not None]
        return [row for one in late for row in zip(one.sensor.decode(), one.ts_us.tolist(), strict=True)]

    @property
    def digest(self) -> list[bytes]:
        """The state as bytes."""
        return self.fold.state.digest_parts()

    def count(self, verdict: int) -> int:
        """Readings with a verdict."""
        return int(self.fold.state.counts[verdict])

    def statistics(self, sensor: str, window_us: int) -> dict[str, float]:
        """One window of one sensor."""
        row = self.fold.statistics(window_us)[self.fold.state.names.index(sensor)]
        return {name: float(row[name]) for name in row.dtype.names}


def fold_records(plan: Plan, records: Iterable[LogRecord]) -> Folded:
    """Fold records in order."""
    fold = PartitionFold(plan, PARTITIONS)
    effects = [fold.fold(record) for record in records]
    return Folded(fold, [one for each in effects for one in each.transitions], effects)


def fold_log(plan: Plan, batches: Iterable[Batch]) -> Folded:
    """Fold a log."""
    return fold_records(plan, records_of(batches))


class ReferenceRing:
    """The gate's memory of timestamps, said plainly: the largest ones seen."""

    def __init__(self) -> None:
        self._largest: list[int] = []

    def see(self, ts_us: int) -> str:
        """Learn a timestamp; "in order", "out of order", "duplicate" or "late"."""
        kept = self._largest
        if ts_us in kept:
            return "duplicate"
        if len(kept) == RING and ts_us < min(kept):
            return "late"
        order = "in order" if not kept or ts_us > max(kept) else "out of order"
        self._largest = sorted([*kept, ts_us])[-RING:]
        return order


def eager(model: str) -> dict[str, Any]:
    """Options with which a model scores as soon as it may."""
    options = {"warm_up": 3}
    return {} if MODELS.problems(model, options) else options


def as_row(dtype: Any) -> Any:
    """A fresh row of state."""
    return np.zeros(1, dtype)[0]


# --- a plant with a bit of everything -----------------------------------------------------------------------------

_EAGER = [ModelSettings(name=name, options=eager(name)) for name in sorted(models.TABLE)]

PLANT = (
    ClassSettings(
        name="motor",
        match=["**/current"],
        reporting=Reporting.ON_CHANGE,
        staleness="90s",
        models=_EAGER,
        rules=[
            RuleSettings(name="high", signal="value", above=10.0, hold="5s", resolve_after="3s"),
            RuleSettings(name="odd", above=1.0, hysteresis=0.2, resolve_after="0s"),
        ],
    ),
    ClassSettings(
        name="switch",
        match=["**/running"],
        kind=SensorKind.BOOL,
        reporting=Reporting.ON_CHANGE,
        rules=[RuleSettings(name="stopped", signal="value", below=0.0, hold="2s")],
    ),
    ClassSettings(name="mode", match=["**/mode"], kind=SensorKind.ENUM, reporting=Reporting.ON_CHANGE),
    ClassSettings(name="order", match=["**/order"], kind=SensorKind.TEXT),
    ClassSettings(
        name="rest",
        match=["**"],
        range=(-1_000.0, 1_000.0),
        windows=["1m", "5m"],
        models=_EAGER,
        rules=[
            RuleSettings(name="odd", above=1.0, hysteresis=0.2, resolve_after="1s"),
            RuleSettings(name="hot", signal="value", above=10.0, hysteresis=1.0, hold="2s", resolve_after="1s"),
        ],
    ),
)
SENSORS = ("a/1/current", "a/1/running", "a/1/mode", "a/1/order", "a/1/temperature", "a/2/temperature", "a/2/Ölstand")
_NUMBERS = (0.0, 1.0, 2.0, 9.5, 10.0, 11.0, 40.0, -3.0, 65_535.0, 1e99, 1e-310, float("nan"), float("inf"))
_LAGS_US = (0, 1, 300_000, S_US, 3 * S_US, 30 * S_US, 100 * S_US, 2 * HOUR_US, -S_US, -FUTURE_US, -FUTURE_US - 1)
_STEPS_US = (0, 1, 200_000, S_US, 3 * S_US, 20 * S_US, 2 * MINUTE_US, 3 * HOUR_US, -2 * S_US, -HOUR_US)
_WAITED_US = (None, None, None, None, 30 * S_US, 2 * MINUTE_US, 3 * HOUR_US, -HOUR_US)


@st.composite
def _rows(draw: st.DrawFn, arrival_us: int) -> Row:
    sensor = draw(st.sampled_from(SENSORS))
    ts_us = arrival_us - draw(st.sampled_from(_LAGS_US))
    quality = draw(st.sampled_from((Quality.GOOD, Quality.GOOD, Quality.GOOD, Quality.UNCERTAIN, Quality.BAD)))
    flags = draw(st.sampled_from((0, 0, 0, 0, int(Flag.RETAINED), int(Flag.HISTORICAL | Flag.REDELIVERED))))
    text = draw(st.sampled_from((None, "run", "läuft", "")))
    if text is None or not sensor.endswith(("mode", "order", "Ölstand")):
        return Row(sensor, ts_us, draw(st.sampled_from(_NUMBERS)), None, quality, flags)
    return Row(sensor, ts_us, float("nan"), text, quality, flags)


@st.composite
def logs(draw: st.DrawFn, most_batches: int = 12, most_rows: int = 10) -> list[Batch]:
    """A log of PLANT: every fault that a reading can have, and time that stands, runs, jumps and goes back."""
    now_us, batches = START_US, []
    for _ in range(draw(st.integers(1, most_batches))):
        now_us += draw(st.sampled_from(_STEPS_US))
        rows = draw(st.lists(_rows(now_us), max_size=most_rows))
        waited_us = draw(st.sampled_from(_WAITED_US)) if rows else None
        batches.append(Batch(now_us, tuple(rows), None if waited_us is None else now_us + waited_us))
    return batches


class LongLog(list[Batch]):
    """A log that is too long to be printed."""

    def __init__(self, seed: int, batches: list[Batch]) -> None:
        super().__init__(batches)
        self._seed = seed

    def __repr__(self) -> str:
        return f"long_log({self._seed})"


def long_log(seed: int, batches: int = 60) -> LongLog:
    """A longer log of PLANT, mostly healthy: sensors at their own pace, some readings twice, some late."""
    chance = random.Random(seed)
    now_us, sent, log = START_US, [Row(SENSORS[0], START_US, 1.0)], list[Batch]()
    for _ in range(batches):
        now_us += chance.choice((200_000, S_US, S_US, 4 * S_US))
        rows = []
        for _ in range(chance.choice((0, 0, 5, 20))):
            sensor, ts_us = chance.choice(SENSORS), now_us - chance.choice((1, 1, 1, 60)) * chance.randrange(S_US)
            value = round(chance.gauss(5.0, 1.0) + (20.0 if chance.random() < 0.05 else 0.0), 1)
            text = chance.choice(("run", "stop")) if sensor.endswith(("mode", "order")) else None
            again = chance.choice(sent[-50:])
            rows.append(again if chance.random() < 0.1 else Row(sensor, ts_us, value, text))
        sent += rows
        log.append(Batch(now_us, tuple(rows)))
    return LongLog(seed, log)


def rows_in(batches: Iterable[Batch]) -> int:
    """How many readings a log has."""
    return sum(len(batch.rows) for batch in batches)
