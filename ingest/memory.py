"""What parts of a gateway remember over restarts: births of Sparkplug devices, what clocks are taken to be.

A memory that is lost or a moment old costs a request for a new birth, no data.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping
from typing import Protocol

import msgspec

from ingest.decoders.base import Remembering
from ingest.state_files import StateFiles

_SAVE_EVERY_S = 1.0


class MemoryEvents(Protocol):
    """What a memory has to say."""

    def memory_failed(self, name: str, reason: str) -> None:
        """It could not be written or read; its owner goes on without."""
        ...


def memory_name(broker: str, topic: str, decoder: str, options: Mapping[str, object]) -> str:
    """The file of a route's decoder: another for other options, as what was remembered depends on them."""
    said = msgspec.json.encode([broker, topic, decoder, options], order="sorted")
    return f"decoder-{hashlib.blake2b(said, digest_size=8).hexdigest()}"


class Memory:
    """Writes down what changed, once a second at most."""

    def __init__(self, files: StateFiles, events: MemoryEvents) -> None:
        self._files = files
        self._events = events
        self._watched: dict[str, tuple[Remembering, int]] = {}

    def watch(self, owners: Mapping[str, object]) -> None:
        """From now on these, as far as they remember at all; new names are told what was written under them."""
        watched: dict[str, tuple[Remembering, int]] = {}
        for name, owner in owners.items():
            if not isinstance(owner, Remembering):
                continue
            if name in self._watched:
                # The file tells nothing that this life does not know better; another owner was told by its predecessor.
                before, written = self._watched[name]
                watched[name] = (owner, written if before is owner else -1)
                continue
            try:
                content = self._files.read(name)
                if content is not None:
                    owner.restore(content)
            except (OSError, ValueError) as error:
                self._events.memory_failed(name, str(error))
            watched[name] = (owner, owner.changes)
        self._watched = watched

    def save(self) -> None:
        """Write what changed."""
        for name, owner, changes in self._changed():
            try:
                self._files.write(name, owner.snapshot())
            except OSError as error:
                self._events.memory_failed(name, str(error))
            else:
                self._watched[name] = (owner, changes)

    def _changed(self) -> list[tuple[str, Remembering, int]]:
        now = [(name, owner, owner.changes, written) for name, (owner, written) in self._watched.items()]
        return [(name, owner, changes) for name, owner, changes, written in now if changes != written]

    async def run(self) -> None:
        """Save what changes, until cancelled. A disk that hangs holds up nothing but this."""
        try:
            while True:
                await asyncio.sleep(_SAVE_EVERY_S)
                for name, owner, changes in self._changed():
                    try:
                        await asyncio.to_thread(self._files.write, name, owner.snapshot())
                    except OSError as error:
                        self._events.memory_failed(name, str(error))
                    else:
                        if name in self._watched and self._watched[name][0] is owner:
                            self._watched[name] = (owner, changes)
        finally:
            self.save()
