"""The way to a bucket: its certificate is checked, and no query of a URL is ever said."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from ingest.contract.worker_settings import SnapshotSettings
from stream.objects import StoreError
from stream.remote_objects import RemoteObjects, _explained
from tests.servers.certificates import Authority, Certificate

ANSWER = b'HTTP/1.1 200 OK\r\nContent-Length: 2\r\nLast-Modified: Wed, 21 Oct 2015 07:28:00 GMT\r\nETag: "x"\r\n'
ANSWER += b"Connection: close\r\n\r\nok"


@asynccontextmanager
async def bucket(certificate: Certificate) -> AsyncIterator[str]:
    """What answers every request with two bytes, over TLS."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(ANSWER)
        await writer.drain()
        writer.close()

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.path, certificate.key)
    async with await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context) as server:
        yield f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"


def objects_at(endpoint: str, tmp_path: Path, ca_file: Path | None) -> RemoteObjects:
    for name in ("key", "secret"):
        (tmp_path / name).write_text("geheim")
    return RemoteObjects(
        SnapshotSettings(
            url="s3://b/prefix",
            endpoint=endpoint,
            region="eu-1",
            access_key_id_file=str(tmp_path / "key"),
            secret_access_key_file=str(tmp_path / "secret"),
            ca_file=None if ca_file is None else str(ca_file),
            timeout="30s",
        )
    )


async def test_who_signed_the_certificate_can_be_told(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "ca")
    async with bucket(authority.sign("server")) as endpoint:
        assert bytes(await objects_at(endpoint, tmp_path, authority.path).get("a/b", 10) or b"") == b"ok"


@pytest.mark.parametrize(
    ("sign", "trusted", "said"),
    [
        (lambda one: one.sign("server"), False, "UnknownIssuer"),
        (lambda one: one.sign("server", days=-1), True, "Expired"),
        (lambda one: one.sign("server", address="127.0.0.2"), True, "NotValidForName"),
    ],
    ids=["nobody's", "expired", "another's"],
)
async def test_a_certificate_that_is_not_its_own_is_refused(
    sign: Callable[[Authority], Certificate], trusted: bool, said: str, tmp_path: Path
) -> None:
    authority = Authority(tmp_path / "ca")
    async with bucket(sign(authority)) as endpoint:
        objects = objects_at(endpoint, tmp_path, authority.path if trusted else None)
        with pytest.raises(StoreError, match=rf"certificate is not accepted \({said}.*worker\.snapshots\.ca_file"):
            await objects.get("a/b", 10)


@pytest.mark.parametrize(("content", "said"), [(None, "No such file"), (b"", "is empty"), (b"x", "No certificates")])
async def test_certificates_that_cannot_be_read_are_said(content: bytes | None, said: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "ca.pem").write_bytes(content)
    with pytest.raises(StoreError, match=said):
        await objects_at("https://127.0.0.1:1", tmp_path, tmp_path / "ca.pem").names("a")


def test_signatures_in_addresses_are_not_repeated() -> None:
    said = "Generic MicrosoftAzure error: Error performing GET https://a.blob/c?sig=geheim&se=1 in 1s\n\nsig=geheim"
    assert _explained(OSError(said)) == ("Generic MicrosoftAzure error: Error performing GET https://a.blob/c?… in 1s")


async def test_without_what_azure_needs_it_says_what(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AZURE_STORAGE_ACCOUNT_NAME", "AZURE_STORAGE_ACCOUNT"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(StoreError, match=r"az://container/x: .*Account must be specified"):
        await RemoteObjects(SnapshotSettings(url="az://container/x")).names("a")


async def test_keys_that_were_exchanged_count_after_the_next_failure(tmp_path: Path) -> None:
    seen: list[str] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = (await reader.readuntil(b"\r\n\r\n")).decode()
        seen.append(request.partition("Credential=")[2].partition("/")[0])
        writer.write(ANSWER if seen[-1] == "new" else ANSWER.replace(b"200 OK", b"403 Forbidden"))
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        (tmp_path / "key").write_text("old")
        (tmp_path / "secret").write_text("geheim")
        settings = SnapshotSettings(
            url="s3://b/prefix",
            endpoint=f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}",
            allow_http=True,
            access_key_id_file=str(tmp_path / "key"),
            secret_access_key_file=str(tmp_path / "secret"),
        )
        objects = RemoteObjects(settings)
        with pytest.raises(StoreError, match="403 Forbidden; allow listing, reading, writing and deleting"):
            await objects.get("a/b", 10)
        (tmp_path / "key").write_text("new")
        assert bytes(await objects.get("a/b", 10) or b"") == b"ok"
    assert seen == ["old", "new"]
