"""Free TCP ports for servers that have to keep theirs over a restart."""

import os
import random
import socket
from pathlib import Path

_LOWEST = 10_000
_EPHEMERAL_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
_given_out: set[int] = set()
# Tests run in several processes: each gives out ports of its own.
_WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
_WORKERS = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))


def free_port() -> int:
    """A TCP port that nothing listens on at 127.0.0.1 and that this process has not been given before.

    Below the range of ephemeral ports, because a client of a stopped server may otherwise be given its
    port as its own local one: then the server cannot come back, or the client connects to itself.
    """
    for _ in range(10_000):
        port = random.randrange(_LOWEST, _lowest_ephemeral_port())
        if port % _WORKERS == _WORKER and port not in _given_out and port_is_free(port):
            _given_out.add(port)
            return port
    raise OSError("no free TCP port found on 127.0.0.1")


def port_is_free(port: int) -> bool:
    """Whether a server could listen on this TCP port of 127.0.0.1 now."""
    with socket.socket() as probe:
        # As servers do it: connections of a predecessor that linger in TIME_WAIT are no obstacle.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def _lowest_ephemeral_port() -> int:
    try:
        lowest = int(_EPHEMERAL_RANGE.read_text().split()[0])
    except OSError:
        return 32_768
    # A host that declares nearly everything ephemeral leaves no better choice than the usual bound.
    return lowest if lowest > _LOWEST + 2_000 else 32_768
