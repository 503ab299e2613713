"""Whatever is lost, redelivered, late or restarted: no value comes under another's name or type, and nodes are asked in
moderation.

The plant: two nodes with a device each. Every value ever sent is a number used once, so that it tells what it is of.
What MQTT promises is kept: deaths of nodes are not lost (they are sent at QoS 1), and what a broker sends again it
sends in order, up to the newest. All else may be lost.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import isnan
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from ingest.contract.errors import Reason
from ingest.contract.readings import Quality
from ingest.decoders import Decoded, Messages
from ingest.decoders.sparkplug import SparkplugB
from tests.conformance.payloads.sparkplug_b import bd_seq, metric, payload

EVERY_US = 10_000_000
Sent = tuple[bytes, bytes]
Layout = tuple[tuple[str, str, int], ...]  # name, datatype, alias

LAYOUTS: list[Layout] = [
    (("a", "Double", 1), ("b/c", "UInt32", 2)),
    (("b/c", "Double", 1), ("a", "UInt32", 2)),
    (("b/c", "String", 1), ("d", "Double", 2), ("a", "UInt32", 3)),
    (("a", "Double", 1), ("b/c", "UInt32", 2), ("e", "String", 0)),
]


@dataclass
class Node:
    name: str
    session: int = 0
    seq: int = 0
    running: bool = False
    layouts: dict[str, Layout] = field(default_factory=lambda: {"": LAYOUTS[0], "D": LAYOUTS[0]})

    def topic(self, kind: str, device: str) -> bytes:
        letter, end = ("D", f"/{device}") if device else ("N", "")
        return f"spBv1.0/G/{letter}{kind}/{self.name}{end}".encode()

    def path(self, device: str) -> str:
        return f"G/{self.name}/{device}" if device else f"G/{self.name}"


def aliases_of_device(layout: Layout, device: str) -> Layout:
    """Unique over the node, as the specification demands."""
    return tuple((name, kind, alias + 10 if device else alias) for name, kind, alias in layout)


class SparkplugMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.options: dict[str, Any] = {"rebirth_every": EVERY_US / 1e6}
        self.decoder, self.in_bursts = SparkplugB(**self.options), SparkplugB(**self.options)
        self.nodes = [Node("M"), Node("N")]
        self.ms = 1_700_000_000_000
        self.now_us = self.ms * 1_000
        self.values = 0
        self.truth: dict[str, tuple[str, str]] = {}  # value → field, datatype
        self.delivered: list[Sent] = []
        self.late: list[Sent] = []
        self.asked_us: dict[str, int] = {}
        self.burst: list[tuple[Sent, int]] = []
        self.alone: list[tuple[Any, ...]] = []

    # --- the plant ----------------------------------------------------------------------------------------------

    def write(self, node: Node, device: str, *, born: bool, by_name: bool = False) -> bytes:
        metrics = []
        for name, kind, alias in aliases_of_device(node.layouts[device], device):
            self.values += 1
            value = str(self.values) if kind == "String" else self.values
            self.truth[str(self.values)] = (f"{node.path(device)}/{name}", kind)
            named = name if born or by_name else None
            metrics.append(metric(named, value, kind, born=born, **({} if by_name else {"alias": alias})))
        self.ms += 1
        if born and not device:
            node.seq = 0
            return payload(bd_seq(node.session), *metrics, seq=0, ms=self.ms)
        node.seq = (node.seq + 1) % 256
        return payload(*metrics, seq=node.seq, ms=self.ms)

    def births(self, node: Node) -> list[Sent]:
        return [(node.topic("BIRTH", device), self.write(node, device, born=True)) for device in ("", "D")]

    # --- the host -----------------------------------------------------------------------------------------------

    def deliver(self, sent: Sent, *, again: bool = False) -> Decoded:
        self.now_us += 1_000
        decoded = self.decoder.decode(Messages([sent[0]], [sent[1]], [self.now_us]))
        self.alone += rows_of(decoded, len(self.burst))
        self.burst.append((sent, self.now_us))
        if not again:
            self.delivered.append(sent)
        for row, name in enumerate(decoded.field):
            value = decoded.value[row]
            if decoded.code[row] in ("NDEATH", "DDEATH"):
                assert isnan(value)
                assert decoded.quality[row] == Quality.BAD
                continue
            text = decoded.text[row]
            meant, datatype = self.truth[str(int(value)) if text is None else text]
            assert name == meant
            assert (text is not None) == (datatype == "String")
        for request in decoded.requests:
            before_us = self.asked_us.get(request.topic)
            assert before_us is None or self.now_us - before_us >= EVERY_US
            self.asked_us[request.topic] = self.now_us
        assert {one.reason for one in decoded.rejected} <= {Reason.NO_BIRTH}
        return decoded

    @initialize()
    def start(self) -> None:
        for which in (0, 1):
            self.restart(which, set(), (LAYOUTS[0], LAYOUTS[1]))

    @rule(which=st.integers(0, 1), lost=st.sets(st.integers(0, 1)), layouts=st.tuples(*[st.sampled_from(LAYOUTS)] * 2))
    def restart(self, which: int, lost: set[int], layouts: tuple[Layout, Layout]) -> None:
        """A node comes anew, with other aliases and types."""
        node = self.nodes[which]
        self.die(which)
        node.running, node.session = True, (node.session + 1) % 256
        node.layouts = dict(zip(("", "D"), layouts, strict=True))
        for at, sent in enumerate(self.births(node)):
            if at not in lost:
                self.deliver(sent)

    @rule(which=st.integers(0, 1))
    def die(self, which: int) -> None:
        node = self.nodes[which]
        if node.running:
            node.running = False
            # A last will, written when the session began. What was on its way then comes before it or never.
            self.deliver((node.topic("DEATH", ""), payload(bd_seq(node.session), ms=self.ms - 1_000)))

    @rule(which=st.integers(0, 1), lost=st.sets(st.integers(0, 1)))
    def rebirth(self, which: int, lost: set[int]) -> None:
        node = self.nodes[which]
        if not node.running:
            return
        for at, sent in enumerate(self.births(node)):
            if at not in lost:
                self.deliver(sent)
        if lost:
            return
        for device in ("", "D"):
            decoded = self.deliver((node.topic("DATA", device), self.write(node, device, born=False)))
            assert len(decoded.field) == len(node.layouts[device])

    @rule(which=st.integers(0, 1), device=st.sampled_from(["", "D"]), by_name=st.booleans(), fate=st.integers(0, 6))
    def data(self, which: int, device: str, by_name: bool, fate: int) -> None:
        node = self.nodes[which]
        if not node.running:
            return
        sent = node.topic("DATA", device), self.write(node, device, born=False, by_name=by_name)
        if fate == 0:
            self.late.append(sent)
        elif fate > 1:
            self.deliver(sent)

    @rule(which=st.integers(0, 1), lost=st.booleans())
    def device_dies(self, which: int, lost: bool) -> None:
        node = self.nodes[which]
        if node.running:
            node.seq = (node.seq + 1) % 256
            self.ms += 1
            death = (node.topic("DEATH", "D"), payload(seq=node.seq, ms=self.ms))
            if not lost:
                self.deliver(death)

    @precondition(lambda self: self.late)
    @rule()
    def deliver_late(self) -> None:
        self.deliver(self.late.pop(0))

    @rule(count=st.integers(1, 40))
    def redeliver(self, count: int) -> None:
        for sent in self.delivered[-count:]:
            self.deliver(sent, again=True)

    @rule(seconds=st.integers(1, 15))
    def wait(self, seconds: int) -> None:
        self.now_us += seconds * 1_000_000

    @rule()
    def restart_host(self) -> None:
        """What it knew it knows; whom it asked, and the numbers of messages, it does not."""
        self.end_burst()
        snapshot = self.decoder.snapshot()
        self.decoder, self.in_bursts = SparkplugB(**self.options), SparkplugB(**self.options)
        for one in (self.decoder, self.in_bursts):
            one.restore(snapshot)
            assert one.snapshot() == snapshot
        self.asked_us = {}

    @rule()
    def end_burst(self) -> None:
        topics, payloads = [sent[0] for sent, _ in self.burst], [sent[1] for sent, _ in self.burst]
        decoded = self.in_bursts.decode(Messages(topics, payloads, [at_us for _, at_us in self.burst]))
        assert sorted(rows_of(decoded, 0), key=str) == sorted(self.alone, key=str)
        assert self.in_bursts.snapshot() == self.decoder.snapshot()
        self.burst, self.alone = [], []

    @invariant()
    def it_counts_what_it_knows(self) -> None:
        fleet = self.decoder._fleet
        assert fleet._known == sum(device.size for node in fleet.nodes.values() for device in node.all())


def rows_of(decoded: Decoded, first: int) -> list[tuple[Any, ...]]:
    units, flags = decoded.unit or [None] * len(decoded.field), decoded.flags or [0] * len(decoded.field)
    columns = (decoded.field, decoded.ts_us, map(repr, decoded.value), decoded.text, decoded.quality, decoded.code)
    rows = zip((first + at for at in decoded.message), *columns, units, flags, strict=True)
    rejected = [(first + at, reason, detail) for at, reason, detail in decoded.rejected]
    dropped = [(first + at, reason) for at, reason in decoded.dropped]
    return [*rows, *rejected, *dropped, *decoded.requests]


TestSparkplug = SparkplugMachine.TestCase
TestSparkplug.settings = settings(max_examples=150, stateful_step_count=50, deadline=None)
