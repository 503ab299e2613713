"""A replay from the settings to the last mark: first told, then done, over the same entries."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from deploy.quarantine.chosen import Chosen
from deploy.quarantine.log import QuarantineLog
from deploy.quarantine.progress import progress
from deploy.quarantine.replaying import Replaying, chosen_entries, try_entries
from deploy.quarantine.shown import aligned
from deploy.writing import OnTerminal
from ingest.contract.clock import SystemClock
from ingest.contract.errors import ReconnectError, StopError
from ingest.contract.log_writer import LogWriter
from ingest.contract.quarantine import Replayed
from ingest.contract.settings import Settings
from ingest.contract.tags import Tag
from ingest.discover.printing import printable
from ingest.replay import SOURCE, Fate, Replayer, Tally, Tried

_KINDS = 8


class NoSuchEntryError(StopError):
    """An id that is not in the topic."""


class Session:
    """What is chosen of the quarantine as it stands at the first look; what comes later is not touched."""

    def __init__(
        self, settings: Settings, config: Path, chosen: Chosen, *, partly: bool = False, remembered: bool = False
    ) -> None:
        self._settings = settings
        self._config = config
        self._chosen = chosen
        self._partly = partly
        self._remembered = remembered
        self._clock = SystemClock()
        self._tags: Mapping[str, Tag] = {}
        self._ends: dict[int, int] | None = None
        self._replaying: Replaying | None = None

    async def prepare(self) -> None:
        """Hold settings and topics together, as the gateway does. Raises ReconnectError, StopError."""
        from deploy.tags import read_plant_tags
        from deploy.topics import try_topics

        self._tags = read_plant_tags(self._settings, self._config)
        kafka = self._settings.kafka
        try:
            await try_topics(kafka, create=False)
        except ReconnectError as error:
            raise ReconnectError(f"{','.join(kafka.bootstrap)}: {error}") from error
        async with self._log() as log:
            self._ends = log.ends
            if missing := sorted(place for place in self._chosen.ids if not log.holds(place)):
                names = ", ".join(f"{partition}/{offset}" for partition, offset in missing[:_KINDS])
                raise NoSuchEntryError(f"{names}: no such entry; millstream quarantine ls prints those there are")

    async def tell(self, limit: int) -> tuple[Tally, list[Tried]]:
        """What would become of all, and of the first few one by one. Writes nothing."""
        first: list[Tried] = []
        async with self._log() as log:
            with progress("reading", self._clock) as show:
                entries = chosen_entries(log.entries(show), self._chosen, await self._marks(log))
                tally = await try_entries(
                    entries,
                    self._replayer(),
                    self._settings.kafka.topics.readings.name,
                    lambda tried: first.append(tried) if len(first) < limit else None,
                )
        return tally, first

    async def write(self) -> Tally:
        """Do it. Raises ReconnectError, StopError; `done` says how far it came."""
        kafka, max_record_bytes = self._settings.kafka, self._settings.gateway.max_record_bytes
        writer = LogWriter(kafka, SOURCE, OnTerminal(), max_record_bytes)
        self._replaying = Replaying(kafka, self._replayer(), writer, self._clock, max_record_bytes)
        try:
            async with self._log() as log:
                await writer.start()
                with progress("replaying", self._clock) as show:
                    marks = await self._marks(log)
                    await self._replaying.run(chosen_entries(log.entries(show), self._chosen, marks))
        finally:
            await writer.close()
        return self._replaying.tally

    @property
    def done(self) -> Tally:
        """What was written and marked so far."""
        return Tally() if self._replaying is None else self._replaying.tally

    def _log(self) -> QuarantineLog:
        return QuarantineLog(self._settings.kafka, self._chosen.since_us, ids=self._chosen.ids, ends=self._ends)

    async def _marks(self, log: QuarantineLog) -> Replayed:
        # With `--again` it does not matter what was replayed.
        return Replayed() if self._chosen.replayed else await log.replayed()

    def _replayer(self) -> Replayer:
        from deploy.quarantine.compose import remembered_here, replayer_of

        memory = remembered_here(self._settings) if self._remembered else {}
        return replayer_of(self._settings, self._tags, partly=self._partly, memory=memory)


def _readings(count: int) -> str:
    return f"{count:,} reading{'s' if count != 1 else ''}"


def fate_lines(tried: list[Tried], total: int) -> Iterator[str]:
    """What would become of entries, one by one."""
    rows = [["ID", "TOPIC", "WAS", "WOULD BE"]]
    for one in tried:
        became = _readings(one.rows) if one.fate is Fate.READ else str(one.fate)
        if one.reason:
            became += f": {printable(one.reason)}" + (f", {printable(one.detail, 60)}" if one.detail else "")
        rows.append([one.entry.id, printable(one.entry.origin, 64), printable(one.entry.reason), became])
    yield from aligned(rows)
    if total > len(tried):
        yield f"and {total - len(tried):,} more (--limit)"


def tally_lines(tally: Tally, *, partly: bool) -> Iterator[str]:
    """What became of all."""
    fates = tally.fates
    done = fates[Fate.READ] + (fates[Fate.PARTLY] if partly else 0)
    yield f"read       {done:,} of {tally.entries:,}: {_readings(tally.rows)}"
    if fates[Fate.NO_READINGS]:
        yield f"understood {fates[Fate.NO_READINGS]:,} without any reading in them"
    if fates[Fate.PARTLY] and not partly:
        yield f"partly     {fates[Fate.PARTLY]:,} stay as a whole: a part of each can be read (--partly takes it)"
    if tally.refused:
        kinds = tally.refused.most_common(_KINDS)
        said = ", ".join(
            f"{count:,} × {printable(reason)} ({printable(route, 40)})" for (reason, route), count in kinds
        )
        yield f"refused    {tally.refused.total():,} still: {said}" + (" …" if len(tally.refused) > _KINDS else "")
    if tally.kafka:
        yield f"           {tally.kafka:,} of them came by Kafka, not MQTT: their producer has to send them anew"
    if fates[Fate.CUT]:
        yield f"cut        {fates[Fate.CUT]:,} are longer than what was kept of them: they cannot be replayed"
