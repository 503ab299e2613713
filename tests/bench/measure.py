"""Figures and the report: what was measured, on what, and beside which baseline."""

import json
import platform
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Self

import psutil
from rich.console import Console
from rich.table import Table

PACKAGES = ("paho-mqtt", "aiokafka", "numpy", "numba", "river", "pyarrow", "msgspec", "mq-bridge")
WIDTH = 140  # of what is piped somewhere
SIGNIFICANT_DIGITS = 3  # shared cores: the fourth digit is noise


def rounded(value: float) -> float:
    return float(f"{value:.{SIGNIFICANT_DIGITS}g}")


@dataclass(frozen=True)
class Figure:
    name: str
    value: float
    unit: str
    baseline: float | None = None
    ratio: float | None = None  # how many times better than the baseline

    @classmethod
    def cost(cls, name: str, value: float, unit: str, baseline: float) -> Self:
        """Less is better."""
        return cls(name, value, unit, baseline, baseline / value)

    @classmethod
    def rate(cls, name: str, value: float, unit: str, baseline: float) -> Self:
        """More is better."""
        return cls(name, value, unit, baseline, value / baseline)


def processor_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:  # not Linux
        return platform.processor()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


def as_json(figure: Figure) -> dict[str, str | float | None]:
    fields = asdict(figure)
    return {key: rounded(item) if isinstance(item, float) else item for key, item in fields.items()}


def as_cell(number: float | None) -> str:
    return "" if number is None else f"{rounded(number):,.10g}"


def print_table(figures: Sequence[Figure]) -> None:
    table = Table()
    for heading in ("figure", "value", "unit", "baseline", "ratio"):
        table.add_column(
            heading, justify="left" if heading in ("figure", "unit") else "right", no_wrap=heading == "figure"
        )
    for figure in figures:
        value, baseline, ratio = map(as_cell, (figure.value, figure.baseline, figure.ratio))
        table.add_row(figure.name, value, figure.unit, baseline, ratio)
    Console(width=None if sys.stdout.isatty() else WIDTH).print(table)


def write_report(figures: Sequence[Figure], path: Path) -> None:
    """Write the figures as JSON with what they depend on, and print them as a table."""
    report = {
        "processor": processor_name(),
        "cores": psutil.cpu_count(),
        "python": platform.python_version(),
        "versions": {package: version(package) for package in PACKAGES},
        "figures": [as_json(figure) for figure in figures],
    }
    path.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    print_table(figures)
