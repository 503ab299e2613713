"""Time of day: whether the last readings together are unlikely for this hour, though none of them may be on its own.

A day is divided into 24 bins. Once the time has left a bin, its mean moves the bin's level by a part of what that was
off, so readings are held against former days only. What lies between the levels of the bin and of the one that is
nearer in time is as expected, be it a slow rhythm or a shift that begins half an hour sooner or later than it usually
does. A short mean of what readings are off is judged by how far it has been off lately: days and hours that are hard to
foresee have a wide boundary, and what follows the clock has a narrow one. It knows the rhythm after a day, and four
hours later how well.

An excursion that is over widens the boundary a little, for a month: of what comes again and again the first few are
reported. Where every reading of three days was beyond the boundary, the model starts anew.

Times are those of the site (`zone`), daylight saving included. Of weeks it knows nothing: `seasonal` does, at four
times the memory.

Source: the seasonal profile of P. R. Winters, "Forecasting Sales by Exponentially Weighted Moving Averages", Management
Science 6, 1960; a short mean of the errors as in S. Ahmad, A. Lavin, S. Purdy, Z. Agha, "Unsupervised real-time anomaly
detection for streaming data", Neurocomputing 262, 2017, section 3.2. Cost: some 50 ns a reading, 320 bytes a sensor.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from models.compiled import bank, kernel
from models.options import at_least_2, positive
from models.resolution import see_move
from models.site_time import offsets_of, site_us

_US_PER_S = 1e6
_ZONE = 4  # where the zone begins in the parameters
_BINS = 24  # of a period; one bit each in `known`
_LEARNING = 0.3  # of a level, by each visit of its bin
_FEWEST = 4  # bins that were foreseen, before it is known how well: readings of one have much in common
_MEMORY = 3.0  # periods, of how far the short mean is off
_MOST = 0.001  # of that memory in one reading: it is a thousand readings at least
_USUAL_SIGMAS = 3.0
_FARTHEST = 2.0  # one reading moves the short mean so many boundaries away at most
_OVER = 0.5  # an excursion is over when the score is below this
_SHARE, _MARGIN = 0.1, 1.4  # of what the boundary lacked, when it is
_FORGIVEN = 30.0  # periods
_LOST = 3  # periods: a weekend is no reason to forget the rhythm

_STATE = np.dtype(
    [
        ("seen", np.int64),  # readings of known bins
        ("bin", np.int64),  # the present one, counted from 1970; 0: no reading yet
        ("count", np.int64),  # readings in it
        ("mean", np.float64),  # of them
        ("known", np.int64),  # bit per bin of the day: it has a level
        ("visits", np.int64),  # of known bins that are over
        ("at_us", np.int64),  # of the last reading of a known bin
        ("short", np.float64),  # mean of what the last readings were off
        ("usual", np.float64),  # long mean of it
        ("variance", np.float64),  # of its distance from that
        ("outside", np.int64),  # the bin since which every reading was beyond the boundary; 0: the last was not
        ("last", np.float64),
        ("resolution", np.float64),
        ("extra", np.float64),  # how much wider the boundary is than it was set, as a share of it, ...
        ("extra_us", np.int64),  # ... at that time
        ("peak", np.float64),  # the excursion's highest score by the boundary as set; 0: there is none
        ("level", np.float64, (_BINS,)),
    ]
)


@kernel
def _is_known(known: int, place: int) -> bool:
    return (known >> place) & 1 == 1


@kernel
def _expected(row: Any, place: int, through: float) -> tuple[float, float]:
    """Between what levels a reading is expected in a known bin of which a part has gone by, 0 to 1."""
    other = place + 1 if through > 0.5 else place - 1
    if other == _BINS:
        other = 0
    elif other < 0:
        other = _BINS - 1
    level: float = row["level"][place] + 0.0
    if not _is_known(row["known"], other):
        return level, level
    beside: float = row["level"][other] + 0.0
    return min(level, beside), max(level, beside)


@kernel
def _sigma(variance: float, resolution: float, alpha: float) -> float:
    """A quantised sensor's smallest step is the least that can mean anything; a mean resolves finer."""
    sigma: float = max(np.sqrt(variance), resolution * np.sqrt(alpha / (2.0 - alpha)))
    return sigma


@kernel
def _width(row: Any, ts_us: int, bin_us: int) -> float:
    """How much wider the boundary is than it was set."""
    if row["extra"] == 0.0:
        return 1.0
    left = 1.0 - (ts_us - row["extra_us"]) / (_FORGIVEN * _BINS * bin_us)
    width: float = 1.0 + row["extra"] * min(max(left, 0.0), 1.0)
    return width


def _step(row: Any, ts_us: int, value: float, params: NDArray[np.float64]) -> float:
    bin_us, boundary_sigmas = int(params[0]), params[1]
    alpha, warm_up = params[2], params[3]
    local_us = site_us(ts_us, params, _ZONE)
    index = local_us // bin_us
    place = index % _BINS
    if row["bin"] == 0:
        row["bin"] = index
        row["count"] = 0
        row["mean"] = 0.0
        row["known"] = 0
        row["visits"] = 0
        row["outside"] = 0
        row["seen"] = 0
        row["last"] = value
    score, read = 0.0, value
    if _is_known(row["known"], place):
        low, high = _expected(row, place, (local_us - index * bin_us) / bin_us)
        expected = min(max(value, low), high)
        off = value - expected
        width = _width(row, ts_us, bin_us)
        row["seen"] += 1
        if row["seen"] == 1:
            row["short"] = off
            row["usual"] = off
            row["variance"] = 0.0
            row["at_us"] = ts_us
        weight = max(alpha, 1.0 / row["seen"])
        distance = row["short"] + weight * (off - row["short"]) - row["usual"]
        sigma = _sigma(row["variance"], row["resolution"], alpha)
        usual = distance
        if row["seen"] > warm_up and row["visits"] >= _FEWEST and sigma > 0.0:
            boundary = boundary_sigmas * sigma
            score = abs(distance) / boundary
            # A sentinel must neither stay in the mean for longer than any other spike would, nor become the usual.
            if score > _FARTHEST:
                distance = min(max(distance, -_FARTHEST * boundary), _FARTHEST * boundary)
                value = expected + row["short"] + (row["usual"] + distance - row["short"]) / weight
            usual = min(max(distance, -_USUAL_SIGMAS * sigma), _USUAL_SIGMAS * sigma)
        row["short"] = row["usual"] + distance
        gain = max(min((ts_us - row["at_us"]) / (_MEMORY * _BINS * bin_us), _MOST), 1.0 / row["seen"])
        row["at_us"] = ts_us
        row["usual"] += gain * usual
        row["variance"] = (1.0 - gain) * (row["variance"] + gain * usual * usual)
        found = min(score, 1e9) / width
        if found > 1.0:
            row["peak"] = max(row["peak"], score)
        elif row["peak"] > 0.0 and found < _OVER:
            lacking = max(_MARGIN * row["peak"] - width, 0.0)
            row["extra"] = width - 1.0 + min(_SHARE * lacking, 0.5 * width)
            row["extra_us"] = ts_us
            row["peak"] = 0.0
        score = found
    if score <= 1.0:
        row["outside"] = 0
    elif row["outside"] == 0:
        row["outside"] = index
    see_move(row, abs(read - row["last"]))
    row["last"] = read
    if index != row["bin"]:
        before = row["bin"] % _BINS
        if _is_known(row["known"], before):
            row["level"][before] += _LEARNING * (row["mean"] - row["level"][before])
            row["visits"] += 1
        else:
            row["level"][before] = row["mean"]
            row["known"] |= 1 << before
        row["bin"] = index
        row["count"] = 0
        row["mean"] = 0.0
    row["count"] += 1
    row["mean"] += (value - row["mean"]) / row["count"]
    if row["outside"] > 0 and index - row["outside"] >= _LOST * _BINS:
        # For periods not a reading was as it used to be: what is, is the usual now.
        row["bin"] = 0
    return score


def _band(row: Any, ts_us: int, params: NDArray[np.float64]) -> tuple[float, float]:
    bin_us, local_us, alpha = int(params[0]), site_us(ts_us, params, _ZONE), params[2]
    sigma = _sigma(row["variance"], row["resolution"], alpha)
    if row["bin"] == 0 or row["seen"] < params[3] or row["visits"] < _FEWEST or sigma == 0.0:
        return np.nan, np.nan
    index = local_us // bin_us
    place = index % _BINS
    if not _is_known(row["known"], place):
        return np.nan, np.nan
    # The readings that bring the short mean to the boundary.
    gain = max(alpha, 1.0 / (row["seen"] + 1.0))
    room = params[1] * sigma * _width(row, ts_us, bin_us)
    low, high = _expected(row, place, (local_us - index * bin_us) / bin_us)
    least = row["short"] + (row["usual"] - room - row["short"]) / gain
    most = row["short"] + (row["usual"] + room - row["short"]) / gain
    return (low if least < 0.0 else high) + least, (high if most > 0.0 else low) + most


_COMPILED, _BAND, _RUN = bank(_step, _band)


@dataclass(frozen=True, slots=True)
class TimeOfDay:
    """Options of the time of day.

    boundary_sigmas: the short mean's distance that scores 1.0, in standard deviations of that distance.
    short: readings that the short mean is over, at least 2.
    warm_up: readings of hours that are known before anything is scored.
    zone: the site's, as "Europe/Berlin"; daylight saving is followed.
    period_s: length of a day, for what repeats by another rhythm. At least 1 s.

    >>> model = TimeOfDay()
    >>> row = np.zeros(1, model.state)[0]
    >>> def reading(minute, add=0.0):
    ...     value = 20.0 + 5.0 * np.sin(minute * np.pi / 720.0) + minute * 7 % 5 * 0.1 + add
    ...     return model.step(row, minute * 60_000_000, value, model.params)
    >>> usual = [reading(minute) for minute in range(4 * 1_440)]
    >>> odd = [reading(4 * 1_440 + minute, 2.0) for minute in range(20)]
    >>> max(usual) < 1.0 < max(odd)
    True
    """

    boundary_sigmas: float = 6.0
    short: int = 20
    warm_up: int = 150
    zone: str = "UTC"
    period_s: float = 86_400.0

    state: ClassVar[np.dtype[Any]] = _STATE
    step: ClassVar[Any] = staticmethod(_COMPILED)
    band: ClassVar[Any] = staticmethod(_BAND)
    run: ClassVar[Any] = staticmethod(_RUN)

    def __post_init__(self) -> None:
        positive(boundary_sigmas=self.boundary_sigmas)
        at_least_2(short=self.short, warm_up=self.warm_up)
        offsets_of(self.zone)
        if not 1.0 <= self.period_s <= 366.0 * 86_400.0:
            raise ValueError("period_s must be between 1 and 31622400")

    @property
    def params(self) -> NDArray[np.float64]:
        """Length of a bin in µs, boundary_sigmas, weight of the newest reading, warm_up, and the zone's offsets."""
        bin_us = self.period_s * _US_PER_S // _BINS
        own = [bin_us, self.boundary_sigmas, 2.0 / (self.short + 1.0), self.warm_up]
        return np.array([*own, *offsets_of(self.zone)], np.float64)
