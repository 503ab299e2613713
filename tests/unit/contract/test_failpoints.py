"""Failpoints: each place by its name, at the hit that was asked for; what means nothing is refused."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys

import pytest

from ingest.contract import failpoints
from ingest.contract.errors import StopError
from ingest.contract.failpoints import VARIABLE, Failpoint, armed


@pytest.mark.parametrize(
    ("text", "hits"),
    [("spool-fsync=eio", [1]), ("spool-fsync=eio:3", [3]), ("spool-fsync=eio:2+", [2, 3, 4]), ("spooled=eio:1+", [])],
)
def test_an_error_is_raised_at_the_hits_that_were_asked_for(text: str, hits: list[int]) -> None:
    failpoint, raised = armed(text), []
    for hit in range(1, 5):
        try:
            failpoint("spool-fsync")
        except OSError:
            raised.append(hit)
    assert raised == hits


@pytest.mark.parametrize(("action", "number"), [("enospc", errno.ENOSPC), ("eio", errno.EIO), ("erofs", errno.EROFS)])
def test_errors_are_those_of_a_disk(action: str, number: int) -> None:
    with pytest.raises(OSError, match="failpoint spool-append") as caught:
        armed(f" decoded=exit:9 , spool-append={action}")("spool-append")
    assert caught.value.errno == number


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("spoold=kill", "no failpoint 'spoold'"),
        ("spooled", "spooled cannot do ''"),
        ("spooled=explode:1", "spooled cannot do 'explode'"),
        ("spooled=kill:0", "number of the hit"),
        ("spooled=kill:+", "number of the hit"),
        ("spooled=kill:x", "number of the hit"),
        ("spooled=kill:²", "number of the hit"),
        ("received=kill,=kill", "no failpoint ''"),
    ],
)
def test_what_means_nothing_is_refused(text: str, problem: str) -> None:
    with pytest.raises(StopError, match=problem):
        armed(text)


def test_without_the_variable_nothing_is_armed() -> None:
    assert VARIABLE not in os.environ
    for name in Failpoint:
        failpoints.failpoint(name)
    assert failpoints.failpoint is failpoints._nothing


@pytest.mark.parametrize(("action", "code"), [("kill", -signal.SIGKILL), ("exit", 70)])
def test_the_variable_arms_a_process(action: str, code: int) -> None:
    program = (
        "from ingest.contract.failpoints import failpoint\n"
        "for n in range(3): print(n, flush=True); failpoint('received')\n"
    )
    environment = {**os.environ, VARIABLE: f"received={action}:2"}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == code
    assert done.stdout == "0\n1\n"
