"""Many names in one: `line-{01..40}/press-{1..5}`, `{press,robot}-{01..}`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from math import prod

MOST_NAMES = 2_000_000
"""No template stands for more: a slip of the finger (`{1..99999999}`) should not fill the memory."""

_BRACES = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"(\d{1,9})\.\.(\d{1,9})?")


@dataclass(frozen=True, slots=True)
class Names:
    """A template of names, compiled. Ranges vary the faster the further right they stand.

    An open range, `{01..}`, has no end: it stands for as many rounds as are asked for.
    """

    text: str
    _choices: tuple[tuple[str, ...] | int, ...]
    """Per part the texts it may have; an int is the first number of the open range."""
    _open_width: int

    @classmethod
    def parse(cls, text: str) -> Names:
        """Compile. Raises ValueError with what is wrong.

        >>> list(Names.parse("line-{01..02}/{press,saw}").round(0))
        ['line-01/press', 'line-01/saw', 'line-02/press', 'line-02/saw']
        """
        choices: list[tuple[str, ...] | int] = []
        open_width, at = 0, 0
        for found in _BRACES.finditer(text):
            choices.append((text[at : found.start()],))
            at = found.end()
            numbers = _RANGE.fullmatch(found[1])
            if numbers is None:
                choices.append(_alternatives(found[1]))
                continue
            first, last = numbers.groups()
            width = len(first) if first.startswith("0") else 0
            if last is None:
                if any(isinstance(choice, int) for choice in choices):
                    raise ValueError("only one range can be without an end")
                choices.append(int(first))
                open_width = width
                continue
            if int(first) > int(last):
                raise ValueError(f"the range {{{found[1]}}} goes backwards")
            if int(last) - int(first) >= MOST_NAMES:
                raise ValueError(f"the range {{{found[1]}}} has over {MOST_NAMES:,} numbers")
            choices.append(tuple(f"{number:0{width}d}" for number in range(int(first), int(last) + 1)))
        choices.append((text[at:],))
        if any(brace in "".join(choice[0] for choice in choices[::2] if not isinstance(choice, int)) for brace in "{}"):
            raise ValueError("a brace without its partner")
        names = cls(text, tuple(choices), open_width)
        if names.per_round > MOST_NAMES:
            raise ValueError(f"{names.per_round:,} names, at most {MOST_NAMES:,}")
        return names

    @property
    def is_open(self) -> bool:
        """Whether there is a range without an end."""
        return any(isinstance(choice, int) for choice in self._choices)

    @property
    def per_round(self) -> int:
        """Names in a round; without an open range there is one round.

        >>> Names.parse("line-{01..}/press-{1..5}").per_round
        5
        """
        return prod(1 if isinstance(choice, int) else len(choice) for choice in self._choices)

    def round(self, number: int) -> Iterator[str]:
        """The names of a round (from 0): those with the open range's `number`-th value, or all.

        >>> list(Names.parse("line-{01..}/press").round(1))
        ['line-02/press']
        """
        choices = [
            (f"{choice + number:0{self._open_width}d}",) if isinstance(choice, int) else choice
            for choice in self._choices
        ]
        return map("".join, product(*choices))

    @property
    def words(self) -> list[str]:
        """What varies, each once: what has to be checked besides the first name."""
        return [word for choice in self._choices[1::2] if not isinstance(choice, int) for word in choice]

    @property
    def glob(self) -> str:
        """A path pattern that fits all names, `*` for what varies.

        >>> Names.parse("demo/line-{01..}/{press,saw}").glob
        'demo/line-*/*'
        """
        return "".join(
            choice[0] if not isinstance(choice, int) and at % 2 == 0 else "*" for at, choice in enumerate(self._choices)
        )


def _alternatives(body: str) -> tuple[str, ...]:
    words = tuple(word.strip() for word in body.split(","))
    if not all(words):
        raise ValueError(f"{{{body}}} is neither a range like {{01..12}} nor a choice like {{press,saw}}")
    if len(set(words)) < len(words):
        raise ValueError(f"{{{body}}} names something twice")
    if "/" in body:
        raise ValueError(f"{{{body}}}: a choice is within a level")
    return words
