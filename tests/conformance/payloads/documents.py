"""What documents of any syntax have in common: options to try, and documents that are mostly right."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

TOPIC = b"factory/press/temperature"

OPTIONS: list[dict[str, Any]] = [
    {},
    {"values": ["*"], "flatten": True, "unit": "u", "max_depth": 2, "max_rows": 4, "max_name": 5},
    {"rows": "rows", "name": "id", "unit": "u", "max_rows": 3, "max_samples": 2},
    {"rows": "", "name": "id"},
]

NAMES = st.sampled_from(["a", "b", "c.d", "e/f", "~", "", "0", "ä", "long name"])
NUMBERS = st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
SCALARS = st.none() | st.booleans() | NUMBERS | st.sampled_from(["", "RUN", "good", "ä"])
TIMES = (
    st.integers(1_700_000_000_000, 1_700_000_999_999) | st.none() | st.sampled_from(["2023-11-14T22:13:20Z", "?", -1])
)
QUALITIES = st.sampled_from(["good", "bad", True, False, 192, 0, None, "?"])
VALUES = NUMBERS | st.recursive(
    SCALARS | st.lists(NUMBERS, max_size=3),
    lambda below: st.dictionaries(NAMES, below, max_size=3) | st.lists(below, max_size=2),
    max_leaves=4,
)


def _some(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=fields)


_USUAL = {"value": NUMBERS, "ts": TIMES, "quality": QUALITIES, "u": st.sampled_from(["Cel", "", None, 1])}
ROWS = st.lists(
    st.fixed_dictionaries({"id": st.sampled_from(["A.B", "c", "", 7]), "value": st.floats(-1e9, 1e9)})
    | _some(id=st.sampled_from(["A.B", None]), **_USUAL)
    | st.dictionaries(NAMES, VALUES, max_size=3)
    | SCALARS,
    max_size=4,
)
DOCUMENTS: st.SearchStrategy[Any] = (
    _some(**_USUAL)
    | _some(rows=ROWS, ts=TIMES, quality=QUALITIES, a=st.fixed_dictionaries({"rows": ROWS}), t=TIMES)
    | _some(a=st.dictionaries(NAMES | st.just("ts"), VALUES, max_size=3), b=VALUES, hz=st.sampled_from([25.6, 0, "x"]))
    | ROWS
    | st.fixed_dictionaries(
        {"value": st.lists(NUMBERS, max_size=3), "hz": NUMBERS, **{k: _USUAL[k] for k in ("ts", "u")}}
    )
)
"""Documents that all syntaxes can write."""
