"""Rows 2, 7, 10 and 11 where snapshots are kept: a folder whose disk fails, an S3 that is not there or not ours."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ingest.contract.failpoints import VARIABLE, armed
from ingest.contract.worker_settings import SnapshotSettings
from stream import file_objects
from stream.file_objects import FileObjects
from stream.objects import StoreError, UnreadableError
from stream.snapshot import Fault, encode_snapshot
from stream.snapshot_store import SnapshotStore, open_objects
from stream.tries import Tries
from tests.servers.s3 import S3
from tests.unit.stream.snapshots import FIXED, PARTITIONS, same, snapshot_at

BUCKET = "snapshots"
KEY, SECRET = "AKIAEXAMPLE", "geheim/geheim+geheim"
_LONG_S = 60.0


def in_folder(folder: Path) -> SnapshotStore:
    return SnapshotStore(FileObjects(folder, timeout_s=_LONG_S), FIXED.group, FIXED.topic, PARTITIONS)


def in_s3(s3: S3, tmp_path: Path, bucket: str = BUCKET, **settings: Any) -> SnapshotStore:
    for name, secret in (("key", KEY), ("secret", SECRET)):
        (tmp_path / name).write_text(secret + "\n")
    said = {
        "url": f"s3://{bucket}/plant 1",
        "endpoint": s3.endpoint,
        "region": "us-east-1",
        "allow_http": True,
        "access_key_id_file": str(tmp_path / "key"),
        "secret_access_key_file": str(tmp_path / "secret"),
        "timeout": f"{_LONG_S:g}s",
    }
    return SnapshotStore(
        open_objects(SnapshotSettings(**{**said, **settings}), tmp_path), FIXED.group, FIXED.topic, PARTITIONS
    )


async def fails(doing: Any, match: str) -> StoreError:
    with pytest.raises(StoreError, match=match) as caught:
        await asyncio.wait_for(doing, _LONG_S)
    assert "geheim" not in str(caught.value)
    assert caught.value.__cause__ is None or "geheim" not in str(caught.value.__cause__)
    return caught.value


# --- a folder -----------------------------------------------------------------------------------------------------


@pytest.mark.fault(2)
@pytest.mark.parametrize("place", ["snapshot-half-written", "snapshot-renamed"])
async def test_a_process_that_is_killed_while_it_writes_leaves_whole_snapshots_only(place: str, tmp_path: Path) -> None:
    life = [sys.executable, "-m", "tests.faults.snapshot_life", str(tmp_path), "10", "5"]
    environment = {**os.environ, VARIABLE: f"{place}=kill:3"}
    done = await asyncio.to_thread(subprocess.run, life, env=environment, stdout=subprocess.PIPE, check=False)
    assert done.returncode == -signal.SIGKILL
    told = done.stdout.decode().split()
    assert len(told) == 2
    store = in_folder(tmp_path)
    listed = [entry.id for entry in await store.list(3)]
    assert listed[-2:] == told[::-1]
    assert len(listed) == (3 if place == "snapshot-renamed" else 2)
    found = await store.newest_valid(3)
    assert found.id == listed[0]
    assert found.skipped == []
    left = [name for name in os.listdir(tmp_path / store.folder(3)) if name.endswith(".part")]  # noqa: PTH208
    assert len(left) == (0 if place == "snapshot-renamed" else 1)
    after = await store.put(snapshot_at(20))
    await store.collect(3, 2)
    names = sorted(os.listdir(tmp_path / store.folder(3)))  # noqa: PTH208
    assert names == sorted(f"{snapshot_id}.snapshot" for snapshot_id in (after, listed[0]))
    store.close()


@pytest.mark.fault(10)
@pytest.mark.parametrize(
    ("failure", "said"),
    [
        ("snapshot-half-written=enospc", "No space left on device; free some space"),
        ("snapshot-half-written=erofs", "Read-only file system; mount it for writing"),
        ("snapshot-renamed=eio", "Input/output error; the disk fails"),
    ],
)
async def test_a_disk_that_refuses_says_why_and_works_again_afterwards(
    failure: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = in_folder(tmp_path)
    before = await store.put(snapshot_at(10))
    monkeypatch.setattr(file_objects, "failpoint", armed(failure))
    error = await fails(store.put(snapshot_at(20)), said)
    assert str(tmp_path) in str(error)
    # Nothing is left that takes the space that was missing.
    assert not [name for name in os.listdir(tmp_path / store.folder(3)) if name.endswith(".part")]  # noqa: PTH208
    # After a failed sync of the folder it may be there or not; nobody was told of it.
    found = await store.newest_valid(3, up_to_offset=10)
    assert found.id == before
    after = await store.put(snapshot_at(30))
    assert (await store.newest_valid(3)).id == after
    store.close()


@pytest.mark.fault(10)
async def test_a_disk_that_cannot_be_read_is_not_an_empty_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = in_folder(tmp_path)
    ids = [await store.put(snapshot_at(offset)) for offset in (10, 20, 30)]
    monkeypatch.setattr(file_objects, "failpoint", armed("snapshot-read=eio:1+"))
    assert isinstance(await fails(store.get(3, ids[0]), "Input/output error"), UnreadableError)
    # All cannot be read: that is no reason to rebuild from the log, nor to say that there is none.
    await fails(store.newest_valid(3), "Input/output error")
    # One bad place: the snapshot before it counts.
    monkeypatch.setattr(file_objects, "failpoint", armed("snapshot-read=eio"))
    found = await store.newest_valid(3)
    assert found.id == ids[1]
    assert [snapshot_id for snapshot_id, _ in found.skipped] == [ids[2]]
    store.close()


@pytest.mark.fault(10)
async def test_tries_that_cannot_be_written_are_not_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = in_folder(tmp_path)
    tries = Tries(store.objects, store.folder, lambda partition, why: pytest.fail(why))
    assert await tries.begin(3, 7) == 1
    monkeypatch.setattr(file_objects, "failpoint", armed("snapshot-half-written=enospc"))
    await fails(tries.begin(3, 7), "No space left")
    assert await tries.begin(3, 7) == 2
    store.close()


@pytest.mark.fault(10)
async def test_something_else_in_the_folder_s_place_is_said(tmp_path: Path) -> None:
    (tmp_path / "snapshots").write_text("a file")
    store = in_folder(tmp_path / "snapshots")
    await fails(store.put(FIXED), "set worker.snapshots.url")
    await fails(store.list(3), "Not a directory; something that is not a folder")
    store.close()


def cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


def flipped(data: bytes) -> bytes:
    changed = bytearray(data)
    changed[len(data) // 2] ^= 0x10
    return bytes(changed)


def never_synced(data: bytes) -> bytes:
    return bytes(len(data))


DAMAGES = [(cut, Fault.TORN), (flipped, Fault.CORRUPT), (never_synced, Fault.CORRUPT), (lambda _: b"", Fault.TORN)]


async def check_damage(store: SnapshotStore, damage: Callable[[bytes], bytes], reason: Fault, partition: int) -> None:
    ids = [await store.put(snapshot_at(offset, partition=partition)) for offset in (10, 20)]
    damaged = damage(bytes(encode_snapshot(snapshot_at(20, partition=partition))))
    await store.objects.put(f"{store.folder(partition)}/{ids[1]}.snapshot", damaged)
    found = await store.newest_valid(partition)
    assert found.id == ids[0]
    assert found.snapshot is not None
    assert same(found.snapshot, snapshot_at(10, partition=partition))
    assert [(snapshot_id, error.reason) for snapshot_id, error in found.skipped] == [(ids[1], reason)]


@pytest.mark.fault(11)
@pytest.mark.parametrize(("damage", "reason"), DAMAGES, ids=["torn", "flipped", "zeros", "empty"])
async def test_a_damaged_file_is_seen_and_the_one_before_counts(
    damage: Callable[[bytes], bytes], reason: Fault, tmp_path: Path
) -> None:
    store = in_folder(tmp_path)
    await check_damage(store, damage, reason, 3)
    store.close()


# --- S3 -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def bucket(s3: S3) -> S3:
    """The server, with the bucket."""
    s3.make_bucket(BUCKET)
    return s3


async def test_in_s3_all_is_as_in_a_folder(bucket: S3, tmp_path: Path) -> None:
    store = in_s3(bucket, tmp_path)
    assert await store.list(5) == []
    assert (await store.newest_valid(5)).snapshot is None
    ids = [await store.put(snapshot_at(offset, fence, partition=5)) for fence, offset in ((1, 30), (2, 10), (2, 20))]
    assert [entry.id for entry in await store.list(5)] == ids[::-1]
    assert same(await store.get(5, ids[0]), snapshot_at(30, 1, partition=5))
    assert await store.list(6) == []
    tries = Tries(store.objects, store.folder, lambda partition, why: pytest.fail(why))
    assert [await tries.begin(5, 7) for _ in range(3)] == [1, 2, 3]
    await tries.skip(5, 7)
    again = in_s3(bucket, tmp_path)
    assert await Tries(again.objects, again.folder, print).skipped(5) == {7}
    assert (await again.newest_valid(5)).id == ids[2]
    assert await again.collect(5, 1, [ids[0]]) == 1
    assert [entry.id for entry in await again.list(5)] == [ids[2], ids[0]]
    await tries.clear(5, 8)
    assert sorted(await store.objects.names(store.folder(5))) == sorted(f"{ids[at]}.snapshot" for at in (0, 2))


async def test_in_s3_groups_of_any_name_keep_to_themselves(bucket: S3, tmp_path: Path) -> None:
    objects = in_s3(bucket, tmp_path).objects
    for group in ("a/b", "a%2Fb", "..", "ü x", "a+b"):
        store = SnapshotStore(objects, group, "t", 1)
        await objects.put(f"{store.folder(0)}/x", group.encode())
    for group in ("a/b", "a%2Fb", "..", "ü x", "a+b"):
        store = SnapshotStore(objects, group, "t", 1)
        assert await objects.names(store.folder(0)) == ["x"]
        assert bytes(await objects.get(f"{store.folder(0)}/x", 100) or b"") == group.encode()


@pytest.mark.fault(11)
@pytest.mark.parametrize(("damage", "reason"), DAMAGES[:2], ids=["torn", "flipped"])
async def test_a_damaged_object_is_seen_and_the_one_before_counts(
    damage: Callable[[bytes], bytes], reason: Fault, bucket: S3, tmp_path: Path
) -> None:
    await check_damage(in_s3(bucket, tmp_path), damage, reason, 6 if reason is Fault.TORN else 7)


@pytest.mark.fault(10)
async def test_a_bucket_that_is_missing_is_not_an_empty_one(s3: S3, tmp_path: Path) -> None:
    store = in_s3(s3, tmp_path, "nobodys")
    for doing in (store.put(FIXED), store.list(3), store.get(3, f"{0:019d}-{0:019d}-{0:019d}-01234567")):
        await fails(doing, "there is no such bucket: create it")


@pytest.mark.fault(10)
async def test_a_secret_file_that_is_missing_or_unusable_is_named(bucket: S3, tmp_path: Path) -> None:
    store = in_s3(bucket, tmp_path)
    secret = tmp_path / "secret"
    secret.unlink()
    await fails(store.list(3), "secret_access_key_file = .*secret: No such file")
    for content, said in ((b"\n", "is empty"), (b"geheim\xff", "not valid UTF-8"), (b"geheim" * 1_000, "more than")):
        secret.write_bytes(content)
        await fails(store.list(3), said)
    # It is there again: the next try has it.
    secret.write_text(SECRET)
    assert await store.list(3) == []


@pytest.mark.fault(10)
async def test_keys_that_nobody_knows_are_said_and_not_shown(s3_strict: S3, tmp_path: Path) -> None:
    s3_strict.make_bucket(BUCKET)
    store = in_s3(s3_strict, tmp_path)
    for doing in (store.put(FIXED), store.list(3)):
        error = await fails(doing, "403 Forbidden, InvalidAccessKeyId; the keys are wrong")
        assert KEY not in str(error)


@pytest.mark.fault(7)
async def test_a_store_that_swallows_everything_is_given_up_in_time_and_comes_back(bucket: S3, tmp_path: Path) -> None:
    store = in_s3(bucket, tmp_path, timeout="1s")
    patient = in_s3(bucket, tmp_path)
    snapshot_id = await patient.put(snapshot_at(10, partition=8))
    bucket.server.pause()
    try:
        for doing in (store.put(FIXED), store.list(8), store.get(8, snapshot_id), store.collect(8, 1)):
            await fails(doing, "no answer within 1 s|cannot be reached")
        ticks = 0
        waiting = asyncio.create_task(store.list(8))
        while not waiting.done():
            await asyncio.sleep(0)
            ticks += 1
        assert ticks > 10
        await fails(waiting, "no answer|cannot be reached")
    finally:
        bucket.server.resume()
    found = await patient.newest_valid(8)
    assert found.id == snapshot_id


@pytest.mark.fault(10)
async def test_a_store_that_is_away_is_named(s3: S3, tmp_path: Path) -> None:
    store = in_s3(s3, tmp_path, endpoint="http://127.0.0.1:1")
    for doing in (store.put(FIXED), store.list(3), store.get(3, f"{0:019d}-{0:019d}-{0:019d}-01234567")):
        await fails(doing, r"http://127\.0\.0\.1:1 cannot be reached: Connection refused")
