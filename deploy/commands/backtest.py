"""`millstream backtest`: recorded data through the worker's fold, and whether the alerts would be worth having."""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from deploy.console import ERR, fail, read_with_tags, say
from ingest.contract.errors import StopError
from ingest.contract.registry import did_you_mean

if TYPE_CHECKING:
    from deploy.backtest.run import Configuration, Outcome
    from deploy.backtest.tables import Reading

# Settings without a route are no plant's, but enough here.
_NO_ROUTE = '[{"topic": "{sensor...}"}]'
_ROUTE = "MILLSTREAM__ROUTE"


def backtest(
    files: Annotated[list[Path], typer.Argument(help="CSV (also .gz) or Parquet.", metavar="FILE…")],
    config: Annotated[
        Path | None,
        typer.Option("--config", "-c", help="Settings: classes, models, rules. Default: the default class."),
    ] = None,
    compare: Annotated[Path | None, typer.Option(help="Other settings, judged beside the first.")] = None,
    labels: Annotated[
        Path | None,
        typer.Option(help="What was wrong when: CSV of sensor, start, end, kind; or NAB's JSON.", metavar="FILE"),
    ] = None,
    train_until: Annotated[
        str | None, typer.Option(help="Before it models learn, and nothing counts.", metavar="TIME")
    ] = None,
    time_column: Annotated[str | None, typer.Option(help="Default: guessed, and said.", metavar="NAME")] = None,
    sensor_column: Annotated[
        str | None, typer.Option(help="Of a long file; default: guessed, and said.", metavar="NAME")
    ] = None,
    value_column: Annotated[str | None, typer.Option(help="Default: guessed, and said.", metavar="NAME")] = None,
    time_format: Annotated[
        str | None, typer.Option(help="Of times that are not ISO 8601: '%d/%m/%Y %H:%M:%S'.", metavar="FORMAT")
    ] = None,
    tz: Annotated[
        str | None, typer.Option("--tz", help="Zone of times without one: Europe/Berlin. Default: UTC.", metavar="ZONE")
    ] = None,
    decimal: Annotated[
        str | None, typer.Option(help="Comma or point; default: guessed, and said.", metavar=",|.")
    ] = None,
    sep: Annotated[
        str | None, typer.Option(help="Between cells, `tab` for a tabulator; default: guessed, and said.")
    ] = None,
    encoding: Annotated[str, typer.Option(help="Of a CSV: utf-8, latin-1, cp1252 …")] = "utf-8",
    prefix: Annotated[
        str, typer.Option(help="What goes before each sensor's path, so that classes match: demo/line-01.")
    ] = "",
    sort: Annotated[
        bool | None,
        typer.Option(
            "--sort/--no-sort", help="Sort files by time, in memory, or take them as they stand. Default: if needed."
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Write timestamp, sensor, value, score, model, alert of each reading.", metavar="CSV"),
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(help="Where the plot goes; default: NAME.backtest.html here.", metavar="HTML")
    ] = None,
    no_plot: Annotated[bool, typer.Option("--no-plot", help="Draw none.")] = False,
    as_json: Annotated[
        Path | None, typer.Option("--json", help="Write the figures as JSON, too.", metavar="FILE")
    ] = None,
) -> None:
    """Would the alerts have been worth having? Runs recorded data through the worker's own gate, models and rules.

    A file is long (time, sensor, value) or wide (time, and a column for each sensor). Each row arrives at its own time.
    Whether a plant is armed makes no difference here: all alerts count. The plot needs pip install 'millstream[plot]'.

    Examples: millstream backtest history.csv --tz Europe/Berlin

              millstream backtest 2024-*.parquet --config plant.toml --labels faults.csv --train-until 2024-02-01

              millstream backtest history.csv --config plant.toml --compare other.toml --no-plot --json figures.json

              millstream backtest history.csv --sep ';' --decimal , --out scores.csv
    """
    from deploy.backtest.labels import read_labels
    from deploy.backtest.recorded import look_through
    from deploy.backtest.run import run_backtest
    from deploy.backtest.shape import Columns
    from deploy.backtest.shown import json_of, lines_of
    from deploy.registries import model_registry

    zone = _zone(tz)
    reading = _reading(sep, decimal, encoding)
    targets = {"--out": out, "--plot": plot, "--json": as_json}
    _check_targets(targets, [*files, *(one for one in (config, compare, labels) if one is not None)])
    drawing = _drawing(plot, no_plot, files)
    count_from_us = _time("--train-until", train_until, zone)
    configurations = _configurations(config, compare)
    columns = Columns(time_column, sensor_column, value_column, zone, time_format)
    try:
        known = None if labels is None else read_labels(labels, zone)
        with _looking(len(files)) as looked:
            recorded = look_through(files, reading, columns, prefix=prefix, sort=sort, looked=looked)
        for line in recorded.said:
            say(line)
        if count_from_us > recorded.last_us:
            fail(2, f"--train-until {train_until}: all data is before it, so nothing would count")
        with _folding(recorded.readings) as folded:
            outcome = run_backtest(
                recorded,
                configurations,
                model_registry(),
                labels=known,
                count_from_us=count_from_us,
                sort=sort,
                out=out,
                with_curves=drawing is not None,
                folded=folded,
            )
        lines = lines_of(outcome)
        for line in lines:
            say(line)
        if as_json is not None:
            as_json.write_text(json.dumps(json_of(outcome, [str(one) for one in files]), indent=2) + "\n", "utf-8")
        if drawing is not None:
            _draw(drawing, outcome, files, lines)
    except (StopError, ValueError) as error:
        fail(2, *str(error).splitlines())
    except OSError as error:
        fail(2, f"{error.filename or out}: cannot be written: {error.strerror or error}")


def _draw(path: Path, outcome: Outcome, files: list[Path], lines: list[str]) -> None:
    from deploy.backtest.plot import write_report

    assert outcome.curves is not None
    _, replay, figures = outcome.results[0]
    title = f"Backtest of {files[0].name}" + (f" and {len(files) - 1} more" if len(files) > 1 else "")
    drawn = write_report(
        path,
        title,
        "\n".join([*outcome.recorded.said, "", *lines]),
        outcome.recorded.sensors.paths,
        replay,
        figures,
        outcome.windows or [],
        outcome.curves,
    )
    say(f"plot        {path}: {drawn} sensors")


def _drawing(plot: Path | None, no_plot: bool, files: list[Path]) -> Path | None:
    from deploy.backtest.plot import has_plotly

    if no_plot:
        if plot is not None:
            fail(2, "--plot and --no-plot: which one counts?")
        return None
    if has_plotly():
        return plot or Path(f"{files[0].name.partition('.')[0] or 'data'}.backtest.html")
    if plot is not None:
        fail(2, "--plot needs a library that is not installed: pip install 'millstream[plot]'")
    ERR.print("no plot: pip install 'millstream[plot]' draws one, --no-plot says that none is wanted", markup=False)
    return None


def _configurations(config: Path | None, compare: Path | None) -> list[Configuration]:
    from deploy.backtest.replay import default_definitions
    from deploy.backtest.run import Configuration
    from stream.fold.definitions import Definitions

    if config is None:
        found = [Configuration("default class", default_definitions())]
    else:
        found = [Configuration(config.name, Definitions.of(*read_with_tags(config, environ=_environ(config))))]
    if compare is not None:
        name = compare.name if compare.name != found[0].name else str(compare)
        found.append(Configuration(name, Definitions.of(*read_with_tags(compare, environ=_environ(compare)))))
    return found


def _environ(path: Path) -> dict[str, str]:
    """The process's, with a route where the settings have none."""
    environ = dict(os.environ)
    try:
        routes = "route" in tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return environ  # whoever reads the settings says what is wrong with them
    if not routes and not any(name.upper().startswith(_ROUTE) for name in environ):
        environ[_ROUTE] = _NO_ROUTE
    return environ


def _zone(tz: str | None) -> ZoneInfo | None:
    if tz is None:
        return None
    try:
        return ZoneInfo(tz)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        fail(
            2, f"--tz: there is no zone {tz!r}{did_you_mean(tz, sorted(available_timezones()))}: such as Europe/Berlin"
        )


def _time(option: str, text: str | None, zone: ZoneInfo | None) -> int:
    from deploy.backtest.times import read_us

    try:
        return 0 if text is None else read_us(text, zone)
    except ValueError as error:
        fail(2, f"{option}: {error}")


def _reading(sep: str | None, decimal: str | None, encoding: str) -> Reading:
    from deploy.backtest.tables import Reading

    sep = "\t" if sep in ("tab", "\\t") else sep
    if sep is not None and (len(sep) != 1 or sep in "\r\n\"'" or not sep.isascii()):
        fail(2, f"--sep: {sep!r} is not one character, such as ';' or tab")
    if decimal not in (None, ",", "."):
        fail(2, f"--decimal: {decimal!r} is neither , nor .")
    if decimal is not None and decimal == sep:
        fail(2, f"--sep and --decimal are both {sep!r}")
    return Reading(sep, decimal, encoding)


def _check_targets(targets: dict[str, Path | None], sources: list[Path]) -> None:
    read = {one.resolve() for one in sources}
    written: dict[Path, str] = {}
    for option, path in targets.items():
        if path is None:
            continue
        if path.is_dir():
            fail(2, f"{option}: {path} is a directory")
        if not path.absolute().parent.is_dir() or not os.access(path.absolute().parent, os.W_OK):
            fail(2, f"{option}: {path} cannot be written there")
        if path.resolve() in read:
            fail(2, f"{option}: {path} is what is read")
        if (other := written.setdefault(path.resolve(), option)) != option:
            fail(2, f"{option} and {other} are one file")


@contextmanager
def _looking(files: int) -> Iterator[Callable[[Path, int], None]]:
    """A line that changes, on a terminal only."""
    if not ERR.is_terminal:
        yield lambda path, readings: None
        return
    with Progress(
        TextColumn("looking through {task.fields[file]}", markup=False), BarColumn(), console=ERR, transient=True
    ) as bar:
        task = bar.add_task("", total=files, file="")
        yield lambda path, readings: bar.update(task, advance=1, file=path.name[:60])


@contextmanager
def _folding(readings: int) -> Iterator[Callable[[int], None]]:
    """A bar, on a terminal only."""
    if not ERR.is_terminal:
        yield lambda rows: None
        return
    with Progress(
        TextColumn("folding"),
        BarColumn(),
        TextColumn("{task.completed:,.0f} of {task.total:,.0f} readings", markup=False),
        TimeRemainingColumn(),
        console=ERR,
        transient=True,
    ) as bar:
        task = bar.add_task("", total=readings)
        yield lambda rows: bar.update(task, advance=rows)
