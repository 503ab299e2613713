"""deploy/compose.yaml and its neighbours, read as the programs that use them read them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

DEPLOY = Path(__file__).parents[2] / "deploy"
ROOT = DEPLOY.parent
COMPOSE = DEPLOY / "compose.yaml"
DAEMONS = {"gateway": 9101, "worker": 9102, "notifier": 9103}

_VARIABLE = re.compile(r"\$\$|\$\{(?P<name>\w+)(?P<operator>:-|:\?)?(?P<rest>[^}]*)\}")


def read_yaml(path: Path) -> Any:
    """A YAML document."""
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def substituted(text: str, variables: dict[str, str] | None = None) -> str:
    """As compose fills in variables; KeyError, with the message, for one that must be set."""
    given = variables or {}

    def value(match: re.Match[str]) -> str:
        if match[0] == "$$":
            return "$"
        found = given.get(match["name"], "")
        if found or match["operator"] is None:
            return found
        if match["operator"] == ":?":
            raise KeyError(match["rest"])
        return match["rest"]

    return _VARIABLE.sub(value, text)


def compose() -> dict[str, Any]:
    """The file, with anchors and merges resolved and variables still in it."""
    document: dict[str, Any] = read_yaml(COMPOSE)
    return document


def services() -> dict[str, dict[str, Any]]:
    """Its services."""
    found: dict[str, dict[str, Any]] = compose()["services"]
    return found


def mounts(service: dict[str, Any]) -> list[tuple[str, str, str]]:
    """(source, target, mode) of each volume."""
    found = []
    for volume in service.get("volumes", []):
        source, target, *mode = substituted(volume).split(":")
        found.append((source, target, mode[0] if mode else "rw"))
    return found


def environment(service: dict[str, Any]) -> dict[str, str]:
    """Its variables, as strings; those that must be given are given."""
    given = {"GRAFANA_PASSWORD": "secret"}
    return {name: substituted(str(value), given) for name, value in service.get("environment", {}).items()}
