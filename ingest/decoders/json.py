"""JSON: objects with one value or several, nested objects, arrays of rows, waveforms.

The fast way decodes a whole burst with one call: the payloads joined by newlines, each of which must be exactly
one object. It is taken only where that is provably the same as decoding one by one; anything else goes the slow
way, message by message, and tells what is wrong with which.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from ingest.decoders.columns import Columns, Keys, columns_of, document_type, fields_of_structs
from ingest.decoders.documents import Documents
from ingest.decoders.jsontext import parse_json

_BLANKS = b" \t\r\n"


@dataclass(frozen=True, slots=True)
class Json(Documents):
    """Fields of a JSON document.

    A name is a key as it stands, dots and all, or, if it starts with a slash, a JSON Pointer (RFC 6901):
    `/motor/temp`, `/axes/0/position`.

    value:     where the value is; ignored with `values`. An array of numbers is one reading: a waveform.
    values:    several values: their names, or `["*"]` for all but time, quality, unit, rate_hz and name. Then the
               route's path needs `{field}` or `{id}`; pointers give fields of several levels (`motor/temp`).
    flatten:   with `["*"]`: go into nested objects, `{"motor": {"temp": 1}}` is the field `motor/temp`.
    rows:      where the array of rows is, `""` if it is the document: each of its objects is read as a document of
               its own; an object in place of the array is one row.
    name:      where a row's name is; then the route's path needs `{field}` or `{id}`, with `values` as well
               `name/value`.
    time:      where the time is; where there is none, the document's is taken, else the arrival time.
    document_time: where the document's time is, if it is called otherwise than a row's.
    time_unit: s, ms, us, ns, iso, or auto (by its size).
    quality:   where the quality is; where there is none, the document's is taken, else good.
    unit:      where the unit is; none is read by default. As with quality, a row's own goes before the document's.
    rate_hz:   where a waveform's sampling rate is; likewise.

    max_rows:    values in one payload; a payload of more is refused.
    max_depth:   levels that `flatten` goes down.
    max_name:    characters of a field's name.
    max_samples: numbers in a waveform.
    """

    def _usual_decoder(self, keys: Keys) -> msgspec.json.Decoder[Any]:
        return msgspec.json.Decoder(document_type(keys))

    def _columns(self, payloads: Sequence[bytes], keys: Keys) -> Columns | None:
        brackets = b"[]" if keys.rows == "" else b"{}"
        joined = _lines(payloads, brackets)
        if joined is None:
            # A carriage return is as good as a newline between tokens, and as bad within a string.
            spread = [payload.strip(_BLANKS).replace(b"\n", b"\r") for payload in payloads]
            joined = _lines(spread, brackets)
        if joined is None:
            return None
        try:
            documents: list[Any] = self._usual.decode_lines(joined)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None
        if len(documents) != len(payloads):
            return None
        return columns_of(documents, keys, self.max_rows, fields_of_structs)

    def _parse(self, payload: bytes) -> Any:
        return parse_json(payload)


def _lines(payloads: Sequence[bytes], brackets: bytes) -> bytes | None:
    """A document a line; None where that is not certain."""
    joined = b"\n".join(payloads)
    gaps = len(payloads) - 1
    # Every boundary reads "}\n{" (or "]\n["), and there is no other newline: a value cannot span it, as JSON allows
    # neither an object or array directly after another nor a newline in a string. Then as many values as payloads
    # means one value each.
    first, last = brackets[:1], brackets[1:]
    certain = joined.count(b"\n") == gaps == joined.count(last + b"\n" + first)
    return joined if certain and joined[:1] == first and joined[-1:] == last else None
