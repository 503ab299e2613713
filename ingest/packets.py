"""PUBLISH packets out of a byte stream, in bulk (MQTT 3.1.1 and 5.0, section 3.3).

A client library's reader makes four calls on the socket and a dozen Python frames for each message; this loop
takes all complete PUBLISH packets of a large read in one pass and hands every other packet on, whole. Pure: bytes
in, columns out; cut anywhere, the stream gives the same messages.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ingest.contract.errors import ReconnectError

RETAIN_BIT = 0x01
DUP_BIT = 0x08

_PUBLISH = 0x30
_QOS_BITS = 0x06
_QOS_1 = 0x02
# The packet type and the upper QoS bit: with that one clear, a PUBLISH is of QoS 0 or 1.
_TAKEN_BITS = 0xF4
_MAX_VARINT_BYTES = 4
# The longest prefix before a payload: fixed header, topic of 65,535 bytes, message id, and room for properties.
_PREFIX_BYTES = 131_072


@dataclass(slots=True)
class Burst:
    """Messages in columns, in the order received.

    topics, payloads: bytes. first: the first byte of each packet (QoS, RETAIN_BIT, DUP_BIT).
    mids: the two bytes of the message id of each QoS 1 message, in order (fewer than messages if some are QoS 0).
    size_bytes: length of all packets taken, headers and topics included: what the messages hold in memory, nearly,
    counted once a read instead of once a message.
    """

    topics: list[bytes] = field(default_factory=list)
    payloads: list[bytes] = field(default_factory=list)
    first: list[int] = field(default_factory=list)
    mids: list[bytes] = field(default_factory=list)
    size_bytes: int = 0

    def __len__(self) -> int:
        return len(self.topics)

    def extend(self, later: Burst) -> None:
        """Append what came after."""
        self.topics += later.topics
        self.payloads += later.payloads
        self.first += later.first
        self.mids += later.mids
        self.size_bytes += later.size_bytes


class PacketReader:
    """Cuts one connection's stream into packets; a new connection needs a new reader.

    version5: whether PUBLISH packets carry properties. max_payload_bytes: a longer payload is cut to one byte more
    than that and the rest passed over, so that the one who checks sizes sees it, and memory stays bounded.
    """

    def __init__(self, *, version5: bool, max_payload_bytes: int) -> None:
        self._version5 = version5
        self._max_payload_bytes = max_payload_bytes
        self._chunks: list[bytes] = []
        self._held = 0
        self._need = 0
        self._skip = 0

    def feed(self, data: bytes, burst: Burst) -> list[bytes]:
        """Append the PUBLISH packets completed by `data` to `burst`; return all other packets, whole.

        Raises ReconnectError for a stream that is not MQTT as agreed (QoS 2, a topic alias, a length that is none).
        """
        if self._skip:
            passed = min(self._skip, len(data))
            self._skip -= passed
            data = data[passed:]
            if not data:
                return []
        self._chunks.append(data)
        self._held += len(data)
        # A large packet comes in many reads: join them once, when it is complete.
        if self._held < self._need:
            return []
        buffer = data if len(self._chunks) == 1 else b"".join(self._chunks)
        others: list[bytes] = []
        try:
            rest, self._need = self._take(buffer, burst, others)
        except IndexError as error:
            raise ReconnectError("a PUBLISH packet that ends before its header does") from error
        burst.size_bytes += len(buffer) - len(rest)
        self._chunks = [rest] if rest else []
        self._held = len(rest)
        return others

    def _take(self, buffer: bytes, burst: Burst, others: list[bytes]) -> tuple[bytes, int]:
        """All complete packets; then (what remains, how many bytes of it are needed to go on)."""
        # A third of a microsecond a message: what follows is written out, not called, and asks the usual things first.
        topics, payloads = burst.topics.append, burst.payloads.append
        firsts, mids = burst.first.append, burst.mids.append
        version5, limit, at, end = self._version5, self._max_payload_bytes, 0, len(buffer)
        while end - at >= 2:
            first, length, body = buffer[at], buffer[at + 1], at + 2
            if length > 127:
                if body < end and (upper := buffer[body]) < 128:
                    length, body = length + (upper << 7) - 128, body + 1
                elif (long := _varint(buffer, at + 1, end)) is None:
                    return buffer[at:], end - at + 1
                else:
                    length, body = long
            stop = body + length
            if stop > end:
                if length > limit + _PREFIX_BYTES:
                    _refuse_unless(first & 0xF0 == _PUBLISH, f"a packet of {length} bytes that is no message")
                    return self._begin_oversized(buffer, at, body, stop, burst)
                return buffer[at:], stop - at
            if first & _TAKEN_BITS != _PUBLISH:
                _refuse_unless(first & 0xF0 != _PUBLISH, "a message of QoS 2, which was not subscribed")
                _refuse_unless(length <= limit + _PREFIX_BYTES, f"a packet of {length} bytes that is no message")
                others.append(buffer[at:stop])
                at = stop
                continue
            topic_at = body + 2
            topic_end = payload_at = topic_at + (buffer[body] << 8) + buffer[body + 1]
            if first & _QOS_1:
                payload_at += 2
            if version5:
                properties = buffer[payload_at]
                payload_at += 1 + properties
                if properties > 127:
                    payload_at = _after_properties(buffer, payload_at - 1 - properties, stop)
            if payload_at > stop or topic_end == topic_at:
                _refuse_unless(topic_end != topic_at, "a topic alias, which was not offered")
                raise ReconnectError("a PUBLISH packet that ends before its header does")
            topics(buffer[topic_at:topic_end])
            payloads(buffer[payload_at : stop if length <= limit else min(stop, payload_at + limit + 1)])
            firsts(first)
            if first & _QOS_1:
                mids(buffer[topic_end : topic_end + 2])
            at = stop
        return buffer[at:], 2

    def _begin_oversized(self, buffer: bytes, at: int, body: int, stop: int, burst: Burst) -> tuple[bytes, int]:
        """Keep topic, id and one byte more of the payload than allowed; pass over the rest of the packet."""
        limit = self._max_payload_bytes + 1
        keep = _PREFIX_BYTES + limit
        if len(buffer) - body < keep:
            return buffer[at:], body - at + keep
        whole, first = buffer[body : body + keep], buffer[at]
        topic_end = 2 + ((whole[0] << 8) | whole[1])
        if topic_end == 2:
            raise ReconnectError("a topic alias, which was not offered")
        if first & _QOS_BITS not in (0, _QOS_1):
            raise ReconnectError("a message of QoS 2, which was not subscribed")
        rest = topic_end + (2 if first & _QOS_BITS else 0)
        payload_at = rest
        if self._version5:
            found = _varint(whole, rest, keep)
            payload_at = keep if found is None else found[0] + found[1]
        # Properties alone may be larger than all that is kept. It is too large in any case, and that has to show.
        payload = whole[payload_at : payload_at + limit]
        burst.topics.append(whole[2:topic_end])
        burst.payloads.append(payload if len(payload) == limit else whole[rest : rest + limit])
        burst.first.append(first)
        if first & _QOS_BITS:
            burst.mids.append(whole[topic_end:rest])
        self._skip = max(0, stop - len(buffer))
        return buffer[stop:], 2


def _varint(buffer: bytes, at: int, end: int) -> tuple[int, int] | None:
    """(value, where it ends) of a variable byte integer; None while it is incomplete."""
    value = 0
    for place in range(_MAX_VARINT_BYTES):
        if at + place >= end:
            return None
        byte = buffer[at + place]
        value |= (byte & 127) << (7 * place)
        if byte < 128:
            return value, at + place + 1
    raise ReconnectError("a packet length of more than four bytes")


def _after_properties(buffer: bytes, at: int, stop: int) -> int:
    """Where the payload begins, of a packet whose properties are 128 bytes or more."""
    long = _varint(buffer, at, stop)
    if long is None:
        raise ReconnectError("a PUBLISH packet with broken properties")
    return long[0] + long[1]


def _refuse_unless(kept: bool, otherwise: str) -> None:
    if not kept:
        raise ReconnectError(otherwise)
