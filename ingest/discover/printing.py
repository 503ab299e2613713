"""Foreign text, fit for a terminal and for a comment."""

from __future__ import annotations

_LONGEST = 100


def printable(raw: bytes | str, longest: int = _LONGEST) -> str:
    """Foreign text in one line of printable characters, cut to a length.

    >>> printable(b"a\\x1b[31m\\nb\\xff")
    'a·[31m·b·'
    """
    text = raw[: 4 * longest].decode(errors="replace") if isinstance(raw, bytes) else raw
    clean = "".join(
        character if character.isprintable() and character != "\ufffd" else "·" for character in text[: longest + 1]
    )
    return clean if len(clean) <= longest else f"{clean[: longest - 1]}…"
