"""Words that plants use: names of fields, quantities and units."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache


def _words(*lines: str) -> list[str]:
    return [word for line in lines for word in line.split()]


# In order of preference; compared in lower case without separators.
TIMES = [
    "ts",
    "timestamp",
    "time",
    "t",
    "sourcetimestamp",
    "sourcetime",
    "eventtime",
    "datetime",
    "timestampms",
    "tsms",
    "timems",
    "timestamputc",
    "timeutc",
    "utc",
    "epoch",
    "epochms",
    "measuredat",
    "sampledat",
    "at",
    "when",
    "date",
    "servertimestamp",
    "servertime",
    "createdat",
    "receivedat",
]
QUALITIES = ["quality", "q", "qual", "qc", "statuscode", "status", "validity", "valid", "isvalid", "good", "isgood"]
VALUES = ["value", "val", "reading", "measurement", "measuredvalue", "currentvalue", "pv"]
"""Names that mean the value whatever else is there."""
WEAK_VALUES = ["v", "y", "data", "raw", "measure", "payload", "result", "val0"]
"""Names that mean the value where nothing else could."""
UNITS = ["unit", "units", "uom", "eu", "engunit", "engineeringunit", "engineeringunits", "unitofmeasure"]
RATES = ["ratehz", "samplerate", "samplingrate", "samplingfrequency", "samplefrequency", "sampleratehz", "fs", "rate"]
"""Names of a waveform's samples a second."""
NAMES = [
    *["name", "id", "tag", "tagname", "tagid", "sensor", "sensorname", "sensorid", "signal", "signalname", "quantity"],
    *["metric", "measurement", "parameter", "param", "variable", "channel", "point", "datapoint", "item", "key", "n"],
    *["field", "label", "property", "attribute", "type", "address", "register"],
]
"""Names of what names a row."""
BOOLEAN_QUALITIES = frozenset(["q", "quality", "valid", "isvalid", "good", "isgood", "validity"])
_ABOUT = frozenset(
    _words(
        "name tag tagname device deviceid devicename sensor sensorid sensorname source src type datatype version",
        "serial serialnumber sn mac ip host hostname site plant area line machine location description desc topic",
        "gateway firmware fw model manufacturer vendor uuid guid uid schema schemaversion displayname label",
    )
)
_NUMBERS_ABOUT = frozenset(
    ["id", "seq", "seqno", "sequence", "msgid", "messageid", "packetid", "version", "schemaversion"]
)


_LONGEST = 64


def plain_name(name: str) -> str:
    """A field's name for comparing; "" for one that is no word for its length.

    >>> plain_name("Source_Timestamp")
    'sourcetimestamp'
    """
    return _plain_name(name) if len(name) <= _LONGEST else ""


@lru_cache(maxsize=4_096)
def _plain_name(name: str) -> str:
    return re.sub(r"[\W_]+", "", name).lower()


def is_about(name: str, values: Sequence[object]) -> bool:
    """Whether a field describes the sensor or the message instead of measuring something."""
    plain = plain_name(name)
    if plain in _NUMBERS_ABOUT or plain in UNITS:
        return True
    return plain in _ABOUT and all(isinstance(value, str) for value in values)


def tokens(name: str) -> list[str]:
    """The words of a name.

    >>> tokens("oilTemp_C-01")
    ['oil', 'temp', 'c']
    """
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)
    return [word.lower() for word in re.findall(r"[^\W\d_]+|%", spaced)]


_UCUM = {
    "Cel": "°c c ℃ degc deg_c cel celsius grad °celsius",
    "[degF]": "°f f ℉ degf deg_f fahrenheit",
    "K": "k kelvin",
    "bar": "bar",
    "mbar": "mbar millibar",
    "Pa": "pa pascal",
    "hPa": "hpa",
    "kPa": "kpa",
    "MPa": "mpa",
    "[psi]": "psi",
    "%": "% percent pct %rh rh",
    "1/min": "rpm 1/min /min min-1 u/min r/min upm",
    "mm/s": "mm/s mms",
    "m/s": "m/s",
    "m/min": "m/min",
    "m/s2": "m/s2 m/s² m/s^2",
    "A": "a amp amps ampere",
    "mA": "ma",
    "V": "v volt volts",
    "mV": "mv",
    "kV": "kv",
    "W": "w watt watts",
    "kW": "kw",
    "W.h": "wh",
    "kW.h": "kwh",
    "MW.h": "mwh",
    "Hz": "hz hertz",
    "kHz": "khz",
    "N": "n newton",
    "kN": "kn",
    "N.m": "nm n.m n·m n*m",
    "L/min": "l/min lpm",
    "L": "l liter litre",
    "m3/h": "m3/h m³/h m^3/h",
    "m3": "m3 m³",
    "um": "µm μm um micron",
    "mm": "mm",
    "cm": "cm",
    "m": "m meter metre",
    "g": "g gram",
    "kg": "kg",
    "t": "t ton tonne",
    "ms": "ms",
    "s": "s sec seconds",
    "min": "min minutes",
    "h": "h hours",
    "[ppm]": "ppm",
    "[ppb]": "ppb",
    "dB": "db dba",
    "lx": "lx lux",
    "Ohm": "ohm ω",
    "deg": "° deg degree degrees",
    "[pH]": "ph",
    "uS/cm": "µs/cm us/cm",
    "1": "1 count counts pcs pieces stk st",
}
_TO_UCUM = {word: unit for unit, words in _UCUM.items() for word in words.split()}
# Endings that cannot be anything else, unlike "m" or "s".
_SUFFIXES = frozenset(
    _words(
        "degc celsius degf bar mbar pa hpa kpa mpa psi pct percent rpm mms ma mv kv kw wh kwh mwh hz khz kn nm lpm mm",
        "ppm ppb lux",
    )
)
_LETTER_AFTER = {("temp", "c"), ("temperature", "c"), ("temp", "f"), ("temperature", "f"), ("temp", "k")}
_BY_QUANTITY = {
    "temp": "Cel",
    "temperature": "Cel",
    "temperatur": "Cel",
    "pressure": "bar",
    "druck": "bar",
    "humidity": "%",
    "hum": "%",
    "feuchte": "%",
    "battery": "%",
    "vibration": "mm/s",
    "current": "A",
    "strom": "A",
    "voltage": "V",
    "spannung": "V",
    "frequency": "Hz",
    "freq": "Hz",
    "frequenz": "Hz",
    "rpm": "1/min",
    "drehzahl": "1/min",
    "torque": "N.m",
    "drehmoment": "N.m",
}
_COUNTERS = frozenset(
    [
        "count",
        "counter",
        "counts",
        "total",
        "parts",
        "pieces",
        "cycles",
        "cycle",
        "produced",
        "scrap",
        "rejects",
        "odometer",
        "strokes",
        "shots",
    ]
)
_SWITCHES = frozenset(
    [
        "on",
        "running",
        "run",
        "active",
        "enabled",
        "alarm",
        "fault",
        "error",
        "open",
        "closed",
        "ready",
        "busy",
        "door",
        "present",
        "occupied",
        "estop",
    ]
)


_PLACES = {
    "line": "line linie anlage",
    "area": "assembly machining welding packing packaging paint painting press_shop body logistics hall halle",
    "cell": "cell zelle",
    "floor": "floor level etage",
    "building": "building geb",
    "room": "room raum",
    "station": "station st",
    "robot": "robot rob",
    "device": "sensor device dev node esp shelly sonoff tasmota",
    "meter": "meter zaehler",
    "plc": "plc sps",
    "pump": "pump pumpe",
    "machine": "machine maschine mc",
    "site": "site plant werk factory fabrik",
    "zone": "zone",
    "rack": "rack",
    "train": "train",
    "wagon": "wagon car",
}
PLACES = {word: name for name, words in _PLACES.items() for word in words.split()}
"""Word → name of a level."""


def stem(segment: str) -> str:
    """A name without its number: what siblings have in common.

    >>> stem("line-01"), stem("42")
    ('line-#', '#')
    """
    if re.fullmatch(r"(?=.*\d)[0-9a-fA-F:-]{8,}", segment):
        return "#"  # a MAC address, a UUID, a serial number
    return re.sub(r"\d+", "#", segment)


def is_numbered_place(segment: str) -> bool:
    """Whether a segment is a place with a number, so that there are others beside it.

    >>> is_numbered_place("line-01"), is_numbered_place("spBv1.0"), is_numbered_place("assembly")
    (True, False, False)
    """
    match = re.fullmatch(r"([a-z]+)[-_. ]?\d+", segment.lower())
    return match is not None and match[1] in PLACES


@lru_cache(maxsize=65_536)
def unit_of_name(name: str) -> str:
    """The unit that a quantity's name means, or "".

    >>> unit_of_name("oil_temp"), unit_of_name("pressure_mbar"), unit_of_name("speed")
    ('Cel', 'mbar', '')
    """
    words = tokens(name)
    if len(words) > 1 and (words[-1] in _SUFFIXES or (words[-2], words[-1]) in _LETTER_AFTER):
        return _TO_UCUM[words[-1]]
    return next((_BY_QUANTITY[word] for word in reversed(words) if word in _BY_QUANTITY), "")


def sounds_like_counter(name: str) -> bool:
    """Whether a name is one of something that is counted."""
    return not _COUNTERS.isdisjoint(tokens(name))


def sounds_like_switch(name: str) -> bool:
    """Whether a name is one of something that is on or off."""
    return not _SWITCHES.isdisjoint(tokens(name))
