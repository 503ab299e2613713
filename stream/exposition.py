"""The plant as metrics: `/metrics/sensors` in Prometheus' text format.

Formatted by hand with a cached label set per sensor: client libraries take seconds for 100,000 series. The series
carry no instance of their own, so that a sensor's history survives its move to another worker.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import isfinite
from typing import NamedTuple

import numpy as np

from ingest.contract.class_settings import ClassSettings
from ingest.contract.classes import Kind
from ingest.contract.durations import format_duration
from ingest.contract.sensors import labels_of
from stream.fold.partition import PartitionFold

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


class _Label(NamedTuple):
    text: str
    class_index: int


def escape(value: str) -> str:
    r"""A label value as the text format wants it.

    >>> escape('say "hi"\n')
    'say \\"hi\\"\\n'
    """
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def _window(window_us: int) -> str:
    return f',window="{format_duration(window_us)}"}}'


class SensorPage:
    """Renders the state of partitions. Call it under their locks, off the event loop."""

    def __init__(self, levels: list[str]) -> None:
        """levels: of the plant's paths, as names of labels."""
        self._levels = tuple(levels)
        self._labels: dict[str, _Label] = {}

    def render(self, folds: Iterable[PartitionFold]) -> bytes:
        """All sensors of these partitions, each by its own plan. Values that are not known (NaN) are left out."""
        families: dict[str, list[str]] = {}
        sensors = 0
        for fold in folds:
            sensors += len(fold.state.names)
            self._partition(fold, families)
        if len(self._labels) > 2 * sensors:  # of sensors that are gone, or elsewhere
            self._labels.clear()
        out: list[str] = []
        for series, lines in families.items():
            name = f"millstream_sensor{_SUFFIX.get(series, '_' + series)}"
            out.append(f"# HELP {name} {_HELP[series]}\n# TYPE {name} gauge\n")
            out += lines
        return "".join(out).encode()

    def _partition(self, fold: PartitionFold, families: dict[str, list[str]]) -> None:
        state, classes = fold.state, fold.plan.classes.classes
        used = len(state.names)
        labels = [self._label(path, index) for path, index in zip(state.names, state.class_of.tolist(), strict=False)]
        rows = state.sensors[:used]
        seen = rows["shown_us"] > 0
        columns = {
            "value": np.where(seen, rows["shown_value"], np.nan),
            "score": np.where(rows["last_us"] > 0, rows["score"], np.nan),
            "timestamp": np.where(seen, rows["shown_us"] / 1e6, np.nan),
            "unchanged": fold.unchanged_s(),
        }
        for series, values in columns.items():
            wanted = [series in one.series and self._shows(one, series) for one in classes]
            self._lines(families, series, labels, wanted, values.tolist(), "}")
        self._states(families, fold, labels)
        for window_us in sorted({window for one in classes for window in one.shown_list}):
            statistics = fold.statistics(window_us)
            for series in _WINDOWED:
                wanted = [series in one.series and window_us in one.shown_list and one.kind.numeric for one in classes]
                self._lines(families, series, labels, wanted, statistics[series].tolist(), _window(window_us))
        asking = [one for one in classes if any(series in one.series for series in _QUANTILES)]
        for window_us in sorted({window for one in asking for window in one.quantiles}):
            quantiles = fold.quantiles(window_us)
            for at, series in enumerate(_QUANTILES):
                wanted = [series in one.series and window_us in one.quantiles for one in classes]
                self._lines(families, series, labels, wanted, quantiles[:, at].tolist(), _window(window_us))

    @staticmethod
    def _shows(one: ClassSettings, series: str) -> bool:
        return series == "timestamp" or one.kind.numeric

    def _lines(
        self,
        families: dict[str, list[str]],
        series: str,
        labels: list[_Label],
        wanted: list[bool],
        values: list[float],
        tail: str,
    ) -> None:
        if not any(wanted):
            return
        head = f"millstream_sensor{_SUFFIX.get(series, '_' + series)}"
        families.setdefault(series, []).extend(
            f"{head}{label.text}{tail} {value!r}\n"
            for label, value in zip(labels, values, strict=True)
            if label.text and wanted[label.class_index] and isfinite(value)
        )

    def _states(self, families: dict[str, list[str]], fold: PartitionFold, labels: list[_Label]) -> None:
        lines = []
        rows = fold.state.sensors
        for slot, label in enumerate(labels):
            one = fold.plan.classes.classes[label.class_index]
            if one.kind.numeric or "value" not in one.series or not rows[slot]["shown_us"]:
                continue
            text = fold.state.texts.get(slot)
            if text is None:
                value = float(rows[slot]["shown_value"])
                if not isfinite(value):
                    continue
                text = f"{value:g}"  # an enum that comes as a number
            elif one.kind is Kind.WAVEFORM:
                continue
            lines.append(f'millstream_sensor_state{label.text},state="{escape(text[:_MAX_STATE])}"}} 1\n')
        if lines:
            families.setdefault("state", []).extend(lines)

    def _label(self, path: str, class_index: int) -> _Label:
        if not path:  # a slot that nobody has
            return _Label("", class_index)
        label = self._labels.get(path)
        if label is None or label.class_index != class_index:
            levels = labels_of(path, self._levels)
            pairs = "".join(f',{name}="{escape(value)}"' for name, value in levels.items())
            label = self._labels[path] = _Label(f'{{sensor="{escape(path)}"{pairs}', class_index)
        return label
