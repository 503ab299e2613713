"""A payload → one JSON document of any shape, or the reason why it is none."""

from __future__ import annotations

from typing import Any

import msgspec

from ingest.contract.errors import QuarantineError, Reason

_ANY = msgspec.json.Decoder()


def parse_json(payload: bytes) -> Any:
    """The only document in a payload.

    Raises QuarantineError(EMPTY, TOO_DEEP, ENCODING, NUMBER or SYNTAX).

    >>> parse_json(b'[{"v":1}]')
    [{'v': 1}]
    """
    if not payload.strip():
        raise QuarantineError(Reason.EMPTY, "no bytes")
    try:
        return _ANY.decode(payload)
    except RecursionError as error:
        raise QuarantineError(Reason.TOO_DEEP, "nested too deep") from error
    except UnicodeDecodeError as error:
        raise QuarantineError(Reason.ENCODING, "not UTF-8") from error
    except msgspec.DecodeError as error:
        reason = Reason.NUMBER if "out of range" in str(error) else Reason.SYNTAX
        raise QuarantineError(reason, str(error)) from error
