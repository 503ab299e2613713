"""A bucket as a store: S3, Google's, Azure's, or memory for tests. The only file that knows obstore."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import obstore
from obstore.exceptions import BaseError
from obstore.store import MemoryStore, S3Store, from_url

from ingest.contract.worker_settings import SnapshotSettings
from stream.objects import StoreError

if TYPE_CHECKING:
    from obstore.store import ClientConfig, RetryConfig, S3Config

T = TypeVar("T")

_MOST_RETRIES = 3
_CONNECT_S = 5.0
_LONGEST_SECRET = 4_096
_LONGEST_MESSAGE = 300


class RemoteObjects:
    """Objects whose names begin with what the url says.

    settings: their url is not a folder's.
    """

    def __init__(self, settings: SnapshotSettings) -> None:
        # The url has no secret in it, the settings see to that.
        self.place = settings.url or ""
        self._settings = settings
        self._timeout_s = settings.timeout / 1e6
        self._client: Any = None

    async def put(self, name: str, data: bytes | memoryview) -> None:
        """One request: with several, a half-sent object would cost space that nobody sees."""
        await self._run(lambda client: obstore.put_async(client, name, data, use_multipart=False))

    async def get(self, name: str, most_bytes: int) -> memoryview | None:
        """Read an object."""

        async def run(client: Any) -> memoryview | None:
            try:
                found = await obstore.get_async(client, name)
            except FileNotFoundError as error:
                # Of a missing bucket it is the same error, and not the same news.
                if _no_bucket(str(error)):
                    raise
                return None
            if found.meta["size"] > most_bytes:
                return memoryview(await obstore.get_range_async(client, name, start=0, length=most_bytes))
            return memoryview(await found.bytes_async())

        return await self._run(run)

    async def names(self, folder: str) -> list[str]:
        """List objects; not those of folders below."""

        async def run(client: Any) -> list[str]:
            found = await obstore.list_with_delimiter_async(client, folder)
            return [str(one["path"]).rpartition("/")[2] for one in found["objects"]]

        return await self._run(run)

    async def delete(self, folder: str, names: list[str]) -> None:
        """Delete objects."""

        async def run(client: Any) -> None:
            for name in names:
                with suppress(FileNotFoundError):
                    await obstore.delete_async(client, f"{folder}/{name}")

        await self._run(run)

    async def sweep(self, folder: str, upto: str) -> None:
        """Nothing: an object is there as a whole or not at all."""

    def close(self) -> None:
        """Forget the connections."""
        self._client = None

    async def _run(self, call: Callable[[Any], Awaitable[T]]) -> T:
        try:
            async with asyncio.timeout(self._timeout_s):
                if self._client is None:
                    self._client = await asyncio.to_thread(_connected, self._settings)
                return await call(self._client)
        except TimeoutError as error:
            raise self._failed(
                f"no answer within {self._timeout_s:g} s; is the address right, and the network there?"
            ) from error
        except (BaseError, FileNotFoundError, ValueError, OSError) as error:
            # Its traceback would show what the store said in full, which may hold what we sent.
            raise self._failed(_explained(error)) from None

    def _failed(self, why: str) -> StoreError:
        # The next connection reads the files with secrets anew: they may have been exchanged. Memory must stay.
        if not isinstance(self._client, MemoryStore):
            self._client = None
        return StoreError(f"snapshots in {self.place}: {why}")


def _connected(settings: SnapshotSettings) -> Any:
    """A client. Raises StoreError, ValueError or obstore's errors."""
    if settings.scheme == "memory":
        return MemoryStore()
    timeout_s = settings.timeout / 1e6
    client: ClientConfig = {
        "allow_http": settings.allow_http,
        "connect_timeout": timedelta(seconds=min(_CONNECT_S, timeout_s)),
        "timeout": timedelta(seconds=timeout_s),
    }
    if settings.ca_file is not None:
        client["root_certificate"] = _read("ca_file", settings.ca_file, 2**20)
    retry: RetryConfig = {"max_retries": _MOST_RETRIES, "retry_timeout": timedelta(seconds=timeout_s)}
    url = settings.url or ""
    if not settings.scheme.startswith("s3"):
        return from_url(url, client_options=client, retry_config=retry)
    # Not every S3 knows how to delete many at once.
    config: S3Config = {"disable_bulk_delete": True}
    if settings.endpoint is not None:
        config["endpoint"] = settings.endpoint
    if settings.region is not None:
        config["region"] = settings.region
    if settings.access_key_id_file is not None and settings.secret_access_key_file is not None:
        config["access_key_id"] = _read("access_key_id_file", settings.access_key_id_file)
        config["secret_access_key"] = _read("secret_access_key_file", settings.secret_access_key_file)
    return S3Store.from_url(url, config=config, client_options=client, retry_config=retry)


def _read(setting: str, name: str, most_bytes: int = _LONGEST_SECRET) -> str:
    """A file's text. Raises ValueError that says which, and never what is in it."""
    where = f"worker.snapshots.{setting} = {name}"
    try:
        with Path(name).expanduser().open("rb") as file:
            content = file.read(most_bytes + 1)
    except OSError as error:
        raise ValueError(f"{where}: {error.strerror or type(error).__name__}") from None
    if len(content) > most_bytes:
        raise ValueError(f"{where}: more than {most_bytes} bytes")
    try:
        text = content.decode().strip()
    except UnicodeDecodeError:
        raise ValueError(f"{where}: not valid UTF-8") from None
    if not text:
        raise ValueError(f"{where}: the file is empty")
    return text


def _no_bucket(message: str) -> bool:
    return re.search(r"NoSuchBucket|ContainerNotFound|bucket does not exist", message) is not None


def _explained(error: Exception) -> str:
    """What it says, in one line, without queries of URLs (signatures), and what to do."""
    full = str(error)
    line = re.sub(r"\?\S*", "?…", full.partition("\n")[0])[:_LONGEST_MESSAGE]
    if _no_bucket(full):
        return "there is no such bucket: create it, or set worker.snapshots.url"
    if "169.254.169.254" in line:
        return "no credentials: set worker.snapshots.access_key_id_file, or AWS_ACCESS_KEY_ID in the environment"
    if found := re.search(r"InvalidCertificate\(\s*(\w+)", full):
        return f"its certificate is not accepted ({found[1]}): worker.snapshots.ca_file is for who signed it"
    if "HTTP error" in line and (address := re.search(r"https?://[^/\s]+", line)):
        told = re.findall(r'(?:message|error): "([^"]*)"', full)
        return f"{address[0]} cannot be reached: {told[-1] if told else 'no connection'}"
    if found := re.search(r"status code: (\d{3}[A-Za-z ]*)", full):
        code = re.search(r"<Code>(\w+)</Code>", full)
        answer = ", ".join([found[1].strip(), *([code[1]] if code else [])])
        if "InvalidAccessKeyId" in answer or "SignatureDoesNotMatch" in answer or answer.startswith("401"):
            hint = "the keys are wrong: see worker.snapshots.access_key_id_file, or the environment"
            return f"it answers {answer}; {hint}"
        return f"it answers {answer}" + (
            "; allow listing, reading, writing and deleting there" if answer.startswith("403") else ""
        )
    return line
