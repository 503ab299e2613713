"""A whole backtest: look through the files, fold them under one or two configurations, judge."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from deploy.backtest.curves import Curves
from deploy.backtest.figures import Figures, figures_of
from deploy.backtest.labels import Coverage, Label, Window, windows_of
from deploy.backtest.log import batches, in_order
from deploy.backtest.recorded import Recorded
from deploy.backtest.replay import Found, Replay, Replaying
from deploy.backtest.rows import Rows
from deploy.backtest.scores import ScoresFile
from ingest.contract.registry import Registry
from models.base import Model
from stream.fold.definitions import Definitions


@dataclass(frozen=True, slots=True)
class Configuration:
    """What is folded with, and what people call it."""

    name: str
    definitions: Definitions


@dataclass(slots=True)
class Outcome:
    """What came of it. results: by configuration. windows: None without labels. curves: of the first configuration."""

    recorded: Recorded
    results: list[tuple[str, Replay, Figures]]
    windows: list[Window] | None
    curves: Curves | None
    wall_s: float
    cpu_s: float
    said: list[str] = field(default_factory=list)


def run_backtest(
    recorded: Recorded,
    configurations: list[Configuration],
    models: Registry[Model],
    *,
    labels: list[Label] | None = None,
    count_from_us: int = 0,
    sort: bool | None = None,
    out: Path | None = None,
    with_curves: bool = False,
    folded: Callable[[int], None] = lambda rows: None,
) -> Outcome:
    """Fold everything once under each configuration; the first one's scores go to `out`. folded: is told of progress.

    Raises StopError for a file that cannot be read any more, ValueError for settings that contradict themselves, and
    OSError when `out` cannot be written.
    """
    paths = recorded.sensors.paths
    windows = None if labels is None else windows_of(labels, recorded.sensors)
    coverage = Coverage(windows or [])
    curves = Curves(recorded.spans.first_us, recorded.spans.last_us) if with_curves else None
    _compile(configurations, models)
    sinks: list[Callable[[Found], None]] = [curves.take] if curves is not None else []

    def see(found: Found) -> None:
        for sink in sinks:
            sink(found)

    replaying = [
        Replaying(paths, one.definitions, models, count_from_us=count_from_us, see=see if at == 0 else None)
        for at, one in enumerate(configurations)
    ]
    wall_s, cpu_s = time.perf_counter(), time.process_time()
    with ExitStack() as stack:
        if out is not None:
            sinks.append(stack.enter_context(ScoresFile(out, paths, replaying[0].replay)).take)
        for batch in batches(in_order(recorded.files, sort), paths):
            coverage.take(batch.rows)
            for one in replaying:
                one.take(batch)
            folded(len(batch.rows.ts_us))
    wall_s, cpu_s = time.perf_counter() - wall_s, time.process_time() - cpu_s
    replays = [one.end() for one in replaying]
    results = [
        (one.name, found, figures_of(found, windows)) for one, found in zip(configurations, replays, strict=True)
    ]
    return Outcome(recorded, results, windows, curves, wall_s, cpu_s)


def _compile(configurations: list[Configuration], models: Registry[Model]) -> None:
    """Load every kernel, so that it is not part of the time taken."""
    at_us = 1_700_000_000_000_000 + np.arange(2) * 1_000_000
    rows = Rows(at_us, np.zeros(2, np.int32), np.zeros(2))
    for one in configurations:
        replaying = Replaying(["a"], one.definitions, models, see=Curves(at_us[:1], at_us[1:]).take)
        for batch in batches([rows], ["a"]):
            replaying.take(batch)
