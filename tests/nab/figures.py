"""The figures: how good the default models are on NAB's corpus, by its own measure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tests.nab import corpus
from tests.nab.corpus import Labelled
from tests.nab.product import alerts, default_plan, judged
from tests.nab.rule import detections
from tests.nab.scoring import LOW_FN, LOW_FP, STANDARD, Profile, false_alarms, gain, relative

PROFILES = {"nab_standard": STANDARD, "nab_low_fp": LOW_FP, "nab_low_fn": LOW_FN}
SPLITS = 6
_FINE, _FARTHEST = 0.01, 0.7  # steps, and how far from 1.0, of ln(boundary)
BOUNDARIES = np.exp(np.arange(-round(_FARTHEST / _FINE), round(_FARTHEST / _FINE) + 1) * _FINE)
"""Those that are tried for the best one of a profile; 1.0, the product's own, is the middle one."""

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Corpus:
    """All series, and what is gained on each with each boundary: by profile, shape (BOUNDARIES, series); and by what
    the product itself alerts people of, shape (series,)."""

    series: list[Labelled]
    gains: dict[Profile, NDArray[np.float64]]
    alerted: NDArray[np.float64]
    windows: NDArray[np.int64]

    def scores(self, profile: Profile, chosen: NDArray[np.intp] | slice = slice(None)) -> NDArray[np.float64]:
        """NAB's score of some of the series with each boundary, shape (BOUNDARIES,)."""
        windows = int(self.windows[chosen].sum())
        return np.array([relative(raw, windows, profile) for raw in self.gains[profile][:, chosen].sum(axis=1)])


@dataclass(slots=True)
class Line:
    """What came of a group of series by the product's own alerts."""

    group: str
    series: int = 0
    windows: int = 0
    found: int = 0
    false_alarms: int = 0
    gain: float = 0.0

    def add(self, one: Labelled, rows: NDArray[np.bool_], gained: float) -> None:
        """A series, its detections, and what they gained."""
        self.series += 1
        self.windows += len(one.windows)
        self.found += sum(bool(rows[first : last + 1].any()) for first, last in one.windows)
        self.false_alarms += false_alarms(rows, one.windows)
        self.gain += gained

    @property
    def score(self) -> float:
        """NAB's, of the standard profile."""
        return relative(self.gain, self.windows, STANDARD)


def measured(series: Sequence[Labelled], say: Say = lambda line: None) -> tuple[Corpus, list[Line]]:
    """Let the product judge all series: what is gained, and a line per group."""
    plan = default_plan()
    gains = {profile: np.empty((BOUNDARIES.size, len(series))) for profile in PROFILES.values()}
    alerted = np.empty(len(series))
    lines: dict[str, Line] = {}
    for at, one in enumerate(series):
        say(f"{at + 1}/{len(series)} {one.name}")
        score, _ = judged(one, plan)
        for which, boundary in enumerate(BOUNDARIES):
            rows = detections(score, one.at_us, boundary)
            for profile, gained in gains.items():
                gained[which, at] = gain(rows, one.windows, profile)
        rows = alerts(one, plan)
        alerted[at] = gain(rows, one.windows, STANDARD)
        lines.setdefault(one.group, Line(one.group)).add(one, rows, float(alerted[at]))
    windows = np.array([len(one.windows) for one in series])
    return Corpus(list(series), gains, alerted, windows), list(lines.values())


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
    on series that had no say in that; and by the alerts that people get, nothing fitted to the corpus."""
    found = {name: float(corpus_.scores(profile).max()) for name, profile in PROFILES.items()}
    found["nab_held_out"] = held_out(corpus_)
    found["nab_at_one"] = relative(float(corpus_.alerted.sum()), int(corpus_.windows.sum()), STANDARD)
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
