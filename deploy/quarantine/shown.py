"""Entries of the quarantine as lines for people, and for programs. Whatever a payload holds, a terminal is safe."""

from __future__ import annotations

import dataclasses
import heapq
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from ingest.contract.quarantine import MAX_KEPT_BYTES, Entry
from ingest.discover.printing import printable

_UNITS_S = (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1))
_TOPIC_WIDTH, _ROUTE_WIDTH, _DETAIL_WIDTH = 64, 40, 80
_TEXT_CHARS, _LINE_CHARS = 8_192, 2_000
_DUMP_BYTES, _DUMP_ROW = 1_024, 16
_MOST_KINDS = 100_000
_OTHERS = "(others)"


def age(us: int) -> str:
    """How long ago, roughly.

    >>> age(59_000_000), age(3 * 3_600_000_000 + 5), age(-1)
    ('59s', '3h', '0s')
    """
    seconds = max(0, us // 1_000_000)
    unit, length = next((one for one in _UNITS_S if seconds >= one[1]), _UNITS_S[-1])
    return f"{seconds // length}{unit}"


def utc(at_us: int) -> str:
    """A time as people read it; of one that is none, the number.

    >>> utc(1_700_000_000_123_456)
    '2023-11-14 22:13:20.123 UTC'
    """
    try:
        return datetime.fromtimestamp(at_us / 1e6, UTC).isoformat(" ", "milliseconds").replace("+00:00", " UTC")
    except (ValueError, OverflowError, OSError):
        return f"{at_us} µs"


class Newest:
    """The newest of entries that come one by one; no more than these are kept in memory, and no payloads."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._held: list[tuple[tuple[int, str, int, int, int], Entry]] = []

    def add(self, entry: Entry) -> None:
        """Take one; the oldest makes room."""
        full = len(self._held) >= self._count
        if full and entry.order < self._held[0][0]:
            return
        one = (entry.order, dataclasses.replace(entry, payload=b""))  # orders differ: they end with the place
        if full:
            heapq.heapreplace(self._held, one)
        else:
            heapq.heappush(self._held, one)

    def found(self) -> list[Entry]:
        """Newest first."""
        return [entry for _, entry in sorted(self._held, reverse=True)]


class Counted:
    """How many entries there are of each reason, topic or route, and the age of the newest; bounded."""

    def __init__(self, by: str) -> None:
        self.by = by
        self._counts: Counter[str] = Counter()
        self._newest_us: dict[str, int] = {}

    def add(self, entry: Entry) -> None:
        """Count one."""
        what = entry.origin.decode(errors="replace") if self.by == "topic" else str(getattr(entry, self.by))
        if what not in self._counts and len(self._counts) >= _MOST_KINDS:
            what = _OTHERS
        self._counts[what] += 1
        self._newest_us[what] = max(self._newest_us.get(what, 0), entry.arrival_us)

    def found(self, limit: int) -> list[tuple[str, int, int]]:
        """(what, how many, arrival of the newest in µs), the most frequent first."""
        return [(what, count, self._newest_us[what]) for what, count in self._counts.most_common(limit)]

    @property
    def kinds(self) -> int:
        """How many different ones."""
        return len(self._counts)


def table(entries: Sequence[Entry], now_us: int, replayed: frozenset[str] | None = None) -> Iterator[str]:
    """A line an entry, under a header. replayed: ids; None for no such column."""
    rows = [["ID", "AGE", "REASON", "BYTES", "TOPIC", "ROUTE", "DETAIL"]]
    for one in entries:
        route = "" if one.route.encode() == one.origin else printable(one.route, _ROUTE_WIDTH)
        rows.append(
            [
                one.id,
                age(now_us - one.arrival_us),
                printable(one.reason),
                f"{one.size:,}",
                printable(one.origin, _TOPIC_WIDTH),
                route,
                printable(one.detail, _DETAIL_WIDTH),
            ]
        )
    if replayed is not None:
        rows[0].insert(2, "REPLAYED")
        for row in rows[1:]:
            row.insert(2, "yes" if row[0] in replayed else "")
    yield from aligned(rows, right=frozenset({"AGE", "BYTES"}))


def aligned(rows: Sequence[Sequence[str]], right: frozenset[str] = frozenset()) -> Iterator[str]:
    """Columns, two spaces apart; the first row is the header. right: headers of columns that are set to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [
            cell.rjust(width) if header in right else cell.ljust(width)
            for cell, width, header in zip(row, widths, rows[0], strict=True)
        ]
        yield "  ".join(cells).rstrip()


def json_line(entry: Entry, *, replayed: bool) -> str:
    """One entry as JSON in ASCII, without its payload."""
    return json.dumps(
        {
            "id": entry.id,
            "arrival": utc(entry.arrival_us),
            "arrival_us": entry.arrival_us,
            "topic": entry.origin.decode(errors="replace"),
            "route": entry.route,
            "reason": entry.reason,
            "detail": entry.detail,
            "size": entry.size,
            "kept": min(entry.size, MAX_KEPT_BYTES),
            "digest": entry.digest,
            "source": entry.source,
            "replayed": replayed,
        }
    )


def details(entry: Entry, *, replayed: bool) -> Iterator[str]:
    """All that is known of an entry but its payload."""
    facts = {
        "id": entry.id,
        "replayed": "yes" if replayed else "no",
        "topic": entry.origin,
        "route": entry.route,
        "reason": entry.reason,
        "detail": entry.detail,
        "arrival": utc(entry.arrival_us),
        "source": entry.source,
        "flags": {0: "", 1: "retained", 2: "redelivered"}.get(entry.flags, "retained, redelivered"),
        "digest": f"{entry.digest} (BLAKE2b-128 of all that was received)",
        "size": f"{entry.size:,} bytes",
    }
    yield from (f"{name:<9} {printable(value, 1_000)}".rstrip() for name, value in facts.items())
    if entry.cut:
        yield f"note      only the first {len(entry.payload):,} bytes were kept: it cannot be replayed"


def payload_lines(payload: bytes) -> Iterator[str]:
    """The payload as text if it is text, else its first bytes in hexadecimal; nothing a terminal would obey."""
    if not payload:
        yield "(empty)"
        return
    text = _text(payload)
    if text is None:
        yield from _dump(payload[:_DUMP_BYTES])
        if len(payload) > _DUMP_BYTES:
            yield f"… {len(payload) - _DUMP_BYTES:,} bytes more (--raw writes all)"
        return
    yield from (printable(line, _LINE_CHARS) for line in text[:_TEXT_CHARS].splitlines() or [""])
    if len(text) > _TEXT_CHARS or any(len(line) > _LINE_CHARS for line in text.splitlines()):
        yield f"… {len(payload):,} bytes in all (--raw writes all)"


def _text(payload: bytes) -> str | None:
    """UTF-8, maybe cut within its last character, that is mostly printable."""
    try:
        text = payload.decode()
    except UnicodeDecodeError as error:
        if len(payload) - error.start > 3 or error.reason != "unexpected end of data":
            return None
        text = payload[: error.start].decode()
    odd = sum(not (one.isprintable() or one.isspace()) for one in text[:_TEXT_CHARS])
    return None if odd * 10 > min(len(text), _TEXT_CHARS) else text


def _dump(payload: bytes) -> Iterator[str]:
    for at in range(0, len(payload), _DUMP_ROW):
        row = payload[at : at + _DUMP_ROW]
        shown = "".join(chr(one) if 32 <= one < 127 else "." for one in row)
        yield f"{at:06x}  {row[:8].hex(' '):<23}  {row[8:].hex(' '):<23}  {shown}"
