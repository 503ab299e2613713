"""Topics of the namespace (specification 3.0.0, 4.1): `spBv1.0/group/type/node[/device]`."""

from __future__ import annotations

from typing import NamedTuple

from ingest.contract.errors import QuarantineError, Reason
from ingest.contract.sensors import MAX_PATH_BYTES

NAMESPACE = "spBv1.0"

_OF_NODE = frozenset({"NBIRTH", "NDATA", "NDEATH", "NCMD"})
_OF_DEVICE = frozenset({"DBIRTH", "DDATA", "DDEATH", "DCMD"})
_MAX_TOPIC_BYTES = MAX_PATH_BYTES + len(NAMESPACE) + len("/NDEATH/")


class Topic(NamedTuple):
    """kind: `NDATA`, `DBIRTH` …, or `STATE`. node: group and node id, `group/node`. device: its id, or nothing.

    raw: as it came.
    """

    kind: str
    node: str = ""
    device: str = ""
    raw: bytes = b""


def parse_topic(raw: bytes) -> Topic:
    """Read a topic. Raises QuarantineError(NAME) for one that Sparkplug does not have, or whose path would be too long.

    >>> parse_topic(b"spBv1.0/Plant/DDATA/Line 1/Press")[:3]
    ('DDATA', 'Plant/Line 1', 'Press')
    """
    if len(raw) > _MAX_TOPIC_BYTES:
        raise QuarantineError(Reason.NAME, f"a topic of over {_MAX_TOPIC_BYTES} bytes")
    try:
        namespace, *parts = raw.decode().split("/")
    except UnicodeDecodeError as error:
        raise QuarantineError(Reason.NAME, "a topic that is not UTF-8") from error
    if namespace == NAMESPACE and all(parts):
        if len(parts) == 2 and parts[0] == "STATE":
            return Topic("STATE")
        if len(parts) == 3 and parts[1] in _OF_NODE:
            return Topic(parts[1], f"{parts[0]}/{parts[2]}", "", raw)
        if len(parts) == 4 and parts[1] in _OF_DEVICE:
            return Topic(parts[1], f"{parts[0]}/{parts[2]}", parts[3], raw)
    raise QuarantineError(Reason.NAME, "no topic of Sparkplug B")
