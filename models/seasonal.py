"""Seasonal: how far a reading is from what is usual at this time of day and week.

A day is divided into 48 bins. Once the time has left a bin, the mean of what was read in it is added to its level, so
a reading is held against former days only; between the middles of two bins the expectation is interpolated. Once enough
weeks are known, each day of the week has its own correction of the daily profile, by 84 bins. Far is measured by the
residuals' spread, over all bins or in the bin, whichever is wider: the hour in which a shift begins is never the same
to the minute.

Times are those of the site (`zone`), daylight saving included: people keep it, and so does what depends on them.

Source: the seasonal profile of P. R. Winters, "Forecasting Sales by Exponentially Weighted Moving Averages", Management
Science 6, 1960, with two seasons as in J. W. Taylor, "Short-term electricity demand forecasting using double seasonal
exponential smoothing", J. Oper. Res. Soc. 54, 2003. Cost: some 80 ns a reading, 1,536 bytes a sensor.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from models.compiled import bank, kernel
from models.options import positive
from models.resolution import see_move
from models.site_time import offsets_of, site_us

_US_PER_S = 1e6
_ZONE = 4  # where the zone begins in the parameters
_BINS = 48  # of a period; one bit each in `known`
_PERIODS = 7
_COARSE = 4  # bins that share a weekly correction
_WEEK_BINS = _PERIODS * _BINS // _COARSE
_MEMORY = 14.0  # periods
_WEEK_MEMORY = 4.0 * _COARSE
_USUAL_SIGMAS = 3.0

_STATE = np.dtype(
    [
        ("seen", np.int64),  # readings
        ("first", np.int64),  # the bin of the first reading, counted from 1970
        ("bin", np.int64),  # the present one
        ("count", np.int64),  # readings in it
        ("mean", np.float64),  # of them; what is far out counts as the rim of the usual
        ("squares", np.float64),  # mean square of their residuals
        ("known", np.int64),  # bit per bin of the day: it has a level
        ("judged", np.int64),  # visits of bins that had a level before
        ("outside", np.int64),  # the bin since which every reading was beyond the boundary; 0: the last was not
        ("variance", np.float64),  # of the residuals, over all bins
        ("last", np.float64),
        ("resolution", np.float64),
        ("level", np.float64, (_BINS,)),
        ("spread", np.float64, (_BINS,)),  # variance of the residuals
        ("week", np.float64, (_WEEK_BINS,)),  # what is to be added on this day of the week
    ]
)


@kernel
def _is_known(known: int, place: int) -> bool:
    return (known >> place) & 1 == 1


@kernel
def _expected(row: Any, local_us: int, bin_us: int, weeks: float) -> float:
    """The level at a time whose bin is known."""
    index = local_us // bin_us
    place = index % _BINS
    aside = (local_us % bin_us) / bin_us - 0.5
    other = (place + 1) % _BINS if aside > 0.0 else (place - 1) % _BINS
    level: float = row["level"][place] + 0.0
    if _is_known(row["known"], other):
        level += abs(aside) * (row["level"][other] - level)
    if index - row["first"] >= weeks * _PERIODS * _BINS:
        level += row["week"][index // _COARSE % _WEEK_BINS]
    return level


@kernel
def _sigma(row: Any, place: int) -> float:
    sigma: float = max(np.sqrt(max(row["variance"], row["spread"][place])), row["resolution"])
    return sigma


@kernel
def _learn_visit(row: Any, weeks: float) -> None:
    """Add what was read in a bin to what is known of it."""
    index = row["bin"] + 0
    place = index % _BINS
    if not _is_known(row["known"], place):
        row["level"][place] = row["mean"]
        row["spread"][place] = 0.0
        row["known"] |= 1 << place
        return
    periods = (index - row["first"]) // _BINS + 1.0
    row["judged"] += 1
    row["variance"] += max(1.0 / (_MEMORY * _BINS), 1.0 / row["judged"]) * (row["squares"] - row["variance"])
    row["spread"][place] += max(1.0 / _MEMORY, 1.0 / periods) * (row["squares"] - row["spread"][place])
    deviation = row["mean"] - row["level"][place]
    turn = index // _COARSE % _WEEK_BINS
    before = (index - row["first"]) // (_PERIODS * _BINS)
    visits = min(_COARSE * before + index % _COARSE + 1.0, _WEEK_MEMORY)
    if before >= weeks:
        # The correction is in force: the profile is what remains without it.
        row["level"][place] += (deviation - row["week"][turn]) / _MEMORY
    else:
        row["level"][place] += max(1.0 / _MEMORY, 1.0 / periods) * deviation
    row["week"][turn] += (deviation - row["week"][turn]) / visits


def _step(row: Any, ts_us: int, value: float, params: NDArray[np.float64]) -> float:
    bin_us, boundary_sigmas = int(params[0]), params[1]
    days, weeks = params[2], params[3]
    local_us = site_us(ts_us, params, _ZONE)
    index = local_us // bin_us
    place = index % _BINS
    if row["seen"] == 0:
        row["first"] = index
        row["bin"] = index
        row["count"] = 0
        row["known"] = 0
        row["judged"] = 0
        row["outside"] = 0
        row["mean"] = 0.0
        row["squares"] = 0.0
        row["variance"] = 0.0
        row["last"] = value
        for k in range(_WEEK_BINS):
            row["week"][k] = 0.0
    row["seen"] += 1
    score = 0.0
    residual = 0.0
    if _is_known(row["known"], place):
        expected = _expected(row, local_us, bin_us, weeks)
        residual = value - expected
        sigma = _sigma(row, place)
        if index - row["first"] >= days * _BINS and sigma > 0.0:
            score = abs(residual) / (boundary_sigmas * sigma)
            # What is far out teaches only as much as the rim of the usual.
            residual = min(max(residual, -_USUAL_SIGMAS * sigma), _USUAL_SIGMAS * sigma)
            value = expected + residual
    see_move(row, abs(value - row["last"]))
    row["last"] = value
    if score <= 1.0:
        row["outside"] = 0
    elif row["outside"] == 0:
        row["outside"] = index
    if index != row["bin"]:
        _learn_visit(row, weeks)
        row["bin"] = index
        row["count"] = 0
        row["mean"] = 0.0
        row["squares"] = 0.0
    row["count"] += 1
    row["mean"] += (value - row["mean"]) / row["count"]
    row["squares"] += (residual * residual - row["squares"]) / row["count"]
    if row["outside"] > 0 and index - row["outside"] >= _BINS:
        # Not a reading of a whole period was as it used to be: what is, is the usual now.
        row["seen"] = 0
    return min(score, 1e9)


def _band(row: Any, ts_us: int, params: NDArray[np.float64]) -> tuple[float, float]:
    bin_us, local_us = int(params[0]), site_us(ts_us, params, _ZONE)
    index = local_us // bin_us
    place = index % _BINS
    sigma = _sigma(row, place)
    if row["seen"] == 0 or index - row["first"] < params[2] * _BINS or sigma == 0.0:
        return np.nan, np.nan
    if not _is_known(row["known"], place):
        return np.nan, np.nan
    expected = _expected(row, local_us, bin_us, params[3])
    return expected - params[1] * sigma, expected + params[1] * sigma


_COMPILED, _BAND, _RUN = bank(_step, _band)


@dataclass(frozen=True, slots=True)
class Seasonal:
    """Options of the seasonal residual.

    boundary_sigmas: the residual that scores 1.0, in standard deviations of the residuals.
    days: periods before anything is scored. A whole week by default: a model that has not seen a weekend yet would cry
        wolf over the first one.
    weeks: weeks before each day of the week has its own correction.
    zone: the site's, as "Europe/Berlin"; daylight saving is followed.
    period_s: length of a day, for what repeats by another rhythm; a week is seven of them. At least 1 s.

    >>> model = Seasonal(days=2)
    >>> row = np.zeros(1, model.state)[0]
    >>> def reading(minute, add=0.0):
    ...     value = 20.0 + 5.0 * np.sin(minute * np.pi / 720.0) + minute * 7 % 5 * 0.1 + add
    ...     return model.step(row, minute * 60_000_000, value, model.params)
    >>> usual = [reading(minute) for minute in range(6 * 1_440)]
    >>> max(usual) < 1.0 < reading(6 * 1_440, 5.0)
    True
    """

    boundary_sigmas: float = 10.0
    days: int = 7
    weeks: int = 3
    zone: str = "UTC"
    period_s: float = 86_400.0

    BINS: ClassVar[int] = _BINS
    """Of a period: with a mean and a spread each, and a correction for every fourth on each of seven, a row has
    1,536 bytes."""
    state: ClassVar[np.dtype[Any]] = _STATE
    step: ClassVar[Any] = staticmethod(_COMPILED)
    band: ClassVar[Any] = staticmethod(_BAND)
    run: ClassVar[Any] = staticmethod(_RUN)

    def __post_init__(self) -> None:
        positive(boundary_sigmas=self.boundary_sigmas)
        if self.days < 2:
            raise ValueError("days must be at least 2")
        if self.weeks < 1:
            raise ValueError("weeks must be at least 1")
        offsets_of(self.zone)
        if not 1.0 <= self.period_s <= 366.0 * 86_400.0:
            raise ValueError("period_s must be between 1 and 31622400")

    @property
    def params(self) -> NDArray[np.float64]:
        """Length of a bin in µs, boundary_sigmas, days, weeks, and the zone's offsets."""
        bin_us = self.period_s * _US_PER_S // _BINS
        own = [bin_us, self.boundary_sigmas, self.days, self.weeks]
        return np.array([*own, *offsets_of(self.zone)], np.float64)
