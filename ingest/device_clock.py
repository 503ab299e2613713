"""How far each device's clock is off, from the arrivals of its readings; and what is done about it.

A reading's lag is `arrival − ts`: its delay, less what the clock is ahead. Delays are positive and vary (a backlog
makes them hours); the clock's part is constant. So the least lag of a window of arrival time tells the clock, and only
windows that agree are believed: two of them if they show what no delay can (a clock that is ahead, or right again),
several times as many if a backlog that drains evenly could look the same (a clock that is behind).

Windows lie on a fixed grid of arrival time, and only windows that are over count. Hence the outcome is the same for any
split of the same rows into batches, and for any order of the rows within a window.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import Final, Literal, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from ingest.contract.readings import MIN_TS_US

Action = Literal["trust", "correct", "quarantine"]

_SECOND_US: Final = 1_000_000
_QUICK_WINDOWS: Final = 2  # one reading with an absurd time spoils one window, never two that agree
_NO_LAG: Final = np.iinfo(np.int64).max
_NO_WINDOW: Final = -1
_SNAPSHOT_VERSION: Final = 1
_LONGEST_LAG_US: Final = 2**53
_ACTIONS: Final[tuple[Action, ...]] = ("trust", "correct", "quarantine")
_TRUST, _CORRECT = _ACTIONS.index("trust"), _ACTIONS.index("correct")


@dataclass(frozen=True, slots=True)
class ClockRule:
    """What is done about a device's clock.

    action: "trust": offsets are only told. "correct": a clock that is off by more than `tolerance_us` is corrected.
    "quarantine": nothing is corrected.
    tolerance_us: offsets up to it are none; windows agree that differ by no more; what is in force stays until the
    estimate has moved by more.
    max_offset_us: a clock farther off is not corrected either: its readings are refused (but for action "trust").
    """

    action: Action = "trust"
    tolerance_us: int = 2 * _SECOND_US
    max_offset_us: int = 86_400 * _SECOND_US

    def __post_init__(self) -> None:
        if self.tolerance_us < 1:
            raise ValueError("tolerance_us: at least 1")
        if not self.tolerance_us < self.max_offset_us <= _LONGEST_LAG_US:
            raise ValueError("max_offset_us: more than tolerance_us, at most 285 years")


class Judged(NamedTuple):
    """What became of rows; all of shape (rows,).

    ts_us: the time to go on with; 0 where the row's own is of no use, so that its arrival has to stand in for it.
    corrected: the time is another one than the device's. rejected: to be quarantined with Reason.CLOCK.
    """

    ts_us: NDArray[np.int64]
    corrected: NDArray[np.bool_]
    rejected: NDArray[np.bool_]


class DeviceOffset(NamedTuple):
    """A device's clock. offset_us: its time minus ours, positive if it is ahead; correction_us: added to its times."""

    device: str
    offset_us: int
    correction_us: int


class _Saved(msgspec.Struct, frozen=True):
    version: int
    settled_us: dict[str, int]


class _Columns:
    """What is known per device, in arrays of shape (devices and room for more,).

    window: the open one. low_us: the least lag in it. run: how many closed windows agree with run_low_us, the least lag
    of the first of them. latest_us: the last closed window's. settled_us: what the clock's part is taken to be.
    """

    def __init__(self, room: int) -> None:
        self.action = np.zeros(room, np.int8)
        self.tolerance_us = np.zeros(room, np.int64)
        self.max_offset_us = np.zeros(room, np.int64)
        self.window = np.zeros(room, np.int64)
        self.low_us = np.zeros(room, np.int64)
        self.run = np.zeros(room, np.int64)
        self.run_low_us = np.zeros(room, np.int64)
        self.latest_us = np.zeros(room, np.int64)
        self.settled_us = np.zeros(room, np.int64)

    def grow(self) -> None:
        """Twice the room."""
        for name, column in vars(self).items():
            setattr(self, name, np.concatenate([column, np.zeros_like(column)]))


class DeviceClocks:
    """Estimates and verdicts for all devices of a gateway. No clock of its own, no I/O.

    window_us: length of a window of arrival time. It should hold several readings of a device, and must be longer than
    it takes a device that sends in bundles to send one.
    patience: windows that have to agree before a clock counts as behind. max_devices: those beyond it are not judged.
    """

    def __init__(self, window_us: int = 60 * _SECOND_US, patience: int = 10, max_devices: int = 100_000) -> None:
        if window_us < _SECOND_US or patience < _QUICK_WINDOWS or max_devices < 1:
            raise ValueError("window_us is at least 1 s, patience at least 2, max_devices at least 1")
        self._window_us = window_us
        self._patience = patience
        self._max_devices = max_devices
        self._numbers: dict[str, int] = {}
        self._names: list[str] = []
        self._restored: dict[str, int] = {}
        self._changes = 0
        self._of = _Columns(64)

    # --- devices → numbers ------------------------------------------------------------------------------------------

    def number(self, device: str, rule: ClockRule) -> int:
        """A device's number, to be given with its rows; -1 if there are `max_devices` already.

        The rule is that of the first call for a device.
        """
        found = self._numbers.get(device)
        if found is not None:
            return found
        number = len(self._names)
        if number >= self._max_devices:
            return -1
        if number >= self._of.window.size:
            self._of.grow()
        of = self._of
        of.action[number] = _ACTIONS.index(rule.action)
        of.tolerance_us[number], of.max_offset_us[number] = rule.tolerance_us, rule.max_offset_us
        of.window[number], of.low_us[number] = _NO_WINDOW, _NO_LAG
        of.settled_us[number] = self._restored.pop(device, 0)
        self._numbers[device] = number
        self._names.append(device)
        return number

    @property
    def devices(self) -> int:
        """Devices met so far."""
        return len(self._names)

    # --- rows → verdicts --------------------------------------------------------------------------------------------

    def judge(
        self,
        device: NDArray[np.int32],
        ts_us: NDArray[np.int64],
        arrival_us: NDArray[np.int64],
        evidence: NDArray[np.bool_],
    ) -> Judged:
        """Learn from rows, and judge them. All of shape (rows,), in the order of arrival.

        device: from `number`; rows with -1 are left alone. ts_us: the device's own time, 0 for none. arrival_us: at or
        after 1970. evidence: whether the row tells something of the clock: not if it is retained, historical, replayed.
        """
        out = Judged(ts_us.copy(), np.zeros(ts_us.size, np.bool_), np.zeros(ts_us.size, np.bool_))
        window = arrival_us // self._window_us
        # Runs of rows in one window; in practice one or two a batch.
        edges = ((window[1:] != window[:-1]).nonzero()[0] + 1).tolist()
        for start, end in zip([0, *edges], [*edges, ts_us.size], strict=True):
            if start == end:
                continue
            rows = (device[start:end] >= 0).nonzero()[0] + start
            if rows.size:
                self._judge_window(int(window[start]), rows, device.take(rows), ts_us, arrival_us, evidence, out)
        return out

    def _judge_window(
        self,
        window: int,
        rows: NDArray[np.intp],
        device: NDArray[np.int32],
        ts_us: NDArray[np.int64],
        arrival_us: NDArray[np.int64],
        evidence: NDArray[np.bool_],
        out: Judged,
    ) -> None:
        of = self._of
        self._close_windows_before(window, device)
        own = ts_us.take(rows)
        if np.count_nonzero(own) < own.size:
            timed = own.nonzero()[0]
            rows, device, own = rows[timed], device[timed], own[timed]
        lag = arrival_us.take(rows) - own
        telling = evidence.take(rows)
        if np.count_nonzero(telling) == telling.size:
            np.minimum.at(of.low_us, device, lag)
        else:
            np.minimum.at(of.low_us, device[telling], lag[telling])
        # Nearly always nobody's clock is off, and no row ahead: then there is nothing more to do.
        doubtful = (lag < -of.tolerance_us.take(device)) | (of.settled_us.take(device) != 0)
        doubtful &= of.action.take(device) != _TRUST
        which = doubtful.nonzero()[0]
        if not which.size:
            return
        rows, device, own, lag = rows[which], device[which], own[which], lag[which]
        limit, tolerance, settled = of.max_offset_us[device], of.tolerance_us[device], of.settled_us[device]
        to_correct = of.action[device] == _CORRECT
        # Nothing arrives before it was sent: one row is proof. That one row is old proves nothing; that all are does.
        rejected = (lag < -limit) | ((settled > limit) & (lag > limit))
        in_force = to_correct & (np.abs(settled) > tolerance) & (np.abs(settled) <= limit)
        corrected = own + np.where(in_force, settled, 0)
        # Still ahead: the estimate is not made yet, or the clock was just set. Its time is of no use.
        useless = to_correct & (own + lag - corrected < -tolerance)
        rejected |= ~useless & in_force & (corrected < MIN_TS_US)
        out.rejected[rows] = rejected
        out.corrected[rows] = ~rejected & (useless | in_force)
        out.ts_us[rows] = np.where(rejected, own, np.where(useless, 0, corrected))

    def _close_windows_before(self, window: int, device: NDArray[np.int32]) -> None:
        # A row that is a window late (two brokers, one behind) does not reopen anything; if our own clock was set back
        # by more, the grid starts over.
        state = self._of.window.take(device)
        stale = (window > state) | (window < state - 1)
        if not np.count_nonzero(stale):
            return
        closing = np.unique(device[stale])
        self._settle(closing[self._of.low_us[closing] != _NO_LAG])
        self._of.window[closing] = window
        self._of.low_us[closing] = _NO_LAG

    def _settle(self, device: NDArray[np.int32]) -> None:
        """Take the least lag of each device's window for what it tells. Each device at most once."""
        of = self._of
        low, tolerance, settled = of.low_us[device], of.tolerance_us[device], of.settled_us[device]
        run = of.run[device]
        agrees = (run > 0) & (np.abs(low - of.run_low_us[device]) <= tolerance)
        run = np.where(agrees, np.minimum(run + 1, self._patience), 1)
        certain = (low < settled) | (np.abs(low) <= tolerance)
        believed = run >= np.where(certain, _QUICK_WINDOWS, self._patience)
        moved = believed & (np.abs(low - settled) > tolerance)
        of.run[device] = run
        of.run_low_us[device[~agrees]] = low[~agrees]
        of.latest_us[device] = low
        of.settled_us[device[moved]] = low[moved]
        self._changes += int(np.count_nonzero(moved))

    # --- to be told -------------------------------------------------------------------------------------------------

    def offsets(self, limit: int) -> list[DeviceOffset]:
        """The devices whose clocks are farthest off, the worst first; those with a window that is over."""
        of = self._of
        known = np.flatnonzero(of.run[: len(self._names)])
        worst = np.argsort(-np.abs(of.latest_us[known]), kind="stable")[:limit]
        return [
            DeviceOffset(self._names[number], -int(of.latest_us[number]), self._correction(number))
            for number in known[worst].tolist()
        ]

    def _correction(self, number: int) -> int:
        of = self._of
        settled = int(of.settled_us[number])
        in_force = of.action[number] == _CORRECT and of.tolerance_us[number] < abs(settled) <= of.max_offset_us[number]
        return settled if in_force else 0

    # --- to be remembered -------------------------------------------------------------------------------------------

    @property
    def changes(self) -> int:
        """Grows whenever a clock is taken to be another one: `snapshot` then says something new."""
        return self._changes

    def snapshot(self) -> bytes:
        """What the clocks are taken to be, so that a restart changes no correction."""
        state = self._of.settled_us[: len(self._names)].tolist()
        settled = {name: lag for name, lag in zip(self._names, state, strict=True) if lag}
        # Those met in this life first: names that come and go must not fill it.
        rest = {name: lag for name, lag in self._restored.items() if name not in settled}
        kept = dict(islice({**settled, **rest}.items(), self._max_devices))
        return msgspec.json.encode(_Saved(_SNAPSHOT_VERSION, kept))

    def restore(self, snapshot: bytes) -> None:
        """Take a snapshot's word for devices not met yet. Raises ValueError for what `snapshot` did not write."""
        try:
            saved = msgspec.json.decode(snapshot, type=_Saved)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise ValueError(f"not a snapshot of clocks: {error}") from error
        if saved.version != _SNAPSHOT_VERSION:
            raise ValueError("a snapshot of clocks by another version")
        if any(abs(lag) > _LONGEST_LAG_US for lag in saved.settled_us.values()):
            raise ValueError("a snapshot of clocks with an offset that no clock has")
        kept = islice(saved.settled_us.items(), self._max_devices)
        self._restored = {name: lag for name, lag in kept if name not in self._numbers}
