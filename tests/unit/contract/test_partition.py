"""A machine's partition is the one that Kafka's own clients would choose."""

from __future__ import annotations

import pytest
from aiokafka.partitioner import murmur2 as murmur2_of_aiokafka
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.contract.partition import murmur2, partition_of
from ingest.contract.sensors import machine_of

SEGMENTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="/"), min_size=1, max_size=20)
MACHINES = st.lists(SEGMENTS, min_size=1, max_size=5).map("/".join)


@pytest.mark.parametrize(
    ("key", "signed"),
    [
        (b"21", -973932308),
        (b"foobar", -790332482),
        (b"a-little-bit-long-string", -985981536),
        (b"a-little-bit-longer-string", -1486304829),
        (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        (b"abc", 479470107),
    ],
)
def test_the_hash_is_the_one_that_kafka_publishes(key: bytes, signed: int) -> None:
    assert murmur2(key) == signed % 2**32


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=100))
def test_the_hash_is_the_one_of_another_client(key: bytes) -> None:
    assert murmur2(key) == murmur2_of_aiokafka(key) % 2**32


@settings(max_examples=100, deadline=None)
@given(MACHINES, SEGMENTS, SEGMENTS, st.integers(1, 10_000))
def test_all_sensors_of_a_machine_share_a_partition(machine: str, one: str, other: str, partitions: int) -> None:
    found = partition_of(f"{machine}/{one}", partitions)
    assert found == partition_of(f"{machine}/{other}", partitions)
    assert 0 <= found < partitions


@settings(max_examples=100, deadline=None)
@given(MACHINES, SEGMENTS, st.integers(1, 10_000))
def test_a_producer_that_keys_by_the_machine_path_agrees(machine: str, quantity: str, partitions: int) -> None:
    # Kafka's default partitioner: toPositive(murmur2(key)) % partitions
    expected = (murmur2_of_aiokafka(machine.encode()) & 0x7FFFFFFF) % partitions
    assert partition_of(f"{machine}/{quantity}", partitions) == expected


def test_a_sensor_of_one_segment_is_its_own_machine() -> None:
    assert machine_of("temperature") == "temperature"
    assert machine_of("press/temperature") == "press"


def test_machines_are_spread_evenly() -> None:
    machines = [f"demo/line-{at // 10:02d}/press-{at % 10:02d}/temperature" for at in range(1_000)]
    counts = [0] * 12
    for sensor in machines:
        counts[partition_of(sensor, 12)] += 1
    assert max(counts) < 1.3 * len(machines) / len(counts)
    assert min(counts) > 0.7 * len(machines) / len(counts)
