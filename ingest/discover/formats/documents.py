"""Objects and arrays of objects, in JSON, CBOR or MessagePack: which field is what."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ingest.discover.formats.base import Facts, Format, Look
from ingest.discover.formats.fields import Columns, Roles, is_row_name, leaves, place
from ingest.discover.words import NAMES

_MAX_NAMED_FIELDS = 100
_MAX_ROWS = 500
_ALL = "*"


class Documents:
    """Any document that has values."""

    def detect(self, look: Look) -> Facts | None:
        """One value, several, nested ones, or rows of them."""
        if not look.documents:
            return None
        objects = [one for one in look.documents if isinstance(one, dict)]
        if 2 * len(objects) < len(look.documents):
            return _of_rows(look, (), [one for one in look.documents if isinstance(one, list)])
        columns = Columns()
        for one in objects:
            columns.add(one)
        whole = Roles.of(columns, look.arrival_us)
        found = None if whole.value is not None else _arrays(look, objects, whole)
        return found or _of_objects(look, whole)

    def options(self, one: Format, facts: Sequence[Facts]) -> dict[str, Any]:
        """As the payloads need them; what is the default is left out."""
        options: dict[str, Any] = {}
        if one.rows is not None:
            options["rows"] = one.rows
        fields = list(dict.fromkeys(name for fact in facts for name in fact.fields))
        left_out = {name for fact in facts for name in fact.left_out} - set(fields)
        if one.several:
            named = bool(left_out) and len(fields) <= _MAX_NAMED_FIELDS
            options["values"] = fields if named else [_ALL]
            if one.nested and not named:
                options["flatten"] = True
        elif one.value not in (None, "value"):
            options["value"] = one.value
        for key in ("name", "unit", "rate_hz", "document_time"):
            if (said := getattr(one, key)) is not None:
                options[key] = said
        taken = {one.value, one.name, one.unit, one.rate_hz, one.time, one.quality}
        odd = {name for fact in facts for name in fact.odd}
        for key, usual in (("time", "ts"), ("quality", "quality")):
            said = getattr(one, key)
            if said not in (None, usual):
                options[key] = said
            elif said is None and (usual in odd or usual in taken):
                options[key] = f"no_{key}"
        units = {unit for fact in facts for unit in fact.time_units}
        if one.time is not None and len(units) == 1 and units != {"auto"}:
            options["time_unit"] = units.pop()
        return options


def _of_objects(look: Look, roles: Roles) -> Facts:
    if not roles.measured:
        return Facts(None, "JSON without a value of its own" if roles.about else "JSON without a value")
    chosen = roles.measured if roles.value is None else [roles.value]
    several = roles.value is None
    nested = any(len(path) > 1 for path in chosen) and several
    switches = frozenset("/".join(path) if several else "" for path in chosen if roles.is_switch(path))
    return Facts(
        Format(
            look.codec,
            None if roles.value is None else place(roles.value),
            several,
            _place(roles.time),
            _place(roles.quality),
            _place(roles.unit),
            _place(roles.rate_hz),
            nested=nested,
        ),
        fields=tuple(map(place, chosen)),
        left_out=tuple(place(path) for path in roles.rest if path not in chosen),
        odd=roles.odd,
        time_units=roles.time_units,
        switches=switches,
        units={"/".join(path): unit for path, unit in roles.units_beside.items() if path in chosen},
        notes=roles.notes,
    )


def _place(path: tuple[str, ...] | None) -> str | None:
    return None if path is None else place(path)


# --- rows -----------------------------------------------------------------------------------------------------------


def _arrays(look: Look, objects: list[dict[str, Any]], whole: Roles) -> Facts | None:
    """The array of objects with most of what the documents say, if any has."""
    counts: dict[tuple[str, ...], int] = {}
    for one in objects:
        for path, leaf in leaves(one):
            if isinstance(leaf, list) and leaf and all(isinstance(row, dict) and row for row in leaf):
                counts[path] = counts.get(path, 0) + len(leaf)
    for path in sorted(counts, key=lambda path: -counts[path]):
        found = _of_rows(look, path, objects, whole)
        # Beside a list of alarms, what the document itself measures counts more.
        if found is not None and found.format is not None and counts[path] >= len(whole.measured) * len(objects):
            return found
    return None


def _of_rows(look: Look, path: tuple[str, ...], documents: list[Any], whole: Roles | None = None) -> Facts | None:
    """Rows at a place of documents; the documents themselves for ()."""
    columns, payloads = Columns(), list[list[dict[str, Any]]]()
    for document in documents:
        found: Any = document
        for key in path:
            found = found.get(key) if isinstance(found, dict) else None
        rows = [row for row in found if isinstance(row, dict)] if isinstance(found, list) else []
        payloads.append(rows[:_MAX_ROWS])
        for row in payloads[-1]:
            columns.add(row)
    if not columns.values:
        return Facts(None, "a JSON array") if whole is None else None
    name = _name(columns, payloads)
    roles = Roles.of(columns, look.arrival_us, apart=name)
    if not roles.measured:
        return Facts(None, "JSON without a value of its own") if whole is None else None
    several = roles.value is None
    chosen = roles.measured if roles.value is None else [roles.value]
    above = whole or Roles.of(Columns(), look.arrival_us)
    time, document_time = roles.time or above.time, None
    if roles.time and above.time and above.time != roles.time:
        document_time = above.time
    one = Format(
        look.codec,
        None if roles.value is None else place(roles.value),
        several,
        _place(time),
        _place(roles.quality or above.quality),
        _place(roles.unit or above.unit),
        _place(roles.rate_hz or above.rate_hz),
        rows="".join(f"/{key.replace('~', '~0').replace('/', '~1')}" for key in path),
        name=_place(name),
        document_time=_place(document_time),
        nested=several and any(len(path) > 1 for path in chosen),
    )
    notes = list(roles.notes)
    if name is None and max(map(len, payloads)) > 1 and roles.time is None:
        notes.append("? rows have neither a name nor a time: all of them are readings of the same sensors")
    units = roles.time_units if roles.time else above.time_units
    return Facts(
        one,
        fields=tuple(map(place, chosen)),
        left_out=tuple(place(path) for path in roles.rest if path not in chosen and path != name),
        odd=roles.odd,
        time_units=units,
        switches=_switches(payloads, name, chosen, several=several),
        notes=tuple(notes),
    )


def _name(columns: Columns, payloads: list[list[dict[str, Any]]]) -> tuple[str, ...] | None:
    """What tells the rows of a payload apart: a field called like a name, else any text that differs in each row."""
    rows = sum(map(len, payloads))
    complete = [path for path, values in columns.values.items() if len(values) == rows and is_row_name(values)]
    ranked = sorted((NAMES.index(word), path) for path in complete if (word := columns.plain(path)) in NAMES)

    def differs(path: tuple[str, ...]) -> bool:
        return all(len({str(columns.find(row, path)) for row in one}) == len(one) for one in payloads)

    named = [path for _, path in ranked]
    several = any(len(one) > 1 for one in payloads)
    texts = [path for path in complete if several and all(isinstance(one, str) for one in columns.values[path])]
    for path in (*filter(differs, named), *filter(differs, texts)):
        if columns.could_be_name(path):
            return path
    return next((path for path in named if several), None)


def _switches(
    payloads: list[list[dict[str, Any]]], name: tuple[str, ...] | None, chosen: list[tuple[str, ...]], *, several: bool
) -> frozenset[str]:
    found: dict[str, bool] = {}
    for row in (row for rows in payloads for row in rows):
        above = [] if name is None else [str(Columns.find(row, name))]
        for path in chosen:
            raw = Columns.find(row, path)
            if raw is not None:
                key = "/".join([*above, *(path if several else ())])
                found[key] = found.get(key, True) and isinstance(raw, bool)
    return frozenset(key for key, is_switch in found.items() if is_switch)
