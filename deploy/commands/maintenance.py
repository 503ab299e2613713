"""`millstream maintenance add | ls | end`: when nobody is to be told of machines under repair."""

from __future__ import annotations

import asyncio
import getpass
import secrets
from collections.abc import Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from deploy.console import ERR, OUT, fail, read, seconds
from ingest.contract.clock import SystemClock
from ingest.contract.durations import format_duration
from ingest.contract.errors import QuarantineError, ReconnectError, SettingsError, StopError
from ingest.contract.observe import configure_log
from ingest.contract.times import to_us

if TYPE_CHECKING:
    from deploy.sensors.steered import Steered
    from ingest.contract.settings import Settings

T = TypeVar("T")
_US_PER_S = 1_000_000

Config = Annotated[Path, typer.Option("--config", "-c", help="Settings, a TOML file.", metavar="FILE")]
Json = Annotated[bool, typer.Option("--json", help="A JSON object a line.")]

maintenance_app = typer.Typer(
    help="Maintenance windows: readings are shown, but nobody is told and nothing is learned.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


@maintenance_app.callback()
def maintenance() -> None:
    """Maintenance windows: readings are shown, but nobody is told and nothing is learned."""


@maintenance_app.command("add")
def add(
    match: Annotated[
        str, typer.Argument(help="Paths of sensors: * within a level, ** over any number.", metavar="PATTERN")
    ],
    config: Config,
    begin: Annotated[str, typer.Option("--from", help="now, or ISO 8601; UTC unless it says.", metavar="TIME")] = "now",
    until: Annotated[str | None, typer.Option(help="Likewise.", metavar="TIME")] = None,
    duration: Annotated[str | None, typer.Option("--for", help="Instead of --until: how long.", metavar="2h")] = None,
    note: Annotated[str, typer.Option(help="For people.")] = "",
    by: Annotated[str | None, typer.Option(help="Who says so; default: who is logged in.")] = None,
    name: Annotated[
        str | None, typer.Option("--id", help="Its id; the same one twice is one window. Default: a new one.")
    ] = None,
) -> None:
    """Begin a maintenance window: the sensors' open alerts end, and none begins before its end.

    Readings are shown and stay in windows; no model scores or learns them. What counts is the readings' own time.

    \b
    Examples: millstream maintenance add 'demo/line-01/**' --for 2h --note bearing --config plant.toml
              millstream maintenance add 'demo/**' --from 2026-12-24T14:00+01:00 --for 3d --config plant.toml
    """
    from stream.fold.commands import Maintain

    configure_log("error")
    now_us = SystemClock().now_us()
    from_us = _time("--from", begin, now_us)
    if (until is None) == (duration is None):
        fail(2, "say when it ends: --for 2h, or --until and a time")
    if duration is not None:
        until_us = from_us + round((seconds("--for", duration) or 0.0) * _US_PER_S)
    else:
        until_us = _time("--until", until or "", now_us)
    who = _user() if by is None else by
    command = Maintain(name or f"m-{secrets.token_hex(4)}", match, from_us, until_us, note, who)
    if problem := command.window.problem():
        fail(2, f"{problem}; nothing was written")
    if until_us <= max(from_us, now_us):
        fail(2, "it would be over before it begins; nothing was written")
    settings = read(config, with_models=False)
    _tell_fitting(settings, match)
    _write_everywhere(settings, command)
    _line(f"{command.id}  written to all {settings.kafka.topics.readings.partitions} partitions")
    every = format_duration(settings.worker.snapshots.every)
    _line(f"            ls shows it with the workers' next snapshots, every {every}")


@maintenance_app.command("ls")
def ls(
    config: Config,
    everything: Annotated[bool, typer.Option("--all", help="Those that are over, too.")] = False,
    as_json: Json = False,
) -> None:
    """List the windows that are on or to come, as the workers' newest snapshots have them.

    Example: millstream maintenance ls --config plant.toml
    """
    from deploy.sensors.steered import json_of_window, table_of_windows

    configure_log("error")
    found, now_us = _steered(read(config, with_models=False)), SystemClock().now_us()
    windows = sorted(found.windows.values(), key=lambda one: (one.window.from_us, one.window.id))
    windows = [one for one in windows if everything or one.state(now_us) != "over"]
    if as_json:
        for one in windows:
            _line(json_of_window(one, now_us))
        return
    if windows:
        for line in table_of_windows(windows, now_us):
            _line(line)
    else:
        _line("no maintenance is on or to come")
    _remark(found)


@maintenance_app.command("end")
def end(name: Annotated[str, typer.Argument(help="Its id, as ls shows it.", metavar="ID")], config: Config) -> None:
    """End a window now; one that has not begun is called off.

    Example: millstream maintenance end m-1f2e3d4c --config plant.toml
    """
    from stream.fold.commands import EndMaintenance

    configure_log("error")
    settings = read(config, with_models=False)
    found = _perhaps(settings)
    if found is None or name not in found.windows:
        # A window that is newer than the snapshots is ended all the same.
        ERR.print(f"{name}: not in the newest snapshots; written all the same", markup=False, emoji=False)
    _write_everywhere(settings, EndMaintenance(name, SystemClock().now_us()))
    _line(f"{name}  ends now, in all {settings.kafka.topics.readings.partitions} partitions")


def _user() -> str:
    try:
        return getpass.getuser()[:100]
    except (KeyError, OSError):
        # In a container nobody may be logged in.
        return ""


def _time(option: str, text: str, now_us: int) -> int:
    if text == "now":
        return now_us
    try:
        return to_us(text, "iso")
    except QuarantineError as error:
        fail(2, f"{option}: {text!r} is neither now nor a time like 2026-12-24T14:00+01:00: {error.detail}")


def _tell_fitting(settings: Settings, match: str) -> None:
    from ingest.contract.classes import glob

    found = _perhaps(settings)
    if found is None:
        return
    fitting = sum(glob(match).fullmatch(one) is not None for one in found.sensors)
    hint = "" if fitting or not found.sensors else ": is it spelt right?"
    _line(f"sensors     {fitting:,} of {len(found.sensors):,} that are known fit {match}{hint}")


def _write_everywhere(settings: Settings, command: Any) -> None:
    from deploy.sensors.changing import write_commands

    partitions = settings.kafka.topics.readings.partitions
    finish(write_commands(settings, [[(at, command) for at in range(partitions)]]))


def _steered(settings: Settings) -> Steered:
    from deploy.sensors.steered import read_steered

    return finish(read_steered(settings))


def _perhaps(settings: Settings) -> Steered | None:
    """What the snapshots say, if they can be read: whoever repairs a machine does not wait for a store."""
    from deploy.sensors.steered import read_steered

    try:
        return asyncio.run(read_steered(settings))
    except (ReconnectError, StopError) as error:
        ERR.print(f"what the workers know cannot be read: {error}", markup=False, emoji=False)
        return None


def _remark(found: Steered) -> None:
    for remark in found.known.remarks() if found.known.made_us else ["there is no snapshot yet"]:
        ERR.print(remark, markup=False, emoji=False)


def _line(text: str) -> None:
    # What people write is no markup, and ":100:" in it is no emoji.
    OUT.print(text, markup=False, emoji=False)


def finish(work: Coroutine[Any, Any, T]) -> T:
    """Run to its end; errors that a person can mend become lines and exit codes."""
    try:
        return asyncio.run(work)
    except SettingsError as error:
        fail(2, *error.problems)
    except (ReconnectError, StopError) as error:
        fail(1, *str(error).splitlines())
