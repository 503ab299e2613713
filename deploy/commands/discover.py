"""`millstream discover`: listen to a broker and draft a configuration."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from pydantic import SecretStr
from rich.progress import BarColumn, Progress, TextColumn

from deploy.console import ERR, OUT, fail
from ingest.contract.durations import parse_duration_us
from ingest.contract.errors import ReconnectError, SettingsError, StopError
from ingest.contract.mqtt_settings import MqttSettings
from ingest.contract.section import TlsSettings
from ingest.discover.address import parse_address
from ingest.discover.printing import printable

if TYPE_CHECKING:
    from ingest.discover.draft import Draft, Unread
    from ingest.discover.heard import Hearing
    from ingest.discover.listen import Listener

_PLAIN_EVERY_S = 5.0
_EXAMPLES = 5
_EXAMPLE_WIDTH = 60
_LONGEST_S = 7 * 86_400.0


def _say(what: str, said: str) -> None:
    OUT.print(f"{what:<11} {said}", markup=False)


def discover(
    address: Annotated[
        str,
        typer.Argument(
            help="mqtt://[user[:password]@]host[:port], mqtts:// for TLS, ws:// or wss:// for WebSocket.",
            metavar="ADDRESS",
        ),
    ],
    duration: Annotated[str, typer.Option("--for", help="How long to listen.", metavar="DURATION")] = "60s",
    output: Annotated[Path, typer.Option("--output", "-o", help="The file to write.", metavar="FILE")] = Path(
        "plant.toml"
    ),
    topic: Annotated[
        list[str] | None, typer.Option(help="Topic filter to listen to; may be repeated. Default: #", metavar="FILTER")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file if it exists.")] = False,
    max_topics: Annotated[int, typer.Option(help="Keep so many topics at most.", min=1, max=1_000_000)] = 20_000,
    ca_file: Annotated[Path | None, typer.Option(help="Certificates to trust.", exists=True, dir_okay=False)] = None,
    cert_file: Annotated[Path | None, typer.Option(help="Own certificate.", exists=True, dir_okay=False)] = None,
    key_file: Annotated[Path | None, typer.Option(help="Its key.", exists=True, dir_okay=False)] = None,
) -> None:
    """Listen to an MQTT broker and draft a configuration for what is heard. Nothing is published or acknowledged.

    Ctrl-C ends listening early; the draft is written all the same. A password is better kept in the environment, as
    MILLSTREAM__MQTT__PASSWORD, than in the address.

    Example: millstream discover mqtt://broker.plant.example --for 60s -o plant.toml
    """
    # What listens and drafts is imported when it is used: `millstream --help` needs none of it.
    from ingest.discover.draft import draft_of
    from ingest.discover.heard import Hearing
    from ingest.discover.text import toml_text

    mqtt = _mqtt(address, TlsSettings(ca_file=_text(ca_file), cert_file=_text(cert_file), key_file=_text(key_file)))
    seconds = _seconds(duration)
    filters = topic or ["#"]
    for one in filters:
        if wrong := _wrong_with_filter(one):
            fail(2, f"--topic {printable(one)}: {wrong}")
    _check_output(output, force=force)
    hearing = Hearing(max_topics)
    listened_s = _listen(mqtt, filters, hearing, seconds)
    if not hearing.topics:
        what = "messages, but none with a topic that could be kept" if hearing.messages else "nothing"
        hint = f"in {listened_s:.0f} s on {', '.join(map(printable, filters))}"
        fail(1, f"heard {what} {hint}; may this user read these topics? Nothing was written")
    _say("heard", _heard(hearing, listened_s))
    draft = draft_of(hearing.topics)
    if not draft.routes:
        _report_unread(draft)
        fail(1, "nothing that was heard can be read; nothing was written")
    text = toml_text(draft, mqtt, seconds=listened_s, messages=hearing.messages)
    _write(output, text, force=force)
    _report(draft, output)


# --- arguments --------------------------------------------------------------------------------------------------


def _mqtt(address: str, tls: TlsSettings) -> MqttSettings:
    try:
        mqtt = parse_address(address, tls)
    except ValueError as error:
        fail(2, str(error))
    password = os.environ.get("MILLSTREAM__MQTT__PASSWORD")
    if mqtt.username is not None and mqtt.password is None and password:
        return mqtt.model_copy(update={"password": SecretStr(password)})
    return mqtt


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)


def _seconds(text: str) -> float:
    try:
        seconds = parse_duration_us(text) / 1e6
    except ValueError as error:
        fail(2, f"--for: {error}")
    if not 0 < seconds <= _LONGEST_S:
        fail(2, "--for: between a moment and 7d")
    return seconds


def _wrong_with_filter(one: str) -> str:
    levels = one.split("/")
    if not one or "\0" in one or len(one.encode(errors="replace")) > 65_535:
        return "a filter has between 1 and 65,535 bytes, and no NUL"
    if levels[0] in ("$SYS", "$share"):
        return "what the broker says of itself is no plant" if levels[0] == "$SYS" else "a share would be taken away"
    if any(character in level and level != character for level in levels for character in "+#") or "#" in levels[:-1]:
        return "+ and # stand for whole levels, # for the last ones"
    return ""


def _check_output(output: Path, *, force: bool) -> None:
    if output.is_dir():
        fail(2, f"{output}: is a directory")
    if output.exists() and not force:
        fail(2, f"{output}: exists already; --force overwrites it")
    if not output.parent.is_dir() or not os.access(output.parent, os.W_OK):
        fail(2, f"{output}: cannot be written there")


# --- listening --------------------------------------------------------------------------------------------------


def _listen(mqtt: MqttSettings, filters: list[str], hearing: Hearing, seconds: float) -> float:
    """Listen, with progress; returns for how long."""
    from ingest.contract.clock import SystemClock
    from ingest.discover.listen import Listener

    async def work() -> float:
        stop, loop = asyncio.Event(), asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop.set)
        listener = Listener(mqtt, filters, hearing, SystemClock())
        with _progress(listener, hearing, seconds) as show:
            await listener.listen(seconds, stop, show)
        return listener.seconds

    try:
        return asyncio.run(work())
    except ReconnectError as error:
        fail(1, f"{mqtt.host}:{mqtt.port}: {error}. Nothing was written")
    except StopError as error:
        fail(1, f"{error}. Nothing was written")


class _Lines:
    """Progress where there is no terminal: a line every few seconds."""

    def __init__(self, hearing: Hearing, seconds: float) -> None:
        self._hearing, self._seconds = hearing, seconds
        self._next_s = _PLAIN_EVERY_S

    def __call__(self, listener: Listener) -> None:
        if listener.seconds >= self._next_s:
            self._next_s = listener.seconds + _PLAIN_EVERY_S
            said = _standing(self._hearing, listener, self._seconds)
            ERR.print(f"listening   {said}", markup=False)


class _Bar:
    """Progress on a terminal."""

    def __init__(self, bar: Progress, hearing: Hearing, seconds: float) -> None:
        self._bar, self._hearing, self._seconds = bar, hearing, seconds
        self._task = bar.add_task("connecting …", total=seconds)

    def __call__(self, listener: Listener) -> None:
        said = _standing(self._hearing, listener, self._seconds)
        self._bar.update(self._task, completed=listener.seconds, description=said)


@contextmanager
def _progress(listener: Listener, hearing: Hearing, seconds: float) -> Iterator[_Lines | _Bar]:
    if not ERR.is_terminal:
        yield _Lines(hearing, seconds)
        return
    columns = (TextColumn("listening  "), BarColumn(30), TextColumn("{task.description}", markup=False))
    with Progress(*columns, console=ERR, transient=True) as bar:
        yield _Bar(bar, hearing, seconds)


def _standing(hearing: Hearing, listener: Listener, seconds: float) -> str:
    left_s = max(0.0, seconds - listener.seconds)
    said = f"{hearing.messages:,} messages  {len(hearing.topics):,} topics  {left_s:.0f} s left, Ctrl-C ends it"
    return f"{said}  {printable(listener.remark)}" if listener.remark else said


# --- the result -------------------------------------------------------------------------------------------------


def _write(output: Path, text: str, *, force: bool) -> None:
    """All or nothing, and only what `read_settings` takes."""
    from deploy.registries import model_registry
    from ingest.contract.settings_file import load_settings
    from ingest.decoders import DECODERS

    draft = output.with_name(f".{output.name}.{os.getpid()}.draft")
    nothing: Mapping[str, str] = {}
    try:
        with draft.open("x", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        load_settings(draft, nothing, {"decoder": DECODERS, "model": model_registry(names_only=True)})
        _check_output(output, force=force)
        draft.replace(output)
    except SettingsError as error:
        fail(1, *error.problems, "the draft is not valid, which is a mistake of discover; nothing was written")
    except OSError as error:
        fail(1, f"{output}: {error.strerror or error}; nothing was written")
    finally:
        draft.unlink(missing_ok=True)


def _heard(hearing: Hearing, seconds: float) -> str:
    said = f"{hearing.messages:,} messages on {len(hearing.topics):,} topics in {seconds:.0f} s"
    if more := hearing.more_topics:
        said += f"; about {more:,} topics more were not kept (--max-topics, or choose with --topic)"
    if hearing.overlong:
        said += f"; {hearing.overlong:,} messages with overlong topics were passed over"
    return said


def _report(draft: Draft, output: Path) -> None:
    plural = "es" if len(draft.classes) != 1 else ""
    routes = f"{len(draft.routes)} route{'s' if len(draft.routes) > 1 else ''}"
    _say("drafted", f"{output}: {routes}, {len(draft.classes)} class{plural}, {draft.sensors:,} sensors")
    share = draft.read / draft.readable if draft.readable else 0.0
    _say("reads", f"{draft.read:,} of {draft.readable:,} readable topics ({share:.1%}), {draft.topics:,} in all")
    if draft.twice:
        _say("note", f"{len(draft.twice):,} sensors have more than one topic, like {printable(draft.twice[0])}")
    for note in dict.fromkeys(route.notes[0] for route in draft.routes if route.notes):
        _say("note", printable(note.removeprefix("? "), 2 * _EXAMPLE_WIDTH))
    _report_unread(draft)
    _say("next", f"millstream check --config {output}")


def _report_unread(draft: Draft) -> None:
    if not draft.unread:
        return
    reasons = ", ".join(f"{count:,} × {printable(why)}" for why, count in draft.reasons[:8])
    _say("not read", f"{len(draft.unread):,} topics: {reasons}")
    for one in _examples(draft):
        payload = printable(one.payload, _EXAMPLE_WIDTH) or "(empty)"
        _say("", f"{printable(one.topic, _EXAMPLE_WIDTH)}  {payload}  ({printable(one.why)})")


def _examples(draft: Draft) -> list[Unread]:
    """A few, of different reasons first."""
    first = list({one.why: one for one in reversed(draft.unread)}.values())[::-1]
    rest = (one for one in draft.unread if one not in first)
    return [*first, *islice(rest, _EXAMPLES)][:_EXAMPLES]
