"""The settings that read a simulated plant, as TOML: levels, routes, classes."""

from __future__ import annotations

import json
import re
from typing import Any

from ingest.simulator.description import GroupSection, PlantDescription
from ingest.simulator.feed import routes
from ingest.simulator.ranges import Names
from ingest.simulator.templates import SensorTemplate

_Attributes = list[tuple[str, Any]]


def settings_text(described: PlantDescription, sensors: int, prefix: str | None = None) -> str:
    """`[plant]`, `[[route]]` and `[[class]]` for a plant of so many sensors. Raises ValueError as `routes` does."""
    lines = [
        "[plant]",
        f"levels = {_toml(described.plant.levels)}",
        f"expected_sensors = {sensors}",
    ]
    if sensors > 100_000:
        lines.append(f"max_sensors = {sensors}")
    for route in routes(described, prefix):
        lines += ["", "[[route]]", f"topic = {_toml(route.topic)}"]
        if route.path is not None:
            lines.append(f"path = {_toml(route.path)}")
        lines.append(f"decoder = {_toml(route.decoder)}")
        if route.options:
            lines.append(f"options = {_toml(route.options)}")
    for name, match, attributes in _classes(described):
        lines += ["", "[[class]]", f"name = {_toml(name)}", f"match = {_toml(match)}"]
        lines += [f"{key} = {_toml(value)}" for key, value in attributes]
    return "\n".join(lines) + "\n"


def _classes(described: PlantDescription) -> list[tuple[str, list[str], _Attributes]]:
    """(name, match, attributes): one class per name of a sensor where all of that name are alike, else per group."""
    by_name: dict[str, list[tuple[GroupSection, SensorTemplate]]] = {}
    for group in described.group:
        for one in group.sensor:
            by_name.setdefault(Names.parse(one.name).glob, []).append((group, one))
    alike, apart = list[tuple[str, list[str], _Attributes]](), list[tuple[str, list[str], _Attributes]]()
    for glob, found in by_name.items():
        name = re.sub(r"[^A-Za-z0-9._-]+", "", glob).strip("-._") or "sensors"
        if all(_attributes(one) == _attributes(found[0][1]) for _, one in found):
            alike.append((name, [f"**/{glob}"], _attributes(found[0][1])))
            continue
        for group, one in found:
            match = [f"{Names.parse(machines).glob}/{glob}" for machines in group.machines]
            apart.append((f"{group.name}-{name}"[:63], match, _attributes(one)))
    # The first class that matches counts: the narrower ones come first.
    return apart + alike


def _attributes(one: SensorTemplate) -> _Attributes:
    found: list[tuple[str, Any]] = []
    if one.kind != "gauge":
        found.append(("kind", one.kind))
    if one.kind == "waveform":
        found.append(("waveform", {"rate_hz": one.rate_hz}))
    if one.is_on_change:
        found.append(("reporting", "on-change"))
    if one.unit:
        found.append(("unit", one.unit))
    low, high = one.range
    if low is not None and high is not None:
        found.append(("range", (low, high)))
    return found


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{name} = {_toml(one)}" for name, one in value.items()) + " }"
    # A JSON text, number, bool or array of them is one of TOML too.
    return json.dumps(value, ensure_ascii=False)
