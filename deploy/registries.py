"""All sorts of components there are, for checking settings."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import models
from ingest.contract.registry import PlugIn, Registry
from ingest.contract.settings import Settings
from ingest.contract.settings_file import load_settings
from ingest.decoders import DECODERS
from models.base import Model
from models.cost import Costs


def model_registry(*, names_only: bool = False, costs: Costs | None = None) -> Registry[Model]:
    """The models. names_only: check no options, so that the compiler is not imported (the gateway needs none).

    costs: where models of other libraries write down what they cost.
    """
    plug_ins = {models.RIVER: partial(_river, costs)}
    return Registry("model", models.TABLE, names_only=names_only, plug_ins=plug_ins)


def _river(costs: Costs | None) -> PlugIn[Model]:
    from models.river_plugin import RiverPlugIn

    return RiverPlugIn(costs)


def read_settings(path: Path, *, with_models: bool, environ: Mapping[str, str] | None = None) -> Settings:
    """The settings, checked against every sort of component. Raises SettingsError.

    environ: instead of the process's environment.
    """
    registries: dict[str, Registry[Any]] = {"decoder": DECODERS, "model": model_registry(names_only=not with_models)}
    return load_settings(path, environ, registries)
