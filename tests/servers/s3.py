"""A server that speaks S3 (moto), from the peers' environment."""

import os
import urllib.error
import urllib.request
from pathlib import Path
from typing import Self

from tests.servers.binaries import ServerMissingError
from tests.servers.ports import free_port
from tests.servers.processes import Server

_PROGRAM = Path(__file__).parents[2] / ".venv-peers" / "bin" / "moto_server"
_HTTP_TIMEOUT_S = 10.0


class S3:
    """moto on 127.0.0.1; its buckets are gone when it ends. ServerMissingError if it is not installed.

    strict: once the first bucket is made, it knows nobody's keys. Otherwise any keys do.
    """

    def __init__(self, directory: Path, *, strict: bool = False) -> None:
        if not _PROGRAM.exists():
            raise ServerMissingError("needs moto: make peers")
        self.port = free_port()
        self.endpoint = f"http://127.0.0.1:{self.port}"
        self.server = Server(
            "s3",
            [str(_PROGRAM), "-H", "127.0.0.1", "-p", str(self.port)],
            directory=directory.resolve(),
            ready=self._answers,
            # It imports all of Amazon.
            ready_timeout_s=60,
            environment={**os.environ, **({"INITIAL_NO_AUTH_ACTION_COUNT": "1"} if strict else {})},
        )

    def make_bucket(self, name: str) -> None:
        """Make a bucket."""
        request = urllib.request.Request(f"{self.endpoint}/{name}", method="PUT")
        urllib.request.urlopen(request, timeout=_HTTP_TIMEOUT_S).close()

    def __enter__(self) -> Self:
        self.server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.terminate()

    def _answers(self) -> bool:
        try:
            urllib.request.urlopen(f"{self.endpoint}/moto-api/", timeout=_HTTP_TIMEOUT_S).close()
        except urllib.error.HTTPError:
            return True
        except OSError:
            return False
        return True
