"""Which sensor has which slot: a slot is a sensor's row in the arrays."""

from __future__ import annotations

from collections.abc import Sequence

FREE = ""
"""The name of a slot that nobody has; no path is empty."""


class SlotTable:
    """Names ⇄ slots. Slots of sensors that are gone are given out again, the lowest first.

    >>> table = SlotTable()
    >>> table.add("a/t"), table.add("a/p"), table.free(0), table.add("b/t"), table.names
    (0, 1, None, 0, ['b/t', 'a/p'])
    """

    def __init__(self, names: Sequence[str] = ()) -> None:
        self.names: list[str] = list(names)
        """By slot; FREE where there is none."""
        self._slots = {name: slot for slot, name in enumerate(self.names) if name != FREE}
        # Descending, so that the lowest is taken first.
        self._free = [slot for slot in range(len(self.names) - 1, -1, -1) if self.names[slot] == FREE]

    @property
    def rows(self) -> int:
        """Rows of the arrays that are or were in use."""
        return len(self.names)

    def __len__(self) -> int:
        """Sensors."""
        return len(self._slots)

    def get(self, name: str) -> int | None:
        """A sensor's slot."""
        return self._slots.get(name)

    def find(self, names: Sequence[str]) -> list[int | None]:
        """The slots of many."""
        return list(map(self._slots.get, names))

    def add(self, name: str) -> int:
        """A slot for a new sensor."""
        if self._free:
            slot = self._free.pop()
            self.names[slot] = name
        else:
            slot = len(self.names)
            self.names.append(name)
        self._slots[name] = slot
        return slot

    def free(self, slot: int) -> None:
        """A sensor is gone."""
        del self._slots[self.names[slot]]
        self.names[slot] = FREE
        self._free.append(slot)
        self._free.sort(reverse=True)

    def rename(self, slot: int, name: str) -> None:
        """A sensor goes by another name now."""
        del self._slots[self.names[slot]]
        self.names[slot] = name
        self._slots[name] = slot
