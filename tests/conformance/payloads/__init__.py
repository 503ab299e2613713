"""What the conformance suite tries on each decoder, besides what it tries on all."""

from __future__ import annotations

import dataclasses
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from hypothesis import strategies as st

Sent = tuple[bytes, bytes]
"""A message: topic and payload."""


@dataclasses.dataclass(frozen=True)
class Payloads:
    """options: sets of options to try. topics: to send hostile payloads to; the first is that of golden cases.

    usual: a payload that is read. hostile: payloads that look like the format's. drawn: messages that are mostly right,
    so that what is compared is not only refusals.
    """

    options: list[dict[str, Any]] = dataclasses.field(default_factory=lambda: [{}])
    topics: list[bytes] = dataclasses.field(default_factory=lambda: [b"factory/press/temperature"])
    usual: bytes = b'{"value":2}'
    hostile: list[bytes] = dataclasses.field(default_factory=list)
    drawn: st.SearchStrategy[Sent] = dataclasses.field(default_factory=st.nothing)


def payloads_of(decoder: str) -> Payloads:
    """`KNOWN` of the decoder's module here, else the defaults."""
    module = f"{__name__}.{decoder}"
    if find_spec(module) is None:
        return Payloads()
    known: Payloads = import_module(module).KNOWN
    return known
