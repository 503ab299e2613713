"""What all commands share: where they print, how they fail, how they read settings.

Exit codes: 0 done, 1 something outside failed (a connection, a port), 2 the settings or the command are wrong.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping
from pathlib import Path
from typing import Any, NoReturn

import typer
from rich.console import Console

from ingest.contract.durations import parse_duration_us
from ingest.contract.errors import SettingsError, StopError
from ingest.contract.observe import configure_log
from ingest.contract.settings import Settings
from ingest.contract.tags import Tag

OUT = Console(highlight=False, soft_wrap=True)
ERR = Console(stderr=True, highlight=False, soft_wrap=True)


def say(line: str) -> None:
    """A line of output, as it is."""
    OUT.print(line, markup=False)


def fail(code: int, *lines: str) -> NoReturn:
    """End with an exit code; the lines say why."""
    for line in lines:
        ERR.print(line, style="red" if code == 2 else "yellow", markup=False)
    raise typer.Exit(code)


def read(path: Path, *, with_models: bool, environ: Mapping[str, str] | None = None) -> Settings:
    """The settings, or exit code 2 with every mistake. environ: instead of the process's."""
    from deploy.registries import read_settings

    try:
        return read_settings(path, with_models=with_models, environ=environ)
    except SettingsError as error:
        count = len(error.problems)
        fail(2, *error.problems, f"{count} mistake{'s' if count > 1 else ''} in the settings; nothing was started")


def read_with_tags(
    path: Path, *, with_models: bool = True, environ: Mapping[str, str] | None = None
) -> tuple[Settings, dict[str, Tag]]:
    """The settings, and the plant's tags; or exit code 2."""
    from deploy.tags import read_plant_tags

    settings = read(path, with_models=with_models, environ=environ)
    try:
        return settings, read_plant_tags(settings, path)
    except SettingsError as error:
        fail(2, *error.problems, "mistakes in the tags; nothing was started")


def log_at(level: str) -> None:
    """Set the log's level, or exit code 2."""
    if level not in ("debug", "info", "warning", "error"):
        fail(2, f"--log-level: {level!r} is none of debug, info, warning, error")
    configure_log(level)


def run(work: Coroutine[Any, Any, None]) -> None:
    """Run a daemon or a task to its end; errors that a person can mend become lines and exit codes."""
    try:
        asyncio.run(work)
    except* SettingsError as group:
        fail(2, *(line for error in _leaves(group) for line in str(error).splitlines()))
    except* StopError as group:
        fail(1, *(str(error) for error in _leaves(group)))


def _leaves(group: BaseExceptionGroup[Any]) -> list[BaseException]:
    found: list[BaseException] = []
    for error in group.exceptions:
        found += _leaves(error) if isinstance(error, BaseExceptionGroup) else [error]
    return found


def seconds(option: str, text: str | None) -> float | None:
    """A duration option in seconds, or exit code 2."""
    try:
        return None if text is None else parse_duration_us(text) / 1e6
    except ValueError as error:
        fail(2, f"{option}: {error}")
