"""`millstream levels ls | accept | reject`: what sensors' new levels are held for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deploy.commands.maintenance import finish
from deploy.console import ERR, OUT, fail, read
from ingest.contract.errors import QuarantineError
from ingest.contract.observe import configure_log
from ingest.contract.partition import partition_of
from ingest.contract.registry import did_you_mean
from ingest.contract.sensors import check_path
from ingest.discover.printing import printable

if TYPE_CHECKING:
    from stream.fold.commands import AcceptLevel, RejectLevel

Config = Annotated[Path, typer.Option("--config", "-c", help="Settings, a TOML file.", metavar="FILE")]
Sensor = Annotated[str, typer.Argument(help="Its path.", metavar="SENSOR")]

levels_app = typer.Typer(
    help="Sensors whose level has changed: what they are held for.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


@levels_app.callback()
def levels() -> None:
    """Sensors whose level has changed: what they are held for."""


@levels_app.command("ls")
def ls(config: Config, as_json: Annotated[bool, typer.Option("--json", help="A JSON object a line.")] = False) -> None:
    """List the levels that have changed and may be accepted or rejected, and those that were rejected.

    Reads the workers' newest snapshots, so what it tells is as old as they are.

    Example: millstream levels ls --config plant.toml
    """
    from deploy.sensors.steered import json_of_level, read_steered, table_of_levels

    configure_log("error")
    found = finish(read_steered(read(config, with_models=False)))
    if as_json:
        for one in found.levels:
            _line(json_of_level(one))
        return
    for line in table_of_levels(found.levels) if found.levels else ["no level has changed"]:
        _line(line)
    for remark in found.known.remarks() if found.known.made_us else ["there is no snapshot yet"]:
        ERR.print(remark, markup=False, emoji=False)


@levels_app.command("accept")
def accept(sensor: Sensor, config: Config) -> None:
    """A new level is right: the event is over, and what models knew of the old one is forgotten.

    Example: millstream levels accept demo/press-02/pressure --config plant.toml
    """
    from stream.fold.commands import AcceptLevel

    _write(AcceptLevel(sensor), config)


@levels_app.command("reject")
def reject(sensor: Sensor, config: Config) -> None:
    """A new level is wrong: the sensor is an anomaly until it is back, and models know again what they knew.

    Example: millstream levels reject demo/press-02/pressure --config plant.toml
    """
    from stream.fold.commands import RejectLevel

    _write(RejectLevel(sensor), config)


def _write(command: AcceptLevel | RejectLevel, config: Path) -> None:
    from deploy.sensors.changing import write_commands
    from deploy.sensors.steered import read_steered

    configure_log("error")
    sensor = command.sensor
    try:
        check_path(sensor)
    except QuarantineError as error:
        fail(2, f"{printable(sensor, 200)!r} is no sensor's path: {error.detail}")
    settings = read(config, with_models=False)
    found = finish(read_steered(settings))
    if sensor not in found.sensors:
        fail(1, f"{printable(sensor, 200)}: the workers know no such sensor{did_you_mean(sensor, found.sensors)}")
    if all(one.sensor != sensor for one in found.levels):
        # An event may be newer than the snapshots.
        ERR.print("its level has not changed, by the newest snapshots; written all the same", markup=False)
    partition = partition_of(sensor, settings.kafka.topics.readings.partitions)
    finish(write_commands(settings, [[(partition, command)]]))
    _line(f"written     {sensor}: it takes effect when the worker comes to it")


def _line(text: str) -> None:
    OUT.print(text, markup=False, emoji=False)
