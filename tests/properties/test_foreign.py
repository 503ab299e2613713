"""Plain JSON of other producers: whatever is written, and however, is read as it was meant or refused with a reason."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from numpy.typing import NDArray

from ingest.contract.class_settings import EVERYTHING_ELSE
from ingest.contract.errors import QuarantineError, Reason
from ingest.contract.foreign import MAX_ROWS, decode_foreign, decode_run, foreign_envelope, is_foreign
from ingest.contract.partition import partition_of
from ingest.contract.readings import MAX_TS_US, MIN_TS_US, Flag, Quality, Readings
from stream.fold.gate import Verdict
from stream.fold.partition import LogRecord, PartitionFold
from tests.unit.stream.logs import PARTITIONS, START_US, Batch, Row, examples, fold_records, plan_of, record_of

HEADERS = [("content-type", b"application/json")]
PLAN = plan_of(EVERYTHING_ELSE)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class One(NamedTuple):
    """A reading as it is written, and what it means; us None: it has no time."""

    sensor: str
    ts: Any
    us: int | None
    fields: dict[str, Any]
    number: float
    text: str | None
    quality: Quality
    code: str | None


@st.composite
def readings(draw: st.DrawFn) -> One:
    us = draw(st.none() | st.integers(START_US - 86_400_000_000, START_US))
    ts: Any = None
    if us is not None:
        unit = draw(st.sampled_from([1_000_000, 1_000, 1]))
        us -= us % unit
        iso = (EPOCH + timedelta(microseconds=us)).isoformat()
        ts = draw(st.sampled_from([us // unit, us * 1_000, iso, iso.replace("+00:00", "Z")]))
    number, text, implied = float("nan"), None, Quality.GOOD
    fields: dict[str, Any] = {}
    match draw(st.sampled_from(["number", "bool", "null", "value", "text"])):
        case "number":
            fields["value"] = draw(st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False))
            number = float(fields["value"])
        case "bool":
            fields["value"] = draw(st.booleans())
            number = float(fields["value"])
        case "null":
            fields["value"], implied = None, Quality.BAD
        case name:
            fields[name] = text = draw(st.sampled_from(["RUN", "12", "", "ä"]))
    said: list[tuple[Any, Quality, str | None]] = [
        (None, Quality.GOOD, None), ("good", Quality.GOOD, "good"), ("BAD", Quality.BAD, "BAD"),
        (192, Quality.GOOD, "192"), (64, Quality.UNCERTAIN, "64"), (False, Quality.BAD, "false"),
    ]  # fmt: skip
    quality, meant, code = draw(st.sampled_from(said))
    if quality is not None:
        fields["quality"] = quality
    sensor = draw(st.sampled_from(["a/1/temperature", "a/2/mode", "ä/温度/x"]))
    return One(sensor, ts, us, fields, number, text, max(meant, implied), code)


def as_array(rows: Sequence[One]) -> bytes:
    document = [{"sensor": one.sensor, **({"ts": one.ts} if one.us else {}), **one.fields} for one in rows]
    return json.dumps(document).encode()


def as_columns(rows: Sequence[One]) -> bytes:
    columns = {"sensor": [one.sensor for one in rows], "ts": [one.ts for one in rows]}
    for name in ("value", "quality", "text"):
        if any(name in one.fields for one in rows):
            columns[name] = [one.fields.get(name) for one in rows]
    return json.dumps(
        {name: found for name, found in columns.items() if name == "value" or set(found) != {None}}
    ).encode()


def plain(found: Readings) -> dict[str, Any]:
    rows = len(found)
    return {
        "sensor": found.sensor.decode(),
        "ts": found.ts_us.tolist(),
        "value": found.value.view(np.int64).tolist(),
        "quality": found.quality.tolist(),
        "flags": found.flags.tolist(),
        "text": [None] * rows if found.text is None else found.text.decode(),
        "code": [None] * rows if found.code is None else found.code.decode(),
    }


def assert_sound(found: Readings) -> None:
    """Like what Arrow reads: what is compiled for the one fits the other."""
    columns: list[NDArray[Any]] = [found.sensor.index, found.ts_us, found.value, found.quality, found.flags]
    assert [column.dtype.name for column in columns] == ["int32", "int64", "float64", "uint8", "uint8"]
    for column in columns:
        assert column.shape == (len(found),)
        assert column.flags.aligned
        assert column.flags.c_contiguous
        assert not column.flags.writeable
    for words, lowest in ((found.sensor, 0), (found.text, -1), (found.code, -1)):
        if words is not None:
            assert words.index.shape == (len(found),)
            assert not words.index.flags.writeable
            assert all(lowest <= one < len(words.words) for one in words.index.tolist())
            assert all(word.encode().decode() == word for word in words.words)
    assert all(MIN_TS_US <= one < MAX_TS_US for one in found.ts_us.tolist())
    assert all(one <= Quality.BAD for one in found.quality.tolist())


@examples(80)
@given(rows=st.lists(readings(), max_size=8))
def test_what_is_written_is_read_as_it_was_meant(rows: list[One]) -> None:
    nan = np.float64(np.nan)
    meant: dict[str, list[Any]] = {
        "sensor": [one.sensor for one in rows],
        "ts": [START_US if one.us is None else one.us for one in rows],
        "value": [int(np.float64(nan if one.number != one.number else one.number).view(np.int64)) for one in rows],
        "quality": [int(one.quality) for one in rows],
        "flags": [int(Flag.ARRIVAL_STAMPED) if one.us is None else 0 for one in rows],
        "text": [one.text for one in rows],
        "code": [one.code for one in rows],
    }
    array = decode_foreign(as_array(rows), START_US)
    assert_sound(array)
    assert plain(array) == meant
    for row, one in enumerate(rows):
        # An object alone is the array of it.
        single = decode_foreign(b" \n" + as_array([one])[1:-1], START_US)
        assert_sound(single)
        assert plain(single) == {name: [column[row]] for name, column in meant.items()}
    # In columns, null is all that can be said of a value that is not there.
    columns = decode_foreign(as_columns(rows) if rows else b'{"sensor": []}', START_US)
    assert_sound(columns)
    assert plain(columns) == meant


def record(data: bytes | None, offset: int = 0, timestamp_ms: int = START_US // 1_000) -> LogRecord:
    return LogRecord(offset, HEADERS, data, timestamp_ms)


@examples(40)
@given(rows=st.lists(readings().filter(lambda one: one.us is not None), min_size=1, max_size=8))
def test_the_fold_cannot_tell_it_from_what_a_gateway_writes(rows: list[One]) -> None:
    same = [Row(one.sensor, one.us or 0, one.number, one.text, one.quality) for one in rows]
    ours = fold_records(PLAN, [record_of(0, Batch(START_US, tuple(same)))])
    for data in (as_array(rows), as_columns(rows)):
        theirs = fold_records(PLAN, [record(data)])
        assert theirs.digest == ours.digest
        assert theirs.transitions == ours.transitions


# --- what is wrong ----------------------------------------------------------------------------------------------------

GOOD = b'{"sensor": "a/b", "ts": 1700000000, "value": 1.5}'
BAD = [
    (None, Reason.EMPTY),
    (b"", Reason.EMPTY),
    (b" \n", Reason.EMPTY),
    (b"{", Reason.SYNTAX),
    (b"21.5", Reason.TYPE),
    (b"null", Reason.TYPE),
    (GOOD + GOOD, Reason.SYNTAX),
    (b'{"sensor": "\xff", "value": 1}', Reason.ENCODING),
    (b"[" * 100_000, Reason.TYPE),
    (b'{"value": 1}', Reason.TYPE),
    (b'{"sensor": null, "value": 1}', Reason.TYPE),
    (b'{"sensor": 7, "value": 1}', Reason.TYPE),
    (b'{"sensor": "a/b", "value": 1, "unit": "Cel"}', Reason.TYPE),
    (b'{"sensor": "a/b", "value": {}}', Reason.TYPE),
    (b'{"sensor": "a/b", "value": [1]}', Reason.TYPE),
    (b'{"sensor": "a/b"}', Reason.NO_VALUE),
    (b'{"sensor": "a/b", "text": null}', Reason.NO_VALUE),
    (b'{"sensor": "a/b", "value": 1, "text": "RUN"}', Reason.TYPE),
    (b'{"sensor": "a/b", "value": 1e400}', Reason.NUMBER),
    (b'{"sensor": "a/b", "value": ' + b"9" * 5_000 + b"}", Reason.NUMBER),
    (b'{"sensor": "a/b", "value": NaN}', Reason.SYNTAX),
    (b'{"sensor": "a/b", "text": "' + b"x" * 5_000 + b'"}', Reason.TOO_LARGE),
    (b'{"sensor": "a/b", "value": 1, "ts": true}', Reason.TYPE),
    (b'{"sensor": "a/b", "value": 1, "ts": "yesterday"}', Reason.TIMESTAMP),
    (b'{"sensor": "a/b", "value": 1, "ts": 0}', Reason.TIMESTAMP),
    (b'{"sensor": "a/b", "value": 1, "ts": -1700000000}', Reason.TIMESTAMP),
    (b'{"sensor": "a/b", "value": 1, "ts": 1e300}', Reason.TIMESTAMP),
    (b'{"sensor": "a/b", "value": 1, "ts": "9999-12-31T23:59:59Z"}', Reason.TIMESTAMP),
    (b'{"sensor": "a/b", "value": 1, "quality": "so-so"}', Reason.QUALITY),
    (b'{"sensor": "a/b", "value": 1, "quality": -1}', Reason.QUALITY),
    (b'{"sensor": ["a/b", "a/c"], "value": [1]}', Reason.TYPE),
    (b'{"sensor": ["a/b"], "value": 1}', Reason.TYPE),
    (b'{"sensor": ["a/b"], "value": [1], "ts": 1700000000}', Reason.TYPE),
    (b'{"sensor": ["a/b"]}', Reason.NO_VALUE),
    (b'[{"sensor": "a/b", "value": 1}, {"sensor": "a/c"}]', Reason.NO_VALUE),
    (b"[" + b",".join([GOOD] * (MAX_ROWS + 1)) + b"]", Reason.TOO_LARGE),
    (b'{"sensor": "a//b", "value": 1}', Reason.NAME),
    (b'{"sensor": "", "value": 1}', Reason.NAME),
    (b'{"sensor": "' + b"x" * 65_536 + b'", "value": 1}', Reason.NAME),
]


@pytest.mark.parametrize(("data", "reason"), BAD, ids=[f"{reason}-{str(data)[:40]}" for data, reason in BAD])
def test_a_bad_record_changes_nothing_but_the_offset(data: bytes | None, reason: Reason) -> None:
    fold = PartitionFold(PLAN, PARTITIONS)
    fold.fold(record(GOOD, 0))
    before = fold.state.digest_parts()
    with pytest.raises(QuarantineError) as caught:
        fold.fold(record(data, 1))
    assert caught.value.reason is reason
    assert len(caught.value.detail) < 400
    assert fold.state.digest_parts() == before
    assert fold.state.next_offset == 2


def test_an_error_says_which_reading_is_meant() -> None:
    with pytest.raises(QuarantineError, match="reading 1: neither"):
        decode_foreign(b'[{"sensor": "a/b", "value": 1}, {"sensor": "a/c"}]', START_US)


VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.sampled_from(["a/b", "good"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["sensor", "ts", "value", "quality", "text", "x"]), inner)
    ),
    max_leaves=12,
)


def read_or_refuse(data: bytes) -> None:
    try:
        found = decode_foreign(data, START_US)
    except QuarantineError:
        return
    assert_sound(found)


@examples(120)
@given(document=VALUES)
@example({"sensor": "a/b", "text": "\ud800"})
@example({"sensor": "\ud800", "value": 1})
@example({"sensor": [], "value": []})
def test_any_json_is_read_or_refused(document: Any) -> None:
    read_or_refuse(json.dumps(document).encode())


@examples(120)
@given(st.sampled_from([GOOD, b"[" + GOOD + b"]", b'{"sensor":["a/b"],"ts":[1.7e9],"value":[1]}']), st.data())
def test_any_damage_is_refused_or_harmless(good: bytes, data: st.DataObject) -> None:
    damaged = bytearray(good)
    places = st.integers(0, len(good))
    for start, cut, insert in data.draw(st.lists(st.tuples(places, st.integers(0, 8), st.binary(max_size=8)))):
        damaged[start : start + cut] = insert
    read_or_refuse(bytes(damaged))


# --- many records at once ---------------------------------------------------------------------------------------------


def alone(value: bytes | None, us: int) -> Readings | QuarantineError:
    try:
        return decode_foreign(value, us)
    except QuarantineError as error:
        return error


ROWS = st.lists(readings(), max_size=10)
WRITTEN = ROWS.map(as_array) | ROWS.filter(bool).map(as_columns) | readings().map(lambda one: as_array([one])[1:-1])
TOGETHER = st.lists(WRITTEN | WRITTEN | st.sampled_from([data for data, _ in BAD]), max_size=10)


@examples(100)
@given(values=TOGETHER)
def test_records_are_read_together_as_each_is_read_alone(values: list[bytes | None]) -> None:
    arrived_us = [START_US + at * 1_000 for at in range(len(values))]
    run, at = decode_run(values, arrived_us), 0
    assert_sound(run.readings)
    for number, (value, us) in enumerate(zip(values, arrived_us, strict=True)):
        one = alone(value, us)
        if isinstance(one, QuarantineError):
            assert (run.refused[number].reason, run.refused[number].detail) == (one.reason, one.detail)
            continue
        assert number not in run.refused
        rows = np.arange(at, at + len(one))
        assert (run.record[rows] == number).all()
        assert plain(run.readings.take(rows)) == plain(one)
        at += len(one)
    assert at == len(run.readings)


# --- headers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [b"application/json", b"Application/JSON", b"application/json; charset=utf-8"])
@pytest.mark.parametrize("name", ["content-type", "Content-Type"])
def test_the_content_type_says_that_it_is_json(name: str, content: bytes) -> None:
    assert is_foreign([("traceparent", b"00"), (name, content), ("nothing", None)])
    for ours in ("kind", "schema"):
        assert not is_foreign([(name, content), (ours, b"readings")])


@pytest.mark.parametrize("headers", [[], [("content-type", None)], [("content-type", b"text/plain")], [("x", b"y")]])
def test_without_it_nothing_is_guessed(headers: list[tuple[str, bytes | None]]) -> None:
    with pytest.raises(QuarantineError) as caught:
        PartitionFold(PLAN, PARTITIONS).fold(LogRecord(0, headers, GOOD, START_US // 1_000))
    assert caught.value.reason is Reason.RECORD


@pytest.mark.parametrize("timestamp_ms", [-1, 0, MIN_TS_US // 1_000 - 1, MAX_TS_US // 1_000, 2**63 - 1])
def test_kafkas_timestamp_must_be_one(timestamp_ms: int) -> None:
    with pytest.raises(QuarantineError) as caught:
        foreign_envelope(timestamp_ms, PARTITIONS)
    assert caught.value.reason is Reason.TIMESTAMP


# --- the right partition ----------------------------------------------------------------------------------------------


@examples(50)
@given(st.lists(st.sampled_from([f"a/{number}/x" for number in range(20)]), min_size=1, unique=True))
def test_a_sensor_in_the_wrong_partition_sets_the_whole_record_aside(sensors: list[str]) -> None:
    data = json.dumps({"sensor": sensors, "value": [1] * len(sensors)}).encode()
    for partition in range(PARTITIONS):
        fold = PartitionFold(PLAN, PARTITIONS, partition=partition)
        before = fold.state.digest_parts()
        wrong = [one for one in sensors if partition_of(one, PARTITIONS) != partition]
        if wrong:
            with pytest.raises(QuarantineError, match=r"murmur2_random") as caught:
                fold.fold(record(data))
            assert caught.value.reason is Reason.RECORD
            assert wrong[0].rpartition("/")[0] in caught.value.detail
            assert fold.state.digest_parts() == before
        else:
            fold.fold(record(data))
            assert fold.state.names == sensors


# --- readings without a time ------------------------------------------------------------------------------------------


@examples(40)
@given(
    batches=st.lists(
        st.tuples(st.integers(0, 3), st.lists(st.sampled_from(["a/1/x", "a/2/x"]), min_size=1, max_size=5)),
        min_size=1,
        max_size=6,
    )
)
def test_every_reading_without_a_time_counts_however_many_come_in_a_millisecond(
    batches: list[tuple[int, list[str]]],
) -> None:
    fold, apart = PartitionFold(PLAN, PARTITIONS), PartitionFold(PLAN, PARTITIONS)
    ms, sent = START_US // 1_000, 0
    for later_ms, sensors in batches:
        ms += later_ms
        fold.fold(record(as_array([untimed(one, at) for at, one in enumerate(sensors)]), fold.state.next_offset, ms))
        for at, one in enumerate(sensors):
            apart.fold(record(as_array([untimed(one, at)]), apart.state.next_offset, ms))
        sent += len(sensors)

    assert fold.state.counts[Verdict.FOLDED] == sent == fold.state.counts.sum()
    assert fold.state.digest_parts() == apart.state.digest_parts()
    newest = fold.state.sensors["shown_us"][: len(fold.state.names)]
    assert (newest < ms * 1_000 + 1_000 + sent).all()


def untimed(sensor: str, value: float) -> One:
    return One(sensor, None, None, {"value": value}, value, None, Quality.GOOD, None)


def test_a_stamp_does_not_follow_another_clock_that_is_ahead() -> None:
    fold = PartitionFold(PLAN, PARTITIONS)
    ahead_us = START_US + 60_000_000
    fold.fold(record(b'{"sensor": "a/b", "value": 1, "ts": %d}' % ahead_us, 0))
    fold.fold(record(b'{"sensor": "a/b", "value": 2}', 1))
    assert fold.state.sensors["shown_us"][0] == ahead_us
    assert fold.state.counts[Verdict.OUT_OF_ORDER] == 1


# --- the page about it ------------------------------------------------------------------------------------------------


def test_every_example_of_the_documentation_is_read() -> None:
    page = (Path(__file__).parents[2] / "docs" / "foreign.md").read_text()
    found = re.findall(r"```json\n(.*?)```", page, re.DOTALL) + re.findall(r"\|(\{.*\})'", page)
    assert [len(decode_foreign(one.encode(), START_US)) for one in found] == [1, 2, 2, 1]
    assert f"{MAX_ROWS:,} readings" in page
