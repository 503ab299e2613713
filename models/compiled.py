"""Compiling kernels, and a cache of machine code that cannot lie.

Numba's cache sees a change in a function's own file only; a caller whose callee changed elsewhere would go on with
the old code. So the cache directory is named by a digest of all sources that kernels are made of, of the compiler's
and NumPy's versions: changed code finds an empty directory.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import FunctionType
from typing import Any, TypeVar

import numba
import numpy as np
from numpy.typing import NDArray

from models.prefetch import ahead, prefetch

F = TypeVar("F", bound=Callable[..., Any])


def _writable_cache_root() -> Path:
    chosen = os.environ.get("NUMBA_CACHE_DIR")
    candidates = [Path(chosen)] if chosen else []
    candidates += [
        Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "millstream" / "kernels",
        Path(tempfile.gettempdir()) / f"millstream-kernels-{os.getuid()}",
    ]
    for root in candidates:
        try:
            root.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError:
            continue
        # Machine code is loaded from here: nobody else may have put it there.
        if os.access(root, os.W_OK) and root.stat().st_uid == os.getuid():
            return root
    return Path(tempfile.mkdtemp(prefix="millstream-kernels-"))


@cache
def _cache_directory(folder: Path) -> str:
    digest = hashlib.blake2b(f"{numba.__version__} {np.__version__}".encode(), digest_size=10)
    for source in sorted({*folder.glob("*.py"), *Path(__file__).parent.glob("*.py")}):
        digest.update(source.name.encode() + b"\0" + source.read_bytes())
    return str(_writable_cache_root() / digest.hexdigest())


def kernel(function: F) -> F:
    """Compile a function of scalars and arrays on first call: no GIL, NumPy's division, cached on disk.

    Kernels are plain loops on `row["field"]`, so they run uncompiled too (`kernel.py_func`). An index out of range is
    a segmentation fault in compiled code: whoever calls validates slots first.
    """
    return _compiled(function)


def borrowing_kernel(function: F) -> F:
    """As `kernel`, for those that make no arrays: arrays are borrowed from the caller, and no reference is counted.

    Counting takes atomic instructions in every call that is not inlined: a third of the fold's time, once measured.
    """
    return _compiled(function, _nrt=False)


def inlined_kernel(function: F) -> F:
    """As `borrowing_kernel`, for what loops do at each row: it becomes part of them, as dozens of arguments (an array
    is ten) take longer to hand over than most rows take.
    """
    return _compiled(function, _nrt=False, forceinline=True)


def _compiled(function: F, **options: bool) -> F:
    numba.config.CACHE_DIR = _cache_directory(Path(function.__code__.co_filename).parent)
    compiled: F = numba.njit(nogil=True, cache=True, error_model="numpy", **options)(function)
    return compiled


ORDERLY = 0
"""The verdict of readings that models see: good, new, and in order."""


_SHORT = 128  # bytes


def _run(
    state: NDArray[Any],
    slot: NDArray[np.int32],
    ts_us: NDArray[np.int64],
    value: NDArray[np.float64],
    verdict: NDArray[np.uint8],
    class_of: NDArray[np.int32],
    uses: NDArray[np.bool_],
    params: NDArray[np.float64],
    number: int,
    score: NDArray[np.float64],
    scored_by: NDArray[np.int16],
    expected: NDArray[np.float64],
) -> None:
    # The band is what was expected before the reading was known, and is seldom asked for. Of a short row, a copy from
    # before is cheaper than a band for nothing; of a long one it is not.
    before, is_short = np.empty(1, state.dtype), state.itemsize <= _SHORT
    for i in range(slot.size):
        for k in ahead(i, slot.size):
            prefetch(state, slot[k])
        if verdict[i] != ORDERLY:
            continue
        which = class_of[slot[i]]
        if not uses[which]:
            continue
        row = state[slot[i]]
        low, high = 0.0, 0.0
        if is_short:
            before[0] = row
        else:
            low, high = band(row, ts_us[i], params[which])  # type: ignore[name-defined]  # noqa: F821
        found = step(row, ts_us[i], value[i], params[which])  # type: ignore[name-defined]  # noqa: F821
        if found > score[i]:
            score[i] = found
            scored_by[i] = number
            if is_short:
                low, high = band(before[0], ts_us[i], params[which])  # type: ignore[name-defined]  # noqa: F821
            expected[i, 0] = low
            expected[i, 1] = high


def _at_any_time(row: Any, ts_us: int, params: NDArray[np.float64]) -> tuple[float, float]:
    found: tuple[float, float] = band(row, params)  # type: ignore[name-defined]  # noqa: F821
    return found


def _timed(band: Callable[..., tuple[float, float]], compiled: Callable[..., tuple[float, float]]) -> Any:
    """The band as a function of (row, ts_us, params)."""
    if band.__code__.co_argcount == 3:
        return compiled
    # As with the loop: a copy for each model's file.
    code = _at_any_time.__code__.replace(co_filename=band.__code__.co_filename, co_qualname=f"{band.__module__}.timed")
    names = {"band": compiled, "__name__": band.__module__, "__builtins__": __builtins__}
    return kernel(FunctionType(code, names, "timed"))


def bank(
    step: Callable[..., float], band: Callable[..., tuple[float, float]]
) -> tuple[Callable[..., float], Callable[..., tuple[float, float]], Callable[..., None]]:
    """(compiled step, compiled band, their loop over a batch) of a model.

    band: of (row, params), or of (row, ts_us, params) where what is expected depends on the time of the next reading.
    The loop takes: state, shape (slots,); slot, ts_us, value, verdict, shape (rows,); class_of, shape (slots,);
    uses, shape (classes,); params, shape (classes, parameters); the model's number; and raises score and scored_by,
    shape (rows,), and the expected band, shape (rows, 2), where this model's score is the highest so far.
    """
    compiled, compiled_band = kernel(step), kernel(band)
    # A copy of the loop with `step` as a global: a closure would never be found in the cache again, and the copy
    # belongs to the model's file, so each model has an entry of its own.
    code = _run.__code__.replace(co_filename=step.__code__.co_filename, co_qualname=f"{step.__module__}.run")
    names = {
        "step": compiled,
        "band": _timed(band, compiled_band),
        "np": np,
        "_SHORT": _SHORT,
        "ORDERLY": ORDERLY,
        "ahead": ahead,
        "prefetch": prefetch,
        "__name__": step.__module__,
        "__builtins__": __builtins__,
    }
    return compiled, compiled_band, kernel(FunctionType(code, names, "run"))
