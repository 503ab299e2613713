"""A bare value as text: `21.5`, `true`, `RUN`. One message, one reading, stamped on arrival."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite, nan

from ingest.contract.errors import QuarantineError, Reason
from ingest.contract.readings import Quality
from ingest.contract.values import MAX_TEXT
from ingest.decoders.base import Decoded, Messages, Rejected

_WORDS = {"true": 1.0, "false": 0.0, "on": 1.0, "off": 0.0}
# float() would take "nan", "1_000" and thousands of digits; a number here is short and has none of these.
_MAX_NUMBER = 64


@dataclass(frozen=True, slots=True)
class Plain:
    """Numbers, booleans and words.

    numbers_only: refuse what is neither a number nor a boolean, instead of reading it as text.
    decimal_comma: read `21,5` as 21.5.
    """

    numbers_only: bool = False
    decimal_comma: bool = False

    @property
    def names_fields(self) -> bool:
        """The topic names the sensor."""
        return False

    def decode(self, messages: Messages) -> Decoded:
        """One row for each payload that can be read."""
        out = Decoded()
        for at, payload in enumerate(messages.payloads):
            try:
                value, text = self._value(payload)
            except QuarantineError as error:
                out.rejected.append(Rejected(at, error.reason, error.detail))
                continue
            out.message.append(at)
            out.value.append(value)
            out.text.append(text)
        rows = len(out.message)
        out.field, out.code = [None] * rows, [None] * rows
        out.ts_us, out.quality = [0] * rows, [int(Quality.GOOD)] * rows
        return out

    def _value(self, payload: bytes) -> tuple[float, str | None]:
        try:
            text = payload.decode().strip()
        except UnicodeDecodeError as error:
            raise QuarantineError(Reason.ENCODING, "not UTF-8") from error
        if not text:
            raise QuarantineError(Reason.EMPTY, "blank")
        word = _WORDS.get(text.lower())
        if word is not None:
            return word, None
        number = text.replace(",", ".", 1) if self.decimal_comma else text
        try:
            value = float(number)
        except ValueError:
            value = None
        if value is not None and "_" not in number:
            if len(number) > _MAX_NUMBER or not isfinite(value):
                raise QuarantineError(Reason.NUMBER, "not finite, or thousands of digits")
            return value, None
        if self.numbers_only:
            raise QuarantineError(Reason.TYPE, "text where a number was expected")
        if len(text) > MAX_TEXT:
            raise QuarantineError(Reason.TOO_LARGE, f"a text of over {MAX_TEXT} characters")
        return nan, text
