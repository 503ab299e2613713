"""Commands in the log: a sensor gets another name, is taken over from another partition, or is gone; maintenance
begins or ends; a changed level is right or wrong.

A command is JSON, `{"version": 1, "command": "rename", "from": "a/t", "to": "b/t"}`. Each can be applied again without
harm, and one about a sensor that there is not changes nothing; both are counted.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from ingest.contract.errors import IncompatibleError, QuarantineError, Reason
from ingest.contract.sensors import check_path
from ingest.contract.wire import JSON, Envelope
from stream.fold.alerts import Transition
from stream.fold.carrying import Rows, carry, join_panes
from stream.fold.checking import wrong_rows
from stream.fold.counters import move
from stream.fold.levels import calm
from stream.fold.maintaining import end_masked
from stream.fold.masks import Maintenance
from stream.fold.plan import Plan
from stream.fold.relearning import accept, end_alerts, reject
from stream.fold.silence import begun_s
from stream.fold.state import PartitionState
from stream.fold.windows import NO_PANE

VERSION = 1
_MAX_BYTES = 256 * 2**10
_MAX_TEXT = 4_096


class RowData(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A sensor's row of one array: its type, as NumPy describes it, and its bytes."""

    dtype: str
    data: bytes


class Rename(
    msgspec.Struct, frozen=True, tag="rename", tag_field="command", forbid_unknown_fields=True, rename={"old": "from"}
):
    """A sensor is called `to` from here on and keeps what it has learned.

    Its alerts end under the old name. Where there is a `to` already, that one takes over the models and the windows'
    past. Both names belong to this partition.
    """

    old: str
    to: str
    version: int = VERSION


class Adopt(msgspec.Struct, frozen=True, tag="adopt", tag_field="command", forbid_unknown_fields=True):
    """A sensor comes from another partition with what it has learned there.

    definitions: the digest of those that the rows are of.
    """

    sensor: str
    definitions: str
    rows: dict[str, RowData]
    text: str | None = None
    version: int = VERSION


class Retire(msgspec.Struct, frozen=True, tag="retire", tag_field="command", forbid_unknown_fields=True):
    """A sensor is gone: its alerts end, its slot is free."""

    sensor: str
    version: int = VERSION


class Maintain(msgspec.Struct, frozen=True, tag="maintain", tag_field="command", forbid_unknown_fields=True):
    """A maintenance window begins and ends, see `masks.py`. It is written to every partition.

    id: whoever says it again, changes nothing. from_us, until_us: event time, µs.
    """

    id: str
    match: str
    from_us: int
    until_us: int
    note: str = ""
    by: str = ""
    version: int = VERSION

    @property
    def window(self) -> Maintenance:
        """What is kept of it."""
        return Maintenance(self.id, self.match, self.from_us, self.until_us, self.note, self.by)


class EndMaintenance(
    msgspec.Struct, frozen=True, tag="end_maintenance", tag_field="command", forbid_unknown_fields=True
):
    """A maintenance window ends at a time, if it does not end earlier. It is written to every partition."""

    id: str
    at_us: int
    version: int = VERSION


class AcceptLevel(msgspec.Struct, frozen=True, tag="accept_level", tag_field="command", forbid_unknown_fields=True):
    """A sensor's new level is right."""

    sensor: str
    version: int = VERSION


class RejectLevel(msgspec.Struct, frozen=True, tag="reject_level", tag_field="command", forbid_unknown_fields=True):
    """A sensor's new level is wrong: it is anomalous until it is back, and what was learned before is known again."""

    sensor: str
    version: int = VERSION


Command: TypeAlias = Rename | Adopt | Retire | Maintain | EndMaintenance | AcceptLevel | RejectLevel
_DECODER = msgspec.json.Decoder(Command)


class _Versioned(msgspec.Struct):
    version: int


class Outcome(StrEnum):
    """What became of a command: a closed set, so that it can be a metric's label."""

    DONE = "done"
    UNKNOWN_SENSOR = "unknown_sensor"
    """There is no such sensor here: it was done before, or never was."""
    OVER_BUDGET = "over_budget"
    """Another sensor would be more than `plant.max_sensors`."""
    STALE = "stale"
    """The rows are of other definitions than those in force."""
    OVER = "over"
    """The maintenance window had ended before."""
    FULL = "full"
    """There are as many maintenance windows as there may be."""
    UNKNOWN_MAINTENANCE = "unknown_maintenance"
    """There is no such maintenance window here."""
    NO_CHANGE = "no_change"
    """The sensor's level has not changed, or that was answered before, or long ago."""


@dataclass(frozen=True, slots=True)
class Applied:
    """What a command did. transitions: the ends of alerts."""

    command: str
    outcome: Outcome
    transitions: tuple[Transition, ...] = ()


def encode_command(command: Command) -> bytes:
    """What `command_of` reads.

    >>> encode_command(Rename("a/t", "b/t"))
    b'{"command":"rename","from":"a/t","to":"b/t","version":1}'
    """
    return msgspec.json.encode(command)


def command_of(envelope: Envelope, value: bytes | None) -> Command:
    """Read and check a `command` record.

    Raises QuarantineError(RECORD) for what is none of the commands, QuarantineError(NAME) for a path that no sensor can
    have, and IncompatibleError for one of a newer version: skipped, it would be lost for a worker that knows it.
    """
    if envelope.content_type != JSON or value is None:
        raise QuarantineError(Reason.RECORD, f"a command as {envelope.content_type}")
    if len(value) > _MAX_BYTES:
        raise QuarantineError(Reason.RECORD, f"a command of over {_MAX_BYTES} bytes")
    try:
        version = msgspec.json.decode(value, type=_Versioned).version
        if version > VERSION:
            raise IncompatibleError(
                f"a command of version {version}, this program reads up to {VERSION}: upgrade this worker (nothing was "
                "skipped; it goes on from here)"
            )
        command: Command = _DECODER.decode(value)
    except (msgspec.MsgspecError, RecursionError, ValueError) as error:
        raise QuarantineError(Reason.RECORD, f"command: {error}"[:300]) from error
    if version < 1:
        raise QuarantineError(Reason.RECORD, "a command of no version")
    for path in _paths(command):
        check_path(path)
    if isinstance(command, Maintain) and (problem := command.window.problem()):
        raise QuarantineError(Reason.RECORD, f"command: {problem}")
    if isinstance(command, Adopt) and command.text is not None and len(command.text) > _MAX_TEXT:
        raise QuarantineError(Reason.RECORD, "command: a text that is too long")
    return command


def _paths(command: Command) -> tuple[str, ...]:
    """Of sensors that it names."""
    match command:
        case Rename():
            return command.old, command.to
        case Maintain() | EndMaintenance():
            return ()
        case _:
            return (command.sensor,)


def apply(plan: Plan, state: PartitionState, command: Command) -> Applied:
    """Change the state as a command says."""
    match command:
        case Rename():
            return _rename(plan, state, command)
        case Retire():
            return _retire(plan, state, command)
        case Adopt():
            return _adopt(plan, state, command)
        case Maintain():
            outcome = Outcome(state.masks.add(command.window, state.now_us))
            return Applied("maintain", outcome, tuple(end_masked(plan, state)))
        case EndMaintenance():
            known = state.masks.end(command.id, command.at_us)
            return Applied("end_maintenance", Outcome.DONE if known else Outcome.UNKNOWN_MAINTENANCE)
        case AcceptLevel() | RejectLevel():
            name = "accept_level" if isinstance(command, AcceptLevel) else "reject_level"
            if (slot := state.slots.get(command.sensor)) is None:
                return Applied(name, Outcome.UNKNOWN_SENSOR)
            word, transitions = (accept if isinstance(command, AcceptLevel) else reject)(state, slot)
            return Applied(name, Outcome(word), tuple(transitions))


def _rename(plan: Plan, state: PartitionState, command: Rename) -> Applied:
    slot = state.slots.get(command.old)
    if slot is None:
        return Applied("rename", Outcome.UNKNOWN_SENSOR)
    if command.old == command.to:
        return Applied("rename", Outcome.DONE)
    closed = end_alerts(plan, state, slot)
    rows = _in_class_of(plan, state.row(slot), command.to)
    other = state.slots.get(command.to)
    if other is None:
        state.slots.rename(slot, command.to)
        state.put(slot, rows)
    else:
        _take_over(plan, state, rows, other)
        state.retire(slot)
    return Applied("rename", Outcome.DONE, closed)


def _retire(plan: Plan, state: PartitionState, command: Retire) -> Applied:
    slot = state.slots.get(command.sensor)
    if slot is None:
        return Applied("retire", Outcome.UNKNOWN_SENSOR)
    closed = end_alerts(plan, state, slot)
    state.retire(slot)
    return Applied("retire", Outcome.DONE, closed)


def _adopt(plan: Plan, state: PartitionState, command: Adopt) -> Applied:
    if command.definitions != plan.definitions.digest:
        return Applied("adopt", Outcome.STALE)
    found = _rows(plan, state, command.rows)
    if found is None:
        return Applied("adopt", Outcome.STALE)
    rows = _in_class_of(plan, found, command.sensor)
    slot = state.slots.get(command.sensor)
    if slot is not None:
        if not _has_past_of(plan, rows, state.row(slot)):
            _take_over(plan, state, rows, slot)
        return Applied("adopt", Outcome.DONE)
    if len(state.slots) >= plan.max_sensors:
        return Applied("adopt", Outcome.OVER_BUDGET)
    slot = state.slots.add(command.sensor)
    if slot >= state.class_of.size:
        state.grow()
    rows["episodes"][:] = 0
    calm(rows["levels"])
    rows["heard_us"][:] = state.alive_us
    rows["silences"]["leader"] = 0
    rows["silences"]["from_s"] = begun_s(state.alive_us)
    # The other partition's clock was another one. Just after this one comes what comes while it is told to be late.
    np.minimum(rows["sensors"]["last_now_us"], state.now_us + 1, out=rows["sensors"]["last_now_us"])
    state.put(slot, rows)
    if command.text is not None:
        state.texts[slot] = command.text
    return Applied("adopt", Outcome.DONE)


def _in_class_of(plan: Plan, rows: Mapping[str, NDArray[Any]], name: str) -> Rows:
    """A sensor's row as one of that name has it."""
    return carry(plan, rows, plan, np.array([plan.classes.index_of(name)], np.int32)).arrays


def _has_past_of(plan: Plan, rows: Rows, own: Rows) -> bool:
    """Whether a sensor has adopted these rows before, and has learned more since: then they would throw it back.

    Its windows tell, which get what is older than their own. Where they cannot, so does whether it has learned at all.
    """
    like_it = own["sensors"]["on_change"][0] == rows["sensors"]["on_change"][0]
    if like_it and (rows["panes"]["id"] != NO_PANE).any():
        return join_panes(plan, rows["panes"], own["panes"]).tobytes() == own["panes"].tobytes()
    return any(name.startswith("bank.") and row.tobytes().strip(b"\0") for name, row in own.items())


def _take_over(plan: Plan, state: PartitionState, rows: Rows, slot: int) -> None:
    """Give a sensor the models of another, and of its windows what is older than its own."""
    own = state.row(slot)
    for name, row in rows.items():
        if name.startswith("bank.") and row.tobytes().strip(b"\0"):
            own[name] = row
    if own["sensors"]["on_change"][0] == rows["sensors"]["on_change"][0]:
        # As if the other had counted from where this one does.
        past = move(rows["panes"], -float(rows["sensors"]["offset"][0]))
        own["panes"] = join_panes(plan, past, own["panes"])
    state.put(slot, own)


# --- rows that came through the log -----------------------------------------------------------------------------


def row_data(rows: Mapping[str, NDArray[Any]]) -> dict[str, RowData]:
    """One sensor's row of each array, to be written. rows: each of one row."""
    return {name: RowData(_described(row.dtype), row.tobytes()) for name, row in rows.items()}


def _described(dtype: np.dtype[Any]) -> str:
    return repr(dtype.descr)


def _rows(plan: Plan, state: PartitionState, found: Mapping[str, RowData]) -> Rows | None:
    """The rows as arrays; None if they are not what this program would have written under these definitions.

    Kernels trust what is in a row: see `checking.py`.
    """
    own = state.row(0)
    if own.keys() != found.keys():
        return None
    rows: Rows = {}
    for name, like in own.items():
        one = found[name]
        size = like.dtype.itemsize * math.prod(like.shape)
        if one.dtype != _described(like.dtype) or len(one.data) != size:
            return None
        rows[name] = np.frombuffer(one.data, like.dtype).reshape(like.shape).copy()
    return None if wrong_rows(plan, rows, np.ones(1, np.bool_)) else rows
