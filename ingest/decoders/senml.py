"""SenML packs (RFC 8428) in JSON or CBOR: the records of sensors, resolved by the pack's base fields.

Decided where the RFC leaves room:
- A sum (§4.5.4, the integral of the value over time) is a reading of its own beside the value: its name ends in
  `sum_suffix`, its unit is the record's times seconds, as UCUM writes it (`W` → `W.s`).
- A time below 2^28 s counts from the arrival of the message; none, or zero, is arrival itself (§4.5.3).
- A record that is wrong is rejected alone; one whose base fields are wrong takes the rest of the pack with it, as they
  hold for what follows. An unknown field that has to be understood (`…_`, §4.4) rejects its record.
- Versions to 10, and 26: that is 10 with secondary units (RFC 9100, RFC 8798). Any other rejects the pack.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any, Literal, NoReturn

import cbor2
import msgspec
from msgspec import UNSET, UnsetType

from ingest.contract.errors import QuarantineError, Reason
from ingest.contract.readings import Quality
from ingest.contract.values import unit_of, value_of
from ingest.decoders.base import Decoded, Drop, Dropped, Messages, Rejected
from ingest.decoders.jsontext import parse_json
from ingest.decoders.senml_usual import is_version, time_us, usual_burst

_MAX_DEPTH = 8
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9:./_-]*").fullmatch

_Text = str | UnsetType
_Number = float | UnsetType


class _Record(msgspec.Struct, gc=False):
    """Fields of a record as they are named in JSON; `ut` is of no use here."""

    bn: _Text = UNSET
    bt: _Number = UNSET
    bu: _Text = UNSET
    bv: _Number = UNSET
    bs: _Number = UNSET
    bver: _Number = UNSET
    n: str = ""
    u: _Text = UNSET
    v: _Number = UNSET
    vs: _Text = UNSET
    vb: bool | UnsetType = UNSET
    vd: Any = UNSET
    s: _Number = UNSET
    t: float = 0.0


_PACKS = msgspec.json.Decoder(list[_Record])
_BASE = frozenset({"bn", "bt", "bu", "bv", "bs", "bver"})
_TEXTS = frozenset({"bn", "bu", "n", "u", "vs"})
_NUMBERS = frozenset({"bt", "bv", "bs", "bver", "v", "s", "t"})
# RFC 8428, table 4. The table is closed: what is new has a name in text.
_LABELS: dict[Any, str] = {-6: "bs", -5: "bv", -4: "bu", -3: "bt", -2: "bn", -1: "bver", 8: "vd"}
_LABELS |= enumerate(["n", "u", "v", "vs", "vb", "s", "t", "ut"])
_VALUES = frozenset({"v", "vs", "vb", "vd", "s"})


@dataclass(frozen=True, slots=True)
class Senml:
    """Packs of records; `field` is the full name, base name and name together.

    encoding:    json, cbor, or auto: what begins as CBOR's array or tag does cannot begin a JSON text.
    sum_suffix:  what is put after the name for the reading of a sum; empty leaves sums out.
    max_records: of a pack; a longer one is refused as a whole.
    max_name:    characters of a full name.
    """

    encoding: Literal["auto", "json", "cbor"] = "auto"
    sum_suffix: str = "_sum"
    max_records: int = 10_000
    max_name: int = 256

    def __post_init__(self) -> None:
        if self.sum_suffix and not _NAME(f"x{self.sum_suffix}"):
            raise ValueError("sum_suffix: only letters, digits and - : . / _")
        if min(self.max_records, self.max_name) < 1:
            raise ValueError("max_records and max_name are at least 1")

    @property
    def names_fields(self) -> bool:
        """Records have names."""
        return True

    def decode(self, messages: Messages) -> Decoded:
        """Rows for each record that can be read."""
        joined = self._joined(messages.payloads)
        if joined is not None:
            usual = usual_burst(joined, messages.arrival_us, self.max_records, self.max_name)
            if usual is not None:
                return usual
        out, units = Decoded(), list[str | None]()
        packs: Sequence[Sequence[_Record] | None] = self._burst(joined, len(messages.payloads)) or [None] * len(
            messages.payloads
        )
        names: set[str] = set()
        for at, (payload, arrival_us, pack) in enumerate(
            zip(messages.payloads, messages.arrival_us, packs, strict=True)
        ):
            rows, rejected = len(out.message), len(out.rejected)
            # A payload gives the same whatever came with it, so each is tried the fast way alone too.
            if pack is None and (alone := self._burst(self._joined([payload]), 1)) is not None:
                pack = alone[0]
            try:
                records: Sequence[_Record | QuarantineError] = self._slow(payload) if pack is None else pack
                if len(records) > self.max_records:
                    raise QuarantineError(Reason.TOO_LARGE, f"over {self.max_records} records")
                if pack is None or b"bver" in payload:
                    _check_versions(records)
                self._resolve(out, units, names, at, records, arrival_us)
            except QuarantineError as error:
                out.rejected.append(Rejected(at, error.reason, error.detail))
            if len(out.message) == rows and len(out.rejected) == rejected:
                out.dropped.append(Dropped(at, Drop.NO_READINGS))
        rows = len(out.message)
        out.quality, out.code = [int(Quality.GOOD)] * rows, [None] * rows
        out.unit = units if units.count(None) < rows else None
        return out

    # --- payloads → records -----------------------------------------------------------------------------------------

    def _joined(self, payloads: Sequence[bytes]) -> bytes | None:
        """A pack a line; None where that is not certain."""
        if self.encoding == "cbor":
            return None
        joined = b"\n".join(payloads)
        gaps = len(payloads) - 1
        # As in `json`: every newline is between "]" and "[", and a value cannot span such a place.
        certain = joined.count(b"\n") == gaps == joined.count(b"]\n[")
        return joined if certain and joined[:1] == b"[" and joined[-1:] == b"]" else None

    def _burst(self, joined: bytes | None, count: int) -> list[list[_Record]] | None:
        """All packs at once, or None where one of them is unusual."""
        # A field that has to be understood would be skipped; an escape could hide one.
        if joined is None or b'_"' in joined or b"\\" in joined:
            return None
        try:
            packs: list[list[_Record]] = _PACKS.decode_lines(joined)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None
        return packs if len(packs) == count else None

    def _slow(self, payload: bytes) -> list[_Record | QuarantineError]:
        # No JSON text begins with a byte over 0x7f.
        if self.encoding == "cbor" or (self.encoding == "auto" and payload[:1] > b"\x7f"):
            pack = _parse_cbor(payload)
        else:
            pack = parse_json(payload)
        if not isinstance(pack, list):
            raise QuarantineError(Reason.TYPE, f"a {type(pack).__name__} where an array of records was expected")
        records: list[_Record | QuarantineError] = []
        for fields in pack[: self.max_records + 1]:
            try:
                records.append(_record(fields))
            except QuarantineError as error:
                records.append(error.with_traceback(None))
                if isinstance(fields, dict) and any(map(_is_base, fields)):
                    break
        return records

    # --- records → rows ---------------------------------------------------------------------------------------------

    def _resolve(
        self,
        out: Decoded,
        units: list[str | None],
        names: set[str],
        at: int,
        records: Sequence[_Record | QuarantineError],
        arrival_us: int,
    ) -> None:
        """Apply the base fields (RFC 8428, §4.5)."""
        bn, bt, bu = "", 0.0, ""
        bv: _Number = UNSET
        bs: _Number = UNSET
        for number, record in enumerate(records):
            try:
                if isinstance(record, QuarantineError):
                    raise record
                if record.bn is not UNSET:
                    bn = record.bn
                if record.bt is not UNSET:
                    bt = record.bt
                if record.bu is not UNSET:
                    bu = record.bu
                if record.bv is not UNSET:
                    bv = record.bv
                if record.bs is not UNSET:
                    bs = record.bs
                value: _Number = record.v
                text: str | None = None
                if value is UNSET or record.vs is not UNSET or record.vb is not UNSET or record.vd is not UNSET:
                    if not record.n and record.s is UNSET and not _measures(record):
                        continue
                    value, text = _other(record, bv, bs)
                elif not isinstance(bv, UnsetType):
                    value += bv
                name = bn + record.n
                if name not in names:
                    self._check(name)
                    names.add(name)
                ts_us = time_us(bt + record.t, arrival_us)
                unit = unit_of(bu if record.u is UNSET else record.u)
                if value is not UNSET:
                    if text is None and not isfinite(value):
                        raise QuarantineError(Reason.NUMBER, "not finite")
                    out.message.append(at)
                    out.field.append(name)
                    out.ts_us.append(ts_us)
                    out.value.append(value)
                    out.text.append(text)
                    units.append(unit)
                if (record.s is UNSET and bs is UNSET) or not self.sum_suffix:
                    continue
                total = (0.0 if record.s is UNSET else record.s) + (0.0 if bs is UNSET else bs)
                if not isfinite(total):
                    raise QuarantineError(Reason.NUMBER, "a sum that is not finite")
                out.message.append(at)
                out.field.append(name + self.sum_suffix)
                out.ts_us.append(ts_us)
                out.value.append(total)
                out.text.append(None)
                units.append(None if unit is None else f"{unit}.s")
            except QuarantineError as error:
                out.rejected.append(Rejected(at, error.reason, f"record {number}: {error.detail}"))

    def _check(self, name: str) -> None:
        if not name or len(name) > self.max_name or not _NAME(name):
            raise QuarantineError(Reason.NAME, "empty, too long, or with characters that SenML has not in names")


def _is_base(key: Any) -> bool:
    """Whether a label, known or not, may hold for the records that follow."""
    if type(key) is int:
        return key < 0
    return key in _BASE or (isinstance(key, str) and key.startswith("b") and key.endswith("_"))


def _check_versions(records: Sequence[_Record | QuarantineError]) -> None:
    """RFC 8428, §4.4: a pack of another version is not used at all, wherever it says so."""
    for record in records:
        if isinstance(record, QuarantineError) or record.bver is UNSET:
            continue
        if not is_version(record.bver):
            raise QuarantineError(Reason.SYNTAX, "an unknown version of SenML")


def _measures(record: _Record) -> bool:
    return record.vs is not UNSET or record.vb is not UNSET or record.vd is not UNSET


def _other(record: _Record, bv: _Number, bs: _Number) -> tuple[_Number, str | None]:
    """(value, text) of a record that has not just a number; no value where it has only a sum."""
    if (record.v is not UNSET) + (record.vs is not UNSET) + (record.vb is not UNSET) + (record.vd is not UNSET) > 1:
        raise QuarantineError(Reason.SYNTAX, "more than one value")
    if record.vd is not UNSET:
        raise QuarantineError(Reason.TYPE, "octets are not a reading")
    if record.vs is not UNSET:
        value, text, _ = value_of(record.vs)
        return value, text
    if record.vb is not UNSET:
        return float(record.vb), None
    if record.s is not UNSET:
        return UNSET, None
    if bv is not UNSET:  # "the missing fields are considered to have a value of zero"
        return bv, None
    if bs is not UNSET:
        return UNSET, None
    raise QuarantineError(Reason.NO_VALUE, "neither a value nor a sum")


def _record(fields: Any) -> _Record:
    """A map of either encoding as a record, every field checked. A null is as good as no field, but no value."""
    if not isinstance(fields, dict):
        raise QuarantineError(Reason.TYPE, f"a {type(fields).__name__} where a record was expected")
    known: dict[str, Any] = {}
    for key, value in fields.items():
        label = _LABELS.get(key, key) if type(key) is int else key
        if not isinstance(label, str):
            raise QuarantineError(Reason.SYNTAX, "a label that SenML does not have")
        if value is None and label in _VALUES:
            raise QuarantineError(Reason.TYPE, f"{label} is null")
        if label in _NUMBERS:
            if type(value) is float:
                known[label] = value
            elif value is not None:
                known[label] = _number(label, value)
        elif label in _TEXTS:
            if isinstance(value, str):
                known[label] = value
            elif value is not None:
                raise QuarantineError(Reason.TYPE, f"{label} is not text")
        elif label.endswith("_"):
            raise QuarantineError(Reason.SYNTAX, "a field that has to be understood, and is not")
        elif label == "vb" and not isinstance(value, bool):
            raise QuarantineError(Reason.TYPE, "vb is neither true nor false")
        elif label in _VALUES:
            known[label] = value
    return _Record(**known)


def _number(label: str, value: Any) -> float:
    is_time = label in ("t", "bt")
    if type(value) is not int:
        raise QuarantineError(Reason.TIMESTAMP if is_time else Reason.TYPE, f"{label} is not a number")
    try:
        return float(value)
    except OverflowError as error:
        raise QuarantineError(Reason.TIMESTAMP if is_time else Reason.NUMBER, f"{label} is beyond 1.8e308") from error


# --- CBOR -----------------------------------------------------------------------------------------------------------


def _refused(*_: Any) -> NoReturn:
    raise ValueError("a tag that SenML does not use")


def _decimal_fraction(value: Any, _: bool) -> float:
    exponent, mantissa = value
    if type(exponent) is not int or type(mantissa) is not int:
        raise ValueError("a decimal fraction of something else than integers")
    return float(f"{mantissa}e{exponent}")  # inf where it is beyond all floats


# What cbor2 makes of tags by itself (patterns, dates, messages, references that are circles) has no place here.
_TAGS: Mapping[int, Any] = dict.fromkeys(
    (0, 1, 2, 3, 5, 25, 28, 29, 30, 35, 36, 37, 52, 54, 100, 256, 258, 260, 261, 1004, 43000), _refused
) | {4: _decimal_fraction, 55799: lambda value, _: value}


def _parse_cbor(payload: bytes) -> Any:
    if not payload:
        raise QuarantineError(Reason.EMPTY, "no bytes")
    decoder = cbor2.CBORDecoder(
        io.BytesIO(payload),
        semantic_decoders=_TAGS,
        tag_hook=_refused,
        max_depth=_MAX_DEPTH,
        allow_duplicate_keys=False,
    )
    try:
        document = decoder.decode()
    except cbor2.CBORDecodeError as error:
        reason = Reason.TOO_DEEP if "nesting depth" in str(error) else Reason.SYNTAX
        raise QuarantineError(reason, str(error)) from error
    try:
        decoder.read(1)
    except cbor2.CBORDecodeEOF:
        return document
    raise QuarantineError(Reason.SYNTAX, "bytes after the pack")
