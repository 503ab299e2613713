"""Definitions travel as bytes: what is read is what was written, and what is not that does no harm."""

from __future__ import annotations

import contextlib
import copy
import json
from dataclasses import dataclass
from typing import Any

import cramjam
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from ingest.contract.class_settings import EVERYTHING_ELSE, ClassSettings, ModelSettings, RuleSettings
from ingest.contract.classes import Kind, Reporting
from ingest.contract.errors import IncompatibleError, QuarantineError
from ingest.contract.registry import Registry
from ingest.contract.tags import Tag
from stream.fold.definitions import FORMAT, MAX_BYTES, Definitions
from stream.fold.migrate import plan_from
from stream.fold.plan import make_plan
from tests.unit.stream.logs import MODELS, examples

_LIMITS = st.none() | st.floats(-1e9, 1e9)
_RULES = st.builds(
    RuleSettings,
    name=st.sampled_from(["high", "odd"]),
    signal=st.sampled_from(["score", "value"]),
    above=st.floats(-1e9, 1e9),
    hysteresis=st.floats(0, 10),
    hold=st.sampled_from(["0s", "1500us", "36500d"]),
    severity=st.sampled_from(["info", "critical"]),
)
_CLASSES = st.builds(
    ClassSettings,
    name=st.sampled_from(["motor", "oil", "Rest.1"]),
    match=st.lists(st.sampled_from(["**/a", "b/*/c", "ö/?"]), min_size=1, max_size=2),
    kind=st.sampled_from([Kind.GAUGE, Kind.COUNTER]),
    reporting=st.sampled_from([None, *Reporting]),
    unit=st.sampled_from(["", "Cel", "µm"]),
    range=st.sampled_from([(None, None), (-1.5, None), (0.1, 1e300), (-0.0, float("inf"))]),
    windows=st.lists(st.sampled_from(["10s", "1m", "1h"]), max_size=3),
    models=st.sampled_from([None, [], ["running_range"], [ModelSettings(name="ewma_z", options={"warm_up": 7})]]),
    rules=st.lists(_RULES, max_size=1),
)
_TAGS = st.builds(
    Tag,
    path=st.sampled_from(["a/b", "a/ö", "c"]),
    name=st.text(st.characters(exclude_categories=["C"]), max_size=5),
    unit=st.sampled_from(["", "bar"]),
    low=_LIMITS,
    high=_LIMITS,
    class_name=st.sampled_from(["", "default"]),
    line=st.just(0),
)
DEFINITIONS = st.builds(
    Definitions,
    classes=st.lists(_CLASSES, max_size=3, unique_by=lambda one: one.name).map(lambda some: [*some, EVERYTHING_ELSE]),
    max_sensors=st.integers(1, 10**9),
    future_us=st.integers(0, 10**15),
    tags=st.lists(_TAGS, max_size=3, unique_by=lambda one: one.path).map(lambda some: {tag.path: tag for tag in some}),
    forget_us=st.sampled_from([3_600_000_000, 30 * 86_400_000_000]),
)


@examples(200)
@given(definitions=DEFINITIONS)
def test_what_is_read_is_what_was_written(definitions: Definitions) -> None:
    read = Definitions.from_bytes(definitions.to_bytes())

    assert read == definitions
    assert read.digest == definitions.digest
    assert read.to_bytes() == definitions.to_bytes()


@examples(50)
@given(definitions=DEFINITIONS)
def test_equal_definitions_are_equal_bytes_whatever_made_them(definitions: Definitions) -> None:
    backwards = dict(reversed(copy.deepcopy(dict(definitions.tags)).items()))
    same = Definitions(
        list(copy.deepcopy(definitions.classes)), definitions.max_sensors, definitions.future_us, backwards,
        forget_us=definitions.forget_us,
    )  # fmt: skip

    assert same == definitions
    assert same.to_bytes() == definitions.to_bytes()


@examples(50)
@given(one=DEFINITIONS, other=DEFINITIONS)
def test_other_definitions_have_another_digest(one: Definitions, other: Definitions) -> None:
    assert (one.digest == other.digest) == (one == other)


def test_the_order_of_tags_does_not_move_classes() -> None:
    tags = {path: Tag(path, unit=unit) for path, unit in (("b/t", "bar"), ("a/t", "Cel"), ("c/t", "m"))}
    one = make_plan(Definitions([EVERYTHING_ELSE], 9, 0, tags), MODELS)
    read = make_plan(Definitions.from_bytes(one.definitions.to_bytes()), MODELS)

    assert read.classes.classes == one.classes.classes
    assert [read.classes.index_of(path) for path in tags] == [one.classes.index_of(path) for path in tags]


def test_a_tags_line_is_no_part_of_it() -> None:
    at_1, at_7 = (Definitions([EVERYTHING_ELSE], 9, 0, {"a": Tag("a", line=line)}) for line in (1, 7))

    assert at_1.digest == at_7.digest


# --- what is not definitions --------------------------------------------------------------------------------------


def packed(**changed: Any) -> bytes:
    """Definitions as another program might have written them; None: without that."""
    content = {
        "format": FORMAT,
        "classes": [{"name": "x", "match": ["**"]}],
        "tags": [],
        "max_sensors": 5,
        "future_us": 1,
    }
    content |= changed
    text = json.dumps({name: value for name, value in content.items() if value is not None})
    return bytes(cramjam.zstd.compress(text.encode()))


def one_class(**changed: Any) -> bytes:
    return packed(classes=[{"name": "x", "match": ["**"], **changed}])


def test_such_content_can_be_read_when_nothing_is_wrong_with_it() -> None:
    found = Definitions.from_bytes(packed())

    assert (found.max_sensors, found.future_us, found.forget_us) == (5, 1, 30 * 86_400_000_000)


RUBBISH = {
    "nothing": b"",
    "noise": b"\x28\xb5\x2f\xfd" + b"\xff" * 50,
    "cut short": packed()[:-3],
    "no JSON": bytes(cramjam.zstd.compress(b"hello")),
    "a list": bytes(cramjam.zstd.compress(b"[]")),
    "too deep": bytes(cramjam.zstd.compress(b"[" * 100_000)),
    "a number of many digits": bytes(cramjam.zstd.compress(b"9" * 100_000)),
    "a bomb": bytes(cramjam.zstd.compress(b" " * (MAX_BYTES + 1))),
    "no format": packed(format=None),
    "a format that never was": packed(format=0),
    "no classes": packed(classes=None),
    "classes of another type": packed(classes={"name": "x"}),
    "no class for everything": packed(classes=[{"name": "x", "match": ["a/*"]}]),
    "two classes of one name": packed(classes=[{"name": "x", "match": ["**"]}] * 2),
    "a window of text": one_class(windows=["soon"]),
    "a rule with two limits": one_class(rules=[{"name": "r", "above": 1, "below": 2}]),
    "a lone surrogate": one_class(unit="\ud800"),
    "no tags": packed(tags=None),
    "a tag that is none": packed(tags=[["a", "b"]]),
    "a tag that nobody may have": packed(tags=[["a//b", "", "", None, None, ""]]),
    "a tag of no class": packed(tags=[["a/b", "", "", None, None, "y"]]),
    "a tag twice": packed(tags=[["a/b", "", "", None, None, ""]] * 2),
    "a tag without end": packed(tags=[["a/b", "", "", None, float("inf"), ""]]),
    "a tag's limit that no float holds": packed(tags=[["a/b", "", "", 10**400, None, ""]]),
    "an option that no float holds": one_class(models=[{"name": "ewma_z", "options": {"warm_up": 10**400}}]),
    "an option beyond 64 bits": one_class(models=[{"name": "ewma_z", "options": {"warm_up": 2**63}}]),
    "a format beyond 64 bits": packed(format=10**300),
    "a negative budget": packed(max_sensors=-1),
    "a budget of true": packed(max_sensors=True),
}


@pytest.mark.parametrize("data", RUBBISH.values(), ids=RUBBISH.keys())
def test_rubbish_goes_to_quarantine(data: bytes) -> None:
    with pytest.raises(QuarantineError, match="definitions"):
        Definitions.from_bytes(data)


NEWER = {
    "a format": packed(format=FORMAT + 1),
    "an option": packed(backlog_of_everything=True),
    "an option of a class": one_class(colour="red"),
    "a series": one_class(series=["p99.99"]),
    "a kind": one_class(kind="smell"),
    "a model": one_class(models=["crystal_ball"]),
    "a severity": one_class(rules=[{"name": "r", "above": 1, "severity": "grave"}]),
}


@pytest.mark.parametrize("data", NEWER.values(), ids=NEWER.keys())
def test_what_a_newer_program_wrote_stops_an_older_one(data: bytes) -> None:
    with pytest.raises(IncompatibleError, match="upgrade this worker"):
        Definitions.from_bytes(data)


def test_in_the_first_format_silence_was_no_default() -> None:
    """A log that an older program wrote is folded as that would have folded it, until other definitions come."""
    before = Definitions.from_bytes(packed(format=1, classes=[{"name": "x", "match": ["**"]}]))
    chosen = Definitions.from_bytes(packed(format=1, classes=[{"name": "x", "match": ["**"], "rules": []}]))
    now = Definitions.from_bytes(packed(classes=[{"name": "x", "match": ["**"]}]))

    assert [[rule.name for rule in one.classes[0].rules] for one in (before, chosen, now)] == [
        ["anomaly"],
        [],
        ["anomaly", "silent"],
    ]
    assert before.classes[0].rules[0] == now.classes[0].rules[0]
    assert Definitions.from_bytes(before.to_bytes()) == before


def test_before_the_third_format_nobody_was_stuck() -> None:
    rows = [{"name": "x", "match": ["**"]}, {"name": "own", "match": ["a"], "models": ["stuck"]}]
    rows += [{"name": "count", "match": ["b"], "kind": "counter"}]
    before, now = (Definitions.from_bytes(packed(format=number, classes=rows)) for number in (2, FORMAT))

    usual = ["running_range", "time_of_day", "ewma_horizons"]
    assert [[model.name for model in one.model_list] for one in before.classes] == [usual, ["stuck"], []]
    assert [[model.name for model in one.model_list] for one in now.classes] == [[*usual, "stuck"], ["stuck"], []]
    assert before.digest != now.digest
    assert Definitions.from_bytes(before.to_bytes()) == before


@dataclass(frozen=True)
class Overflows:
    """A model whose numbers become too large only when they are reckoned with."""

    power: float = 1.0

    @property
    def params(self) -> NDArray[np.float64]:
        return np.array([10.0**self.power])


def test_an_option_that_overflows_when_a_plan_is_made_of_it_goes_to_quarantine() -> None:
    registry: Registry[Any] = Registry("model", {"power": f"{__name__}:Overflows"})
    data = one_class(models=[{"name": "power", "options": {"power": 400.0}}])

    with pytest.raises(QuarantineError, match="definitions"):
        plan_from(data, registry)


def test_an_option_that_no_component_can_hold_is_refused_however_it_is_written() -> None:
    digits = one_class(models=[{"name": "ewma_z", "options": {"warm_up": "1" + "0" * 400}}])

    with pytest.raises(IncompatibleError, match="warm_up: should fit into 64 bits"):
        plan_from(digits, MODELS)


@examples(100)
@given(data=st.binary(max_size=60))
def test_no_bytes_do_harm(data: bytes) -> None:
    with pytest.raises(QuarantineError):
        Definitions.from_bytes(data)


@examples(100)
@given(definitions=DEFINITIONS, at=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_a_flipped_bit_does_no_harm(definitions: Definitions, at: int, bit: int) -> None:
    data = bytearray(definitions.to_bytes())
    data[at % len(data)] ^= 1 << bit
    # Or it happens to be read: checksums are Kafka's.
    with contextlib.suppress(QuarantineError, IncompatibleError):
        Definitions.from_bytes(bytes(data))
