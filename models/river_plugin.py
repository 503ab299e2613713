"""river's anomaly detectors by name: `river:anomaly.HalfSpaceTrees`, with the options of its constructor and ours.

river takes seconds to import: that happens when a name or an option is looked at, so only where one is used.
"""

from __future__ import annotations

import inspect
import json
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from models import RIVER
from models.cost import Costs

if TYPE_CHECKING:
    from models.river_model import Detector, RiverModel

OURS = ("threshold", "epoch", "features")
_EPOCH = 512
_EPOCHS = (32, 2_048)
_FEATURES = ("value", "difference")
_UNIT = frozenset({"HalfSpaceTrees", "GaussianScorer", "PredictiveAnomalyDetection"})
"""Their scores are between 0 and 1."""
_SPANS = ("window_size", "grace_period", "warmup_period")
"""Options that are counts of readings which a detector has to remember."""
_MOST = 10_000
_MOST_HEIGHT = 16
_MOST_NODES = 65_536
_SEED = 1
_MADE = 64


def river_detectors() -> Mapping[str, type[Any]]:
    """The detectors there are, by their names in river. Raises ValueError where there is no river."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what river thinks of its own dependencies
            from river import anomaly, base
    except ImportError as error:
        raise ValueError("needs the package river, which is not installed: pip install 'millstream[river]'") from error
    kinds = (base.AnomalyDetector, base.SupervisedAnomalyDetector)
    found = {name: getattr(anomaly, name) for name in anomaly.__all__}
    return {f"anomaly.{name}": one for name, one in found.items() if issubclass(one, kinds)}


class RiverPlugIn:
    """What a registry asks about names that begin with RIVER. Models are shared: the same options, the same model.

    costs: where models write down what they cost. detectors: where they come from.
    """

    def __init__(
        self,
        costs: Costs | None = None,
        detectors: Callable[[], Mapping[str, type[Any]]] = river_detectors,
    ) -> None:
        self._costs = costs or Costs()
        self._detectors = detectors
        self._made: dict[str, RiverModel] = {}

    def names(self) -> Sequence[str]:
        """All there are. Raises ValueError where there is no river."""
        return [RIVER + name for name in self._detectors()]

    def options_of(self, name: str) -> Sequence[str]:
        """What can be set: ours, and those of river's constructor."""
        return [*OURS, *_parameters(self._class(name))]

    def create(self, name: str, options: Mapping[str, Any]) -> RiverModel:
        """A model. Raises ValueError with one line for each wrong option."""
        key = json.dumps([name, options], sort_keys=True, default=str)
        if key not in self._made:
            if len(self._made) >= _MADE:
                self._made.clear()
            self._made[key] = self._create(name, options)
        return self._made[key]

    def _class(self, name: str) -> type[Any]:
        return self._detectors()[name.removeprefix(RIVER)]

    def _create(self, name: str, options: Mapping[str, Any]) -> RiverModel:
        from models.river_model import Detector, RiverModel

        cls = self._class(name)
        parameters, unit = _parameters(cls), cls.__name__ in _UNIT
        supervised = "y" in inspect.signature(cls.score_one).parameters
        theirs = {key: value for key, value in options.items() if key not in OURS}
        epoch, threshold, features = options.get("epoch", _EPOCH), options.get("threshold"), options.get("features")
        problems = _wrong_ours(epoch, threshold, features, unit=unit, supervised=supervised)
        if not any(problem.startswith("epoch") for problem in problems):
            problems += _wrong_spans(parameters, theirs, epoch)
        if "limits" in parameters:
            problems += _wrong_limits(theirs.get("limits"))
        problems += [said for key, value in theirs.items() if key != "limits" and (said := _wrong(key, value))]
        if not problems:
            problems += _too_large(parameters, theirs)
        if problems:
            raise ValueError("\n".join(problems))
        chosen = tuple(features or _FEATURES[:1])
        detector = Detector(_maker(cls, parameters, theirs, chosen), supervised, unit, "difference" in chosen)
        _try_out(detector)
        return RiverModel(
            threshold=None if threshold is None else float(threshold),
            epoch=epoch,
            features=chosen,
            river=theirs,
            detector=detector,
            cost=self._costs.of(name),
            timer=self._costs.timer,
        )


def _parameters(cls: type[Any]) -> Mapping[str, inspect.Parameter]:
    return inspect.signature(cls).parameters


def _maker(
    cls: type[Any], parameters: Mapping[str, Any], options: Mapping[str, Any], features: Sequence[str]
) -> Callable[[], Any]:
    given = dict(options)
    if "seed" in parameters:
        # Without one, every object would be another.
        given.setdefault("seed", _SEED)
    if "limits" in given:
        low, high = map(float, given["limits"])
        every = {"value": (low, high), "difference": (low - high, high - low)}
        given["limits"] = {name: every[name] for name in features}
    return lambda: cls(**given)


def _is_number(value: object) -> bool:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    # Integers have no end, in TOML neither.
    return -(2**63) <= value < 2**63 if isinstance(value, int) else math.isfinite(value)


def _wrong_ours(epoch: object, threshold: object, features: object, *, unit: bool, supervised: bool) -> list[str]:
    problems = []
    least, most = _EPOCHS
    if not isinstance(epoch, int) or isinstance(epoch, bool) or not least <= epoch <= most:
        problems.append(f"epoch: should be a whole number of readings from {least} to {most:,}")
    if threshold is not None:
        ends = 1.0 if unit else math.inf
        if not _is_number(threshold) or not 0.0 < float(str(threshold)) < ends:
            between = "between 0 and 1, as its scores are" if unit else "above 0"
            problems.append(f"threshold: should be a raw score of this detector, {between}")
    if features is None:
        return problems
    if supervised:
        problems.append("features: this detector is told the value, there is nothing to choose")
    elif (
        not isinstance(features, list | tuple)
        or not features
        or any(one not in _FEATURES for one in features)
        or len(set(features)) < len(features)
    ):
        problems.append('features: should be ["value"], ["difference"] or ["value", "difference"]')
    return problems


def _wrong_spans(parameters: Mapping[str, inspect.Parameter], options: Mapping[str, Any], epoch: int) -> list[str]:
    problems = []
    for name in _SPANS:
        if name in parameters:
            span = options.get(name, parameters[name].default)
            if _is_number(span) and span > epoch:
                problems.append(f"{name}: should be at most epoch, and {span:,} is more than {epoch:,} readings")
    return problems


def _wrong_limits(limits: object) -> list[str]:
    match limits:
        case None:
            return ["limits: are needed, [lowest, highest]: models do not know their class's range"]
        case [int() | float() as low, int() | float() as high] if (
            _is_number(low) and _is_number(high) and low < high and _is_number(high - low)
        ):
            return []
        case _:
            return ["limits: should be [lowest, highest], two numbers"]


def _wrong(key: str, value: object) -> str | None:
    if isinstance(value, bool | str):
        return None
    if not _is_number(value):
        return f"{key}: should be a finite number, a word, or true or false; river's own objects cannot be written here"
    assert isinstance(value, int | float)
    if key == "seed":
        return None if isinstance(value, int) and 0 <= value < 2**31 else "seed: should be from 0 to 2,147,483,647"
    return None if abs(value) <= _MOST or isinstance(value, float) else f"{key}: should be at most {_MOST:,}"


def _too_large(parameters: Mapping[str, inspect.Parameter], options: Mapping[str, Any]) -> list[str]:
    """Trees that would not fit into memory, before anybody makes them."""
    trees, height = (
        options.get(name, parameters[name].default if name in parameters else None) for name in ("n_trees", "height")
    )
    if not isinstance(trees, int) or not isinstance(height, int):
        return [f"{name}: should be a whole number" for name in ("n_trees", "height") if name in options]
    if height > _MOST_HEIGHT or trees << (height + 1) > _MOST_NODES:
        return [f"n_trees, height: {trees} trees of height {height} have more than {_MOST_NODES:,} nodes, a sensor"]
    return [] if height >= 1 and trees >= 1 else ["n_trees, height: should be at least 1"]


def _try_out(detector: Detector) -> None:
    """Raises ValueError where river cannot work with its options."""
    try:
        one = detector.make()
        for value in (1.0, 2.0, 1.5):
            detector.learn(one, value, 1.0)
            detector.score(one, value, 1.0)
    except (KeyboardInterrupt, SystemExit, MemoryError):
        raise
    except BaseException as error:
        raise ValueError(f"options: river refuses them: {type(error).__name__}: {error}"[:300]) from error
