"""What a backtest prints, and what it writes as JSON."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from deploy.backtest.figures import Figures, Judgement
from deploy.backtest.replay import Replay
from deploy.backtest.run import Outcome
from stream.fold.gate import Verdict

_LISTED = 10
_WIDEST = 60


def lines_of(outcome: Outcome) -> list[str]:
    """The whole answer, for a terminal."""
    recorded, results = outcome.recorded, outcome.results
    first = results[0][1]
    sensors = int((first.rows_of > 0).sum())
    per_s = recorded.readings / outcome.wall_s if outcome.wall_s > 0 else 0.0
    span = (recorded.last_us - recorded.first_us) / 8.64e10
    lines = [
        f"readings    {recorded.readings:,} of {sensors:,} sensors, {when(recorded.first_us)} to "
        f"{when(recorded.last_us)} ({_number(span)} days)",
        f"folded      {per_s:,.0f} readings a second, {outcome.wall_s:.1f} s",
    ]
    if first.count_from_us:
        lines.append(
            f"counted     from {when(first.count_from_us)} on: before it models learn, and alerts do not count"
        )
    return [*lines, "", *_table(_rows(outcome)), *_listed(outcome)]


def when(at_us: int) -> str:
    """A time for people."""
    return datetime.fromtimestamp(at_us / 1e6, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def span_of(seconds: float | None) -> str:
    """A duration for people.

    >>> span_of(0.5), span_of(90), span_of(7_300), span_of(400_000), span_of(None)
    ('0.5 s', '90 s', '122 min', '4.63 days', '–')
    """
    if seconds is None:
        return "–"
    for most, unit_s, unit in ((120, 1, "s"), (10_800, 60, "min"), (172_800, 3_600, "h")):
        if seconds < most:
            return f"{_number(seconds / unit_s)} {unit}"
    return f"{_number(seconds / 86_400)} days"


def _number(number: float | None) -> str:
    if number is None:
        return "–"
    if abs(number) >= 100 or number == int(number):
        return f"{number:,.0f}"
    return f"{number:.3g}" if abs(number) < 10 else f"{number:.1f}"


def _share(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.0f} %"


def _rows(outcome: Outcome) -> list[list[str]]:
    """The table: a name, then a cell for each configuration."""
    results, paths = outcome.results, outcome.recorded.sensors.paths

    table = [["", *(name for name, _, _ in results)]] if len(results) > 1 else []
    for verdict in Verdict:
        counts = [replay.verdicts.get(verdict, 0) for _, replay, _ in results]
        if verdict != Verdict.FOLDED and any(counts):
            table.append([f"not folded: {verdict.name.lower().replace('_', ' ')}", *(f"{one:,}" for one in counts)])
    every = [figures for _, _, figures in results]
    table.append(["alerts", *(f"{len(one.alerts):,}" for one in every)])
    table.append(["alerts a day", *(_number(one.per_day) for one in every)])
    if any(replay.unjudged for _, replay, _ in results):
        table.append(["sensors never judged", *(f"{len(replay.unjudged):,}" for _, replay, _ in results)])
    classes = list(dict.fromkeys(name for one in every for name in one.by_class))
    if len(classes) > 1:
        table += [
            [f"  class {of}, a day", *(_a_day(one, one.by_class.get(of, 0)) for one in every)]
            for of in classes[:_LISTED]
        ]
    worst = [sensor for sensor, _ in every[0].worst]
    table += [[f"  {paths[of][:_WIDEST]}", *(f"{_count(one, of):,}" for one in every)] for of in worst]
    if outcome.windows is not None:
        table += _against_labels(results)
    return table


def _a_day(figures: Figures, count: int) -> str:
    return _number(count / figures.days if figures.days else None)


def _count(figures: Figures, sensor: int) -> int:
    return sum(one.sensor == sensor for one in figures.alerts)


def _against_labels(results: Sequence[tuple[str, Replay, Figures]]) -> list[list[str]]:
    judged = [figures.judgement or Judgement() for _, _, figures in results]

    def row(name: str, cell: Callable[[Judgement], str]) -> list[str]:
        return [name, *map(cell, judged)]

    table = [
        row("labels found (recall)", lambda one: f"{one.found:,} of {one.labels:,}, {_share(one.recall)}"),
        row("alerts in a label (precision)", lambda one: f"{one.inside:,} of {one.alerts:,}, {_share(one.precision)}"),
        row("delay, median", lambda one: span_of(one.median_delay_s)),
        row("delay, worst", lambda one: span_of(one.worst_delay_s)),
        row("false alerts a day", lambda one: _number(one.false_per_day)),
    ]
    if any(one.already for one in judged):
        table.append(row("missed while an alert was open", lambda one: f"{one.already:,}"))
    if any(one.early for one in judged):
        table.append(row("labels before the figures begin", lambda one: f"{one.early:,}"))
    kinds = list(dict.fromkeys(kind for one in judged for kind in one.kinds))
    for kind in kinds[:30] if kinds != [""] else []:
        found = [one.kinds.get(kind) for one in judged]
        table.append(
            [f"  {kind or 'no kind'}", *("–" if of is None else f"{of.found:,} of {of.labels:,}" for of in found)]
        )
    return table


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    return [
        (
            f"{row[0]:<{widths[0]}}"
            + "".join(f"  {cell:>{width}}" for cell, width in zip(row[1:], widths[1:], strict=True))
        )
        for row in rows
    ]


def _listed(outcome: Outcome) -> list[str]:
    lines: list[str] = []
    replay, judged = outcome.results[0][1], outcome.results[0][2].judgement
    out_of_order = sum(replay.verdicts.get(one, 0) for one in (Verdict.OUT_OF_ORDER, Verdict.LATE))
    if out_of_order and any(not recording.met.ordered for recording, _ in outcome.recorded.files):
        lines.append(
            f"{out_of_order:,} readings came out of order, so models did not see them: --sort sorts them first"
        )
    if outcome.results[0][2].days == 0:
        lines.append("no time passed in what is counted: no figure per day")
    lines += _unjudged(replay, outcome.recorded.sensors.paths)
    if judged is not None:
        lines += _some("matching nothing", [f"{_label(one)}: {why}" for one, why in judged.nothing])
        lines += _some("missed", [_label(one) for one in judged.missed])
    return ["", *lines] if lines else []


def _unjudged(replay: Replay, paths: Sequence[str]) -> list[str]:
    if not replay.unjudged:
        return []
    some, sensors = replay.unjudged[:_LISTED], int((replay.rows_of > 0).sum())
    more = len(replay.unjudged) - len(some)
    return [
        f"{len(replay.unjudged):,} of {sensors:,} sensors were never judged by a model: no alert is no answer for them",
        *(
            f"  {paths[one.sensor][:_WIDEST]}: {one.readings:,} reading{'' if one.readings == 1 else 's'}, {one.why}"
            for one in some
        ),
        *([f"  and {more:,} more"] if more else []),
    ]


def _label(window: Any) -> str:
    label = window.label
    kind = f" {label.kind}" if label.kind else ""
    return f"{label.sensor or '*'}{kind}, {when(label.start_us)} to {when(label.end_us)}"


def _some(what: str, lines: Sequence[str]) -> list[str]:
    if not lines:
        return []
    more = [f"  and {len(lines) - _LISTED:,} more"] if len(lines) > _LISTED else []
    return [
        f"{len(lines):,} label{'' if len(lines) == 1 else 's'} {what}:",
        *(f"  {one}" for one in lines[:_LISTED]),
        *more,
    ]


def json_of(outcome: Outcome, files: Sequence[str]) -> dict[str, Any]:
    """The same as numbers."""
    recorded = outcome.recorded
    return {
        "files": list(files),
        "said": recorded.said,
        "readings": recorded.readings,
        "sensors": len(recorded.sensors),
        "first": _iso(recorded.first_us),
        "last": _iso(recorded.last_us),
        "counted_from": _iso(max(outcome.results[0][1].count_from_us, recorded.first_us)),
        "wall_s": round(outcome.wall_s, 3),
        "cpu_s": round(outcome.cpu_s, 3),
        "readings_per_s": round(recorded.readings / outcome.wall_s) if outcome.wall_s > 0 else None,
        "configurations": [
            _configuration(name, replay, figures, recorded.sensors.paths) for name, replay, figures in outcome.results
        ],
    }


def _configuration(name: str, replay: Replay, figures: Figures, paths: Sequence[str]) -> dict[str, Any]:
    judged = figures.judgement
    found: dict[str, Any] = {
        "name": name,
        "verdicts": {one.name.lower(): count for one, count in replay.verdicts.items()},
        "days": figures.days,
        "alerts": len(figures.alerts),
        "alerts_per_day": figures.per_day,
        "alerts_by_class": figures.by_class,
        "worst_sensors": [{"sensor": paths[sensor], "alerts": count} for sensor, count in figures.worst],
        "never_judged": [
            {"sensor": paths[one.sensor], "readings": one.readings, "learned": one.learned, "why": one.why}
            for one in replay.unjudged
        ],
    }
    if judged is None:
        return found
    return found | {
        "labels": judged.labels,
        "labels_found": judged.found,
        "recall": judged.recall,
        "alerts_in_labels": judged.inside,
        "precision": judged.precision,
        "median_delay_s": judged.median_delay_s,
        "worst_delay_s": judged.worst_delay_s,
        "false_alerts_per_day": judged.false_per_day,
        "missed_while_alert_open": judged.already,
        "labels_before_counted": judged.early,
        "kinds": {kind: {"labels": of.labels, "found": of.found} for kind, of in judged.kinds.items()},
        "labels_matching_nothing": [
            {"sensor": one.label.sensor, "start": _iso(one.label.start_us), "end": _iso(one.label.end_us), "why": why}
            for one, why in judged.nothing
        ],
    }


def _iso(at_us: int) -> str:
    return datetime.fromtimestamp(at_us / 1e6, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
