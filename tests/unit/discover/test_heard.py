from hypothesis import given
from hypothesis import strategies as st

from ingest.discover.heard import Hearing
from ingest.packets import Burst
from tests.unit.discover.hearing import burst

MESSAGES = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 300)), max_size=300)


@given(MESSAGES, st.integers(1, 12), st.integers(100, 4_000))
def test_topics_and_bytes_stay_within_their_bounds(
    messages: list[tuple[int, int]], max_topics: int, max_bytes: int
) -> None:
    hearing = Hearing(max_topics, max_bytes, max_payload_bytes=200)
    for topic, size in messages:
        hearing.take(burst([(f"t/{topic}", b"x" * size)]), 0)
        assert len(hearing.topics) <= max_topics
        kept = sum(len(sample.payload) for heard in hearing.topics.values() for sample in heard.samples)
        assert kept <= max_bytes
        assert kept == sum(heard.payload_bytes for heard in hearing.topics.values())
    assert hearing.messages == len(messages)


@given(st.lists(st.integers(0, 60), min_size=1, max_size=200))
def test_which_topics_are_kept_does_not_depend_on_their_order(topics: list[int]) -> None:
    def kept(order: list[int]) -> set[bytes]:
        hearing = Hearing(max_topics=8)
        hearing.take(burst((f"t/{topic}", 1) for topic in order), 0)
        return set(hearing.topics)

    assert kept(topics) == kept(sorted(topics))


def test_a_million_topics_are_counted_and_few_are_kept() -> None:
    hearing = Hearing(max_topics=2_000)
    for begin in range(0, 1_000_000, 10_000):
        topics = [b"plant/%d" % at for at in range(begin, begin + 10_000)]
        hearing.take(Burst(topics, [b"1"] * len(topics), [0x30] * len(topics)), 0)
    assert len(hearing.topics) == 2_000
    assert 0.9 * 998_000 < hearing.more_topics < 1.1 * 998_000


def test_the_first_and_the_last_messages_are_kept() -> None:
    hearing = Hearing()
    for at in range(100):
        hearing.take(burst([("t", at)]), at)
    heard = hearing.topics[b"t"]
    assert [sample.arrival_us for sample in heard.samples] == [*range(8), *range(92, 100)]
    assert heard.gap == 8


def test_the_broker_itself_and_overlong_topics_are_passed_over() -> None:
    hearing = Hearing()
    hearing.take(burst([("$SYS/uptime", 1), ("x" * 2_000, 1), ("a", 1)]), 0)
    assert list(hearing.topics) == [b"a"]
    assert hearing.overlong == 1
