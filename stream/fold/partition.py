"""The fold of a record into the state of one partition.

Guarantee: the result is bit-identical for any split of the same log into records of the same arrival time, and for
any grouping of records. *Now* is the latest arrival time seen in the partition; nothing else knows the time.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import isfinite
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ingest.contract.class_settings import RuleSettings
from ingest.contract.errors import IncompatibleError, QuarantineError, Reason
from ingest.contract.readings import Flag, Readings, Words
from ingest.contract.sensors import check_path
from ingest.contract.wire import ARROW, Kind, decode_readings, envelope_of
from stream.fold.alerts import EVENT, Phase, Transition, alert_id, judge_held, judge_rows
from stream.fold.gate import Verdict
from stream.fold.plan import AS_ITS_SOURCE, Plan
from stream.fold.rows import fold_rows, keep_scores
from stream.fold.state import PartitionState
from stream.fold.windows import STATISTICS, read

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
    """What follows from a record: transitions to publish, under the record's offset."""

    offset: int
    transitions: list[Transition]


def _band(rule: RuleSettings, low: float, high: float) -> tuple[float | None, float | None] | None:
    """What was expected: a value rule's own limit, else the band of the model that set the score."""
    if rule.signal == "value":
        return rule.below, rule.above
    return (low, high) if isfinite(low) and isfinite(high) else None


class PartitionFold:
    """state', effects = fold(state, record)."""

    def __init__(self, plan: Plan, partitions: int, state: PartitionState | None = None) -> None:
        """state: of this plan; default: that of an empty log."""
        self.plan = plan
        """What is in force at `state.next_offset`."""
        self._partitions = partitions
        self.state = PartitionState(plan) if state is None else state

    def fold(self, record: LogRecord) -> Effects:
        """Fold one record. The offset moves on whatever the record holds.

        Raises QuarantineError for a record that cannot be read (skip it: the state has not changed) and
        IncompatibleError for one that only a newer program, or one with another partition count, may read.
        """
        try:
            envelope = envelope_of(record.headers)
            if envelope.partitions != self._partitions:
                raise IncompatibleError(
                    f"the record at offset {record.offset} was written when the topic had {envelope.partitions} "
                    f"partitions, now it has {self._partitions}: machines have moved between partitions, so their "
                    "state would be torn. Go back to the old count, or start a new topic and a new group"
                )
            readings = None
            if envelope.kind is Kind.READINGS:
                if envelope.content_type != ARROW or record.value is None:
                    raise QuarantineError(Reason.RECORD, f"readings as {envelope.content_type}")
                readings = decode_readings(record.value)
                slot = self._slots(readings)
        except QuarantineError:
            self.state.next_offset = record.offset + 1
            raise
        transitions = self._pass_time(envelope.arrival_us)
        if readings is not None and len(readings):
            transitions += self._fold_readings(readings, slot, envelope.arrival_us)
        self.state.next_offset = record.offset + 1
        return Effects(record.offset, transitions)

    def _pass_time(self, arrival_us: int) -> list[Transition]:
        """Move the clock; go on with held values' episodes as of the time before, of which all is known now."""
        state = self.state
        before_us, state.now_us = state.now_us, max(state.now_us, arrival_us)
        if state.now_us // _US_PER_S == before_us // _US_PER_S:
            return []
        used = state.slots.rows
        events = np.empty(int(np.count_nonzero(state.episodes[:used]["phase"])), EVENT)
        n = 0
        if events.size:
            n = judge_held(
                state.episodes, self.plan.rule_rows, state.class_of[:used], self.plan.limits, state.sensors,
                before_us, events,
            )  # fmt: skip
        return self._transitions(events[:n])

    def _fold_readings(self, readings: Readings, slot: NDArray[np.int32], arrival_us: int) -> list[Transition]:
        state, plan, rows = self.state, self.plan, len(readings)
        is_text = np.zeros(rows, np.bool_) if readings.text is None else readings.text.index >= 0
        verdict, reworded = np.empty(rows, np.uint8), np.zeros(rows, np.bool_)
        fold_rows(
            state.sensors, state.panes, state.class_of, plan.limits, plan.width_us, state.now_us,
            arrival_us + plan.future_us, slot, readings.ts_us, readings.value, is_text, readings.quality,
            readings.flags, verdict, reworded,
        )  # fmt: skip
        score, scored_by, expected = np.zeros(rows), np.full(rows, -1, np.int16), np.full((rows, 2), np.nan)
        for number, (used, bank) in enumerate(zip(plan.models, state.banks, strict=True)):
            used.model.run(
                bank, slot, readings.ts_us, readings.value, verdict, state.class_of, used.uses, used.params, number,
                score, scored_by, expected,
            )  # fmt: skip
        keep_scores(state.sensors, slot, verdict, score, scored_by, expected)
        state.counts += np.bincount(verdict, minlength=len(Verdict))
        self._keep_texts(readings.text, slot, np.flatnonzero(reworded))
        if not plan.rule_rows.shape[1]:
            return []
        events = np.empty(rows * plan.rule_rows.shape[1], EVENT)
        n = judge_rows(
            state.episodes, plan.rule_rows, state.class_of, slot, readings.ts_us, readings.value, verdict, score,
            scored_by, expected, events,
        )  # fmt: skip
        return self._transitions(events[:n])

    def _keep_texts(self, text: Words | None, slot: NDArray[np.int32], rows: NDArray[np.intp]) -> None:
        """Let each of these rows bring its sensor's text, or end it."""
        for row in rows.tolist():
            word = -1 if text is None else int(text.index[row])
            if text is not None and word >= 0:
                self.state.texts[int(slot[row])] = text.words[word]
            else:
                self.state.texts.pop(int(slot[row]), None)

    def _slots(self, readings: Readings) -> NDArray[np.int32]:
        """The slot of each row; -1 beyond the budget. New sensors get slots in order of their first row."""
        sensor = readings.sensor
        table = self.state.slots.find(sensor.words)
        try:
            return np.array(table, np.int32)[sensor.index]
        except TypeError:  # a None among them
            return np.array(self._with_new_slots(table, readings), np.int32)[sensor.index]

    def _with_new_slots(self, table: list[int | None], readings: Readings) -> list[int]:
        sensor = readings.sensor
        index, first = np.unique(sensor.index, return_index=True)
        order = np.argsort(first)
        rows = zip(index[order].tolist(), first[order].tolist(), strict=True)
        fresh = [(at, int(readings.flags[row])) for at, row in rows if table[at] is None]
        for at, _ in fresh:
            check_path(sensor.words[at])
        for at, flags in fresh:
            # A foreign producer's dictionary may hold a word twice: the second time it has a slot.
            path = sensor.words[at]
            known = self.state.slots.get(path)
            table[at] = self._new_slot(path, flags) if known is None else known
        # A word that no row uses has no slot, and needs none.
        return [-1 if slot is None else slot for slot in table]

    def _new_slot(self, path: str, flags: int) -> int:
        """flags: of its first reading, which say how its source reports."""
        state = self.state
        if len(state.slots) >= self.plan.max_sensors:
            return -1
        slot = state.slots.add(path)
        if slot >= state.class_of.size:
            state.grow()
        state.class_of[slot] = self.plan.classes.index_of(path)
        state.sensors[slot]["scored_by"] = -1
        said = self.plan.limits[state.class_of[slot]]["on_change"]
        state.sensors[slot]["on_change"] = bool(flags & Flag.ON_CHANGE) if said == AS_ITS_SOURCE else said
        return slot

    def _transitions(self, events: NDArray[Any]) -> list[Transition]:
        found = []
        for event in events:
            sensor = self.state.names[event["slot"]]
            rule = self.plan.rules[int(self.state.class_of[event["slot"]])][int(event["rule"])]
            since_us, by = int(event["since_us"]), int(event["scored_by"])
            found.append(
                Transition(
                    id=alert_id(rule.settings.name, rule.revision, sensor, since_us),
                    phase=Phase(int(event["phase"])),
                    sensor=sensor,
                    rule=rule.settings.name,
                    revision=rule.revision,
                    severity=rule.settings.severity,
                    at_us=int(event["at_us"]),
                    since_us=since_us,
                    value=float(event["value"]),
                    score=float(event["score"]),
                    model=None if by < 0 else self.plan.models[by].name,
                    band=_band(rule.settings, float(event["low"]), float(event["high"])),
                )
            )
        return found

    def statistics(self, window_us: int) -> NDArray[Any]:
        """Rolling statistics of every slot over one window length: STATISTICS, shape (slots,). Changes nothing."""
        state = self.state
        used = state.slots.rows
        out = np.zeros(used, STATISTICS)
        read(
            state.sensors, state.panes, state.class_of, self.plan.limits, self.plan.width_us, window_us,
            state.now_us, out,
        )  # fmt: skip
        return out
