"""What could not be read, as records of the quarantine topic: never lost, never in the way.

Two kinds of records: entries (what was set aside; no header `kind`) and marks (`kind` = `replayed`), each of which says
which entries of its own partition were read anew since. A mark stands after what it marks, so whoever reads on from an
entry to the end knows what became of it; other readers pass marks over by that header.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass

import msgspec

from ingest.contract.errors import QuarantineError, Reason
from ingest.contract.log_writer import Outgoing
from ingest.contract.partition import murmur2
from ingest.contract.readings import Flag
from ingest.contract.wire import SCHEMA_MAJOR, SCHEMA_VERSION

MAX_KEPT_BYTES = 65_536
_MAX_DETAIL = 500
# Of the longest topic and of a payload, as much as is kept, fill the smallest record that can be set: not a third time.
_MAX_KEY_BYTES = 1_024
_REPLAYED = b"replayed"


def quarantine_record(
    origin: bytes,
    payload: bytes,
    error: QuarantineError,
    *,
    route: str,
    source: str,
    arrival_us: int,
    partitions: int,
    position: int = 0,
    flags: int = 0,
) -> tuple[int, Outgoing]:
    """(partition, record): the payload's first 64 KiB, and headers that say where it came from and what is wrong.

    origin: the MQTT topic, or `topic/partition/offset` of a Kafka record. position: its place among those of the same
    source and arrival time. flags: `Flag.RETAINED` and `Flag.REDELIVERED`, as far as the broker said so. Headers:
    schema, topic (the origin), route, reason, detail, size (bytes), digest (BLAKE2b-128, hex; of all that was
    received), source, arrival, position, flags. The key is the origin's first KiB, so that one noisy sensor fills one
    partition.
    """
    key = origin[:_MAX_KEY_BYTES]
    headers = [
        ("schema", SCHEMA_VERSION.encode()),
        ("topic", origin[:MAX_KEPT_BYTES]),
        ("route", route.encode()),
        ("reason", error.reason.encode()),
        ("detail", error.detail[:_MAX_DETAIL].encode(errors="replace")),
        ("size", b"%d" % len(payload)),
        ("digest", hashlib.blake2b(payload, digest_size=16).hexdigest().encode()),
        ("source", source.encode()),
        ("arrival", b"%d" % arrival_us),
        ("position", b"%d" % position),
        ("flags", b"%d" % flags),
    ]
    record = Outgoing(payload[:MAX_KEPT_BYTES], key, headers, arrival_us // 1000)
    return (murmur2(key) & 0x7FFFFFFF) % partitions, record


@dataclass(frozen=True, slots=True)
class Entry:
    """What was set aside, read again. reason: as written, maybe by a newer program. digest: hex."""

    partition: int
    offset: int
    origin: bytes
    payload: bytes
    route: str
    reason: str
    detail: str
    size: int
    digest: str
    source: str
    arrival_us: int
    position: int
    flags: int

    @property
    def id(self) -> str:
        """Its place in the topic: `partition/offset`."""
        return f"{self.partition}/{self.offset}"

    @property
    def cut(self) -> bool:
        """Whether bytes of the payload are missing here; of an overlong one, a gateway reads only the start."""
        return self.size > len(self.payload) or self.reason == Reason.TOO_LARGE

    @property
    def order(self) -> tuple[int, str, int, int, int]:
        """Sorts entries as they arrived, as far as that is known."""
        return self.arrival_us, self.source, self.position, self.partition, self.offset

    def of_kafka(self, readings_topic: str) -> bool:
        """Whether it was a record of the readings topic, set aside by a worker, rather than an MQTT message."""
        return self.route == readings_topic and self.origin.startswith(f"{readings_topic}/".encode())


class Mark(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which entries of a partition were replayed. offsets: runs, first and last of each."""

    partition: int
    offsets: list[tuple[int, int]]


_MARK = msgspec.json.Decoder(Mark)


def replayed_record(partition: int, offsets: Iterable[int], *, source: str, arrival_us: int) -> Outgoing:
    """The mark of some entries; it belongs into their own partition. arrival_us: now.

    >>> replayed_record(1, [7, 5, 6, 9], source="replay", arrival_us=0).value
    b'{"partition":1,"offsets":[[5,7],[9,9]]}'
    """
    runs: list[tuple[int, int]] = []
    for offset in sorted(set(offsets)):
        if runs and runs[-1][1] == offset - 1:
            runs[-1] = (runs[-1][0], offset)
        else:
            runs.append((offset, offset))
    headers = [
        ("kind", _REPLAYED),
        ("schema", SCHEMA_VERSION.encode()),
        ("source", source.encode()),
        ("arrival", b"%d" % arrival_us),
    ]
    return Outgoing(msgspec.json.encode(Mark(partition, runs)), None, headers)


def read_quarantine(
    partition: int, offset: int, headers: Iterable[tuple[str, bytes | None]], value: bytes | None
) -> Entry | Mark:
    """Understand a record of the quarantine topic.

    Raises QuarantineError(RECORD) for what Millstream did not write, or only a newer one can read.
    """
    found = {name: content for name, content in headers if content is not None}
    try:
        if not 1 <= int(found["schema"].partition(b".")[0]) <= SCHEMA_MAJOR:
            raise QuarantineError(Reason.RECORD, "a schema version that is not read")
        kind = found.get("kind")
        if kind == _REPLAYED:
            mark = _MARK.decode(value or b"")
            if mark.partition != partition:
                raise QuarantineError(Reason.RECORD, "a mark of another partition")
            return mark
        if kind is not None:
            raise QuarantineError(Reason.RECORD, "a kind of record that is not known")
        return Entry(
            partition,
            offset,
            found["topic"],
            value or b"",
            found["route"].decode(errors="replace"),
            found["reason"].decode(errors="replace"),
            found.get("detail", b"").decode(errors="replace"),
            int(found["size"]),
            found["digest"].decode(errors="replace"),
            found["source"].decode(errors="replace"),
            int(found["arrival"]),
            int(found.get("position", b"0")),
            int(found.get("flags", b"0")) & (Flag.RETAINED | Flag.REDELIVERED),
        )
    except (KeyError, ValueError, msgspec.DecodeError) as error:
        raise QuarantineError(Reason.RECORD, f"not an entry of a quarantine: {error}") from error


class Replayed:
    """The entries that marks name. Memory grows with the number of runs, not of entries."""

    def __init__(self) -> None:
        self._runs: dict[int, list[tuple[int, int]]] = {}
        self._sorted = True

    def add(self, mark: Mark) -> None:
        """Take a mark into account; runs may overlap, and one that ends before it begins names nothing."""
        runs = self._runs.setdefault(mark.partition, [])
        runs += [run for run in mark.offsets if run[0] <= run[1]]
        self._sorted = False

    def __contains__(self, place: tuple[int, int]) -> bool:
        """Whether (partition, offset) was replayed."""
        if not self._sorted:
            self._runs = {partition: _merged(runs) for partition, runs in self._runs.items()}
            self._sorted = True
        partition, offset = place
        runs = self._runs.get(partition, [])
        at = bisect_right(runs, (offset, 2**63)) - 1
        return at >= 0 and runs[at][1] >= offset


def _merged(runs: list[tuple[int, int]]) -> list[tuple[int, int]]:
    merged: list[tuple[int, int]] = []
    for first, last in sorted(runs):
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(merged[-1][1], last))
        else:
            merged.append((first, last))
    return merged
