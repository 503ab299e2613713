"""Certificates for tests, made by openssl: an authority of the test's own, and what it signs."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.servers.binaries import ServerMissingError
from tests.servers.require import require

_NEW_KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]


@dataclass(frozen=True)
class Certificate:
    """Two PEM files."""

    path: Path
    key: Path


class Authority:
    """Signs certificates; `path` is its own, to be trusted."""

    def __init__(self, directory: Path, name: str = "authority") -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        self.path, self._key = directory / f"{name}.pem", directory / f"{name}.key"
        extension = ["-addext", "keyUsage=critical,keyCertSign,cRLSign"]
        ask = ["req", "-x509", *_NEW_KEY, "-days", "2", "-subj", f"/CN={name}", *extension]
        _openssl(*ask, "-keyout", self._key, "-out", self.path)

    def sign(self, name: str, *, address: str = "127.0.0.1", days: int = 2) -> Certificate:
        """A certificate for a server at `address` or for a client called `name`; -1 days: it has expired."""
        request, extension = self._directory / f"{name}.csr", self._directory / f"{name}.ext"
        made = Certificate(self._directory / f"{name}.pem", self._directory / f"{name}.key")
        extension.write_text(f"subjectAltName=IP:{address}\n")
        _openssl("req", "-new", *_NEW_KEY, "-subj", f"/CN={name}", "-keyout", made.key, "-out", request)
        signer: list[str | Path] = ["-CA", self.path, "-CAkey", self._key, "-set_serial", str(abs(hash(name)))]
        _openssl("x509", "-req", "-days", str(days), *signer, "-in", request, "-extfile", extension, "-out", made.path)
        return made


def _openssl(*arguments: str | Path) -> None:
    try:
        subprocess.run(["openssl", *arguments], check=True, capture_output=True)
    except FileNotFoundError:
        require(ServerMissingError("needs openssl: apt-get install openssl"))
