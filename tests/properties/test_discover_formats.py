"""Whatever is heard: the draft loads, asks nobody for anything, and its routes read at least what it claims."""

from __future__ import annotations

from collections import Counter
from typing import Any

import cbor2
import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingest.batcher import Batcher
from ingest.contract.classes import ClassTable
from ingest.contract.sensors import TopicPattern
from ingest.contract.settings import Settings
from ingest.decoders import DECODERS
from ingest.discover.draft import draft_of
from ingest.discover.heard import Hearing
from ingest.packets import Burst
from ingest.profiles import Profiles
from ingest.topic_table import Route
from tests.conformance.payloads import Sent, payloads_of
from tests.unit.discover.hearing import START_US, drafted, read_by

few = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
KNOWN = {name: payloads_of(name) for name in DECODERS.table}


def heard(messages: list[Sent]) -> Hearing:
    hearing = Hearing()
    for at, (topic, payload) in enumerate(messages):
        hearing.take(Burst([topic], [payload], [0x30]), START_US + at * 1_000_000)
    return hearing


def refusals(settings: Settings, messages: list[Sent]) -> Counter[bytes]:
    """What a gateway with these settings would refuse, by topic."""
    routes = [
        Route(one.topic, TopicPattern.parse(one.topic, one.path), DECODERS.create(one.decoder, one.options))
        for one in settings.route
    ]
    batcher = Batcher.alone(routes, 4, 100_000, 262_144, Profiles(ClassTable(settings.classes)))
    burst = Burst([topic for topic, _ in messages], [payload for _, payload in messages], [0x30] * len(messages))
    arrival_us = START_US + 1_000_000 * np.arange(len(messages), dtype=np.int64)
    return Counter(one.topic for one in batcher.batch(burst, arrival_us).refused)


def check(messages: list[Sent]) -> None:
    hearing = heard(messages)
    draft = draft_of(hearing.topics)
    assert draft.read + len(draft.unread) == draft.topics
    if not draft.routes:
        return
    draft, loaded, _ = drafted(hearing)
    assert [one.decoder for one in loaded.route] == [one.decoder for one in draft.routes]
    refused, sent = refusals(loaded, messages), Counter(topic for topic, _ in messages)
    unread = {one.topic for one in draft.unread}
    for topic in hearing.topics.keys() - unread:
        assert 2 * refused[topic] < sent[topic], topic


@pytest.mark.parametrize("name", KNOWN)
@few
@given(data=st.data())
def test_payloads_of_every_decoder_right_and_wrong(name: str, data: st.DataObject) -> None:
    known = KNOWN[name]
    hostile = [payload for payload in known.hostile if len(payload) < 10_000]
    own = st.tuples(st.sampled_from(known.topics), st.sampled_from([known.usual, *hostile]))
    drawn = own if known.drawn.is_empty else known.drawn | own
    # At most as many as are kept of a topic: what is claimed then is of all of them.
    check(data.draw(st.lists(drawn, min_size=1, max_size=12)))


@few
@given(data=st.data())
def test_payloads_of_all_decoders_side_by_side(data: st.DataObject) -> None:
    messages: list[Sent] = []
    for at, known in enumerate(KNOWN.values()):
        drawn = st.just((known.topics[0], known.usual)) if known.drawn.is_empty else known.drawn
        for topic, payload in data.draw(st.lists(drawn, max_size=2)):
            own = topic if topic.startswith(b"spBv1.0/") else b"%d/%s" % (at % 4, topic)
            messages.append((own, payload))
    if messages:
        check(messages)


# --- documents of any shape -------------------------------------------------------------------------------------------

NUMBERS = st.integers(2, 1_000_000).map(lambda number: number / 4 + 0.1)
KEYS = st.sampled_from(["oil", "temp", "rpm", "load", "a b", "x/y", "m~n", "value", "v", "status", "on", "motor"])
OBJECTS = st.recursive(
    st.dictionaries(KEYS, NUMBERS | st.booleans(), min_size=1, max_size=4),
    lambda inner: st.dictionaries(KEYS, inner | NUMBERS, min_size=1, max_size=3),
    max_leaves=6,
)
CODECS: dict[str, Any] = {"json": msgspec.json.encode, "cbor": cbor2.dumps, "msgpack": msgspec.msgpack.encode}


def numbers_in(document: Any) -> Counter[float]:
    if isinstance(document, dict):
        return sum(map(numbers_in, document.values()), Counter[float]())
    return Counter([float(document)])


@pytest.mark.parametrize("codec", CODECS)
@few
@given(document=OBJECTS, machines=st.integers(1, 4))
def test_every_number_of_an_object_is_read_or_told_as_left_out(
    codec: str, document: dict[str, Any], machines: int
) -> None:
    payload = CODECS[codec](document)
    messages = [(b"m/press-%d" % at, payload) for at in range(machines)]
    draft, loaded, _ = drafted(heard(messages * 2))
    (route,) = draft.routes
    assert route.decoder == codec
    found = read_by(loaded, [("m/press-1", payload, START_US)])
    values = Counter(one.value for one in found)
    assert not values - numbers_in(document)
    assert len(found) + len(route.left_out) == numbers_in(document).total()


@pytest.mark.parametrize("codec", CODECS)
@few
@given(
    names=st.lists(st.sampled_from(["temp", "rpm", "oil.temp", "Höhe", "p-1"]), min_size=1, max_size=5, unique=True),
    called=st.sampled_from(["name", "id", "sensor", "tagname"]),
    fields=st.lists(st.sampled_from(["value", "min", "max"]), min_size=1, max_size=3, unique=True),
    above=st.booleans(),
    data=st.data(),
)
def test_every_value_of_every_row_is_read(
    codec: str, names: list[str], called: str, fields: list[str], above: bool, data: st.DataObject
) -> None:
    rows = [{called: name, **{field: data.draw(NUMBERS) for field in fields}} for name in names]
    document = {"gateway": "gw", "readings": rows} if above else rows
    payload = CODECS[codec](document)
    _, loaded, text = drafted(heard([(b"m/press-%d" % at, payload) for at in range(3)] * 2))
    found = read_by(loaded, [("m/press-1", payload, START_US)])
    expected = [row["value"] for row in rows] if "value" in fields else [row[field] for row in rows for field in fields]
    assert Counter(one.value for one in found) == Counter(expected), text
    assert len({one.path for one in found}) == len(expected)
