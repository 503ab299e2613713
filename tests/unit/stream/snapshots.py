"""Snapshots for tests: states of no plan at all, that hypothesis makes up, and one that is always the same."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from stream.fold.state import Frozen
from stream.snapshot import Snapshot

PARTITIONS = 12
MADE_US = 1_700_000_000_000_000


def _fixed_arrays() -> dict[str, np.ndarray[Any, Any]]:
    rows = np.zeros(3, [("mean", np.float64), ("ring", np.int64, (2,)), ("on", np.bool_)])
    rows["mean"], rows["ring"], rows["on"] = [0.1, np.nan, -np.inf], [[1, 2], [3, 4], [5, 2**62]], [True, False, True]
    return {"rows": rows, "class_of": np.array([0, 1, 7], np.int32), "none": np.zeros((3, 0), np.float64)}


FIXED = Snapshot(
    group="millstream-worker",
    topic="millstream.readings",
    partition=3,
    partitions=PARTITIONS,
    fence=(5 << 32) | 7,
    made_us=MADE_US,
    definitions=b"what was in force",
    frozen=Frozen(
        next_offset=4_711,
        now_us=MADE_US + 1,
        names=["a/1/t", "", "a/2/Ölstand"],
        texts={2: "läuft"},
        scalars={"counts": [3, 0, 1], "x": 0.1},
        arrays=_fixed_arrays(),
    ),
)
"""`tests/golden/snapshots/v1.snapshot` is this one."""


def snapshot_at(next_offset: int, fence: int = 1, made_us: int = MADE_US, partition: int = 3) -> Snapshot:
    """FIXED at another place."""
    frozen = replace(FIXED.frozen, next_offset=next_offset)
    return replace(FIXED, fence=fence, made_us=made_us, partition=partition, frozen=frozen)


def same(one: Snapshot, other: Snapshot) -> bool:
    """Bit for bit."""
    return parts(one) == parts(other)


def parts(snapshot: Snapshot) -> list[object]:
    """All of it, as what can be compared; NaN is equal to the same NaN."""
    frozen = snapshot.frozen
    return [
        (snapshot.group, snapshot.topic, snapshot.partition, snapshot.partitions),
        (snapshot.fence, snapshot.made_us, snapshot.definitions),
        (frozen.next_offset, frozen.now_us, frozen.names, list(frozen.texts.items()), repr(frozen.scalars)),
        {name: (array.dtype, array.shape, array.tobytes()) for name, array in frozen.arrays.items()},
    ]


_NUMBERS = st.sampled_from(["|b1", "|i1", "|u1", "<i2", "<u2", "<i4", "<u4", "<i8", "<u8", "<f2", "<f4", "<f8"])


@st.composite
def _records(draw: st.DrawFn, inner: st.SearchStrategy[Any]) -> np.dtype[Any]:
    names = draw(st.lists(st.text("abcxyz_µ", min_size=1, max_size=5), min_size=1, max_size=4, unique=True))
    shapes = st.sampled_from([(), (2,), (2, 3), (0,)])
    fields = [(name, draw(inner), draw(shapes)) for name in names]
    return np.dtype(fields, align=draw(st.booleans()))


DTYPES = st.recursive(_NUMBERS.map(np.dtype), _records, max_leaves=6)


@st.composite
def _arrays(draw: st.DrawFn, dtype: np.dtype[Any], shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
    size = dtype.itemsize * int(np.prod(shape))
    seed = draw(st.binary(min_size=1, max_size=8))
    data = np.frombuffer((seed * (size // len(seed) + 1))[:size], np.uint8)
    array: np.ndarray[Any, Any] = np.zeros(shape, dtype)
    if size:
        array.reshape(-1).view(np.uint8)[:] = data
    return array


_TEXT = st.text(max_size=8)
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | _TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXT, inner, max_size=3),
    max_leaves=6,
)
_SHAPES = hnp.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=5)


@st.composite
def snapshots(draw: st.DrawFn) -> Snapshot:
    """Of any arrays, names, texts and scalars."""
    names = draw(st.lists(_TEXT, max_size=5))
    arrays = {
        name: draw(_arrays(draw(DTYPES), draw(_SHAPES))) for name in draw(st.lists(_TEXT, max_size=3, unique=True))
    }
    natural = st.integers(0, 2**63 - 1)
    return Snapshot(
        group=draw(st.text(min_size=1, max_size=5)),
        topic=draw(st.text(min_size=1, max_size=5)),
        partition=draw(st.integers(0, 99)),
        partitions=draw(st.integers(1, 100)),
        fence=draw(natural),
        made_us=draw(natural),
        definitions=draw(st.binary(max_size=20)),
        frozen=Frozen(
            next_offset=draw(natural),
            now_us=draw(st.integers(0, 2**62)),
            names=names,
            texts=draw(st.dictionaries(st.integers(0, 4), _TEXT, max_size=3)),
            scalars=draw(st.dictionaries(_TEXT, _JSON, max_size=3)),
            arrays=arrays,
        ),
    )
