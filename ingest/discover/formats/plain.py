"""Bare values as text."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from ingest.discover.formats.base import Facts, Format, Look, why_no_value

_COMMA = re.compile(r"[-+]?\d+,\d+")
_COMMA_OR_WHOLE = re.compile(r"[-+]?\d+(,\d+)?")
_SWITCHES = {"true", "false", "on", "off"}


class Plain:
    """The last resort: any short text that most payloads are."""

    def detect(self, look: Look) -> Facts | None:
        """Numbers, words, switches."""
        if look.documents or not look.texts:
            return None
        reasons = look.reasons.copy()
        texts = []
        for text in look.texts:
            if why := why_no_value(text):
                reasons[why] += 1
            else:
                texts.append(text)
        if len(texts) < reasons.total() or not texts:
            return Facts(None, reasons.most_common(1)[0][0])
        comma = all(map(_COMMA_OR_WHOLE.fullmatch, texts)) and any(map(_COMMA.fullmatch, texts))
        switches = {""} if all(text.lower() in _SWITCHES for text in texts) else set()
        return Facts(Format("plain"), decimal_comma=comma, switches=frozenset(switches))

    def options(self, _one: Format, facts: Sequence[Facts]) -> dict[str, Any]:
        """Whether numbers have commas."""
        return {"decimal_comma": True} if any(fact.decimal_comma for fact in facts) else {}
