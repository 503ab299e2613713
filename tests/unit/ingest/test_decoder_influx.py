"""Line protocol: what is written by the escaping rules comes back, and both ways of reading agree."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingest.decoders import Decoded, Messages
from ingest.decoders.influx import Influx
from tests.conformance.payloads.influx import KNOWN

many = settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def decode(payload: str, **options: Any) -> Decoded:
    return Influx(**options).decode(Messages([b"t"], [payload.encode()], [0]))


def rows(decoded: Decoded) -> list[tuple[Any, ...]]:
    return list(zip(decoded.field, decoded.ts_us, map(repr, decoded.value), decoded.text, strict=True))


# --- an encoder after the reference: what is special where, and that a backslash escapes it -------------------------


def escaped(text: str, special: str) -> str:
    return "".join("\\" + one if one in special else one for one in text)


def written(value: float | str | bool, sort: str) -> str:
    if isinstance(value, str):
        return '"' + escaped(value, '"\\') + '"'
    if isinstance(value, bool):
        return {"short": "t" if value else "f", "long": "TRUE" if value else "False"}.get(sort, str(value).lower())
    return f"{value}i" if isinstance(value, int) and sort == "short" else repr(value)


def line(measurement: str, tags: dict[str, str], fields: dict[str, Any], ts_ns: int | None, sort: str, end: str) -> str:
    head = escaped(measurement, ", ")
    head += "".join(f",{escaped(key, ',= ')}={escaped(value, ',= ')}" for key, value in tags.items())
    body = ",".join(f"{escaped(key, ',= ')}={written(value, sort)}" for key, value in fields.items())
    return f"{head} {body}{'' if ts_ns is None else f' {ts_ns}'}{end}"


# A name cannot hold a newline, nor end in a backslash, which would escape what follows; nor may a line seem a comment.
NAMES = st.text(st.sampled_from('ab ,="\\#ä{}/'), min_size=1, max_size=6).filter(
    lambda name: name[-1] != "\\" and name[0] not in "# "
)
PLAIN_NAMES = st.text("abc_", min_size=1, max_size=4)
NUMBERS = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**63), 2**64 - 1)
TEXTS = st.text(st.sampled_from('ab ,="\\\n\r#'), max_size=8)


def lines(names: st.SearchStrategy[str], values: st.SearchStrategy[Any]) -> st.SearchStrategy[list[tuple[Any, ...]]]:
    one = st.tuples(
        names,
        st.dictionaries(names, names, max_size=2),
        st.dictionaries(names, values, min_size=1, max_size=3),
        st.none() | st.integers(10**18, 4 * 10**18),
        st.sampled_from(["short", "long", "lower"]),
        st.sampled_from(["\n", "\r\n", "\n\n", '\n# a comment, "quoted\n', " \n"]),
    )
    return st.lists(one, min_size=1, max_size=4)


@many
@given(wanted=lines(NAMES, NUMBERS | TEXTS | st.booleans()) | lines(PLAIN_NAMES, NUMBERS))
def test_lines_that_are_written_by_the_rules_come_back(wanted: list[tuple[Any, ...]]) -> None:
    decoded = decode("".join(line(*one) for one in wanted))
    expected = [
        (
            f"{measurement}/{key}",
            0 if ts_ns is None else ts_ns // 1_000,
            "nan" if isinstance(value, str) else repr(float(value)),
            value if isinstance(value, str) else None,
        )
        for measurement, _, fields, ts_ns, _, _ in wanted
        for key, value in fields.items()
    ]
    assert decoded.rejected == []
    assert rows(decoded) == expected


@many
@given(wanted=lines(NAMES, NUMBERS))
def test_tags_come_back_in_names(wanted: list[tuple[Any, ...]]) -> None:
    for measurement, tags, fields, ts_ns, sort, end in wanted:
        for tag, value in tags.items():
            if "{" in tag or "}" in tag:
                continue  # the template has no way to write them
            text = line(measurement, tags, fields, ts_ns, sort, end)
            decoded = decode(text, name=f"{{tag.{tag}}}:{{measurement}}:{{field}}")
            assert decoded.field == [f"{value}:{measurement}:{key}" for key in fields]


@many
@given(sent=KNOWN.drawn)
def test_the_quick_way_and_the_careful_way_read_the_same(sent: tuple[bytes, bytes]) -> None:
    payload = "first a=1\n" + sent[1].decode().replace('"', "").replace("\\", "")
    # A string at the end makes the whole payload be read with care.
    quick = decode(payload)
    careful = decode(payload + '\nlast text=""')
    assert rows(careful)[:-1] == rows(quick)
    assert [one[:2] for one in careful.rejected] == [one[:2] for one in quick.rejected]


@pytest.mark.parametrize(
    "options",
    [
        {"name": "{measurement}"},
        {"name": "{field}/{host}"},
        {"name": "{field"},
        {"name": "field}"},
        {"max_lines": 0},
        {"max_fields": 0},
        {"max_name": 0},
    ],
    ids=str,
)
def test_options_that_cannot_work_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        Influx(**options)
