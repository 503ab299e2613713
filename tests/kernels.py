"""Compile the kernels of a plant once, before many processes need them at the same time: `python -m tests.kernels`."""

from __future__ import annotations

from importlib.resources import as_file, files

from deploy.registries import model_registry, read_settings
from stream.fold.definitions import Definitions
from stream.fold.plan import make_plan
from stream.warm_up import warm_up


def main() -> None:
    """Those of the demo plant, which are those of any plant with the same models."""
    with as_file(files("deploy") / "plants" / "demo.toml") as path:
        settings = read_settings(path, with_models=True)
    warm_up(make_plan(Definitions.of(settings), model_registry()), settings.kafka.topics.readings.partitions)


if __name__ == "__main__":
    main()
