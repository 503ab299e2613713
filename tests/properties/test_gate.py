"""Each reading gets the verdict it deserves, and only what is folded in order teaches a model."""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.contract.class_settings import ClassSettings, RuleSettings
from ingest.contract.classes import Kind
from ingest.contract.readings import Flag, Quality
from stream.fold.alerts import Phase
from stream.fold.gate import RING, Verdict, remember
from stream.fold.rows import SENSOR
from tests.unit.stream.logs import (
    FUTURE_US,
    HOUR_US,
    MINUTE_US,
    PLANT,
    S_US,
    START_US,
    Batch,
    Folded,
    ReferenceRing,
    Row,
    as_row,
    examples,
    fold_log,
    logs,
    plan_of,
    records_of,
)

ORDERS = {
    Verdict.FOLDED: "in order",
    Verdict.OUT_OF_ORDER: "out of order",
    Verdict.DUPLICATE: "duplicate",
    Verdict.LATE: "late",
}


@examples(200)
@given(stamps=st.lists(st.integers(1, 60), max_size=120))
def test_the_ring_of_timestamps_is_the_set_of_the_largest(stamps: list[int]) -> None:
    row, reference = as_row(SENSOR), ReferenceRing()

    assert [ORDERS[Verdict(remember(row, at))] for at in stamps] == [reference.see(at) for at in stamps]


@examples(40)
@given(lags=st.lists(st.integers(0, 3 * RING), min_size=1, max_size=100), times=st.integers(1, 5))
def test_what_is_sent_again_is_folded_once(lags: list[int], times: int) -> None:
    sent = [START_US + (at - lag) * S_US for at, lag in enumerate(lags)]
    rows = tuple(Row("a/t", at, 1.0) for at in sent for _ in range(times))

    found = fold_log(plan_of(*PLANT), [Batch(START_US + HOUR_US, rows), Batch(START_US + HOUR_US, rows)])

    folded = found.count(Verdict.FOLDED) + found.count(Verdict.OUT_OF_ORDER)
    assert folded <= len(set(sent))
    assert found.fold.state.panes[0]["samples"].sum() == folded


class Told(NamedTuple):
    """A reading and what becomes of it if nothing stands in its way."""

    row: Row
    verdict: Verdict = Verdict.FOLDED


AHEAD_US = 290_500_000
REFUSED = {
    Verdict.BAD_QUALITY: Row("a/t", START_US, 1.0, None, Quality.BAD),
    Verdict.NON_FINITE: Row("a/t", START_US, np.nan),
    Verdict.OUT_OF_RANGE: Row("a/t", START_US, 65_534.0),
    Verdict.NOT_NUMERIC: Row("a/t", START_US, text="n/a"),
    Verdict.SENTINEL: Row("a/t", START_US, 65_535.0),
}
GOOD = Told(Row("a/t", START_US, 1.0))


def verdicts_of(rows: list[Told]) -> list[Verdict]:
    """Said plainly: twice is twice; what is good is in order if it is newer than all that was folded."""
    ring, last_us, found = ReferenceRing(), 0, list[Verdict]()
    for row, verdict in rows:
        order = ring.see(row.ts_us)
        if order == "duplicate":
            verdict = Verdict.DUPLICATE
        elif order == "late" and row.ts_us <= last_us:
            verdict = Verdict.LATE
        elif verdict is Verdict.FOLDED and row.ts_us <= last_us:
            verdict = Verdict.OUT_OF_ORDER
        last_us = row.ts_us if verdict is Verdict.FOLDED else last_us
        found.append(verdict)
    return found


@examples(60)
@given(
    what=st.lists(
        st.tuples(
            st.sampled_from([GOOD, GOOD, *(Told(row, verdict) for verdict, row in REFUSED.items())]),
            st.sampled_from([0, 0, 0, 1, 5, -20, -200]),
        ),
        max_size=100,
    ),
    on_change=st.booleans(),
)
def test_order_is_that_of_the_folded_readings_whatever_else_came(what: list[tuple[Told, int]], on_change: bool) -> None:
    flags = int(Flag.ON_CHANGE) if on_change else 0
    rows = [
        Told(one.row._replace(ts_us=START_US + (at - lag) * S_US, flags=flags), one.verdict)
        for at, (one, lag) in enumerate(what)
    ]
    found, verdicts = fold_log(plan_of(*CLASSES), []), list[int]()
    for record in records_of([Batch(START_US + at * S_US, (one.row,)) for at, one in enumerate(rows)]):
        before = found.fold.state.counts.copy()
        found.fold.fold(record)
        verdicts += (found.fold.state.counts - before).nonzero()[0].tolist()

    assert verdicts == verdicts_of(rows)
    folded = [one.row.ts_us for one, verdict in zip(rows, verdicts, strict=True) if verdict == Verdict.FOLDED]
    assert folded == sorted(set(folded))


def test_redelivering_more_than_the_ring_holds_folds_nothing_twice() -> None:
    rows = tuple(Row("a/t", START_US + at * S_US, 1.0) for at in range(500))

    found = fold_log(plan_of(*PLANT), [Batch(START_US + HOUR_US, rows), Batch(START_US + HOUR_US, rows)])

    assert found.count(Verdict.FOLDED) == 500
    assert found.count(Verdict.DUPLICATE) == RING
    assert found.count(Verdict.LATE) == 500 - RING


# --- every verdict ------------------------------------------------------------------------------------------------

CLASSES = (
    ClassSettings(name="mode", match=["mode"], kind=Kind.ENUM),
    ClassSettings(name="order", match=["order"], kind=Kind.TEXT),
    ClassSettings(name="open", match=["open"]),
    ClassSettings(name="slow", match=["slow"], max_rate=2.0),
    ClassSettings(name="rest", match=["**"], range=(-10.0, 10.0)),
)
T = START_US


class Example(NamedTuple):
    """Readings of which the last one meets the verdict."""

    verdict: Verdict
    what: str
    rows: tuple[Row, ...]


RECENT = tuple(Row("t", T + (at + 1) * S_US, 1.0) for at in range(RING))
EXAMPLES = [
    Example(Verdict.FOLDED, "a number", (Row("t", T, 1.0),)),
    Example(Verdict.FOLDED, "of uncertain quality", (Row("t", T, 1.0, None, Quality.UNCERTAIN),)),
    Example(Verdict.FOLDED, "redelivered, but not seen", (Row("t", T, 1.0, flags=Flag.REDELIVERED),)),
    Example(Verdict.FOLDED, "at the edge of its range", (Row("t", T, 10.0),)),
    Example(Verdict.FOLDED, "just not the future", (Row("t", T + FUTURE_US, 1.0),)),
    Example(Verdict.OUT_OF_ORDER, "a second older", (Row("t", T, 1.0), Row("t", T - S_US, 1.0))),
    Example(Verdict.STATE, "a text", (Row("order", T, text="4711"),)),
    Example(Verdict.STATE, "an enum as a number", (Row("mode", T, 3.0),)),
    Example(Verdict.DUPLICATE, "again", (Row("t", T, 1.0), Row("t", T, 1.0))),
    Example(Verdict.DUPLICATE, "again with another value", (Row("t", T, 1.0), Row("t", T, 2.0))),
    Example(Verdict.DUPLICATE, "again, after a bad one", (Row("t", T, 1.0, None, Quality.BAD), Row("t", T, 1.0))),
    Example(Verdict.LATE, "older than the ring", (*RECENT, Row("t", T, 1.0))),
    Example(Verdict.LATE, "older than the panes", (Row("t", T, 1.0), Row("t", T - 60 * MINUTE_US, 1.0))),
    Example(Verdict.FUTURE, "a clock that is ahead", (Row("t", T + FUTURE_US + 1, 1.0),)),
    Example(Verdict.RETAINED, "the broker's stored message", (Row("t", T, 1.0, flags=Flag.RETAINED),)),
    Example(Verdict.BAD_QUALITY, "marked bad", (Row("t", T, 1.0, None, Quality.BAD),)),
    Example(Verdict.BAD_QUALITY, "marked bad, without a value", (Row("t", T, np.nan, None, Quality.BAD),)),
    Example(Verdict.BAD_QUALITY, "a state marked bad", (Row("mode", T, text="?", quality=Quality.BAD),)),
    Example(Verdict.NON_FINITE, "NaN", (Row("t", T, np.nan),)),
    Example(Verdict.NON_FINITE, "infinity", (Row("t", T, -np.inf),)),
    Example(Verdict.OUT_OF_RANGE, "nearly a sentinel", (Row("t", T, 65_534.0),)),
    Example(Verdict.OUT_OF_RANGE, "as its device said", (Row("open", T, 5.0, flags=Flag.BEYOND_RANGE),)),
    Example(Verdict.FOLDED, "the class says more than the device", (Row("t", T, 5.0, flags=Flag.BEYOND_RANGE),)),
    Example(Verdict.SENTINEL, "the end of 16 bits", (Row("t", T, 65_535.0),)),
    Example(Verdict.TOO_FAST, "up", (Row("slow", T, 1.0), Row("slow", T + S_US, 3.1))),
    Example(Verdict.TOO_FAST, "down", (Row("slow", T, 1.0), Row("slow", T + S_US, -1.1))),
    Example(Verdict.TOO_FAST, "out of order", (Row("slow", T, 1.0), Row("slow", T - S_US, 3.1))),
    Example(Verdict.FOLDED, "as fast as may be", (Row("slow", T, 1.0), Row("slow", T + S_US, 3.0))),
    Example(Verdict.NOT_NUMERIC, "a text from a number's sensor", (Row("t", T, text="n/a"),)),
    Example(Verdict.REPLAYED, "read anew, newest", (Row("t", T, 1.0), Row("t", T + 1, 9.0, flags=Flag.REPLAYED))),
    Example(Verdict.REPLAYED, "read anew, of a new sensor", (Row("t", T, 1.0, flags=Flag.REPLAYED),)),
    Example(Verdict.DUPLICATE, "read anew twice", (Row("t", T, 1.0), Row("t", T, 1.0, flags=Flag.REPLAYED))),
    Example(Verdict.OVER_BUDGET, "one sensor too many", tuple(Row(f"{at}", T, 1.0) for at in range(6))),
]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda one: f"{one.verdict.name.lower()}: {one.what}")
def test_verdicts(example: Example) -> None:
    plan = plan_of(*CLASSES, max_sensors=5)

    before = fold_log(plan, [Batch(T, example.rows[:-1])]).fold.state.counts
    after = fold_log(plan, [Batch(T, example.rows)]).fold.state.counts

    assert np.flatnonzero(after - before).tolist() == [example.verdict]


def test_every_verdict_has_an_example() -> None:
    # What is masked was good to the gate: tests/properties/test_maintenance.py.
    assert {example.verdict for example in EXAMPLES} == set(Verdict) - {Verdict.MASKED}


def test_a_sensor_with_a_wrong_clock_does_not_move_the_others() -> None:
    healthy = [Batch(T + at * S_US, (Row("a/t", T + at * S_US, float(at % 5)),)) for at in range(100)]
    wild = [T - 20 * 365 * 24 * HOUR_US, T + FUTURE_US, T + 24 * HOUR_US, 7_000_000_000_000_000]
    disturbed = [
        Batch(one.arrival_us, (*one.rows, Row("b/t", wild[at % len(wild)], 1.0))) for at, one in enumerate(healthy)
    ]
    plan = plan_of(*CLASSES)

    found, expected = fold_log(plan, disturbed), fold_log(plan, healthy)

    assert found.fold.state.sensors[0].tobytes() == expected.fold.state.sensors[0].tobytes()
    assert found.statistics("a/t", MINUTE_US) == expected.statistics("a/t", MINUTE_US)


def test_the_future_of_what_was_spooled_begins_at_its_arrival() -> None:
    early = T - HOUR_US
    rows = (Row("t", early + FUTURE_US + 1, 1.0), Row("t", early + FUTURE_US, 1.0))

    found = fold_log(plan_of(*CLASSES), [Batch(T), Batch(early, rows, sent_us=T)])

    assert (found.count(Verdict.FUTURE), found.count(Verdict.FOLDED)) == (1, 1)


def test_a_gateways_clock_that_is_an_hour_behind_does_not_make_the_present_the_future() -> None:
    log = [Batch(T + at * S_US - HOUR_US, (Row("t", T + at * S_US, 1.0),)) for at in range(1, 200)]

    found = fold_log(plan_of(*CLASSES), [Batch(T), *log])

    assert found.count(Verdict.FOLDED) == len(log)


def test_numbers_whose_squares_would_overflow_are_out_of_range_whatever_the_class_allows() -> None:
    for limits in ((None, None), (-np.inf, np.inf), (-1e308, 1e308)):
        plan = plan_of(ClassSettings(name="all", match=["**"], range=limits))

        found = fold_log(plan, [Batch(T, (Row("t", T, 1e200), Row("t", T + 1, -1e200), Row("t", T + 2, 1.0)))])

        assert found.count(Verdict.OUT_OF_RANGE) == 2, limits
        assert np.isfinite(found.statistics("t", MINUTE_US)["stddev"])


# --- what follows from a verdict ----------------------------------------------------------------------------------


def banks(found: Folded) -> list[bytes]:
    used = len(found.fold.state.names)
    return [bank[:used].tobytes() for bank in found.fold.state.banks]


@examples(60)
@given(log=logs())
def test_only_readings_folded_in_order_teach_a_model(log: list[Batch]) -> None:
    found = fold_log(plan_of(*PLANT), [])
    one_by_one = [Batch(batch.arrival_us, (row,)) for batch in log for row in batch.rows]
    for record in records_of(one_by_one):
        folded, sensors, known = found.count(Verdict.FOLDED), len(found.fold.state.names), banks(found)

        found.fold.fold(record)

        if found.count(Verdict.FOLDED) == folded:
            fresh = len(found.fold.state.names) - sensors
            rows = zip(known, found.fold.state.banks, strict=True)
            assert banks(found) == [old + bytes(fresh * bank.itemsize) for old, bank in rows]


EAGER = PLANT[-1].model_copy(
    update={"range": (-10.0, 100.0), "rules": [RuleSettings(name="hot", signal="value", above=10.0)]}
)


def undisturbed(flags: int) -> list[Batch]:
    return [
        Batch(T + at * S_US, (Row("a/t", T + at * S_US, (50.0 if at > 40 else 5.0) + at % 3, flags=flags),))
        for at in range(300)
    ]


@cache
def folded_undisturbed(flags: int) -> Folded:
    log = undisturbed(flags)
    return fold_log(plan_of(EAGER), [*log, *log])


@pytest.mark.parametrize("flags", [0, int(Flag.ON_CHANGE)], ids=["periodic", "on-change"])
@pytest.mark.parametrize("count", [1, 3 * RING])
@pytest.mark.parametrize("refused", REFUSED)
def test_refused_readings_ahead_of_the_others_blinded_models_and_alerts_for_five_minutes(
    refused: Verdict, count: int, flags: int
) -> None:
    log = undisturbed(flags)
    ahead = tuple(REFUSED[refused]._replace(ts_us=T + AHEAD_US + at, flags=flags) for at in range(count))
    disturbed = [*log[:20], Batch(T + 20 * S_US, (*ahead, *log[20].rows)), *log[21:]]

    found, expected = fold_log(plan_of(EAGER), [*disturbed, *disturbed]), folded_undisturbed(flags)

    assert found.count(Verdict.FOLDED) == expected.count(Verdict.FOLDED) == len(log)
    assert found.count(Verdict.OUT_OF_ORDER) == 0
    assert banks(found) == banks(expected)
    assert [(one.phase, one.at_us) for one in found.transitions] == [(Phase.FIRING, T + 41 * S_US)]
    assert found.statistics("a/t", MINUTE_US)["samples"] == expected.statistics("a/t", MINUTE_US)["samples"]


def test_a_flood_of_names_is_counted_and_harms_nobody() -> None:
    steady = [Batch(T + at * S_US, (Row("a/t", T + at * S_US, float(at % 5)),)) for at in range(100)]
    flooded = [
        Batch(one.arrival_us, (*one.rows, *(Row(f"flood/{at}/{k}", T, 1.0) for k in range(100))))
        for at, one in enumerate(steady)
    ]
    plan = plan_of(*CLASSES, max_sensors=50)

    found, expected = fold_log(plan, flooded), fold_log(plan, steady)

    assert len(found.fold.state.names) == 50
    assert found.count(Verdict.OVER_BUDGET) == 100 * 100 - 49
    assert found.fold.state.nbytes() == expected.fold.state.nbytes()
    assert found.fold.state.sensors[0].tobytes() == expected.fold.state.sensors[0].tobytes()
    assert found.fold.state.panes[0].tobytes() == expected.fold.state.panes[0].tobytes()
