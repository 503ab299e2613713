"""A folder as a store. By hand, because the library that knows buckets does not sync what it writes.

A name appears by a rename after its content was synced, and the folder is synced after the rename: after a power cut
it is there as a whole, or not at all.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import secrets
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from ingest.contract.failpoints import Failpoint, failpoint
from stream.objects import StoreError, UnreadableError

T = TypeVar("T")

_PART = ".part"
_THREADS = 2
_HINTS = {
    errno.EACCES: "let this user write there, or set worker.snapshots.url",
    errno.EPERM: "let this user write there, or set worker.snapshots.url",
    errno.EROFS: "mount it for writing, or set worker.snapshots.url",
    errno.ENOSPC: "free some space, or set worker.snapshots.url to another disk",
    errno.EDQUOT: "free some space, or raise the quota",
    errno.EIO: "the disk fails: look at the system's log",
    errno.ENOTDIR: "something that is not a folder is in its place: set worker.snapshots.url",
    errno.EISDIR: "a folder is in its place: set worker.snapshots.url",
    errno.ESTALE: "the network drive has gone: mount it again",
}


class FileObjects:
    """Files below one folder, which is made when the first is written; nobody else may read them.

    timeout_s: a drive that has not answered by then is given up for this time.
    """

    def __init__(self, folder: Path, timeout_s: float) -> None:
        self.place = str(folder)
        self._root = folder
        self._timeout_s = timeout_s
        # Threads of its own: a network drive that hangs must not take those that everything else runs in.
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="snapshots")
        # Held until a thread is really done: else calls, and what they write, would queue up behind one that hangs.
        self._idle = asyncio.Semaphore(_THREADS)

    async def put(self, name: str, data: bytes | memoryview) -> None:
        """Write a file durably."""
        await self._run(lambda: self._write(self._root / name, data))

    async def get(self, name: str, most_bytes: int) -> bytes | None:
        """Read a file."""
        try:
            return await self._run(lambda: _read(self._root / name, most_bytes))
        except StoreError as error:
            if isinstance(error.__cause__, OSError) and error.__cause__.errno == errno.EIO:
                raise UnreadableError(str(error)) from error
            raise

    async def names(self, folder: str) -> list[str]:
        """Names of files."""
        return await self._run(lambda: [name for name in _names(self._root / folder) if not name.endswith(_PART)])

    async def delete(self, folder: str, names: list[str]) -> None:
        """Remove files."""
        await self._run(lambda: _remove(self._root / folder, names))

    async def sweep(self, folder: str, upto: str) -> None:
        """Remove what a killed process has left."""

        def run() -> None:
            names = [name for name in _names(self._root / folder) if name.endswith(_PART) and name <= upto]
            _remove(self._root / folder, names)

        await self._run(run)

    def close(self) -> None:
        """Let threads end; one that hangs is left behind."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _run(self, call: Callable[[], T]) -> T:
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._idle.acquire()
                return await asyncio.wrap_future(self._begin(call))
        except TimeoutError as error:
            raise StoreError(f"snapshots in {self.place}: no answer within {self._timeout_s:g} s") from error
        except OSError as error:
            hint = _HINTS.get(error.errno or 0, "set worker.snapshots.url to a folder that can be written")
            raise StoreError(f"snapshots in {self.place}: {error.strerror or type(error).__name__}; {hint}") from error

    def _begin(self, call: Callable[[], T]) -> Future[T]:
        loop = asyncio.get_running_loop()

        def done(_: Future[T]) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(self._idle.release)

        try:
            begun = self._threads.submit(call)
        except RuntimeError as error:
            self._idle.release()
            raise StoreError(f"snapshots in {self.place}: closed") from error
        begun.add_done_callback(done)
        return begun

    def _write(self, path: Path, data: bytes | memoryview) -> None:
        _make(path.parent)
        part = path.with_name(f"{path.name}.{secrets.token_hex(4)}{_PART}")
        fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            try:
                half = len(data) // 2
                _write_all(fd, memoryview(data)[:half])
                failpoint(Failpoint.SNAPSHOT_HALF_WRITTEN)
                _write_all(fd, memoryview(data)[half:])
                os.fsync(fd)
            finally:
                os.close(fd)
            part.replace(path)
        except OSError:
            # It takes space that may be what is missing.
            with contextlib.suppress(OSError):
                part.unlink()
            raise
        failpoint(Failpoint.SNAPSHOT_RENAMED)
        _sync(path.parent)


def _write_all(fd: int, data: memoryview) -> None:
    while data:
        data = data[os.write(fd, data) :]


def _read(path: Path, most_bytes: int) -> bytes | None:
    try:
        with path.open("rb") as file:
            failpoint(Failpoint.SNAPSHOT_READ)
            # Not `most_bytes`: so much memory would be asked for, whatever the file has.
            return file.read(min(os.fstat(file.fileno()).st_size, most_bytes))
    except FileNotFoundError:
        return None


def _names(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)  # noqa: PTH208  # names, not paths
    except FileNotFoundError:
        return []


def _remove(folder: Path, names: list[str]) -> None:
    for name in names:
        (folder / name).unlink(missing_ok=True)
    # Not synced: a file that comes back is deleted again.


def _make(folder: Path) -> None:
    """Make a folder and those above it, for this user alone, durably."""
    if folder.is_dir():
        return
    _make(folder.parent)
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    _sync(folder.parent)


def _sync(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
