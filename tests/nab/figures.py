"""The figures: how good the default models are on NAB's corpus, by its own measure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tests.nab import corpus
from tests.nab.corpus import Labelled
from tests.nab.product import default_plan, judged
from tests.nab.rule import detections
from tests.nab.scoring import LOW_FN, LOW_FP, STANDARD, Profile, false_alarms, gain, relative

PROFILES = {"nab_standard": STANDARD, "nab_low_fp": LOW_FP, "nab_low_fn": LOW_FN}
SPLITS = 6
_FINE, _FARTHEST = 0.01, 0.7  # steps, and how far from 1.0, of ln(boundary)
BOUNDARIES = np.exp(np.arange(-round(_FARTHEST / _FINE), round(_FARTHEST / _FINE) + 1) * _FINE)
"""Those that are tried for the best one of a profile; 1.0, the product's own, is the middle one."""
_ONE = len(BOUNDARIES) // 2

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Corpus:
    """All series, and what is gained on each with each boundary: by profile, shape (BOUNDARIES, series)."""

    series: list[Labelled]
    gains: dict[Profile, NDArray[np.float64]]
    windows: NDArray[np.int64]

    def scores(self, profile: Profile, chosen: NDArray[np.intp] | slice = slice(None)) -> NDArray[np.float64]:
        """NAB's score of some of the series with each boundary, shape (BOUNDARIES,)."""
        windows = int(self.windows[chosen].sum())
        return np.array([relative(raw, windows, profile) for raw in self.gains[profile][:, chosen].sum(axis=1)])


@dataclass(frozen=True, slots=True)
class Line:
    """What came of a group of series at the boundary of 1.0."""

    group: str
    series: int
    windows: int
    found: int
    false_alarms: int
    score: float


def measured(series: Sequence[Labelled], say: Say = lambda line: None) -> tuple[Corpus, list[Line]]:
    """Let the product judge all series: what is gained, and a line per group."""
    plan = default_plan()
    found = []
    for at, one in enumerate(series, 1):
        found.append(judged(one, plan)[0])
        say(f"{at}/{len(series)} {one.name}")
    gains = {
        profile: np.array(
            [
                [gain(detections(score, one.at_us, boundary), one.windows, profile) for one, score in zip(series, found, strict=True)]
                for boundary in BOUNDARIES
            ]
        )
        for profile in PROFILES.values()
    }
    lines = []
    for group in sorted({one.group for one in series}):
        own = [(one, detections(score, one.at_us)) for one, score in zip(series, found, strict=True) if one.group == group]
        windows = sum(len(one.windows) for one, _ in own)
        raw = sum(gain(rows, one.windows, STANDARD) for one, rows in own)
        hits = sum(bool(rows[first : last + 1].any()) for one, rows in own for first, last in one.windows)
        wrong = sum(false_alarms(rows, one.windows) for one, rows in own)
        lines.append(Line(group, len(own), windows, hits, wrong, relative(raw, windows, STANDARD)))
    return Corpus(list(series), gains, np.array([len(one.windows) for one in series])), lines


def held_out(corpus_: Corpus) -> float:
    """Mean over split halves: the boundary that is best for one, by the score of the other."""
    chance, count = np.random.default_rng(1), len(corpus_.series)
    found = []
    for _ in range(SPLITS):
        order = chance.permutation(count)
        halves = order[: count // 2], order[count // 2 :]
        for chosen, other in (halves, halves[::-1]):
            best = int(np.argmax(corpus_.scores(STANDARD, chosen)))
            found.append(float(corpus_.scores(STANDARD, other)[best]))
    return float(np.mean(found))


def figures(corpus_: Corpus) -> dict[str, float]:
    """By name: NAB's three profiles, each with the boundary that suits it best, as NAB does; what is left of the first
    on series that had no say in that; and with the boundary as it is, nothing fitted to the corpus."""
    found = {name: float(corpus_.scores(profile).max()) for name, profile in PROFILES.items()}
    found["nab_held_out"] = held_out(corpus_)
    found["nab_at_one"] = float(corpus_.scores(STANDARD)[_ONE])
    return found


def best_boundary(corpus_: Corpus) -> float:
    """That of the standard profile."""
    return float(BOUNDARIES[np.argmax(corpus_.scores(STANDARD))])


def of_corpus(folder: Path | None = None, say: Say = lambda line: None) -> dict[str, float]:
    """The figures by name, for a bench; none where there is no corpus. Raises FileNotFoundError for a folder that is
    none."""
    place = corpus.find(folder)
    if place is None:
        say(f"nab: no corpus; set {corpus.VARIABLE} to a checkout of it")
        return {}
    return figures(measured(corpus.load(place), say)[0])
