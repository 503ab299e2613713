"""Whatever happens to connections, sessions and processes: in the end the session has what is wanted, and only that."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from ingest.subscriptions import Request, SessionFilters, Subscription

NAMES = st.sampled_from(["a/#", "b/+", "c", "$share/g/a/#", *(f"d/{at}" for at in range(12))])
WANTED = st.lists(st.builds(Subscription, NAMES, st.sampled_from([0, 1])), max_size=20)


class Life(RuleBasedStateMachine):
    """A gateway and the broker's idea of its session.

    Packets under way are processed in order; the connection may be lost before or after the broker has processed one,
    the session may be lost, and the gateway may die and come back with what it had written down.
    """

    def __init__(self) -> None:
        super().__init__()
        self.session: dict[str, int] = {}
        self.stored: list[str] = []
        self.wanted: dict[str, int] = {}
        self.sent: list[Request] = []
        self.answers: list[tuple[Request, list[str]]] = []
        self.is_connected = False
        self.has_session = False

    def remember(self, filters: list[str]) -> None:
        self.stored = filters

    def want(self, wanted: list[Subscription]) -> None:
        self.wanted = {}
        for one in wanted:
            self.wanted[one.filter] = max(one.qos, self.wanted.get(one.filter, 0))

    @initialize(wanted=WANTED)
    def begin(self, wanted: list[Subscription]) -> None:
        self.want(wanted)
        self.filters = SessionFilters(wanted, (), self.remember)

    @precondition(lambda self: not self.is_connected)
    @rule()
    def connect(self) -> None:
        self.is_connected = True
        self.sent = self.filters.connected(self.has_session)
        self.has_session = True

    @precondition(lambda self: self.is_connected)
    @rule()
    def lose_the_connection(self) -> None:
        self.is_connected = False
        self.sent, self.answers = [], []

    @precondition(lambda self: not self.is_connected)
    @rule()
    def lose_the_session(self) -> None:
        self.has_session = False
        self.session.clear()

    @rule(wanted=WANTED)
    def reload(self, wanted: list[Subscription]) -> None:
        self.want(wanted)
        self.filters.want(wanted)
        if self.is_connected:
            self.sent += self.filters.changes()

    @rule(wanted=WANTED)
    def die_and_come_back(self, wanted: list[Subscription]) -> None:
        self.is_connected = False
        self.sent, self.answers = [], []
        self.want(wanted)
        self.filters = SessionFilters(wanted, self.stored, self.remember)

    @precondition(lambda self: self.sent)
    @rule(refused=st.sets(NAMES, max_size=2))
    def the_broker_processes_one(self, refused: set[str]) -> None:
        request = self.sent.pop(0)
        for one in request.subscriptions:
            if one.filter in refused:
                continue
            if request.gone:
                self.session.pop(one.filter, None)
            else:
                self.session[one.filter] = one.qos
        self.answers.append((request, [one.filter for one in request.subscriptions if one.filter in refused]))

    @precondition(lambda self: self.answers)
    @rule()
    def an_answer_arrives(self) -> None:
        request, refused = self.answers.pop(0)
        self.filters.answered(request, refused)

    @invariant()
    def nothing_is_subscribed_that_is_not_written_down(self) -> None:
        assert set(self.session) <= set(self.stored)

    def teardown(self) -> None:
        """A connection on which nothing is refused makes it right, in few packets."""
        if not hasattr(self, "filters"):
            return
        if not self.is_connected:
            self.connect()
        for _ in range(3):
            while self.sent:
                self.the_broker_processes_one(set())
            while self.answers:
                self.an_answer_arrives()
            self.sent += self.filters.changes()
        assert self.session == self.wanted
        assert self.filters.held == self.stored == sorted(self.wanted)
        assert self.filters.changes() == []


TestLife = Life.TestCase
TestLife.settings = settings(max_examples=40, deadline=None)


def test_a_packet_asks_for_few_filters_and_new_ones_come_first() -> None:
    filters = SessionFilters([Subscription(f"new/{at}", 1) for at in range(20)], [f"old/{at}" for at in range(9)])
    requests = filters.connected(session_present=True)
    assert [(len(one.subscriptions), one.gone) for one in requests] == [
        (8, False),
        (8, False),
        (4, False),
        (8, True),
        (1, True),
    ]


def test_what_is_given_up_is_not_asked_for_again() -> None:
    filters = SessionFilters([Subscription("a", 1), Subscription("b", 1)])
    (request,) = filters.connected(session_present=False)
    filters.answered(request, ["b"])
    filters.give_up(["b"])
    assert [(one.subscriptions, one.gone) for one in filters.changes()] == [((Subscription("b", 0),), True)]
    assert [one.subscriptions for one in filters.connected(session_present=False)] == [(Subscription("a", 1),)]


def test_what_was_remembered_of_a_session_that_is_gone_is_forgotten() -> None:
    told: list[list[str]] = []
    filters = SessionFilters([], ["old"], told.append)
    assert filters.connected(session_present=False) == []
    assert (filters.held, told) == ([], [[]])
