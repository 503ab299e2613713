"""Templates of names in decoders' options: text with `{placeholders}`."""

from __future__ import annotations

import re
from collections.abc import Iterator

_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")


def split_template(template: str) -> Iterator[tuple[str, bool]]:
    """The parts of a template in order: text, or the name of a placeholder (True).

    Raises ValueError for a brace without its other.

    >>> list(split_template("{writer}/{field}"))
    [('', False), ('writer', True), ('/', False), ('field', True), ('', False)]
    """
    # Split by a group: text and name in turn.
    for number, part in enumerate(_PLACEHOLDER.split(template)):
        if number % 2 == 0 and ("{" in part or "}" in part):
            raise ValueError("name: a brace without its other")
        yield part, number % 2 == 1
