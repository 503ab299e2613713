"""Names of columns, of files and in sensor columns → sensors' paths that Millstream takes."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from pathlib import Path

from ingest.contract.errors import QuarantineError
from ingest.contract.sensors import MAX_DEPTH, MAX_PATH_BYTES, check_path

_LONGEST = 400


def path_of(name: str) -> str:
    """The path that a name becomes: itself where it is legal, else with `_` for each character that may not be.

    >>> path_of("demo/press/temperature"), path_of(' Temp #1 "oil" '), path_of("a\\\\b//c/.."), path_of("")
    ('demo/press/temperature', 'Temp _1 _oil_', 'a/b/c/_', '_')
    """
    if _legal(name):
        return name
    # Of what is far too long, the beginning and a digest are enough.
    parts = re.split(r"[/\\]", name[: 2 * MAX_PATH_BYTES])
    segments = [_segment(one) for one in parts if one.strip()] or ["_"]
    if len(segments) > MAX_DEPTH:
        segments = [*segments[: MAX_DEPTH - 1], "_".join(segments[MAX_DEPTH - 1 :])]
    path = "/".join(segments)
    if len(path.encode()) > MAX_PATH_BYTES:
        short = path.encode()[:_LONGEST].decode(errors="ignore").rstrip(" /")
        path = f"{short}_{hashlib.blake2b(name.encode(errors='replace'), digest_size=6).hexdigest()}"
    return check_path(path)


def _legal(name: str) -> bool:
    try:
        check_path(name)
    except QuarantineError:
        return False
    return True


def _segment(text: str) -> str:
    characters = [one if _legal(f"x{one}x") else "_" for one in unicodedata.normalize("NFC", text.strip())]
    segment = "".join(characters)
    return "_" if segment in (".", "..") else segment


def names_of_files(files: list[Path]) -> list[str]:
    """What a file's only series is called: its path below the folder that all share, without endings.

    >>> names_of_files([Path("d/a/one.csv"), Path("d/b/two.csv.gz")]), names_of_files([Path("d/a/one.csv")])
    (['a/one', 'b/two'], ['one'])
    """
    parents = [one.absolute().parent.parts for one in files]
    shared = 0
    while all(len(parts) > shared for parts in parents) and len({parts[shared] for parts in parents}) == 1:
        shared += 1
    return [
        "/".join([*parts[shared:], re.sub(r"\.(csv|tsv|txt|parquet)?(\.(gz|bz2|zst|lz4))?$", "", one.name, flags=re.I)])
        for one, parts in zip(files, parents, strict=True)
    ]


class Sensors:
    """Names ⇄ numbers ⇄ paths, in order of their first appearance."""

    def __init__(self, prefix: str = "") -> None:
        """prefix: what goes before each path, with a slash between."""
        self._prefix = f"{prefix.strip('/')}/" if prefix else ""
        self._numbers: dict[str, int] = {}
        self._taken: set[str] = set()
        self.paths: list[str] = []
        """By number; no two are equal."""
        self.renamed: list[tuple[str, str]] = []
        """(name, path) of those whose name is no path."""

    def __len__(self) -> int:
        return len(self.paths)

    def number(self, name: str) -> int:
        """Of a name; a new one gets the next."""
        found = self._numbers.get(name)
        return self._add(name) if found is None else found

    def find(self, name: str) -> int | None:
        """The number of a name or of a path, if there is one."""
        found = self._numbers.get(name)
        if found is None and name in self._taken:
            found = self.paths.index(name)
        return found

    def _add(self, name: str) -> int:
        path = first = path_of(self._prefix + name)
        more = 1
        while path in self._taken:
            more += 1
            path = f"{first}-{more}"
        if path != self._prefix + name:
            self.renamed.append((name, path))
        self._numbers[name] = len(self.paths)
        self._taken.add(path)
        self.paths.append(path)
        return self._numbers[name]
