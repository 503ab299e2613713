"""Small files that outlive the process: each replaced as a whole, so that a crash leaves the old one or the new one."""

from __future__ import annotations

import os
from pathlib import Path


class StateFiles:
    """Files of one directory, which is made when the first is written."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def read(self, name: str) -> bytes | None:
        """A file's content; None where there is none. Raises OSError for any other trouble."""
        try:
            return (self.directory / name).read_bytes()
        except FileNotFoundError:
            return None

    def write(self, name: str, content: bytes) -> None:
        """Replace a file, durably. Raises OSError."""
        self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        new = self.directory / f"{name}.new"
        with new.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        new.replace(self.directory / name)
        directory = os.open(self.directory, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
