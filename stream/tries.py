"""How often the fold was tried on records that make it fail: kept where a crash does not lose it.

One small object per partition, beside its snapshots: a line with the checksum, and JSON.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from hashlib import blake2b
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from stream.objects import Objects

_NAME = "tries"
_VERSION = 1
_LARGEST_BYTES = 2**20
_MOST_TRIED = 64
_MOST_SKIPPED = 10_000

_Offset = Annotated[int, Meta(ge=0, le=2**63 - 1)]


class _Content(Struct, forbid_unknown_fields=True):
    version: int = _VERSION
    tries: dict[str, Annotated[int, Meta(ge=0)]] = {}  # by offset; JSON knows no other keys
    skipped: list[_Offset] = []
    starts: Annotated[int, Meta(ge=0)] = 0

    @property
    def empty(self) -> bool:
        return not self.tries and not self.skipped and not self.starts


class Tries:
    """For the partitions of one worker. Every method raises StoreError when the store fails.

    folder: what the names of a partition's objects begin with. lost: told the partition, and why what was known of it
    cannot be read; it goes on as if there had been nothing.
    """

    def __init__(self, objects: Objects, folder: Callable[[int], str], lost: Callable[[int, str], None]) -> None:
        self._objects, self._folder, self._lost = objects, folder, lost
        self._one_at_a_time = asyncio.Lock()
        self._lowest: dict[int, int] = {}
        """The lowest offset there was when a partition's was last read or written; -1: starts to forget."""

    async def begin(self, partition: int, offset: int) -> int:
        """A record is about to be tried. Returns how often it has been, with this time, and only when that is durable.

        What was tried before it has been survived, and is forgotten.
        """
        async with self._one_at_a_time:
            content = await self._read(partition)
            tries = content.tries.get(str(offset), 0) + 1
            later = sorted(int(at) for at in content.tries if int(at) > offset)
            content.tries = {str(offset): tries} | {str(at): content.tries[str(at)] for at in later[:_MOST_TRIED]}
            await self._write(partition, content)
            return tries

    async def survived(self, partition: int, upto: int) -> None:
        """The records up to this one did no harm. Costs nothing where none was tried."""
        async with self._one_at_a_time:
            if self._lowest.get(partition, upto + 1) > upto:
                return
            content = await self._read(partition)
            later = {at: tries for at, tries in content.tries.items() if int(at) > upto}
            if later != content.tries:
                content.tries = later
                await self._write(partition, content)

    async def started(self, partition: int) -> int:
        """A life of the partition begins. Returns how many have since `clear`, with this one, when that is durable."""
        async with self._one_at_a_time:
            content = await self._read(partition)
            content.starts += 1
            await self._write(partition, content)
            return content.starts

    async def skip(self, partition: int, offset: int) -> None:
        """Remember, durably, that a record is left out from now on."""
        async with self._one_at_a_time:
            content = await self._read(partition)
            content.tries.pop(str(offset), None)
            content.skipped = sorted({*content.skipped, offset})[-_MOST_SKIPPED:]
            await self._write(partition, content)

    async def skipped(self, partition: int) -> frozenset[int]:
        """The offsets that are left out. To be asked for when a partition is restored; tidies up as well."""
        async with self._one_at_a_time:
            await self._objects.sweep(self._folder(partition), f"{_NAME}.~")
            return frozenset((await self._read(partition)).skipped)

    async def clear(self, partition: int, below_offset: int) -> None:
        """Forget the starts, and the records before an offset: a snapshot has them behind it.

        Costs nothing where there is none.
        """
        async with self._one_at_a_time:
            if self._lowest.get(partition, below_offset) >= below_offset:
                return
            content = await self._read(partition)
            content.tries = {at: tries for at, tries in content.tries.items() if int(at) >= below_offset}
            content.skipped = [at for at in content.skipped if at >= below_offset]
            content.starts = 0
            await self._write(partition, content)

    async def _read(self, partition: int) -> _Content:
        data = await self._objects.get(f"{self._folder(partition)}/{_NAME}", _LARGEST_BYTES)
        content = _Content()
        if data is not None:
            try:
                content = _decoded(bytes(data))
            except ValueError as error:
                self._lost(partition, str(error))
        self._note(partition, content)
        return content

    async def _write(self, partition: int, content: _Content) -> None:
        folder = self._folder(partition)
        if content.empty:
            await self._objects.delete(folder, [_NAME])
        else:
            await self._objects.put(f"{folder}/{_NAME}", _encoded(content))
        self._note(partition, content)

    def _note(self, partition: int, content: _Content) -> None:
        self._lowest.pop(partition, None)
        if not content.empty:
            known = [*content.skipped, *map(int, content.tries)]
            self._lowest[partition] = -1 if content.starts else min(known)


def _encoded(content: _Content) -> bytes:
    text = msgspec.json.encode(content)
    return _checksum(text) + b"\n" + text


def _decoded(data: bytes) -> _Content:
    """Raises ValueError (of which msgspec's errors are)."""
    checksum, _, text = data.partition(b"\n")
    if checksum != _checksum(text):
        raise ValueError("its checksum is wrong")
    content = msgspec.json.decode(text, type=_Content)
    if content.version != _VERSION:
        raise ValueError(f"it has version {content.version}, not {_VERSION}")
    if not all(re.fullmatch(r"[0-9]{1,19}", at) for at in content.tries):
        raise ValueError("an offset is not a number")
    return content


def _checksum(text: bytes) -> bytes:
    return blake2b(text, digest_size=16).hexdigest().encode()
