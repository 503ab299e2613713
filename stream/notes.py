"""What a commit says beside its offset: which snapshot to start from, and how far the partition's clock was."""

from __future__ import annotations

from dataclasses import dataclass

_FIRST = "v1"


@dataclass(frozen=True, slots=True)
class Note:
    """snapshot_id: "" for none. begin: without one, where the fold began with nothing. now_us: None if not known."""

    snapshot_id: str = ""
    now_us: int | None = None
    begin: int | None = None

    def __str__(self) -> str:
        place = self.snapshot_id or ("" if self.begin is None else f"@{self.begin}")
        return f"{_FIRST} {self.now_us or 0} {place}".rstrip()


def read_note(metadata: str) -> Note:
    """Read it; what is not ours, or newer, says nothing.

    >>> read_note(str(Note("0-17-ab", 1700000000000000)))
    Note(snapshot_id='0-17-ab', now_us=1700000000000000, begin=None)
    >>> read_note(str(Note("", None, 17)))
    Note(snapshot_id='', now_us=None, begin=17)
    >>> read_note("1700000000000000")  # a version before there were snapshots
    Note(snapshot_id='', now_us=1700000000000000, begin=None)
    >>> read_note("?")
    Note(snapshot_id='', now_us=None, begin=None)
    """
    if metadata.isdecimal():
        return Note(now_us=int(metadata))
    version, _, rest = metadata.partition(" ")
    now, _, place = rest.partition(" ")
    if version != _FIRST or not now.isdecimal():
        return Note()
    now_us = int(now) or None
    if place.startswith("@") and place[1:].isdecimal():
        return Note(now_us=now_us, begin=int(place[1:]))
    return Note(place, now_us)
