"""What models of other libraries cost: exported, and said where it is more than a core can give."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from prometheus_client import CollectorRegistry, Counter, Gauge

from ingest.contract.observe import log
from models.cost import Cost, Costs

_MOST_SHARE = 0.5
"""Of a core: the fold of all of a worker's partitions has one."""
_OVER_S = 60.0
_SAY_EVERY_S = 300.0


class ModelCosts:
    """Metrics by model, and a warning.

    monotonic_s: the time that passes, for rates. What a model takes is measured by the `costs`' own timer.
    """

    def __init__(self, registry: CollectorRegistry, costs: Costs, monotonic_s: Callable[[], float]) -> None:
        def counter(name: str, text: str) -> Counter:
            return Counter(f"millstream_worker_model_{name}", text, ["model"], registry=registry)

        self._log = log("worker")
        self._costs = costs
        self._monotonic_s = monotonic_s
        self._seconds = counter("seconds", "Time spent in models of other libraries.")
        self._readings = counter("readings", "Readings that models of other libraries have scored or learned.")
        self._rebuilds = counter("rebuilds", "Models of a sensor made anew from its last readings.")
        self._restarts = counter("restarts", "Models of a sensor that failed and began with nothing.")
        self._share = Gauge(
            "millstream_worker_model_core_ratio",
            "Share of a core that a model of another library took in the last minute.",
            ["model"],
            registry=registry,
        )
        self._shown: dict[str, Cost] = {}
        self._since_s = monotonic_s()
        self._then: dict[str, Cost] = {}
        self._said_s: dict[str, float] = {}

    def look(self) -> None:
        """Export what was added; once a minute, see how much of a core it was. Cheap, to be called often."""
        for name, cost in self._costs.all.items():
            before = self._shown.get(name, Cost())
            self._seconds.labels(name).inc(max(0.0, cost.seconds - before.seconds))
            self._readings.labels(name).inc(cost.readings - before.readings)
            self._rebuilds.labels(name).inc(cost.rebuilds - before.rebuilds)
            self._restarts.labels(name).inc(cost.restarts - before.restarts)
            self._shown[name] = replace(cost)
            if cost.restarts > before.restarts:
                self._say_restarts(name, cost.restarts)
        now_s = self._monotonic_s()
        if now_s - self._since_s < _OVER_S:
            return
        for name, cost in self._costs.all.items():
            self._see_share(name, cost, self._then.get(name, Cost()), now_s)
            self._then[name] = replace(cost)
        self._since_s = now_s

    def _see_share(self, name: str, cost: Cost, before: Cost, now_s: float) -> None:
        passed_s, seconds, readings = (
            now_s - self._since_s,
            cost.seconds - before.seconds,
            cost.readings - before.readings,
        )
        share = seconds / passed_s
        self._share.labels(name).set(share)
        if share > _MOST_SHARE and self._is_due(name, now_s):
            self._log.warning(
                "a model takes more of a core than it can be given: use it for fewer sensors, or add workers",
                model=name,
                core_ratio=round(share, 2),
                readings_per_s=round(readings / passed_s, 1),
                us_per_reading=round(1e6 * seconds / max(readings, 1), 1),
                most_readings_per_s=round(_MOST_SHARE * readings / seconds, 1),
            )

    def _say_restarts(self, name: str, restarts: int) -> None:
        if self._is_due(f"{name} restarts", self._monotonic_s()):
            self._log.warning("a model failed, and began anew for its sensor", model=name, restarts=restarts)

    def _is_due(self, what: str, now_s: float) -> bool:
        if now_s - self._said_s.get(what, -_SAY_EVERY_S) < _SAY_EVERY_S:
            return False
        self._said_s[what] = now_s
        return True
