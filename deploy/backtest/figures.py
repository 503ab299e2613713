"""Whether the alerts would have been worth having: how many a day, and, with labels, how right and how early."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from statistics import median

from deploy.backtest.labels import Window
from deploy.backtest.replay import Alert, Replay

_DAY_US = 86_400_000_000
_WORST = 10


@dataclass(slots=True)
class OfKind:
    """Labels of one kind: how many, how many were found, and after how many seconds each."""

    labels: int = 0
    found: int = 0
    delays_s: list[float] = field(default_factory=list)


@dataclass(slots=True)
class Judgement:
    """Against labels.

    labels: those that count. early: not counted, as they end before the figures begin. nothing: (label, why) of those
    that match nothing. already: not found, but an alert of its sensor fired on from before. inside: alerts inside a
    label of their sensor. A delay is from a label's start to the first alert that fires in it.
    """

    labels: int = 0
    found: int = 0
    already: int = 0
    early: int = 0
    inside: int = 0
    alerts: int = 0
    days: float = 0.0
    delays_s: list[float] = field(default_factory=list)
    kinds: dict[str, OfKind] = field(default_factory=dict)
    missed: list[Window] = field(default_factory=list)
    nothing: list[tuple[Window, str]] = field(default_factory=list)

    @property
    def recall(self) -> float | None:
        """Labels found, of all that count; None without any."""
        return self.found / self.labels if self.labels else None

    @property
    def precision(self) -> float | None:
        """Alerts inside a label, of all; None without any."""
        return self.inside / self.alerts if self.alerts else None

    @property
    def false_per_day(self) -> float | None:
        """Alerts outside every label of their sensor, a day."""
        return (self.alerts - self.inside) / self.days if self.days else None

    @property
    def median_delay_s(self) -> float | None:
        """Over the labels found."""
        return median(self.delays_s) if self.delays_s else None

    @property
    def worst_delay_s(self) -> float | None:
        """Over the labels found."""
        return max(self.delays_s, default=None)


@dataclass(slots=True)
class Figures:
    """Alerts that fired since the figures begin. by_class, worst: how many; worst: of sensors, by number."""

    alerts: list[Alert]
    days: float
    by_class: dict[str, int]
    worst: list[tuple[int, int]]
    judgement: Judgement | None = None
    outside: set[int] = field(default_factory=set)
    """Places in `alerts` of those outside every label."""

    @property
    def per_day(self) -> float | None:
        """Alerts a day; None where no time passed."""
        return len(self.alerts) / self.days if self.days else None


def figures_of(replay: Replay, windows: list[Window] | None = None) -> Figures:
    """windows: None: nothing is known; else `has_data` is settled."""
    alerts = [one for one in replay.alerts if one.fired_us >= replay.count_from_us]
    of_sensor = Counter(one.sensor for one in alerts)
    by_class: Counter[str] = Counter()
    for sensor, count in of_sensor.items():
        by_class[replay.class_of[sensor]] += count
    worst = sorted(of_sensor.items(), key=lambda one: (-one[1], one[0]))[:_WORST]
    found = Figures(alerts, replay.counted_us / _DAY_US, dict(by_class.most_common()), worst)
    if windows is not None:
        found.judgement, found.outside = _judged(replay, found, windows)
    return found


def _judged(replay: Replay, figures: Figures, windows: list[Window]) -> tuple[Judgement, set[int]]:
    judged = Judgement(alerts=len(figures.alerts), days=figures.days)
    places: dict[int, list[int]] = {}
    for place, alert in enumerate(figures.alerts):
        places.setdefault(alert.sensor, []).append(place)
    ever: dict[int, list[Alert]] = {}
    for alert in replay.alerts:
        ever.setdefault(alert.sensor, []).append(alert)
    inside: set[int] = set()
    for window in windows:
        label = window.label
        if window.unknown or not window.has_data:
            judged.nothing.append((window, window.unknown or "no reading in that time"))
            continue
        if label.end_us <= replay.count_from_us:
            judged.early += 1
            continue
        sensors = places if window.sensors is None else [one for one in window.sensors if one in places]
        here = [
            place
            for sensor in sensors
            for place in places[sensor]
            if label.start_us <= figures.alerts[place].fired_us < label.end_us
        ]
        inside.update(here)
        kind = judged.kinds.setdefault(label.kind, OfKind())
        judged.labels += 1
        kind.labels += 1
        if here:
            delay_s = (min(figures.alerts[place].fired_us for place in here) - label.start_us) / 1e6
            judged.found += 1
            judged.delays_s.append(delay_s)
            kind.found += 1
            kind.delays_s.append(delay_s)
        else:
            judged.missed.append(window)
            judged.already += any(
                one.fired_us < label.start_us and (one.over_us is None or one.over_us > label.start_us)
                for sensor in (ever if window.sensors is None else window.sensors)
                for one in ever.get(sensor, ())
            )
    judged.inside = len(inside)
    return judged, set(range(len(figures.alerts))) - inside
