"""What a plant says, without a broker."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from ingest.discover.heard import Hearing
from ingest.packets import Burst

START_US = 1_790_000_000_000_000


def burst(messages: Iterable[tuple[str, Any]], *, retained: bool = False) -> Burst:
    """Messages as they come in; what is not bytes is sent as JSON."""
    out = Burst()
    for topic, payload in messages:
        out.topics.append(topic.encode())
        out.payloads.append(payload if isinstance(payload, bytes) else json.dumps(payload, ensure_ascii=False).encode())
        out.first.append(0x31 if retained else 0x30)
    return out


def hear(rounds: Iterable[Iterable[tuple[str, Any]]], every_s: float = 1.0) -> Hearing:
    """One burst a round."""
    hearing = Hearing()
    for at, messages in enumerate(rounds):
        hearing.take(burst(messages), START_US + round(at * every_s * 1e6))
    return hearing
