"""`python -m deploy.grafana`: write the dashboard's JSON. Needs grafana-foundation-sdk."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from deploy.grafana.overview import FILE, as_json
from deploy.grafana.queries import LEVELS


def main(
    output: Annotated[Path, typer.Option("--output", "-o", help="Where to write it.", metavar="FILE")] = FILE,
    levels: Annotated[
        str, typer.Option(help="Levels to choose from: `plant.levels` of the settings without the last.")
    ] = ",".join(LEVELS),
) -> None:
    """Write the dashboard *Plant overview*."""
    output.write_text(as_json([level.strip() for level in levels.split(",") if level.strip()]), encoding="utf-8")
    print(output)


if __name__ == "__main__":
    typer.run(main)
