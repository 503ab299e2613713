"""The usual burst of SenML in JSON: packs of numbers and booleans, without sums or base values, all of them right.

What it gives is what `senml` gives record by record; anything else in a burst sends all of it there.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from math import isfinite

import msgspec
from msgspec import UNSET, UnsetType

from ingest.contract.errors import QuarantineError, Reason
from ingest.contract.readings import MAX_TS_US, MIN_TS_US, Quality
from ingest.contract.times import many_to_us
from ingest.contract.values import MAX_UNIT
from ingest.decoders.base import Decoded

_RELATIVE_S = 2**28
_BEYOND_S = 1e10  # 2200-01-01 is 7.26e9
_SECONDARY_UNITS = 26
_VERSION = 10
_NAMES = re.compile(r"(?:[A-Za-z0-9][A-Za-z0-9:./_-]*+\n)*+").fullmatch


class _Record(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    """With any other field, known or not, a record is unusual. A null is as good as no field, but no value."""

    v: float | UnsetType = UNSET
    n: str = ""
    t: float = 0.0
    u: str | None = None
    vb: bool | UnsetType = UNSET
    bn: str | None = None
    bt: float | None = None
    bu: str | None = None
    bver: float | None = None


_PACKS = msgspec.json.Decoder(list[_Record])


def usual_burst(joined: bytes, arrival_us: Sequence[int], max_records: int, max_name: int) -> Decoded | None:
    """A row for each value, in order; None where anything in the burst is unusual, or wrong.

    joined: packs, one a line: begins with "[", ends with "]", and has no newline but those between "]" and "[".
    arrival_us: of each pack.
    """
    try:
        packs: list[list[_Record]] = _PACKS.decode_lines(joined)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if len(packs) != len(arrival_us) or max(map(len, packs)) > max_records:
        return None
    # An escape could hide the label.
    if b"bver" in joined or b"\\" in joined:
        said = {record.bver for pack in packs for record in pack if record.bver is not None}
        if not all(map(is_version, said)):
            return None
    columns = _columns(packs)
    if columns is None:
        return None
    message, names, times_s, values, units = columns
    # A number that is not finite makes the sum so. (A sum may be so without: then the careful way finds nothing wrong.)
    if len(set(message)) != len(packs) or not isfinite(sum(values)):
        return None
    # A name a line; one with a newline would pass for two.
    listed = "\n".join([*names, ""])
    if max(map(len, names)) > max_name or not _NAMES(listed) or listed.count("\n") != len(names):
        return None
    different = set(units)
    if any(unit is not None and len(unit) > MAX_UNIT for unit in different):
        return None
    ts_us = _many_us(times_s, message, arrival_us)
    if ts_us is None:
        return None
    out = Decoded(message, list[str | None](names), ts_us, values)
    rows = len(values)
    out.text, out.quality, out.code = [None] * rows, [int(Quality.GOOD)] * rows, [None] * rows
    if different - {None, ""}:
        out.unit = [unit or None for unit in units]
    return out


def _columns(
    packs: list[list[_Record]],
) -> tuple[list[int], list[str], list[float], list[float], list[str | None]] | None:
    """(message, name, time in s, value, unit) by the base fields (RFC 8428, §4.5); None if not each has one value."""
    message: list[int] = []
    names: list[str] = []
    times_s: list[float] = []
    values: list[float] = []
    units: list[str | None] = []
    for at, pack in enumerate(packs):
        bn, bt, bu = "", 0.0, None
        for record in pack:
            if record.bn is not None:
                bn = record.bn
            if record.bt is not None:
                bt = record.bt
            if record.bu is not None:
                bu = record.bu
            value = record.v
            if value is UNSET:
                if record.vb is UNSET:
                    if record.n:
                        return None
                    continue  # base fields only
                value = float(record.vb)
            elif record.vb is not UNSET:
                return None
            message.append(at)
            names.append(bn + record.n)
            times_s.append(bt + record.t)
            values.append(value)
            units.append(bu if record.u is None else record.u)
    return message, names, times_s, values, units


def _many_us(times_s: list[float], message: list[int], arrival_us: Sequence[int]) -> list[int] | None:
    if min(times_s) >= _RELATIVE_S:
        return many_to_us(times_s, "s")
    if not any(times_s):
        return [0] * len(times_s)
    try:
        return [time_us(time_s, arrival_us[at]) for time_s, at in zip(times_s, message, strict=True)]
    except QuarantineError:
        return None


def is_version(bver: float) -> bool:
    """Whether it is one that is understood (RFC 8428, §4.4; RFC 9100 with secondary units)."""
    return 1 <= bver <= _VERSION or bver == _SECONDARY_UNITS


def time_us(time_s: float, arrival_us: int) -> int:
    """µs UTC of base time and time together (RFC 8428, §4.5.3); 0 for "now", which becomes the time of arrival.

    Raises QuarantineError(TIMESTAMP).

    >>> time_us(-0.5, arrival_us=1_700_000_000_000_000)
    1699999999500000
    """
    if time_s == 0:
        return 0
    if not -_BEYOND_S < time_s < _BEYOND_S:
        raise QuarantineError(Reason.TIMESTAMP, "not between 1990 and 2200")
    ts_us = round(time_s * 1_000_000)
    if time_s < _RELATIVE_S:
        ts_us += arrival_us
    if not MIN_TS_US <= ts_us < MAX_TS_US:
        raise QuarantineError(Reason.TIMESTAMP, "not between 1990 and 2200")
    return ts_us
