"""The smallest step that a sensor has been seen to make.

A quantised sensor at rest has no variance; its smallest step is the least that can mean anything. Until it has moved
once, nothing is known of its noise. A model that asks has the fields `resolution` and `last`.
"""

from __future__ import annotations

from typing import Any

from models.compiled import kernel


@kernel
def see_move(row: Any, move: float) -> None:
    """Learn from the distance between a reading and the one before it, >= 0."""
    if move > 0.0 and (row["resolution"] == 0.0 or move < row["resolution"]):
        row["resolution"] = move
