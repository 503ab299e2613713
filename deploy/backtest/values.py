"""A recorded column of values → float64, a block at a time: what is no number is counted, never guessed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

_NUMBER = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$|^[+-]?(?i:inf|infinity)$"


@dataclass(slots=True)
class ValueTally:
    """empty: cells with nothing in them, or NaN. unread: with something that is no number; example: the first."""

    empty: int = 0
    unread: int = 0
    example: str = ""


def read_values(
    column: pa.Array, tally: ValueTally, decimal: str = "."
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """(values, which of them are readings), each of shape (rows,). decimal: of numbers in text.

    >>> read_values(pa.array(["1,5", "on", "", "true"]), tally := ValueTally(), ",")[0].tolist()[:1], tally
    ([1.5], ValueTally(empty=1, unread=1, example='on'))
    """
    kind = column.type
    if pa.types.is_dictionary(kind):
        column, kind = column.dictionary_decode(), kind.value_type
    if _is_text(kind):
        column = _numbers(column.cast(pa.utf8()), tally, decimal)
    elif pa.types.is_boolean(kind):
        column = column.cast(pa.uint8())
    elif not is_number(kind) and not pa.types.is_null(kind):
        _count_unread(column, column.is_valid(), tally)
        column = pa.nulls(len(column), pa.float64())
    floats = column.cast(pa.float64(), safe=False)
    values = np.asarray(floats.fill_null(np.nan).to_numpy(zero_copy_only=False), np.float64)
    there = ~np.isnan(values)
    tally.empty += int(len(values) - there.sum())
    return values, there


def is_number(kind: pa.DataType) -> bool:
    """Whether a column of this type holds numbers."""
    return bool(
        pa.types.is_integer(kind)
        or pa.types.is_floating(kind)
        or pa.types.is_decimal(kind)
        or pa.types.is_boolean(kind)
    )


def mostly_numbers(column: pa.Array, decimal: str) -> bool:
    """Whether at least half of what is in a column of text is numbers."""
    if not _is_text(column.type):
        return False
    found = int(read_values(column, tally := ValueTally(), decimal)[1].sum())
    return 0 < found + tally.unread <= 2 * found


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _numbers(text: pa.Array, tally: ValueTally, decimal: str) -> pa.Array:
    text = pc.utf8_trim_whitespace(text)
    if decimal != ".":
        text = pc.replace_substring(text, decimal, ".", max_replacements=1)
    lower = pc.utf8_lower(text)
    text = pc.if_else(pc.equal(lower, "true"), "1", pc.if_else(pc.equal(lower, "false"), "0", text))
    number = pc.match_substring_regex(text, _NUMBER).fill_null(False)
    nothing = pc.is_in(lower, pa.array(["", "nan", "null", "none", "na", "n/a", "#n/a"]), skip_nulls=True)
    unread = pc.and_(pc.invert(pc.or_(number, nothing)), text.is_valid())
    _count_unread(text, unread, tally)
    return pc.if_else(number, text, None).cast(pa.float64())


def _count_unread(column: pa.Array, unread: pa.Array, tally: ValueTally) -> None:
    where = np.flatnonzero(unread.to_numpy(zero_copy_only=False))
    if where.size:
        tally.unread += int(where.size)
        tally.empty -= int(where.size)  # for whom they are nothing, counts them as empty
        tally.example = tally.example or str(column[int(where[0])].as_py())[:60]
