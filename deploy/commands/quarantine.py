"""`millstream quarantine`: what could not be read, why, and reading it once more after the settings were mended."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Coroutine, Iterable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from deploy.console import ERR, OUT, fail, read, seconds
from ingest.contract.clock import SystemClock
from ingest.contract.errors import Reason, ReconnectError, SettingsError, StopError
from ingest.contract.observe import configure_log
from ingest.discover.printing import printable

if TYPE_CHECKING:
    from deploy.quarantine.chosen import Chosen
    from deploy.quarantine.session import Session
    from ingest.replay import Tally

T = TypeVar("T")
_NOTHING = "nothing of this kind is in quarantine, or all of it was replayed (--again)"

quarantine_app = typer.Typer(
    help="What could not be read: list it, look at it, read it again.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
Config = Annotated[Path, typer.Option("--config", "-c", help="Settings, a TOML file.", metavar="FILE")]
Reasons = Annotated[list[str] | None, typer.Option("--reason", help="Only of this reason; may be repeated.")]
Topic = Annotated[
    str | None,
    typer.Option(help="Only of topics like this: * within a level, ** over any number.", metavar="PATTERN"),
]
Route = Annotated[str | None, typer.Option(help="Only of this route, by its topic pattern.", metavar="ROUTE")]
Since = Annotated[str | None, typer.Option(help="Only what came in the last so long.", metavar="DURATION")]


class By(StrEnum):
    """What entries are counted by."""

    REASON = "reason"
    TOPIC = "topic"
    ROUTE = "route"


@quarantine_app.callback()
def quarantine() -> None:
    """What could not be read: list it, look at it, read it again."""


# --- ls ---------------------------------------------------------------------------------------------------------


@quarantine_app.command("ls")
def list_entries(
    config: Config,
    reason: Reasons = None,
    topic: Topic = None,
    route: Route = None,
    since: Since = None,
    limit: Annotated[int, typer.Option(help="Show so many at most, the newest first.", min=1, max=1_000_000)] = 20,
    by: Annotated[By | None, typer.Option(help="Count them instead.")] = None,
    all_: Annotated[bool, typer.Option("--all", help="Those that were replayed, too.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="A JSON object a line.")] = False,
) -> None:
    """List what is in quarantine and was not replayed, the newest first.

    Reads the topic from --since to its end, joins no group, commits nothing.

    \b
    Examples: millstream quarantine ls --config plant.toml --since 1h
              millstream quarantine ls --config plant.toml --by reason
              millstream quarantine ls --config plant.toml --topic 'factory/**' --reason syntax --json
    """
    # What reads and replays is imported when it is used: `millstream --help` needs none of it.
    from deploy.quarantine.listing import Listing

    configure_log("error")
    settings = read(config, with_models=False)
    if by is not None and as_json:
        fail(2, "--by counts, --json lists: not both")
    chosen = _chosen(reason, topic, route, since, replayed=all_)
    listing, clock = Listing(chosen, limit, by), SystemClock()
    _finish(listing.read(settings.kafka, clock))
    _lines(listing.json_lines() if as_json else listing.lines(clock.now_us()))
    if not as_json:
        for remark in listing.remarks():
            _note(remark)


# --- show -------------------------------------------------------------------------------------------------------


@quarantine_app.command("show")
def show_entry(
    place: Annotated[str, typer.Argument(help="As `ls` prints it: partition/offset.", metavar="ID")],
    config: Config,
    raw: Annotated[bool, typer.Option("--raw", help="Write the payload's bytes to standard output.")] = False,
) -> None:
    """Show all that is known of one entry, and its payload: as text if it is text, else in hexadecimal.

    \b
    Examples: millstream quarantine show 2/41 --config plant.toml
              millstream quarantine show 2/41 --config plant.toml --raw > payload.bin
    """
    from deploy.quarantine.listing import find, shown, write_raw

    configure_log("error")
    settings = read(config, with_models=False)
    (wanted,) = _ids([place])

    entry, was_replayed = _finish(find(settings.kafka, wanted))
    if entry is None:
        fail(1, f"{place}: no such entry; retention may have taken it. millstream quarantine ls prints those there are")
    if raw:
        write_raw(entry)
    else:
        _lines(shown(entry, replayed=was_replayed))


# --- replay -----------------------------------------------------------------------------------------------------


@quarantine_app.command("replay")
def replay(
    config: Config,
    places: Annotated[
        list[str] | None, typer.Argument(help="Entries, as `ls` prints them: partition/offset.", metavar="ID")
    ] = None,
    reason: Reasons = None,
    topic: Topic = None,
    route: Route = None,
    since: Since = None,
    all_: Annotated[bool, typer.Option("--all", help="Everything that was not replayed.")] = False,
    again: Annotated[bool, typer.Option("--again", help="Those that were replayed, too.")] = False,
    partly: Annotated[
        bool, typer.Option("--partly", help="Be done with messages of which only a part can be read.")
    ] = False,
    remembered: Annotated[
        bool, typer.Option("--remembered", help="Begin with the births that the gateway on this machine remembers.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only tell what would become of each.")] = False,
    limit: Annotated[int, typer.Option(help="With --dry-run: tell of so many one by one.", min=0, max=10_000)] = 20,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Read entries once more with the settings as they are now, write their readings to Kafka, and mark them.

    Readings carry the flag "replayed" and the arrival time of the original. What still cannot be read stays in
    quarantine. Without --yes, what would happen is told first, and asked. Ended in the middle, run it again: readings
    that were written twice and have a time of their own are counted once.

    Formats with births (Sparkplug) are read from those among the entries; --remembered adds the gateway's, which is
    right as long as devices have not given their aliases other meanings since.

    \b
    Examples: millstream quarantine replay --config plant.toml --reason no_route --dry-run
              millstream quarantine replay --config plant.toml --topic 'factory/**' --since 2h
              millstream quarantine replay --config plant.toml --all --yes
    """
    from deploy.quarantine.session import Session, fate_lines

    configure_log("error")
    chosen = _chosen(reason, topic, route, since, replayed=again, ids=_ids(places or []))
    if all_ and not chosen.everything:
        fail(2, "--all takes everything: leave out the rest, or leave out --all")
    if chosen.everything and not all_:
        fail(2, "say which entries: ids, --reason, --topic, --route, --since, or --all; --dry-run only tells")
    asks = sys.stdin.isatty() and OUT.is_terminal
    if not (yes or dry_run or asks):
        fail(2, "nobody can be asked here: --yes writes, --dry-run only tells. Nothing was written")
    session = Session(read(config, with_models=False), config, chosen, partly=partly, remembered=remembered)
    _finish(session.prepare())
    if not yes:
        tally, first = _finish(session.tell(limit if dry_run else 0))
        if first:
            _lines(fate_lines(first, tally.entries))
        if not tally.entries:
            _lines([_NOTHING])
            return
        _tell(tally, partly=partly)
        if dry_run:
            return
        if not tally.anything:
            _note("nothing can be read yet; nothing was written")
            return
        if not typer.confirm("Write these readings to Kafka?"):
            _note("nothing was written")
            return
    try:
        _finish(session.write(), session)
    except KeyboardInterrupt:
        _tell(session.done, partly=partly)
        fail(1, "stopped; what is not marked stays, the same command goes on with it")
    if not session.done.entries:
        _lines([_NOTHING])
        return
    _tell(session.done, partly=partly)


def _tell(tally: Tally, *, partly: bool) -> None:
    from deploy.quarantine.session import tally_lines

    _lines(tally_lines(tally, partly=partly))


# --- arguments --------------------------------------------------------------------------------------------------


def _chosen(
    reasons: list[str] | None,
    topic: str | None,
    route: str | None,
    since: str | None,
    *,
    replayed: bool,
    ids: frozenset[tuple[int, int]] = frozenset(),
) -> Chosen:
    from deploy.quarantine.chosen import Chosen

    known = [str(one) for one in Reason]
    for one in reasons or []:
        if one not in known:
            fail(2, f"--reason: {printable(one)!r} is none of {', '.join(known)}")
    since_s = seconds("--since", since)
    since_us = None if since_s is None else SystemClock().now_us() - round(since_s * 1e6)
    return Chosen(ids, frozenset(reasons or []), topic, route, since_us, replayed)


def _ids(places: list[str]) -> frozenset[tuple[int, int]]:
    from deploy.quarantine.chosen import parse_id

    try:
        return frozenset(map(parse_id, places))
    except ValueError as error:
        fail(2, str(error))


def _finish(work: Coroutine[Any, Any, T], session: Session | None = None) -> T:
    """Run to its end; errors that a person can mend become lines and exit codes."""
    try:
        return asyncio.run(work)
    except SettingsError as error:
        fail(2, *error.problems)
    except (ReconnectError, StopError) as error:
        if session is not None and session.done.entries:
            _tell(session.done, partly=False)
        fail(1, *str(error).splitlines())


def _lines(lines: Iterable[str]) -> None:
    for line in lines:
        # What plants send is no markup, and ":100:" in it is no emoji.
        OUT.print(line, markup=False, emoji=False)


def _note(text: str) -> None:
    ERR.print(text, markup=False, emoji=False)
