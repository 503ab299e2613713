"""The plant's page: Prometheus reads it, nothing that a sensor calls itself can break it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from itertools import groupby

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from ingest.contract.class_settings import EVERYTHING_ELSE, ClassSettings
from ingest.contract.classes import Kind
from ingest.contract.errors import QuarantineError
from ingest.contract.readings import Quality
from ingest.contract.sensors import check_path
from ingest.contract.tags import Tag
from stream.exposition import SensorPage, escape
from stream.fold.definitions import Definitions
from stream.fold.partition import PartitionFold
from stream.fold.plan import make_plan
from tests.servers.prometheus import promtool_check_metrics
from tests.servers.require import require
from tests.unit.stream.logs import (
    FUTURE_US,
    MODELS,
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
    with_ticks,
)

LEVELS = ["site", "line", "machine", "quantity"]
EVERY_SERIES = [
    "value", "mean", "stddev", "min", "max", "score", "samples", "timestamp",
    "first", "last", "slope", "covered", "unchanged", "p50", "p90", "p99",
]  # fmt: skip
INJECTION = '"} 1\nx 1'


def page(*folds: PartitionFold, levels: list[str] = LEVELS) -> str:
    return SensorPage(levels).render(folds).decode()


def samples(text: str) -> list[Sample]:
    return [sample for family in text_string_to_metric_families(text) for sample in family.samples]


def values(text: str, series: str, **labels: str) -> dict[str, float]:
    """A series' values by sensor."""
    return {
        one.labels["sensor"]: one.value
        for one in samples(text)
        if one.name == f"millstream_sensor_{series}" and labels.items() <= one.labels.items()
    }


def fold_of(classes: list[ClassSettings], *rows: Row, now_us: int = START_US + 60 * S_US) -> PartitionFold:
    return fold_log(plan_of(*classes), [Batch(now_us, rows)]).fold


def usual(sensor: str, count: int = 150) -> list[Row]:
    return [Row(sensor, START_US + at * 400_000, 5.0 + at % 3) for at in range(count)]


# --- the format ---------------------------------------------------------------------------------------------------


@examples(25)
@given(log=st.one_of(logs(), st.integers(0, 99).map(long_log)))
def test_prometheus_own_parser_reads_every_page(log: list[Batch]) -> None:
    found = fold_log(plan_of(*PLANT), log).fold

    read = samples(page(found))

    assert {one.labels["sensor"] for one in read} <= set(SENSORS)
    assert all(math.isfinite(one.value) for one in read)
    assert len({(one.name, *sorted(one.labels.items())) for one in read}) == len(read)


@pytest.mark.real
def test_promtool_accepts_the_page() -> None:
    require("promtool")
    classes = [one.model_copy(update={"series": EVERY_SERIES}) for one in PLANT]
    odd = Row("Äther/x y/~!$%&'()*,;<>?[]^|/state \U0001f600/mode", START_US, text='a "quoted" \\ state\nof two lines')
    found = fold_log(plan_of(*classes), [*long_log(4), Batch(START_US, (odd,))]).fold

    promtool_check_metrics(page(found))


def test_each_family_comes_once_with_its_help_and_type_even_from_many_partitions() -> None:
    classes = [one.model_copy(update={"series": EVERY_SERIES}) for one in PLANT]
    folds = [fold_log(plan_of(*classes), long_log(seed)).fold for seed in (1, 2)]
    for slot, name in enumerate(folds[1].state.names):
        folds[1].state.slots.rename(slot, name.replace("a/", "b/"))

    lines = page(*folds).splitlines()

    heads = [line.split()[2] for line in lines if line.startswith("# HELP")]
    assert heads == [line.split()[2] for line in lines if line.startswith("# TYPE")]
    assert [name for name, count in Counter(heads).items() if count > 1] == []
    runs = [name for name, _ in groupby(line.partition("{")[0] for line in lines if not line.startswith("#"))]
    assert runs == [head for head in heads if head in runs]
    sites = {one.labels["site"] for one in samples(page(*folds)) if one.name.endswith("_mean")}
    assert sites == {"a", "b"}


def test_a_plant_without_readings_is_an_empty_page() -> None:
    assert samples(page()) == []
    assert samples(page(PartitionFold(plan_of(EVERYTHING_ELSE), 1))) == []


# --- labels -------------------------------------------------------------------------------------------------------

PATHS = st.lists(
    st.text(st.characters(codec="utf-8", exclude_characters="/"), min_size=1, max_size=8), min_size=1, max_size=5
).map("/".join)


def is_path(text: str) -> bool:
    try:
        check_path(text)
    except QuarantineError:
        return False
    return True


@examples(60)
@given(path=PATHS.filter(is_path))
def test_a_path_comes_back_from_the_page_as_it_was(path: str) -> None:
    (one,) = [
        one
        for one in samples(page(fold_of([EVERYTHING_ELSE], Row(path, START_US, 1.5))))
        if one.name == "millstream_sensor_value"
    ]

    assert one.labels["sensor"] == path
    assert one.labels["quantity"] == path.rpartition("/")[2]
    assert one.value == 1.5


@examples(60)
@given(text=st.text(st.characters(codec="utf-8"), max_size=40))
def test_any_state_comes_back_from_the_page_as_it_was(text: str) -> None:
    found = fold_of(list(PLANT), Row("a/1/mode", START_US, text=text))

    (one,) = [one for one in samples(page(found)) if one.name == "millstream_sensor_state"]

    assert one.labels["state"] == text
    assert one.value == 1.0


@pytest.mark.parametrize("path", [INJECTION, f"a/{INJECTION}/b", 'a"b', "a\\b", "a\nb", "a{b", "a\ud800b"])
def test_a_path_that_would_break_out_of_its_label_is_none(path: str) -> None:
    assert not is_path(path)


def test_a_state_that_tries_to_break_out_stays_inside() -> None:
    found = fold_of(list(PLANT), Row("a/1/mode", START_US, text=INJECTION))

    read = samples(page(found))

    assert {one.name for one in read} == {"millstream_sensor_state"}
    assert read[0].labels["state"] == INJECTION


@pytest.mark.parametrize("text", ["", "\\", '"', "\n", "\\n", '\\"', 'a\\\\"\n', INJECTION, "°C – µ"])
def test_escaping_is_undone_by_the_parser(text: str) -> None:
    (one,) = samples(f'x{{y="{escape(text)}"}} 1\n')

    assert one.labels["y"] == text


def test_an_endless_text_is_cut() -> None:
    found = fold_of(list(PLANT), Row("a/1/order", START_US, text='"' * 4_096))

    (state,) = [one.labels["state"] for one in samples(page(found)) if "state" in one.labels]

    assert 0 < len(state) <= 200


# --- what is shown ------------------------------------------------------------------------------------------------


def test_at_most_six_series_a_sensor_unless_asked_for() -> None:
    read = samples(page(fold_of([EVERYTHING_ELSE], *usual("a/1/t"))))

    assert len(read) == 6
    assert {one.name.removeprefix("millstream_sensor_") for one in read} == {
        "value", "mean", "stddev", "min", "max", "score"
    }  # fmt: skip


def test_series_and_windows_are_a_matter_of_the_class() -> None:
    classes = [
        ClassSettings(name="one", match=["one"], windows=["1m"], series=["value", "mean"]),
        ClassSettings(name="two", match=["two"], windows=["1m", "5m"], shown_windows=["1m", "5m"], series=EVERY_SERIES),
        ClassSettings(name="three", match=["three"], windows=["1m", "5m"], series=["value", "mean", "unchanged"]),
        ClassSettings(name="rest", match=["**"], windows=["5m"], quantiles=["5m"], series=["value", "mean", "p99"]),
    ]
    found = fold_of(classes, *usual("one"), *usual("two"), *usual("three"), *usual("four"))

    read = Counter(one.labels["sensor"] for one in samples(page(found)))

    assert read == {"one": 2, "two": 4 + 9 * 2, "three": 3, "four": 3}
    text = page(found)
    assert values(text, "samples", window="5m") == {"two": 150.0}
    assert values(text, "mean", window="5m").keys() == {"two", "four"}
    assert values(text, "mean", window="1m").keys() == {"one", "two", "three"}
    assert values(text, "p99", window="5m") == {"four": 7.0}
    assert values(text, "timestamp_seconds") == {"two": START_US / 1e6 + 149 * 0.4}


def test_values_are_those_of_the_fold() -> None:
    found = fold_of([EVERYTHING_ELSE], *usual("a/1/t"), Row("a/1/t", START_US + 60 * S_US, 900.0))
    statistics = found.statistics(60 * S_US)[0]

    text = page(found)

    assert values(text, "value") == {"a/1/t": 900.0}
    for series in ("mean", "stddev", "min", "max"):
        assert values(text, series, window="1m") == {"a/1/t": statistics[series]}
    assert values(text, "score")["a/1/t"] > 1.0


def test_more_series_can_be_asked_for() -> None:
    one = EVERYTHING_ELSE.model_copy(update={"series": EVERY_SERIES})
    rows = [Row("a/1/t", START_US + at * S_US, float(at)) for at in range(50)]

    text = page(fold_of([one], *rows, now_us=START_US + 50 * S_US))

    assert values(text, "first", window="1m") == {"a/1/t": 0.0}
    assert values(text, "last", window="1m") == {"a/1/t": 49.0}
    assert values(text, "slope_per_minute", window="1m") == {"a/1/t": pytest.approx(60.0)}
    assert values(text, "covered_seconds", window="1m") == {"a/1/t": 49.0}
    assert values(text, "unchanged_seconds") == {"a/1/t": 0.0}


def test_partitions_may_go_by_different_definitions_for_a_while() -> None:
    old = ClassSettings(name="old", match=["**"], series=["value"])
    new = [ClassSettings(name="text", match=["**/mode"], kind=Kind.TEXT), old.model_copy(update={"series": ["mean"]})]
    before = fold_of([old], Row("a/1/t", START_US, 1.0))
    after = fold_of(new, Row("b/1/mode", START_US, text="run"), Row("b/1/t", START_US, 2.0))

    text = page(before, after)

    assert values(text, "value") == {"a/1/t": 1.0}
    assert values(text, "mean") == {"b/1/t": 2.0}
    assert values(text, "state") == {"b/1/mode": 1.0}


def test_a_slot_that_nobody_has_shows_nothing() -> None:
    one = EVERYTHING_ELSE.model_copy(update={"series": EVERY_SERIES})
    found = fold_of([one], Row("a/1/t", START_US, 1.0), Row("a/2/t", START_US, 2.0))
    found.state.slots.free(0)
    found.state.clear(0)

    assert {one.labels["sensor"] for one in samples(page(found))} == {"a/2/t"}


def test_what_is_not_known_is_left_out() -> None:
    bad = Row("a/1/bad", START_US, math.nan, None, Quality.BAD)
    odd = Row("a/1/odd", START_US, math.inf)

    text = page(fold_of([EVERYTHING_ELSE], bad, odd))

    assert samples(text) == []
    assert "nan" not in text.lower()
    assert "inf" not in text.lower()


def test_a_bad_reading_is_shown_but_not_averaged() -> None:
    rows = [*usual("a/1/t"), Row("a/1/t", START_US + 60 * S_US, 900.0, None, Quality.BAD)]

    text = page(fold_of([EVERYTHING_ELSE], *rows))

    assert values(text, "value") == {"a/1/t": 900.0}
    assert values(text, "max") == {"a/1/t": 7.0}


def test_a_sensor_that_went_quiet_keeps_its_value_and_loses_its_window() -> None:
    log = [Batch(START_US + 60 * S_US, tuple(usual("t"))), Batch(START_US + 600 * S_US)]
    quiet = fold_log(plan_of(EVERYTHING_ELSE), with_ticks(log))

    text = page(quiet.fold)

    assert values(text, "value") == {"t": 7.0}
    assert values(text, "mean") == {}


def test_enums_and_texts_are_shown_as_states() -> None:
    classes = [
        ClassSettings(name="mode", match=["mode"], kind=Kind.ENUM),
        ClassSettings(name="wave", match=["wave"], kind=Kind.WAVEFORM),
        ClassSettings(name="text", match=["**"], kind=Kind.TEXT),
    ]
    found = fold_of(
        classes, Row("mode", START_US, 3.0), Row("job", START_US, text="4711"), Row("wave", START_US, text="[1]")
    )

    read = samples(page(found))

    assert {(one.name, one.labels["sensor"], one.labels["state"]) for one in read} == {
        ("millstream_sensor_state", "mode", "3"),
        ("millstream_sensor_state", "job", "4711"),
    }


def test_an_enum_that_changes_from_text_to_number_shows_the_number() -> None:
    found = fold_of(list(PLANT), Row("mode", START_US, text="run"), Row("mode", START_US + 1, 3.0))
    apart = fold_log(
        plan_of(*PLANT),
        [
            Batch(START_US + S_US, (Row("a/mode", START_US, text="run"),)),
            Batch(START_US + S_US, (Row("a/mode", START_US + 1, 3.0),)),
        ],
    )

    for fold in (found, apart.fold):
        assert [one.labels["state"] for one in samples(page(fold)) if "state" in one.labels] == ["3"]


def test_levels_are_labels_and_a_deeper_path_keeps_all_its_names() -> None:
    paths = ("t", "s/t", "s/l/t", "s/l/m/t", "s/l/m/x/y/t")
    found = fold_of([EVERYTHING_ELSE], *(Row(path, START_US, 1.0) for path in paths))

    labels = {
        one.labels["sensor"]: {name: one.labels.get(name) for name in LEVELS}
        for one in samples(page(found))
        if one.name == "millstream_sensor_value"
    }

    assert labels["t"] == {"site": None, "line": None, "machine": None, "quantity": "t"}
    assert labels["s/l/t"] == {"site": "s", "line": "l", "machine": None, "quantity": "t"}
    assert labels["s/l/m/x/y/t"] == {"site": "s", "line": "l", "machine": "m/x/y", "quantity": "t"}
    assert page(found, levels=[]).count('_value{sensor="t"} 1.0') == 1


# --- many tags, many partitions -----------------------------------------------------------------------------------


def test_tags_with_ranges_of_their_own_are_looked_at_as_one_class(monkeypatch: pytest.MonkeyPatch) -> None:
    # Each makes a class; what thousands of them show was worked out by series, window, partition and render.
    paths = [f"a/{at}" for at in range(50)]
    tags = {path: Tag(path, "", "", -100.0 - at, 100.0, "") for at, path in enumerate(paths)}
    plan = make_plan(Definitions((EVERYTHING_ELSE,), 1_000, FUTURE_US, tags), MODELS)
    rows = tuple(Row(path, START_US, 1.0) for path in paths)
    of_tags = fold_log(plan, [Batch(START_US, rows)]).fold
    plain = fold_log(plan_of(EVERYTHING_ELSE), [Batch(START_US, rows)]).fold
    rendered = SensorPage(LEVELS)

    assert len(plan.classes.classes) > 50
    assert rendered.render([of_tags]).decode() == page(plain)
    monkeypatch.setattr(type(plan.classes), "__len__", lambda _: pytest.fail("it is known from the last page"))
    assert rendered.render([of_tags, of_tags])


def test_a_partition_is_done_when_the_next_is_asked_for() -> None:
    # All were locked for the whole page: the folds stood still for seconds.
    folds = [fold_of([EVERYTHING_ELSE], Row(path, START_US, 1.0)) for path in ("a/1/t", "b/1/t")]

    def one_by_one() -> Iterator[PartitionFold]:
        for fold in folds:
            yield fold
            fold.state.slots.rename(0, "changed/since/then")

    assert values(SensorPage(LEVELS).render(one_by_one()).decode(), "value").keys() == {"a/1/t", "b/1/t"}
