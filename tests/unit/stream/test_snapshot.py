"""A snapshot comes back bit for bit, or is refused for a reason of the closed set."""

from __future__ import annotations

import dataclasses
import json
import zlib
from hashlib import blake2b
from pathlib import Path
from typing import Any

import cramjam
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream import snapshot as module
from stream.fold.state import Frozen, PartitionState
from stream.snapshot import SCHEMA_VERSION, Fault, Snapshot, SnapshotError, decode_snapshot, encode_snapshot
from tests.unit.stream.logs import PLANT, Batch, examples, fold_log, logs, plan_of
from tests.unit.stream.snapshots import FIXED, parts, same, snapshots

ENCODED = bytes(encode_snapshot(FIXED))
PREAMBLE_BYTES = 26
GOLDEN = Path(__file__).parents[2] / "golden" / "snapshots"


def why_not(data: bytes) -> SnapshotError:
    with pytest.raises(SnapshotError) as caught:
        decode_snapshot(data)
    return caught.value


@given(snapshots())
@examples(60)
def test_a_snapshot_comes_back_bit_for_bit(snapshot: Snapshot) -> None:
    back = decode_snapshot(encode_snapshot(snapshot))
    assert parts(back) == parts(snapshot)
    assert all(array.flags.writeable and array.flags.aligned for array in back.frozen.arrays.values())


@given(snapshots())
@examples(20)
def test_equal_snapshots_are_equal_bytes(snapshot: Snapshot) -> None:
    data = encode_snapshot(snapshot)
    assert encode_snapshot(decode_snapshot(data)) == data


@given(logs())
@examples(25)
def test_a_state_that_was_kept_and_brought_back_is_the_same_state(batches: list[Batch]) -> None:
    plan = plan_of(*PLANT)
    fold = fold_log(plan, batches).fold
    kept = dataclasses.replace(FIXED, frozen=fold.state.freeze())
    back = PartitionState.thaw(plan, decode_snapshot(encode_snapshot(kept)).frozen)
    assert back.digest_parts() == fold.state.digest_parts()


def test_an_array_of_several_blocks_comes_back() -> None:
    noise = np.random.default_rng(1).standard_normal((3, 2**17 + 5))
    big = dataclasses.replace(FIXED, frozen=dataclasses.replace(FIXED.frozen, arrays={"noise": noise, "same": noise.T}))
    assert same(decode_snapshot(encode_snapshot(big)), big)


@given(st.integers(0, len(ENCODED) - 1))
@examples(150)
def test_whatever_is_cut_off_is_missed(end: int) -> None:
    assert why_not(ENCODED[:end]).reason is Fault.TORN


@given(st.integers(0, len(ENCODED) - 1), st.integers(0, 7))
@examples(300)
def test_any_bit_that_flips_is_seen(at: int, bit: int) -> None:
    data = bytearray(ENCODED)
    data[at] ^= 1 << bit
    assert why_not(bytes(data)).reason is Fault.CORRUPT


@given(st.binary(min_size=1, max_size=40))
@examples(30)
def test_what_follows_the_end_is_seen(more: bytes) -> None:
    error = why_not(ENCODED + more)
    assert error.reason is Fault.CORRUPT
    assert error.detail == f"{len(more)} bytes follow its end"


@given(st.binary(max_size=200))
@examples(50)
def test_anything_else_is_refused(data: bytes) -> None:
    assert why_not(data).reason in (Fault.TORN, Fault.CORRUPT)


def test_a_file_of_the_right_length_that_was_never_synced_is_refused() -> None:
    assert why_not(bytes(len(ENCODED))).reason is Fault.CORRUPT
    assert why_not(ENCODED[:-40] + bytes(40)).reason is Fault.CORRUPT


def sealed(header: bytes, body: bytes, version: int = SCHEMA_VERSION) -> bytes:
    """What a program would write that has other ideas of a snapshot."""
    total = PREAMBLE_BYTES + len(header) + len(body) + 32
    preamble = ENCODED[:8] + version.to_bytes(2, "little") + len(header).to_bytes(4, "little")
    preamble += total.to_bytes(8, "little")
    data = preamble + zlib.crc32(preamble).to_bytes(4, "little") + header + body
    return data + blake2b(data, digest_size=32).digest()


HEADER_BYTES = int.from_bytes(ENCODED[10:14], "little")
HEADER: dict[str, Any] = json.loads(ENCODED[PREAMBLE_BYTES : PREAMBLE_BYTES + HEADER_BYTES])
BODY = ENCODED[PREAMBLE_BYTES + HEADER_BYTES : -32]


def with_section(number: int, **changes: Any) -> bytes:
    sections = [dict(one) for one in HEADER["sections"]]
    sections[number] |= changes
    return sealed(json.dumps({**HEADER, "sections": sections}).encode(), BODY)


def test_the_seal_of_these_tests_is_that_of_the_program() -> None:
    assert same(decode_snapshot(sealed(json.dumps(HEADER).encode(), BODY)), FIXED)
    assert [one["name"] for one in HEADER["sections"]][:2] == ["array/rows", "array/class_of"]


@pytest.mark.parametrize("rest", ["all", "none"])
def test_a_newer_one_is_recognised_and_says_what_to_do(rest: str) -> None:
    newer = sealed(b"something else entirely", b"", SCHEMA_VERSION + 1)
    error = why_not(newer if rest == "all" else newer[:PREAMBLE_BYTES])
    assert error.reason is Fault.NEWER
    assert "upgrade this worker" in str(error)


STRANGE: dict[str, bytes] = {
    "no JSON": sealed(b"{", BODY),
    "no table": sealed(b"[]", BODY),
    "nothing said": sealed(b"{}", BODY),
    "a header beyond the end": sealed(b"{}", b"")[:-32],
    "a version that never was": sealed(json.dumps(HEADER).encode(), BODY, 0),
    "deep": sealed(b"[" * 100_000, BODY),
    "a negative partition": sealed(json.dumps({**HEADER, "partition": -1}).encode(), BODY),
    "an offset too large": sealed(json.dumps({**HEADER, "next_offset": 2**63}).encode(), BODY),
    "another compression": sealed(json.dumps({**HEADER, "compression": "lz77"}).encode(), BODY),
    "other definitions": sealed(json.dumps({**HEADER, "definitions_digest": "0"}).encode(), BODY),
    "no names": with_section([one["name"] for one in HEADER["sections"]].index("names"), name="x"),
    "names that are numbers": with_section(
        [one["name"] for one in HEADER["sections"]].index("names"), name="text_slots"
    ),
    "a section twice": with_section(1, name="array/rows"),
    "objects": with_section(1, dtype="|O"),
    "strings": with_section(1, dtype="<U4"),
    "a type of another machine": with_section(1, dtype=">i4"),
    "terabytes": with_section(1, shape=[2**40]),
    "more than there are numbers for": with_section(1, shape=[2**62, 2**62]),
    "terabytes times nothing": with_section(1, shape=[2**62, 0], blocks=[]),
    "a negative length": with_section(1, shape=[-3]),
    "too many dimensions": with_section(1, shape=[1] * 40 + [3]),
    "a row too many": with_section(1, shape=[4]),
    "a row too few": with_section(1, shape=[2]),
    "a block beyond the end": with_section(1, blocks=[2**40]),
    "a block of nothing": with_section(1, blocks=[0]),
    "no blocks": with_section(1, blocks=[]),
    "a body that is too long": sealed(json.dumps(HEADER).encode(), BODY + b"1"),
    "a body that is no zstd": sealed(json.dumps(HEADER).encode(), bytes(len(BODY))),
    "a field beyond its row": with_section(
        0, dtype={"itemsize": 8, "fields": [{"name": "a", "offset": 4, "dtype": "<i8", "shape": []}]}
    ),
    "a field of terabytes": with_section(
        0, dtype={"itemsize": 8, "fields": [{"name": "a", "offset": 0, "dtype": "<i8", "shape": [2**40]}]}
    ),
    "a field of a type that is none": with_section(
        0, dtype={"itemsize": 8, "fields": [{"name": "a", "offset": 0, "dtype": "|V8", "shape": []}]}
    ),
    "a row of terabytes": with_section(0, dtype={"itemsize": 2**42, "fields": []}),
    "two fields of one name": with_section(
        0,
        dtype={"itemsize": 25, "fields": [{"name": "a", "offset": 0, "dtype": "<i8", "shape": []}] * 2},
    ),
}


@pytest.mark.parametrize("data", STRANGE.values(), ids=STRANGE)
def test_what_no_program_should_have_written_is_refused(data: bytes) -> None:
    assert why_not(data).reason in (Fault.LAYOUT, Fault.TORN)


@given(st.data())
@examples(150)
def test_no_header_whatever_it_says_does_more_than_be_refused(data: st.DataObject) -> None:
    header = json.loads(json.dumps(HEADER))
    inside: Any = header
    while isinstance(inside, dict | list) and inside:
        key = data.draw(st.sampled_from(sorted(inside) if isinstance(inside, dict) else range(len(inside))))
        if data.draw(st.booleans()) or not isinstance(inside[key], dict | list):
            inside[key] = data.draw(
                st.sampled_from([None, True, -1, 0, 1, 2, 2**31, 2**62, 2**64, 0.5, "", "|O", "<f8", [], [1], {}])
            )
            break
        inside = inside[key]
    reason = None
    try:
        decode_snapshot(sealed(json.dumps(header).encode(), BODY))
    except SnapshotError as error:
        reason = error.reason
    assert reason in (None, Fault.LAYOUT)


def test_nothing_is_allocated_for_a_block_that_grows_without_end() -> None:
    # 64 MiB of zeros are 2 KB; the array they are said to be has 12 bytes.
    bomb = bytes(cramjam.zstd.compress(bytes(2**26)))
    before = sum(sum(one["blocks"]) for one in HEADER["sections"][:1])
    after = before + HEADER["sections"][1]["blocks"][0]
    sections = [dict(one) for one in HEADER["sections"]]
    sections[1]["blocks"] = [len(bomb)]
    header = json.dumps({**HEADER, "sections": sections}).encode()
    assert why_not(sealed(header, BODY[:before] + bomb + BODY[after:])).reason is Fault.LAYOUT


def test_the_format_knows_everything_that_is_state() -> None:
    known = {"next_offset", "now_us", "names", "texts", "scalars", "arrays"}
    assert {field.name for field in dataclasses.fields(Frozen)} == known


@pytest.mark.parametrize("array", [np.array([None]), np.array(["a"]), np.zeros(1, ">f8"), np.zeros(1, "M8[us]")])
def test_an_array_that_could_not_be_read_again_is_not_written(array: np.ndarray[Any, Any]) -> None:
    frozen = dataclasses.replace(FIXED.frozen, arrays={"a": array})
    with pytest.raises(TypeError, match="a snapshot cannot hold"):
        encode_snapshot(dataclasses.replace(FIXED, frozen=frozen))


def test_a_snapshot_of_the_first_version_can_still_be_read() -> None:
    assert same(decode_snapshot((GOLDEN / "v1.snapshot").read_bytes()), FIXED)


def test_the_first_bytes_are_where_every_version_will_look_for_them() -> None:
    assert module._PREAMBLE_BYTES == PREAMBLE_BYTES
    assert ENCODED.startswith(b"\x89MST\r\n\x1a\n\x01\x00")
    assert int.from_bytes(ENCODED[14:22], "little") == len(ENCODED)
