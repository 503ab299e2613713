"""A snapshot whose checksum is right and whose contents lie: refused before a kernel reads past the end of a row."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.contract.class_settings import ClassSettings, RuleSettings
from stream.control import command_record
from stream.fold.backlog import KEPT, Episode
from stream.fold.commands import Command, Rename, Retire
from stream.fold.gate import FOLDED, RING, Verdict, remember
from stream.fold.migrate import migrate
from stream.fold.partition import LogRecord, PartitionFold
from stream.fold.rows import SENSOR
from stream.fold.state import Frozen, LayoutError, PartitionState
from stream.snapshot import Snapshot, decode_snapshot, encode_snapshot
from tests.unit.stream.logs import (
    MINUTE_US,
    PARTITIONS,
    PLANT,
    S_US,
    SENSORS,
    START_US,
    Batch,
    Row,
    examples,
    fold_log,
    logs,
    long_log,
    plan_of,
    records_of,
)

PLAN = plan_of(
    *(one.model_copy(update={"quantiles": [MINUTE_US], "windows": [MINUTE_US, 5 * MINUTE_US]}) for one in PLANT[:1]),
    *PLANT[1:-1],
    PLANT[-1].model_copy(update={"quantiles": [MINUTE_US, 5 * MINUTE_US]}),
)
OTHER = plan_of(PLANT[-1].model_copy(update={"quantiles": [5 * MINUTE_US], "models": [], "rules": []}))
ANY_LOG = st.one_of(logs(), st.integers(0, 2**32).map(long_log))
_NAMES = st.sampled_from([*SENSORS, "b/9/temperature", "b/9/current"])
COMMANDS = st.lists(st.one_of(st.builds(Rename, _NAMES, _NAMES), st.builds(Retire, _NAMES)), max_size=4)


def command(offset: int, what: Command, arrival_us: int) -> LogRecord:
    made = command_record(what, "test", offset, arrival_us, PARTITIONS)
    return LogRecord(offset, made.headers, made.value)


def stored(frozen: Frozen) -> Frozen:
    """Written and read again: its checksum is right."""
    made = Snapshot("g", "t", 0, PARTITIONS, 1, 1, PLAN.definitions.to_bytes(), frozen)
    return decode_snapshot(encode_snapshot(made)).frozen


def a_state() -> Frozen:
    """One with everything in it: a free slot, a text, open alerts, full rings, sketches with strays, an episode."""
    log = long_log(5, 200)
    fold = fold_log(PLAN, log).fold
    now_us, end = log[-1].arrival_us, fold.state.next_offset
    hot = tuple(Row("a/1/temperature", now_us + at * S_US, 50.0) for at in range(5))
    rows = (*hot, Row("b/1/mode", now_us, text="run"), Row("b/2/temperature", now_us, 1.0))
    many = tuple(Row("b/2/temperature", now_us + 5_000 * at, at * 7 % 101) for at in range(1, 1_500))
    # One that comes after its pane was over.
    late = (Row("b/2/temperature", now_us + 70 * S_US, 1.0), Row("b/2/temperature", now_us + 1, 1.0))
    batches = [Batch(now_us, rows), Batch(now_us + 8 * S_US, many), Batch(now_us + 70 * S_US, late)]
    for record in [*records_of(batches, end), command(end + 3, Retire("a/1/running"), now_us)]:
        fold.fold(record)
    fold.state.over.add(Episode(-3.0, now_us, now_us + 1, "id", "a/1/t", "hot", "critical"), now_us)
    return fold.state.freeze()


STATE = a_state()


def test_the_state_that_is_lied_about_is_true_and_has_everything_in_it() -> None:
    arrays, free = STATE.arrays, STATE.names.index("")

    assert PartitionState.thaw(PLAN, stored(STATE)).digest_parts()
    assert free >= 0
    assert STATE.texts
    assert arrays["episodes"]["phase"].any()
    assert (arrays["sensors"]["ring_used"] == RING).any()
    for field in ("total", "strays", "pane", "turns"):
        assert arrays["sketch.rows"][field].any(), field


def setting(array: str, field: str, value: Any) -> Callable[[Frozen], None]:
    """Every row says so."""

    def lie(frozen: Frozen) -> None:
        frozen.arrays[array][field] = value

    return lie


def changing(change: Callable[[dict[str, Any]], None]) -> Callable[[Frozen], None]:
    """The arrays, by a function."""
    return lambda frozen: change(frozen.arrays)


def saying(**scalars: Any) -> Callable[[Frozen], None]:
    """The scalars, or parts of them."""

    def lie(frozen: Frozen) -> None:
        for name, value in scalars.items():
            known = frozen.scalars.get(name)
            frozen.scalars[name] = {**known, **value} if isinstance(known, dict) and isinstance(value, dict) else value

    return lie


def without(*path: str) -> Callable[[Frozen], None]:
    def lie(frozen: Frozen) -> None:
        table: Any = frozen.scalars
        for name in path[:-1]:
            table = table[name]
        del table[path[-1]]

    return lie


def moved(array: str, field: str, by: int) -> Callable[[Frozen], None]:
    def lie(frozen: Frozen) -> None:
        frozen.arrays[array][field] = np.roll(frozen.arrays[array][field], by, axis=-1)

    return lie


def _rule_of_nobody(frozen: Frozen) -> None:
    frozen.arrays["episodes"]["phase"][frozen.names.index("a/1/mode")] = 1


def _free_slot(array: str, field: str, value: int) -> Callable[[Frozen], None]:
    def lie(frozen: Frozen) -> None:
        frozen.arrays[array][field][frozen.names.index("")] = value

    return lie


def _sketch_of(frozen: Frozen) -> None:
    of = frozen.arrays["sketch.of"]
    of[frozen.names.index("a/1/mode")] = of[frozen.names.index("b/2/temperature")]
    of[frozen.names.index("b/2/temperature")] = 0


def _nobodys_sketch(frozen: Frozen) -> None:
    frozen.arrays["sketch.of"][frozen.names.index("b/2/temperature")] = 0


def _text_of(slot: int) -> Callable[[Frozen], None]:
    def lie(frozen: Frozen) -> None:
        frozen.texts[slot] = "run"

    return lie


def _named(name: str) -> Callable[[Frozen], None]:
    def lie(frozen: Frozen) -> None:
        frozen.names[0] = name

    return lie


def _of_an_earlier_version(frozen: Frozen) -> None:
    sensors = frozen.arrays["sensors"]
    frozen.arrays["sensors"] = sensors[[name for name in sensors.dtype.names or () if name != "refused"]].copy()


EPISODE = [-1.0, 1, 2, "id", "a/t", "hot", "critical"]
LIES: dict[str, Callable[[Frozen], None]] = {
    # Of sensors.
    "a ring that begins far away": setting("sensors", "ring_at", 2**40),
    "a ring that begins before its row": setting("sensors", "ring_at", -1),
    "a ring that begins one too far": setting("sensors", "ring_at", RING),
    "a ring with more than it has": setting("sensors", "ring_used", RING + 1),
    "a ring with less than nothing": setting("sensors", "ring_used", -(2**40)),
    "a ring in disorder": moved("sensors", "ring", 1),
    "a ring of the end of time": setting("sensors", "ring", 2**63 - 1),
    "a score of no model": setting("sensors", "scored_by", len(PLAN.models)),
    "a score of less than none": setting("sensors", "scored_by", -2),
    "a value that holds more than it can": setting("sensors", "holds", 2**31),
    "a sensor that reports in a third way": setting("sensors", "on_change", 2),
    "a text that is half there": setting("sensors", "shown_text", -1),
    "refused for what is no reason": setting("sensors", "refused", 2),
    "refused for a reason to come": setting("sensors", "refused", len(Verdict)),
    "refused for less than nothing": setting("sensors", "refused", -1),
    "a counter that turned before all time": setting("sensors", "turned_us", -1),
    "a counter with an endless past": setting("sensors", "offset", np.inf),
    "a counter that begins nowhere": setting("sensors", "before", np.nan),
    "a counter that was reset less than never": setting("sensors", "resets", -1),
    "sensors of an earlier version": _of_an_earlier_version,
    "a last reading at the end of time": setting("sensors", "last_us", 2**63 - 1),
    "a last reading before all time": setting("sensors", "last_us", -(2**63)),
    "heard of in the future": changing(lambda arrays: arrays["heard_us"].fill(2**62)),
    "a class that there is not": changing(lambda arrays: arrays["class_of"].fill(len(PLAN.classes))),
    "a class before all classes": changing(lambda arrays: arrays["class_of"].fill(-1)),
    # Of panes and alerts.
    "panes of before all time": setting("panes", "id", -(2**63)),
    "panes of the end of time": setting("panes", "id", 2**63 - 1),
    "panes in each other's places": moved("panes", "id", 1),
    "an alert in a fourth phase": setting("episodes", "phase", 3),
    "an alert in no phase": setting("episodes", "phase", -7),
    "told of what cannot be told": setting("episodes", "told", 9),
    "half behind": setting("episodes", "behind", -1),
    "an alert since the end of time": setting("episodes", "since_us", 2**63 - 1),
    "an alert of a rule that its class has not": _rule_of_nobody,
    "an alert of nobody": _free_slot("episodes", "phase", 1),
    # Of sketches.
    "levels that begin far away": setting("sketch.rows", "begin", 2**40),
    "levels that begin before their row": setting("sketch.rows", "begin", -1),
    "levels in disorder": moved("sketch.rows", "begin", 1),
    "levels that are not there": setting("sketch.rows", "begin", 0),
    "levels heavier than they are": setting("sketch.rows", "total", 2**29 + 1),
    "levels heavier than they may be": setting("sketch.rows", "total", 2**31),
    "levels lighter than nothing": setting("sketch.rows", "total", -1),
    "more strays than there is room for": setting("sketch.rows", "strays", 2**40),
    "one stray too many": setting("sketch.rows", "strays", 16),
    "fewer strays than none": setting("sketch.rows", "strays", -1),
    "strays of no weight": setting("sketch.rows", "stray_weight", 0),
    "strays of no pane": setting("sketch.rows", "stray_pane", 0),
    "a newest pane at the end of time": setting("sketch.rows", "newest", 2**63 - 1),
    "a newest pane before all time": setting("sketch.rows", "newest", -1),
    "an open pane after the newest": setting("sketch.rows", "open", 2**56),
    "panes without weight": setting("sketch.rows", "pane_total", 0),
    "panes of less than nothing": setting("sketch.rows", "pane_total", -1),
    "weights without panes": setting("sketch.rows", "pane", 0),
    "pressed panes in each other's places": moved("sketch.rows", "pane", 1),
    "a seed that the generator never reaches": setting("sketch.rows", "seed", 2**31),
    "halves of levels that there are not": setting("sketch.rows", "halves", -1),
    "turns of levels that there are not": setting("sketch.rows", "turns", 2**40),
    "a sketch of a sensor whose class asks for none": _sketch_of,
    "a sketch with values that is nobody's": _nobodys_sketch,
    # Of names, texts and the rest.
    "a text of no slot": _text_of(10**9),
    "a text of a slot before all": _text_of(-1),
    "a text of a slot that nobody has": lambda frozen: _text_of(frozen.names.index(""))(frozen),
    "two slots of one name": _named(STATE.names[1]),
    "a name with half a character": _named("a/\ud800"),
    "an offset before all": lambda frozen: object.__setattr__(frozen, "next_offset", -1),
    "no counts": without("counts"),
    "counts of null": saying(counts=None),
    "counts of text": saying(counts=["many"]),
    "counts of fewer verdicts": saying(counts=[1, 2]),
    "a count below nothing": saying(counts=[-1] * len(STATE.scalars["counts"])),
    "a count beyond counting": saying(counts=[2**70] * len(STATE.scalars["counts"])),
    "no turns": without("turns"),
    "turns of a third kind": saying(turns=[0, 0, 0]),
    "a turn below nothing": saying(turns=[-1, 0]),
    "no clock": without("clock"),
    "a clock of null": saying(clock=None),
    "a clock without its time": without("clock", "now_us"),
    "a clock with one hand too many": saying(clock={"moon_us": 1}),
    "a clock beyond 64 bits": saying(clock={"now_us": 2**70}),
    "a clock at the end of time": saying(clock={"now_us": 2**63 - 1}),
    "a clock before all time": saying(clock={"now_us": -1}),
    "a clock of text": saying(clock={"now_us": "noon"}),
    "a clock of fractions": saying(clock={"now_us": 0.5}),
    "a clock that one speaks against": saying(clock={"against": [1]}),
    "a clock against nothing": saying(clock={"against": None}),
    "no age": without("alive_us"),
    "an age beyond 64 bits": saying(alive_us=2**70),
    "an age of text": saying(alive_us="old"),
    "nothing over": without("over"),
    "over and not begun": without("over", "first_us"),
    "over of null": saying(over=None),
    "episodes of one part": saying(over={"episodes": [[1]]}),
    "episodes of the wrong parts": saying(over={"episodes": [[*EPISODE[:6], 5]]}),
    "an episode as bad as nothing is": saying(over={"episodes": [[float("nan"), *EPISODE[1:]]]}),
    "an episode of a severity that there is not": saying(over={"episodes": [[*EPISODE[:6], "grave"]]}),
    "an episode that nobody can write": saying(over={"episodes": [[*EPISODE[:3], "\ud800", *EPISODE[4:]]]}),
    "an episode at the end of time": saying(over={"episodes": [[-1.0, 2**70, *EPISODE[2:]]]}),
    "more episodes than are kept": saying(over={"episodes": [EPISODE] * (KEPT + 1)}),
    "more of text": saying(over={"more": {"a": "many"}}),
    "more of a site that nobody can write": saying(over={"more": {"\ud800": 1}}),
    "something that is not known": saying(weather="fine"),
}


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES.keys())
def test_a_snapshot_whose_checksum_is_right_and_whose_contents_lie_is_refused(lie: Callable[[Frozen], None]) -> None:
    frozen = copy.deepcopy(STATE)
    lie(frozen)
    if frozen.next_offset >= 0:
        frozen = stored(frozen)

    with pytest.raises(LayoutError):
        PartitionState.thaw(PLAN, frozen)


@examples(25)
@given(log=ANY_LOG, commands=COMMANDS)
def test_what_a_fold_has_made_is_never_refused(log: list[Batch], commands: list[Command]) -> None:
    fold, records = PartitionFold(PLAN, PARTITIONS), records_of(log)
    for some in commands:
        records.append(command(len(records), some, log[-1].arrival_us))
    for record in [*records, *records_of(log, len(records))]:
        fold.fold(record)

    for plan, state in ((PLAN, fold.state), (OTHER, migrate(PLAN, fold.state, OTHER)[0])):
        assert PartitionState.thaw(plan, stored(state.freeze())).digest_parts() == state.digest_parts()
    back = migrate(OTHER, migrate(PLAN, fold.state, OTHER)[0], PLAN)[0]
    assert PartitionState.thaw(PLAN, stored(back.freeze())).digest_parts() == back.digest_parts()


def goes_on(state: PartitionState) -> None:
    """Whatever it says, what comes then is folded, and can be read."""
    fold = PartitionFold(PLAN, PARTITIONS, state)
    for record in records_of(long_log(9, 15)):
        fold.fold(record)
    for window_us in (MINUTE_US, 5 * MINUTE_US):
        fold.statistics(window_us)
        fold.quantiles(window_us)
    fold.unchanged_s()
    migrate(PLAN, fold.state, OTHER)


_ODD = st.sampled_from([b"\xff" * 8, b"\0" * 8, b"\xff" * 7 + b"\x7f", b"\0" * 7 + b"\x80", b"\x10" + b"\0" * 7])


@examples(80)
@given(
    name=st.sampled_from([one for one, rows in STATE.arrays.items() if rows.nbytes]),
    at=st.integers(0, 2**32),
    value=_ODD | st.binary(min_size=8, max_size=8),
)
def test_any_eight_bytes_of_a_snapshot_are_refused_or_harm_nothing(name: str, at: int, value: bytes) -> None:
    frozen = copy.deepcopy(STATE)
    flat = frozen.arrays[name].reshape(-1).view(np.uint8)
    place = at * 4 % flat.size
    flat[place : place + 8] = np.frombuffer(value, np.uint8)[: flat.size - place]
    try:
        state = PartitionState.thaw(PLAN, frozen)
    except LayoutError:
        return
    goes_on(state)


_JSON = st.one_of(st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(), st.text(max_size=3))
_ANY = st.recursive(_JSON, lambda some: st.lists(some, max_size=3) | st.dictionaries(st.text(max_size=3), some))


@examples(100)
@given(data=st.data(), value=_ANY)
def test_any_part_of_the_scalars_is_refused_or_harms_nothing(data: st.DataObject, value: Any) -> None:
    scalars = json.loads(json.dumps(STATE.scalars))
    table: Any = scalars
    while True:
        key = data.draw(st.sampled_from(sorted(table) if isinstance(table, dict) else range(len(table))))
        if not (isinstance(table[key], dict | list) and table[key] and data.draw(st.booleans())):
            break
        table = table[key]
    table[key] = value
    try:
        state = PartitionState.thaw(PLAN, replace(STATE, scalars=scalars))
    except LayoutError:
        return
    goes_on(state)


def test_a_plan_without_models_has_rows_that_nobody_has() -> None:
    plan = plan_of(ClassSettings(name="x", match=["**"], models=[], rules=[RuleSettings(name="r", above=1.0)]))
    fold = fold_log(plan, [Batch(START_US, (Row("a", START_US, 1.0), Row("b", START_US, 1.0)))]).fold
    fold.fold(command(1, Retire("a"), START_US))
    frozen = fold.state.freeze()

    assert PartitionState.thaw(plan, frozen).digest_parts() == fold.state.digest_parts()
    frozen.arrays["sensors"]["scored_by"][1] = 0
    with pytest.raises(LayoutError):
        PartitionState.thaw(plan, frozen)


@pytest.mark.parametrize("used", [3, RING])
def test_a_ring_that_begins_elsewhere_writes_into_no_other_row(used: int) -> None:
    rows = np.zeros(3, SENSOR)
    rows[1]["ring"] = np.arange(RING)
    rows[1]["ring_at"], rows[1]["ring_used"] = 2**40 * RING, used
    before = rows.copy()

    assert remember(rows[1], 1_000) == FOLDED
    assert rows[1]["ring"][used % RING] == 1_000
    assert rows[[0, 2]].tobytes() == before[[0, 2]].tobytes()
