"""Names for the variable levels of a topic: from their values where they say it, else from their position."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from ingest.discover.words import PLACES, stem

_POSITIONS = ("site", "area", "line", "machine")
# Labels that Millstream or Prometheus sets, and placeholders for what is in the payload.
_RESERVED = {"sensor", "window", "state", "class", "unit", "le", "quantile", "job", "instance", "field", "id"}
_MOST = 0.6


def name_levels(levels: Sequence[Sequence[str]], *, ends_in_quantity: bool) -> list[str]:
    """A name for each variable level, all different and fit for labels.

    levels: the values of each, from the left. ends_in_quantity: the last one is what is measured, not where.

    >>> name_levels([["line-01", "line-02"], ["press-01", "robot-01"], ["temperature"]], ends_in_quantity=True)
    ['line', 'machine', 'quantity']
    """
    places = levels[:-1] if ends_in_quantity else levels
    said = [_said(values) for values in places]
    names: list[str] = []
    for at, word in enumerate(said):
        # Positions count from the machine, which is the last place: a plant without sites begins with its lines.
        position = at - len(places) + len(_POSITIONS)
        usual = _POSITIONS[position] if position >= 0 else f"level_{at + 1}"
        later = {*said[at + 1 :]} - {None}
        wanted = [word] if word else [usual, *(p for p in _POSITIONS if p not in later), f"level_{at + 1}"]
        names.append(_free(wanted, names, later))
    return [*names, _free(["quantity"], names, set())] if ends_in_quantity else names


def _free(wanted: Sequence[str], taken: Sequence[str], later: set[str | None]) -> str:
    for name in wanted:
        if name not in taken and (len(wanted) == 1 or name not in later):
            return name
    number = 2
    while f"{wanted[0]}_{number}" in taken:
        number += 1
    return f"{wanted[0]}_{number}"


def _said(values: Sequence[str]) -> str | None:
    """The word that most values begin with, or a word for what they are."""
    stems = Counter(stem(value) for value in values)
    words: Counter[str] = Counter()
    numbered: Counter[str] = Counter()
    for one, count in stems.items():
        first = re.match(r"[a-z][a-z]*", one.lower())
        if first is None:
            continue
        word = first[0]
        known = PLACES.get(re.sub(r"\W+", "_", one.lower())) or PLACES.get(word)
        if known:
            words[known] += count
        elif "#" in one and len(word) > 1:
            numbered[word] += count
    enough = _MOST * len(values)
    for counter in (words, numbered):
        if counter and counter.most_common(1)[0][1] >= enough:
            word = counter.most_common(1)[0][0]
            return f"{word}_name" if word in _RESERVED else word
    return "device" if stems.get("#", 0) >= enough and len(values) > 1 and max(map(len, values)) >= 8 else None
