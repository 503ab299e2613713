"""What workers must have come to: the plain fold of the whole log, against their snapshots (I2) and alerts (I3)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from ingest.contract.errors import QuarantineError
from stream.fold.partition import LogRecord, PartitionFold
from stream.fold.plan import Plan
from stream.fold.state import Frozen
from tests.deployment.logs import Record, read_topic
from tests.faults.worker_plant import PARTITIONS, by_partition
from tests.faults.workers import Workers

_MOST_SHOWN = 12


class Word(NamedTuple):
    """A transition, or a digest (phase "digest"), of a partition."""

    id: str
    phase: str
    sensor: str
    rule: str


@dataclass
class Truth:
    """Of one partition: the state before an offset, and what was to be told of the records before it."""

    state: Frozen
    words: list[Word] = field(default_factory=list)
    offsets: dict[Word, int] = field(default_factory=dict)
    """Of the record that a word follows from."""


def fold_log(plan: Plan, partition: int, log: Sequence[Record], before: int, skip: Collection[int] = ()) -> Truth:
    """The plain fold of a partition's log up to an offset. skip: offsets of records that were set aside."""
    fold = PartitionFold(plan, PARTITIONS, partition=partition)
    words: list[Word] = []
    offsets: dict[Word, int] = {}
    for record in log:
        if record.offset >= before:
            break
        if record.offset in skip:
            fold.state.next_offset = record.offset + 1
            continue
        try:
            effects = fold.fold(
                LogRecord(record.offset, list(record.headers.items()), record.value, record.timestamp_ms)
            )
        except QuarantineError:
            continue
        told = [Word(one.id, one.phase.name.lower(), one.sensor, one.rule) for one in effects.transitions]
        told += [Word(one.id, "digest", one.site, "") for one in effects.digests]
        words += told
        offsets |= dict.fromkeys(told, record.offset)
    return Truth(fold.state.freeze(), words, offsets)


class Heard(NamedTuple):
    """What a partition's words on the alerts topic are to those who read them as they should."""

    words: list[Word]
    dropped: list[Word]
    """Of owners that were."""


def heard(records: Sequence[Record], group: str) -> dict[int, Heard]:
    """By partition of the readings topic, in the order of the alerts topic, which has one partition."""
    found = {number: Heard([], []) for number in range(PARTITIONS)}
    highest: Counter[int] = Counter()
    for record in records:
        assert record.headers["group"].decode() == group
        partition, generation = int(record.headers["partition"]), int(record.headers["generation"])
        word = _word(record)
        late = generation < highest[partition]
        highest[partition] = max(highest[partition], generation)
        (found[partition].dropped if late else found[partition].words).append(word)
    return found


def _word(record: Record) -> Word:
    assert record.value is not None
    body = msgspec.json.decode(record.value)
    return Word(body["id"], body["phase"], body.get("sensor") or body["site"], body.get("rule") or "")


async def told_before(workers: Workers, committed: Mapping[int, int]) -> Counter[tuple[int, Word]]:
    """How often each word was said of each partition's records before an offset, by whomever."""
    found: Counter[tuple[int, Word]] = Counter()
    for record in await read_topic(workers.kafka, workers.alerts):
        partition, word = int(record.headers["partition"]), _word(record)
        if int(record.headers["offset"]) < committed[partition]:
            found[partition, word] += 1
    return found


@dataclass
class Checked:
    """What was found besides being right: so that a test can see that its fault happened."""

    words: int = 0
    dropped: list[Word] = field(default_factory=list)
    """What an owner that was said too late."""
    repeated: list[Word] = field(default_factory=list)
    """What was said oftener than it happened."""
    readings: int = 0


async def check(
    workers: Workers, partitions: Collection[int] = range(PARTITIONS), skip: Mapping[int, Collection[int]] | None = None
) -> Checked:
    """I2 and I3, of workers that have ended: nobody writes any more, and the newest snapshots are of the very end.

    skip: offsets of records that are not to be folded.
    """
    log = by_partition((one.partition, one) for one in await read_topic(workers.kafka, workers.readings))
    told = heard(await read_topic(workers.kafka, workers.alerts), workers.group)
    checked = Checked()
    for partition in partitions:
        frozen = await newest_state(workers, partition)
        truth = fold_log(workers.plan, partition, log[partition], frozen.next_offset, (skip or {}).get(partition, ()))
        assert_same_state(partition, frozen, truth)
        assert_same_words(partition, told[partition].words, truth)
        checked.words += len(truth.words)
        checked.dropped += told[partition].dropped
        checked.repeated += (Counter(told[partition].words) - Counter(truth.words)).elements()
        checked.readings += sum(frozen.scalars["counts"])
    return checked


async def newest_state(workers: Workers, partition: int) -> Frozen:
    """Of the newest snapshot, which is the one that is committed, and of the very end."""
    found, (committed, note) = await workers.store.newest_valid(partition), (await workers.committed())[partition]
    assert found.snapshot is not None
    assert not found.skipped
    assert (committed, note.snapshot_id) == (found.snapshot.frozen.next_offset, found.id)
    return found.snapshot.frozen


def assert_same_state(partition: int, frozen: Frozen, truth: Truth) -> None:
    """Bit for bit."""
    differences = list(different(frozen, truth.state))
    assert not differences, f"partition {partition}:\n" + "\n".join(differences[:_MOST_SHOWN])


def assert_same_words(partition: int, words: Sequence[Word], truth: Truth) -> None:
    """Each at least once, no other, and those of an alert in their order."""
    missing, strange = set(truth.words) - set(words), set(words) - set(truth.words)
    lines = [f"missing: {one}, of offset {truth.offsets[one]}" for one in sorted(missing)]
    lines += [f"never to be said: {one}" for one in sorted(strange)]
    assert not lines, f"partition {partition}:\n" + "\n".join(lines[:_MOST_SHOWN])
    assert _phases(words) == _phases(truth.words)


def _phases(words: Sequence[Word]) -> dict[str, list[str]]:
    """Of each alert, in order of their first time."""
    found: dict[str, list[str]] = {}
    for one in dict.fromkeys(words):
        found.setdefault(one.id, []).append(one.phase)
    return found


def different(found: Frozen, wanted: Frozen) -> Iterator[str]:
    """What differs between two states, for people."""
    for name in ("next_offset", "now_us", "texts", "scalars"):
        if getattr(found, name) != getattr(wanted, name):
            yield f"{name}: {getattr(found, name)}, not {getattr(wanted, name)}"
    if found.names != wanted.names:
        yield f"names: {found.names}, not {wanted.names}"
        return
    if found.arrays.keys() != wanted.arrays.keys():
        yield f"arrays: {sorted(found.arrays)}, not {sorted(wanted.arrays)}"
        return
    for name, array in found.arrays.items():
        yield from _different_rows(name, array, wanted.arrays[name], found.names)


def _different_rows(name: str, found: NDArray[Any], wanted: NDArray[Any], sensors: Sequence[str]) -> Iterator[str]:
    if (found.dtype, found.shape) != (wanted.dtype, wanted.shape):
        yield f"{name}: {found.shape} of {found.dtype}, not {wanted.shape} of {wanted.dtype}"
    elif found.dtype.names:
        for field_name in found.dtype.names:
            yield from _different_rows(f"{name}.{field_name}", found[field_name], wanted[field_name], sensors)
    else:
        # Bit for bit: NaN is NaN, and 0.0 is not -0.0.
        bits, right = (np.ascontiguousarray(one).view(f"u{found.dtype.itemsize}") for one in (found, wanted))
        for at in np.argwhere(bits != right).tolist():
            sensor = sensors[at[0]] if len(found) == len(sensors) else "?"
            yield f"{name}{at} of {sensor or 'a free slot'}: {found[tuple(at)]!r}, not {wanted[tuple(at)]!r}"
