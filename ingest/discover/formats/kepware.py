"""KEPServerEX's IoT Gateway, as its templates are delivered."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ingest.discover.formats.base import Facts, Format, Look


class Kepware:
    """Known by `values: [{id, v, …}]`."""

    def detect(self, look: Look) -> Facts | None:
        """Rows with `id` and `v`. A message without rows says nothing."""
        if look.codec != "json" or not look.documents:
            return None
        rows: list[dict[str, Any]] = []
        for document in look.documents:
            values = document.get("values") if isinstance(document, dict) else None
            if not isinstance(values, list):
                return None
            rows += values
        if not rows or not all(_is_row(row) for row in rows):
            return None
        switches = {row["id"] for row in rows if isinstance(row["v"], bool)}
        switches -= {row["id"] for row in rows if row["v"] is not None and not isinstance(row["v"], bool)}
        return Facts(Format("kepware", name="id"), switches=frozenset(switches))

    def options(self, _one: Format, _facts: Sequence[Facts]) -> dict[str, Any]:
        """They are preset."""
        return {}


def _is_row(row: Any) -> bool:
    return isinstance(row, dict) and isinstance(row.get("id"), str) and "v" in row
