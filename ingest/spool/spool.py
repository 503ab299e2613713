"""The spool's directory: who holds it, which lanes it has, what is kept of damaged files."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from urllib.parse import quote, unquote

from ingest.contract.errors import StopError
from ingest.spool.budget import Budget
from ingest.spool.frames import Damage
from ingest.spool.lane import Lane

SEGMENT_BYTES = 64 * 2**20
_KEPT_ASIDE = 8
_LONGEST_NAME = 250


class Spool:
    """All lanes in one directory, opened and held.

    max_bytes: of all segments together. segment_bytes: disk space comes free by the segment. Raises StopError if
    another process holds the directory or it cannot be used, IncompatibleError if a newer version wrote in it.
    """

    def __init__(self, directory: Path, max_bytes: int, segment_bytes: int = SEGMENT_BYTES) -> None:
        self._directory = directory
        self._budget = Budget(max_bytes)
        self._segment_bytes = segment_bytes
        self._lanes: dict[tuple[str, int], Lane] = {}
        self.damage: list[Damage] = []
        """What was found missing when it was opened."""
        try:
            (directory / "lanes").mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock_fd = _locked(directory)
            try:
                self._recover()
            except BaseException:
                os.close(self._lock_fd)
                raise
        except OSError as error:
            raise StopError(
                f"the spool {directory} cannot be used ({error.strerror}): give gateway.state_dir a directory that "
                "this user may write to, on a disk that survives a restart"
            ) from error

    def _recover(self) -> None:
        for path in sorted((self._directory / "lanes").iterdir()):
            topic, _, partition = path.name.rpartition("@")
            if topic and partition.isascii() and partition.isdigit() and path.is_dir():
                self.lane(unquote(topic), int(partition)).look()
        # A newer version's file anywhere has to be met before anything is changed.
        for lane in self._lanes.values():
            self.damage += lane.recover()

    @property
    def lanes(self) -> Mapping[tuple[str, int], Lane]:
        """Those that exist, by topic and partition."""
        return MappingProxyType(self._lanes)

    @property
    def used_bytes(self) -> int:
        """Bytes on disk of all segments, drained parts included."""
        return self._budget.used

    @property
    def freed_bytes(self) -> int:
        """Bytes that came free since it was opened; grows only."""
        return self._budget.freed

    @property
    def max_bytes(self) -> int:
        """What `used_bytes` never exceeds, unless it did when the spool was opened."""
        return self._budget.max_bytes

    def lane(self, topic: str, partition: int) -> Lane:
        """The lane of a partition."""
        lane = self._lanes.get((topic, partition))
        if lane is None:
            # Percent-encoded, a topic has no slash and no @, and with the partition it is never `..`.
            name = f"{quote(topic, safe='')}@{partition}"
            if len(name) > _LONGEST_NAME:
                raise StopError(f"the name of topic {topic[:50]!r}… is too long for the spool, and for Kafka")
            lane = Lane(
                topic,
                partition,
                self._directory / "lanes" / name,
                self._budget,
                self._segment_bytes,
                self._keep,
            )
            self._lanes[topic, partition] = lane
        return lane

    def _keep(self, path: Path) -> None:
        """Keep a damaged file for whoever can read more of it than we can, but not any number of them."""
        aside = self._directory / "damaged"
        # A second name costs nothing and lasts, however this process ends. Not every file system has them.
        with contextlib.suppress(OSError):
            aside.mkdir(mode=0o700, exist_ok=True)
            (aside / f"{path.parent.name}.{path.stem}.damaged").hardlink_to(path)
            oldest_first = sorted(aside.glob("*.damaged"), key=lambda one: (one.stat().st_mtime_ns, one.name))
            for one in oldest_first[:-_KEPT_ASIDE]:
                one.unlink()

    def close(self) -> None:
        """Let another process have it. Waits for appends under way."""
        for lane in self._lanes.values():
            lane.close()
        with contextlib.suppress(OSError):
            os.close(self._lock_fd)


def _locked(directory: Path) -> int:
    """Hold the directory for the life of this process; the system lets go of it however that ends."""
    path = directory / "lock"
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        holder = os.pread(fd, 20, 0).decode(errors="replace").strip()
        os.close(fd)
        raise StopError(
            f"the spool {directory} is in use by another gateway (process {holder or 'unknown'}): stop that one, or "
            "give this one a gateway.state_dir of its own"
        ) from error
    with contextlib.suppress(OSError):  # on a full disk the lock holds without the number in it
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
    return fd
