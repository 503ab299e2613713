"""Sparkplug B 3.0, read as a host application does.

One instance sees a whole namespace: the numbers of a node run over its own messages and those of its devices.
"""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

from google.protobuf.message import DecodeError

from ingest.contract.errors import QuarantineError, Reason
from ingest.decoders.base import Decoded, Drop, Dropped, Messages, Rejected
from ingest.decoders.sparkplug.births import Birth, Device, Node, bd_seq_of, read_birth
from ingest.decoders.sparkplug.fleet import Fleet
from ingest.decoders.sparkplug.rebirths import Rebirths
from ingest.decoders.sparkplug.rows import Rows
from ingest.decoders.sparkplug.schema import Payload, has_more_metrics
from ingest.decoders.sparkplug.topics import Topic, parse_topic

_MAX_TOPICS = 65_536
_COMMANDS = ("STATE", "NCMD", "DCMD")


@dataclasses.dataclass(slots=True)
class SparkplugB:
    """Births, data and deaths of Sparkplug B edge nodes and their devices.

    A reading's field is `group/node/metric` or `group/node/device/metric`, in which a metric's own slashes stay.
    `bdSeq`, `Node Control/…` and `Device Control/…` are no readings. A DateTime is a number of ms since 1970. Arrays of
    numbers are waveforms; other arrays, bytes, files, data sets and templates are refused, without harm to the rest.

    rebirth:       ask nodes for births that are missing. False where another host of the plant does.
    rebirth_every: seconds between two requests to one node.
    max_metrics:   in one payload, hence of one node or device.
    max_nodes:     in all. max_devices: of one node. max_known: metrics in all.
    """

    rebirth: bool = True
    rebirth_every: float = 60.0
    max_metrics: int = 10_000
    max_nodes: int = 1_000
    max_devices: int = 1_000
    max_known: int = 200_000
    _fleet: Fleet = dataclasses.field(init=False, repr=False, compare=False)
    _rebirths: Rebirths = dataclasses.field(init=False, repr=False, compare=False)
    _topics: dict[bytes, Topic] = dataclasses.field(init=False, repr=False, compare=False)
    _ways: dict[bytes, tuple[Node, Device]] = dataclasses.field(init=False, repr=False, compare=False)
    _few_bytes: int = dataclasses.field(init=False, repr=False, compare=False)
    _changes: int = dataclasses.field(init=False, repr=False, compare=False, default=0)

    reporting: ClassVar[str] = "on-change"
    """Nodes report by exception: a value holds until the next, and silence is not a gap."""

    def __post_init__(self) -> None:
        if not 1 <= self.rebirth_every <= 86_400:
            raise ValueError("rebirth_every: between 1 and 86400 seconds")
        for name in ("max_metrics", "max_nodes", "max_devices", "max_known"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: at least 1")
        self._fleet = Fleet(self.max_nodes, self.max_devices, self.max_known)
        # Twice, as those whose births were never heard are asked too.
        self._rebirths = Rebirths(round(self.rebirth_every * 1e6), 2 * self.max_nodes)
        self._topics = {}
        self._ways = {}
        self._few_bytes = 2 * self.max_metrics  # a metric takes two at least

    @property
    def names_fields(self) -> bool:
        """Always: the path is that of the metric."""
        return True

    @property
    def changes(self) -> int:
        """Grows with births that tell something new, and deaths."""
        return self._changes

    def snapshot(self) -> bytes:
        """Births, sessions and who is alive. Not the numbers of messages: after `restore`, any is the right one."""
        return self._fleet.snapshot()

    def restore(self, snapshot: bytes) -> None:
        """Raises ValueError. Nodes may be asked anew at once: when they last were is not written down."""
        self._fleet.restore(snapshot)
        self._ways.clear()

    def decode(self, messages: Messages) -> Decoded:
        """Read a burst."""
        rows = Rows()
        out, ways = rows.out, self._ways
        for at, (topic, raw, arrival_us) in enumerate(zip(*messages, strict=True)):
            before = len(out.message)
            way = ways.get(topic)
            dropped = None
            if way is None or not self._usual(rows, at, way, raw, arrival_us):
                dropped = self._any(rows, at, topic, raw, arrival_us)
            if len(out.message) > before:
                continue
            if dropped is None and not rows.was_refused(at):
                dropped = Drop.NO_READINGS
            if dropped is not None:
                out.dropped.append(Dropped(at, dropped))
        return rows.finish()

    def _usual(self, rows: Rows, at: int, way: tuple[Node, Device], raw: bytes, arrival_us: int) -> bool:
        """Read data that is next in its sequence. False for any other message: nothing has become of it yet."""
        node, device = way
        if len(raw) > self._few_bytes:
            return False
        try:
            payload = Payload.FromString(raw)
        except DecodeError:
            return False
        seq, at_ms = payload.seq, payload.timestamp
        if not 0 < seq < 256 or seq != node.seq + 1 or at_ms < device.since_ms:
            return False
        node.seq, node.newest_ms = seq, at_ms
        if not rows.data(at, payload, device):
            node.owes = True
        if node.owes:
            self._ask(rows, node.own.path, arrival_us)
        return True

    def _any(self, rows: Rows, at: int, raw_topic: bytes, raw: bytes, arrival_us: int) -> Drop | None:
        """Any message."""
        try:
            topic = self._topics.get(raw_topic) or self._topic(raw_topic)
            return self._message(rows, at, topic, raw, arrival_us)
        except QuarantineError as error:
            rows.out.rejected.append(Rejected(at, error.reason, error.detail))
            return None

    def _topic(self, raw: bytes) -> Topic:
        topic = parse_topic(raw)
        if len(self._topics) >= _MAX_TOPICS:
            self._topics.clear()
        self._topics[raw] = topic
        return topic

    def _message(self, rows: Rows, at: int, topic: Topic, raw: bytes, arrival_us: int) -> Drop | None:
        kind, name, device_name, _ = topic
        if kind in _COMMANDS:
            return Drop.CONTROL
        nodes = self._fleet.nodes
        node = nodes.get(name)
        try:
            if kind == "DDATA" or kind == "NDATA":
                payload = self._parse(raw)
                if node is None:
                    raise self._stranger(rows, name, arrival_us)
                self._data(rows, at, node, topic, payload)
                return None
            if kind == "DBIRTH" or kind == "NBIRTH":
                dropped = self._birth(rows, at, name, device_name, raw)
                node = nodes.get(name)
                return dropped
            payload = self._parse(raw)
            if node is None:
                return None
            if kind == "DDEATH":
                return self._device_death(rows, at, node, device_name, payload)
            return self._node_death(rows, at, node, payload)
        finally:
            if node is not None and node.owes:
                self._ask(rows, name, arrival_us)

    def _parse(self, raw: bytes) -> Any:
        if not raw:
            raise QuarantineError(Reason.EMPTY, "no bytes")
        may_be_many = len(raw) > self._few_bytes
        if may_be_many and has_more_metrics(raw, self.max_metrics):
            raise self._too_many()
        try:
            payload = Payload.FromString(raw)
        except DecodeError as error:
            raise QuarantineError(Reason.SYNTAX, "no payload of Sparkplug B") from error
        if may_be_many and len(payload.metrics) > self.max_metrics:
            raise self._too_many()
        return payload

    def _too_many(self) -> QuarantineError:
        return QuarantineError(Reason.TOO_LARGE, f"more than max_metrics = {self.max_metrics}")

    # --- data -----------------------------------------------------------------------------------------------------

    def _data(self, rows: Rows, at: int, node: Node, topic: Topic, payload: Any) -> None:
        device = node.device(topic.device)
        at_ms = payload.timestamp
        if device is not None and at_ms and at_ms < device.since_ms:
            # Redelivered from a session whose aliases meant something else, or a clock was set back: a birth helps.
            node.owes = True
            raise QuarantineError(Reason.NO_BIRTH, "older than the birth that tells what it means")
        node.follow(payload)
        if device is None and self._fleet.is_full(node):
            raise QuarantineError(Reason.OVER_BUDGET, f"max_devices = {self.max_devices}")
        if device is not None and device.barred is not None:
            raise QuarantineError(*device.barred)
        if device is None or not device.alive:
            node.owes = True
            raise QuarantineError(Reason.NO_BIRTH, "no birth since the start of its session, or its death")
        if not rows.data(at, payload, device):
            node.owes = True
        self._ways[topic.raw] = node, device

    def _stranger(self, rows: Rows, name: str, arrival_us: int) -> QuarantineError:
        if not self._fleet.has_room():
            return QuarantineError(Reason.OVER_BUDGET, f"max_nodes = {self.max_nodes}")
        self._ask(rows, name, arrival_us)
        return QuarantineError(Reason.NO_BIRTH, "of a node that was never born")

    def _ask(self, rows: Rows, name: str, arrival_us: int) -> None:
        if self.rebirth and (request := self._rebirths.ask(name, arrival_us)) is not None:
            rows.out.requests.append(request)

    # --- births and deaths ----------------------------------------------------------------------------------------

    def _birth(self, rows: Rows, at: int, name: str, device_name: str, raw: bytes) -> Drop | None:
        try:
            payload = self._parse(raw)
        except QuarantineError as error:
            self._miss_birth(name, device_name, error)
            raise
        node = self._fleet.node(name)
        if device_name:
            if 0 < payload.timestamp < node.own.born_ms:
                # Redelivered from a session that is over. (Or a clock was set back: its data will ask for a birth.)
                return Drop.OUTDATED
            node.follow(payload)
        try:
            device = self._fleet.device(node, device_name)
            birth = read_birth(payload, device.path, node.own.names if device_name else {}, device_name)
            if device_name or not self._is_repeated(node, birth, payload):
                self._fleet.resize(device, birth.size)
                self._bear(node, device, birth, payload)
        except QuarantineError as error:
            self._miss_birth(name, device_name, error)
            raise
        rows.out.described += birth.described
        rows.birth(at, payload, birth.metrics)
        return None

    def _bear(self, node: Node, device: Device, birth: Birth, payload: Any) -> None:
        if device is node.own:
            # A new session: its devices are to be born anew.
            for one in node.devices.values():
                one.end_session()
            node.bd_seq, node.owes = birth.bd_seq, False
            node.seq = payload.seq & 255 if payload.HasField("seq") else -1
            node.newest_ms = payload.timestamp
        elif not node.own.alive:
            node.owes = True
        device.bear(birth, payload.timestamp, node.bd_seq)
        self._change()

    def _is_repeated(self, node: Node, birth: Birth, payload: Any) -> bool:
        """Whether this very birth of the node was heard: redelivered, it must not take away what came after it."""
        own, at_ms = node.own, payload.timestamp
        again = own.alive and at_ms != 0 and own.born_ms == at_ms and node.bd_seq == birth.bd_seq
        return again and birth.names == own.names and birth.aliases == own.aliases

    def _change(self) -> None:
        self._changes += 1
        self._ways.clear()
        self._fleet.changed()

    def _miss_birth(self, name: str, device_name: str, error: QuarantineError) -> None:
        """A birth that could not be taken: what its aliases mean now, nobody knows."""
        useless = error.reason in (Reason.TOO_LARGE, Reason.OVER_BUDGET)  # the next would be the same: not asked for
        try:
            node = self._fleet.node(name) if useless else self._fleet.nodes.get(name)
            if node is None:
                return
            device = self._fleet.device(node, device_name) if useless else node.device(device_name)
        except QuarantineError:
            return  # no room to remember it: its data will be over budget, too
        for one in [device] if device_name else node.all():
            if one is not None:
                one.end_session()
        if not useless:
            node.owes = True
        elif device is not None:
            self._fleet.bar(device, error.reason, error.detail)
        self._change()

    def _node_death(self, rows: Rows, at: int, node: Node, payload: Any) -> Drop | None:
        bd_seq = bd_seq_of(payload)
        if bd_seq is not None and node.bd_seq is not None and 0 < (node.bd_seq - bd_seq) & 255 < 128:
            return Drop.OUTDATED
        # The death of a session whose birth was missed (its number is ahead) is the death of what is known, too.
        # A last will was written when its session began: only the arrival tells when it ended (3.0.0, 5.4).
        rows.death(at, node.all(), "NDEATH", 0)
        for device in node.all():
            device.alive = False
        node.seq, node.owes = -1, False
        self._change()
        return None

    def _device_death(self, rows: Rows, at: int, node: Node, device_name: str, payload: Any) -> Drop | None:
        device, at_ms = node.devices.get(device_name), payload.timestamp
        outdated = device is not None and 0 < at_ms < device.born_ms and not node.expects(payload)
        node.follow(payload)
        if device is None:
            return None
        if outdated:
            return Drop.OUTDATED
        rows.death(at, [device], "DDEATH", at_ms)
        device.alive = False
        self._change()
        return None
