"""`millstream sensors`: take over what the plant knows about its tags, and compare it with what it sends."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deploy.commands.known_sensors import list_sensors, rename, retire
from deploy.console import ERR, OUT, fail, read, seconds
from deploy.tags import read_fitting_tags, tags_path
from ingest.contract.classes import ClassTable
from ingest.contract.errors import ReconnectError, SettingsError, StopError
from ingest.contract.settings import Settings
from ingest.contract.tags import Tag, write_tags
from ingest.discover.printing import printable

if TYPE_CHECKING:
    from deploy.hearing import SensorHearing

_EXAMPLES = 5
_EXAMPLE_WIDTH = 100
_LONGEST_S = 86_400.0

sensors_app = typer.Typer(
    help="The plant's sensors: what it knows about them, what the workers know, other names, and those that are gone.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


@sensors_app.callback()
def sensors() -> None:
    """The plant's sensors: what it knows about them, what the workers know, other names, and those that are gone."""


sensors_app.command("ls")(list_sensors)
sensors_app.command("rename")(rename)
sensors_app.command("retire")(retire)


@sensors_app.command("import")
def import_tags(
    tags_csv: Annotated[
        Path, typer.Argument(help="CSV: path (or dotted id), name, unit, low, high, class.", metavar="TAGS.CSV")
    ],
    config: Annotated[Path, typer.Option("--config", "-c", help="Settings, a TOML file.", metavar="FILE")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The file to write; default: beside the settings.")
    ] = None,
    listen: Annotated[
        str | None, typer.Option(help="Listen to the broker for so long and compare.", metavar="DURATION")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite a file that differs.")] = False,
) -> None:
    """Check a list of tags, write it in normal form beside the settings, and compare it with the plant.

    With --listen the broker is listened to (nothing is published or acknowledged; Ctrl-C ends it early). Nothing is
    written unless everything is right.

    Example: millstream sensors import tags.csv --config plant.toml --listen 10s
    """
    settings = read(config, with_models=False)
    listen_s = seconds("--listen", listen)
    if listen_s is not None and not 0 < listen_s <= _LONGEST_S:
        fail(2, "--listen: between a moment and 1d")
    target = output if output is not None else config.with_name(f"{config.stem}.tags.csv")
    tags = _tags(tags_csv, settings)
    text = write_tags(tags.values())
    _check_target(target, config, text, force=force)
    heard = None if listen_s is None else _listen(settings, config, listen_s)
    written = _write(target, config, text, force=force)
    _say("tags", f"{len(tags):,} {'written to' if written else 'stand already in'} {target}")
    if heard is None:
        _tell_classes(tags, settings)
    else:
        _compare(tags, heard)
    _tell_line(target, settings, config)


def _say(what: str, said: str) -> None:
    OUT.print(f"{what:<11} {said}", markup=False)


def _tags(path: Path, settings: Settings) -> dict[str, Tag]:
    try:
        tags = read_fitting_tags(path, settings.classes)
    except SettingsError as error:
        plural = "s" if len(error.problems) > 1 else ""
        fail(2, *(printable(line, 400) for line in error.problems), f"mistake{plural} in the tags; nothing was written")
    if not tags:
        fail(2, f"{path}: has no tags, only a header; nothing was written")
    return tags


# --- writing ----------------------------------------------------------------------------------------------------


def _check_target(target: Path, config: Path, text: str, *, force: bool) -> None:
    try:
        if target.exists() and not target.is_file():
            fail(2, f"{target}: is not a file; nothing was written")
        if target.exists() and target.samefile(config):
            fail(2, f"{target}: is the settings' own file; nothing was written")
        if not target.parent.is_dir() or not os.access(target.parent, os.W_OK):
            fail(2, f"{target}: cannot be written there; nothing was written")
        if not force and target.exists() and target.read_bytes() != text.encode():
            fail(2, f"{target}: exists and differs; --force overwrites it. Nothing was written")
    except OSError as error:
        fail(2, f"{target}: {error.strerror or error}; nothing was written")


def _write(target: Path, config: Path, text: str, *, force: bool) -> bool:
    """All or nothing. False if it stands there already."""
    _check_target(target, config, text, force=force)  # again: listening takes a while
    draft = target.with_name(f".{target.name}.{os.getpid()}.draft")
    try:
        if target.exists() and target.read_bytes() == text.encode():
            return False
        with draft.open("xb") as file:
            file.write(text.encode())
            file.flush()
            os.fsync(file.fileno())
        draft.replace(target)
    except OSError as error:
        fail(1, f"{target}: {error.strerror or error}; nothing was written")
    finally:
        draft.unlink(missing_ok=True)
    return True


# --- comparing --------------------------------------------------------------------------------------------------


def _listen(settings: Settings, config: Path, listen_s: float) -> SensorHearing:
    from deploy.hearing import SensorHearing
    from ingest.contract.clock import SystemClock
    from ingest.discover.listen import Listener

    hearing = SensorHearing(settings)
    where = ", ".join(f"{one.host}:{one.port}" for one in settings.brokers)

    async def work() -> float:
        stop, loop = asyncio.Event(), asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop.set)
        listeners = [Listener(one, hearing.filters, hearing, SystemClock()) for one in settings.brokers]
        ERR.print(f"listening   {where} for {listen_s:g} s, Ctrl-C ends it", markup=False)
        await asyncio.gather(*(listener.listen(listen_s, stop, lambda _: None) for listener in listeners))
        return max(listener.seconds for listener in listeners)

    try:
        listened_s = asyncio.run(work())
    except ReconnectError as error:
        # What follows is about an address on a command line.
        reason = re.split(r"; |: the broker's certificate", str(error))[0]
        fail(1, f"{where}: {reason}; [mqtt] in {config} says how to connect. Nothing was written")
    except StopError as error:
        fail(1, f"{error}. Nothing was written")
    _say("heard", f"{hearing.messages:,} messages of {len(hearing.sensors):,} sensors at {where} in {listened_s:.0f} s")
    if hearing.refused:
        reasons = ", ".join(f"{count:,} × {reason}" for reason, count in hearing.refused.most_common(8))
        _say("not read", reasons)
    return hearing


def _compare(tags: Mapping[str, Tag], hearing: SensorHearing) -> None:
    heard = hearing.sensors
    unknown, missing = sorted(tags.keys() - heard), sorted(heard - tags.keys())
    _say("matched", f"{len(tags.keys() & heard):,} tags were heard")
    _say("unknown", f"{len(unknown):,} tags were never heard{_examples(unknown)}")
    _say("missing", f"{len(missing):,} sensors were heard that have no tag{_examples(missing)}")


def _examples(paths: Sequence[str]) -> str:
    shown: Iterable[str] = (printable(path, _EXAMPLE_WIDTH) for path in paths[:_EXAMPLES])
    more = f" and {len(paths) - _EXAMPLES:,} more" if len(paths) > _EXAMPLES else ""
    return f": {', '.join(shown)}{more}" if paths else ""


def _tell_classes(tags: Mapping[str, Tag], settings: Settings) -> None:
    table, last = ClassTable(settings.classes, tags), len(settings.classes) - 1
    fitting = sum(table.base_of(path) != last for path in tags)
    name = settings.classes[last].name
    _say(
        "classes", f"{fitting:,} of {len(tags):,} tags have a class of their own, {len(tags) - fitting:,} are {name!r}"
    )
    _say("note", "nothing was compared with the plant: --listen 10s does that")


def _tell_line(target: Path, settings: Settings, config: Path) -> None:
    named = tags_path(settings, config)
    if named is not None and named.resolve() == target.resolve():
        return
    beside, full = config.resolve().parent, target.resolve()
    shown = full.relative_to(beside).as_posix() if full.is_relative_to(beside) else str(full)
    line = f"tags = {json.dumps(shown, ensure_ascii=False)}"
    if named is None:
        _say("next", f"add to [plant] in {config}: {line}")
    else:
        _say("next", f"{config} names other tags, {settings.plant.tags}; change it, in [plant]: {line}")
