"""What `stream/consumer.py` uses of aiokafka's insides is there: an upgrade that moves it fails here first."""

from __future__ import annotations

import inspect

from aiokafka import AIOKafkaConsumer
from aiokafka.consumer.group_coordinator import GroupCoordinator
from aiokafka.consumer.subscription_state import Subscription, SubscriptionState


def test_the_coordinator_reads_metadata_and_commits_once() -> None:
    assert list(inspect.signature(GroupCoordinator.fetch_committed_offsets).parameters) == ["self", "partitions"]
    assert list(inspect.signature(GroupCoordinator._do_commit_offsets).parameters) == ["self", "assignment", "offsets"]
    assert inspect.iscoroutinefunction(GroupCoordinator._do_commit_offsets)
    assert inspect.iscoroutinefunction(GroupCoordinator.ensure_coordinator_known)
    # It is sent with the generation of the moment in which it was made, and made in one step.
    source = inspect.getsource(GroupCoordinator._do_commit_offsets)
    assert source.index("self.generation") < source.index("await self._send_req(request)")
    assert source.count("await") == 1


def test_each_rebalance_makes_another_assignment() -> None:
    assert "Assignment(" in inspect.getsource(Subscription._assign)
    assert isinstance(SubscriptionState.subscription, property)
    assert isinstance(Subscription.assignment, property)
    assert "_coordinator" in inspect.getsource(AIOKafkaConsumer.start)
