"""What is still to be sent, on disk: one SQLite file, written ahead and flushed at every commit.

The way of a transition, and what kill -9 does to it:

1. `accept`, one transaction: a row for each webhook that wants it, that it was seen, and how far the alerts topic was
   read. Killed before: it is read from Kafka again. Killed after: it is here, and the topic is read on from the place
   noted here, whatever was committed to Kafka by then; so no row is made twice.
2. The offset is committed to Kafka.
3. The row is sent, and deleted after a 2xx. Killed in between: it is sent once more, under the same id.

So every transition reaches every webhook at least once, and each kill repeats at most the few that are under way at
that moment. Rows of one alert and one webhook are a lane: only the first is due, the others wait (`due_us` NULL) until
it is gone. Memory holds only what is under way.

Blocking; used by one thread at a time (`Disk`).
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from ingest.contract.errors import IncompatibleError, StopError

_VERSION = 1
_SCHEMA = """
CREATE TABLE outbox (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, webhook TEXT NOT NULL, alert TEXT NOT NULL, phase TEXT NOT NULL,
    sensor TEXT NOT NULL, body BLOB NOT NULL, at_us INTEGER NOT NULL, failures INTEGER NOT NULL DEFAULT 0,
    due_us INTEGER, UNIQUE (webhook, alert, phase)
);
CREATE INDEX due ON outbox (webhook, due_us) WHERE due_us IS NOT NULL;
CREATE INDEX lane ON outbox (webhook, alert, seq);
CREATE INDEX age ON outbox (webhook, at_us);
CREATE TABLE seen (alert TEXT, phase TEXT, at_us INTEGER NOT NULL, PRIMARY KEY (alert, phase)) WITHOUT ROWID;
CREATE INDEX seen_age ON seen (at_us);
CREATE TABLE positions (partition INTEGER PRIMARY KEY, next_offset INTEGER NOT NULL);
CREATE TABLE generations (
    worker_group TEXT, partition INTEGER, generation INTEGER NOT NULL, at_us INTEGER NOT NULL,
    PRIMARY KEY (worker_group, partition)
) WITHOUT ROWID;
PRAGMA user_version = 1;
"""


class Row(NamedTuple):
    """A transition on its way to a webhook. at_us: when the worker published it."""

    seq: int
    alert: str
    phase: str
    sensor: str
    body: bytes
    at_us: int
    failures: int

    @property
    def message_id(self) -> str:
        """As in `alert.Alert`."""
        return f"{self.alert}_{self.phase}"


class Waiting(NamedTuple):
    """What waits for a webhook."""

    rows: int
    oldest_us: int


class Outbox:
    """Raises sqlite3.Error when the disk does not do as it is told; nothing is half done then."""

    def __init__(self, path: Path) -> None:
        """Raises StopError when there is no usable place, or another notifier works here."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._lock = os.open(path.with_suffix(".lock"), os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StopError(f"no outbox in {path.parent}: {error.strerror}; set notifier.state_dir") from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._db = self._open(path)
        except BlockingIOError as error:
            os.close(self._lock)
            raise StopError(f"another notifier uses {path}: set another notifier.group or state_dir") from error
        except (sqlite3.Error, OSError) as error:
            os.close(self._lock)
            raise StopError(f"the outbox {path} cannot be used ({error}): mend or move it, then start again") from error
        except StopError:
            os.close(self._lock)
            raise

    @staticmethod
    def _open(path: Path) -> sqlite3.Connection:
        path.touch(mode=0o600)
        db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        # An offset is committed on the strength of what is here: it has to outlive a power cut.
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        (version,) = db.execute("PRAGMA user_version").fetchone()
        if version == 0:
            db.executescript(f"BEGIN; {_SCHEMA} COMMIT;")
        elif version != _VERSION:
            db.close()
            raise IncompatibleError(f"the outbox {path} is of version {version}, this program knows {_VERSION}")
        return db

    def close(self) -> None:
        """Let another one in."""
        self._db.close()
        os.close(self._lock)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise

    # --- taking in; within a transaction --------------------------------------------------------------------------

    def phases_seen(self, alert: str) -> set[str]:
        """Which of its transitions were read before."""
        return {phase for (phase,) in self._db.execute("SELECT phase FROM seen WHERE alert = ?", (alert,))}

    def see(self, alert: str, phase: str, at_us: int) -> None:
        """Remember it."""
        self._db.execute("INSERT OR REPLACE INTO seen VALUES (?, ?, ?)", (alert, phase, at_us))

    def put(self, webhook: str, alert: str, phase: str, sensor: str, body: bytes, at_us: int, now_us: int) -> None:
        """Send this; at once, or when what waits for the same alert is gone."""
        waits = self._db.execute("SELECT 1 FROM outbox WHERE webhook = ? AND alert = ? LIMIT 1", (webhook, alert))
        due_us = None if waits.fetchone() else now_us
        self._db.execute(
            "INSERT OR IGNORE INTO outbox (webhook, alert, phase, sensor, body, at_us, due_us) "
            "VALUES (?, ?, ?, ?, ?, ?, ?)",
            (webhook, alert, phase, sensor, body, at_us, due_us),
        )

    def generation(self, group: str, partition: int) -> tuple[int, int] | None:
        """The highest generation heard of a partition of the readings, and when it was last heard."""
        found: tuple[int, int] | None = self._db.execute(
            "SELECT generation, at_us FROM generations WHERE worker_group = ? AND partition = ?", (group, partition)
        ).fetchone()
        return found

    def hear(self, group: str, partition: int, generation: int, at_us: int) -> None:
        """Note it as the highest."""
        self._db.execute(
            "INSERT OR REPLACE INTO generations VALUES (?, ?, ?, ?)", (group, partition, generation, at_us)
        )

    def move(self, partition: int, next_offset: int) -> None:
        """The alerts topic was read up to here."""
        self._db.execute("INSERT OR REPLACE INTO positions VALUES (?, ?)", (partition, next_offset))

    def position(self, partition: int) -> int | None:
        """Where to read on, if it was read before."""
        found = self._db.execute("SELECT next_offset FROM positions WHERE partition = ?", (partition,)).fetchone()
        return None if found is None else int(found[0])

    # --- sending --------------------------------------------------------------------------------------------------

    def due(
        self, webhook: str, now_us: int, latest_us: int, limit: int, without: Iterable[int]
    ) -> tuple[list[Row], int | None]:
        """What is to be sent now, and when the next is due if there is less than that. without: what is under way.

        A time beyond latest_us was written by a clock that has since gone back: it counts as now.
        """
        under_way = list(without)
        marks = ",".join("?" * len(under_way))
        rest = f"due_us IS NOT NULL AND webhook = ? AND seq NOT IN ({marks})"
        found = self._db.execute(
            "SELECT seq, alert, phase, sensor, body, at_us, failures FROM outbox "  # noqa: S608  # question marks only
            f"WHERE {rest} AND (due_us <= ? OR due_us > ?) ORDER BY due_us, seq LIMIT ?",
            (webhook, *under_way, now_us, latest_us, limit),
        ).fetchall()
        rows = [Row(*one) for one in found]
        if len(rows) == limit:
            return rows, None
        (next_us,) = self._db.execute(
            f"SELECT MIN(due_us) FROM outbox WHERE {rest} AND due_us > ?",  # noqa: S608
            (webhook, *under_way, now_us),
        ).fetchone()
        return rows, next_us

    def retry(self, seq: int, failures: int, due_us: int) -> None:
        """It failed: try again then."""
        self._db.execute("UPDATE outbox SET failures = ?, due_us = ? WHERE seq = ?", (failures, due_us, seq))

    def done(self, seqs: Sequence[int], now_us: int) -> None:
        """These are sent, or given up; what waited behind them is due."""
        with self.transaction():
            self._delete(seqs, now_us)

    def _delete(self, seqs: Sequence[int], now_us: int) -> None:
        for seq in seqs:
            gone = self._db.execute("DELETE FROM outbox WHERE seq = ? RETURNING webhook, alert", (seq,)).fetchall()
            for webhook, alert in gone:
                self._db.execute(
                    "UPDATE outbox SET due_us = ? WHERE due_us IS NULL AND seq = "
                    "(SELECT MIN(seq) FROM outbox WHERE webhook = ? AND alert = ?)",
                    (now_us, webhook, alert),
                )

    # --- keeping house --------------------------------------------------------------------------------------------

    def expire(self, before_us: int, now_us: int) -> dict[str, int]:
        """Give up what is older; how many of each webhook."""
        with self.transaction():
            found = self._db.execute("SELECT seq, webhook FROM outbox WHERE at_us < ?", (before_us,)).fetchall()
            self._delete([seq for seq, _ in found], now_us)
        return _counted(webhook for _, webhook in found)

    def keep_only(self, webhooks: Sequence[str]) -> dict[str, int]:
        """Forget what waits for webhooks that are no more; how many of each."""
        with self.transaction():
            marks = ",".join("?" * len(webhooks))
            found = self._db.execute(
                f"DELETE FROM outbox WHERE webhook NOT IN ({marks}) RETURNING webhook",  # noqa: S608
                tuple(webhooks),
            ).fetchall()
        return _counted(webhook for (webhook,) in found)

    def forget(self, before_us: int) -> None:
        """Forget having seen what is older."""
        self._db.execute("DELETE FROM seen WHERE at_us < ?", (before_us,))

    def waiting(self) -> dict[str, Waiting]:
        """By webhook."""
        found = self._db.execute("SELECT webhook, COUNT(*), MIN(at_us) FROM outbox GROUP BY webhook").fetchall()
        return {webhook: Waiting(rows, oldest_us) for webhook, rows, oldest_us in found}


def _counted(names: Iterable[str]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for name in names:
        counts[name] = counts.get(name, 0) + 1
    return counts
