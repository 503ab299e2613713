"""Waveforms → readings: one for each feature, at a sensor of its own beside the waveform's."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ingest.batch import RawWaveform
from ingest.contract.errors import QuarantineError, Reason
from ingest.contract.waveform_options import WaveformOptions
from ingest.decoders import Decoded
from ingest.rows import Rows
from ingest.sensor_table import SensorTable
from ingest.sensor_values import SensorValues
from ingest.waveforms import feature_sensors, features

_NO_WAVEFORM = QuarantineError(
    Reason.TYPE, 'an array, and the sensor\'s class is no waveform (kind = "waveform", and [class.waveform])'
)

# Of a record besides its samples: the sensor, the schema, headers.
_RECORD_BYTES = 4_096


@dataclass(frozen=True, slots=True)
class Arrays:
    """What arrays became. wrong: by row of the decoded columns, instead of readings or of the waveform in `raw`."""

    rows: Rows
    raw: list[RawWaveform]
    wrong: dict[int, QuarantineError]


class ArrayFeatures:
    """Features by sensor number.

    max_record_bytes: a waveform whose samples would make a larger record is not kept, and its message refused with
    TOO_LARGE; it has its features all the same.
    """

    def __init__(self, sensors: SensorTable, values: SensorValues, max_record_bytes: int) -> None:
        self._sensors = sensors
        self._max_samples = max(0, max_record_bytes - _RECORD_BYTES) // 8
        self._values = values
        self._numbers: dict[int, dict[str, int]] = {}

    def take(self, decoded: Decoded, message: NDArray[np.intp], sensor: NDArray[np.int32]) -> Arrays:
        """The arrays of a burst, in the order of their rows. message, sensor: shape (rows,)."""
        at: list[int] = []
        numbers: list[int] = []
        found: list[float] = []
        raw: list[RawWaveform] = []
        wrong: dict[int, QuarantineError] = {}
        for row, waveform in sorted(decoded.waveforms.items()):
            number = int(sensor[row])
            if number < 0:
                continue
            options = self._values.profile(number).waveform
            if options is None:
                wrong[row] = _NO_WAVEFORM
                continue
            scaling = self._values.scale(number, decoded.unit[row] if decoded.unit is not None else None)
            if isinstance(scaling, QuarantineError):
                wrong[row] = scaling
                continue
            try:
                beside = self._beside(number, options)
                samples = waveform.samples * scaling[0] + scaling[1]
                rate_hz = waveform.rate_hz or options.rate_hz
                by_name = features(samples, rate_hz, options)
            except QuarantineError as error:
                wrong[row] = error.with_traceback(None)
                continue
            at += [row] * len(by_name)
            numbers += [beside[name] for name in by_name]
            found += by_name.values()
            if options.keep_raw and samples.size > self._max_samples:
                wrong[row] = QuarantineError(
                    Reason.TOO_LARGE, f"{samples.size} samples, of which a record holds {self._max_samples}"
                )
            elif options.keep_raw:
                raw.append(
                    RawWaveform(
                        self._sensors.names[number],
                        decoded.ts_us[row],
                        rate_hz or 0.0,
                        samples,
                        int(message[row]),
                        next((beside[name] for name in by_name), -1),
                    )
                )
        rows = np.array(at, np.intp)
        flags = np.zeros(rows.size, np.uint8) if decoded.flags is None else np.array(decoded.flags, np.uint8)[rows]
        return Arrays(
            Rows(
                message[rows],
                np.array(numbers, np.int32),
                np.array(decoded.ts_us, np.int64)[rows],
                np.array(found, np.float64),
                np.array(decoded.quality, np.uint8)[rows],
                flags,
                None,
                None,
            ),
            raw,
            wrong,
        )

    def _beside(self, number: int, options: WaveformOptions) -> dict[str, int]:
        """The sensors of its features, by feature."""
        known = self._numbers.get(number)
        if known is None:
            names = feature_sensors(self._sensors.names[number], options)
            numbers = map(self._sensors.number_of, names)
            known = self._numbers[number] = dict(zip(options.names, numbers, strict=True))
        return known
