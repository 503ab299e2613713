"""UCUM → figures: the grammar and pint's units by ucumvert, where they are UCUM's.

Everything is computed in fractions, so that a bar is exactly 100 kPa. Bounded in time and memory for any text of
bounded length: pint is only ever asked for single units, of which UCUM has some 300.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import cache, lru_cache
from importlib import import_module
from typing import Any, Final

from ingest.contract.unit_names import MARKS

_MAX_EXPONENT: Final = 30
_REMEMBERED: Final = 4_096

# Where pint's unit of that name is another one than UCUM's (an arc minute is no minute of time, [cft_i] no foot, the
# gauss not the cgs one): UCUM's own definition. Prefixes apply to it.
_DEFINED: Final = {
    "'": "deg/60",
    "''": "deg/3600",
    "[cft_i]": "[ft_i]3",
    "[cyd_i]": "[yd_i]3",
    "[rd_br]": "33.[ft_br]/2",
    "[ch_br]": "66.[ft_br]",
    "[lk_br]": "66.[ft_br]/100",
    "G": "10*-4.T",
    "Mx": "10*-8.Wb",
    "Oe": "250.A/(m.[pi])",
    "Gb": "250.A.cm/(m.[pi])",
    "[Cal]": "kcal_th",
    "[Btu]": "105435.J/100",
    "[Btu_th]": "105435.J/100",
    "cal_[15]": "41858.J/10000",
    "g%": "g/dl",
    "m[Hg]": "133322.Pa",
    "[in_i'Hg]": "133322.Pa.[in_i]/m",
    "[in_i'H2O]": "m[H2O].[in_i]/m",
    "[LPF]": "100",
}
# Temperatures with a zero of their own, and what a difference in them is.
_DIFFERENCES: Final = {"Cel": "K", "[degF]": "[degR]", "[degRe]": "5.K/4"}


@dataclass(frozen=True, slots=True)
class Known:
    """A unit understood: `value in root units = value × scale + zero`.

    roots: powers of pint's root units (an angle is one of them, as in UCUM, a count another). marks: annotations that
    make another quantity of it. opaque: logarithms and the like, equal to nothing but themselves.
    """

    scale: Fraction
    zero: Fraction
    roots: frozenset[tuple[str, Fraction]]
    marks: frozenset[str]
    opaque: str

    def fits(self, other: Known) -> bool:
        """Whether one can be converted into the other."""
        return (self.opaque, self.roots, self.marks) == (other.opaque, other.roots, other.marks)


@dataclass(frozen=True, slots=True)
class _Library:
    """ucumvert, loaded. special: logarithms and the like; arbitrary: units that are defined by a procedure.

    registry: pint's, with UCUM's units. quantity: a parsed term → a quantity of it.
    """

    module: Any
    registry: Any
    parser: Any
    quantity: Callable[[Any], Any]
    invalid: type[Exception]
    special: frozenset[str]
    arbitrary: frozenset[str]


@lru_cache(maxsize=1)
def _library() -> _Library:
    # It ships no types, and takes half a second: a module that nobody needs without units in the payloads.
    module, pint = import_module("ucumvert"), import_module("pint")
    definitions = import_module("ucumvert.xml_util").get_units_with_full_definition()
    special = {unit.code_cs for unit in definitions if unit.is_special} - _DIFFERENCES.keys()
    arbitrary = {unit.code_cs for unit in definitions if unit.is_arbitrary} | {"[NTU]", "[FNU]"}
    # `PintUcumRegistry` would fill two registries, its own and the application's: most of what this takes.
    registry = pint.UnitRegistry(non_int_type=Fraction)
    pint.set_application_registry(registry)
    quantity = module.UcumToPintTransformer().transform  # puts UCUM's units into the application's
    parser, invalid = module.get_ucum_parser(), module.InvalidUcumError
    return _Library(module, registry, parser, quantity, invalid, frozenset(special), frozenset(arbitrary))


_Product = tuple[Fraction, Counter[str]]  # a factor, and powers of prefixes and atoms as (prefix, NUL, atom)


@lru_cache(maxsize=_REMEMBERED)
def understand(text: str) -> Known | str:
    """A unit in UCUM, understood; or what is wrong with it."""
    library = _library()
    if not text.isascii():
        return f"no unit is called {text!r}"
    try:
        tree = library.module.parse_ucum(text, library.parser)
        factor, powers = _product(tree)
    except library.invalid:
        return f"no unit is called {text!r}"
    except _ExponentError:
        return f"{text!r}: a power beyond {_MAX_EXPONENT}"
    marks = frozenset(re.findall(r"\{([^{}]*)\}", text)) & MARKS
    atoms = {key.partition("\0")[2] for key in powers}
    if atoms & library.special:
        return Known(Fraction(1), Fraction(0), frozenset(), marks, text)
    if len(powers) == 1 and factor == 1 and _is_bare(tree):
        ((key, power),) = powers.items()
        prefix, _, atom = key.partition("\0")
        if power == 1 and atom in _DIFFERENCES:
            scale, roots = _roots(_DIFFERENCES[atom])
            return Known(scale * _prefix(prefix), _zero(atom), roots, marks, "")
    scale, roots = _multiply(factor, powers)
    return Known(scale, Fraction(0), roots, marks, "")


class _ExponentError(ValueError):
    """A power that no unit has."""


def _product(tree: Any) -> _Product:
    """A parsed term as one factor and powers of atoms. The tree is as deep as 64 characters can make it."""
    if not hasattr(tree, "data"):
        return Fraction(1), Counter()  # an annotation
    children = tree.children
    if tree.data == "simple_unit":
        if children[-1].type == "FACTOR":
            return Fraction(int(children[0])), Counter()
        return Fraction(1), Counter({f"{children[0] if len(children) == 2 else ''}\0{children[-1]}": 1})
    if tree.data == "annotatable":
        exponent = int(children[1])
        if abs(exponent) > _MAX_EXPONENT:
            raise _ExponentError
        factor, powers = _product(children[0])
        return factor**exponent, Counter({atom: power * exponent for atom, power in powers.items()})
    total, counts = Fraction(1), Counter[str]()
    sign = 1
    for child in children:
        if getattr(child, "type", "") in ("OPERATOR", "DIVIDE"):
            sign = -1 if child == "/" else 1
            continue
        factor, powers = _product(child)
        total *= factor**sign
        for atom, power in powers.items():
            counts[atom] += sign * power
    if getattr(children[0], "type", "") == "DIVIDE":
        # UCUM reads from left to right (§7): a leading slash is for the first factor only; the tree has it for all.
        first = children[1]
        while getattr(first, "data", "") == "term":
            first = first.children[0]
        return _invert_all_but(first, total, counts)
    return total, counts


def _invert_all_but(first: Any, total: Fraction, counts: Counter[str]) -> _Product:
    factor, powers = _product(first)
    rest = Counter({atom: -power for atom, power in counts.items()})
    for atom, power in powers.items():
        rest[atom] -= 2 * power
    return 1 / (total * factor**2), rest


def _is_bare(tree: Any) -> bool:
    """Whether the text is one unit and nothing else, but for annotations."""
    types = [token.type for token in tree.scan_values(lambda _: True)]
    return all(kind not in ("OPERATOR", "DIVIDE", "EXPONENT", "FACTOR") for kind in types)


def _multiply(factor: Fraction, powers: Counter[str]) -> tuple[Fraction, frozenset[tuple[str, Fraction]]]:
    roots: dict[str, Fraction] = {}
    for key, power in powers.items():
        prefix, _, atom = key.partition("\0")
        scale, own = _roots(_DIFFERENCES.get(atom, atom))
        factor *= (scale * _prefix(prefix)) ** power
        for name, root_power in own:
            roots[name] = roots.get(name, Fraction(0)) + root_power * power
    return factor, frozenset((name, power) for name, power in roots.items() if power)


# There are some 300 atoms and 30 prefixes: these caches, and pint's own behind them, are bounded by UCUM itself.


@cache
def _roots(atom: str) -> tuple[Fraction, frozenset[tuple[str, Fraction]]]:
    """An atom, or a term of our own tables, in pint's root units."""
    library = _library()
    if atom in library.arbitrary:
        return Fraction(1), frozenset({(atom, Fraction(1))})
    if atom in _DEFINED or atom in _DIFFERENCES.values():
        term = _DEFINED.get(atom, atom)
        if term != atom or "." in term:
            return _multiply(*_product(library.module.parse_ucum(term, library.parser)))
    quantity = library.quantity(library.module.parse_ucum(atom, library.parser))
    root = library.registry.Quantity(Fraction(quantity.magnitude), quantity.units).to_root_units()
    return Fraction(root.magnitude), frozenset((name, Fraction(power)) for name, power in root.unit_items())


@cache
def _prefix(prefix: str) -> Fraction:
    if not prefix:
        return Fraction(1)
    library = _library()
    value = library.quantity(library.module.parse_ucum(f"{prefix}m", library.parser)).to_root_units().magnitude
    # pint's small prefixes went through a float and are not exactly powers of ten; their shortest decimals are.
    return Fraction(repr(float(value)))


@cache
def _zero(atom: str) -> Fraction:
    """Where a temperature's own zero lies, in K."""
    library = _library()
    units = library.quantity(library.module.parse_ucum(atom, library.parser)).units
    return Fraction(library.registry.Quantity(Fraction(0), units).to_root_units().magnitude)
