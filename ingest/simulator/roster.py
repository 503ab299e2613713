"""The sensors of a described plant, one entry each in columns: who they are, and who speaks for them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count

import numpy as np
from numpy.typing import NDArray

from ingest.simulator.description import GroupSection, PlantDescription
from ingest.simulator.ranges import MOST_NAMES, Names
from ingest.simulator.templates import SensorTemplate


@dataclass(frozen=True, slots=True)
class Template:
    """A sensor of each machine of a group: `name` is what its path ends in."""

    group: int
    name: str
    said: SensorTemplate


@dataclass(frozen=True, slots=True, eq=False)
class Roster:
    """Sensors in the order of their numbers.

    paths, template, machine, device: one entry per sensor. `template` indexes `templates`, `device` `devices`;
    `machine` counts the machines of the sensor's group. devices: (group, path).
    """

    groups: Sequence[GroupSection]
    templates: Sequence[Template]
    devices: Sequence[tuple[int, str]]
    paths: Sequence[str]
    template: NDArray[np.int32]
    machine: NDArray[np.int64]
    device: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def group(self) -> NDArray[np.int32]:
        """The group of each sensor."""
        return np.array([one.group for one in self.templates], np.int32)[self.template]

    def said(self, sensor: int) -> SensorTemplate:
        """How a sensor is described."""
        return self.templates[int(self.template[sensor])].said

    def field(self, sensor: int) -> str:
        """What is left of a sensor's path below its device.

        With the device `demo/line-1` that of `demo/line-1/press/speed` is `press/speed`.
        """
        return self.paths[sensor][len(self.devices[self.device[sensor]][1]) + 1 :]


def lay_out(described: PlantDescription, sensors: int | None = None) -> Roster:
    """Machine by machine, in the order described; groups with an open range take turns, a round each.

    sensors: how many; the last machine may have fewer. None: as many as are described. Raises ValueError if
    the plant has fewer, if nobody says how many, and for two sensors with one path.
    """
    wanted = sensors if sensors is not None else described.plant.sensors
    templates = [
        Template(at, name, said)
        for at, group in enumerate(described.group)
        for said in group.sensor
        for name in Names.parse(said.name).round(0)
    ]
    of_group = [
        [(at, one.name) for at, one in enumerate(templates) if one.group == g] for g in range(len(described.group))
    ]
    machines = _machines(described)
    if wanted is None and any(Names.parse(one).is_open for group in described.group for one in group.machines):
        raise ValueError("the plant has a range without an end, so somebody has to say how many sensors it has")
    most = MOST_NAMES if wanted is None else wanted
    paths: list[str] = []
    template, machine, device = list[int](), list[int](), list[int]()
    devices: dict[tuple[int, str], int] = {}
    seen = [0] * len(described.group)
    for group, path in machines:
        levels = described.group[group].device_levels
        speaker = path if levels is None else "/".join(path.split("/")[:levels])
        number = devices.setdefault((group, speaker), len(devices))
        for at, name in of_group[group]:
            paths.append(f"{path}/{name}")
            template.append(at)
            machine.append(seen[group])
            device.append(number)
        seen[group] += 1
        if len(paths) >= most:
            break
    if wanted is None and len(paths) > MOST_NAMES:
        raise ValueError(f"over {MOST_NAMES:,} sensors")
    if wanted is not None and len(paths) < wanted:
        raise ValueError(f"the plant has {len(paths):,} sensors, not {wanted:,}: only a range without an end grows")
    paths = paths[:wanted]
    if len(set(paths)) < len(paths):
        twice = next(path for path in sorted(paths) if paths.count(path) > 1)
        raise ValueError(f"two sensors are called {twice}")
    rows = len(paths)
    columns = [np.array(column[:rows], kind) for column, kind in ((template, "i4"), (machine, "i8"), (device, "i4"))]
    return Roster(described.group, templates, list(devices), paths, *columns)


def _machines(described: PlantDescription) -> Iterator[tuple[int, str]]:
    """(group, path) of machines, without an end if a range has none."""
    names = [(at, Names.parse(one)) for at, group in enumerate(described.group) for one in group.machines]
    for number in count():
        more = False
        for group, one in names:
            if number == 0 or one.is_open:
                more = more or one.is_open
                yield from ((group, path) for path in one.round(number))
        if not more:
            return
