"""What births tell of nodes, devices and their metrics."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

from msgspec import Raw

from ingest.contract.errors import QuarantineError, Reason
from ingest.contract.readings import MAX_TS_US, MIN_TS_US
from ingest.contract.sensors import MAX_PATH_BYTES
from ingest.decoders.base import Description
from ingest.decoders.sparkplug.properties import properties_of
from ingest.decoders.sparkplug.values import DATATYPES, UNKNOWN, DataType, Shape

MIN_MS, MAX_MS = MIN_TS_US // 1_000, MAX_TS_US // 1_000
BD_SEQ = "bdSeq"
REBIRTH = "Node Control/Rebirth"
_CONTROLS = ("Node Control/", "Device Control/")


class Known(NamedTuple):
    """A metric that was born; made by `known_as`.

    wrong: why it gives no readings. One without `wrong` and `field` steers, silently.
    usual: number of the datatype, attribute with the value, and between what that can be taken as it is.
    """

    field: str
    datatype: DataType
    unit: str | None
    wrong: tuple[Reason, str] | None
    usual: tuple[int, str, float, float]


_NEVER = (0, "alias", 0.0, 0.0)


def known_as(field: str, datatype: DataType, unit: str | None = None, wrong: tuple[Reason, str] | None = None) -> Known:
    """A metric, and how it is usually read."""
    usual = (datatype.number, datatype.attribute, datatype.above, datatype.below)
    return Known(field, datatype, unit, wrong, usual if field and wrong is None else _NEVER)


@dataclasses.dataclass(slots=True, eq=False)
class Device:
    """A device, or the node's own metrics. path: `group/node` or `group/node/device`.

    alive: its data can be read. current: it was born in the node's present session, whether or not it died since.
    born_ms:  the time in its last birth. since_ms: from when on its metrics mean what they mean now; 0: unknown.
    born_in:  the session of its node (bdSeq) in which it was born last; None where no birth told.
    barred:   why its last birth was refused. written: its metrics in a snapshot, once they were asked for.
    """

    path: str
    alive: bool = False
    current: bool = False
    born_ms: int = 0
    since_ms: int = 0
    born_in: int | None = None
    names: dict[str, Known] = dataclasses.field(default_factory=dict)
    aliases: dict[int, Known] = dataclasses.field(default_factory=dict)
    barred: tuple[Reason, str] | None = None
    written: Raw | None = None

    @property
    def size(self) -> int:
        """How many metrics it takes memory for."""
        return max(len(self.names), len(self.aliases))

    def bear(self, birth: Birth, at_ms: int, session: int | None) -> None:
        """Take over a birth in a session of its node. Where it says what the one before said, and that was of the same
        session or the one before, older data are still understood; in between, a birth may have been missed.
        """
        if not MIN_MS <= at_ms < MAX_MS:
            at_ms = 0  # a clock that tells nothing
        same = self.names == birth.names and self.aliases == birth.aliases and self._followed_by(session)
        self.born_in = session
        self.since_ms = min(self.since_ms, at_ms) if same and self.names else at_ms
        self.names, self.aliases, self.written = birth.names, birth.aliases, None
        self.born_ms, self.alive, self.current, self.barred = at_ms, True, True, None

    def _followed_by(self, session: int | None) -> bool:
        return session is not None and self.born_in is not None and (session - self.born_in) & 255 <= 1

    def end_session(self) -> None:
        """Its node was born anew, or was said to be."""
        self.alive = self.current = False

    def bar(self, reason: Reason, detail: str) -> None:
        """Forget everything: what was born now cannot be known."""
        self.names, self.aliases, self.written = {}, {}, None
        self.end_session()
        self.barred = reason, detail


@dataclasses.dataclass(slots=True, eq=False)
class Node:
    """An edge node and its devices, through which one sequence of numbers runs.

    bd_seq:    number of the session; None where no birth told.
    seq:       of the newest message; -1: whatever comes next is right.
    newest_ms: the time in that message.
    owes:      a message was missed: it owes a birth.
    """

    own: Device
    devices: dict[str, Device] = dataclasses.field(default_factory=dict)
    bd_seq: int | None = None
    seq: int = -1
    newest_ms: int = 0
    owes: bool = False

    def all(self) -> list[Device]:
        """The node itself, then its devices."""
        return [self.own, *self.devices.values()]

    def device(self, name: str) -> Device | None:
        """By the last part of the topic; the node itself for none."""
        return self.devices.get(name) if name else self.own

    def expects(self, payload: Any) -> bool:
        """Whether a payload is next in the sequence."""
        return self.seq < 0 or payload.seq & 255 == (self.seq + 1) & 255

    def follow(self, payload: Any) -> None:
        """Note the number of a payload; where one is missing, the node owes a birth.

        A message redelivered, or overtaken on its way, is no gap: its number is behind, and so is its time. (A broker
        redelivers thousands in a row, so that the numbers alone, which repeat after 256, cannot tell.)
        """
        seq, at_ms = payload.seq & 255, payload.timestamp
        if not seq and not payload.HasField("seq"):
            self.seq = -1
            return
        if not self.expects(payload):
            behind = (self.seq - seq) & 255
            if behind == 0 or (at_ms and (at_ms < self.newest_ms or (at_ms == self.newest_ms and behind < 128))):
                return
            self.owes = True
        self.seq, self.newest_ms = seq, at_ms


class Birth(NamedTuple):
    """A birth, read. metrics: in the payload's order; None for those that have been told already."""

    metrics: list[Known]
    names: dict[str, Known]
    aliases: dict[int, Known]
    described: list[Description]
    bd_seq: int | None

    @property
    def size(self) -> int:
        """As `Device.size`."""
        return max(len(self.names), len(self.aliases))


def read_birth(payload: Any, path: str, taken: dict[str, Known], within: str) -> Birth:
    """What a birth defines.

    taken, within: names of the node's own metrics, and what they begin with if they would be a device's.
    """
    birth = Birth([], {}, {}, [], bd_seq_of(payload))
    for metric in payload.metrics:
        name = metric.name
        known = _known(metric, name, path, birth)
        if known.wrong is None and within and f"{within}/{name}" in taken:
            known = _wrong(known, "the node has a metric of the same path")
        before = birth.names.get(name)
        if before is not None and before != known:
            known = _wrong(known, "one name for metrics of several sorts")
            birth.names[name] = known
        elif isinstance(name, str) and 0 < len(name) <= MAX_PATH_BYTES:
            birth.names[name] = known
        birth.metrics.append(known)
        if metric.HasField("alias"):
            other = birth.aliases.setdefault(metric.alias, known)
            if other.field != known.field or other.wrong != known.wrong:
                # What comes by it could be either; by their names they can still be told.
                ambiguous = known_as("", UNKNOWN)
                birth.aliases[metric.alias] = _wrong(ambiguous, f"alias {metric.alias} for several metrics")
    return birth


def _wrong(known: Known, why: str) -> Known:
    return known_as(known.field, known.datatype, known.unit, (Reason.NAME, why))


def _known(metric: Any, name: Any, path: str, birth: Birth) -> Known:
    datatype = DATATYPES.get(metric.datatype, UNKNOWN)
    if not isinstance(name, str):
        return known_as("", datatype, None, (Reason.ENCODING, "a name that is not UTF-8"))
    if name == BD_SEQ or name.startswith(_CONTROLS):
        return known_as("", datatype)
    field = f"{path}/{name}"
    if not name or len(field) > MAX_PATH_BYTES:
        why = f"a path of over {MAX_PATH_BYTES} bytes" if name else "a metric without a name"
        return known_as("", datatype, None, (Reason.NAME, why))
    if datatype.shape is Shape.NONE:
        return known_as(field, datatype, None, (Reason.TYPE, f"{name[:64]}: datatype {datatype.name}"))
    if not metric.properties:
        return known_as(field, datatype)
    try:
        said = properties_of(metric.properties)
    except QuarantineError as error:
        return known_as(field, datatype, None, (error.reason, f"{name[:64]}: {error.detail}"))
    if said.unit is not None or said.low is not None or said.high is not None:
        birth.described.append(Description(field, said.unit or "", said.low, said.high))
    return known_as(field, datatype, said.unit)


def bd_seq_of(payload: Any) -> int | None:
    """The session's number, in a birth or death of a node; written as Int64 or UInt64, in either field."""
    for metric in payload.metrics:
        if metric.name == BD_SEQ:
            which = metric.WhichOneof("value")
            return getattr(metric, which) if which in ("int_value", "long_value") else None
    return None
