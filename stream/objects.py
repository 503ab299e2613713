"""Named pieces of bytes that outlive the process: in a folder, or in a bucket."""

from __future__ import annotations

from typing import Protocol

from ingest.contract.errors import ReconnectError


class StoreError(ReconnectError):
    """The store cannot be used now: wait, and try again. The message says what a person may have to do."""


class UnreadableError(StoreError):
    """The store is there, and cannot read this object: a bad place on its disk."""


class Objects(Protocol):
    """A store. Names are relative paths: segments of letters, digits and `%._-`, separated by `/`.

    Every method raises StoreError, within the store's timeout, and leaves the event loop free meanwhile.
    """

    place: str
    """Where it is, for people. Holds no secret."""

    async def put(self, name: str, data: bytes | memoryview) -> None:
        """Write one, or replace it as a whole. When it returns, a power cut takes nothing away."""
        ...

    async def get(self, name: str, most_bytes: int) -> bytes | memoryview | None:
        """What is in it; None where there is none. Of a larger one, only the first `most_bytes`."""
        ...

    async def names(self, folder: str) -> list[str]:
        """The names in a folder, in any order, without the folder; half-written ones are not among them."""
        ...

    async def delete(self, folder: str, names: list[str]) -> None:
        """Delete these of a folder; those that are gone already are no mistake."""
        ...

    async def sweep(self, folder: str, upto: str) -> None:
        """Delete what was half written, under a name up to this one, by somebody who is gone."""
        ...

    def close(self) -> None:
        """Begin nothing new."""
        ...
