"""Eclipse Mosquitto with a configuration of its own."""

import base64
import hashlib
import os
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

from tests.servers.binaries import find_binary
from tests.servers.certificates import Certificate
from tests.servers.ports import free_port
from tests.servers.processes import Server
from tests.servers.waiting import wait_until

_HASH_ROUNDS = 101


class Mosquitto:
    """An MQTT broker on 127.0.0.1 for anonymous clients; `directory` holds its files.

    With `websockets` it speaks WebSocket on `websockets_port` too. With a `certificate` it has encrypted listeners
    besides: `tls_port` and, with `websockets`, `tls_websockets_port`. `client_authority`: a client of those has to show
    a certificate that this file has signed. With `users`, name → password, nobody else may connect.

    Limits of 0 mean none: its own defaults (20 in flight, 1,000 queued) drop messages. With `persistence` a
    stop saves sessions and queues for the next start; a kill loses what came after the last save, made every
    30 minutes unless `extra` says otherwise ("autosave_on_changes true", "autosave_interval 1"). `extra` are
    further lines of mosquitto.conf. The same object can be started again: same port, same sessions.
    """

    host = "127.0.0.1"

    def __init__(
        self,
        directory: Path,
        *,
        port: int | None = None,
        max_inflight_messages: int = 0,
        max_queued_messages: int = 0,
        persistence: bool = False,
        websockets: bool = False,
        certificate: Certificate | None = None,
        client_authority: Path | None = None,
        users: Mapping[str, str] | None = None,
        extra: Sequence[str] = (),
    ) -> None:
        self.port = free_port() if port is None else port
        self.websockets_port, self.tls_port, self.tls_websockets_port = free_port(), free_port(), free_port()
        self._directory = directory.resolve()
        self._users = users
        tls: list[str] = []
        if certificate is not None:
            tls = [f"certfile {certificate.path}", f"keyfile {certificate.key}"]
            if client_authority is not None:
                tls += [f"cafile {client_authority}", "require_certificate true"]
        web = ["protocol websockets"]
        self._config = [
            f"listener {self.port} {self.host}",
            *([f"listener {self.websockets_port} {self.host}", *web] if websockets else []),
            *([f"listener {self.tls_port} {self.host}", *tls] if tls else []),
            *([f"listener {self.tls_websockets_port} {self.host}", *web, *tls] if tls and websockets else []),
            *(["allow_anonymous true"] if users is None else [f"password_file {self._password_file}"]),
            f"max_inflight_messages {max_inflight_messages}",
            f"max_queued_messages {max_queued_messages}",
            # Started by root it would become another user, who may not write here (and see tether.py).
            "user root",  # no effect for others
            f"persistence {'true' if persistence else 'false'}",
            f"persistence_location {self._directory}/",
            "log_dest stderr",
            *extra,
        ]
        self._config_file = self._directory / "mosquitto.conf"
        self.server = Server(
            "mosquitto",
            [find_binary("mosquitto"), "-c", str(self._config_file)],
            directory=self._directory,
            ready=self._runs,
            ready_timeout_s=20,
        )

    @property
    def address(self) -> str:
        """Where clients connect, as "host:port"."""
        return f"{self.host}:{self.port}"

    def start(self) -> None:
        """Start and return when it accepts clients."""
        self._directory.mkdir(parents=True, exist_ok=True)
        self._config_file.write_text("\n".join(self._config) + "\n")
        if self._users is not None:
            self._write_users(self._users)
        self.server.start()

    def stop(self) -> None:
        """SIGTERM: saves what persistence covers."""
        self.server.terminate()

    def kill(self) -> None:
        """SIGKILL: saves nothing."""
        self.server.kill()

    def restart(self) -> None:
        """Stop and start on the same port."""
        self.stop()
        self.start()

    def restart_forgetting(self) -> None:
        """Stop and start on the same port, without sessions and what was kept for them."""
        self.stop()
        (self._directory / "mosquitto.db").unlink(missing_ok=True)
        self.start()

    def set_users(self, users: Mapping[str, str]) -> None:
        """Other names and passwords, from now on; who is connected stays."""
        self._users, before = users, self.server.log().count("Reloading config")
        self._write_users(users)
        os.kill(self.server.pid, signal.SIGHUP)
        wait_until(lambda: self.server.log().count("Reloading config") > before, timeout_s=10, what="new passwords")

    def pause(self) -> None:
        """SIGSTOP: connections stay open and nothing answers."""
        self.server.pause()

    def resume(self) -> None:
        """End of `pause`."""
        self.server.resume()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def _password_file(self) -> Path:
        return self._directory / "passwords"

    def _write_users(self, users: Mapping[str, str]) -> None:
        lines = []
        for name, password in users.items():
            salt = os.urandom(12)
            digest = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, _HASH_ROUNDS)
            fields = [str(_HASH_ROUNDS), base64.b64encode(salt).decode(), base64.b64encode(digest).decode()]
            lines.append(f"{name}:$7${'$'.join(fields)}\n")
        self._password_file.write_text("".join(lines))
        self._password_file.chmod(0o600)

    def _runs(self) -> bool:
        # Written after the listener is open. A connection would prove less: another may have the port.
        return " running" in self.server.log()
