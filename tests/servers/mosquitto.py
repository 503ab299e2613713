"""Eclipse Mosquitto with a configuration of its own."""

from collections.abc import Sequence
from pathlib import Path
from typing import Self

from tests.servers.binaries import find_binary
from tests.servers.ports import free_port
from tests.servers.processes import Server


class Mosquitto:
    """An MQTT broker on 127.0.0.1 for anonymous clients; `directory` holds its files.

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
        extra: Sequence[str] = (),
    ) -> None:
        self.port = free_port() if port is None else port
        self._directory = directory.resolve()
        self._config = [
            f"listener {self.port} {self.host}",
            "allow_anonymous true",
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

    def _runs(self) -> bool:
        # Written after the listener is open. A connection would prove less: another may have the port.
        return " running" in self.server.log()
