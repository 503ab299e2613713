"""Logs of records of other producers, among gateways' own, that hypothesis makes up."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st

from ingest.contract.partition import partition_of
from stream.fold.definitions import Definitions
from stream.fold.forgetting import HOUR_US
from stream.fold.partition import LogRecord
from stream.fold.plan import make_plan
from tests.unit.stream.logs import (
    FUTURE_US,
    MODELS,
    PARTITIONS,
    PLANT,
    SENSORS,
    START_US,
    Batch,
    Row,
    plan_of,
    record_of,
)

HEADERS = (("content-type", b"application/json"),)
OTHER_HEADERS = (("traceparent", b"00"), ("Content-Type", b"application/json; charset=utf-8"))
START_MS = START_US // 1_000
PARTITION = partition_of("a/1/current", PARTITIONS)
ELSEWHERE = next(f"b/{at}/x" for at in range(99) if partition_of(f"b/{at}/x", PARTITIONS) != PARTITION)
FORGET_US = 3 * HOUR_US
HERE = [one for one in SENSORS if partition_of(one, PARTITIONS) == PARTITION]
FEW = plan_of(*PLANT, max_sensors=3)
PLAN = make_plan(Definitions(PLANT, 1_000, FUTURE_US, forget_us=FORGET_US), MODELS)


def foreign(offset: int, data: bytes | None, ms: int = START_MS) -> LogRecord:
    return LogRecord(offset, HEADERS, data, ms)


def line(sensor: str, value: Any, ms: float | None = None) -> bytes:
    return json.dumps({"sensor": sensor, "value": value, **({} if ms is None else {"ts": ms})}).encode()


# --- logs that hypothesis makes up ------------------------------------------------------------------------------------

STEPS_MS = (0, 0, 0, 0, 1, 1, 7, 60, 100, 2_000, 90_000, 3_600_000, -30, -70_000)
LAGS_MS = (None, None, 0, 0, 1, 40, 900, 30_000, 7_200_000, -1, -40, -600, -300_000, -300_001, -310_000)
VALUES = (0, 1, 2.5, 11, 40, -3, 65_535, True, None, "run", "")
BAD_VALUES: tuple[Any, ...] = ([1], {}, "x" * 5_000)
BAD = (None, b"", b"?", b"{}", b"[", b"7", b'{"sensor": "a/1/current"}', b'{"sensor": "a/1/current", "value": 1e400}')
NAMES = st.sampled_from([*HERE * 3, ELSEWHERE, "a//x", ""])


@st.composite
def _readings(draw: st.DrawFn, ms: int) -> dict[str, Any]:
    lag_ms = draw(st.sampled_from(LAGS_MS))
    found: dict[str, Any] = {"sensor": draw(NAMES), "value": draw(st.sampled_from(VALUES * 3 + BAD_VALUES))}
    if lag_ms is not None:
        found["ts"] = draw(st.sampled_from([ms - lag_ms, (ms - lag_ms) / 1_000, "2023-11-14T22:13:20Z"]))
    if (quality := draw(st.sampled_from([None] * 6 + ["good", 64, "bad", "so-so"]))) is not None:
        found["quality"] = quality
    return found


def _columns(rows: list[dict[str, Any]]) -> dict[str, list[Any]]:
    names = {name for row in rows for name in row} | {"sensor"}
    return {name: [row.get(name) for row in rows] for name in names}


@st.composite
def _records(draw: st.DrawFn, offset: int, ms: int) -> LogRecord:
    match draw(st.sampled_from(["one"] * 12 + ["array", "columns", "bad", "arrow", "tick", "other headers"])):
        case "arrow":
            rows = (Row(draw(st.sampled_from([*HERE, ELSEWHERE])), ms * 1_000, draw(st.sampled_from([1.0, 40.0]))),)
            return record_of(offset, Batch(ms * 1_000, rows))
        case "tick":
            return record_of(offset, Batch(ms * 1_000), tick=True)
        case "bad":
            return foreign(offset, draw(st.sampled_from(BAD)), draw(st.sampled_from([ms, ms, -1, 2**62])))
        case "array":
            return foreign(offset, json.dumps(draw(st.lists(_readings(ms), max_size=3))).encode(), ms)
        case "columns":
            return foreign(offset, json.dumps(_columns(draw(st.lists(_readings(ms), max_size=3)))).encode(), ms)
        case form:
            one = foreign(offset, json.dumps(draw(_readings(ms))).encode(), ms)
            return one._replace(headers=OTHER_HEADERS) if form == "other headers" else one


@st.composite
def logs(draw: st.DrawFn) -> list[LogRecord]:
    """Mostly records of one reading, few at a time with the same arrival."""
    ms, records, offset = START_MS, list[LogRecord](), 0
    for step_ms in draw(st.lists(st.sampled_from(STEPS_MS), min_size=1, max_size=40)):
        ms += step_ms
        records.append(draw(_records(offset, ms)))
        offset += draw(st.sampled_from([1] * 12 + [3]))
    return records
