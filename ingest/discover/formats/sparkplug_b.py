"""Sparkplug B: known by its topics, and by payloads that are protobuf."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from google.protobuf.message import DecodeError

from ingest.contract.errors import QuarantineError
from ingest.decoders.sparkplug.schema import Payload
from ingest.decoders.sparkplug.topics import NAMESPACE, parse_topic
from ingest.discover.formats.base import Facts, Format, Look

_BOOLEAN = 11
_COMMANDS = ("STATE", "NCMD", "DCMD")
DECODER = "sparkplug_b"


class SparkplugB:
    """One route reads the whole namespace; what its metrics are, births tell."""

    def detect(self, look: Look) -> Facts | None:
        """Births, data and deaths; commands and the states of hosts are no readings."""
        if not look.topic.startswith(f"{NAMESPACE}/".encode()):
            return None
        try:
            topic = parse_topic(look.topic)
        except QuarantineError:
            return None
        if topic.kind in _COMMANDS:
            return Facts(None, "a command, or the state of a host, in Sparkplug B")
        path = f"{topic.node}/{topic.device}" if topic.device else topic.node
        read, switches = 0, set[str]()
        for raw in look.payloads:
            try:
                payload = Payload.FromString(raw)
            except DecodeError:
                continue
            read += 1
            switches |= {
                f"{path}/{metric.name}"
                for metric in payload.metrics
                if metric.datatype == _BOOLEAN and isinstance(metric.name, str)
            }
        if 2 * read < len(look.payloads):
            return Facts(None, "no payload of Sparkplug B")
        return Facts(Format(DECODER, several=True), switches=frozenset(switches))

    def options(self, _one: Format, _facts: Sequence[Facts]) -> dict[str, Any]:
        """None: the gateway may ask for births, which `discover` must not."""
        return {}


def births_missing(topics: Iterable[bytes], waiting: Iterable[bytes]) -> list[str]:
    """What is to be said of nodes whose data came before their births. waiting: topics of such data.

    >>> births_missing([b"spBv1.0/G/NDATA/a", b"spBv1.0/G/NBIRTH/b"], [b"spBv1.0/G/NDATA/a"])[0]
    '? 1 of 2 nodes were heard without the births that tell what their metrics are, like G/a;'
    """
    nodes = {parse_topic(raw).node for raw in topics}
    without = sorted({parse_topic(raw).node for raw in waiting})
    if not without:
        return []
    return [
        f"? {len(without):,} of {len(nodes):,} nodes were heard without the births that tell what their metrics are, "
        f"like {without[0]};",
        "  the gateway asks them for births: it needs to write to spBv1.0/+/NCMD/+ (rebirth = false: listen only)",
    ]
