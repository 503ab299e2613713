"""Snapshots are found again, the newest first, whole, and by those alone whose they are."""

from __future__ import annotations

import asyncio
import os
import stat
import tracemalloc
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.contract.worker_settings import SnapshotSettings
from stream.file_objects import FileObjects
from stream.objects import StoreError
from stream.snapshot import Fault, SnapshotError, encode_snapshot
from stream.snapshot_store import SnapshotStore, open_objects
from tests.unit.stream.logs import examples
from tests.unit.stream.snapshots import FIXED, PARTITIONS, same, snapshot_at

GROUP, TOPIC = FIXED.group, FIXED.topic


@pytest.fixture(params=["file", "memory"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[SnapshotStore]:
    settings = SnapshotSettings(url="memory://" if request.param == "memory" else str(tmp_path / "snapshots"))
    made = SnapshotStore(open_objects(settings, tmp_path / "unused"), GROUP, TOPIC, PARTITIONS)
    yield made
    made.close()


@pytest.fixture
async def files(tmp_path: Path) -> AsyncIterator[SnapshotStore]:
    made = SnapshotStore(FileObjects(tmp_path / "snapshots", timeout_s=30), GROUP, TOPIC, PARTITIONS)
    yield made
    made.close()


def folder_of(files: SnapshotStore, partition: int = 3) -> Path:
    return Path(files.objects.place) / files.folder(partition)


def outside(place: Path, root: Path) -> list[str]:
    return [path.name for path in place.rglob("*") if not path.is_relative_to(root)]


async def overwrite(store: SnapshotStore, snapshot_id: str, data: bytes | memoryview, partition: int = 3) -> None:
    await store.objects.put(f"{store.folder(partition)}/{snapshot_id}.snapshot", data)


async def why_not(store: SnapshotStore, snapshot_id: str, partition: int = 3) -> SnapshotError:
    with pytest.raises(SnapshotError) as caught:
        await store.get(partition, snapshot_id)
    return caught.value


async def test_what_was_put_comes_back(store: SnapshotStore) -> None:
    snapshot_id = await store.put(FIXED)
    assert same(await store.get(3, snapshot_id), FIXED)
    (entry,) = await store.list(3)
    assert entry == (FIXED.fence, FIXED.frozen.next_offset, FIXED.made_us, snapshot_id)
    found = await store.newest_valid(3)
    assert found.id == snapshot_id
    assert found.snapshot is not None
    assert same(found.snapshot, FIXED)
    assert found.skipped == []


async def test_the_same_state_twice_is_two_snapshots(store: SnapshotStore) -> None:
    ids = [await store.put(FIXED) for _ in range(5)]
    assert len(set(ids)) == len(await store.list(3)) == 5


async def test_where_nothing_is_nothing_is_found(store: SnapshotStore) -> None:
    assert await store.list(3) == []
    found = await store.newest_valid(3)
    assert (found.id, found.snapshot, found.skipped) == (None, None, [])
    assert await store.collect(3, 3) == 0


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2**62)), max_size=8), st.integers(0, 5), st.data())
@examples(40)
def test_the_newest_owner_s_latest_comes_first_and_the_oldest_go(
    made: list[tuple[int, int]], keep: int, data: st.DataObject
) -> None:
    async def run() -> None:
        store = SnapshotStore(open_objects(SnapshotSettings(url="memory://"), Path()), GROUP, TOPIC, PARTITIONS)
        ids = {await store.put(snapshot_at(offset, fence)): (fence, offset) for fence, offset in made}
        listed = [entry.id for entry in await store.list(3)]
        assert set(listed) == ids.keys()
        assert [ids[one] for one in listed] == sorted(made, reverse=True)
        protected = data.draw(st.sets(st.sampled_from(listed)) if listed else st.just(set()))
        gone = await store.collect(3, keep, protected)
        left = [entry.id for entry in await store.list(3)]
        assert left == [one for at, one in enumerate(listed) if at < keep or one in protected]
        assert gone == len(listed) - len(left)

    asyncio.run(run())


async def test_one_beyond_the_offset_is_not_looked_at(store: SnapshotStore) -> None:
    ids = [await store.put(snapshot_at(offset)) for offset in (10, 20, 30)]
    await overwrite(store, ids[2], b"not looked at")
    for offset, expected in ((29, ids[1]), (20, ids[1]), (19, ids[0]), (9, None)):
        found = await store.newest_valid(3, up_to_offset=offset)
        assert found.id == expected
        assert found.skipped == []


async def test_damaged_ones_are_passed_over_and_said(store: SnapshotStore) -> None:
    ids = [await store.put(snapshot_at(offset)) for offset in (10, 20, 30, 40)]
    data = encode_snapshot(snapshot_at(40))
    await overwrite(store, ids[3], data[:-5])
    await overwrite(store, ids[2], bytes(len(data)))
    await overwrite(store, ids[1], encode_snapshot(snapshot_at(21)))
    found = await store.newest_valid(3)
    assert found.id == ids[0]
    said = [(snapshot_id, error.reason) for snapshot_id, error in found.skipped]
    assert said == [(ids[3], Fault.TORN), (ids[2], Fault.CORRUPT), (ids[1], Fault.CORRUPT)]


async def test_only_so_many_are_tried(store: SnapshotStore) -> None:
    for offset in range(20):
        await overwrite(store, await store.put(snapshot_at(offset)), b"" if offset else encode_snapshot(snapshot_at(0)))
    found = await store.newest_valid(3)
    assert found.snapshot is None
    assert len(found.skipped) == 16


@pytest.mark.parametrize("name", ["", "x", "../../secret", "0" * 19, "/etc/passwd", "tries", "\0"])
async def test_an_id_that_nobody_gave_is_never_a_path(store: SnapshotStore, name: str) -> None:
    await store.put(FIXED)
    assert (await why_not(store, name)).reason is Fault.MISSING


async def test_one_that_is_gone_is_missing(store: SnapshotStore) -> None:
    snapshot_id = await store.put(FIXED)
    assert (await why_not(store, snapshot_id, partition=4)).reason is Fault.MISSING
    assert await store.collect(3, 0) == 1
    assert (await why_not(store, snapshot_id)).reason is Fault.MISSING


@pytest.mark.parametrize(
    ("group", "topic", "partition", "partitions", "said"),
    [
        ("other", TOPIC, 3, PARTITIONS, "group 'millstream-worker'"),
        (GROUP, "other", 3, PARTITIONS, "of 'millstream.readings'"),
        (GROUP, TOPIC, 4, PARTITIONS, "of partition 3"),
        (GROUP, TOPIC, 3, 24, "had 12 partitions, now it has 24.*Go back to the old count, or start a new topic"),
    ],
)
async def test_a_copy_in_another_s_place_is_refused(
    store: SnapshotStore, group: str, topic: str, partition: int, partitions: int, said: str
) -> None:
    snapshot_id = await store.put(FIXED)
    other = SnapshotStore(store.objects, group, topic, partitions)
    await overwrite(other, snapshot_id, encode_snapshot(FIXED), partition)
    error = await why_not(other, snapshot_id, partition)
    assert error.reason is Fault.FOREIGN
    with pytest.raises(SnapshotError, match=said):
        raise error
    found = await other.newest_valid(partition)
    assert found.snapshot is None
    assert [one.reason for _, one in found.skipped] == [Fault.FOREIGN]


async def test_groups_and_topics_of_any_name_keep_to_themselves_and_below_the_folder(tmp_path: Path) -> None:
    root = tmp_path / "a" / "b"
    names = ["..", ".", "a/b", "a%2Fb", "A", "ü" * 200, "ü" * 199 + "a", "x y", "~", "c:\\d", "..%2F", "\n"]
    objects = FileObjects(root, timeout_s=30)
    stores = [SnapshotStore(objects, group, topic, 1) for group in names for topic in names]
    folders = {store.folder(0) for store in stores}
    assert len(folders) == len(stores)
    for store in stores[:: len(names) + 1]:
        await store.objects.put(f"{store.folder(0)}/x", b"1")
        assert await store.objects.names(store.folder(0)) == ["x"]
    assert outside(tmp_path, root) == ["a"]
    objects.close()


async def test_nobody_else_may_read_them(files: SnapshotStore, tmp_path: Path) -> None:
    await files.put(FIXED)
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "snapshots").rglob("*")}
    assert {mode for path, mode in modes.items() if path.is_dir()} == {0o700}
    assert {mode for path, mode in modes.items() if path.is_file()} == {0o600}
    assert stat.S_IMODE((tmp_path / "snapshots").stat().st_mode) == 0o700


async def test_content_is_synced_before_the_name_and_the_folder_after_it(
    files: SnapshotStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    happened: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def noting_fsync(fd: int) -> None:
        happened.append(f"sync {Path(f'/proc/self/fd/{fd}').readlink().name}")
        fsync(fd)

    def noting_replace(self: Path, target: Path) -> Path:
        happened.append(f"rename {self.name} {target.name}")
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", noting_fsync)
    monkeypatch.setattr(Path, "replace", noting_replace)
    snapshot_id = await files.put(FIXED)
    *folders, content, rename, folder = happened
    part = content.removeprefix("sync ")
    assert part.startswith(snapshot_id)
    assert part.endswith(".part")
    assert rename == f"rename {part} {snapshot_id}.snapshot"
    assert folder == "sync 3"
    # Each folder that was made is synced into the one above.
    assert [one.removeprefix("sync ") for one in folders][1:] == ["snapshots", GROUP, TOPIC]


async def test_what_a_killed_process_left_is_swept_and_what_is_being_written_is_not(files: SnapshotStore) -> None:
    before, after = [await files.put(snapshot_at(offset, fence)) for fence, offset in ((1, 10), (1, 20))]
    folder = folder_of(files)
    (folder / f"{before}.snapshot.0a1b2c3d.part").write_bytes(b"half")
    newer = folder / "9999999999999999999-0000000000000000001-0000000000000000001-0a1b2c3d.snapshot.0a1b2c3d.part"
    newer.write_bytes(b"hal")
    assert [entry.id for entry in await files.list(3)] == [after, before]
    assert await files.collect(3, 3) == 0
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        [f"{before}.snapshot", f"{after}.snapshot", newer.name]
    )


async def test_other_files_are_left_alone(files: SnapshotStore) -> None:
    await files.put(FIXED)
    (folder_of(files) / "README").write_text("by the operator")
    (folder_of(files) / "x.snapshot").write_text("by nobody")
    assert len(await files.list(3)) == 1
    assert await files.collect(3, 0) == 1
    assert {path.name for path in folder_of(files).iterdir()} == {"README", "x.snapshot"}


async def answer(objects: FileObjects, pipe: Path) -> None:
    """Let those that wait for the pipe go, until both threads are back."""
    for _ in range(10_000):
        os.close(os.open(pipe, os.O_RDWR))
        try:
            await asyncio.gather(objects.names(""), objects.names(""))
        except StoreError:
            continue
        return
    pytest.fail("the threads did not come back")


async def test_a_drive_that_hangs_holds_up_nobody_gathers_nothing_and_may_come_back(tmp_path: Path) -> None:
    # A pipe that nobody writes to: opening it hangs, as a network drive does that has gone.
    objects, pipe = FileObjects(tmp_path, timeout_s=0.05), tmp_path / "gone"
    os.mkfifo(pipe)
    reading = [asyncio.create_task(objects.get("gone", 10)) for _ in range(2)]
    ticks = 0
    while not all(task.done() for task in reading):
        await asyncio.sleep(0)
        ticks += 1
    assert ticks > 2
    for task in reading:
        with pytest.raises(StoreError, match=r"no answer within 0\.05 s"):
            task.result()
    for _ in range(3):
        with pytest.raises(StoreError, match="no answer"):
            await objects.put("late", b"1")
    assert objects._threads._work_queue.qsize() == 0
    await answer(objects, pipe)
    assert await objects.names("") == ["gone"]
    await objects.put("late", b"1")
    assert await objects.get("late", 10) == b"1"
    objects.close()


async def test_of_a_file_that_is_too_large_only_the_beginning_is_read(store: SnapshotStore) -> None:
    await store.objects.put("g/large", bytes(100))
    data = await store.objects.get("g/large", 10)
    assert data is not None
    assert bytes(data) == bytes(10)


async def test_deleting_what_is_gone_is_no_mistake(store: SnapshotStore) -> None:
    await store.objects.put("g/a", b"1")
    await store.objects.delete("g", ["a", "b"])
    await store.objects.delete("nowhere", ["a"])
    assert await store.objects.names("g") == []


async def test_reading_takes_no_more_memory_than_there_is_to_read(files: SnapshotStore) -> None:
    snapshot_id = await files.put(FIXED)
    tracemalloc.start()
    await files.get(3, snapshot_id)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak_bytes < 2**24


async def test_after_it_is_closed_a_folder_fails_as_a_store_does(files: SnapshotStore) -> None:
    files.close()
    for _ in range(5):
        with pytest.raises(StoreError, match="closed"):
            await files.put(FIXED)
