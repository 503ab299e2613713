"""A simulated plant: hand it a time and it hands back every reading up to then."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ingest.simulator.cluster import Cluster, generator, phases
from ingest.simulator.columns import drawn
from ingest.simulator.description import FaultSection, GroupSection, PlantDescription
from ingest.simulator.duty import DutyCycle
from ingest.simulator.faults.catalogue import KINDS, Befalls, Delivery
from ingest.simulator.faults.fault import Fault
from ingest.simulator.faults.schedule import FaultSchedule, Targets
from ingest.simulator.faults.truth import Label
from ingest.simulator.faults.values import SWAPS
from ingest.simulator.formats import ENCODERS
from ingest.simulator.roster import Roster, lay_out
from ingest.simulator.rows import Rows, join

_MS_US: Final = 1_000
_WARM_UP_READINGS: Final = 150
_WARM_UP_US: Final = 150_000_000


@dataclass(frozen=True, slots=True)
class Silence:
    """A device falls silent, or speaks again."""

    device: int
    at_us: int
    begins: bool


@dataclass(slots=True)
class _Queue:
    """The rows of a cluster that were made and not yet handed out."""

    cluster: Cluster
    rows: Rows = field(default_factory=lambda: join([]))

    def take(self, until_us: int) -> Rows:
        cut = int(np.searchsorted(self.rows.at_us, until_us, side="left"))
        taken, self.rows = self.rows.take(slice(0, cut)), self.rows.take(slice(cut, None))
        return taken


class Plant:
    """The plant that is described, from `start_us` (true time, µs UTC) on.

    Every sensor has a fixed moment of its own within its period, so that load is even; where a device speaks for
    several at once, the device has. Sensors that report on change speak at theirs if something changed. All times are
    whole milliseconds. `seed` and the description decide every reading and every fault, in whatever steps it is
    advanced. Raises ValueError for what `lay_out` refuses, a negative seed, and faults that nobody can have.

    sensors: how many; period_s, fault_every_s (0: none), fault_kinds: instead of what is described.
    """

    def __init__(
        self,
        described: PlantDescription,
        seed: int,
        start_us: int,
        *,
        sensors: int | None = None,
        period_s: float | None = None,
        fault_every_s: float | None = None,
        fault_kinds: Sequence[str] | None = None,
    ) -> None:
        if period_s is not None:
            described = _at_period(described, period_s)
        self.described = described
        self.roster = lay_out(described, sensors)
        self._start_us = -(-start_us // _MS_US) * _MS_US
        self._now_us = start_us
        self._queues = [_Queue(cluster) for cluster in _clusters(self.roster, seed, self._start_us)]
        self.silences: list[Silence] = []
        """Which devices died and came back in the time that was handed out last, by time."""
        self._returns: list[Silence] = []
        self._devices = _members(self.roster.device, len(self.roster.devices))
        every_s = described.faults.every / 1e6 if fault_every_s is None else fault_every_s
        self._schedule: FaultSchedule | None = None
        if every_s > 0:
            kinds = fault_kinds if fault_kinds is not None else described.faults.kinds or list(KINDS)
            fault_seed = int(generator(seed, "faults").integers(2**63))
            targets = self._targets(described.faults)
            self._schedule = FaultSchedule(targets, kinds, fault_seed, self._start_us, every_s)

    @property
    def now_us(self) -> int:
        """True time up to which readings were handed out."""
        return self._now_us

    @property
    def faults(self) -> list[Fault]:
        """The faults that started before `now_us`, by start; the last may still be going on."""
        return self._schedule.starting(self._start_us, self._now_us) if self._schedule else []

    def labels(self, faults: Iterable[Fault]) -> list[Label]:
        """One label per fault and sensor: a device's fault is one for each of its sensors."""
        found = []
        for fault in faults:
            whom = [fault.path]
            if KINDS[fault.kind].befalls is Befalls.DEVICES:
                whom = [self.roster.paths[sensor] for sensor in self._whom(fault).tolist()]
            found += [Label(path, fault.kind, fault.start_us, fault.end_us) for path in whom]
        return found

    def advance(self, until_us: int) -> Rows:
        """All rows to be sent in `[now_us, until_us)`, in order; none if that time has been handed out already.

        It holds all of them at once: advance in steps that fit in memory.
        """
        self._hush(self._now_us, until_us)
        taken = []
        for queue in self._queues:
            cluster = queue.cluster
            steps = [queue.rows] if len(queue.rows) else []
            while cluster.step_us < until_us:
                found = cluster.step(self._starting(cluster), self._whom)
                if len(found):
                    steps.append(found)
            queue.rows = join(steps)
            # Steps follow each other, but for what a fault delays.
            if any(one.at_us[-1] >= later.at_us[0] for one, later in pairwise(steps)):
                queue.rows = queue.rows.in_order()
            rows = queue.take(until_us)
            if len(rows):
                taken.append(rows)
        self._now_us = max(self._now_us, until_us)
        return taken[0] if len(taken) == 1 else join(taken).in_order()

    def _hush(self, from_us: int, until_us: int) -> None:
        for fault in self._schedule.starting(from_us, until_us) if self._schedule else ():
            kind = KINDS[fault.kind]
            if kind.befalls is Befalls.DEVICES and kind.delivery is Delivery.LOST:
                self._returns.append(Silence(fault.number, fault.start_us, True))
                self._returns.append(Silence(fault.number, fault.end_us, False))
        self.silences = sorted(
            (one for one in self._returns if one.at_us < until_us), key=lambda one: (one.at_us, one.device, one.begins)
        )
        self._returns = [one for one in self._returns if one.at_us >= until_us]

    def _starting(self, cluster: Cluster) -> list[Fault]:
        if self._schedule is None:
            return []
        return self._schedule.starting(cluster.step_us, cluster.step_us + cluster.period_us)

    def _whom(self, fault: Fault) -> NDArray[np.int64]:
        """The numbers of the sensors that a fault concerns."""
        if KINDS[fault.kind].befalls is Befalls.DEVICES:
            return self._devices[fault.number]
        return np.array([fault.number])

    def _targets(self, said: FaultSection) -> Targets:
        roster, count = self.roster, len(self.roster)
        scale, periodic = np.full(count, np.nan), np.zeros(count, np.bool_)
        phase_us, period_us = np.zeros(count, np.int64), np.zeros(count, np.int64)
        for queue in self._queues:
            cluster = queue.cluster
            scale[cluster.numbers], periodic[cluster.numbers] = cluster.scale, cluster.is_periodic
            phase_us[cluster.numbers] = self._start_us + cluster.phase_us
            period_us[cluster.numbers] = cluster.period_us
        units = [one.said.unit for one in roster.templates]
        known = np.array([unit in SWAPS for unit in units])[roster.template]
        counts = np.array([one.said.kind == "counter" for one in roster.templates])[roster.template]
        may_fall = np.array([one.said.may_fall for one in roster.templates])[roster.template]
        gauges = np.isfinite(scale) & periodic
        warm_up_us = np.maximum(_WARM_UP_US, _WARM_UP_READINGS * period_us)
        if said.warm_up is not None:
            warm_up_us[:] = said.warm_up
        able = {
            Befalls.GAUGES: gauges,
            Befalls.UNITS: gauges & known,
            Befalls.COUNTERS: counts,
            Befalls.PERIODIC: periodic,
            Befalls.DEVICES: np.ones(len(roster.devices), np.bool_),
        }
        return Targets(
            roster.paths,
            [units[template] for template in roster.template.tolist()],
            scale,
            phase_us,
            period_us,
            warm_up_us,
            may_fall,
            [(path, members) for (_, path), members in zip(roster.devices, self._devices, strict=True)],
            {befalls: np.flatnonzero(whom) for befalls, whom in able.items()},
        )


def _at_period(described: PlantDescription, period_s: float) -> PlantDescription:
    """All sensors read so often, whatever is described."""
    if not (math.isfinite(period_s) and 0.001 <= period_s <= 86_400):
        raise ValueError(f"the period must be from 0.001 to 86400 s, not {period_s}")
    period_us = round(period_s * 1_000) * _MS_US
    groups = []
    for group in described.group:
        sensors = [one.model_copy(update={"period": None}) for one in group.sensor]
        jitter_us = min(group.jitter, period_us - _MS_US)
        groups.append(group.model_copy(update={"period": period_us, "jitter": jitter_us, "sensor": sensors}))
    return described.model_copy(update={"group": groups})


def _members(index: NDArray[np.int32], count: int) -> list[NDArray[np.int64]]:
    """The numbers of the sensors of each device."""
    order = np.argsort(index, kind="stable").astype(np.int64)
    return np.split(order, np.searchsorted(index[order], np.arange(1, count)))


def _clusters(roster: Roster, seed: int, start_us: int) -> list[Cluster]:
    found = []
    group_of = roster.group
    for at, group in enumerate(roster.groups):
        numbers = np.flatnonzero(group_of == at).astype(np.int64)
        if not len(numbers):
            continue
        periods = np.array([one.said.period or group.period for one in roster.templates])[roster.template[numbers]]
        clock_us = _clocks(roster, group, numbers, seed)
        duty_rng = generator(seed, group.name, "duty")
        duty = DutyCycle(group.duty, int(roster.machine[numbers].max()) + 1, group.period / 1e6, duty_rng, start_us)
        for period_us in np.unique(periods).tolist():
            which = np.flatnonzero(periods == period_us)
            own = numbers[which]
            rng = generator(seed, group.name, str(period_us), "phases")
            sender = np.arange(len(own))
            if ENCODERS.create(group.format, group.options).together:
                sender = np.unique(roster.device[own], return_inverse=True)[1]
            phase_us = phases(int(sender.max()) + 1, period_us, group.jitter, rng)[sender]
            found.append(Cluster(roster, own, period_us, start_us, seed, phase_us, sender, clock_us[which], duty))
    return found


def _clocks(roster: Roster, group: GroupSection, numbers: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """How far the clock of each sensor's device is ahead, in whole ms."""
    devices, place = np.unique(roster.device[numbers], return_inverse=True)
    offset_s = drawn(group.clock_offset_s, len(devices), generator(seed, group.name, "clocks"))
    return (np.round(offset_s * 1_000).astype(np.int64) * _MS_US)[place]
