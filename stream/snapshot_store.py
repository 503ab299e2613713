"""Where snapshots are: per partition, the newest last, found again by their names alone."""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import Collection
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from ingest.contract.worker_settings import SnapshotSettings
from stream.file_objects import FileObjects
from stream.objects import Objects, UnreadableError
from stream.remote_objects import RemoteObjects
from stream.snapshot import Fault, Snapshot, SnapshotError, decode_snapshot, encode_snapshot

_SUFFIX = ".snapshot"
_ID = re.compile(r"(\d{19})-(\d{19})-(\d{19})-[0-9a-f]{8}", re.ASCII)
_LONGEST_SEGMENT = 150
_MOST_BYTES = 4 * 2**30
# Whoever cannot use so many has to rebuild from the log anyway, and soon.
_MOST_TRIES = 16


class Entry(NamedTuple):
    """A snapshot, as far as its name tells. They compare by age: the fence first, then the offset."""

    fence: int
    next_offset: int
    made_us: int
    id: str


@dataclass(frozen=True, slots=True)
class Found:
    """The newest snapshot that can be used, and the newer ones that cannot.

    id, snapshot: None where there is none. skipped: what was tried before it.
    """

    id: str | None
    snapshot: Snapshot | None
    skipped: list[tuple[str, SnapshotError]]


def open_objects(settings: SnapshotSettings, state_dir: Path) -> Objects:
    """The store that the settings name; nothing is opened or made yet. state_dir: the worker's."""
    folder = settings.folder(state_dir)
    return RemoteObjects(settings) if folder is None else FileObjects(folder, settings.timeout / 1e6)


class SnapshotStore:
    """The snapshots of a group's partitions of a topic, which has `partitions` of them.

    Methods raise StoreError when the store fails, and leave the event loop free meanwhile.
    """

    def __init__(self, objects: Objects, group: str, topic: str, partitions: int) -> None:
        self._objects = objects
        self._group, self._topic, self._partitions = group, topic, partitions
        self._room = f"{_segment(group)}/{_segment(topic)}"

    @property
    def objects(self) -> Objects:
        """Where they are."""
        return self._objects

    def folder(self, partition: int) -> str:
        """What the names of a partition's objects begin with."""
        return f"{self._room}/{partition}"

    async def put(self, snapshot: Snapshot) -> str:
        """Keep one, durably. Returns its id, which no other has."""
        data = await asyncio.to_thread(encode_snapshot, snapshot)
        number = (snapshot.fence, snapshot.frozen.next_offset, snapshot.made_us)
        snapshot_id = "-".join([*(f"{one:019d}" for one in number), secrets.token_hex(4)])
        await self._objects.put(f"{self.folder(snapshot.partition)}/{snapshot_id}{_SUFFIX}", data)
        return snapshot_id

    async def get(self, partition: int, snapshot_id: str) -> Snapshot:
        """Read one. Raises SnapshotError."""
        entry = _entry(snapshot_id)
        if entry is None:
            raise SnapshotError(Fault.MISSING, "that is no snapshot's id")
        data = await self._objects.get(f"{self.folder(partition)}/{snapshot_id}{_SUFFIX}", _MOST_BYTES)
        if data is None:
            raise SnapshotError(Fault.MISSING, f"{snapshot_id} is not in {self._objects.place}")
        snapshot = await asyncio.to_thread(decode_snapshot, data)
        self._check(snapshot, partition)
        if (snapshot.fence, snapshot.frozen.next_offset, snapshot.made_us) != entry[:3]:
            raise SnapshotError(Fault.CORRUPT, "its content is not what its name says")
        return snapshot

    async def list(self, partition: int) -> list[Entry]:
        """All of a partition, the newest first, from their names alone."""
        names = await self._objects.names(self.folder(partition))
        found = [_entry(name.removesuffix(_SUFFIX)) for name in names if name.endswith(_SUFFIX)]
        return sorted((entry for entry in found if entry is not None), reverse=True)

    async def newest_valid(self, partition: int, *, up_to_offset: int | None = None) -> Found:
        """The newest that can be used.

        up_to_offset: not those whose next offset is beyond it. Raises StoreError also where there is none, and some
        could not be read for the disk's sake: what is there must not be taken for lost.
        """
        skipped: list[tuple[str, SnapshotError]] = []
        unreadable: UnreadableError | None = None
        entries = await self.list(partition)
        fitting = [entry for entry in entries if up_to_offset is None or entry.next_offset <= up_to_offset]
        for entry in fitting[:_MOST_TRIES]:
            try:
                return Found(entry.id, await self.get(partition, entry.id), skipped)
            except SnapshotError as error:
                skipped.append((entry.id, error))
            except UnreadableError as error:
                unreadable = error
                skipped.append((entry.id, SnapshotError(Fault.TORN, str(error))))
        if unreadable is not None:
            raise unreadable
        return Found(None, None, skipped)

    async def collect(self, partition: int, keep: int, protect: Collection[str] = ()) -> int:
        """Delete all but the newest `keep`, and what killed processes have left; returns how many snapshots.

        protect: ids that stay whatever their age, such as the one that is committed.
        """
        entries = await self.list(partition)
        old = [f"{entry.id}{_SUFFIX}" for entry in entries[keep:] if entry.id not in protect]
        folder = self.folder(partition)
        if old:
            await self._objects.delete(folder, old)
        if entries:
            await self._objects.sweep(folder, entries[0].id)
        return len(old)

    def close(self) -> None:
        """Begin nothing new."""
        self._objects.close()

    def _check(self, snapshot: Snapshot, partition: int) -> None:
        if (snapshot.group, snapshot.topic, snapshot.partition) != (self._group, self._topic, partition):
            raise SnapshotError(
                Fault.FOREIGN,
                f"it is of partition {snapshot.partition} of {snapshot.topic!r} and group {snapshot.group!r}",
            )
        if snapshot.partitions != self._partitions:
            raise SnapshotError(
                Fault.FOREIGN,
                f"it was made when the topic had {snapshot.partitions} partitions, now it has {self._partitions}: "
                "machines have moved between them. Go back to the old count, or start a new topic and a new group",
            )


def _entry(text: str) -> Entry | None:
    match = _ID.fullmatch(text)
    return Entry(int(match[1]), int(match[2]), int(match[3]), text) if match else None


def _segment(name: str) -> str:
    """A name as one segment of a path, for every file system and bucket, and for each name another.

    >>> _segment("millstream.readings"), _segment("../a b")
    ('millstream.readings', '%2E.%2Fa%20b')
    """
    quoted = quote(name, safe="")
    if quoted.startswith((".", "~")):
        quoted = f"%{ord(quoted[0]):02X}{quoted[1:]}"
    if len(quoted) <= _LONGEST_SEGMENT:
        return quoted
    # What a % begins must not be cut in two; the digest makes it one of its own again.
    short = re.sub(r"%[0-9A-F]?$", "", quoted[: _LONGEST_SEGMENT - 33])
    return f"{short}-{blake2b(name.encode(errors='surrogatepass'), digest_size=16).hexdigest()}"
