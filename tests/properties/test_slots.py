"""A slot table is a dictionary and a heap of free slots, whatever its hashes do."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from ingest.contract.utf8 import Utf8
from stream.fold import hashing
from stream.fold import slots as slots_module
from stream.fold.slots import BUCKET, FREE, SlotTable

few = settings(max_examples=100, deadline=None)

# Prefixes of one another, equal ends, sizes about eight bytes, NULs, and letters of one to four bytes.
NAMES = st.one_of(
    st.sampled_from(["a", "aa", "aaaaaaaa", "aaaaaaab", "baaaaaab", "aaaaaaaaa", "a\0", "ä", "温度", "\U0001f321"]),
    st.integers(0, 300).map(lambda number: f"demo/line-01/press-{number:03d}/temperature"),
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40),
)


class Crowded(SlotTable):
    """Every name in one of four places."""

    _hash_mask = np.uint64(3)


class Equal(SlotTable):
    """All names have the same hash."""

    _hash_mask = np.uint64(0)


class SlotMachine(RuleBasedStateMachine):
    """Against a dict."""

    @initialize(table=st.sampled_from([SlotTable, Crowded, Equal]), names=st.lists(st.just(FREE) | NAMES, unique=True))
    def begin(self, table: type[SlotTable], names: list[str]) -> None:
        self.kind = table
        self.table = table(names)
        self.names = list(names)
        self.met: list[str] = [name for name in names if name != FREE]

    @property
    def model(self) -> dict[str, int]:
        return {name: slot for slot, name in enumerate(self.names) if name != FREE}

    def _take(self, name: str) -> int:
        free = [slot for slot, other in enumerate(self.names) if other == FREE]
        slot = free[0] if free else len(self.names)
        self.names[slot : slot + 1] = [name]
        return slot

    @rule(name=NAMES)
    def add(self, name: str) -> None:
        self.met.append(name)
        if name in self.model:
            with pytest.raises(ValueError, match="taken"):
                self.table.add(name)
        else:
            assert self.table.add(name) == self._take(name)

    @rule(names=st.lists(NAMES, unique=True, max_size=40))
    def add_many(self, names: list[str]) -> None:
        self.met += names
        fresh = [name for name in names if name not in self.model]
        assert self.table.add_all(fresh) == [self._take(name) for name in fresh]

    @precondition(lambda self: self.model)
    @rule(data=st.data())
    def free(self, data: st.DataObject) -> None:
        slot = data.draw(st.sampled_from(sorted(self.model.values())))
        self.table.free(slot)
        self.names[slot] = FREE

    @precondition(lambda self: self.model)
    @rule(data=st.data(), name=NAMES)
    def rename(self, data: st.DataObject, name: str) -> None:
        slot = data.draw(st.sampled_from(sorted(self.model.values())))
        self.met.append(name)
        if self.model.get(name, slot) != slot:
            with pytest.raises(ValueError, match="taken"):
                self.table.rename(slot, name)
        else:
            self.table.rename(slot, name)
            self.names[slot] = name

    @rule()
    def again_from_its_names(self) -> None:
        self.table = self.kind(self.table.names)

    @rule(name=NAMES)
    def get(self, name: str) -> None:
        assert self.table.get(name) == self.model.get(name)

    @rule(others=st.lists(st.just(FREE) | NAMES))
    def find(self, others: list[str]) -> None:
        asked = [*others, *self.met]
        expected = [self.model.get(name, -1) for name in asked]
        assert self.table.find(asked).tolist() == expected
        # As a record brings them: with their bytes anywhere.
        words = pa.array(["before", *asked, "after"]).dictionary_encode()
        ours = words.indices.to_numpy()[1:-1]
        dictionary = words.dictionary
        _, offsets, data = dictionary.buffers()
        column = Utf8(np.frombuffer(data, np.uint8), np.frombuffer(offsets, np.int32)[: len(dictionary) + 1])
        assert self.table.find(column)[ours].tolist() == expected

    @invariant()
    def knows_them_all_and_nobody_else(self) -> None:
        if hasattr(self, "table"):
            assert self.table.names == self.names
            assert self.table.rows == len(self.names)
            assert len(self.table) == len(self.model)
            assert self.table.find(self.met).tolist() == [self.model.get(name, -1) for name in self.met]


TestSlotTable = SlotMachine.TestCase
TestSlotTable.settings = settings(max_examples=50, stateful_step_count=15, deadline=None)


@pytest.mark.parametrize("table", [SlotTable, Crowded])
def test_many_come_and_go_and_their_places_are_used_again(table: type[SlotTable]) -> None:
    some = table()
    for turn in range(20):
        names = [f"plant/{turn}/machine-{at}/quantity" for at in range(300)]
        slots = some.add_all(names)
        assert sorted(slots) == list(range(300))
        assert some.find(names).tolist() == slots
        for slot in slots[::2] + slots[1::2]:
            some.free(slot)
        assert len(some) == 0
        assert (some.find(names) == -1).all()
    assert some.nbytes < 200 * 300


def test_one_sensor_that_is_renamed_for_ever_takes_no_more_and_no_more_memory() -> None:
    some = SlotTable(["a/b"])
    for turn in range(2_000):
        some.rename(0, f"a/{turn}")
    assert some.get("a/1999") == 0
    assert some.nbytes < 5_000


def test_a_slot_that_nobody_has_cannot_be_freed_or_renamed() -> None:
    some = SlotTable(["a", FREE])
    for slot in (1, -1):
        with pytest.raises(KeyError):
            some.free(slot)
        with pytest.raises(KeyError):
            some.rename(slot, "b")
    for refused in (lambda: some.add(FREE), lambda: some.rename(0, FREE), lambda: some.add_all(["b", "b"])):
        with pytest.raises(ValueError, match="taken, or none"):
            refused()
    assert (some.names, len(some)) == (["a", FREE], 1)


def test_a_name_that_is_there_twice_counts_once() -> None:
    assert len(SlotTable(["a", "b", "a"])) == 2


def test_a_lone_surrogate_is_a_name_like_any_other() -> None:
    some = SlotTable(["\ud800", "a"])
    assert some.find(["\ud800", "\ud801", "\ufffd"]).tolist() == [0, -1, -1]


# --- words in one buffer ----------------------------------------------------------------------------------------------


@few
@given(st.lists(st.text(max_size=6)), st.data())
def test_words_in_one_buffer_are_a_sequence_of_strings(words: list[str], data: st.DataObject) -> None:
    column = Utf8.of(words)
    assert list(column) == words == column[:]
    assert len(column) == len(words)
    at = data.draw(st.integers(-2 * len(words) - 1, 2 * len(words) + 1))
    if -len(words) <= at < len(words):
        assert column[at] == words[at]
    else:
        with pytest.raises(IndexError):
            column[at]
    some = data.draw(st.slices(len(words)))
    assert column[some] == words[some]


# --- hashes -----------------------------------------------------------------------------------------------------------


def test_hashes_are_those_of_the_interpreter_which_has_the_same_function() -> None:
    assert sys.hash_info.algorithm == "siphash13", "the oracle of this test"
    words = [bytes(range(size)) for size in range(1, 70)]
    script = f"print(*(hash(word) for word in {words!r}))"
    said = subprocess.run(
        [sys.executable, "-c", script], env={**os.environ, "PYTHONHASHSEED": "0"}, capture_output=True, check=True
    )
    key = np.zeros(2, np.uint64)
    found = [int(hashing.siphash(np.frombuffer(word, np.uint8), 0, len(word), key)) for word in words]
    assert found == [int(one) % 2**64 for one in said.stdout.split()]


def interpreted(monkeypatch: pytest.MonkeyPatch) -> None:
    for module, names in (
        (hashing, ["load", "_round", "siphash", "same_bytes"]),
        (slots_module, ["_seek", "look_up", "put_in", "take_out", "move_buckets", "move_names"]),
    ):
        for name in names:
            monkeypatch.setattr(module, name, getattr(module, name).py_func)
    for name in ("siphash", "same_bytes"):
        monkeypatch.setattr(slots_module, name, getattr(hashing, name))


def scenario(table: Any) -> list[Any]:
    some = table([f"a/{at}" for at in range(70)])
    for slot in range(0, 70, 3):
        some.free(slot)
    some.rename(1, "a/longer-than-before")
    some.add_all([f"b/{at}" for at in range(40)])
    some.free(4)
    buckets = some._buckets
    return [
        some.find([f"a/{at}" for at in range(70)]).tolist(), some.names, buckets.tolist(), some._spans.tolist(),
        some._bytes.tobytes(),
    ]  # fmt: skip


@pytest.mark.parametrize("table", [SlotTable, Crowded])
def test_compiled_and_interpreted_loops_agree(monkeypatch: pytest.MonkeyPatch, table: type[SlotTable]) -> None:
    compiled = scenario(table)
    interpreted(monkeypatch)
    with np.errstate(over="ignore"):  # the hash is meant to overflow
        assert scenario(table) == compiled


def test_half_of_the_buckets_stay_empty() -> None:
    some = SlotTable()
    for at in range(1_000):
        some.add(f"a/{at}")
        assert np.count_nonzero(some._buckets["slot"] >= 0) == at + 1
        assert some._buckets.size >= 2 * (at + 1)
    assert some._buckets.dtype == BUCKET
