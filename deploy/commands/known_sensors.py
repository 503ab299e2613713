"""`millstream sensors ls | rename | retire`: the sensors that the workers know, by their newest snapshots."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from deploy.console import ERR, OUT, fail, read, seconds
from ingest.contract.errors import QuarantineError, ReconnectError, SettingsError, StopError
from ingest.contract.observe import configure_log
from ingest.contract.registry import did_you_mean
from ingest.contract.sensors import check_path
from ingest.discover.printing import printable

if TYPE_CHECKING:
    from deploy.sensors.known import Known, KnownSensor

T = TypeVar("T")
_SHOWN = 100
_EXAMPLES = 10

Config = Annotated[Path, typer.Option("--config", "-c", help="Settings, a TOML file.", metavar="FILE")]
Silent = Annotated[
    str | None, typer.Option(help="Only those that nothing was heard of for so long.", metavar="DURATION")
]
Match = Annotated[
    str | None, typer.Option(help="Only paths like this: * within a level, ** over any number.", metavar="PATTERN")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only tell.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


def list_sensors(
    config: Config,
    silent: Silent = None,
    match: Match = None,
    limit: Annotated[int | None, typer.Option(help="Show so many at most; default: 100, of --json all.", min=1)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="A JSON object a line.")] = False,
) -> None:
    """List the sensors that the workers know: class, newest reading, how long nothing was heard.

    Reads the newest snapshot of each partition, so what it tells is as old as they are.

    \b
    Examples: millstream sensors ls --config plant.toml --match 'demo/line-01/**'
              millstream sensors ls --config plant.toml --silent 30d --json
    """
    from deploy.sensors.known import json_line, table

    configure_log("error")
    chosen = _chosen_silent_us(silent)
    known = _known(config)
    found = known.chosen(match, chosen)
    shown = found[: limit or (len(found) if as_json else _SHOWN)]
    _lines(map(json_line, shown) if as_json else table(shown))
    if as_json:
        return
    more = "; --limit shows more" if len(shown) < len(found) else ""
    _lines([f"{len(shown):,} of {len(known.sensors):,}{more}" if found else _none(known)])
    _remark(known)


def rename(
    old: Annotated[str, typer.Argument(help="The name it has.", metavar="OLD")],
    new: Annotated[str, typer.Argument(help="The name it will have.", metavar="NEW")],
    config: Config,
    dry_run: DryRun = False,
    yes: Yes = False,
) -> None:
    """Give a sensor another name: what was learned of it and its windows follow, its open alerts end.

    Do it when the plant sends under the new name, or just before: what still comes under the old one is a new sensor.
    If there is a sensor of the new name already, that one takes over the models and the windows' past.

    Example: millstream sensors rename demo/press/temp demo/press/oil-temp --config plant.toml
    """
    from deploy.sensors.changing import renaming

    configure_log("error")
    _may_ask(yes, dry_run)
    for option, path in (("OLD", old), ("NEW", new)):
        try:
            check_path(path)
        except QuarantineError as error:
            fail(2, f"{option}: {printable(path, 200)!r} is no sensor's path: {error.detail}")
    if old == new:
        fail(2, "both names are the same")
    known = _known(config)
    sensor = _one(known, old)
    other = known.sensors.get(new)
    plan = _or_fail(lambda: renaming(known, sensor, new))
    _lines([f"rename      {old} (partition {sensor.partition}) to {new} (partition {plan.partition})"])
    if other is not None:
        _lines([f"there       {new} is known already: it takes over what was learned of {old}"])
    _remark(known)
    if dry_run or not (yes or typer.confirm("Rename it?")):
        _note("nothing was written")
        return
    _finish(plan.write(known))
    _lines(["written     it takes effect when the workers come to it; the next snapshots show it"])


def retire(
    config: Config,
    paths: Annotated[list[str] | None, typer.Argument(help="Sensors.", metavar="PATH")] = None,
    silent: Silent = None,
    match: Match = None,
    dry_run: DryRun = False,
    yes: Yes = False,
) -> None:
    """Forget sensors that are gone: their windows and what was learned of them, their series; their open alerts end.

    One that sends again is a new sensor. Without --yes, what would be forgotten is told first, and asked.

    \b
    Examples: millstream sensors retire demo/press/temp --config plant.toml
              millstream sensors retire --silent 30d --match 'demo/line-01/**' --config plant.toml --dry-run
    """
    from deploy.sensors.changing import retiring
    from deploy.sensors.known import table

    configure_log("error")
    if paths and (silent is not None or match is not None):
        fail(2, "say which sensors by their paths, or by --silent and --match: not both")
    if not paths and silent is None:
        fail(2, "say which sensors: paths, or --silent 30d, with --match or without")
    _may_ask(yes, dry_run)
    silent_us = _chosen_silent_us(silent)
    known = _known(config)
    found = [_one(known, path) for path in dict.fromkeys(paths)] if paths else known.chosen(match, silent_us)
    if not found:
        _lines([_none(known)])
        _remark(known)
        return
    _lines(table(found[:_EXAMPLES]))
    if len(found) > _EXAMPLES:
        _lines([f"and {len(found) - _EXAMPLES:,} more"])
    _remark(known)
    if dry_run or not (yes or typer.confirm(f"Forget {_sensors(len(found))}?")):
        _note("nothing was written")
        return
    _finish(retiring(found).write(known))
    _lines([f"written     {_sensors(len(found))}: it takes effect when the workers come to it"])


# --- arguments --------------------------------------------------------------------------------------------------


def _chosen_silent_us(silent: str | None) -> int | None:
    silent_s = seconds("--silent", silent)
    return None if silent_s is None else round(silent_s * 1e6)


def _may_ask(yes: bool, dry_run: bool) -> None:
    if not (yes or dry_run or (sys.stdin.isatty() and OUT.is_terminal)):
        fail(2, "nobody can be asked here: --yes writes, --dry-run only tells. Nothing was written")


def _known(config: Path) -> Known:
    from deploy.sensors.known import read_known

    return _finish(read_known(read(config, with_models=False)))


def _one(known: Known, path: str) -> KnownSensor:
    if (found := known.sensors.get(path)) is None:
        _remark(known)
        fail(1, f"{printable(path, 200)}: the workers know no such sensor{did_you_mean(path, known.sensors)}")
    return found


def _or_fail(work: Callable[[], T]) -> T:
    try:
        return work()
    except StopError as error:
        fail(1, *str(error).splitlines())


def _finish(work: Coroutine[Any, Any, T]) -> T:
    """Run to its end; errors that a person can mend become lines and exit codes."""
    try:
        return asyncio.run(work)
    except SettingsError as error:
        fail(2, *error.problems)
    except (ReconnectError, StopError) as error:
        fail(1, *str(error).splitlines())


def _sensors(count: int) -> str:
    return f"{count:,} sensor{'s' if count != 1 else ''}"


def _none(known: Known) -> str:
    return f"no sensor of this kind; {len(known.sensors):,} others are known"


def _remark(known: Known) -> None:
    for remark in known.remarks():
        _note(remark)


def _lines(lines: Iterable[str]) -> None:
    for line in lines:
        # What plants send is no markup, and ":100:" in it is no emoji.
        OUT.print(line, markup=False, emoji=False)


def _note(text: str) -> None:
    ERR.print(text, markup=False, emoji=False)
