"""Progress through the topic: a bar on a terminal, a line every few seconds elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, Progress, TextColumn

from deploy.console import ERR
from deploy.quarantine.log import Show
from ingest.contract.clock import Clock

_LINE_EVERY_S = 5.0


@contextmanager
def progress(what: str, clock: Clock) -> Iterator[Show]:
    """Call it with records read, and how many there are about."""
    if not ERR.is_terminal:
        yield _lines(what, clock)
        return
    columns = (TextColumn(f"{what:<11}"), BarColumn(30), TextColumn("{task.completed:,.0f} of {task.total:,.0f}"))
    with Progress(*columns, console=ERR, transient=True) as bar:
        task = bar.add_task("", total=0)
        yield lambda done, of: bar.update(task, completed=done, total=of)


def _lines(what: str, clock: Clock) -> Callable[[int, int], None]:
    next_s = clock.monotonic_s() + _LINE_EVERY_S

    def show(done: int, of: int) -> None:
        nonlocal next_s
        if clock.monotonic_s() >= next_s:
            next_s = clock.monotonic_s() + _LINE_EVERY_S
            ERR.print(f"{what:<11} {done:,} of {of:,} records", markup=False)

    return show
