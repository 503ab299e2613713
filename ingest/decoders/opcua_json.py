"""OPC UA PubSub in JSON (Part 14, 7.2.5): network messages, single data set messages, or bare payloads of fields.

Read are the encodings of Part 6, 5.4.2, of every version: raw values, `{"Type": 11, "Body": 12.5}`,
`{"Value": 12.5, "SourceTimestamp": …, "StatusCode": …}` and `{"UaType": 11, "Value": 12.5, "Status": …}`; and, with
`samples`, the format of that name of Microsoft's OPC Publisher. The time of a value is its source's, else its server's,
else that of its data set message, else that of the network message.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ingest.contract.errors import QuarantineError, Reason
from ingest.contract.readings import Quality
from ingest.decoders.base import Decoded, Drop, Dropped, Messages, Rejected, Waveform
from ingest.decoders.jsontext import parse_json
from ingest.decoders.name_templates import split_template
from ingest.decoders.opcua_values import (
    LARGEST,
    NUMBERS,
    identifier_of,
    status_of,
    time_of,
    usual_columns,
    value_of_field,
)

_DATA = frozenset({"ua-keyframe", "ua-deltaframe", "ua-event"})
# What says nothing of the plant's values (Part 14, 7.2.5.5), and what makes somebody do something.
_SILENT = frozenset({"ua-keepalive", "ua-metadata"})
_CONTROL = re.compile(r"ua-(status|connection|application|endpoints|action[a-z-]*)").fullmatch
# Of a data set message; one of these without a payload keeps alive.
_HEADERS = frozenset({"DataSetWriterId", "DataSetWriterName", "MessageType"})
_TOKENS = ("publisher", "group", "writer", "field")
_IN_DETAIL = 64
# Few enough to stay in a core's cache, and for one that is unusual to slow few others down.
_TOGETHER = 64
_MAX_REMEMBERED = 16_384
_MAX_KEY = 256


_Said = tuple[str, str, str]  # publisher, group, writer; empty where names are made without


class _Context(NamedTuple):
    """What a message says of all values in it."""

    names: _Said = ("", "", "")
    time: str | None = None  # as it is written
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
    _says: frozenset[int] = field(init=False, repr=False, compare=False)
    _names: _Names = field(init=False, repr=False, compare=False)

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
        said = {which for _, which in parts} - {-1, _TOKENS.index("field")}
        object.__setattr__(self, "_says", frozenset(said))
        object.__setattr__(self, "_names", _Names())

    @property
    def names_fields(self) -> bool:
        """Fields have names."""
        return True

    def decode(self, messages: Messages) -> Decoded:
        """Rows for each field that can be read."""
        out = Decoded()
        burst = _Burst(self, out, self._names)
        payloads = messages.payloads
        for first in range(0, len(payloads), _TOGETHER):
            some = payloads[first : first + _TOGETHER]
            if self.samples or not self._usual(out, first, some):
                for at, payload in enumerate(some, first):
                    self._payload(burst, out, at, payload)
        return out

    def _payload(self, burst: _Burst, out: Decoded, at: int, payload: bytes) -> None:
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

    def _usual(self, out: Decoded, first: int, payloads: Sequence[bytes]) -> bool:
        """Add the rows of messages that are all usual, else none: the same as one by one, but faster."""
        found = usual_columns(payloads, self.max_messages, self.max_fields)
        if found is None:
            return False
        names: list[str | None] = []
        try:
            for network, one in found.data_sets:
                said = _NOTHING.names
                if self._says:
                    writer: str | int | None = one.data_set_writer_name
                    writer = one.data_set_writer_id if writer is None else writer
                    said = self._said(network.publisher_id, network.writer_group_name, writer, said)
                known = self._names.known(said)
                try:
                    names += [known[key] for key in one.payload]
                except KeyError:
                    names += [self._names.name(said, key, self.name_of) for key in one.payload]
        except QuarantineError:
            return False
        count = len(names)
        out.message += [first + at for at in found.message]
        out.field += names
        out.ts_us += found.ts_us
        out.value += found.value
        out.text += [None] * count
        out.quality += [Quality.GOOD] * count
        out.code += [None] * count
        return True

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
            context = self._context(document, _NOTHING)
            self._each(burst, document.get("Messages", []), lambda burst, one: self._data_set(burst, one, context))
        elif isinstance(sort, str) and sort.startswith("ua-") and sort not in _DATA:
            if sort not in _SILENT and not _CONTROL(sort):
                raise QuarantineError(Reason.SYNTAX, f"an unknown message type {sort[:_IN_DETAIL]!r}")
            burst.control |= sort not in _SILENT
        elif not document:
            raise QuarantineError(Reason.NO_VALUE, "an empty object")
        else:
            self._data_set(burst, document, _NOTHING)

    def _data_set(self, burst: _Burst, message: dict[str, Any], above: _Context) -> None:
        """A data set message (7.2.5.4), or only its payload."""
        if message.get("MessageType") in _SILENT:
            return
        payload = message.get("Payload")
        if isinstance(payload, dict):
            burst.fields(payload, self._context(message, above))
        elif "Payload" not in message and not message.keys() & _HEADERS:
            burst.fields(message, above)
        elif payload is not None:
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
        burst.fields({str(name): raw}, self._context(message, _NOTHING))

    def _context(self, message: dict[str, Any], above: _Context) -> _Context:
        """What a network or data set message says, else what the one around it says."""
        names = above.names
        if self._says:
            writer = message.get("DataSetWriterName")
            writer = message.get("DataSetWriterId") if writer is None else writer
            names = self._said(message.get("PublisherId"), message.get("WriterGroupName"), writer, names)
        quality, code = status_of(message.get("Status"))
        time = message.get("Timestamp")
        if time is None:
            return _Context(names, above.time, above.ts_us, quality, code)
        return _Context(names, time, time_of(time) or above.ts_us, quality, code)

    def _said(self, publisher: Any, group: Any, writer: Any, above: _Said) -> _Said:
        """What names are made with."""
        words = [_word(raw, above[at]) if at in self._says else "" for at, raw in enumerate((publisher, group, writer))]
        return words[0], words[1], words[2]

    # --- names --------------------------------------------------------------------------------------------------------

    def name_of(self, context: _Said, key: str) -> str:
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
_NOTHING = _Context()


class _TooManyError(QuarantineError):
    """The whole payload is refused."""


class _Names:
    """Names of fields that were made before, at most so many; what is remembered, or forgotten, changes no name."""

    def __init__(self) -> None:
        self._known: dict[_Said, dict[str, str]] = {}
        self._count = 0

    def known(self, context: _Said) -> dict[str, str]:
        """By key; not to be written to."""
        return self._known.get(context, _NONE_KNOWN)

    def name(self, context: _Said, key: str, make: Callable[[_Said, str], str]) -> str:
        """As it was made before, else as it is made now. Raises what `make` raises."""
        name = self.known(context).get(key)
        if name is None:
            name = make(context, key)
            # What the context adds is as short as the name that it is part of; a node id's namespace is not.
            if len(key) <= _MAX_KEY:
                if self._count >= _MAX_REMEMBERED:
                    self._known, self._count = {}, 0
                self._known.setdefault(context, {})[key] = name
                self._count += 1
        return name


_NONE_KNOWN: dict[str, str] = {}


class _Burst:
    """The rows of a burst, while it is read."""

    def __init__(self, decoder: OpcUaJson, out: Decoded, names: _Names) -> None:
        self._decoder = decoder
        self._out = out
        self._names = names
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
        out, decoder, said = self._out, self._decoder, context.names
        if len(out.message) + len(out.rejected) + len(payload) > self._most:
            raise _TooManyError(Reason.TOO_LARGE, f"over {decoder.max_fields} fields")
        known = self._names.known(said)
        add_name, add_time, add_value = out.field.append, out.ts_us.append, out.value.append
        # Fields of one message mostly have one time.
        text, text_us, above_us = context.time, context.ts_us, context.ts_us
        for key, raw in payload.items():
            try:
                # Most are a number with its time, or a number.
                number, at = raw, None
                if type(raw) is dict and len(raw) == 2 and "Value" in raw and "SourceTimestamp" in raw:
                    number, at = raw["Value"], raw["SourceTimestamp"]
                usual = type(number) in NUMBERS and -LARGEST <= number <= LARGEST
                if not usual:
                    value = value_of_field(raw, decoder.integer_text, decoder.max_samples)
                elif at is None:
                    ts_us = above_us
                elif at == text:
                    ts_us = text_us
                else:
                    text_us = ts_us = time_of(at) or above_us
                    text = at
                name = known.get(key)
                if name is None:
                    name = self._names.name(said, key, decoder.name_of)
                    known = self._names.known(said)
            except QuarantineError as error:
                self._fill(context)
                self.reject(error, key)
                continue
            add_name(name)
            if usual:
                add_time(ts_us)
                add_value(float(number))
                continue
            self._fill(context)
            if value.samples is not None:
                out.waveforms[len(out.message)] = Waveform(value.samples)
            add_time(value.ts_us or above_us)
            add_value(value.value)
            out.message.append(self._at)
            out.text.append(value.text)
            out.quality.append(max(value.quality, context.quality))
            out.code.append(value.code or context.code)
        self._fill(context)

    def _fill(self, context: _Context) -> None:
        """The columns that are alike in all usual rows since the last that is not."""
        out = self._out
        count = len(out.value) - len(out.message)
        out.message += [self._at] * count
        out.text += [None] * count
        out.quality += [context.quality] * count
        out.code += [context.code] * count


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
