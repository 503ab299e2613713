"""All nodes heard of, within limits, and how they are written down."""

from __future__ import annotations

import msgspec

from ingest.contract.errors import QuarantineError, Reason
from ingest.decoders.sparkplug.births import Device, Known, Node, known_as
from ingest.decoders.sparkplug.values import DATATYPES, UNKNOWN

_VERSION = 1


class _Metric(msgspec.Struct, array_like=True, frozen=True, gc=False):
    name: str | None  # None: known by its alias only
    alias: int | None
    field: str
    datatype: int
    unit: str | None = None
    reason: Reason | None = None
    detail: str = ""


class _Device(msgspec.Struct, array_like=True, frozen=True):
    name: str
    alive: bool
    current: bool
    born_ms: int
    since_ms: int
    born_in: int | None
    metrics: msgspec.Raw  # list[_Metric]


class _Node(msgspec.Struct, array_like=True, frozen=True):
    name: str
    bd_seq: int | None
    devices: list[_Device]


class _Snapshot(msgspec.Struct, array_like=True, frozen=True):
    version: int
    nodes: list[_Node]


_DECODER = msgspec.msgpack.Decoder(_Snapshot)
_METRICS = msgspec.msgpack.Decoder(list[_Metric])


class Fleet:
    """Nodes by `group/node`.

    max_nodes, max_devices (a node), max_known (metrics in all): what is dead makes room for what is born.
    """

    def __init__(self, max_nodes: int, max_devices: int, max_known: int) -> None:
        self.nodes: dict[str, Node] = {}
        self._max_nodes = max_nodes
        self._max_devices = max_devices
        self._max_known = max_known
        self._known = 0
        self._looked = False  # for dead nodes, in vain, since anything changed

    def changed(self) -> None:
        """Someone was born or died."""
        self._looked = False

    def has_room(self) -> bool:
        """Whether one more node could be born."""
        if len(self.nodes) >= self._max_nodes:
            self._forget_dead()
        return len(self.nodes) < self._max_nodes

    def node(self, name: str) -> Node:
        """The node of that name, new if need be. Raises QuarantineError(OVER_BUDGET)."""
        node = self.nodes.get(name)
        if node is None:
            if not self.has_room():
                raise QuarantineError(Reason.OVER_BUDGET, f"max_nodes = {self._max_nodes}")
            node = self.nodes[name] = Node(Device(name))
        return node

    def device(self, node: Node, name: str) -> Device:
        """The device of that name, new if need be; the node itself for none. Raises QuarantineError(OVER_BUDGET)."""
        device = node.device(name)
        if device is None:
            if len(node.devices) >= self._max_devices:
                for gone in [key for key, one in node.devices.items() if not one.alive]:
                    self._known -= node.devices.pop(gone).size
            if len(node.devices) >= self._max_devices:
                raise QuarantineError(Reason.OVER_BUDGET, f"max_devices = {self._max_devices}")
            device = node.devices[name] = Device(f"{node.own.path}/{name}")
        return device

    def is_full(self, node: Node) -> bool:
        """Whether a node has as many devices as it may."""
        return len(node.devices) >= self._max_devices

    def resize(self, device: Device, size: int) -> None:
        """Count a device's metrics anew, before they change. Raises QuarantineError(OVER_BUDGET)."""
        if self._known - device.size + size > self._max_known:
            self._forget_dead(device)
        if self._known - device.size + size > self._max_known:
            raise QuarantineError(Reason.OVER_BUDGET, f"max_known = {self._max_known} metrics in all")
        self._known += size - device.size

    def bar(self, device: Device, reason: Reason, detail: str) -> None:
        """A birth that could not be taken: what was known of its device does not hold any more."""
        self._known -= device.size
        device.bar(reason, detail)

    def _forget_dead(self, but: Device | None = None) -> None:
        if self._looked:
            return
        self._looked = True
        for name, node in list(self.nodes.items()):
            if not node.own.alive and but not in (devices := node.all()) and not any(one.alive for one in devices):
                self._known -= sum(device.size for device in devices)
                del self.nodes[name]

    # --- written down -------------------------------------------------------------------------------------------

    def snapshot(self) -> bytes:
        """The same bytes for the same messages. Keeps the order of births, which is that of the rows of a death."""
        nodes = [
            _Node(name, node.bd_seq, [_written(key, device) for key, device in [("", node.own), *node.devices.items()]])
            for name, node in self.nodes.items()
        ]
        return msgspec.msgpack.encode(_Snapshot(_VERSION, nodes))

    def restore(self, snapshot: bytes) -> None:
        """In place of all nodes; those beyond the limits are left out. Raises ValueError."""
        try:
            read = _DECODER.decode(snapshot)
            metrics = [[_METRICS.decode(one.metrics) for one in said.devices] for said in read.nodes]
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise ValueError(f"not a snapshot of Sparkplug births: {error}") from error
        if read.version != _VERSION:
            raise ValueError(f"a snapshot of version {read.version}, where {_VERSION} is known")
        self.nodes, self._known, self._looked = {}, 0, False
        for said, each in zip(read.nodes[: self._max_nodes], metrics, strict=False):
            node = self.nodes[said.name] = Node(Device(said.name), bd_seq=said.bd_seq)
            for one, metrics_of_one in zip(said.devices[: 1 + self._max_devices], each, strict=False):
                device = node.own if not one.name else Device(f"{said.name}/{one.name}")
                if one.name:
                    node.devices[one.name] = device
                if self._known + len(metrics_of_one) <= self._max_known:
                    _remember(device, one, metrics_of_one)
                    self._known += device.size


def _written(name: str, device: Device) -> _Device:
    if device.written is None:
        # Once a birth: a snapshot of a large plant must not hold up its readings.
        device.written = msgspec.Raw(msgspec.msgpack.encode(_metrics(device)))
    return _Device(name, device.alive, device.current, device.born_ms, device.since_ms, device.born_in, device.written)


def _metrics(device: Device) -> list[_Metric]:
    # A birth may give one name several aliases: in a fixed order, what is restored is written as it was.
    by_alias = sorted(device.aliases.items())
    alias_of = {known: alias for alias, known in reversed(by_alias) if known.field}
    metrics = [_metric(key, alias_of.get(known), known) for key, known in device.names.items()]
    told = {one.alias for one in metrics}
    return metrics + [_metric(None, alias, known) for alias, known in by_alias if alias not in told]


def _metric(name: str | None, alias: int | None, known: Known) -> _Metric:
    reason, detail = known.wrong or (None, "")
    return _Metric(name, alias, known.field, known.datatype.number, known.unit, reason, detail)


def _remember(device: Device, said: _Device, metrics: list[_Metric]) -> None:
    device.alive, device.current = said.alive, said.current
    device.born_ms, device.since_ms, device.born_in = said.born_ms, said.since_ms, said.born_in
    for one in metrics:
        wrong = None if one.reason is None else (one.reason, one.detail)
        known = known_as(one.field, DATATYPES.get(one.datatype, UNKNOWN), one.unit, wrong)
        if one.name is not None:
            device.names[one.name] = known
        if one.alias is not None:
            device.aliases[one.alias] = known
