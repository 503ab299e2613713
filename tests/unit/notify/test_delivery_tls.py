"""Certificates: verified, always."""

from __future__ import annotations

import ssl
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from ingest.contract.clock import SystemClock
from ingest.contract.errors import StopError
from stream.notify.delivery import Answer, Outcome, Poster
from tests.servers.binaries import ServerMissingError
from tests.servers.require import require
from tests.unit.notify.rig import Receiver, webhook


@dataclass(frozen=True)
class Certificate:
    """A certificate that signs itself, and its key."""

    path: Path
    context: ssl.SSLContext


def certificate(directory: Path, *, address: str = "127.0.0.1", days: int = 1) -> Certificate:
    key, request, path, extension = (directory / name for name in ("key.pem", "request.pem", "cert.pem", "ext"))
    extension.write_text(f"subjectAltName=IP:{address}\n")
    ask = "openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=receiver"
    try:
        subprocess.run([*ask.split(), "-keyout", key, "-out", request], check=True, capture_output=True)
    except FileNotFoundError:
        require(ServerMissingError("needs openssl: apt-get install openssl"))
    sign = f"openssl x509 -req -days {days}".split()
    files = ["-in", request, "-signkey", key, "-extfile", extension, "-out", path]
    subprocess.run([*sign, *map(str, files)], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path, key)
    return Certificate(path, context)


async def post(own: Certificate, ca_file: Path | None) -> tuple[Answer, Receiver]:
    receiver = Receiver()
    async with receiver.serving(own.context) as url:
        settings = webhook(url=url, ca_file=str(ca_file) if ca_file else None)
        async with Poster(settings, SystemClock(), 1) as poster:
            return await poster.post("a1_firing", b"{}"), receiver


async def test_a_certificate_of_ones_own(tmp_path: Path) -> None:
    own = certificate(tmp_path)
    answer, receiver = await post(own, own.path)
    assert answer.outcome is Outcome.DELIVERED
    assert receiver.ids == ["a1_firing"]


async def test_an_unknown_one_is_refused(tmp_path: Path) -> None:
    answer, receiver = await post(certificate(tmp_path), None)
    assert (answer.outcome, receiver.got) == (Outcome.FAILED, [])
    assert answer.reason == "its certificate is not accepted: self-signed certificate"


async def test_an_expired_one_is_refused(tmp_path: Path) -> None:
    own = certificate(tmp_path, days=-1)
    answer, receiver = await post(own, own.path)
    assert (answer.outcome, receiver.got) == (Outcome.FAILED, [])
    assert answer.reason == "its certificate is not accepted: certificate has expired"


async def test_one_of_another_host_is_refused(tmp_path: Path) -> None:
    own = certificate(tmp_path, address="127.0.0.2")
    answer, receiver = await post(own, own.path)
    assert (answer.outcome, receiver.got) == (Outcome.FAILED, [])
    assert answer.reason.startswith("its certificate is not accepted: IP address mismatch")


async def test_encryption_that_is_too_old_is_refused(tmp_path: Path) -> None:
    own = certificate(tmp_path)
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        own.context.minimum_version = own.context.maximum_version = ssl.TLSVersion.TLSv1_1
    answer, receiver = await post(own, own.path)
    assert (answer.outcome, receiver.got) == (Outcome.FAILED, [])


def test_a_file_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(StopError, match="cannot use"):
        Poster(webhook(ca_file=str(tmp_path / "none.pem")), SystemClock(), 1)
