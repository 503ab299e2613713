"""OPC UA PubSub in JSON (Part 14, 7.2.5): network messages, single data set messages, or bare payloads of fields.

Read are the encodings of Part 6, 5.4.2, of every version: raw values, `{"Type": 11, "Body": 12.5}`,
`{"Value": 12.5, "SourceTimestamp": …, "StatusCode": …}` and `{"UaType": 11, "Value": 12.5, "Status": …}`; and, with
`samples`, the format of that name of Microsoft's OPC Publisher. The time of a value is its source's, else its server's,
else that of its data set message, else that of the network message.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ingest.contract.errors import QuarantineError, Reason
from ingest.contract.readings import Quality
from ingest.decoders.base import Decoded, Drop, Dropped, Messages, Rejected, Waveform
from ingest.decoders.jsontext import parse_json
from ingest.decoders.name_templates import split_template
from ingest.decoders.opcua_values import identifier_of, status_of, time_of, value_of_field

_DATA = frozenset({"ua-keyframe", "ua-deltaframe", "ua-event"})
# What says nothing of the plant's values (Part 14, 7.2.5.5), and what makes somebody do something.
_SILENT = frozenset({"ua-keepalive", "ua-metadata"})
_CONTROL = re.compile(r"ua-(status|connection|application|endpoints|action[a-z-]*)").fullmatch
# Of a data set message; one of these without a payload keeps alive.
_HEADERS = frozenset({"DataSetWriterId", "DataSetWriterName", "MessageType"})
_TOKENS = ("publisher", "group", "writer", "field")
_IN_DETAIL = 64


class _Context(NamedTuple):
    """What a message says of all values in it."""

    names: tuple[str, str, str] = ("", "", "")  # publisher, group, writer
    ts_us: int = 0
    quality: Quality = Quality.GOOD
    code: str | None = None


@dataclass(frozen=True, slots=True)
class OpcUaJson:
    """Fields of data set messages.

    name:         what a field is called: {field}, {writer} (its name, else its id), {group} and {publisher} stand for
                  what the message says; `field` of the row, so that the route's path needs `{field}` or `{id}`.
    keep_node_ids: do not shorten names that are node ids (`ns=2;s=Line.Temp`) to their identifier (`Line.Temp`).
    integer_text: read the text of an integer as a number also where no type says that it is one (Int64 in raw data).
    samples:      messages are OPC Publisher's samples: one value each, named by DisplayName, else by NodeId.
    max_fields, max_messages: of a payload; with more it is refused as a whole.
    max_name:     characters of a name. max_samples: of an array, which becomes a waveform.
    """

    name: str = "{field}"
    keep_node_ids: bool = False
    integer_text: bool = False
    samples: bool = False
    max_fields: int = 10_000
    max_messages: int = 10_000
    max_name: int = 256
    max_samples: int = 65_536
    _parts: tuple[tuple[str, int], ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        parts: list[tuple[str, int]] = []
        for part, is_placeholder in split_template(self.name):
            if not is_placeholder:
                parts.append((part, -1))
            elif part in _TOKENS:
                parts.append((part, _TOKENS.index(part)))
            else:
                raise ValueError(f"name: {{{part}}} is none of {', '.join(f'{{{one}}}' for one in _TOKENS)}")
        if ("field", _TOKENS.index("field")) not in parts:
            raise ValueError("name: without {field} the fields of a message have one name")
        if min(self.max_fields, self.max_messages, self.max_name, self.max_samples) < 1:
            raise ValueError("max_fields, max_messages, max_name and max_samples are at least 1")
        object.__setattr__(self, "_parts", tuple(parts))

    @property
    def names_fields(self) -> bool:
        """Fields have names."""
        return True

    def decode(self, messages: Messages) -> Decoded:
        """Rows for each field that can be read."""
        out = Decoded()
        burst = _Burst(self, out)
        for at, payload in enumerate(messages.payloads):
            rows, rejected = len(out.message), len(out.rejected)
            burst.begin(at)
            try:
                self._each(burst, parse_json(payload), self._sample if self.samples else self._message)
            except _TooManyError as error:
                # All or nothing: what is refused as a whole leaves no rows behind.
                _forget(out, rows, rejected)
                out.rejected.append(Rejected(at, error.reason, error.detail))
            except QuarantineError as error:
                out.rejected.append(Rejected(at, error.reason, error.detail))
            if len(out.message) == rows and len(out.rejected) == rejected:
                out.dropped.append(Dropped(at, Drop.CONTROL if burst.control else Drop.NO_READINGS))
        return out

    def _each(self, burst: _Burst, found: Any, read: Callable[[_Burst, dict[str, Any]], None]) -> None:
        """Messages stand alone or in an array; a wrong one leaves the others be."""
        several = found if isinstance(found, list) else [found]
        if len(several) > self.max_messages:
            raise _TooManyError(Reason.TOO_LARGE, f"over {self.max_messages} messages")
        for one in several:
            try:
                if not isinstance(one, dict):
                    raise QuarantineError(Reason.TYPE, f"a {type(one).__name__} where a message was expected")
                read(burst, one)
            except _TooManyError:
                raise
            except QuarantineError as error:
                burst.reject(error)

    # --- messages -----------------------------------------------------------------------------------------------------

    def _message(self, burst: _Burst, document: dict[str, Any]) -> None:
        """A network message, a data set message without one, or fields without either (7.2.5.3)."""
        sort = document.get("MessageType")
        if sort == "ua-data" or (sort is None and isinstance(document.get("Messages"), list | dict)):
            context = _context(document, _Context())
            self._each(burst, document.get("Messages", []), lambda burst, one: self._data_set(burst, one, context))
        elif isinstance(sort, str) and sort.startswith("ua-") and sort not in _DATA:
            if sort not in _SILENT and not _CONTROL(sort):
                raise QuarantineError(Reason.SYNTAX, f"an unknown message type {sort[:_IN_DETAIL]!r}")
            burst.control |= sort not in _SILENT
        elif not document:
            raise QuarantineError(Reason.NO_VALUE, "an empty object")
        else:
            self._data_set(burst, document, _Context())

    def _data_set(self, burst: _Burst, message: dict[str, Any], above: _Context) -> None:
        """A data set message (7.2.5.4), or only its payload."""
        if message.get("MessageType") in _SILENT:
            return
        if isinstance(message.get("Payload"), dict):
            burst.fields(message["Payload"], _context(message, above))
        elif "Payload" not in message and not message.keys() & _HEADERS:
            burst.fields(message, above)
        elif message.get("Payload") is not None:
            raise QuarantineError(Reason.TYPE, "a payload that is no object")

    def _sample(self, burst: _Burst, message: dict[str, Any]) -> None:
        """`{"NodeId": …, "DisplayName": …, "Value": …}`; without a value it is the server's, or an event."""
        name = message.get("DisplayName") or message.get("NodeId")
        if isinstance(name, dict):  # a node id as an object
            name = name.get("Id")
        if not isinstance(name, str | int):
            raise QuarantineError(Reason.NAME, "neither DisplayName nor NodeId")
        if "Value" not in message:
            raise QuarantineError(Reason.NO_VALUE, "a sample without a value")
        raw = message["Value"]
        # In FullSamples and events the value's time and status stand beside it.
        if not isinstance(raw, dict):
            raw = {key: message[key] for key in _OF_VALUE if key in message}
        burst.fields({str(name): raw}, _context(message, _Context()))

    # --- names --------------------------------------------------------------------------------------------------------

    def name_of(self, context: tuple[str, str, str], key: str) -> str:
        """The name of a field; context: publisher, group, writer. Raises QuarantineError(NAME).

        >>> OpcUaJson(name="{writer}/{field}").name_of(("", "", "press"), "nsu=http://plant/;s=Oil.Temp")
        'press/Oil.Temp'
        """
        if not self.keep_node_ids:
            key = identifier_of(key)
        name = ""
        for text, which in self._parts:
            if which < 0:
                name += text
                continue
            found = (*context, key)[which]
            if not found:
                raise QuarantineError(Reason.NAME, f"no {text}")
            name += found
        if len(name) > self.max_name:
            raise QuarantineError(Reason.NAME, f"over {self.max_name} characters")
        return name


_OF_VALUE = ("Value", "SourceTimestamp", "ServerTimestamp", "StatusCode", "Status")


class _TooManyError(QuarantineError):
    """The whole payload is refused."""


class _Burst:
    """The rows of a burst, while it is read: names and times repeat, so they are remembered that long."""

    def __init__(self, decoder: OpcUaJson, out: Decoded) -> None:
        self._decoder = decoder
        self._out = out
        self._names: dict[tuple[tuple[str, str, str], str], str] = {}
        self._at = 0
        self._most = 0
        self.control = False

    def begin(self, at: int) -> None:
        """The next payload."""
        self._at = at
        self._most = len(self._out.message) + len(self._out.rejected) + self._decoder.max_fields
        self.control = False

    def reject(self, error: QuarantineError, where: str = "") -> None:
        """A part of the payload that cannot be read."""
        if len(self._out.message) + len(self._out.rejected) >= self._most:
            raise _TooManyError(Reason.TOO_LARGE, f"over {self._decoder.max_fields} fields")
        detail = f"{where[:_IN_DETAIL]}: {error.detail}" if where else error.detail
        self._out.rejected.append(Rejected(self._at, error.reason, detail))

    def fields(self, payload: dict[str, Any], context: _Context) -> None:
        """A row for each field that can be read."""
        out, decoder, at, names = self._out, self._decoder, self._at, self._names
        if len(out.message) + len(out.rejected) + len(payload) > self._most:
            raise _TooManyError(Reason.TOO_LARGE, f"over {decoder.max_fields} fields")
        for key, raw in payload.items():
            try:
                value = value_of_field(raw, decoder.integer_text, decoder.max_samples)
                name = names.get((context.names, key))
                if name is None:
                    names[context.names, key] = name = decoder.name_of(context.names, key)
            except QuarantineError as error:
                self.reject(error, key)
                continue
            number, text, quality, code, ts_us, samples = value
            if samples is not None:
                out.waveforms[len(out.message)] = Waveform(samples)
            out.message.append(at)
            out.field.append(name)
            out.ts_us.append(ts_us or context.ts_us)
            out.value.append(number)
            out.text.append(text)
            out.quality.append(max(quality, context.quality))
            out.code.append(code or context.code)


def _context(message: dict[str, Any], above: _Context) -> _Context:
    """What a network or data set message says, else what the one around it says."""
    writer = message.get("DataSetWriterName")
    names = (
        _word(message.get("PublisherId"), above.names[0]),
        _word(message.get("WriterGroupName"), above.names[1]),
        _word(message.get("DataSetWriterId") if writer is None else writer, above.names[2]),
    )
    quality, code = status_of(message.get("Status"))
    return _Context(names, time_of(message.get("Timestamp")) or above.ts_us, quality, code)


def _word(raw: Any, otherwise: str) -> str:
    if isinstance(raw, str):
        return raw
    return str(raw) if type(raw) is int and abs(raw) < 2**64 else otherwise


def _forget(out: Decoded, rows: int, rejected: int) -> None:
    del out.rejected[rejected:]
    for row in range(rows, len(out.message)):
        out.waveforms.pop(row, None)
    for column in (out.message, out.field, out.ts_us, out.value, out.text, out.quality, out.code):
        del column[rows:]
