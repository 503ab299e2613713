"""Units: what plants write → UCUM, and the way from one unit into another.

A unit that is not known for certain is refused, never guessed. UCUM's grammar and pint's figures come from ucumvert,
which is loaded when the first unit that is not a common one is met, or a conversion asked for (half a second: a
daemon calls `prepare` at its start).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ingest.contract.errors import QuarantineError, Reason
from ingest.contract.registry import did_you_mean
from ingest.contract.ucum import Known, understand
from ingest.contract.unit_names import AT_ITS_WORD, COMMON, MEANINGS, SPELLINGS, WORDS

MAX_UNIT_CHARACTERS: Final = 64
_REMEMBERED: Final = 4_096

_CHARACTERS: Final = str.maketrans(
    {"²": "2", "³": "3", "⁻": "-", "¹": "1", "·": ".", "⋅": ".", "×": ".", "∙": "."}
    | {"µ": "u", "μ": "u", "Ω": "Ohm", "\N{OHM SIGN}": "Ohm", "℃": "Cel", "℉": "[degF]", "\N{NO-BREAK SPACE}": " "}
)


@dataclass(frozen=True, slots=True)
class Conversion:
    """`target value = source value × scale + offset`."""

    scale: float
    offset: float

    @property
    def identical(self) -> bool:
        """Whether it changes nothing."""
        return self.scale == 1.0 and self.offset == 0.0

    def apply(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """The values in the target unit: a new array, or the same one where nothing changes. NaN stays NaN.

        What leaves the range of a float64 becomes infinite, as in any arithmetic; nothing is warned of.
        """
        if self.identical:
            return values
        with np.errstate(over="ignore", invalid="ignore"):
            return values * self.scale + self.offset


IDENTITY: Final = Conversion(1.0, 0.0)


def canonical(unit: str) -> str:
    """The unit in UCUM, from UCUM or from what plants write.

    Raises QuarantineError(UNIT): empty, over 64 characters, unknown, or with several meanings ("C": a degree Celsius
    to some, a coulomb to UCUM).

    >>> canonical("°C"), canonical("m³/h"), canonical("RPM"), canonical("mm/s")
    ('Cel', 'm3/h', '1/min', 'mm/s')
    """
    meaning, problem = _meaning(_within_length(unit))
    if problem:
        raise QuarantineError(Reason.UNIT, problem)
    return meaning


def conversion(source: str, target: str) -> Conversion:
    """The way from one unit into another; either in UCUM or as plants write it.

    A source with several meanings is read as the one that the target allows, if it allows just one: "C" is a degree
    Celsius where the target is K, and itself where the target is "C". Equal units give exactly (1.0, 0.0). Rates of
    temperature (Cel/min) are differences. Results are remembered, refusals too.

    Raises QuarantineError(UNIT): a unit is unknown or has several meanings, or they measure different things.

    >>> conversion("bar", "kPa")
    Conversion(scale=100.0, offset=0.0)
    """
    found = _conversion(_within_length(source), _within_length(target))
    if isinstance(found, str):
        raise QuarantineError(Reason.UNIT, found)
    return found


def check_unit(text: str) -> str:
    """A unit in the settings, in UCUM; "" (not known) stays. Raises ValueError, with a suggestion where one is near."""
    if not text.strip():
        return ""
    try:
        return canonical(text)
    except QuarantineError as error:
        near = "" if len(text) > MAX_UNIT_CHARACTERS else did_you_mean(text.strip(), [*SPELLINGS, *COMMON, *WORDS])
        raise ValueError(f"{error.detail}{near}; units are written in UCUM: Cel, bar, mm/s, 1/min, kW.h") from error


def prepare() -> None:
    """Load what conversions need, now rather than at the first one."""
    understand("K")


def _within_length(unit: str) -> str:
    # Before anything is remembered or parsed: what comes from outside may be of any size.
    if len(unit) > MAX_UNIT_CHARACTERS:
        raise QuarantineError(Reason.UNIT, f"a unit of {len(unit)} characters, at most {MAX_UNIT_CHARACTERS}")
    return unit


@lru_cache(maxsize=_REMEMBERED)
def _meanings(unit: str) -> tuple[str, ...] | str:
    """What a spelling can stand for, in UCUM; or what is wrong with it."""
    text = unit.strip()
    for candidate in (text, _tidy(text)):
        if candidate in MEANINGS:
            return MEANINGS[candidate]
        if candidate in SPELLINGS:
            return (SPELLINGS[candidate],)
        if candidate in COMMON:
            return (candidate,)
    text = _tidy(text)
    if not text:
        return "no unit"
    if text in WORDS:
        return (WORDS[text],)
    problem = understand(text)
    if not isinstance(problem, str):
        return (text,)
    # What UCUM does not have in this case (`BAR`) can only be the word.
    word = WORDS.get(text.casefold())
    return (word,) if word else problem


def _meaning(unit: str) -> tuple[str, str]:
    """The one thing a spelling stands for, and ""; or "" and what is wrong with it."""
    meanings = _meanings(unit)
    if isinstance(meanings, str):
        return "", meanings
    if len(meanings) == 1 or meanings[0] in AT_ITS_WORD:
        return meanings[0], ""
    return "", _several(unit, meanings)


def _several(unit: str, meanings: tuple[str, ...]) -> str:
    return f"{unit.strip()!r} has several meanings: {', '.join(meanings)}"


def _tidy(text: str) -> str:
    """Typography → UCUM's characters.

    >>> _tidy("µm/s²"), _tidy("kg / m^3"), _tidy("°C/min"), _tidy("m3/hr")
    ('um/s2', 'kg/m3', 'Cel/min', 'm3/h')
    """
    # UTF-8 that was taken for Latin-1 on its way.
    for wrong in ("Â°", "Â²", "Â³", "Âµ", "Â·"):
        text = text.replace(wrong, wrong[1])
    text = re.sub(r"[°º˚]\s*([CF])(?![A-Za-z])", lambda found: {"C": "Cel", "F": "[degF]"}[found[1]], text)
    text = re.sub(r"[°º˚]", "deg", text).translate(_CHARACTERS)
    text = re.sub(r"\s*([/.*])\s*", r"\1", text.strip())
    text = re.sub(r"(?<=[A-Za-z\])])(?:\^|\*\*)(?=[-+]?\d)", "", text)
    text = re.sub(r"(?<=[A-Za-z\]0-9])(?<!10)\*(?=[A-Za-z(\[])", ".", text)
    return re.sub(r"/(sec|second|hr|hour|minute)$", lambda found: "/" + WORDS[found[1]], text)


@lru_cache(maxsize=_REMEMBERED)
def _conversion(source: str, target: str) -> Conversion | str:
    sources = _meanings(source)
    wanted, problem = _meaning(target)
    if isinstance(sources, str):
        return sources
    if source.strip() == target.strip():
        return IDENTITY  # the same thing, whichever of its meanings it has
    if problem:
        return problem
    if sources == (wanted,):
        return IDENTITY
    goal = understand(wanted)
    if isinstance(goal, str):
        return goal
    # The tables hold nothing that is not known; what they do not hold was looked up before.
    ways = [one for one in map(understand, sources) if isinstance(one, Known) and one.fits(goal)]
    if not ways:
        return f"{source.strip()!r} cannot be converted into {wanted!r}: another quantity"
    if len(ways) > 1:
        return _several(source, sources)
    scale, offset = ways[0].scale / goal.scale, (ways[0].zero - goal.zero) / goal.scale
    try:
        found = Conversion(float(scale), float(offset))
    except OverflowError:
        return f"{source.strip()!r} → {wanted!r}: beyond all numbers"
    if not found.scale:
        return f"{source.strip()!r} → {wanted!r}: beyond all numbers"
    return IDENTITY if found.identical else found
