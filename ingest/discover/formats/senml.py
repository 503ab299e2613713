"""SenML packs (RFC 8428), in JSON or CBOR."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from io import BytesIO
from typing import Any

import cbor2

from ingest.decoders.base import Messages
from ingest.decoders.senml import Senml as Decoder
from ingest.discover.formats.base import Facts, Format, Look

_NAMES = {"n", "bn", 0, -2}
_VALUES = {"v", "vs", "vb", "vd", "s", "bv", "bs", 2, 3, 4, 5, 8, -5, -6}
_BOOLEAN = ("vb", 4)
_ANY_TIME_US = 1_700_000_000_000_000
_TAGS: dict[int, Callable[[Any, bool], Any]] = {4: lambda _value, _: 0.0, 55799: lambda value, _: value}


class Senml:
    """Known by records that have the names of SenML for their names and values."""

    def detect(self, look: Look) -> Facts | None:
        """Packs that the decoder reads, of which at least one says a name and a value."""
        packs = [one for one in look.documents if isinstance(one, list)] or [
            pack for payload in look.payloads if (pack := _numbered(payload)) is not None
        ]
        if not packs or any(not all(isinstance(record, dict) for record in pack) for pack in packs):
            return None
        keys = {key for pack in packs for record in pack for key in record}
        if keys.isdisjoint(_NAMES) or keys.isdisjoint(_VALUES):
            return None
        payloads = list(look.payloads)
        arrivals = [look.arrival_us] * len(payloads)
        read = Decoder().decode(Messages([look.topic] * len(payloads), payloads, arrivals))
        refused = {one.message for one in read.rejected}
        if not read.message or 2 * len(refused) > len(payloads):
            return None
        switches: set[str] = set()
        for pack in packs:
            base = ""
            for record in pack:
                base = _text(record, "bn", -2) or base
                if any(isinstance(record.get(key), bool) for key in _BOOLEAN):
                    switches.add(base + _text(record, "n", 0))
        return Facts(Format("senml", several=True), switches=frozenset(switches))

    def options(self, _one: Format, _facts: Sequence[Facts]) -> dict[str, Any]:
        """The encoding tells itself."""
        return {}


def _text(record: dict[Any, Any], *keys: str | int) -> str:
    return next((found for key in keys if isinstance(found := record.get(key), str)), "")


def _numbered(payload: bytes) -> list[Any] | None:
    """A pack in CBOR whose labels are numbers; None for what the decoder does not read."""
    # CBOR's arrays and tags begin so, and no text does.
    if not payload or not (0x80 <= payload[0] <= 0x9F or payload[0] == 0xD9):
        return None
    if not Decoder("cbor").decode(Messages([b""], [payload], [_ANY_TIME_US])).message:
        return None
    try:
        # What the decoder took has no other tags than these; what numbers they make is of no interest here.
        found = cbor2.CBORDecoder(BytesIO(payload), semantic_decoders=_TAGS).decode()
    except cbor2.CBORDecodeError:
        return None
    return found if isinstance(found, list) else None
