"""Every sensor met, by number: its name, its partition, and its youngest arrival stamp."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ingest.contract.errors import QuarantineError, Reason
from ingest.contract.partition import partition_of
from ingest.contract.sensors import check_path


class SensorTable:
    """Shared by all connections of a gateway, so that `max_sensors` bounds them together."""

    def __init__(self, partitions: int, max_sensors: int) -> None:
        self.max_sensors = max_sensors
        self._partitions = partitions
        self._numbers: dict[str, int] = {}
        self.names: list[str] = []
        self.partition_of = np.zeros(64, np.int32)
        self._last_stamp_us = np.zeros(64, np.int64)

    def __len__(self) -> int:
        return len(self.names)

    def number_of(self, path: str) -> int:
        """A sensor's number; a new one gets the next. Raises QuarantineError(NAME or OVER_BUDGET)."""
        number = self._numbers.get(path)
        if number is not None:
            return number
        check_path(path)
        number = len(self.names)
        if number >= self.max_sensors:
            raise QuarantineError(Reason.OVER_BUDGET, f"plant.max_sensors = {self.max_sensors}")
        if number >= self.partition_of.size:
            more = np.zeros(number, np.int64)
            self.partition_of = np.concatenate([self.partition_of, more.astype(np.int32)])
            self._last_stamp_us = np.concatenate([self._last_stamp_us, more])
        self._numbers[path] = number
        self.names.append(path)
        self.partition_of[number] = partition_of(path, self._partitions)
        return number

    def stamp(self, sensors: NDArray[np.int32], arrival_us: NDArray[np.int64]) -> NDArray[np.int64]:
        """Arrival times as sensors' times, strictly increasing per sensor, so that no two readings fall together."""
        last, stamps_us = self._last_stamp_us, np.empty(sensors.size, np.int64)
        for at, (sensor, arrived_us) in enumerate(zip(sensors.tolist(), arrival_us.tolist(), strict=True)):
            stamps_us[at] = last[sensor] = max(arrived_us, int(last[sensor]) + 1)
        return stamps_us
