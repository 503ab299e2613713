"""Units: what plants write is understood or refused, and figures agree with pint and with UCUM's own definitions."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from fractions import Fraction
from importlib import import_module
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.contract import ucum, unit_names, units
from ingest.contract.errors import QuarantineError, Reason
from ingest.contract.units import IDENTITY, Conversion, canonical, check_unit, conversion

few = settings(max_examples=150, deadline=None)

COMMENSURABLE = [
    ["Cel", "[degF]", "K", "[degR]", "[degRe]", "mK", "mCel"],
    ["bar", "Pa", "kPa", "[psi]", "mm[Hg]", "atm", "N/mm2", "[in_i'H2O]"],
    ["mm/s", "m/s", "[in_i]/s", "km/h", "[kn_i]"],
    ["W.h", "kW.h", "J", "MJ", "N.m", "[Btu_IT]"],
    ["1/min", "Hz", "{rev}/s", "/h", "kHz"],
    ["1", "%", "[ppm]", "[ppb]", "10*3"],
    ["deg", "rad", "gon", "'", "circ"],
    ["m3/h", "l/min", "[cft_i]/min", "[gal_us]/h"],
    ["Cel/min", "K/s", "[degF]/h", "mK/us"],
]
PAIRS = [(a, b) for family in COMMENSURABLE for a in family for b in family]
pairs = st.sampled_from(PAIRS)
triples = st.sampled_from(COMMENSURABLE).flatmap(lambda family: st.tuples(*[st.sampled_from(family)] * 3))
numbers = st.floats(-1e9, 1e9)


def refused(call: Callable[[], object]) -> str:
    with pytest.raises(QuarantineError) as caught:
        call()
    assert caught.value.reason is Reason.UNIT
    return caught.value.detail


# --- conversions -----------------------------------------------------------------------------------------------------


@few
@given(pair=pairs, value=numbers)
def test_there_and_back_is_the_same_value(pair: tuple[str, str], value: float) -> None:
    there, back = conversion(*pair), conversion(*reversed(pair))
    again = (value * there.scale + there.offset) * back.scale + back.offset
    room = 1e-12 * max(1.0, abs(value), abs(back.offset), abs(there.offset * back.scale))
    assert again == pytest.approx(value, rel=1e-12, abs=room)


@few
@given(units_of=triples)
def test_a_way_through_a_third_unit_is_the_same_way(units_of: tuple[str, str, str]) -> None:
    a, b, c = units_of
    first, second, direct = conversion(a, b), conversion(b, c), conversion(a, c)
    assert first.scale * second.scale == pytest.approx(direct.scale, rel=1e-12)
    room = 1e-12 * max(1.0, abs(first.offset * second.scale), abs(second.offset))
    assert first.offset * second.scale + second.offset == pytest.approx(direct.offset, rel=1e-12, abs=room)


PINT = {
    "Cel": "degree_Celsius",
    "[degF]": "degree_Fahrenheit",
    "K": "kelvin",
    "[degR]": "degree_Rankine",
    "bar": "bar",
    "kPa": "kilopascal",
    "[psi]": "pound_force_per_square_inch",
    "atm": "standard_atmosphere",
    "mm/s": "millimeter / second",
    "[in_i]/s": "inch / second",
    "km/h": "kilometer / hour",
    "kW.h": "kilowatt_hour",
    "MJ": "megajoule",
    "1/min": "1 / minute",
    "Hz": "hertz",
    "%": "percent",
    "[ppm]": "ppm",
    "deg": "degree",
    "rad": "radian",
    "m3/h": "meter ** 3 / hour",
    "l/min": "liter / minute",
    "[cft_i]/min": "foot ** 3 / minute",
    "Cel/min": "delta_degree_Celsius / minute",
    "[degF]/h": "delta_degree_Fahrenheit / hour",
}


@few
@given(pair=st.sampled_from([pair for pair in PAIRS if set(pair) <= PINT.keys()]), value=st.floats(-1e6, 1e6))
def test_values_are_those_that_pint_has_for_the_same_names(pair: tuple[str, str], value: float) -> None:
    source, target = pair
    expected = REGISTRY.Quantity(value, PINT[source]).to(PINT[target]).magnitude
    way = conversion(source, target)
    room = 1e-12 * max(1.0, abs(way.offset), 1_000 * abs(way.scale))
    assert value * way.scale + way.offset == pytest.approx(expected, rel=1e-12, abs=room)


REGISTRY: Any = import_module("pint").UnitRegistry()


@pytest.mark.parametrize(
    ("value", "source", "target", "expected"),
    [
        (0.0, "[degF]", "Cel", -160 / 9),
        (32.0, "[degF]", "Cel", 0.0),
        (212.0, "[degF]", "Cel", 100.0),
        (-40.0, "[degF]", "Cel", -40.0),
        (0.0, "K", "Cel", -273.15),
        (-273.15, "Cel", "K", 0.0),
        (0.0, "K", "[degF]", -459.67),
        (9.0, "[degF]/min", "Cel/min", 5.0),
        (60.0, "1/min", "Hz", 1.0),
        (21_500.0, "mCel", "Cel", 21.5),
        (1.0, "[cft_i]/min", "l/min", 28.316846592),
        (1.0, "[in_i'H2O]", "Pa", 249.08891),
        (1.0, "gauss", "mT", 0.1),
        (90.0, "'", "deg", 1.5),
    ],
)
def test_known_values(value: float, source: str, target: str, expected: float) -> None:
    way = conversion(source, target)
    assert value * way.scale + way.offset == pytest.approx(expected, rel=1e-12, abs=1e-12)


def test_a_leading_slash_divides_by_the_first_factor_only() -> None:
    assert conversion("/min.m", "m/min").identical
    assert conversion("/(min.m)", "min-1.m-1").identical


def test_decimal_factors_are_exact() -> None:
    assert conversion("bar", "kPa") == Conversion(100.0, 0.0)
    assert conversion("uS/cm", "S/m") == Conversion(1e-4, 0.0)
    assert conversion("Cel", "[degF]") == Conversion(1.8, 32.0)
    assert conversion("kW.h", "J") == Conversion(3.6e6, 0.0)


@pytest.mark.parametrize("unit", ["mm/s", "°C", "rpm", "dB", "[pH]", "dBm", "Nm³/h", "barg", "g", "[IU]/l", "1"])
def test_a_unit_into_itself_changes_nothing_at_all(unit: str) -> None:
    assert conversion(unit, canonical(unit)) is IDENTITY
    values = np.array([1.0, np.nan])
    assert conversion(unit, canonical(unit)).apply(values) is values


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("Cel", "bar"),
        ("deg", "%"),  # an angle is no share
        ("1/min", "rad/s"),  # a revolution is no radian
        ("Bq", "Hz"),  # nor is a decay an oscillation
        ("[NTU]", "%"),
        ("[IU]/l", "1/l"),
        ("mol/l", "1/l"),
        ("bit/s", "Hz"),
        ("bar{gauge}", "bar"),
        ("psig", "bar{absolute}"),
        ("Nm3/h", "m3/h"),
        ("kvar", "kW"),
        ("dB", "%"),
        ("dB[W]", "W"),
        ("[pH]", "mol/l"),
        ("C", "bar"),
    ],
)
def test_what_measures_something_else_is_refused(source: str, target: str) -> None:
    assert "another quantity" in refused(lambda: conversion(source, target))


def test_values_are_converted_as_a_column() -> None:
    out = conversion("°F", "Cel").apply(np.array([32.0, np.nan, np.inf, 1.7e308]))
    np.testing.assert_allclose(out, [0.0, np.nan, np.inf, 1.7e308 / 1.8], atol=1e-12)
    assert np.isposinf(conversion("MJ", "eV").apply(np.array([1e300]))).all()


# --- names -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "ucum"),
    [
        ("°C", "Cel"),
        ("Â°C", "Cel"),
        ("℃", "Cel"),
        ("degC", "Cel"),
        ("CELSIUS", "Cel"),
        ("°F", "[degF]"),
        ("°C/min", "Cel/min"),
        ("rpm", "1/min"),
        ("RPM", "1/min"),
        ("PSI", "[psi]"),
        ("%RH", "%{RH}"),
        ("beat/min", "{beat}/min"),
        ("l/min", "l/min"),
        ("m³/h", "m3/h"),
        ("m^3/hr", "m3/h"),
        ("Nm", "N.m"),
        ("N*m", "N.m"),
        ("µm/s", "um/s"),
        ("μm / s", "um/s"),
        ("mm/s²", "mm/s2"),
        ("kΩ", "kOhm"),
        ("kWh", "kW.h"),
        ("KWH", "kW.h"),
        ("W·h", "W.h"),
        ("10*3/ul", "10*3/ul"),
        ("  bar ", "bar"),
        ("BAR", "bar"),
        ("kg.m-3", "kg.m-3"),
    ],
)
def test_what_plants_write_becomes_ucum(written: str, ucum: str) -> None:
    assert canonical(written) == ucum


@pytest.mark.parametrize("text", ["", " ", "foo", "m//s", "m^", "\ud800", "\x00", "度", "mm/s mm/s", "{", "m{é}", "0"])
def test_what_is_no_unit_is_refused(text: str) -> None:
    assert refused(lambda: canonical(text))
    assert refused(lambda: conversion(text, "m"))
    assert refused(lambda: conversion("m", text))


def test_a_spelling_of_several_meanings_is_settled_by_the_target_or_refused() -> None:
    assert "several meanings: Cel, C" in refused(lambda: canonical("C"))
    assert conversion("C", "[degF]") == conversion("Cel", "[degF]")
    assert conversion("C", "A.s") == Conversion(1.0, 0.0)
    assert conversion("g", "m/s2") == Conversion(9.80665, 0.0)
    assert conversion("g", "kg") == Conversion(0.001, 0.0)
    assert conversion("ft", "m") == Conversion(0.3048, 0.0)
    assert conversion("C", " C") is IDENTITY
    # Here the target allows more than one of them.
    assert "several meanings" in refused(lambda: conversion("gpm", "l/min"))
    assert "several meanings" in refused(lambda: conversion("MBAR", "bar"))
    assert "several meanings" in refused(lambda: conversion("Cel", "C"))


every_name = sorted({*unit_names.SPELLINGS, *unit_names.WORDS, *unit_names.COMMON} - unit_names.MEANINGS.keys())


def test_every_entry_of_the_tables_is_a_unit() -> None:
    values = {*unit_names.SPELLINGS.values(), *unit_names.WORDS.values(), *unit_names.COMMON}
    values |= {one for meanings in unit_names.MEANINGS.values() for one in meanings}
    assert {one: ucum.understand(one) for one in values if isinstance(ucum.understand(one), str)} == {}


def test_a_canonical_unit_is_its_own_canonical_unit() -> None:
    assert {name: canonical(canonical(name)) for name in every_name} == {name: canonical(name) for name in every_name}


def test_no_entry_overrules_ucum_unseen() -> None:
    """A spelling that UCUM has with another meaning is listed with both, but for those nothing measures."""
    femtotonnes = {"ft/s", "ft/min", "ft2", "ft3", "ft3/min"}
    tables = {**unit_names.SPELLINGS, **unit_names.WORDS}
    cased = {form: to for word, to in unit_names.WORDS.items() for form in (word.upper(), word.title())}
    wrong = []
    for written, meant in {**cased, **tables}.items():
        known = ucum.understand(units._tidy(written))
        if written in unit_names.MEANINGS or written in femtotonnes | {"EL"} or isinstance(known, str) or known.opaque:
            continue  # opaque: kilobels
        if known != ucum.understand(meant):
            wrong.append((written, meant))
    assert wrong == []


# --- UCUM's own definitions ------------------------------------------------------------------------------------------


def test_figures_agree_with_the_definitions_that_ucum_publishes() -> None:
    # pint's mol is a quantity of its own, its Bq counts, its Bd are bits; u and pc were measured anew.
    other = {"mol", "Bq", "Bd", "bit", "circ", "sph"}
    wrong = {}
    for unit in import_module("ucumvert.xml_util").get_units_with_full_definition():
        if unit.is_special or unit.is_arbitrary or unit.code_cs in other:
            continue
        ours, definition = ucum.understand(unit.code_cs), ucum.understand(unit.defining_unit)
        assert isinstance(ours, ucum.Known)
        assert isinstance(definition, ucum.Known)
        if unit.code_cs in ("[NTU]", "[FNU]"):
            continue  # procedures in all but the table
        factor = Fraction(str(unit.conversion_factor))
        deviation = float(abs(ours.scale / (definition.scale * factor) - 1))
        if deviation > 4e-5 or ours.roots != definition.roots:
            wrong[unit.code_cs] = deviation
    assert wrong == {}


# --- hostile strings -------------------------------------------------------------------------------------------------

TOKENS = ["m", "s", "Cel", "[degF]", "10*", "/", ".", "(", ")", "{", "}", "{a}", "9", "-", "k", "°", "^"]
pieces = st.sampled_from(TOKENS)


def reason_of(call: Callable[[], object]) -> QuarantineError | None:
    """What it is refused for; None where it is not. Any other exception is a failure."""
    try:
        call()
    except QuarantineError as error:
        return error
    return None


@few
@given(text=st.one_of(st.text(max_size=80), st.lists(pieces, max_size=40).map("".join)))
def test_any_string_is_a_unit_or_refused(text: str) -> None:
    for call in (lambda: canonical(text), lambda: conversion(text, "m/s"), lambda: conversion("m/s", text)):
        if error := reason_of(call):
            assert error.reason is Reason.UNIT
            assert len(error.detail) < 1_000
    if reason_of(lambda: canonical(text)) is None:
        assert conversion(text, canonical(text)) is IDENTITY


BOMBS = [
    "m" * 10_000,
    "(" * 31 + "m" + ")" * 31,
    "m/(" * 15 + "m" + ")" * 15,
    "10*999999",
    "10*30." * 10 + "m",
    "m-30." * 12 + "m",
    "rad30." * 10 + "m",
    "Gi30.Gi30",
    "9" * 64,
    "m" + "9" * 63,
    "/" * 64,
    "{" * 64,
]


@pytest.mark.parametrize("bomb", BOMBS)
def test_bombs_are_refused_or_harmless(bomb: str) -> None:
    error = reason_of(lambda: conversion(bomb, "m"))
    assert error is None or len(error.detail) < 300


def test_factors_beyond_all_numbers_are_refused() -> None:
    assert "beyond all numbers" in refused(lambda: conversion("10*30." * 10 + "Ym", "m"))
    assert "beyond all numbers" in refused(lambda: conversion("10*-30." * 8 + "ym", "10*30.10*30.m"))
    assert "power beyond" in refused(lambda: canonical("10*999999"))


def test_what_is_remembered_is_bounded() -> None:
    for cached in (units._conversion, units._meanings, ucum.understand):
        assert cached.cache_info().maxsize == 4_096


# --- settings and start ----------------------------------------------------------------------------------------------


def test_settings_are_checked_with_a_suggestion() -> None:
    assert check_unit("°C") == "Cel"
    assert check_unit("") == ""
    with pytest.raises(ValueError, match=r"no unit is called 'Celcius'.*did you mean .celsius"):
        check_unit("Celcius")
    with pytest.raises(ValueError, match="10000 characters"):
        check_unit("m" * 10_000)


def test_common_units_need_no_library() -> None:
    code = (
        "import sys; from ingest.contract.units import canonical, check_unit, conversion\n"
        "assert canonical('°C') == 'Cel' and check_unit('mm/s') == 'mm/s' and conversion('rpm', '1/min').identical\n"
        "assert not {'pint', 'ucumvert', 'lark'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_units_are_read_once() -> None:
    code = (
        "from pint import UnitRegistry; from ingest.contract.units import conversion, prepare\n"
        "read, load = [], UnitRegistry.load_definitions\n"
        "UnitRegistry.load_definitions = lambda self, at, *rest: (read.append(str(at)), load(self, at, *rest))[1]\n"
        "prepare()\n"
        "assert len(read) == 2 and len({*read}) == 2, read\n"
        "assert conversion('bar', 'kPa').scale == 100.0"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
