"""What a gateway remembers over restarts."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from ingest.memory import Memory, memory_name
from ingest.state_files import StateFiles


@dataclass
class Owner:
    """Remembers a word."""

    word: bytes = b""
    changes: int = 0

    def learn(self, word: bytes) -> None:
        self.word = word
        self.changes += 1

    def snapshot(self) -> bytes:
        return self.word

    def restore(self, snapshot: bytes) -> None:
        if snapshot.startswith(b"?"):
            raise ValueError("not a word")
        self.word = snapshot


@dataclass
class Events:
    failed: list[str] = field(default_factory=list)

    def memory_failed(self, name: str, reason: str) -> None:
        self.failed.append(f"{name}: {reason}")


def test_the_next_life_remembers(tmp_path: Path) -> None:
    events, owner = Events(), Owner()
    memory = Memory(StateFiles(tmp_path / "state"), events)
    memory.watch({"a": owner, "b": object()})
    memory.save()
    assert not (tmp_path / "state").exists()  # nothing was learned yet
    owner.learn(b"birth")
    memory.save()
    again = Owner()
    Memory(StateFiles(tmp_path / "state"), events).watch({"a": again})
    assert again.word == b"birth"
    assert events.failed == []


def test_within_a_life_nobody_is_told_what_the_file_says(tmp_path: Path) -> None:
    # After a reload the clocks' successor, which knew better already, was given what had been written a second before.
    memory, owner, new = Memory(StateFiles(tmp_path), Events()), Owner(), Owner(b"three")
    memory.watch({"a": owner})
    owner.learn(b"one")
    memory.save()
    owner.learn(b"two")
    memory.watch({"a": owner})
    assert owner.word == b"two"
    memory.watch({"a": new})
    assert new.word == b"three"
    memory.save()
    assert (tmp_path / "a").read_bytes() == b"three"


@pytest.mark.parametrize("spoil", ["unreadable", "a directory"])
def test_a_memory_that_cannot_be_kept_is_said_and_stops_nothing(spoil: str, tmp_path: Path) -> None:
    if spoil == "unreadable":
        (tmp_path / "a").write_bytes(b"?")
    else:
        (tmp_path / "a").mkdir()
    events, owner = Events(), Owner()
    memory = Memory(StateFiles(tmp_path), events)
    memory.watch({"a": owner})
    assert len(events.failed) == 1
    owner.learn(b"word")
    memory.save()
    assert len(events.failed) == (1 if spoil == "unreadable" else 2)


async def test_what_was_learned_last_is_written_at_the_end(tmp_path: Path) -> None:
    memory, owner = Memory(StateFiles(tmp_path), Events()), Owner()
    memory.watch({"a": owner})
    running = asyncio.create_task(memory.run())
    await asyncio.sleep(0)
    owner.learn(b"last")
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running
    assert (tmp_path / "a").read_bytes() == b"last"


def test_a_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    files = StateFiles(tmp_path / "deep" / "er")
    assert files.read("a") is None
    files.write("a", b"1" * 1_000)
    files.write("a", b"2")
    assert files.read("a") == b"2"
    assert [one.name for one in (tmp_path / "deep" / "er").iterdir()] == ["a"]


def test_another_route_is_another_memory() -> None:
    one = memory_name("mqtt", "spBv1.0/{rest...}", "sparkplug_b", {"rebirth": True, "max_nodes": 5})
    assert one == memory_name("mqtt", "spBv1.0/{rest...}", "sparkplug_b", {"max_nodes": 5, "rebirth": True})
    assert one != memory_name("north", "spBv1.0/{rest...}", "sparkplug_b", {"rebirth": True, "max_nodes": 5})
    assert one != memory_name("mqtt", "spBv1.0/{rest...}", "sparkplug_b", {})
