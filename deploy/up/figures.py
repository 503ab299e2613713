"""What the daemons say of themselves, in one row of numbers."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

_SCORE = re.compile(r'^millstream_sensor_score\{sensor="((?:[^"\\]|\\.)*)".*\} (\S+)$', re.MULTILINE)
_WORST = 5
FOLDED = ("folded", "out_of_order", "state", "masked")


@dataclass(frozen=True, slots=True)
class Figures:
    """Totals since the start, and where things stand. produced: by way of the spool too. empty: without readings."""

    received: int = 0
    produced: int = 0
    empty: int = 0
    readings_produced: int = 0
    quarantined: int = 0
    in_flight: int = 0
    folded: int = 0
    gated: int = 0
    sensors: int = 0
    lag_s: float = 0.0
    deliveries_pending: int = 0
    worst: list[tuple[str, float]] = field(default_factory=list)


class Reader:
    """Reads the pages of the daemons; a daemon that does not answer leaves its last figures."""

    def __init__(self, http: aiohttp.ClientSession, ports: dict[str, int]) -> None:
        self._http = http
        self._ports = ports
        self._last: dict[str, dict[tuple[str, str], float]] = {}
        self._worst: list[tuple[str, float]] = []

    async def read(self) -> Figures:
        """All of them, now."""
        for part, port in self._ports.items():
            text = await self._page(port, "/metrics")
            if text is not None:
                self._last[part] = _sums(text)
        scores = await self._page(self._ports["worker"], "/metrics/sensors")
        if scores is not None:
            found = [(sensor, float(score)) for sensor, score in _SCORE.findall(scores)]
            self._worst = sorted(found, key=lambda one: -one[1])[:_WORST]
        return self._figures()

    async def ready(self, part: str) -> str:
        """Empty when ready, else what it waits for."""
        try:
            async with self._http.get(f"http://127.0.0.1:{self._ports[part]}/readyz") as answer:
                return "" if answer.status == 200 else (await answer.text()).strip()
        except (aiohttp.ClientError, TimeoutError):
            return "starting"

    async def _page(self, port: int, path: str) -> str | None:
        try:
            async with self._http.get(f"http://127.0.0.1:{port}{path}") as answer:
                return await answer.text() if answer.status == 200 else None
        except (aiohttp.ClientError, TimeoutError):
            return None

    def _figures(self) -> Figures:
        gateway, worker = self._last.get("gateway", {}), self._last.get("worker", {})
        notifier = self._last.get("notifier", {})

        def total(sums: dict[tuple[str, str], float], name: str) -> int:
            return round(sum(value for (metric, _), value in sums.items() if metric == name))

        readings = {
            label: value for (metric, label), value in worker.items() if metric == "millstream_worker_readings_total"
        }
        lags = [value for (metric, _), value in worker.items() if metric == "millstream_worker_lag_seconds"]
        return Figures(
            received=total(gateway, "millstream_gateway_messages_received_total"),
            produced=total(gateway, "millstream_gateway_messages_produced_total")
            + total(gateway, "millstream_gateway_messages_spooled_total"),
            empty=total(gateway, "millstream_gateway_messages_dropped_total"),
            readings_produced=total(gateway, "millstream_gateway_readings_produced_total")
            + total(gateway, "millstream_gateway_readings_spooled_total"),
            quarantined=total(gateway, "millstream_gateway_messages_quarantined_total"),
            in_flight=total(gateway, "millstream_gateway_messages_in_flight"),
            folded=round(sum(readings.get(verdict, 0.0) for verdict in FOLDED)),
            gated=round(sum(value for verdict, value in readings.items() if verdict not in FOLDED)),
            sensors=total(worker, "millstream_worker_sensors"),
            lag_s=max(lags, default=0.0),
            deliveries_pending=total(notifier, "millstream_notifier_queue_depth"),
            worst=self._worst,
        )


def _sums(text: str) -> dict[tuple[str, str], float]:
    """Samples by name and verdict (or another first label's value)."""
    sums: dict[tuple[str, str], float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            key = (sample.name, sample.labels.get("verdict") or sample.labels.get("partition", ""))
            sums[key] = sums.get(key, 0.0) + sample.value
    return sums
