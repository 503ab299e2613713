"""Which messages may be acknowledged: in the order received, contiguous, on their own connection.

MQTT wants PUBACKs in the order of the PUBLISHes (MQTT-4.6.0-2). Batches are confirmed by Kafka in any order, so a
batch is acknowledged only when all before it are. A message id means nothing outside the connection it came on.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass


@dataclass(slots=True, eq=False)
class Ticket:
    """The messages of a batch: how many, their size, and the ids of those that want a PUBACK."""

    epoch: int
    messages: int
    mids: list[bytes]
    size_bytes: int = 0
    settled: bool = False


class AckLedger:
    """All messages received and not yet finished."""

    def __init__(self) -> None:
        self._open: deque[Ticket] = deque()
        self.messages = 0
        """Messages in flight."""
        self.size_bytes = 0
        """Their size."""
        self.unacknowledged = 0
        """Of these, how many want a PUBACK on the current connection: what fills the broker's window."""
        self._epoch = 0

    def new_epoch(self, epoch: int) -> None:
        """A new connection: ids of older ones are void, but their batches still have to reach Kafka."""
        self._epoch = epoch
        self.unacknowledged = 0

    def open(self, epoch: int, messages: int, mids: list[bytes], size_bytes: int = 0) -> Ticket:
        """Messages were taken over, after all that were taken over before."""
        ticket = Ticket(epoch, messages, mids, size_bytes)
        self._open.append(ticket)
        self.messages += messages
        self.size_bytes += size_bytes
        if epoch == self._epoch:
            self.unacknowledged += len(mids)
        return ticket

    def settle(self, ticket: Ticket) -> list[bytes]:
        """The batch is safe. Returns the ids to acknowledge now, in order; those of older connections are left out.

        >>> ledger = AckLedger()
        >>> first, second = ledger.open(0, 1, [b"01"]), ledger.open(0, 1, [b"02"])
        >>> ledger.settle(second), ledger.settle(first)
        ([], [b'01', b'02'])
        """
        ticket.settled = True
        due: list[bytes] = []
        while self._open and self._open[0].settled:
            done = self._open.popleft()
            self.messages -= done.messages
            self.size_bytes -= done.size_bytes
            if done.epoch == self._epoch:
                due += done.mids
        self.unacknowledged -= len(due)
        return due
