"""What was seen on a day, held against what was truly wrong."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ingest.simulator.faults.catalogue import KINDS, Befalls
from ingest.simulator.faults.fault import Fault
from stream.fold.gate import Verdict
from tests.scorecard.day import DAY_US, Day
from tests.scorecard.watching import Seen

HARMLESS: Final = frozenset({"counter_rollover", "duplicate", "reorder", "clock_jump"})
"""Kinds that are to be noticed by the gate and to alarm nobody."""
GRACE_US: Final = 30_000_000
GRACE_PERIODS: Final = 2
"""An alert so long after a fault's end still found it: two readings and a record later, whichever are longer."""
AFTER_US: Final = 1_800_000_000
AFTER_PERIODS: Final = 100
"""So long after its end a fault is to blame for alerts: its sensor comes back to what it was."""
EXCURSION_US: Final = 600_000_000
EXCURSION_PERIODS: Final = 20
"""Scores of 1.0 and more of one sensor that are less than this apart are one excursion."""
WORST: Final = 8
EXAMPLES: Final = 3


@dataclass(slots=True)
class KindOfFault:
    """What became of the faults of a kind.

    found: an alert came while it lasted, or the gate refused some of its readings. alerted, refused: by whom. budgeted:
    how many would be found by scores above the boundary that keeps the budget; of_class: above that of their sort of
    sensors. delays_s: of alerts. by: who raised them. missed: how many, by the sort of sensor. examples: some of those.
    """

    kind: str
    faults: int = 0
    found: int = 0
    alerted: int = 0
    refused: int = 0
    budgeted: int = 0
    of_class: int = 0
    delays_s: list[float] = field(default_factory=list)
    by: Counter[str] = field(default_factory=Counter)
    missed: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)

    @property
    def share(self) -> float:
        """Found; of what is harmless: alarmed nobody."""
        right = self.faults - self.alerted if self.kind in HARMLESS else self.found
        return right / self.faults if self.faults else float("nan")

    def delay_s(self, percentile: float) -> float:
        """Of those that were alerted; NaN for none."""
        return float(np.percentile(self.delays_s, percentile)) if self.delays_s else float("nan")


@dataclass(slots=True)
class Boundaries:
    """What the score would have to reach for the day's false excursions to stay within a budget; 1.0 at the least.

    everywhere: one boundary for all sensors. by_sort: one for each sort, which has its sensors' share of the budget.
    """

    everywhere: float
    by_sort: dict[str, float]


@dataclass(slots=True)
class Untrue:
    """Alerts that no fault and no planned stop explains, and how many excursions of the score there were.

    by: models. of: sorts of sensors. hours: of the day.
    """

    count: int
    per_day: float
    excursions: int
    by: Counter[str]
    of: Counter[str]
    hours: Counter[int]
    worst: list[tuple[str, int]]
    examples: list[str]


@dataclass(slots=True)
class Card:
    """The day's table."""

    sensors: int
    readings: int
    hours: float
    cpu_s: tuple[float, float]
    alerts: int
    in_maintenance: int
    false: Untrue
    boundaries: Boundaries
    kinds: list[KindOfFault]
    verdicts: Counter[str]


def judge(day: Day, seen: Seen, *, raw: bool = False, budget: float = 20.0) -> Card:
    """The card of a day.

    raw: what counts are excursions of the score and not alerts, so no calibration and no rule. budget: alerts per day
    of 24 hours, for the boundaries.
    """
    faults = _counted(day)
    blamed, kept = _Blame(day, faults), seen.beyond[_in_day(day, seen.beyond)]
    beyond = kept[~blamed.maintenance(kept)]
    excursions = _excursions(day, beyond[~blamed.faults(beyond)])
    alerts = seen.alerts[_in_day(day, seen.alerts)]
    stopped = blamed.maintenance(alerts)
    in_maintenance, alerts = int(np.count_nonzero(stopped)), alerts[~stopped]
    false = excursions if raw else alerts[~blamed.faults(alerts)]
    boundaries = _boundaries(day, excursions, budget * day.load.hours / 24)
    kinds = [_of_kind(day, kind, faults, seen, beyond if raw else alerts, beyond, boundaries) for kind in KINDS]
    return Card(
        sensors=day.load.sensors,
        readings=seen.readings,
        hours=day.load.hours,
        cpu_s=(seen.made_cpu_s, seen.folded_cpu_s),
        alerts=len(excursions) if raw else len(alerts),
        in_maintenance=in_maintenance,
        false=_untrue(day, seen, false, len(excursions)),
        boundaries=boundaries,
        kinds=[one for one in kinds if one.faults],
        verdicts=Counter(Verdict(one).name.lower() for one in seen.refused["verdict"].tolist()),
    )


def concerned(day: Day, fault: Fault) -> NDArray[np.int64]:
    """The numbers of the sensors that a fault befalls."""
    if KINDS[fault.kind].befalls is Befalls.DEVICES:
        return np.flatnonzero(day.plant.roster.device == fault.number).astype(np.int64)
    return np.array([fault.number], np.int64)


def _counted(day: Day) -> list[Fault]:
    """Those that began and ended in the day, and not in a planned stop."""
    found, group = [], day.plant.roster.group
    for fault in day.plant.faults:
        at = int(group[concerned(day, fault)[0]])
        stops = [one for one in day.maintenance if at in one.groups]
        stopped = any(fault.start_us < one.until_us and fault.end_us > one.from_us for one in stops)
        if fault.end_us < day.until_us and not stopped:
            found.append(fault)
    return found


class _Blame:
    """Who is to blame for what was found: a mask over hits that are sorted by sensor and time."""

    def __init__(self, day: Day, faults: list[Fault]) -> None:
        self._day = day
        # Those that were not counted are to blame as well.
        self._spans = [
            (sensor, fault.start_us, _until_us(day, fault, sensor, AFTER_US, AFTER_PERIODS))
            for fault in day.plant.faults
            for sensor in concerned(day, fault).tolist()
        ]

    def faults(self, hits: NDArray[Any]) -> NDArray[np.bool_]:
        mask = np.zeros(len(hits), np.bool_)
        for sensor, from_us, until_us in self._spans:
            mask[_span(hits, sensor, from_us, until_us)] = True
        return mask

    def maintenance(self, hits: NDArray[Any]) -> NDArray[np.bool_]:
        mask, group = np.zeros(len(hits), np.bool_), self._day.plant.roster.group[hits["sensor"]]
        for one in self._day.maintenance:
            mask |= np.isin(group, one.groups) & (hits["at_us"] >= one.from_us) & (hits["at_us"] < one.until_us)
        return mask


def _until_us(day: Day, fault: Fault, sensor: int, least_us: int, periods: int) -> int:
    end_us = fault.start_us if KINDS[fault.kind].for_ever else fault.end_us
    return end_us + max(least_us, periods * int(day.period_us[sensor]))


def _span(hits: NDArray[Any], sensor: int, from_us: int, until_us: int) -> slice:
    """The hits of a sensor in `[from_us, until_us)`."""
    low, high = (int(np.searchsorted(hits["sensor"], sensor, side=side)) for side in ("left", "right"))
    mine = hits["at_us"][low:high]
    return slice(low + int(np.searchsorted(mine, from_us)), low + int(np.searchsorted(mine, until_us)))


def _in_day(day: Day, hits: NDArray[Any]) -> NDArray[np.bool_]:
    found: NDArray[np.bool_] = (hits["at_us"] >= day.from_us) & (hits["at_us"] < day.until_us)
    return found


def _excursions(day: Day, beyond: NDArray[Any]) -> NDArray[Any]:
    """The first hit of each, with the highest score."""
    if not len(beyond):
        return beyond
    gap_us = np.maximum(EXCURSION_US, EXCURSION_PERIODS * day.period_us[beyond["sensor"]])
    begins = np.ones(len(beyond), np.bool_)
    begins[1:] = (np.diff(beyond["sensor"]) != 0) | (np.diff(beyond["at_us"]) >= gap_us[1:])
    first = np.flatnonzero(begins)
    found = beyond[first].copy()
    found["score"] = np.maximum.reduceat(beyond["score"], first)
    return found


def _sort(day: Day, sensor: int) -> str:
    return day.plant.roster.templates[int(day.plant.roster.template[sensor])].name


def _boundaries(day: Day, excursions: NDArray[Any], budget: float) -> Boundaries:
    sorts = np.array([_sort(day, sensor) for sensor in range(len(day.plant.roster))])
    of = sorts[excursions["sensor"]]

    def needed(scores: NDArray[np.float64], allowed: int) -> float:
        # The next float: what is to count is above all that was too much.
        return float(np.nextafter(np.sort(scores)[::-1][allowed], np.inf)) if len(scores) > allowed else 1.0

    by_sort = {
        name: needed(excursions["score"][of == name], round(budget * count / len(sorts)))
        for name, count in sorted(Counter(sorts.tolist()).items())
    }
    return Boundaries(needed(excursions["score"], int(budget)), by_sort)


def _of_kind(
    day: Day,
    kind: str,
    faults: list[Fault],
    seen: Seen,
    hits: NDArray[Any],
    beyond: NDArray[Any],
    boundaries: Boundaries,
) -> KindOfFault:
    """hits: what counts as an alert."""
    found = KindOfFault(kind)
    for fault in faults:
        if fault.kind != kind:
            continue
        found.faults += 1
        first, refused, peak, of_class = None, 0, 0.0, False
        for sensor in concerned(day, fault).tolist():
            until_us = _until_us(day, fault, sensor, GRACE_US, GRACE_PERIODS)
            mine = hits[_span(hits, sensor, fault.start_us, until_us)]
            if len(mine) and (first is None or mine[0]["at_us"] < first["at_us"]):
                first = mine[0]
            refused += len(seen.refused[_span(seen.refused, sensor, fault.start_us, until_us)])
            scores = beyond["score"][_span(beyond, sensor, fault.start_us, until_us)]
            highest = float(scores.max()) if len(scores) else 0.0
            peak, of_class = max(peak, highest), of_class or highest >= boundaries.by_sort[_sort(day, sensor)]
        found.refused += refused > 0
        found.budgeted += refused > 0 or peak >= boundaries.everywhere
        found.of_class += refused > 0 or of_class
        if first is not None:
            found.alerted += 1
            found.delays_s.append((int(first["at_us"]) - fault.start_us) / 1e6)
            found.by[seen.names[int(first["by"])]] += 1
        if first is not None or refused:
            found.found += 1
        elif kind not in HARMLESS:
            found.missed[_sort(day, int(concerned(day, fault)[0]))] += 1
            if len(found.examples) < EXAMPLES:
                found.examples.append(_told(day, fault))
    return found


def _told(day: Day, fault: Fault) -> str:
    sensor, period_s = int(concerned(day, fault)[0]), int(day.period_us[concerned(day, fault)[0]]) / 1e6
    after_s, last_s = (fault.start_us - day.from_us) // 1_000_000, (fault.end_us - fault.start_us) / 1e6
    scale = f", {fault.magnitude:+.3g}" if fault.magnitude else ""
    who = fault.path if KINDS[fault.kind].befalls is Befalls.DEVICES else day.plant.roster.paths[sensor]
    return f"{who} at {_clock(after_s)} for {last_s:g} s (every {period_s:g} s{scale})"


def _clock(seconds: int) -> str:
    return f"{seconds // 3_600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"


def _untrue(day: Day, seen: Seen, hits: NDArray[Any], excursions: int) -> Untrue:
    roster = day.plant.roster
    sensors = Counter(hits["sensor"].tolist())
    after_us = hits["at_us"] - day.from_us
    highest = np.argsort(hits["score"])[::-1][:WORST]
    examples = [
        f"{roster.paths[int(hits['sensor'][at])]} at {_clock(int(after_us[at]) // 1_000_000)}, "
        f"{seen.names[int(hits['by'][at])]} {hits['score'][at]:.2f}"
        for at in highest.tolist()
    ]
    return Untrue(
        count=len(hits),
        per_day=len(hits) * DAY_US / (day.until_us - day.from_us),
        excursions=excursions,
        by=Counter(seen.names[one] for one in hits["by"].tolist()),
        of=Counter(_sort(day, one) for one in hits["sensor"].tolist()),
        hours=Counter((after_us // 3_600_000_000).tolist()),
        worst=[(roster.paths[sensor], count) for sensor, count in sensors.most_common(WORST)],
        examples=examples,
    )
