"""What a commit says beside its offset: which snapshot to start from, and how far the partition's clock was."""

from __future__ import annotations

from dataclasses import dataclass

_FIRST = "v1"


@dataclass(frozen=True, slots=True)
class Note:
    """snapshot_id: "" for none. now_us: None if it is not known."""

    snapshot_id: str = ""
    now_us: int | None = None

    def __str__(self) -> str:
        return f"{_FIRST} {self.now_us or 0} {self.snapshot_id}".rstrip()


def read_note(metadata: str) -> Note:
    """Read it; what is not ours, or newer, says nothing.

    >>> read_note(str(Note("0-17-ab", 1700000000000000)))
    Note(snapshot_id='0-17-ab', now_us=1700000000000000)
    >>> read_note("1700000000000000")  # a version before there were snapshots
    Note(snapshot_id='', now_us=1700000000000000)
    >>> read_note("?")
    Note(snapshot_id='', now_us=None)
    """
    if metadata.isdecimal():
        return Note(now_us=int(metadata))
    version, _, rest = metadata.partition(" ")
    now, _, snapshot_id = rest.partition(" ")
    if version != _FIRST or not now.isdecimal():
        return Note()
    return Note(snapshot_id, int(now) or None)
