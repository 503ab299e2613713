"""Our own daemons as child processes: started, watched, started again when they crash, stopped in order."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from deploy.up.tether import VARIABLE
from ingest.contract.kafka_client import Backoff

_STOP_S = 40.0
_TAIL_LINES = 8
# Who has lived so long was not in a crash loop.
_HEALTHY_S = 30.0

Say = Callable[[str], None]


class Child:
    """`millstream NAME …` as a process. Its output goes to `<folder>/<name>.log`.

    once: its end is no crash (a simulator that has played all it should).
    """

    def __init__(
        self, name: str, folder: Path, environment: Mapping[str, str], *arguments: str, once: bool = False
    ) -> None:
        self.name = name
        self.log = folder / f"{name}.log"
        self.restarts = 0
        self._once = once
        self._environment = dict(environment)
        self._arguments = arguments
        self._process: asyncio.subprocess.Process | None = None
        self._stopping = False

    async def start(self) -> None:
        """Start it."""
        with self.log.open("ab") as out:
            # A session of its own: Ctrl-C on the terminal is for `up`, which stops its children in order.
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "deploy", self.name, *self._arguments),
                env={**self._environment, VARIABLE: str(os.getpid())},
                stdout=out,
                stderr=out,
                start_new_session=True,
            )

    async def watch(self, say: Say) -> None:
        """Start it again whenever it ends by itself, with back-off; returns when it is meant to be over."""
        backoff, loop = Backoff(), asyncio.get_running_loop()
        while True:
            process, started_s = self._process, loop.time()
            if process is None:
                return
            code = await process.wait()
            if self._stopping or (self._once and code == 0):
                return
            if loop.time() - started_s > _HEALTHY_S:
                backoff.reset()
            wait_s = backoff.next_s()
            say(f"{self.name:<11} ended with exit code {code}; started again in {wait_s:.1f} s. Its last words:")
            for line in self.last_words():
                say(f"            {line}")
            await asyncio.sleep(wait_s)
            if self._stopping:
                return
            self.restarts += 1
            await self.start()

    def last_words(self) -> list[str]:
        """The end of its log."""
        try:
            return self.log.read_text(errors="replace").splitlines()[-_TAIL_LINES:]
        except FileNotFoundError:
            return []

    async def stop(self) -> None:
        """SIGTERM, and SIGKILL if that does not help in time."""
        self._stopping = True
        process = self._process
        if process is None or process.returncode is not None:
            return
        process.terminate()
        try:
            await asyncio.wait_for(process.wait(), _STOP_S)
        except TimeoutError:
            process.kill()
            await process.wait()
