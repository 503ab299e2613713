"""What the settings say that changes the fold: classes, tags and limits, as one value that travels in the log.

As bytes it is canonical JSON, compressed with zstd. Only what differs from its default is written, so a newer
program's options are no hindrance to an older one until somebody chooses them; and a default is part of the format: a
version that changes one has to count FORMAT up and read the old one as it was meant.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from typing import Any

import cramjam
import numpy as np
from pydantic import ValidationError

import models
from ingest.contract.class_settings import ClassSettings
from ingest.contract.errors import IncompatibleError, QuarantineError, Reason
from ingest.contract.sensors import check_path
from ingest.contract.settings import Settings
from ingest.contract.tags import Tag

FORMAT = 3
MAX_BYTES = 64 * 2**20
"""Of the JSON: about 500,000 tags."""
DAY_US = 86_400_000_000
_LEVEL = 9
_LARGEST = 2**62
# In format 1, silence was no signal, and gauges had two models.
_MODELS_1 = [{"name": "ewma_z"}, {"name": "running_range"}]
_RULES_1 = [{"name": "anomaly", "above": 1.0, "hysteresis": 0.2}]
# In format 2, nobody was stuck.
_MODELS_2 = [{"name": "running_range"}, {"name": "time_of_day"}, {"name": "ewma_horizons"}]
# What pydantic calls a word that this program does not know: a key, or one of a closed set.
_NEWER = frozenset({"extra_forbidden", "literal_error", "enum"})


@dataclass(frozen=True, slots=True)
class Definitions:
    """future_us: how far ahead of its arrival a reading may be. max_sensors: of one partition.

    forget_us: a sensor that nothing was heard of for so long loses its slot.
    backlog_us: what was on its way for longer is backlog. A minute: longer than a broker takes to change its leader,
    shorter than what people would call late.
    alerts_per_day: the plant's budget.
    """

    classes: Sequence[ClassSettings]
    max_sensors: int
    future_us: int
    tags: Mapping[str, Tag] = field(default_factory=dict)
    forget_us: int = 30 * DAY_US
    backlog_us: int = 60_000_000
    alerts_per_day: int = 20
    _json: list[bytes] = field(default_factory=list, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "classes", tuple(self.classes))

    @classmethod
    def of(cls, settings: Settings, tags: Mapping[str, Tag] | None = None) -> Definitions:
        """Those of a plant. tags: those of `plant.tags`, read."""
        worker = settings.worker
        return cls(
            settings.classes,
            settings.plant.max_sensors,
            worker.future,
            tags or {},
            forget_us=worker.forget,
            backlog_us=worker.backlog,
            alerts_per_day=settings.plant.alerts_per_day,
        )

    @property
    def digest(self) -> str:
        """16 hexadecimal digits: equal for equal definitions, whoever computes it.

        >>> one, same = Definitions((), 5, 1), Definitions((), 5, 1)
        >>> one.digest == same.digest != Definitions((), 6, 1).digest
        True
        """
        return hashlib.blake2b(self._canonical(), digest_size=8).hexdigest()

    def to_bytes(self) -> bytes:
        """What `from_bytes` reads. The lines on which tags stood are not in it."""
        return bytes(cramjam.zstd.compress(self._canonical(), level=_LEVEL))

    def _canonical(self) -> bytes:
        if not self._json:
            content = {
                "format": FORMAT,
                "classes": [one.model_dump(mode="json", exclude_defaults=True) for one in self.classes],
                "tags": [_tag_row(tag) for _, tag in sorted(self.tags.items())],
                **{one.name: value for one in _numbers() if (value := getattr(self, one.name)) != one.default},
            }
            text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
            self._json.append(text.encode())
        return self._json[0]

    @classmethod
    def from_bytes(cls, data: bytes, known_models: Collection[str] = models.TABLE) -> Definitions:
        """Read and check what `to_bytes` wrote.

        Raises QuarantineError(RECORD) for what is no such thing, and IncompatibleError for what only a newer program
        can mean: another format, an option, a model or a word of a closed set that this one does not know.
        """
        content = _inflated(data)
        number = content.pop("format", None)
        if type(number) is not int or number < 1:
            raise _bad("no format")
        if number > FORMAT:
            raise _newer(f"format {number}")
        if number == 1:
            _read_as(content, _MODELS_1, _RULES_1)
        elif number == 2:
            _read_as(content, _MODELS_2)
        classes = _classes(content.pop("classes", None), known_models)
        tags = _tags(content.pop("tags", None), {one.name for one in classes})
        numbers = {}
        for one in _numbers():
            value = content.pop(one.name, one.default)
            if type(value) is not int or not 0 <= value <= _LARGEST:
                raise _bad(f"{one.name}: not a number of its kind")
            numbers[one.name] = value
        if content:
            raise _newer(f"options {', '.join(sorted(content))[:200]!r}")
        found = cls(classes=classes, tags=tags, **numbers)
        try:
            found._canonical()
        except UnicodeEncodeError as error:
            raise _bad("a lone surrogate") from error
        return found


def _numbers() -> list[dataclasses.Field[Any]]:
    return [one for one in dataclasses.fields(Definitions) if one.name not in ("classes", "tags", "_json")]


def _tag_row(tag: Tag) -> list[str | float | None]:
    return [tag.path, tag.name, tag.unit, tag.low, tag.high, tag.class_name]


def _bad(detail: str) -> QuarantineError:
    return QuarantineError(Reason.RECORD, f"definitions: {detail}")


def _newer(what: str) -> IncompatibleError:
    return IncompatibleError(
        f"the log brings definitions with {what}, which this program does not know: upgrade this worker (nothing was "
        "skipped; it goes on from here)"
    )


def _inflated(data: bytes) -> dict[str, Any]:
    # Memory that is not written to is never there; a bomb finds its end.
    room = np.empty(MAX_BYTES, np.uint8)
    try:
        size = cramjam.zstd.decompress_into(data, room.data)
        content = json.loads(room[:size].tobytes(), parse_int=_integer)
    except (cramjam.DecompressionError, ValueError, RecursionError) as error:
        raise _bad(f"not readable: {error}"[:200]) from error
    if not isinstance(content, dict):
        raise _bad("not an object")
    return content


def _read_as(content: dict[str, Any], of_gauges: object, rules: object = None) -> None:
    """Say what was not said, as its default was another one then. of_gauges: models."""
    rows = content.get("classes")
    for row in rows if isinstance(rows, list) else []:
        if isinstance(row, dict):
            if rules is not None:
                row.setdefault("rules", rules)
            if row.get("kind", "gauge") == "gauge":
                row.setdefault("models", of_gauges)


def _integer(digits: str) -> int:
    """Raises ValueError for one that no program has written: what follows counts in 64 bits, or in floats."""
    number = int(digits)
    if not -(2**63) <= number < 2**63:
        raise ValueError("a whole number beyond 64 bits")
    return number


def _classes(rows: object, known_models: Collection[str]) -> tuple[ClassSettings, ...]:
    if not isinstance(rows, list):
        raise _bad("no classes")
    try:
        classes = tuple(ClassSettings.model_validate(row) for row in rows)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        said = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"[:200]
        raise (_newer(said) if first["type"] in _NEWER else _bad(said)) from error
    if not any("**" in one.match for one in classes):
        raise _bad("no class matches everything")
    if len({one.name for one in classes}) < len(classes):
        raise _bad("two classes of one name")
    for model in (model for one in classes for model in one.model_list):
        if model.name not in known_models and not model.name.startswith(models.RIVER):
            raise _newer(f"the model {model.name[:80]!r}")
    return classes


def _tags(rows: object, classes: Collection[str]) -> dict[str, Tag]:
    if not isinstance(rows, list):
        raise _bad("no tags")
    tags: dict[str, Tag] = {}
    for row in rows:
        match row:
            case [str(path), str(name), str(unit), None | float() | int(), None | float() | int(), str(class_name)]:
                low, high = (None if limit is None else float(limit) for limit in row[3:5])
            case _:
                raise _bad("a tag that is none")
        if any(limit is not None and not isfinite(limit) for limit in (low, high)):
            raise _bad("a tag's limit is not finite")
        if class_name and class_name not in classes:
            raise _bad("a tag of a class that there is not")
        try:
            check_path(path)
        except QuarantineError as error:
            raise _bad(f"a tag's path: {error.detail}") from error
        tags[path] = Tag(path, name, unit, low, high, class_name)
    if len(tags) < len(rows):
        raise _bad("a tag twice")
    return tags
