"""The fold of a record into the state of one partition.

Guarantee: the result is bit-identical for any split of the same log into records of the same arrival time, and for
any grouping of records; so records of other producers that arrived together are folded as one batch. *Now* is the
partition's clock (`clock.py`), which the log moves; nothing else knows the time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ingest.contract.errors import IncompatibleError, QuarantineError, Reason
from ingest.contract.foreign import ARRIVAL_GRID_MS, foreign_envelope, is_foreign, stamp
from ingest.contract.panes import level_of
from ingest.contract.readings import Flag, Readings, Words
from ingest.contract.sensors import check_path
from ingest.contract.wire import ARROW, JSON, Envelope, Kind, decode_readings, envelope_of
from stream.fold.alerts import EVENT, Transition, judge_open, judge_rows, open_slots
from stream.fold.backlog import Digest, backlog_rows
from stream.fold.budget import REFRESH_US
from stream.fold.commands import Applied, apply, command_of
from stream.fold.forgetting import HOUR_US, alive_us, forget
from stream.fold.gate import LATE, Verdict, times_of
from stream.fold.maintaining import end_masked, in_maintenance
from stream.fold.migrate import Migration, config_of, migrate
from stream.fold.plan import AS_ITS_SOURCE, Plan
from stream.fold.quantiles import fold_sketches, read_sketches
from stream.fold.relearning import settle
from stream.fold.rows import fold_rows, keep_scores
from stream.fold.runs import MAX_RUN_BYTES, Home, read_run
from stream.fold.scored import Scored
from stream.fold.scoring import score_rows
from stream.fold.silence import begin, hear
from stream.fold.silent_together import judge
from stream.fold.state import PartitionState
from stream.fold.telling import told
from stream.fold.windows import NO_PANE, PANE, STATISTICS, read, unchanged_s

_US_PER_S = 1_000_000


class LogRecord(NamedTuple):
    """A Kafka record, as far as the fold is concerned."""

    offset: int
    headers: Iterable[tuple[str, bytes | None]]
    value: bytes | None
    timestamp_ms: int = 0
    """Kafka's: when it arrived, for those who do not say so in a header."""


@dataclass(frozen=True, slots=True)
class Effects:
    """What follows from a record, or a run of them, to be published under its (last) offset.

    late: its rows with the verdict LATE; envelope: its headers, where it has such rows.
    """

    offset: int
    transitions: list[Transition]
    late: Readings | None = None
    envelope: Envelope | None = None
    digests: list[Digest] = field(default_factory=list)
    migration: Migration | None = None
    applied: Applied | None = None
    """A command, and what became of it."""
    forgotten: int = 0
    """Sensors that were silent for too long."""


@dataclass(frozen=True, slots=True)
class Run:
    """What folding some records at once brought.

    records: how many it were. refused: (record, why) of those that were skipped. effects: of the others; None if there
    were none.
    """

    records: int
    refused: list[tuple[LogRecord, QuarantineError]]
    effects: Effects | None


def run_length(records: Sequence[LogRecord], begin: int) -> int:
    """How many, from one on, may be folded at once: other producers' that follow each other and arrived together."""
    first = records[begin]
    if not is_foreign(first.headers):
        return 1
    offset, arrival, size = first.offset, first.timestamp_ms // ARRIVAL_GRID_MS, len(first.value or b"")
    for at in range(begin + 1, len(records)):
        offset += 1
        found, headers, value, timestamp_ms = records[at]
        size += len(value or b"")
        together = found == offset and timestamp_ms // ARRIVAL_GRID_MS == arrival and size <= MAX_RUN_BYTES
        if not (together and (headers == first.headers or is_foreign(headers))):
            return at - begin
    return len(records) - begin


class PartitionFold:
    """state', effects = fold(state, record)."""

    def __init__(
        self,
        plan: Plan,
        partitions: int,
        state: PartitionState | None = None,
        *,
        partition: int | None = None,
        watch: Callable[[Scored], None] | None = None,
    ) -> None:
        """state: of this plan; default: that of an empty log.

        partition: which of them this is, to find foreign readings that belong to another; None: not looked at.
        watch: is shown what was found of the rows of each record with readings.
        """
        self.plan = plan
        """What is in force at `state.next_offset`."""
        self._partitions = partitions
        self._home = Home(partition, partitions)
        self._watch = watch
        self.state = PartitionState(plan) if state is None else state

    def fold(self, record: LogRecord) -> Effects:
        """Fold one record. The offset moves on whatever the record holds.

        Raises QuarantineError for a record that cannot be read (skip it: the state has not changed) and
        IncompatibleError for one that only a newer program, or one with another partition count, may read.
        """
        if is_foreign(record.headers):
            run = self.fold_run((record,))
            if run.effects is None:
                raise run.refused[0][1]
            return run.effects
        try:
            envelope = envelope_of(record.headers)
            if envelope.partitions != self._partitions:
                raise IncompatibleError(
                    f"the record at offset {record.offset} was written when the topic had {envelope.partitions} "
                    f"partitions, now it has {self._partitions}: machines have moved between partitions, so their "
                    "state would be torn. Go back to the old count, or start a new topic and a new group"
                )
            readings, plan, command = None, None, None
            if envelope.kind is Kind.READINGS:
                if envelope.content_type != ARROW or record.value is None:
                    raise QuarantineError(Reason.RECORD, f"readings as {envelope.content_type}")
                readings = decode_readings(record.value)
                known = self._known(readings)
            elif envelope.kind is Kind.CONFIG:
                plan = config_of(envelope, record.value, self.plan)
            elif envelope.kind is Kind.COMMAND:
                command = command_of(envelope, record.value)
        except QuarantineError:
            self.state.next_offset = record.offset + 1
            raise
        effects = self._hear(record.offset, envelope)
        if readings is not None and len(readings):
            if effects.forgotten:
                known = self.state.slots.find(readings.sensor.words)
            effects = self._fold_readings(readings, self._slots(readings, known), envelope, effects)
        elif plan is not None:
            effects = self._redefine(plan, effects)
        elif command is not None:
            applied = apply(self.plan, self.state, command)
            effects = replace(effects, transitions=[*effects.transitions, *applied.transitions], applied=applied)
        self.state.next_offset = record.offset + 1
        return effects

    def fold_run(self, records: Sequence[LogRecord]) -> Run:
        """Fold records of other producers at once, as if one by one; or only the first, see `Run.records`.

        records: consecutive, as many as `run_length` says. Bad ones are skipped: they change nothing but the offset.
        """
        first = records[0]
        try:
            envelope = foreign_envelope(first.timestamp_ms, self._partitions)
        except QuarantineError as error:
            self.state.next_offset = first.offset + 1
            return Run(1, [(first, error)], None)
        if self._may_forget(envelope.heard_us):
            # Who is forgotten is unknown to the second record, not to the first.
            records = records[:1]
        run = read_run(
            [one.value for one in records], [one.timestamp_ms for one in records], self.state.slots, self._home
        )
        refused = [(records[at], run.refused[at]) for at in sorted(run.refused)]
        effects, end = None, records[-1].offset + 1
        if len(refused) < len(records):
            effects, readings, known = self._hear(end - 1, envelope), run.readings, run.known
            if len(readings):
                if effects.forgotten:
                    known = self.state.slots.find(readings.sensor.words)
                slot = self._slots(readings, known)
                sensors, latest_us = self.state.sensors, self._future_us(envelope)
                readings = stamp(readings, slot, sensors["shown_us"], latest_us, times_of(sensors))
                effects = self._fold_readings(readings, slot, envelope, effects)
        self.state.next_offset = end
        return Run(len(records), refused, effects)

    def _may_forget(self, heard_us: int) -> bool:
        """Whether sensors may be forgotten when the clock hears this."""
        state, clock = self.state, self.state.clock
        alive = alive_us(state, clock.heard(heard_us).now_us - clock.now_us)
        return len(state.slots) > 0 and alive // HOUR_US != state.alive_us // HOUR_US

    def _hear(self, offset: int, envelope: Envelope) -> Effects:
        """What follows from the time that a record tells."""
        before_us = self.state.now_us
        transitions = self._pass_time(envelope.heard_us)
        forgotten, ended = forget(self.plan, self.state, before_us)
        transitions += ended
        return Effects(offset, transitions, digests=self.state.over.due(self.state.now_us), forgotten=forgotten)

    def _redefine(self, plan: Plan, effects: Effects) -> Effects:
        self.state, migration = migrate(self.plan, self.state, plan)
        self.plan = plan
        self._share_budget()
        return replace(effects, transitions=[*effects.transitions, *migration.transitions], migration=migration)

    def _share_budget(self) -> None:
        self.state.share_budget(self.plan, self.plan.definitions.alerts_per_day / self._partitions)

    def _pass_time(self, heard_us: int) -> list[Transition]:
        """Move the clock; go on with open episodes as of the time before, of which all is known now."""
        state, before_us = self.state, self.state.now_us
        state.hear(heard_us)
        if state.now_us // REFRESH_US != before_us // REFRESH_US:
            self._share_budget()
        if state.now_us < before_us or state.now_us // _US_PER_S == before_us // _US_PER_S:
            return []
        ended = end_masked(self.plan, state)
        slots, n = open_slots(state.episodes[: state.slots.rows]), 0
        events = np.empty(slots.size * self.plan.rule_rows.shape[1], EVENT)
        if events.size:
            n = judge_open(
                state.episodes, self.plan.rule_rows, state.class_of, self.plan.limits, state.sensors,
                slots, before_us, self.plan.backlog_us, events,
            )  # fmt: skip
        silent = judge(self.plan, state, before_us, in_maintenance(state, before_us) if state.masks.windows else None)
        return [*ended, *told(self.plan, state, events[:n]), *settle(self.plan, state), *silent]

    def _fold_readings(
        self, readings: Readings, slot: NDArray[np.int32], envelope: Envelope, effects: Effects
    ) -> Effects:
        """effects: of the time that passed before."""
        state, plan, rows = self.state, self.plan, len(readings)
        is_text = np.zeros(rows, np.bool_) if readings.text is None else readings.text.index >= 0
        verdict, reworded = np.empty(rows, np.uint8), np.zeros(rows, np.bool_)
        folded = readings.value.copy()
        fold_rows(
            state.sensors, state.panes, state.class_of, plan.limits, plan.levels, state.clock.row_us,
            self._future_us(envelope), slot, readings.ts_us, readings.value, is_text, readings.quality,
            readings.flags, verdict, reworded, folded, state.turns,
        )  # fmt: skip
        folded.flags.writeable = False  # as what comes over the wire: kernels are compiled for that
        seen, score, scored_by, expected, allowance = score_rows(
            plan, state, slot, readings.ts_us, folded, verdict, readings.value
        )  # fmt: skip
        fold_sketches(state.sketches, state.sensors, state.class_of, plan.limits, slot, readings.ts_us, folded, verdict)
        backlog = backlog_rows(readings, envelope, plan.backlog_us)
        hear(state.heard_us, state.silences, state.sensors, state.alive_us, slot, seen, backlog)
        keep_scores(state.sensors, slot, verdict, score, scored_by, expected)
        if self._watch is not None:
            self._watch(Scored(readings, slot, seen, score, scored_by, expected, allowance["width"]))
        state.counts += np.bincount(seen, minlength=len(Verdict))
        self._keep_texts(readings.text, slot, reworded.nonzero()[0])
        if len(late := (verdict == LATE).nonzero()[0]):
            effects = replace(effects, late=readings.take(late), envelope=envelope)
        if not plan.rule_rows.shape[1]:
            return effects
        events = np.empty(rows * plan.rule_rows.shape[1], EVENT)
        n = judge_rows(
            state.episodes, plan.rule_rows, state.class_of, slot, readings.ts_us, readings.value, seen,
            backlog, score, scored_by, expected, allowance, readings.quality, events,
        )  # fmt: skip
        return replace(effects, transitions=effects.transitions + told(plan, state, events[:n])) if n else effects

    def _future_us(self, envelope: Envelope) -> int:
        """What is later than this is the future of a record."""
        # What was spooled is judged as if it had come through at once. Of the rest, a gateway's clock may be behind.
        at_us = envelope.arrival_us
        if envelope.content_type == JSON:
            at_us += ARRIVAL_GRID_MS * 1_000  # to the end of what was rounded down to it
        now_us = at_us if envelope.sent_us is not None else max(at_us, self.state.clock.trusted_us)
        return now_us + self.plan.future_us

    def _keep_texts(self, text: Words | None, slot: NDArray[np.int32], rows: NDArray[np.intp]) -> None:
        """Let each of these rows bring its sensor's text, or end it."""
        for row in rows.tolist():
            word = -1 if text is None else int(text.index[row])
            if text is not None and word >= 0:
                self.state.texts[int(slot[row])] = text.words[word]
            else:
                self.state.texts.pop(int(slot[row]), None)

    def _known(self, readings: Readings) -> NDArray[np.int32]:
        """The slot of each word, -1 if it has none. Raises QuarantineError for one in use that is no sensor's path."""
        sensor = readings.sensor
        known = self.state.slots.find(sensor.words)
        if known.size and known.min() < 0:
            for at in np.unique(sensor.index[known[sensor.index] < 0]).tolist():
                check_path(sensor.words[at])
        return known

    def _slots(self, readings: Readings, known: NDArray[np.int32]) -> NDArray[np.int32]:
        """The slot of each row; -1 beyond the budget. New sensors get slots in order of their first row.

        known: by word.
        """
        slot = known[readings.sensor.index]
        # A word that no row uses has no slot, and needs none.
        if not slot.size or slot.min() >= 0:
            return slot
        room = self.plan.max_sensors - len(self.state.slots)
        return self._with_new_slots(known, np.flatnonzero(slot < 0), readings, room) if room > 0 else slot

    def _with_new_slots(
        self, known: NDArray[np.int32], rows: NDArray[np.intp], readings: Readings, room: int
    ) -> NDArray[np.int32]:
        """known: by word. rows: those of new sensors. room: how many more the budget has."""
        state, sensor = self.state, readings.sensor
        index, first = np.unique(sensor.index[rows], return_index=True)
        order = np.argsort(first)
        fresh: dict[str, int] = {}
        for at, row in zip(index[order].tolist(), rows[first[order]].tolist(), strict=True):
            # A foreign producer's dictionary may hold a word twice.
            fresh.setdefault(sensor.words[at], int(readings.flags[row]))
        paths = list(fresh)[:room]
        for slot, path in zip(state.slots.add_all(paths), paths, strict=True):
            self._begin(slot, path, fresh[path])
        known[index] = state.slots.find([sensor.words[at] for at in index.tolist()])
        return known[sensor.index]

    def _begin(self, slot: int, path: str, flags: int) -> None:
        """A new sensor's row. flags: of its first reading, which say how its source reports."""
        state = self.state
        while slot >= state.class_of.size:
            state.grow()
        state.class_of[slot] = self.plan.classes.index_of(path)
        state.heard_us[slot] = state.alive_us
        state.panes["id"][slot] = NO_PANE
        state.sensors[slot]["scored_by"] = -1
        said = self.plan.limits[state.class_of[slot]]["on_change"]
        state.sensors[slot]["on_change"] = bool(flags & Flag.ON_CHANGE) if said == AS_ITS_SOURCE else said
        begin(state.silences[slot], state.alive_us, bool(state.sensors[slot]["on_change"]))
        state.sketches.give(slot, int(state.class_of[slot]), state.sensors[slot])

    def statistics(self, window_us: int) -> NDArray[Any]:
        """Rolling statistics of every slot over one window length: STATISTICS, shape (slots,). Changes nothing.

        Raises ValueError for a length that no class has.
        """
        state, levels = self.state, self.plan.levels
        out = np.zeros(state.slots.rows, STATISTICS)
        read(
            state.sensors, state.panes, state.class_of, self.plan.limits, levels, level_of(levels.tolist(), window_us),
            window_us, state.now_us, np.zeros(1, PANE)[0], out,
        )  # fmt: skip
        return out

    def quantiles(self, window_us: int) -> NDArray[np.float64]:
        """p50, p90 and p99 of every slot over one window length, shape (slots, 3). Changes nothing.

        Of the values' ranks, with an error below 1 %; NaN where the class does not ask for them, or nothing is known.
        """
        state, used = self.state, self.state.slots.rows
        return read_sketches(
            state.sketches, state.sensors, state.class_of[:used], self.plan.limits, int(self.plan.levels[0, 0]),
            window_us, state.now_us,
        )  # fmt: skip

    def unchanged_s(self) -> NDArray[np.float64]:
        """For how long each slot's sensor has had its value, in seconds, shape (slots,); see `windows.unchanged_s`."""
        state = self.state
        used = state.slots.rows
        staleness_us = self.plan.limits["staleness_us"][state.class_of[:used]]
        return unchanged_s(state.sensors[:used], staleness_us, state.now_us)
