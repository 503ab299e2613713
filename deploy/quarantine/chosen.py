"""Which entries are meant: by id, or by what is known of them."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from ingest.contract.classes import glob
from ingest.contract.quarantine import Entry

_ID = re.compile(r"(\d{1,9})[/:](\d{1,18})")


def parse_id(text: str) -> tuple[int, int]:
    """(partition, offset) of an id as `ls` prints it. Raises ValueError.

    >>> parse_id("2/41")
    (2, 41)
    """
    match = _ID.fullmatch(text.strip())
    if match is None:
        raise ValueError("an id is partition/offset, like 2/41, as `millstream quarantine ls` prints it")
    return int(match[1]), int(match[2])


@dataclass(frozen=True, slots=True)
class Chosen:
    """What an entry has to be; what is left out does not matter.

    topic: a pattern of the MQTT topic, `*` within a level, `**` over any number of levels. since_us: arrived at or
    after. replayed: whether those that were replayed are meant too.
    """

    ids: frozenset[tuple[int, int]] = frozenset()
    reasons: frozenset[str] = frozenset()
    topic: str | None = None
    route: str | None = None
    since_us: int | None = None
    replayed: bool = False
    _topic: re.Pattern[str] | None = field(init=False, default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_topic", None if self.topic is None else glob(self.topic))

    @property
    def everything(self) -> bool:
        """Whether nothing was chosen."""
        return not (self.ids or self.reasons) and all(one is None for one in (self.topic, self.route, self.since_us))

    def fits(self, entry: Entry, *, replayed: bool) -> bool:
        """Whether an entry is meant. replayed: whether it was."""
        return (
            (self.replayed or not replayed)
            and (not self.ids or (entry.partition, entry.offset) in self.ids)
            and (not self.reasons or entry.reason in self.reasons)
            and (self.route is None or entry.route == self.route)
            and (self.since_us is None or entry.arrival_us >= self.since_us)
            and (self._topic is None or self._topic.fullmatch(entry.origin.decode(errors="replace")) is not None)
        )
