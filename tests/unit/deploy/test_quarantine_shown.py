"""What `millstream quarantine` prints: bounded, in order, and nothing that a terminal would obey."""

from __future__ import annotations

import dataclasses
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deploy.quarantine.chosen import Chosen, parse_id
from deploy.quarantine.session import fate_lines, tally_lines
from deploy.quarantine.shown import Counted, Newest, age, aligned, details, json_line, payload_lines, table
from ingest.contract.quarantine import Entry
from ingest.replay import Fate, Tally, Tried

NOW_US = 1_700_000_000_000_000
S_US = 1_000_000
PLAIN = Entry(0, 1, b"f/a", b"hello", "f/{x}", "syntax", "no JSON", 5, "00", "g", NOW_US - 60 * S_US, 0, 0)
ANYTHING = st.text(st.characters(codec="utf-8"), max_size=30) | st.sampled_from(["\x1b[2J", "\u202e", "\x9b1m", "a\nb"])
ENTRY = st.builds(
    Entry,
    partition=st.integers(0, 3),
    offset=st.integers(0, 2**40),
    origin=st.binary(max_size=40) | ANYTHING.map(str.encode),
    payload=st.binary(max_size=60) | ANYTHING.map(str.encode),
    route=ANYTHING,
    reason=ANYTHING,
    detail=ANYTHING,
    size=st.integers(0, 100_000),
    digest=ANYTHING,
    source=ANYTHING,
    arrival_us=st.integers(-(2**63), 2**63) | st.just(NOW_US),
    position=st.integers(0, 5),
    flags=st.integers(0, 3),
)


@settings(max_examples=150, deadline=None)
@given(entry=ENTRY, replayed=st.booleans())
def test_no_line_holds_anything_that_a_terminal_would_obey(entry: Entry, replayed: bool) -> None:
    counted = Counted("topic")
    counted.add(entry)
    tried = Tried(entry, Fate.REFUSED, [], entry.reason, entry.detail)
    tally = Tally()
    tally.add(tried, of_kafka=replayed)
    lines = [
        *table([entry], NOW_US, frozenset([entry.id]) if replayed else None),
        *details(entry, replayed=replayed),
        *payload_lines(entry.payload),
        *fate_lines([tried], 2),
        *tally_lines(tally, partly=replayed),
        json_line(entry, replayed=replayed),
    ]
    assert all(line.isprintable() for line in lines)


@settings(max_examples=60, deadline=None)
@given(payload=st.binary(min_size=1, max_size=500))
def test_a_payload_takes_bounded_room(payload: bytes) -> None:
    for one in (payload, payload * 200, b'{"a":1}\n' * 9_000):
        assert sum(map(len, payload_lines(one))) < 40_000


def test_text_is_shown_as_text_even_if_it_was_cut_within_a_character() -> None:
    assert list(payload_lines('{"ü": 1}\n\x1b[31m'.encode())) == ['{"ü": 1}', "·[31m"]
    assert list(payload_lines("Öl, ".encode() * 20 + "Ö".encode()[:1])) == ["Öl, " * 20]
    assert list(payload_lines(b"")) == ["(empty)"]


def test_bytes_are_dumped_and_long_ones_cut() -> None:
    first, *_ = payload_lines(bytes(range(40)) + b"\xff")
    assert first == "000000  00 01 02 03 04 05 06 07  08 09 0a 0b 0c 0d 0e 0f  ................"
    *rows, last = payload_lines(b"\xff" * 3_000)
    assert len(rows) == 64
    assert last == "… 1,976 bytes more (--raw writes all)"


@settings(max_examples=60, deadline=None)
@given(entries=st.lists(ENTRY, max_size=30, unique_by=lambda one: one.id), count=st.integers(1, 10))
def test_the_newest_come_first_and_no_more_than_wanted(entries: list[Entry], count: int) -> None:
    newest = Newest(count)
    for entry in entries:
        newest.add(entry)
    expected = sorted(entries, key=lambda one: one.order, reverse=True)[:count]
    assert [one.id for one in newest.found()] == [one.id for one in expected]


def test_entries_are_counted_by_what_is_asked_for() -> None:
    counted = Counted("reason")
    for reason, ago_s in (("syntax", 60), ("name", 5), ("syntax", 30)):
        counted.add(dataclasses.replace(PLAIN, reason=reason, arrival_us=NOW_US - ago_s * S_US))
    assert counted.found(1) == [("syntax", 2, NOW_US - 30 * S_US)]
    assert counted.kinds == 2


def test_a_table_has_a_column_for_what_was_replayed_only_if_asked() -> None:
    header, line = table([PLAIN], NOW_US)
    assert header.split() == ["ID", "AGE", "REASON", "BYTES", "TOPIC", "ROUTE", "DETAIL"]
    assert line == "0/1  1m   syntax      5  f/a    f/{x}  no JSON".replace("1m   ", " 1m  ")
    header, line = table([PLAIN], NOW_US, frozenset(["0/1"]))
    assert header.split()[2] == "REPLAYED"
    assert "yes" in line


def test_json_lines_are_json_without_payload() -> None:
    found = json.loads(json_line(PLAIN, replayed=True))
    assert (found["id"], found["size"], found["kept"], found["replayed"]) == ("0/1", 5, 5, True)
    assert found["arrival"] == "2023-11-14 22:12:20.000 UTC"


def test_ages_are_rough() -> None:
    assert [age(s * S_US) for s in (0, 59, 60, 3_599, 3_600, 86_399, 86_400)] == [
        "0s", "59s", "1m", "59m", "1h", "23h", "1d",
    ]  # fmt: skip
    assert list(aligned([["A", "B"], ["1", ""]])) == ["A  B", "1"]


# --- choosing ---------------------------------------------------------------------------------------------------


def test_an_entry_is_meant_if_everything_said_is_so() -> None:
    assert Chosen().everything
    assert Chosen().fits(PLAIN, replayed=False)
    assert not Chosen().fits(PLAIN, replayed=True)
    assert Chosen(replayed=True).fits(PLAIN, replayed=True)
    meant = [
        Chosen(ids=frozenset([(0, 1)])),
        Chosen(reasons=frozenset(["syntax", "name"])),
        Chosen(topic="f/*"),
        Chosen(topic="**"),
        Chosen(route="f/{x}"),
        Chosen(since_us=PLAIN.arrival_us),
    ]
    others = [
        Chosen(ids=frozenset([(1, 1)])),
        Chosen(reasons=frozenset(["name"])),
        Chosen(topic="f"),
        Chosen(topic="*"),
        Chosen(route="f/a"),
        Chosen(since_us=PLAIN.arrival_us + 1),
    ]
    assert all(one.fits(PLAIN, replayed=False) for one in meant)
    assert not any(one.fits(PLAIN, replayed=False) for one in others)
    assert not any(one.everything for one in [*meant, *others])
    assert not Chosen(reasons=frozenset(["syntax"]), topic="g/*").fits(PLAIN, replayed=False)


@pytest.mark.parametrize("text", ["", "1", "1/", "/1", "1/2/3", "-1/2", "1/2x", "٣/٣" * 50, "9999999999/1"])
def test_what_is_no_id_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="partition/offset"):
        parse_id(text)
