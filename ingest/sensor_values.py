"""What decoded columns become at their sensors: values in the sensor's unit, doubted where the device would doubt them;
times judged by the device's clock."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ingest.contract.errors import QuarantineError
from ingest.contract.readings import Flag, Quality
from ingest.contract.sensors import machine_of
from ingest.decoders import Decoded
from ingest.decoders.base import Description
from ingest.device_clock import DeviceClocks, Judged
from ingest.profiles import Profile, Profiles
from ingest.rows import Rows
from ingest.sensor_table import SensorTable
from ingest.unit_table import UnitTable

_OLD_NEWS = np.uint8(Flag.RETAINED | Flag.HISTORICAL | Flag.REPLAYED)  # their delay tells nothing of the clock
# OPC UA Part 8, 6.3.3: a value outside the range that the device's maker or its engineer gave it.
OUT_OF_RANGE = "Uncertain_EngineeringUnitsExceeded"
_BEYOND = int(Flag.BEYOND_RANGE)
# What Ignition gives every tag until somebody sets it: to be doubted for, not to be refused for.
_NOBODYS = (0.0, 100.0)


class SensorValues:
    """Units and described ranges by sensor number, for all connections of a gateway."""

    def __init__(self, sensors: SensorTable, profiles: Profiles, max_devices: int = 100_000) -> None:
        self._sensors = sensors
        self._max_devices = max_devices
        self._described: dict[int, tuple[float, float]] = {}
        self._units = UnitTable()
        self.clocks = DeviceClocks(max_devices=max_devices)
        self.reconfigure(profiles)

    def reconfigure(self, profiles: Profiles) -> None:
        """Other settings hold from now on; what clocks were taken to be still does."""
        self._of = profiles
        self._profiles: list[Profile] = []
        self._units = UnitTable(self._units)
        known, self.clocks = self.clocks.snapshot(), DeviceClocks(max_devices=self._max_devices)
        self.clocks.restore(known)
        self._device = np.zeros(64, np.int32)

    def profile(self, sensor: int) -> Profile:
        """What the settings say of a sensor."""
        self._keep_up()
        return self._profiles[sensor]

    def _keep_up(self) -> None:
        met = len(self._profiles)
        if met == len(self._sensors):
            return
        device = []
        for name in self._sensors.names[met:]:
            profile = self._of.of(name)
            self._profiles.append(profile)
            self._units.add(profile)
            device.append(self.clocks.number(machine_of(name), profile.clock))
        if len(self._sensors) > self._device.size:
            grown = np.zeros(2 * len(self._sensors), np.int32)
            grown[:met] = self._device[:met]
            self._device = grown
        self._device[met : met + len(device)] = device

    def judge_times(self, rows: Rows, arrival_us: NDArray[np.int64]) -> Judged:
        """What the devices' own times are worth. arrival_us: shape (rows,)."""
        self._keep_up()
        return self.clocks.judge(self._device[rows.sensor], rows.ts_us, arrival_us, (rows.flags & _OLD_NEWS) == 0)

    def take(
        self, decoded: Decoded, sensor: NDArray[np.int32]
    ) -> tuple[NDArray[np.float64], dict[int, QuarantineError]]:
        """(values in their sensors' units, what is wrong by row).

        sensor: shape (rows,), -1 for none. Rows whose value is out of the range that their device described are
        marked so in `decoded`: by a flag, and as uncertain where they were good.
        """
        self._keep_up()
        if decoded.described:
            self._describe(decoded.described, decoded.field, sensor)
        if self._described:
            self._doubt(decoded, sensor)
        return self._units.convert(sensor, decoded.unit, np.array(decoded.value, np.float64))

    def scale(self, sensor: int, unit: str | None) -> tuple[float, float] | QuarantineError:
        """What an array's samples are multiplied with, and what is added; or what is wrong with their unit."""
        return self._units.of(sensor, unit)

    def _describe(
        self, descriptions: Sequence[Description], fields: Sequence[str | None], sensor: NDArray[np.int32]
    ) -> None:
        # A device describes what it sends in the same message.
        by_field = dict(zip(fields, sensor.tolist(), strict=True))
        for one in descriptions:
            number = by_field.get(one.field, -1)
            if number < 0:
                continue
            low = -np.inf if one.low is None else one.low
            high = np.inf if one.high is None else one.high
            if low < high and (low > -np.inf or high < np.inf):
                self._described[number] = (low, high)
            else:
                self._described.pop(number, None)

    def _doubt(self, decoded: Decoded, sensor: NDArray[np.int32]) -> None:
        described, beyond = self._described, list[int]()
        for row, (number, value) in enumerate(zip(sensor.tolist(), decoded.value, strict=True)):
            limits = described.get(number)
            # A NaN is not outside: what has no value is judged by its quality.
            if limits is not None and (value < limits[0] or value > limits[1]):
                if limits != _NOBODYS:
                    beyond.append(row)
                if decoded.quality[row] == Quality.GOOD:
                    decoded.quality[row] = int(Quality.UNCERTAIN)
                    decoded.code[row] = OUT_OF_RANGE
        if beyond:
            decoded.flags = decoded.flags or [0] * len(decoded.message)
            for row in beyond:
                decoded.flags[row] |= _BEYOND
