"""What a Sparkplug host remembers, how often it asks, and what it can be made to hold."""

from __future__ import annotations

import itertools

import pytest

from ingest.contract.errors import QuarantineError, Reason
from ingest.contract.readings import Quality
from ingest.contract.sensors import TopicPattern, fill_field
from ingest.decoders import DECODERS, Decoded, Messages
from ingest.decoders.base import Drop, Remembering
from ingest.decoders.sparkplug import SparkplugB
from ingest.decoders.sparkplug.properties import properties_of
from ingest.decoders.sparkplug.topics import parse_topic
from tests.conformance.payloads.sparkplug_b import (
    DBIRTH,
    DDATA,
    DDEATH,
    NBIRTH,
    NDATA,
    NDEATH,
    bd_seq,
    metric,
    payload,
    properties,
)

MS = 1_700_000_000_000
SECOND_US = 1_000_000
NODE = (NBIRTH, payload(bd_seq(1), metric("a", 1.0, alias=1), metric("b", 2, "Int8", alias=2), seq=0))
DEVICE = (DBIRTH, payload(metric("t", 1.0, alias=3, properties=properties(engUnit="bar")), seq=1))


def data(seq: int, *, alias: int = 1, value: float = 5.0, ms: int = MS) -> tuple[bytes, bytes]:
    return NDATA, payload(metric(None, value, alias=alias, born=False), seq=seq, ms=ms)


def decode(decoder: SparkplugB, *sent: tuple[bytes, bytes], at_us: int = 0) -> Decoded:
    topics, payloads = [topic for topic, _ in sent], [raw for _, raw in sent]
    return decoder.decode(Messages(topics, payloads, [MS * 1_000 + at_us] * len(sent)))


def reasons(decoded: Decoded) -> list[Reason]:
    return [one.reason for one in decoded.rejected]


# --- what is remembered ---------------------------------------------------------------------------------------------


def test_a_restored_decoder_reads_on_by_alias_whatever_the_number() -> None:
    before, after = SparkplugB(), SparkplugB()
    assert isinstance(before, Remembering)
    decode(before, NODE, DEVICE)
    after.restore(before.snapshot())
    assert after.snapshot() == before.snapshot()
    on = decode(after, data(77), (DDATA, payload(metric(None, 3.0, alias=3, born=False), seq=78)))
    assert (on.field, on.value, on.unit) == (["G/N/a", "G/N/D/t"], [5.0, 3.0], [None, "bar"])
    assert not on.requests
    assert decode(after, data(80)).requests


def test_a_restored_decoder_knows_the_session_and_who_is_dead() -> None:
    before = SparkplugB()
    decode(before, NODE, DEVICE, (DDEATH, payload(seq=2)))
    after = SparkplugB()
    after.restore(before.snapshot())
    assert [one.reason for one in decode(after, (NDEATH, payload(bd_seq(0)))).dropped] == [Drop.OUTDATED]
    assert reasons(decode(after, (DDATA, payload(metric(None, 3.0, alias=3), seq=3)))) == [Reason.NO_BIRTH]
    dead = decode(after, (NDEATH, payload(bd_seq(1))))
    assert dead.field == ["G/N/a", "G/N/b", "G/N/D/t"]
    assert reasons(decode(after, data(4))) == [Reason.NO_BIRTH]


def test_restoring_puts_aside_what_was_known() -> None:
    decoder = SparkplugB()
    empty = decoder.snapshot()
    decode(decoder, NODE, data(1))
    decoder.restore(empty)
    assert reasons(decode(decoder, data(2))) == [Reason.NO_BIRTH]


@pytest.mark.parametrize(
    "snapshot", [b"", b"\x92\x01\x90\x00", b"\x92\x63\x90", b"{}", b"\x92\x01\x91\x01", b"\xdd" * 50]
)
def test_what_it_did_not_write_is_no_snapshot(snapshot: bytes) -> None:
    decoder = SparkplugB()
    decode(decoder, NODE)
    with pytest.raises(ValueError, match="snapshot"):
        decoder.restore(snapshot)
    assert decode(decoder, data(1)).value == [5.0]


def test_a_snapshot_is_taken_up_within_the_limits() -> None:
    before = SparkplugB()
    decode(before, NODE, (b"spBv1.0/G/NBIRTH/M", NODE[1]))
    after = SparkplugB(max_nodes=1)
    after.restore(before.snapshot())
    assert decode(after, data(1)).value == [5.0]
    assert reasons(decode(after, (b"spBv1.0/G/NDATA/M", data(1)[1]))) == [Reason.OVER_BUDGET]
    few = SparkplugB(max_known=2)
    few.restore(before.snapshot())
    assert reasons(decode(few, data(1))) == [Reason.NO_BIRTH]


def test_changes_tell_when_a_snapshot_is_due() -> None:
    decoder = SparkplugB()
    seen = [decoder.changes]
    for sent in (NODE, data(1), DEVICE, data(2), (NDEATH, payload(bd_seq(0))), (NDEATH, payload(bd_seq(1)))):
        decode(decoder, sent)
        seen.append(decoder.changes)
    grown = [later > earlier for earlier, later in itertools.pairwise(seen)]
    assert grown == [True, False, True, False, False, True]


# --- asking ---------------------------------------------------------------------------------------------------------


def test_a_node_is_asked_once_in_a_while_and_again_for_as_long_as_it_owes() -> None:
    decoder = SparkplugB(rebirth_every=10)
    asked = [bool(decode(decoder, data(seq), at_us=seq * SECOND_US).requests) for seq in range(31)]
    assert [second for second, one in enumerate(asked) if one] == [0, 10, 20, 30]


def test_a_gap_within_the_while_is_asked_for_after_it() -> None:
    decoder = SparkplugB(rebirth_every=10)
    assert decode(decoder, data(5)).requests
    decode(decoder, NODE, at_us=SECOND_US)
    assert not decode(decoder, data(3), at_us=2 * SECOND_US).requests
    assert not decode(decoder, data(4), at_us=9 * SECOND_US).requests
    assert decode(decoder, data(5), at_us=10 * SECOND_US).requests
    born = (NBIRTH, payload(bd_seq(1), metric("a", 1.0, alias=1), seq=0, ms=MS + 1))
    assert not decode(decoder, born, data(1, ms=MS + 2), at_us=30 * SECOND_US).requests


def test_no_more_nodes_are_asked_than_can_be_remembered() -> None:
    decoder = SparkplugB(max_nodes=2, rebirth_every=10)
    strangers = [(b"spBv1.0/G/NDATA/%d" % at, data(1)[1]) for at in range(9)]
    first = decode(decoder, *strangers, *strangers)
    assert [one.topic for one in first.requests] == [f"spBv1.0/G/NCMD/{at}" for at in range(4)]
    assert reasons(first) == [Reason.NO_BIRTH] * 18
    later = decode(decoder, *reversed(strangers), at_us=10 * SECOND_US)
    assert [one.topic for one in later.requests] == [f"spBv1.0/G/NCMD/{at}" for at in (8, 7, 6, 5)]


def test_a_window_of_redelivered_messages_asks_for_nothing() -> None:
    decoder = SparkplugB()
    sent = [data(seq % 256, ms=MS + seq // 10) for seq in range(1, 2_000)]
    decode(decoder, NODE, *sent)
    again = decode(decoder, *sent[300:], data(2_000 % 256, ms=MS + 200))
    assert not again.requests
    assert len(again.value) == 1_700
    assert decode(decoder, data(2_002 % 256, ms=MS + 201)).requests


def test_a_birth_redelivered_takes_no_device_away() -> None:
    decoder = SparkplugB()
    again = decode(decoder, NODE, DEVICE, NODE, (DDATA, payload(metric(None, 4.0, alias=3), seq=2)))
    assert again.value[-1] == 4.0
    assert not again.requests


def test_after_the_same_birth_older_data_are_still_read() -> None:
    decoder = SparkplugB()
    again = (NBIRTH, payload(bd_seq(2), metric("a", 1.0, alias=1), metric("b", 2, "Int8", alias=2), seq=0, ms=MS + 99))
    decoded = decode(decoder, NODE, again, data(40, ms=MS + 50), data(1, ms=MS + 100))
    assert decoded.field[-2:] == ["G/N/a", "G/N/a"]
    assert not decoded.requests


def test_a_clock_set_back_heals_with_the_birth_that_is_asked_for() -> None:
    decoder = SparkplugB()
    late, born = data(1, ms=MS - 1), (NBIRTH, payload(bd_seq(1), *[metric("a", 1.0, alias=1)], seq=0, ms=MS - 1))
    asked = decode(decoder, (NBIRTH, payload(bd_seq(1), metric("a", 1.0, alias=1), seq=0)), late)
    assert (reasons(asked), len(asked.requests)) == ([Reason.NO_BIRTH], 1)
    assert decode(decoder, born, late).value == [1.0, 5.0]


def test_data_of_a_session_whose_birth_was_missed_are_not_read_by_the_aliases_of_those_around_it() -> None:
    """Sessions 1 and 3 agree; in between the aliases were swapped, and that birth was lost. Late, its data come."""

    def born(session: int, ms: int) -> tuple[bytes, bytes]:
        return NBIRTH, payload(bd_seq(session), metric("a", 1.0, alias=1), metric("b", 2.0, alias=2), seq=0, ms=ms)

    decoder = SparkplugB()
    decode(decoder, born(1, MS), born(3, MS + 20))
    late = decode(decoder, data(5, ms=MS + 10))
    assert (late.field, reasons(late)) == ([], [Reason.NO_BIRTH])
    # In the session after, nothing was missed: what was born the same is still understood.
    decode(decoder, born(4, MS + 40))
    assert decode(decoder, data(9, ms=MS + 30)).field == ["G/N/a"]


def test_the_death_of_a_session_whose_birth_was_missed_is_a_death() -> None:
    decoder = SparkplugB()
    decode(decoder, NODE, DEVICE)
    death = decode(decoder, (NDEATH, payload(bd_seq(2))))
    assert (death.field, death.dropped) == (["G/N/a", "G/N/b", "G/N/D/t"], [])
    assert reasons(decode(decoder, data(3))) == [Reason.NO_BIRTH]


def test_a_name_with_two_aliases_is_remembered_with_both() -> None:
    before, after = SparkplugB(), SparkplugB()
    decode(before, (NBIRTH, payload(bd_seq(1), *(metric("a", 1.0, alias=alias) for alias in (2, 1)), seq=0)))
    after.restore(before.snapshot())
    assert after.snapshot() == before.snapshot()
    assert decode(after, data(1, alias=1), data(2, alias=2)).field == ["G/N/a", "G/N/a"]


def test_the_death_of_a_device_that_was_born_since_is_outdated() -> None:
    decoder = SparkplugB()
    born = (DBIRTH, payload(metric("t", 1.0, alias=3), seq=5, ms=MS + 9))
    decode(decoder, NODE, DEVICE, born)
    assert [one.reason for one in decode(decoder, (DDEATH, payload(seq=4, ms=MS + 8))).dropped] == [Drop.OUTDATED]
    assert decode(decoder, (DDEATH, payload(seq=6, ms=MS + 8))).quality == [Quality.BAD]


def test_the_birth_of_a_device_from_an_older_session_is_outdated() -> None:
    decoder = SparkplugB()
    newer = (NBIRTH, payload(bd_seq(2), metric("a", 1.0, alias=3), seq=0, ms=MS + 1))
    assert [one.reason for one in decode(decoder, NODE, newer, DEVICE).dropped] == [Drop.OUTDATED]


# --- limits ---------------------------------------------------------------------------------------------------------


def test_what_is_dead_makes_room() -> None:
    decoder = SparkplugB(max_nodes=1, max_known=2)
    other = (b"spBv1.0/G/NBIRTH/M", NODE[1])
    assert reasons(decode(decoder, (NBIRTH, payload(metric("a", 1.0), seq=0)), other)) == [Reason.OVER_BUDGET]
    assert reasons(decode(decoder, (NDEATH, payload(bd_seq(1))), other)) == [Reason.OVER_BUDGET]  # three metrics
    assert not reasons(decode(decoder, (b"spBv1.0/G/NBIRTH/M", payload(metric("a", 1.0), metric("b", 1.0), seq=0))))


def test_a_birth_beyond_the_limits_is_not_asked_for_again() -> None:
    decoder = SparkplugB(max_metrics=2)
    decoded = decode(decoder, NODE, data(1), data(2))
    assert reasons(decoded) == [Reason.TOO_LARGE] * 3
    assert not decoded.requests


def test_a_broken_birth_ends_what_was_known() -> None:
    decoder = SparkplugB()
    decoded = decode(decoder, NODE, DEVICE, (DBIRTH, b"\xff"), (DDATA, payload(metric(None, 1.0, alias=3), seq=3)))
    assert reasons(decoded) == [Reason.SYNTAX, Reason.NO_BIRTH]
    assert len(decoded.requests) == 1


@pytest.mark.parametrize(
    "bomb",
    [
        b"\x12\x00" * 500_000,
        b"\x12\x02\x4a\x00" * 250_000,
        b"\x0b\x12\x00\x0c" + b"\x12\x00" * 500_000,
        b"\x08\x00" * 500_000,
    ],
    ids=["metrics", "properties", "behind a group", "times"],
)
def test_a_million_parts_are_refused_before_any_is_made(bomb: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    decoder = SparkplugB()
    decode(decoder, NODE)
    monkeypatch.setattr("ingest.decoders.sparkplug.decoder.Payload", None)
    assert reasons(decode(decoder, (NDATA, bomb))) == [Reason.TOO_LARGE]


def test_properties_without_end_lose_their_metric_only() -> None:
    bomb = metric("x", 1.0, properties=b"\x0a\x00" * 10_000)
    decoded = decode(SparkplugB(), (NBIRTH, payload(bomb, metric("y", 2.0), seq=0)))
    assert (decoded.value, reasons(decoded)) == ([2.0], [Reason.TOO_LARGE])
    with pytest.raises(QuarantineError, match="more names than values"):
        properties_of(b"\x0a\x00")


def test_a_signalling_nan_is_refused_quietly() -> None:
    decoded = decode(SparkplugB(), (NBIRTH, payload(metric("w", bytes.fromhex("0100807f"), "FloatArray"), seq=0)))
    assert reasons(decoded) == [Reason.NUMBER]


def test_a_thousand_bad_metrics_are_one_rejection_a_reason() -> None:
    bad = [metric(None, 1.0, alias=at) for at in range(1_000)] + [{"double_value": 1.0}] * 1_000
    decoded = decode(SparkplugB(), NODE, (NDATA, payload(*bad, seq=1)))
    assert sorted(reasons(decoded)) == [Reason.NO_BIRTH, Reason.SYNTAX, Reason.TYPE]
    assert len(decoded.requests) == 1


# --- names ----------------------------------------------------------------------------------------------------------


def test_a_route_makes_paths_of_fields() -> None:
    pattern = TopicPattern.parse("spBv1.0/{rest...}", "plant/{field}")
    path = pattern.match("spBv1.0/G/DDATA/N/D")
    assert path is not None
    assert fill_field(path, "G/N/D/oil/temp") == "plant/G/N/D/oil/temp"


@pytest.mark.parametrize(
    "topic",
    [b"", b"spBv1.0", b"spBv1.0/G/NDATA", b"spBv1.0/G/DDATA/N", b"spBv1.0/STATE", b"spBv1.0/\xff/NDATA/N", b"a" * 600],
)
def test_other_topics_are_refused(topic: bytes) -> None:
    with pytest.raises(QuarantineError) as caught:
        parse_topic(topic)
    assert caught.value.reason is Reason.NAME


def test_a_path_that_no_sensor_can_have_is_refused_at_birth() -> None:
    name = "x" * 600
    born = (NBIRTH, payload(metric(name, 1.0, alias=1), metric("a", 1.0), seq=0))
    decoded = decode(SparkplugB(), born, data(1))
    assert (decoded.field, reasons(decoded)) == (["G/N/a"], [Reason.NAME, Reason.NAME])
    assert not decoded.requests


@pytest.mark.parametrize(
    ("options", "wrong"),
    [({"rebirth_every": 0}, "rebirth_every"), ({"max_nodes": 0}, "max_nodes"), ({"rebirths": True}, "no option")],
)
def test_wrong_options_are_told(options: dict[str, object], wrong: str) -> None:
    with pytest.raises(ValueError, match=wrong):
        DECODERS.create("sparkplug_b", options)
