"""Reading ahead: a loop over rows in no order waits for memory at each, unless it has asked for the next ones before.

for i in range(slot.size):
    for k in ahead(i, slot.size):
        prefetch(state, slot[k])
    row = state[slot[i]]
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic, overload, register_jitable

AHEAD = 32
"""By how many rows to read ahead: a row takes a loop some 10 to 50 ns, and memory more than 100."""
_LINE = 64  # bytes that come from memory together


@register_jitable  # type: ignore[untyped-decorator]
def ahead(i: int, rows: int) -> range:
    """Which rows to ask for at row i of so many: some at the first one, and then one at a time.

    >>> ahead(0, 100), ahead(1, 100), len(ahead(90, 100))
    (range(0, 33), range(33, 34), 0)
    """
    return range(i + AHEAD if i > 0 else 0, min(i + AHEAD + 1, rows))


def prefetch(rows: Any, at: int) -> None:
    """Let `rows[at]` come from memory while other things are done. Nothing changes, and nothing waits for it.

    It need not exist, as nothing is read. Interpreted it does nothing at all.
    """


@intrinsic  # type: ignore[untyped-decorator]
def _touch(_typing: Any, rows: Any, byte: Any) -> tuple[Any, Callable[..., Any]]:
    """Ask for the line of memory in which a byte of an array lies."""

    def written(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = context.make_array(rows)(context, builder, arguments[0]).data
        pointer, number = ir.IntType(8).as_pointer(), ir.IntType(32)
        at = builder.gep(builder.bitcast(data, pointer), [arguments[1]])
        kind = ir.FunctionType(ir.VoidType(), [pointer, number, number, number])
        ask = builder.module.declare_intrinsic("llvm.prefetch", [pointer], kind)
        # To be written (1), into the nearest cache (3), as data (1).
        builder.call(ask, [at, number(1), number(3), number(1)])
        return context.get_dummy_value()

    return types.void(rows, types.int64), written


@overload(prefetch)  # type: ignore[untyped-decorator]
def _compiled(rows: Any, at: Any) -> Callable[..., None]:
    if rows.ndim > 1:

        def of_several(rows: Any, at: Any) -> None:
            size = rows.strides[0]
            for byte in range(0, size, _LINE):
                _touch(rows, np.intp(at) * size + byte)
            _touch(rows, np.intp(at) * size + size - 1)

        return of_several
    size = rows.dtype.size if isinstance(rows.dtype, types.Record) else rows.dtype.bitwidth // 8

    def of_one(rows: Any, at: Any) -> None:
        for byte in range(0, size, _LINE):
            _touch(rows, np.intp(at) * size + byte)
        # Rows do not begin where lines do.
        _touch(rows, np.intp(at) * size + size - 1)

    return of_one
