"""Whatever the order in which batches become safe: acknowledgements leave in the order received, once, and never
for a message of an older connection.
"""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, precondition, rule

from ingest.ledger import AckLedger, Ticket


class AckLedgerMachine(RuleBasedStateMachine):
    """The ledger beside a plain list of everything received."""

    tickets = Bundle("tickets")

    def __init__(self) -> None:
        super().__init__()
        self.ledger = AckLedger()
        self.epoch = 0
        self.received: list[Ticket] = []
        self.safe: set[int] = set()
        self.due: list[bytes] = []  # of this connection, in the order received
        self.acknowledged: list[bytes] = []  # on this connection
        self.next_mid = 0

    def mids(self, count: int) -> list[bytes]:
        self.next_mid += count
        return [(mid % 65_536).to_bytes(2, "big") for mid in range(self.next_mid - count, self.next_mid)]

    @rule(target=tickets, qos_1=st.integers(0, 4), qos_0=st.integers(0, 3))
    def receive(self, qos_1: int, qos_0: int) -> Ticket:
        mids = self.mids(qos_1)
        ticket = self.ledger.open(self.epoch, qos_1 + qos_0, mids)
        self.received.append(ticket)
        self.due += mids
        return ticket

    @rule(ticket=consumes(tickets))
    def settle(self, ticket: Ticket) -> None:
        self.safe.add(id(ticket))
        self.acknowledged += self.ledger.settle(ticket)

    @rule(restarts=st.booleans())
    def reconnect(self, restarts: bool) -> None:
        """Message ids may start again: the same two bytes then mean another message."""
        self.epoch += 1
        self.ledger.new_epoch(self.epoch)
        self.due, self.acknowledged = [], []
        if restarts:
            self.next_mid = 0

    @precondition(lambda self: self.received)
    @rule()
    def settle_all(self) -> None:
        """All that is open, the youngest first."""
        for ticket in reversed(self.received):
            if id(ticket) not in self.safe:
                self.settle(ticket)
        assert self.ledger.messages == 0
        assert self.ledger.unacknowledged == 0
        assert self.acknowledged == self.due

    @invariant()
    def acknowledged_are_the_first_received(self) -> None:
        assert self.acknowledged == self.due[: len(self.acknowledged)]

    @invariant()
    def acknowledged_is_all_that_may_be(self) -> None:
        due, open_messages, blocked = 0, 0, False
        for ticket in self.received:
            blocked = blocked or id(ticket) not in self.safe
            if blocked:
                open_messages += ticket.messages
            elif ticket.epoch == self.epoch:
                due += len(ticket.mids)
        assert len(self.acknowledged) == due
        assert self.ledger.messages == open_messages
        assert self.ledger.unacknowledged == len(self.due) - due


TestAckLedger = AckLedgerMachine.TestCase
TestAckLedger.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
