"""Recorded rows → the records of a log, as if each row had arrived at its own time.

A record's arrival is the newest time in it. It holds at most 10,000 rows, and spans more than a minute only where it
would else have fewer than 1,000; it ends before a gap that is out of the ordinary. Through gaps go ticks, as a worker
writes them: so the fold's clock goes on as it would have, but in longer steps where rows are sparse. How the rows were
read from their files changes nothing of this.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from deploy.backtest.rows import Recording, Rows
from ingest.contract.errors import StopError
from ingest.contract.readings import Readings, Words
from ingest.contract.wire import ARROW, Envelope, Kind, encode_readings, headers_of
from stream.fold.partition import LogRecord

MAX_ROWS = 10_000
FEWEST_ROWS = 1_000
SPAN_US = 60_000_000
MAX_SORTED_ROWS = 100_000_000
"""Of a file that is not in order of time: 2 GB, twice while it is being sorted."""
_BEFORE_GAP = 100
_UNUSUAL = 5
_TICK_US = 30_000_000
_TICKS = 100
_SOURCE = "backtest"
_NONE = Rows(np.zeros(0, np.int64), np.zeros(0, np.int32), np.zeros(0))


class Batch(NamedTuple):
    """One record's rows, and what brings it: ticks, and the record itself, the last one."""

    rows: Rows
    used: NDArray[np.int32]
    """Numbers of the sensors in it; the record's dictionary is in this order."""
    records: list[LogRecord]


def in_order(files: list[tuple[Recording, list[Rows] | None]], sort: bool | None) -> Iterator[Rows]:
    """The rows of all files by time, or, with sort False, file after file as they stand.

    files: with what is in memory of them. sort: None: those that are not in order; True: all of them. Rows of one time
    stay as they were. Raises StopError for a file too long to be sorted.
    """
    if sort is False:
        for recording, kept in files:
            yield from recording.rows() if kept is None else kept
        return
    yield from _merged([_sorted(recording, kept, always=bool(sort)) for recording, kept in files])


def _sorted(recording: Recording, kept: list[Rows] | None, *, always: bool) -> Iterator[Rows]:
    met = recording.met
    if met.ordered and not always:
        yield from recording.rows() if kept is None else kept
        return
    if met.readings > MAX_SORTED_ROWS:
        raise StopError(
            f"{recording.table.path}: {met.readings:,} readings that are not in order of time, at most "
            f"{MAX_SORTED_ROWS:,} are sorted in memory: sort the file beforehand, or take it as it stands, --no-sort"
        )
    rows = Rows.join(list(recording.rows() if kept is None else kept))
    order = np.argsort(rows.ts_us, kind="stable")
    for begin in range(0, len(order), 1_000_000):
        yield rows.take(order[begin : begin + 1_000_000])


def _merged(streams: list[Iterator[Rows]]) -> Iterator[Rows]:
    """Streams in order of time as one; of rows of one time, those of the earlier stream first."""
    heads = [next(one, _NONE) for one in streams]
    ended = [not len(head.ts_us) for head in heads]
    while not all(ended):
        # What comes of a stream that goes on is no earlier than its latest row.
        until_us = min(int(head.ts_us[-1]) for head, over in zip(heads, ended, strict=True) if not over)
        ends = [int(np.searchsorted(head.ts_us, until_us)) for head in heads]
        yield from _together([head.take(slice(0, end)) for head, end in zip(heads, ends, strict=True)])
        for at, end in enumerate(ends):
            heads[at] = heads[at].take(slice(end, None))
            if not ended[at] and heads[at].ts_us[-1] == until_us:
                more = next(streams[at], None)
                ended[at] = more is None
                heads[at] = heads[at] if more is None else Rows.join([heads[at], more])
    yield from _together(heads)


def _together(parts: list[Rows]) -> Iterator[Rows]:
    parts = [one for one in parts if len(one.ts_us)]
    if parts:
        rows = Rows.join(parts)
        yield rows if len(parts) == 1 else rows.take(np.argsort(rows.ts_us, kind="stable"))


def batches(blocks: Iterable[Rows], paths: list[str]) -> Iterator[Batch]:
    """Cut rows into records. paths: by sensor's number; it may grow meanwhile."""
    offset, arrival_us, clock_us = 0, 0, 0
    for rows in _cut(blocks):
        first_us, newest_us = int(rows.ts_us[0]), int(rows.ts_us.max())
        records = []
        for at_us in _ticks(arrival_us, first_us) if 0 < clock_us < first_us - SPAN_US else ():
            records.append(LogRecord(offset, headers_of(_envelope(Kind.TICK, offset, at_us)), b""))
            offset += 1
        used, readings = _readings(rows, paths)
        headers = headers_of(_envelope(Kind.READINGS, offset, newest_us))
        records.append(LogRecord(offset, headers, encode_readings(readings)))
        # A record that leaps by more does not move the clock: the ticks before the next one will.
        told_us = max(clock_us, first_us)
        clock_us = newest_us if newest_us - told_us <= SPAN_US else told_us
        offset, arrival_us = offset + 1, newest_us
        yield Batch(rows, used, records)


def closing(last_us: int, offset: int) -> list[LogRecord]:
    """The ticks of a worker that waits for more. last_us: of the newest row; offset: the next one."""
    times_us = [*_ticks(last_us, last_us), last_us + _TICK_US // 30]
    return [LogRecord(at, headers_of(_envelope(Kind.TICK, at, us)), b"") for at, us in enumerate(times_us, offset)]


def _envelope(kind: Kind, offset: int, at_us: int) -> Envelope:
    return Envelope(kind, ARROW, _SOURCE, offset, at_us, 1)


def _ticks(before_us: int, next_us: int) -> list[int]:
    """Times of ticks up to the next row. After three of them half a minute apart the clock believes a leap."""
    last = [next_us - 2 * _TICK_US, next_us - _TICK_US, next_us]
    apart_us = max(_TICK_US, (next_us - before_us) // _TICKS)
    return [*range(before_us + apart_us, last[0], apart_us), *last]


def _cut(blocks: Iterable[Rows]) -> Iterator[Rows]:
    waiting: list[Rows] = []
    held = 0
    for block in blocks:
        waiting.append(block)
        held += len(block.ts_us)
        if held >= MAX_ROWS:
            rows, begin = Rows.join(waiting), 0
            while len(rows.ts_us) - begin >= MAX_ROWS:
                end = _end(rows.ts_us, begin)
                yield rows.take(slice(begin, end))
                begin = end
            waiting, held = [rows.take(slice(begin, None))], len(rows.ts_us) - begin
    rows, begin = Rows.join([_NONE, *waiting]), 0
    while begin < len(rows.ts_us):
        end = _end(rows.ts_us, begin)
        yield rows.take(slice(begin, end))
        begin = end


def _end(ts_us: NDArray[np.int64], begin: int) -> int:
    most = ts_us[begin : begin + MAX_ROWS]
    # The first that is later; where times go back and forth, there may be earlier ones after it.
    later = most > most[0] + SPAN_US
    within = int(later.argmax()) if later.any() else len(most)
    count = min(len(most), max(within, FEWEST_ROWS))
    steps = np.diff(most[:count])
    if steps.size > _BEFORE_GAP and steps.max() > SPAN_US:
        gaps = steps[_BEFORE_GAP:] > max(SPAN_US, _UNUSUAL * float(np.median(steps[steps > 0])))
        count = _BEFORE_GAP + int(gaps.argmax()) + 1 if gaps.any() else count
    return begin + count


def _readings(rows: Rows, paths: list[str]) -> tuple[NDArray[np.int32], Readings]:
    there = np.zeros(len(paths), np.bool_)
    there[rows.sensor] = True
    used = np.flatnonzero(there).astype(np.int32)
    place = np.zeros(len(paths), np.int32)
    place[used] = np.arange(used.size, dtype=np.int32)
    nothing = np.zeros(len(rows.ts_us), np.uint8)
    words = Words(place[rows.sensor], [paths[at] for at in used.tolist()])
    return used, Readings(words, rows.ts_us, rows.value, nothing, nothing)
