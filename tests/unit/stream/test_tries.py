"""What a crash must not forget about records that make the fold fail."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.contract.worker_settings import SnapshotSettings
from stream.objects import Objects
from stream.snapshot_store import SnapshotStore, open_objects
from stream.tries import Tries
from tests.unit.stream.logs import examples
from tests.unit.stream.snapshots import FIXED, PARTITIONS


def memory() -> SnapshotStore:
    objects = open_objects(SnapshotSettings(url="memory://"), Path())
    return SnapshotStore(objects, FIXED.group, FIXED.topic, PARTITIONS)


class Life:
    """A process: what it knows is in the store, or lost with it."""

    def __init__(self, store: SnapshotStore) -> None:
        self.lost: list[tuple[int, str]] = []
        self.tries = Tries(store.objects, store.folder, lambda partition, why: self.lost.append((partition, why)))


_OFFSETS = st.integers(0, 5)
_STEPS = st.one_of(
    st.tuples(st.just("begin"), st.integers(0, 1), _OFFSETS),
    st.tuples(st.just("skip"), st.integers(0, 1), _OFFSETS),
    st.tuples(st.just("clear"), st.integers(0, 1), st.integers(0, 7)),
    st.tuples(st.just("start"), st.integers(0, 1), st.just(0)),
    st.just(("die", 0, 0)),
)


@given(st.lists(_STEPS, max_size=30))
@examples(80)
def test_tries_are_counted_and_skipped_records_remembered_over_any_number_of_lives(
    steps: list[tuple[str, int, int]],
) -> None:
    async def run() -> None:
        store = memory()
        life = Life(store)
        tries: dict[tuple[int, int], int] = defaultdict(int)
        skipped: set[tuple[int, int]] = set()
        starts = [0, 0]
        for step, partition, offset in steps:
            if step == "begin":
                tries[partition, offset] += 1
                # What came before it has been survived.
                tries = defaultdict(int, {at: n for at, n in tries.items() if at[0] != partition or at[1] >= offset})
                assert await life.tries.begin(partition, offset) == tries[partition, offset]
            elif step == "skip":
                await life.tries.skip(partition, offset)
                skipped.add((partition, offset))
                tries.pop((partition, offset), None)
            elif step == "start":
                starts[partition] += 1
                assert await life.tries.started(partition) == starts[partition]
            elif step == "clear":
                starts[partition] = 0
                await life.tries.clear(partition, offset)
                tries = defaultdict(int, {at: n for at, n in tries.items() if at[0] != partition or at[1] >= offset})
                skipped = {at for at in skipped if at[0] != partition or at[1] >= offset}
            else:
                life = Life(store)
            for number in range(2):
                # As another process sees it, without any of what this one remembers.
                other = Life(store)
                assert await other.tries.skipped(number) == {at for one, at in skipped if one == number}
                assert other.lost == []
                if step == "die":
                    await life.tries.skipped(number)

    asyncio.run(run())


async def test_what_was_cleared_takes_no_room() -> None:
    store = memory()
    life = Life(store)
    await life.tries.begin(3, 7)
    await life.tries.skip(3, 8)
    await life.tries.clear(3, 9)
    assert await store.objects.names(store.folder(3)) == []


class Counting:
    """How often somebody looks."""

    def __init__(self, inner: Objects) -> None:
        self.looked = 0
        self._inner = inner
        self.place = inner.place
        self.put, self.names, self.delete = inner.put, inner.names, inner.delete
        self.sweep, self.close = inner.sweep, inner.close

    async def get(self, name: str, most_bytes: int) -> bytes | memoryview | None:
        self.looked += 1
        return await self._inner.get(name, most_bytes)


async def test_a_partition_without_trouble_costs_nothing() -> None:
    objects = Counting(memory().objects)
    store = SnapshotStore(objects, FIXED.group, FIXED.topic, PARTITIONS)
    life = Life(store)
    assert await life.tries.skipped(3) == frozenset()
    for offset in range(100):
        await life.tries.clear(3, offset)
    assert objects.looked == 1


async def test_there_is_an_end_to_what_is_remembered() -> None:
    life = Life(memory())
    for offset in range(100):
        await life.tries.begin(3, offset)
    assert await life.tries.begin(3, 99) == 2
    assert await life.tries.begin(3, 0) == 1


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: data[:-1],
        lambda data: data.replace(b"[7]", b"[8]"),
        lambda data: b"\xff" * 50,
        lambda data: bytes(len(data)),
        lambda data: data + b" ",
    ],
    ids=["nothing", "cut", "another offset", "noise", "zeros", "more"],
)
async def test_what_was_damaged_is_nothing_and_said(damage: object) -> None:
    store = memory()
    await Life(store).tries.skip(3, 7)
    name = f"{store.folder(3)}/tries"
    data = await store.objects.get(name, 10_000)
    assert data is not None
    assert callable(damage)
    await store.objects.put(name, damage(bytes(data)))
    life = Life(store)
    assert await life.tries.skipped(3) == frozenset()
    assert life.lost == [(3, "its checksum is wrong")]
    assert await life.tries.begin(3, 7) == 1
    assert await life.tries.begin(3, 7) == 2


async def test_two_at_once_lose_nothing() -> None:
    life = Life(memory())
    assert sorted(await asyncio.gather(*(life.tries.begin(3, 7) for _ in range(5)))) == [1, 2, 3, 4, 5]


async def test_in_a_folder_a_half_written_one_is_swept_and_snapshots_stay(tmp_path: Path) -> None:
    objects = open_objects(SnapshotSettings(url=str(tmp_path)), tmp_path)
    store = SnapshotStore(objects, FIXED.group, FIXED.topic, PARTITIONS)
    snapshot_id = await store.put(FIXED)
    life = Life(store)
    assert await life.tries.begin(3, 7) == 1
    folder = tmp_path / store.folder(3)
    (folder / "tries.0a1b2c3d.part").write_bytes(b"half")
    assert await life.tries.skipped(3) == frozenset()
    assert sorted(path.name for path in folder.iterdir()) == [f"{snapshot_id}.snapshot", "tries"]
    assert [entry.id for entry in await store.list(3)] == [snapshot_id]
    store.close()
