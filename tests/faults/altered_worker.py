"""The worker's own program for tests: forked from a process that has its modules loaded, and altered where a test asks.

    python -m tests.faults.altered_worker

reads orders from stdin, each a line of JSON (see `main`), and answers each with the id of a new process, which runs
`millstream <arguments>`. Loading libraries and kernels costs seconds; a fork costs milliseconds, and a test that kills
fifty workers needs fifty of them. What an environment can alter:

- MILLSTREAM_TEST_SESSION_S: after how long without a heartbeat a member is out;
- MILLSTREAM_TEST_HANG_S: how long the action `hang` of a failpoint takes;
- MILLSTREAM_TEST_ADDRESS="HOST:PORT=PORT": who wants to connect to the first is connected to the other port;
- MILLSTREAM_TEST_POISON="yes": the fold raises at a record with the value RAISES in it, and crashes at CRASHES.
"""

from __future__ import annotations

import asyncio
import ctypes
import faulthandler
import json
import os
import signal
import sys
import traceback
from pathlib import Path
from typing import Any

RAISES, CRASHES = 666_666.0, 666_667.0
"""No other reading of a test has these values."""
_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Orders: {"arguments": […], "environment": {…}, "log": path, "directory": path}."""
    load()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for those that have ended
    print("ready", flush=True)
    for line in sys.stdin:
        order = json.loads(line)
        pid = os.fork()
        if pid == 0:
            run(order)
        print(pid, flush=True)


def load() -> None:
    """Import everything and compile every kernel, so that whoever is forked has it."""
    import deploy.cli  # noqa: F401
    import stream.worker  # noqa: F401  # the daemons import it when they are run
    from stream.warm_up import warm_up
    from tests.faults.worker_plant import PARTITIONS, plan_of_plant

    warm_up(plan_of_plant(), PARTITIONS)


def run(order: dict[str, Any]) -> None:
    """Become the process that was ordered; does not return."""
    parent = os.getppid()
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)
    os.setsid()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for number, fd in enumerate((nothing, log, log)):
        os.dup2(fd, number)
    signal.signal(signal.SIGUSR1, tell_where)
    os.chdir(order["directory"])
    os.environ.clear()
    os.environ.update(order["environment"])
    code = 1
    try:
        alter(os.environ)
        import deploy.cli

        deploy.cli.app(order["arguments"])
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    finally:
        if sys.exc_info()[0] is not None:
            traceback.print_exc()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def tell_where(*_: object) -> None:
    """Threads' and tasks' stacks, for who waits in vain for the end."""
    faulthandler.dump_traceback(file=2)
    for task in asyncio.all_tasks():
        task.print_stack(file=sys.stderr)
    print("that is where it is", file=sys.stderr, flush=True)


def alter(environment: os._Environ[str]) -> None:
    """What the environment asks for; failpoints among it, as they are read when their module is imported."""
    import stream.commits
    import stream.consumer
    from ingest.contract import failpoints

    put_in_place(failpoints.failpoint, failpoints.armed(environment.get(failpoints.VARIABLE, "")))
    if seconds := environment.get("MILLSTREAM_TEST_SESSION_S"):
        assert stream.consumer.SESSION_TIMEOUT_MS
        assert stream.commits.LEASE_S
        stream.consumer.SESSION_TIMEOUT_MS = int(float(seconds) * 1000)
        stream.commits.LEASE_S = float(seconds)
    if seconds := environment.get("MILLSTREAM_TEST_HANG_S"):
        assert failpoints._HANG_S
        failpoints._HANG_S = float(seconds)
    if address := environment.get("MILLSTREAM_TEST_ADDRESS"):
        redirect(*address.split("="))
    if environment.get("MILLSTREAM_TEST_POISON"):
        poison()


def put_in_place(before: Any, after: Any) -> None:
    """Of a function, wherever modules have it."""
    for module in list(sys.modules.values()):
        if Path(getattr(module, "__file__", None) or "/").suffix == ".py":
            for name, value in list(vars(module).items()):
                if value is before:
                    setattr(module, name, after)


def redirect(address: str, port: str) -> None:
    """Let connections to the one end up at the other."""
    plain = asyncio.base_events.BaseEventLoop.create_connection

    async def create_connection(self: Any, factory: Any, host: Any = None, to: Any = None, **options: Any) -> Any:
        return await plain(self, factory, host, int(port) if f"{host}:{to}" == address else to, **options)

    asyncio.base_events.BaseEventLoop.create_connection = create_connection  # type: ignore[method-assign, assignment]


def poison() -> None:
    """Let the fold of records with RAISES or CRASHES in them do that."""
    import numpy as np

    from ingest.contract.wire import Kind, decode_readings, envelope_of
    from stream.fold.partition import Effects, LogRecord, PartitionFold

    plain = PartitionFold.fold

    def fold(self: PartitionFold, record: LogRecord) -> Effects:
        if record.value is not None and envelope_of(record.headers).kind is Kind.READINGS:
            values = decode_readings(record.value).value
            if np.any(values == CRASHES):
                os.kill(os.getpid(), signal.SIGSEGV)
            if np.any(values == RAISES):
                self.state.counts += 1  # torn, as a kernel may leave it
                raise FloatingPointError("poison")
        return plain(self, record)

    PartitionFold.fold = fold  # type: ignore[method-assign]


if __name__ == "__main__":
    main()
