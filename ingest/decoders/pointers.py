"""Where in a document something is: plain keys, and JSON Pointers (RFC 6901)."""

from __future__ import annotations

from typing import Any, Final

Path = tuple[str, ...]

_MAX_DIGITS = 9


class Missing:
    """The type of `MISSING`."""

    def __repr__(self) -> str:
        return "MISSING"


MISSING: Final = Missing()
"""What `find` gives for a place that a document does not have, as None is a value."""


def path_of(name: str) -> Path:
    """The keys from the document down to a place.

    A name that starts with a slash is a JSON Pointer; any other is one key as it stands, dots and all. So a key that
    starts with a slash is written as a pointer. Raises ValueError for a tilde that neither 0 nor 1 follows.

    >>> path_of("oil.temp"), path_of("/oil/temp"), path_of("/a~1b/m~0n")
    (('oil.temp',), ('oil', 'temp'), ('a/b', 'm~n'))
    """
    if not name.startswith("/"):
        return (name,)
    if "~" in name.replace("~0", "").replace("~1", ""):
        raise ValueError(f"{name!r}: in a pointer a tilde is written ~0, and a slash in a key ~1")
    # RFC 6901, 4: ~1 first, so that ~01 becomes ~1 and not a slash.
    return tuple(key.replace("~1", "/").replace("~0", "~") for key in name[1:].split("/"))


def find(document: Any, path: Path) -> Any:
    """What is at a place: keys of objects, indices of arrays from 0; `MISSING` if there is none.

    >>> find({"motors": [{"temp": 71.5}]}, ("motors", "0", "temp")), find({"a": 1}, ("a", "b"))
    (71.5, MISSING)
    """
    for key in path:
        if type(document) is dict:
            document = document.get(key, MISSING)
        elif type(document) is list and _is_index(key) and int(key) < len(document):
            document = document[int(key)]
        else:
            return MISSING
    return document


def _is_index(key: str) -> bool:
    # RFC 6901, 4: digits without leading zeros.
    return key.isascii() and key.isdigit() and (key == "0" or key[0] != "0") and len(key) <= _MAX_DIGITS
