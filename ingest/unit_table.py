"""Readings in the units that their sensors are kept in, column by column.

A sensor's unit is its tag's, else its class's, else that of the first reading that names one. A value whose unit cannot
be converted into it is refused, never guessed.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ingest.contract.errors import QuarantineError, Reason
from ingest.contract.units import Conversion, conversion
from ingest.profiles import Profile

_SAME, _TOO_MANY = 0, 1
_MAX_CONVERSIONS = 4_096
_MAX_PAIRS_PER_SENSOR = 4  # beyond this, units are looked up anew: a device may send any number of spellings


class UnitTable:
    """Conversions by sensor number.

    before: the table of other settings: sensors keep the unit that they were met in, where the settings say none.
    """

    def __init__(self, before: UnitTable | None = None) -> None:
        self._before = [] if before is None else before.kept_in
        self._kept_in: list[str] = []
        self._believed: list[bool] = []
        self._default: list[int] = []
        self._pairs: dict[tuple[int, str], int] = {}
        # Conversion number → scale and offset, or what is wrong with it.
        self._scale, self._offset = [1.0, 1.0], [0.0, 0.0]
        self._wrong: list[QuarantineError | None] = [None, QuarantineError(Reason.UNIT, "too many different units")]
        self._numbers: dict[tuple[str, str], int] = {}
        self._any_default = False

    @property
    def kept_in(self) -> list[str]:
        """The unit of each sensor; "" while none was named."""
        return self._kept_in

    def add(self, profile: Profile) -> None:
        """The next sensor's profile."""
        number = len(self._kept_in)
        met_in = self._before[number] if number < len(self._before) and not profile.said else ""
        self._kept_in.append(profile.unit or met_in)
        self._believed.append(not profile.said)
        number = self._number(profile.said, profile.unit) if profile.said and profile.unit else _SAME
        self._default.append(number)
        self._any_default |= number != _SAME

    def convert(
        self, sensors: NDArray[np.int32], units: Sequence[str | None] | None, values: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], dict[int, QuarantineError]]:
        """(values in their sensors' units, what is wrong by row).

        sensors: shape (rows,), -1 for rows to leave alone.
        """
        if units is None and not self._any_default:
            return values, {}
        default = self._default
        chosen = [default[sensor] if sensor >= 0 else _SAME for sensor in sensors.tolist()]
        if units is not None:
            self._choose(chosen, sensors, units)
        index = np.array(chosen, np.int32)
        if not index.any():
            return values, {}
        wrong = {
            row: error for row in np.flatnonzero(index).tolist() if (error := self._wrong[chosen[row]]) is not None
        }
        return values * np.array(self._scale)[index] + np.array(self._offset)[index], wrong

    def of(self, sensor: int, unit: str | None) -> tuple[float, float] | QuarantineError:
        """(scale, offset) for one reading, or what is wrong with its unit."""
        chosen = [self._default[sensor]]
        self._choose(chosen, np.array([sensor], np.int32), [unit])
        wrong = self._wrong[chosen[0]]
        return (self._scale[chosen[0]], self._offset[chosen[0]]) if wrong is None else wrong

    def _choose(self, chosen: list[int], sensors: NDArray[np.int32], units: Sequence[str | None]) -> None:
        pairs = self._pairs
        for row, pair in enumerate(zip(sensors.tolist(), units, strict=True)):
            sensor, unit = pair
            if not unit or sensor < 0 or not self._believed[sensor]:
                continue
            number = pairs.get((sensor, unit))
            if number is None:
                number = self._meet(sensor, unit)
            chosen[row] = number

    def _meet(self, sensor: int, unit: str) -> int:
        """A unit that was not met before at this sensor."""
        if not self._kept_in[sensor]:
            self._kept_in[sensor] = unit
        # Equal texts are equal units, also where nobody knows what they mean.
        number = _SAME if unit == self._kept_in[sensor] else self._number(unit, self._kept_in[sensor])
        if len(self._pairs) > _MAX_PAIRS_PER_SENSOR * len(self._kept_in):
            self._pairs.clear()
        self._pairs[sensor, unit] = number
        return number

    def _number(self, source: str, target: str) -> int:
        known = self._numbers.get((source, target))
        if known is not None:
            return known
        wrong: QuarantineError | None = None
        found = Conversion(1.0, 0.0)
        try:
            found = conversion(source, target)
        except QuarantineError as error:
            wrong = error.with_traceback(None)
        if wrong is None and found == Conversion(1.0, 0.0):
            return _SAME
        if len(self._numbers) > _MAX_CONVERSIONS:
            return _TOO_MANY
        number = len(self._wrong)
        self._scale.append(found.scale)
        self._offset.append(found.offset)
        self._wrong.append(wrong)
        self._numbers[source, target] = number
        return number
