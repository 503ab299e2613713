"""The fold with river: rolling statistics and a Gaussian scorer per sensor, one JSON record per reading."""

from collections.abc import Iterable

import orjson

from tests.bench.baselines.worker_stock import ALERT_SCORE, Sensor


class RiverFold:
    """All sensors of a worker."""

    def __init__(self) -> None:
        self.sensors: dict[str, Sensor] = {}
        self.alerts = 0

    def fold(self, payloads: Iterable[bytes]) -> None:
        """One reading a record: `{"sensor": …, "ts": ms, "value": …}`."""
        for payload in payloads:
            reading = orjson.loads(payload)
            name = reading["sensor"]
            sensor = self.sensors.get(name)
            if sensor is None:
                sensor = self.sensors[name] = Sensor()
            if sensor.fold(reading["value"]) > ALERT_SCORE:
                self.alerts += 1
