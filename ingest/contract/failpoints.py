"""Places where a test can kill the process or break the disk; they cost a call of nothing when none is set.

`MILLSTREAM_FAILPOINTS="spooled=kill:3,spool-fsync=enospc:2+"` kills at the third time that a batch is spooled, and
fills the disk from the second fsync on. Without a number the action happens the first time only.
"""

from __future__ import annotations

import errno
import os
import signal
import threading
import time
from collections.abc import Callable
from enum import StrEnum
from typing import NamedTuple

from ingest.contract.errors import StopError

VARIABLE = "MILLSTREAM_FAILPOINTS"
_EXIT_CODE = 70


class Failpoint(StrEnum):
    """All places: a closed set, so that a test of a place that is gone fails instead of testing nothing."""

    RECEIVED = "received"
    """Messages were taken from the MQTT connection, nothing was done with them yet."""
    DECODED = "decoded"
    """Payloads are columns, nothing was sent yet."""
    PRODUCED = "produced"
    """Records were given to the Kafka client, which has not confirmed them."""
    CONFIRMED = "confirmed"
    """Kafka has confirmed a batch; nobody was told yet."""
    PUBACK_QUEUED = "puback-queued"
    """Acknowledgements are in the MQTT client's buffer, not on the wire."""
    SPOOLED = "spooled"
    """A batch is on disk and synced; nobody was told yet."""
    SPOOL_APPEND = "spool-append"
    """Before frames are written to a segment."""
    SPOOL_FSYNC = "spool-fsync"
    """Frames are written, and not synced yet."""
    SPOOL_READ = "spool-read"
    """Before a chunk is read from the spool."""
    SPOOL_ADVANCE = "spool-advance"
    """Kafka has what was read; the cursor does not say so yet."""
    SNAPSHOT_HALF_WRITTEN = "snapshot-half-written"
    """Half of a snapshot is in a file that nobody looks for yet."""
    SNAPSHOT_RENAMED = "snapshot-renamed"
    """A snapshot has its name; the folder is not synced, and nobody was told yet."""
    SNAPSHOT_READ = "snapshot-read"
    """Before a snapshot is read."""
    RESTORING = "restoring"
    """A worker is about to make a state of a snapshot."""
    FOLDED = "folded"
    """A worker has folded a record; what follows from it is not published."""
    PUBLISHED = "published"
    """What follows from some records is published; no offset says so."""
    BEFORE_COMMIT = "before-commit"
    """A worker is about to commit."""
    REVOKING = "revoking"
    """Partitions are being taken away from a worker; it has not committed yet."""


_ERRORS = {"enospc": errno.ENOSPC, "eio": errno.EIO, "erofs": errno.EROFS}
_HANG_S = 35.0
_ACTIONS = ("kill", "exit", "stop", "hang", *_ERRORS)


class _Armed(NamedTuple):
    action: str
    at: int
    onwards: bool

    def due(self, hit: int) -> bool:
        return hit == self.at or (self.onwards and hit > self.at)


def armed(text: str) -> Callable[[str], None]:
    """The function that does what `text` says, at each place by its name.

    The actions: `kill` (SIGKILL to itself), `exit` (at once, code 70), `stop` (SIGSTOP to itself), `hang`
    (this thread waits for 35 seconds), `enospc`, `eio`, `erofs` (an OSError is
    raised). Raises StopError for a name, an action or a number that means nothing.

    >>> failpoint = armed("spool-fsync=eio:2+")
    >>> failpoint("spool-fsync"), failpoint("spooled")
    (None, None)
    >>> failpoint("spool-fsync")
    Traceback (most recent call last):
    OSError: [Errno 5] Input/output error: 'failpoint spool-fsync'
    """
    plan = dict(_parse(part.strip()) for part in text.split(",") if part.strip())
    hits = dict.fromkeys(plan, 0)
    counting = threading.Lock()

    def hit(name: str) -> None:
        if name not in plan:
            return
        with counting:
            hits[name] += 1
            due = plan[name].due(hits[name])
        if due:
            _act(name, plan[name].action)

    return hit


def _parse(part: str) -> tuple[str, _Armed]:
    name, _, rest = part.partition("=")
    action, _, number = rest.partition(":")
    digits = number.removesuffix("+")
    if name not in set(Failpoint):
        raise StopError(f"{VARIABLE}: no failpoint {name!r}; there are {', '.join(Failpoint)}")
    if action not in _ACTIONS:
        raise StopError(f"{VARIABLE}: {name} cannot do {action!r}; there are {', '.join(_ACTIONS)}")
    if number and not (digits.isascii() and digits.isdigit() and int(digits) > 0):
        raise StopError(f"{VARIABLE}: {part!r}: after the colon comes the number of the hit from 1, or 2+ and the like")
    return name, _Armed(action, int(digits or 1), number.endswith("+"))


def _act(name: str, action: str) -> None:
    if action == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif action == "exit":
        os._exit(_EXIT_CODE)
    elif action == "stop":
        os.kill(os.getpid(), signal.SIGSTOP)
    elif action == "hang":
        time.sleep(_HANG_S)
    else:
        raise OSError(_ERRORS[action], os.strerror(_ERRORS[action]), f"failpoint {name}")


def _nothing(name: str) -> None:
    pass


failpoint: Callable[[str], None] = armed(os.environ[VARIABLE]) if os.environ.get(VARIABLE) else _nothing
"""Called at each place with its name."""
