"""Where the sensors are: areas, lines and machines of an assembly plant, and what a machine measures."""

from dataclasses import dataclass
from typing import Final, Literal

Kind = Literal["gauge", "counter", "bool", "enum"]
Reporting = Literal["periodic", "on-change"]


@dataclass(frozen=True, slots=True)
class Quantity:
    """One thing every machine measures.

    `unit` is UCUM ("1" for a count, "" where a unit makes no sense); `decimals` is the instrument's
    resolution.
    """

    name: str
    kind: Kind
    reporting: Reporting
    unit: str
    decimals: int


# The order is the order of columns in the signal models.
QUANTITIES: Final = (
    Quantity("temperature", "gauge", "periodic", "Cel", 2),
    Quantity("vibration", "gauge", "periodic", "mm/s", 3),
    Quantity("pressure", "gauge", "periodic", "bar", 3),
    Quantity("current", "gauge", "on-change", "A", 2),
    Quantity("speed", "gauge", "periodic", "/min", 1),
    Quantity("parts", "counter", "periodic", "1", 0),
    Quantity("running", "bool", "on-change", "", 0),
    Quantity("state", "enum", "on-change", "", 0),
)
COLUMN: Final = {quantity.name: column for column, quantity in enumerate(QUANTITIES)}

_AREAS: Final = (
    ("assembly", ("press", "robot", "screwdriver")),
    ("machining", ("lathe", "mill", "grinder")),
    ("welding", ("welder", "positioner")),
    ("packing", ("filler", "labeller", "palletizer")),
)
_MACHINES_PER_LINE: Final = 8


@dataclass(frozen=True, slots=True)
class Sensor:
    """One sensor of the plant; `path` is `{site}/{area}/{line}/{machine}/{quantity}`."""

    path: str
    quantity: str
    kind: Kind
    reporting: Reporting
    unit: str


def machine_path(machine: int, site: str) -> str:
    """Path of the machine with this number (from 0). Lines are dealt out to the areas in turn.

    >>> machine_path(3, "demo")
    'demo/assembly/line-01/press-02'
    >>> machine_path(8, "demo")
    'demo/machining/line-01/lathe-01'
    """
    line, place = divmod(machine, _MACHINES_PER_LINE)
    area, machine_types = _AREAS[line % len(_AREAS)]
    machine_type = machine_types[place % len(machine_types)]
    number = place // len(machine_types) + 1
    return f"{site}/{area}/line-{line // len(_AREAS) + 1:02d}/{machine_type}-{number:02d}"


def lay_out(sensors: int, site: str = "demo") -> tuple[Sensor, ...]:
    """Exactly `sensors` sensors (at least 1), machine by machine; the last machine may have fewer.

    Raises ValueError for no sensors, and for a site that cannot be one level of an MQTT topic.

    >>> [sensor.path for sensor in lay_out(9)][-2:]
    ['demo/assembly/line-01/press-01/state', 'demo/assembly/line-01/robot-01/temperature']
    """
    if sensors < 1:
        raise ValueError(f"a plant needs at least 1 sensor, not {sensors}")
    if not site or not site.isprintable() or site.startswith("$") or set(site) & set("/+# "):
        raise ValueError(f"site {site!r} cannot be one level of an MQTT topic")
    machines = -(-sensors // len(QUANTITIES))
    everything = (
        Sensor(f"{path}/{q.name}", q.name, q.kind, q.reporting, q.unit)
        for path in (machine_path(machine, site) for machine in range(machines))
        for q in QUANTITIES
    )
    return tuple(sensor for sensor, _ in zip(everything, range(sensors), strict=False))
