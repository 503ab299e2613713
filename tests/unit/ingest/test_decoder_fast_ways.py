"""The quick ways of `influx` and `senml` give what the careful ones give, whatever was read before."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingest.decoders import Decoder, Messages
from ingest.decoders.influx import Influx
from ingest.decoders.senml import Senml

many = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])

ARRIVAL_US = 1_700_000_000_000_000


def rows(decoder: Decoder, payloads: list[bytes], of: int) -> list[Any]:
    """What the first `of` payloads give."""
    arrival_us = [ARRIVAL_US + at for at in range(len(payloads))]
    found = decoder.decode(Messages([b"t"] * len(payloads), payloads, arrival_us))
    units = found.unit or [None] * len(found.message)
    columns = (found.message, found.field, found.ts_us, map(repr, found.value), found.text, found.quality, found.code)
    read = [row for row in zip(*columns, units, strict=True) if row[0] < of]
    wrong = [(at, reason, detail) for at, reason, detail in found.rejected if at < of]
    return [read, wrong, [one for one in found.dropped if one.message < of]]


# --- influx ---------------------------------------------------------------------------------------------------------

KEYS = st.sampled_from(["a", "b", "a_b", "2", "3", "ab", "a2", ""])
WRITTEN = st.sampled_from(
    [
        "1",
        "1.5",
        "-2i",
        "7u",
        "t",
        "false",
        "FALSE",
        "1_0",
        "nan",
        "inf",
        "-infinity",
        "1e400",
        "1e308",
        "",
        "i",
        "1.5i",
        "+1",
        "+-1",
        "1.",
        ".5",
        "1i1",
        "0x1",
        "\t5",
        "5\x1c",
        "\x0b5i",
        "5" * 64,
        "5" * 65,
        "9" * 70 + "i",
        "2=3",
        ",",
        ",5",
    ]
)
HEADS = st.sampled_from(["m", "m,tag=x", "m,tag=y", "m,tag=x,host=y", "m,tag", "m,tag=", ",tag=x", "m\t,tag=x", ""])
ENDS = st.sampled_from(["", " 1700000000000000000", " 17", " 1_7", " -1", " 1700000000000000000 ", " 1.5", " \t1"])
FIELDS = st.lists(st.tuples(KEYS, WRITTEN).map("=".join), min_size=1, max_size=4).map(",".join)
LINES = st.builds(lambda head, fields, end: f"{head} {fields}{end}", HEADS, FIELDS, ENDS)
NAMES = st.sampled_from(["{measurement}/{field}", "{tag.tag}/{field}", "{field}"])


@many
@given(NAMES, st.lists(LINES, min_size=1, max_size=4), st.lists(LINES, max_size=6), st.integers(1, 6))
def test_a_line_reads_the_same_after_others_and_with_care(
    name: str, lines: list[str], before: list[str], most: int
) -> None:
    payload = "\n".join(lines).encode()
    options: dict[str, Any] = {"name": name, "max_fields": most, "max_name": 5}
    fresh = rows(Influx(**options), [payload], 1)
    used = Influx(**options)
    rows(used, [one.encode() for one in before], 0)
    assert rows(used, [payload], 1) == fresh
    assert rows(used, [payload], 1) == fresh
    # The quote of a comment has all lines of the payload read with care.
    assert rows(Influx(**options), [payload + b'\n# "'], 1) == fresh


# --- senml ----------------------------------------------------------------------------------------------------------

TEXTS = {
    "n": st.sampled_from(["a", "b:c", "", "-", "_x", "a\n", "ä", "a b", "x" * 9]),
    "u": st.sampled_from(["Cel", "", None, "x" * 65, "x" * 64]),
}
TIMES = st.sampled_from(
    [0, -0.0, 5, -5.5, 2**28 - 0.5, 2**28, 631_152_000, 1.7e9, 1.7e9 + 0.1234565, 7_258_118_400, 1e300]
)
PARTS = TEXTS | {
    "bn": TEXTS["n"],
    "bu": TEXTS["u"],
    "t": TIMES,
    "bt": TIMES,
    "v": st.sampled_from([1, 1.5, -0.0, 2**60 + 1, 1e308, 10**300, True, None]),
    "vb": st.sampled_from([True, False, 1, None]),
    "bver": st.sampled_from([5, 10, 26, 11, 0, None]),
}
RECORDS = st.fixed_dictionaries(
    {}, optional={"n": st.just("a"), "v": st.just(2.5), "bt": st.just(1.7e9), "bn": st.just("m/"), "bu": st.just("K")}
) | st.fixed_dictionaries({}, optional=PARTS)
PACKS = st.lists(RECORDS, max_size=3).map(lambda pack: json.dumps(pack).encode())
WITH_CARE = [b'[{"n":"a","v":1,"x":0}]', b'[{"n":"a","v":1,"x_":0}]', b"[]", b"", b'[{"n":"a","vs":"b"}]']


@many
@given(st.lists(PACKS, min_size=1, max_size=3), st.sampled_from(WITH_CARE), st.integers(1, 3))
def test_packs_read_the_same_beside_one_that_has_all_read_with_care(packs: list[bytes], odd: bytes, most: int) -> None:
    decoder = Senml(max_records=most, max_name=8)
    assert rows(decoder, [*packs, odd], len(packs)) == rows(decoder, packs, len(packs))
