"""The plant as metrics: `/metrics/sensors` in Prometheus' text format.

Formatted by hand with a cached label set per sensor: client libraries take seconds for 100,000 series. The series
carry no instance of their own, so that a sensor's history survives its move to another worker.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from math import isfinite

import numpy as np
from numpy.typing import NDArray

from ingest.contract.class_settings import ClassSettings
from ingest.contract.classes import Kind
from ingest.contract.durations import format_duration
from ingest.contract.sensors import labels_of
from stream.fold.data_quality import data_quality
from stream.fold.explaining import DataQuality
from stream.fold.gate import Verdict
from stream.fold.partition import PartitionFold
from stream.fold.plan import Plan

_HELP = {
    "value": "Newest reading.",
    "mean": "Mean over the window; weighted by time for on-change sensors.",
    "stddev": "Standard deviation over the window (population); weighted by time for on-change sensors.",
    "min": "Smallest value in the window.",
    "max": "Largest value in the window.",
    "samples": "Readings in the window.",
    "first": "Value of the earliest reading in the window; the one in force then for on-change sensors.",
    "last": "Value of the latest reading in the window; the one in force then for on-change sensors.",
    "slope": "Trend over the window: slope of the least-squares line, per minute.",
    "covered": "Time from the earliest to the latest reading in the window; with a value in force, for on-change.",
    "p50": "Median over the window; weighted by time for on-change sensors.",
    "p90": "90th percentile over the window; weighted by time for on-change sensors.",
    "p99": "99th percentile over the window; weighted by time for on-change sensors.",
    "unchanged": "Time since the value last changed, by the sensor's own clock.",
    "score": "Highest anomaly score of the newest reading; 1 is the boundary.",
    "timestamp": "Time of the newest reading, by the sensor's own clock.",
    "state": "Current state of an enum or text sensor; the value is always 1.",
    "refused": "Why the latest reading is in no window and no model, where it is in none; the value is always 1.",
    "quality": "How good the data are: good, warming, uncertain, silent, refused, maintenance; the value is always 1.",
}
_SUFFIX = {
    "timestamp": "_timestamp_seconds",
    "slope": "_slope_per_minute",
    "covered": "_covered_seconds",
    "unchanged": "_unchanged_seconds",
}
_WINDOWED = ("mean", "stddev", "min", "max", "samples", "first", "last", "slope", "covered")
_QUANTILES = ("p50", "p90", "p99")
_MAX_STATE = 128


@dataclass(frozen=True, slots=True)
class _Looks:
    """What a plan's classes show. Tags make a class each, and thousands of them show the same.

    shown: one class of each sort. sort_of: by class.
    """

    shown: list[ClassSettings]
    sort_of: NDArray[np.int32]

    @classmethod
    def of(cls, plan: Plan) -> _Looks:
        sorts: dict[object, int] = {}
        shown, sort_of = list[ClassSettings](), np.zeros(len(plan.classes), np.int32)
        for index, one in enumerate(plan.classes.classes):
            look = one.kind, tuple(one.series), tuple(one.shown_list), tuple(one.quantiles)
            sort_of[index] = sort = sorts.setdefault(look, len(sorts))
            if sort == len(shown):
                shown.append(one)
        return cls(shown, sort_of)


@dataclass(frozen=True, slots=True)
class _Sensors:
    """The sensors of a partition. labels, sort: by slot; without a label is a slot that nobody has."""

    labels: list[str]
    named: NDArray[np.bool_]
    looks: _Looks
    sort: NDArray[np.int32]

    def slots(self, wanted: list[bool], known: NDArray[np.bool_]) -> list[int]:
        """Where there is something to show. wanted: by sort of class, whether it shows this. known: by slot."""
        if not any(wanted):
            return []
        found: list[int] = np.flatnonzero(np.array(wanted)[self.sort] & known & self.named).tolist()
        return found


def escape(value: str) -> str:
    r"""A label value as the text format wants it.

    >>> escape('say "hi"\n')
    'say \\"hi\\"\\n'
    """
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def _window(window_us: int) -> str:
    return f',window="{format_duration(window_us)}"}}'


class SensorPage:
    """Renders the state of partitions. Call it off the event loop.

    turn: who takes it first waits on the event loop, not in a thread, for another's page to be done.
    """

    def __init__(self, levels: list[str]) -> None:
        """levels: of the plant's paths, as names of labels."""
        self.turn = asyncio.Lock()
        self._levels = tuple(levels)
        self._labels: dict[str, str] = {}
        self._looks: dict[int, tuple[Plan, _Looks]] = {}
        # A page goes on when nobody waits for it any more.
        self._rendering = threading.Lock()

    def render(self, folds: Iterable[PartitionFold]) -> bytes:
        """All sensors of these partitions, each by its own plan. Values that are not known (NaN) are left out.

        folds: looked at one after the other, each only until the next is asked for, so that it can hold its lock.
        """
        with self._rendering:
            return self._page(folds)

    def _page(self, folds: Iterable[PartitionFold]) -> bytes:
        families: dict[str, list[str]] = {}
        looks: dict[int, tuple[Plan, _Looks]] = {}
        sensors = 0
        for fold in folds:
            sensors += len(fold.state.names)
            # By identity: to compare the definitions of thousands of tags takes longer than the page.
            plan = fold.plan
            if id(plan) not in looks:
                looks[id(plan)] = self._looks.get(id(plan)) or (plan, _Looks.of(plan))
            self._partition(fold, self._sensors(fold, looks[id(plan)][1]), families)
        self._looks = looks
        if len(self._labels) > 2 * sensors:  # of sensors that are gone, or elsewhere
            self._labels.clear()
        out: list[str] = []
        for series, lines in families.items():
            name = f"millstream_sensor{_SUFFIX.get(series, '_' + series)}"
            out.append(f"# HELP {name} {_HELP[series]}\n# TYPE {name} gauge\n")
            out += lines
        return "".join(out).encode()

    def _sensors(self, fold: PartitionFold, looks: _Looks) -> _Sensors:
        labels = [self._label(path) for path in fold.state.names]
        sort = looks.sort_of[fold.state.class_of[: len(labels)]]
        return _Sensors(labels, np.array([label != "" for label in labels], np.bool_), looks, sort)

    def _partition(self, fold: PartitionFold, sensors: _Sensors, families: dict[str, list[str]]) -> None:
        rows, shown = fold.state.sensors[: len(sensors.labels)], sensors.looks.shown
        seen = rows["shown_us"] > 0
        columns = {
            "value": np.where(seen, rows["shown_value"], np.nan),
            "score": np.where(rows["last_us"] > 0, rows["score"], np.nan),
            "timestamp": np.where(seen, rows["shown_us"] / 1e6, np.nan),
            "unchanged": fold.unchanged_s(),
        }
        for series, values in columns.items():
            wanted = [series in one.series and (series == "timestamp" or one.kind.numeric) for one in shown]
            self._lines(families, series, sensors, wanted, values)
        self._states(families, fold, sensors)
        self._refused(families, fold, sensors)
        self._qualities(families, fold, sensors)
        for window_us in sorted({window for one in shown for window in one.shown_list}):
            statistics, tail = fold.statistics(window_us), _window(window_us)
            for series in _WINDOWED:
                wanted = [series in one.series and window_us in one.shown_list and one.kind.numeric for one in shown]
                self._lines(families, series, sensors, wanted, statistics[series], tail)
        asking = [one for one in shown if any(series in one.series for series in _QUANTILES)]
        for window_us in sorted({window for one in asking for window in one.quantiles}):
            quantiles, tail = fold.quantiles(window_us), _window(window_us)
            for at, series in enumerate(_QUANTILES):
                wanted = [series in one.series and window_us in one.quantiles for one in shown]
                self._lines(families, series, sensors, wanted, quantiles[:, at], tail)

    @staticmethod
    def _lines(
        families: dict[str, list[str]],
        series: str,
        sensors: _Sensors,
        wanted: list[bool],
        values: NDArray[np.float64],
        tail: str = "}",
    ) -> None:
        """wanted: by sort of class. values: by slot."""
        slots = sensors.slots(wanted, np.isfinite(values))
        if not slots:
            return
        head, labels = f"millstream_sensor{_SUFFIX.get(series, '_' + series)}", sensors.labels
        families.setdefault(series, []).extend(
            f"{head}{labels[slot]}{tail} {value!r}\n" for slot, value in zip(slots, values[slots].tolist(), strict=True)
        )

    @staticmethod
    def _states(families: dict[str, list[str]], fold: PartitionFold, sensors: _Sensors) -> None:
        lines = []
        rows = fold.state.sensors[: len(sensors.labels)]
        wanted = [not one.kind.numeric and "value" in one.series for one in sensors.looks.shown]
        for slot in sensors.slots(wanted, rows["shown_us"] > 0):
            text = fold.state.texts.get(slot)
            if text is None:
                value = float(rows[slot]["shown_value"])
                if not isfinite(value):
                    continue
                text = f"{value:g}"  # an enum that comes as a number
            elif sensors.looks.shown[sensors.sort[slot]].kind is Kind.WAVEFORM:
                continue
            lines.append(f'millstream_sensor_state{sensors.labels[slot]},state="{escape(text[:_MAX_STATE])}"}} 1\n')
        if lines:
            families.setdefault("state", []).extend(lines)

    @staticmethod
    def _refused(families: dict[str, list[str]], fold: PartitionFold, sensors: _Sensors) -> None:
        reasons = fold.state.sensors["refused"][: len(sensors.labels)]
        slots = sensors.slots(["refused" in one.series for one in sensors.looks.shown], reasons != 0)
        if slots:
            families.setdefault("refused", []).extend(
                f'millstream_sensor_refused{sensors.labels[slot]},reason="{Verdict(reason).name.lower()}"}} 1\n'
                for slot, reason in zip(slots, reasons[slots].tolist(), strict=True)
            )

    @staticmethod
    def _qualities(families: dict[str, list[str]], fold: PartitionFold, sensors: _Sensors) -> None:
        wanted = ["quality" in one.series for one in sensors.looks.shown]
        if not any(wanted):
            return
        found = data_quality(fold.plan, fold.state)
        if slots := sensors.slots(wanted, found >= 0):
            tails = {one.value: f',quality="{one.name.lower()}"}} 1\n' for one in DataQuality}
            families.setdefault("quality", []).extend(
                f"millstream_sensor_quality{sensors.labels[slot]}{tails[quality]}"
                for slot, quality in zip(slots, found[slots].tolist(), strict=True)
            )

    def _label(self, path: str) -> str:
        if not path:  # a slot that nobody has
            return ""
        label = self._labels.get(path)
        if label is None:
            levels = labels_of(path, self._levels)
            pairs = "".join(f',{name}="{escape(value)}"' for name, value in levels.items())
            label = self._labels[path] = f'{{sensor="{escape(path)}"{pairs}'
        return label
