"""The report: one HTML file that needs nothing else, drawn by plotly, whose program is in it."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deploy.backtest.curves import Curve, Curves
from deploy.backtest.figures import Figures
from deploy.backtest.labels import Window
from deploy.backtest.replay import Replay

MOST_SENSORS = 12
_SPANS = 300
_HIGHEST = 10.0
_ROW_PX = 260
_BLUE, _BAND, _ORANGE = "#1f5fa8", "rgba(31,95,168,0.15)", "#d9822b"
_ALERT, _LABEL, _LEARNING = "rgba(200,30,30,0.28)", "rgba(20,140,70,0.22)", "rgba(120,120,120,0.13)"
_BUTTONS = ["toImage", "zoom2d", "pan2d", "resetScale2d"]
_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
body {{ font: 15px/1.45 system-ui, sans-serif; margin: 1.2rem auto; max-width: 1400px; padding: 0 1rem; color: #222 }}
h1 {{ font-size: 1.3rem }}
pre {{ background: #f5f5f2; padding: .8rem 1rem; overflow-x: auto; font-size: 13px }}
i {{ display: inline-block; width: 1.1em; height: .8em; margin: 0 .3em 0 1em }}
</style></head><body>
<h1>{title}</h1>
<pre>{summary}</pre>
<p>{note}<i style="background:{blue}"></i>value<i style="background:{band}"></i>expected band
<i style="background:{orange}"></i>score (1 = the models' boundary)<i style="background:{alert}"></i>alert
<i style="background:{label}"></i>label<i style="background:{learning}"></i>learning, not counted. Times are UTC; drag
to zoom, double-click to go back.</p>
{figure}
</body></html>
"""


def has_plotly() -> bool:
    """Whether the library is installed: it is an extra."""
    from importlib.util import find_spec

    return find_spec("plotly") is not None


def chosen(replay: Replay, figures: Figures, windows: Sequence[Window]) -> list[int]:
    """The sensors to draw, by number, the worst first: missed labels and false alerts, then alerts, then scores."""
    sensors = len(replay.class_of)
    wrong, all_alerts, labels = np.zeros(sensors), np.zeros(sensors), np.zeros(sensors)
    for place, alert in enumerate(figures.alerts):
        all_alerts[alert.sensor] += 1
        if figures.judgement is None or place in figures.outside:
            wrong[alert.sensor] += 1
    missed = {id(one) for one in figures.judgement.missed} if figures.judgement else set()
    for window in windows:
        for sensor in window.sensors or ():
            labels[sensor] += 1
            wrong[sensor] += id(window) in missed
    peak = np.pad(replay.peak, (0, sensors - replay.peak.size))
    order = np.lexsort((np.arange(sensors), -peak, -(all_alerts + labels), -wrong))
    of_note = [int(at) for at in order if all_alerts[at] + labels[at] > 0]
    # Where nothing happened, what came nearest is of interest.
    return of_note[:MOST_SENSORS] or [int(at) for at in order[:4] if peak[at] > 0] or [int(at) for at in order[:1]]


def write_report(
    path: Path,
    title: str,
    summary: str,
    paths: Sequence[str],
    replay: Replay,
    figures: Figures,
    windows: Sequence[Window],
    curves: Curves,
) -> int:
    """Write it, over an earlier one; returns how many sensors are drawn. Raises OSError."""
    from plotly.io import to_html

    drawn = [(at, curve) for at in chosen(replay, figures, windows) if (curve := curves.of(at)) is not None]
    of_note = len({one.sensor for one in figures.alerts} | {at for one in windows for at in one.sensors or ()})
    note = f"{len(drawn)} of {of_note:,} sensors with alerts or labels, the worst first. " if of_note else ""
    html = to_html(
        _figure(drawn, paths, replay, windows),
        config={"displaylogo": False, "responsive": True, "modeBarButtons": [_BUTTONS]},
        include_plotlyjs=True,
        full_html=False,
        validate=False,
        div_id="curves",
        default_height=f"{_ROW_PX * max(1, len(drawn)) + 60}px",
    )
    page = _PAGE.format(
        title=escape(title),
        summary=escape(summary),
        note=note,
        figure=html,
        blue=_BLUE,
        band=_BAND,
        orange=_ORANGE,
        alert=_ALERT,
        label=_LABEL,
        learning=_LEARNING,
    )
    path.write_text(page, encoding="utf-8")
    return len(drawn)


def _figure(
    drawn: Sequence[tuple[int, Curve]], paths: Sequence[str], replay: Replay, windows: Sequence[Window]
) -> dict[str, Any]:
    rows = max(1, len(drawn))
    height_px = rows * _ROW_PX
    layout: dict[str, Any] = {
        "height": height_px + 60,
        "margin": {"l": 60, "r": 60, "t": 30, "b": 30},
        "showlegend": False,
        "hovermode": "closest",
        "plot_bgcolor": "white",
        "shapes": [],
        "annotations": [],
    }
    union = replay.first_us, replay.last_us
    # One axis for all, unless that makes specks of them.
    together = all(2 * (curve.at_us[-1] - curve.at_us[0]) >= union[1] - union[0] for _, curve in drawn)
    traces: list[dict[str, Any]] = []
    for row, (sensor, curve) in enumerate(drawn):
        top = 1 - row / rows
        bottom = top - 1 / rows + 46 / height_px
        name = "" if row == 0 else str(row + 1)
        left, right = f"y{2 * row + 1}" if row else "y", f"y{2 * row + 2}"
        layout[f"xaxis{name}"] = {
            "anchor": left, "domain": [0, 1], "gridcolor": "#eee", "type": "date",
            "range": [_ms(one) for one in (union if together else (int(curve.at_us[0]), int(curve.at_us[-1])))],
        } | ({"matches": "x"} if together and row else {})  # fmt: skip
        layout[f"yaxis{left[1:]}"] = {
            "domain": [bottom, top - 22 / height_px],
            "gridcolor": "#eee",
            "anchor": f"x{name}",
        }
        # In the lower third, so that it does not cover the values; what is far above the boundary is cut off.
        most = min(_HIGHEST, max(1.2, float(curve.score.max())))
        layout[f"yaxis{right[1:]}"] = {
            "overlaying": left, "side": "right", "range": [0, 3 * most], "showgrid": False, "zeroline": False,
            "anchor": f"x{name}", "tickfont": {"color": _ORANGE}, "tickmode": "array",
            "tickvals": [tick for tick in ((0, 1, 5, 10) if most > 5 else (0, 1, 2, 3)) if tick <= most],
        }  # fmt: skip
        traces += _traces(curve, f"x{name}", left, right)
        layout["shapes"] += _shapes(sensor, curve, replay, windows, f"x{name}", left)
        layout["shapes"].append(
            {
                "type": "line", "xref": f"x{name} domain", "x0": 0, "x1": 1, "yref": right, "y0": 1, "y1": 1,
                "line": {"color": _ORANGE, "width": 1, "dash": "dot"},
            }
        )  # fmt: skip
        layout["annotations"].append(
            {
                "text": f"<b>{escape(paths[sensor])}</b> &nbsp; {_said(sensor, replay)}",
                "x": 0,
                "xref": "paper",
                "xanchor": "left",
                "y": top,
                "yref": "paper",
                "yanchor": "top",
                "showarrow": False,
                "font": {"size": 13},
            }
        )
    return {"data": traces, "layout": layout}


def _said(sensor: int, replay: Replay) -> str:
    alerts = [one for one in replay.alerts if one.sensor == sensor and one.fired_us >= replay.count_from_us]
    models = sorted({one.model for one in alerts if one.model is not None})
    by = f", by {', '.join(models)}" if models else ""
    why = next((one.why for one in replay.unjudged if one.sensor == sensor), "")
    judged = f", never judged: {escape(why)}" if why else ""
    return f"{len(alerts)} alert{'' if len(alerts) == 1 else 's'}{by}{judged}"


def _traces(curve: Curve, x: str, left: str, right: str) -> list[dict[str, Any]]:
    band_us = _ms_of(curve.score_us)
    edge = {
        "x": band_us,
        "xaxis": x,
        "yaxis": left,
        "mode": "lines",
        "line": {"width": 0, "shape": "hv"},
        "hoverinfo": "skip",
    }
    mode = "lines+markers" if len(curve.at_us) < 200 else "lines"
    # A band without a limit on one side goes as far as the values do.
    low, high = float(curve.value.min()), float(curve.value.max())
    room = (high - low) or abs(high) or 1.0
    floor, ceiling = low - 0.05 * room, high + 0.05 * room
    known = ~(np.isnan(curve.low) & np.isnan(curve.high))
    lows = np.where(known, np.clip(np.nan_to_num(curve.low, nan=floor, neginf=floor), low - room, None), np.nan)
    highs = np.where(known, np.clip(np.nan_to_num(curve.high, nan=ceiling, posinf=ceiling), None, high + room), np.nan)
    return [
        edge | {"y": _rounded(lows)},
        edge | {"y": _rounded(highs), "fill": "tonexty", "fillcolor": _BAND},
        {
            "x": _ms_of(curve.at_us), "y": _rounded(curve.value), "xaxis": x, "yaxis": left, "mode": mode,
            "line": {"color": _BLUE, "width": 1.2}, "marker": {"size": 4},
            "hovertemplate": "%{y:.6g}, %{x}<extra></extra>",
        },
        {
            "x": band_us, "y": _rounded(np.minimum(curve.score, _HIGHEST)), "xaxis": x, "yaxis": right,
            "mode": "lines", "line": {"color": _ORANGE, "width": 1}, "customdata": _rounded(curve.score),
            "hovertemplate": "score %{customdata:.3g}, %{x}<extra></extra>",
        },
    ]  # fmt: skip


def _shapes(
    sensor: int, curve: Curve, replay: Replay, windows: Sequence[Window], x: str, left: str
) -> list[dict[str, Any]]:
    first_us, last_us = int(curve.at_us[0]), int(curve.at_us[-1])
    spans = [(one.label.start_us, one.label.end_us, _LABEL) for one in windows if one.is_about(sensor)][:_SPANS]
    alerts = [one for one in replay.alerts if one.sensor == sensor][:_SPANS]
    spans += [(one.fired_us, last_us if one.over_us is None else one.over_us, _ALERT) for one in alerts]
    if replay.count_from_us > first_us:
        spans.append((first_us, min(replay.count_from_us, last_us), _LEARNING))
    return [
        {
            "type": "rect", "xref": x, "yref": f"{left} domain", "x0": _ms(begin), "x1": _ms(end), "y0": 0, "y1": 1,
            "fillcolor": colour, "layer": "below", "line": {"color": colour, "width": 1},
        }
        for begin, end, colour in spans
    ]  # fmt: skip


def _ms(at_us: int) -> float:
    return at_us / 1_000


def _ms_of(at_us: NDArray[np.int64]) -> list[float]:
    found: list[float] = (at_us / 1_000).tolist()
    return found


def _rounded(values: NDArray[np.float64]) -> list[float | None]:
    """To seven digits: the picture has no more, and the file is half as long."""
    return [None if not np.isfinite(one) else float(f"{one:.7g}") for one in values.tolist()]
