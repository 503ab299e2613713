"""What a person sees: a live page on a terminal, plain lines elsewhere."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from deploy.up.alerts import OpenAlert
from deploy.up.figures import Figures

_KEPT_LINES = 8
_SHOWN_ALERTS = 8


class View:
    """`say` takes a line; `show` takes figures every few seconds."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._lines: deque[str] = deque(maxlen=_KEPT_LINES)
        self._live: Live | None = None
        self._before: tuple[Figures, float] | None = None
        self._page: Group | None = None
        self._head: list[str] = []

    def __enter__(self) -> View:
        if self._console.is_terminal:
            self._live = Live(console=self._console, refresh_per_second=4, transient=False, get_renderable=self._render)
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            live, self._live = self._live, None
            live.stop()

    def head(self, line: str) -> None:
        """A line that stays: where things are."""
        self._head.append(line)
        if self._live is None:
            self._console.print(line, markup=False, soft_wrap=True)

    def say(self, line: str) -> None:
        """Something happened."""
        self._lines.append(line)
        if self._live is None:
            self._console.print(line, markup=False, soft_wrap=True)

    def show(self, figures: Figures, alerts: Iterable[OpenAlert], at_s: float) -> None:
        """The state of things at a (monotonic) time."""
        before, before_s = self._before or (figures, at_s)
        self._before = (figures, at_s)
        seconds = max(1e-9, at_s - before_s)
        rates = {
            "received": (figures.received - before.received) / seconds,
            "produced": (figures.produced - before.produced) / seconds,
            "folded": (figures.folded - before.folded) / seconds,
        }
        if self._live is None:
            said = "  ".join(f"{name} {rate:,.0f}/s" for name, rate in rates.items())
            self._console.print(
                f"rates       {said}  lag {figures.lag_s:.1f} s  in flight {figures.in_flight}  "
                f"sensors {figures.sensors}  folded in all {figures.folded:,}",
                markup=False,
                soft_wrap=True,
            )
            return
        self._page = Group(self._rates(figures, rates), self._worst(figures), self._alerts(list(alerts)))

    def _render(self) -> Group:
        parts: list[Text | Group | Panel] = [Text("\n".join(self._head), style="dim")]
        if self._page is not None:
            parts.append(self._page)
        if self._lines:
            parts.append(
                Panel(Text("\n".join(self._lines)), title="what happens", title_align="left", border_style="dim")
            )
        return Group(*parts)

    @staticmethod
    def _rates(figures: Figures, rates: dict[str, float]) -> Table:
        table = Table(box=None, padding=(0, 3, 0, 0))
        for name in (*rates, "lag", "in flight", "quarantined", "gated", "sensors"):
            table.add_column(name, justify="right", style="bold")
        table.add_row(
            *(f"{rate:,.0f}/s" for rate in rates.values()),
            f"{figures.lag_s:.1f} s",
            f"{figures.in_flight:,}",
            f"{figures.quarantined:,}",
            f"{figures.gated:,}",
            f"{figures.sensors:,}",
        )
        return table

    @staticmethod
    def _worst(figures: Figures) -> Table:
        table = Table(box=None, padding=(0, 3, 0, 0), title="worst sensors", title_justify="left", title_style="dim")
        table.add_column("score", justify="right")
        table.add_column("sensor")
        for sensor, score in figures.worst:
            table.add_row(Text(f"{score:.2f}", style=_colour(score)), Text(sensor))
        return table

    @staticmethod
    def _alerts(alerts: list[OpenAlert]) -> Table:
        title = f"open alerts: {len(alerts)}"
        table = Table(box=None, padding=(0, 3, 0, 0), title=title, title_justify="left", title_style="dim")
        for name in ("score", "value", "sensor", "found by"):
            table.add_column(name, justify="right" if name in ("score", "value") else "left")
        for one in sorted(alerts, key=lambda alert: -alert.since_us)[:_SHOWN_ALERTS]:
            score = Text(f"{one.score:.2f}", style=_colour(one.score))
            table.add_row(score, f"{one.value:.4g}", Text(one.sensor), one.model)
        return table


def _colour(score: float) -> str:
    return "red" if score >= 1.0 else "yellow" if score >= 0.7 else "green"
