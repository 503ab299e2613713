"""MessagePack, read as JSON is: maps for objects, the timestamp extension for times."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from ingest.contract.errors import QuarantineError, Reason
from ingest.decoders.columns import Columns, Keys, columns_of, document_type, fields_of_structs
from ingest.decoders.documents import Documents

MAX_DEPTH = 64
"""Nesting of arrays and maps, anywhere that is looked at."""

# Maps with keys other than texts are refused before they are built: arrays as keys can be made to collide, and twenty
# thousand that do take seconds. Hence no decoding into Any but of scalars.
_Scalar = None | bool | int | float | str
_FLAT = msgspec.msgpack.Decoder(dict[str, _Scalar | list[_Scalar]])
_SCALARS = msgspec.msgpack.Decoder(list[_Scalar])
_MAP = msgspec.msgpack.Decoder(dict[str, msgspec.Raw])
_ARRAY = msgspec.msgpack.Decoder(list[msgspec.Raw])
_ANY = msgspec.msgpack.Decoder()
# First bytes: fixmap, map 16, map 32; fixarray, array 16, array 32.
_MAPS = frozenset([*range(0x80, 0x90), 0xDE, 0xDF])
_ARRAYS = frozenset([*range(0x90, 0xA0), 0xDC, 0xDD])


@dataclass(frozen=True, slots=True)
class Msgpack(Documents):
    """Fields of a MessagePack document; the options are those of `json`.

    Times may be of the timestamp extension (type -1). Keys are texts: a document with other keys is refused, as are
    bytes after it. Refused as values are binary data, other extensions, NaN and infinity.
    """

    def _usual_decoder(self, keys: Keys) -> msgspec.msgpack.Decoder[Any]:
        return msgspec.msgpack.Decoder(document_type(keys))

    def _columns(self, payloads: Sequence[bytes], keys: Keys) -> Columns | None:
        try:
            documents = list(map(self._usual.decode, payloads))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None
        return columns_of(documents, keys, self.max_rows, fields_of_structs)

    def _parse(self, payload: bytes) -> Any:
        if not payload:
            raise QuarantineError(Reason.EMPTY, "no bytes")
        try:
            return _document(payload)
        except RecursionError as error:
            raise QuarantineError(Reason.TOO_DEEP, "nested too deep") from error
        except UnicodeDecodeError as error:
            raise QuarantineError(Reason.ENCODING, "not UTF-8") from error
        except msgspec.DecodeError as error:
            raise QuarantineError(Reason.SYNTAX, str(error)) from error


def _document(payload: bytes) -> Any:
    try:
        return _FLAT.decode(payload)
    except msgspec.ValidationError:
        return _node(payload, 0)


def _node(data: bytes | msgspec.Raw, depth: int) -> Any:
    if depth > MAX_DEPTH:
        raise QuarantineError(Reason.TOO_DEEP, f"nested over {MAX_DEPTH} levels")
    first = memoryview(data)[0]
    if first in _MAPS:
        return {key: _node(raw, depth + 1) for key, raw in _MAP.decode(data).items()}
    if first in _ARRAYS:
        try:
            return _SCALARS.decode(data)
        except msgspec.ValidationError:
            return [_node(raw, depth + 1) for raw in _ARRAY.decode(data)]
    return _ANY.decode(data)
