"""The outbox on disk."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from ingest.contract.errors import IncompatibleError, StopError
from stream.notify.outbox import Outbox, Row, Waiting
from tests.unit.notify.rig import HOUR_US, NOW_US, S_US


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "group.sqlite3"


def put(outbox: Outbox, alert: str, phase: str, webhook: str = "one", at_us: int = NOW_US) -> None:
    with outbox.transaction():
        outbox.put(webhook, alert, phase, "bremen/t", b"{}", at_us, NOW_US)


def due(outbox: Outbox, now_us: int = NOW_US, limit: int = 10, without: tuple[int, ...] = ()) -> list[Row]:
    return outbox.due("one", now_us, now_us + 2 * HOUR_US, limit, without)[0]


def test_only_the_first_of_an_alert_is_due(path: Path) -> None:
    outbox = Outbox(path)
    for alert, phase in [("a", "firing"), ("b", "firing"), ("a", "resolved")]:
        put(outbox, alert, phase)
    first = due(outbox)
    assert [(row.alert, row.phase) for row in first] == [("a", "firing"), ("b", "firing")]
    outbox.retry(first[0].seq, 1, NOW_US + 5 * S_US)
    assert [row.alert for row in due(outbox)] == ["b"]
    outbox.done([first[0].seq], NOW_US)
    assert [(row.alert, row.phase) for row in due(outbox)] == [("b", "firing"), ("a", "resolved")]
    outbox.close()


def test_when_the_next_is_due(path: Path) -> None:
    outbox = Outbox(path)
    put(outbox, "a", "firing")
    (row,) = due(outbox)
    outbox.retry(row.seq, 3, NOW_US + 5 * S_US)
    assert outbox.due("one", NOW_US, NOW_US + HOUR_US, 10, ()) == ([], NOW_US + 5 * S_US)
    (row,) = due(outbox, NOW_US + 5 * S_US)
    assert row.failures == 3
    assert due(outbox, NOW_US + 5 * S_US, without=(row.seq,)) == []
    # A time that only a clock gone wrong can have written does not hold it for ever.
    outbox.retry(row.seq, 4, NOW_US + 100 * HOUR_US)
    assert len(due(outbox)) == 1
    outbox.close()


def test_webhooks_have_nothing_to_do_with_each_other(path: Path) -> None:
    outbox = Outbox(path)
    for name in ("one", "two"):
        put(outbox, "a", "firing", name)
        put(outbox, "a", "resolved", name)
    outbox.done([due(outbox)[0].seq], NOW_US)
    assert [row.phase for row in due(outbox)] == ["resolved"]
    assert [row.phase for row in outbox.due("two", NOW_US, NOW_US, 10, ())[0]] == ["firing"]
    assert outbox.waiting() == {"one": Waiting(1, NOW_US), "two": Waiting(2, NOW_US)}
    outbox.close()


def test_old_ones_expire_and_make_way(path: Path) -> None:
    outbox = Outbox(path)
    put(outbox, "a", "firing", at_us=NOW_US - HOUR_US)
    put(outbox, "a", "resolved")
    put(outbox, "b", "firing", at_us=NOW_US - HOUR_US)
    assert outbox.expire(NOW_US - S_US, NOW_US) == {"one": 2}
    assert [(row.alert, row.phase) for row in due(outbox)] == [("a", "resolved")]
    outbox.close()


def test_webhooks_that_are_no_more(path: Path) -> None:
    outbox = Outbox(path)
    put(outbox, "a", "firing")
    put(outbox, "a", "firing", "two")
    assert outbox.keep_only(["one"]) == {"two": 1}
    assert outbox.keep_only([]) == {"one": 1}
    assert outbox.waiting() == {}
    outbox.close()


def test_it_is_there_after_kill_9_and_nothing_half(path: Path) -> None:
    script = f"""
import os
from pathlib import Path
from stream.notify.outbox import Outbox
outbox = Outbox(Path({str(path)!r}))
with outbox.transaction():
    outbox.put("one", "a", "firing", "s", b"body", {NOW_US}, {NOW_US})
    outbox.see("a", "firing", {NOW_US})
    outbox.hear("", 3, 7, {NOW_US})
    outbox.move(1, 42)
with outbox.transaction():
    outbox.put("one", "b", "firing", "s", b"body", {NOW_US}, {NOW_US})
    outbox.move(1, 43)
    os.kill(os.getpid(), 9)
"""
    ended = subprocess.run([sys.executable, "-c", script], check=False)
    assert ended.returncode == -9
    outbox = Outbox(path)
    assert [(row.alert, row.body) for row in due(outbox)] == [("a", b"body")]
    assert outbox.position(1) == 42
    assert outbox.position(0) is None
    assert outbox.phases_seen("a") == {"firing"}
    assert outbox.generation("", 3) == (7, NOW_US)
    outbox.forget(NOW_US + 1)
    assert outbox.phases_seen("a") == set()
    outbox.close()


def test_nobody_else_can_read_it(path: Path) -> None:
    Outbox(path).close()
    assert path.stat().st_mode & 0o077 == 0
    assert path.parent.stat().st_mode & 0o077 == 0


def test_one_notifier_at_a_time(path: Path) -> None:
    outbox = Outbox(path)
    with pytest.raises(StopError, match="another notifier uses"):
        Outbox(path)
    outbox.close()
    Outbox(path).close()


def test_a_file_that_is_no_outbox(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"this is not a database, and long enough to be seen as none" * 100)
    with pytest.raises(StopError, match="mend or move it"):
        Outbox(path)


def test_an_outbox_of_a_newer_version(path: Path) -> None:
    Outbox(path).close()
    db = sqlite3.connect(path)
    db.execute("PRAGMA user_version = 2")
    db.close()
    with pytest.raises(IncompatibleError, match="version 2"):
        Outbox(path)


def test_no_place_for_it(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StopError, match=r"set notifier\.state_dir"):
        Outbox(tmp_path / "file" / "x.sqlite3")
