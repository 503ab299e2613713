"""OPC UA PubSub in JSON, and the samples of OPC Publisher."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ingest.decoders.opcua_values import identifier_of
from ingest.discover.formats.base import Facts, Format, Look, telling, template_of

_HEADERS = frozenset({"DataSetWriterId", "DataSetWriterName", "MessageType", "SequenceNumber", "MetaDataVersion"})
_ABOUT = (("PublisherId", "{publisher}"), ("WriterGroupName", "{group}"))
_WRAPPED = frozenset({"Value", "Body"})
_OF_VALUE = frozenset({"SourceTimestamp", "ServerTimestamp", "StatusCode", "Type", "UaType"})


class OpcUaJson:
    """Known by `Messages` and `Payload`, by the headers of data set messages, or by values with `SourceTimestamp`."""

    def detect(self, look: Look) -> Facts | None:
        """Most documents are of PubSub, and one of them at least has data."""
        if look.codec != "json" or not look.documents:
            return None
        data = [one for document in look.documents for one in _data_sets(document)]
        samples = [one for document in look.documents for one in _each(document) if _is_sample(one)]
        if len(samples) > len(data):
            switches = {_sample_name(one) for one in samples if _is_switch(one["Value"])}
            return Facts(Format("opcua_json", several=True), switches=frozenset(switches), options={"samples": True})
        if not data:
            return None
        tokens, has = telling([line for line, _ in data])
        switches = {identifier_of(key) for _, payload in data for key, raw in payload.items() if _is_switch(raw)}
        return Facts(Format("opcua_json", several=True), switches=frozenset(switches), tokens=tokens, has=has)

    def options(self, _one: Format, facts: Sequence[Facts]) -> dict[str, Any]:
        """What a field's name needs so that no two are alike."""
        if all(fact.options.get("samples") for fact in facts):
            return {"samples": True}
        name = template_of(facts)
        return {} if name == "{field}" else {"name": name}


def _each(document: Any) -> Iterator[dict[str, Any]]:
    for one in document if isinstance(document, list) else [document]:
        if isinstance(one, dict):
            yield one


def _data_sets(document: Any, above: dict[str, str] | None = None) -> Iterator[tuple[dict[str, str], dict[str, Any]]]:
    """(what a data set message says of itself by token, its payload). above: what the network message says of it."""
    for one in _each(document):
        line = (above or {}) | {token: str(one[key]) for key, token in _ABOUT if isinstance(one.get(key), str | int)}
        sort = one.get("MessageType")
        if isinstance(one.get("Messages"), list | dict) and sort in (None, "ua-data"):
            yield from _data_sets(one["Messages"], line)
        elif (
            isinstance(payload := one.get("Payload"), dict) and payload and (above is not None or one.keys() & _HEADERS)
        ):
            writer = one.get("DataSetWriterName", one.get("DataSetWriterId"))
            yield line | ({"{writer}": str(writer)} if isinstance(writer, str | int) else {}), payload
        elif one and all(_is_value(value) for value in one.values()):
            yield line, one


def _is_value(raw: Any) -> bool:
    """`{"Value": 1.5, "SourceTimestamp": …}`: nobody else writes values so."""
    return isinstance(raw, dict) and bool(raw.keys() & _WRAPPED) and bool(raw.keys() & _OF_VALUE)


def _is_sample(one: dict[str, Any]) -> bool:
    return "Value" in one and isinstance(one.get("NodeId", one.get("DisplayName")), str | dict)


def _sample_name(one: dict[str, Any]) -> str:
    name = one.get("DisplayName") or one.get("NodeId")
    return identifier_of(str(name.get("Id") if isinstance(name, dict) else name))


def _is_switch(raw: Any) -> bool:
    while isinstance(raw, dict) and (inner := next((raw[key] for key in _WRAPPED if key in raw), None)) is not None:
        raw = inner
    return isinstance(raw, bool)
