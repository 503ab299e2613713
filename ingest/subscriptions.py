"""What the broker keeps subscribed for a session, and how that becomes what is wanted. Pure: no network, no file.

A persistent session outlives the gateway, and with it every filter that was ever subscribed: one that has gone from
the settings would go on filling the queue. A client cannot ask which filters its session has, so they are remembered.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

# Some brokers take no more filters than this in one packet.
_AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class Subscription:
    """A topic filter and its QoS."""

    filter: str
    qos: int


@dataclass(frozen=True, slots=True)
class Request:
    """One packet to the broker: SUBSCRIBE, or UNSUBSCRIBE if `gone`."""

    subscriptions: tuple[Subscription, ...]
    gone: bool


class SessionFilters:
    """The filters of one session, over its connections and over restarts.

    remembered: filters that an earlier life may have left in the MQTT session. remember: told all that the session may
    hold, whenever that changes: before a filter is subscribed and after the broker has confirmed that it is gone. Who
    stores that, and gives it back as `remembered`, loses track of no filter at whatever moment the process dies.
    """

    def __init__(
        self,
        wanted: Iterable[Subscription],
        remembered: Iterable[str] = (),
        remember: Callable[[list[str]], None] | None = None,
    ) -> None:
        self._wanted: dict[str, int] = {}
        self._held = {one for one in remembered if one}
        # On this connection: asked for and not asked back since; asked to go, not answered and not wanted again since.
        self._asked: dict[str, int] = {}
        self._leaving: dict[str, Request] = {}
        self._told = sorted(self._held)
        self._remember = remember
        self.want(wanted)

    @property
    def held(self) -> list[str]:
        """All filters that the broker may hold for our MQTT session, sorted."""
        return sorted(self._held)

    def want(self, wanted: Iterable[Subscription]) -> None:
        """What is to be subscribed from now on; of one filter given twice, the higher QoS."""
        self._wanted = {}
        for one in wanted:
            self._wanted[one.filter] = max(one.qos, self._wanted.get(one.filter, 0))

    def connected(self, session_present: bool) -> list[Request]:
        """What to ask for on a new connection: all that is wanted (its QoS may have changed), and what is to go."""
        if not session_present:
            self._held.clear()
        self._asked, self._leaving = {}, {}
        return self.changes()

    def changes(self) -> list[Request]:
        """What to ask for on this connection now, taken as asked: what is new comes first, so nothing falls between."""
        new = [Subscription(name, qos) for name, qos in self._wanted.items() if self._asked.get(name) != qos]
        gone = [Subscription(name, 0) for name in self.held if name not in self._wanted and name not in self._leaving]
        for one in new:
            self._asked[one.filter] = one.qos
            self._leaving.pop(one.filter, None)
            self._held.add(one.filter)
        leaving = _packets(gone, gone=True)
        for request in leaving:
            for one in request.subscriptions:
                self._asked.pop(one.filter, None)
                self._leaving[one.filter] = request
        self._tell()
        return [*_packets(new, gone=False), *leaving]

    def answered(self, request: Request, refused: Sequence[str]) -> None:
        """The broker has answered; `refused` are the filters it would not take, or not let go."""
        for one in request.subscriptions:
            if not request.gone:
                if one.filter in refused:
                    # What it was before is not known: it stays among those that may be held.
                    self._asked.pop(one.filter, None)
            elif self._leaving.get(one.filter) is request:  # or it was wanted again, and perhaps not, after this
                del self._leaving[one.filter]
                if one.filter not in refused:
                    self._held.discard(one.filter)
        self._tell()

    def give_up(self, refused: Iterable[str]) -> None:
        """Do not ask for these again."""
        for name in refused:
            self._wanted.pop(name, None)

    def _tell(self) -> None:
        if self._remember is not None and self._told != self.held:
            self._told = self.held
            self._remember(self.held)


def _packets(subscriptions: list[Subscription], *, gone: bool) -> list[Request]:
    starts = range(0, len(subscriptions), _AT_ONCE)
    return [Request(tuple(subscriptions[start : start + _AT_ONCE]), gone) for start in starts]
