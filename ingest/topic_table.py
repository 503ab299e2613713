"""MQTT topics by number: their route, and the sensors that they and their payloads' fields name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ingest.contract.errors import QuarantineError, Reason
from ingest.contract.sensors import MAX_PATH_BYTES, TopicPattern, fill_field
from ingest.decoders import Decoder

_MAX_TOPICS_PER_SENSOR = 2  # routes may overlap; beyond this a topic is looked up anew each time


@dataclass(frozen=True, slots=True)
class Route:
    """A topic pattern and the decoder of its payloads. `name` labels its metrics."""

    name: str
    pattern: TopicPattern
    decoder: Decoder


class _Numbers(dict[bytes, int]):
    """topic → its number; a new topic is resolved on first sight (dict calls `__missing__`)."""

    def __init__(self, resolve: Callable[[bytes], int]) -> None:
        self._resolve = resolve

    def __missing__(self, topic: bytes) -> int:
        return self._resolve(topic)


class TopicTable:
    """Topics of one connection. Bounded: `forget_surplus` empties it when it outgrows `max_sensors`.

    By topic number: route (-1: none), sensor (-1: depends on the field, or there is none), what is wrong with it.
    by_field: the sensor by topic number and field.
    """

    def __init__(self, routes: Sequence[Route], number_of: Callable[[str], int], max_sensors: int) -> None:
        self._routes = list(routes)
        self._number_of = number_of
        self._most = _MAX_TOPICS_PER_SENSOR * max_sensors
        self.numbers = _Numbers(self._resolve)
        self.route_of: list[int] = []
        self.sensor_of: list[int] = []
        self.wrong_with: list[QuarantineError | None] = []
        self._template_of: list[str] = []
        self.by_field: dict[tuple[int, str | None], int] = {}
        self._remembered_bytes = 0

    def _resolve(self, topic: bytes) -> int:
        """Number a topic that was not met before."""
        number = len(self.route_of)
        self.numbers[topic] = number
        route, sensor, template, wrong = -1, -1, "", None
        try:
            text = topic.decode()
            for at, one in enumerate(self._routes):
                path = one.pattern.match(text)
                if path is None:
                    continue
                route, template = at, path
                if not one.pattern.per_field:
                    sensor = self._number_of(path)
                break
        except UnicodeDecodeError:
            wrong = QuarantineError(Reason.NAME, "a topic that is not UTF-8")
        except QuarantineError as error:
            wrong = error.with_traceback(None)
        self._remembered_bytes += len(topic) + len(template)
        self.route_of.append(route)
        self.sensor_of.append(sensor)
        self._template_of.append(template)
        self.wrong_with.append(wrong)
        return number

    def resolve_field(self, topic: int, field: str | None) -> int | QuarantineError:
        """The sensor that a field of a topic's payload names, or what is wrong with it. See `by_field` first."""
        # Not raised: a stored error that is raised again keeps every frame it came through.
        if wrong := self.wrong_with[topic]:
            return wrong
        try:
            number = self._number_of(fill_field(self._template_of[topic], field or ""))
        except QuarantineError as error:
            return error.with_traceback(None)
        self.by_field[topic, field] = number
        return number

    def forget_surplus(self) -> None:
        """Between batches: topics that name no sensor (no route, bad names, over budget) must not fill memory either.

        Nor long ones, nor the many spellings of one sensor (`a.b` and `a/b` are the same id).
        """
        if max(len(self.route_of), len(self.by_field), self._remembered_bytes // MAX_PATH_BYTES) > self._most:
            self._remembered_bytes = 0
            self.numbers.clear()
            self.by_field.clear()
            for column in (self.route_of, self.sensor_of, self._template_of, self.wrong_with):
                column.clear()
