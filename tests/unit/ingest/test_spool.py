"""The spool's directory, by examples: who may use it, what is refused, what a real disk does at its limit."""

from __future__ import annotations

import os
import resource
from pathlib import Path

import pytest

from ingest.contract.errors import IncompatibleError, StopError
from ingest.contract.log_writer import Outgoing
from ingest.spool import Spool, frames
from ingest.spool.frames import pack_segment_header, unpack_segment_header


def tree(directory: Path) -> dict[str, bytes]:
    """Everything in it but the lock."""
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in sorted(directory.rglob("*"))
        if path.is_file() and path.name != "lock"
    }


def values(spool: Spool, topic: str = "t", partition: int = 0) -> list[bytes | None]:
    lane, found = spool.lane(topic, partition), list[bytes | None]()
    while not lane.empty:
        chunk = lane.read()
        found += [one.value for one in chunk.records]
        lane.advance(chunk.end)
    return found


def test_two_gateways_cannot_share_a_spool(tmp_path: Path) -> None:
    first = Spool(tmp_path, 10_000)
    with pytest.raises(StopError, match=rf"in use by another gateway \(process {os.getpid()}\).*state_dir of its own"):
        Spool(tmp_path, 10_000)
    first.close()
    Spool(tmp_path, 10_000).close()


def test_a_directory_that_cannot_be_used_is_a_matter_for_a_person(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StopError, match=r"cannot be used \(.*\): give gateway.state_dir"):
        Spool(tmp_path / "file" / "spool", 10_000)


@pytest.mark.parametrize("newer", ["segment", "cursor"])
def test_files_of_a_newer_version_are_refused_and_nothing_is_touched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, newer: str
) -> None:
    spool = Spool(tmp_path, 100_000, segment_bytes=100)
    for topic in ("a", "b"):
        for n in range(3):
            spool.lane(topic, 0).append([[Outgoing(b"%d" % n * 100)]])
    chunk = spool.lane("a", 0).read(1)
    spool.lane("a", 0).advance(chunk.end)
    with monkeypatch.context() as patch:
        patch.setattr(frames, "VERSION", 2)
        if newer == "segment":
            spool.lane("b", 0).append([[Outgoing(b"3" * 100)]])
        else:
            spool.lane("b", 0).advance(spool.lane("b", 0).read(1).end)
    spool.close()
    torn = next(tmp_path.glob("lanes/a@0/*3.seg"))
    torn.write_bytes(torn.read_bytes()[:-1])
    before = tree(tmp_path)
    with pytest.raises(IncompatibleError, match="is of version 2, this program knows 1"):
        Spool(tmp_path, 100_000)
    assert tree(tmp_path) == before


@pytest.mark.parametrize(
    "topic", ["millstream.readings", "..", ".", "a/b", "/etc", "a@1", "ü \n\0", "%2F", "@", "CON", "-x"]
)
def test_topics_are_safe_as_names_and_come_back(tmp_path: Path, topic: str) -> None:
    spool = Spool(tmp_path / "spool", 100_000)
    spool.lane(topic, 12).append([[Outgoing(b"v")]])
    spool.close()
    assert {path.name for path in tmp_path.iterdir()} == {"spool"}
    assert len(list((tmp_path / "spool" / "lanes").iterdir())) == 1
    again = Spool(tmp_path / "spool", 100_000)
    assert list(again.lanes) == [(topic, 12)]
    assert values(again, topic, 12) == [b"v"]
    again.close()


def test_a_topic_that_kafka_would_refuse_for_its_length_is_refused(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 100_000)
    with pytest.raises(StopError, match="too long"):
        spool.lane("ü" * 200, 0)
    spool.close()


def test_other_files_in_the_directory_are_left_alone(tmp_path: Path) -> None:
    for name in ("lost+found", "t@x", "@1", "t"):
        (tmp_path / "lanes" / name).mkdir(parents=True)
    spool = Spool(tmp_path, 100_000)
    assert dict(spool.lanes) == {}
    spool.close()


def test_a_write_that_the_system_cuts_short_leaves_the_lane_whole(tmp_path: Path) -> None:
    """A file may grow to 5,000 bytes: the kernel writes as much as fits, then refuses, as on a full disk."""
    spool = Spool(tmp_path, 100_000)
    lane = spool.lane("t", 0)
    lane.append([[Outgoing(b"a" * 3_000)]])
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5_000, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            lane.append([[Outgoing(b"b" * 1_000)], [Outgoing(b"c" * 3_000)]])
        on_disk = sum(path.stat().st_size for path in tmp_path.glob("lanes/*/*.seg"))
        assert spool.used_bytes == on_disk < 3_200
        lane.append([[Outgoing(b"d" * 3_000)]])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    lane.append([[Outgoing(b"e")]])
    spool.close()
    spool = Spool(tmp_path, 100_000)
    assert values(spool) == [b"a" * 3_000, b"d" * 3_000, b"e"]
    assert spool.damage == []
    spool.close()


def test_remains_of_a_failed_write_that_could_not_be_taken_away_are_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(30, "Read-only file system")

    spool = Spool(tmp_path, 100_000)
    lane = spool.lane("t", 0)
    lane.append([[Outgoing(b"a")]])
    with monkeypatch.context() as patch:
        patch.setattr(os, "ftruncate", refuse)
        patch.setattr(os, "fsync", refuse)
        with pytest.raises(OSError, match="Read-only"):
            lane.append([[Outgoing(b"b")]])
    assert any(b"\xc4\x01b" in path.read_bytes() for path in tmp_path.glob("lanes/*/*.seg"))
    lane.append([[Outgoing(b"c")]])
    assert spool.used_bytes == sum(path.stat().st_size for path in tmp_path.glob("lanes/*/*.seg"))
    assert [one.value for one in lane.read().records] == [b"a", b"c"]
    spool.close()
    spool = Spool(tmp_path, 100_000)
    assert values(spool) == [b"a", b"c"]
    assert spool.used_bytes == 0
    spool.close()


def test_a_segment_that_could_not_be_made_nor_removed_does_not_stand_in_the_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(5, "Input/output error")

    spool = Spool(tmp_path, 100_000)
    lane = spool.lane("t", 0)
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", refuse)
        patch.setattr(Path, "unlink", refuse)
        with pytest.raises(OSError, match="Input/output"):
            lane.append([[Outgoing(b"a")]])
    assert len(list(tmp_path.glob("lanes/*/*.seg"))) == 1
    assert spool.used_bytes == 0
    lane.append([[Outgoing(b"a")]])
    spool.close()
    spool = Spool(tmp_path, 100_000)
    assert values(spool) == [b"a"]
    assert [damage.what for damage in spool.damage] in ([], ["cursor"])
    assert list(tmp_path.glob("lanes/*/*.seg")) == []
    spool.close()


def test_a_chunk_is_small_however_much_there_is(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 2**26, segment_bytes=2**20)
    lane = spool.lane("t", 0)
    for _ in range(10):
        lane.append([[Outgoing(os.urandom(1_000)) for _ in range(600)]])
    assert lane.backlog_bytes > 6_000_000
    left = 6_000
    while not lane.empty:
        chunk = lane.read()
        assert sum(len(one.value or b"") for one in chunk.records) <= 2**20
        left -= len(chunk.records)
        lane.advance(chunk.end)
    assert left == 0
    spool.close()


def test_of_damaged_files_the_newest_few_are_kept(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 2**20, segment_bytes=10)
    lane = spool.lane("t", 0)
    for n in range(12):
        lane.append([[Outgoing(b"%d" % n * 50)]])
    for path in tmp_path.glob("lanes/*/*.seg"):
        content = bytearray(path.read_bytes())
        content[-1] ^= 1
        path.write_bytes(content)
    assert values(spool) == []
    assert len(list((tmp_path / "damaged").iterdir())) == 8
    assert spool.used_bytes == 0
    spool.close()


def test_no_single_damaged_bit_makes_a_header_another_version_or_another_header() -> None:
    header = pack_segment_header(7, frames.Position(6, 1_234))
    assert unpack_segment_header(header, Path("x")) == (6, 1_234)
    for bit in range(len(header) * 8):
        flipped = bytearray(header)
        flipped[bit // 8] ^= 1 << bit % 8
        assert unpack_segment_header(bytes(flipped), Path("x")) is None
