"""What can be set, in one TOML file plus the environment (`MILLSTREAM__SECTION__KEY`).

Every field has a default that is safe. Reading, and reporting all mistakes at once, is in `settings_file.py`.
"""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import Field, field_validator

from ingest.contract.class_settings import EVERYTHING_ELSE, ClassSettings
from ingest.contract.durations import DurationUs
from ingest.contract.kafka_settings import KafkaSettings
from ingest.contract.mqtt_settings import MqttSettings, RouteSettings
from ingest.contract.notifier_settings import NotifierSettings, WebhookSettings, check_names
from ingest.contract.panes import pane_ring
from ingest.contract.section import Endpoint, Section

_SECOND_US = 1_000_000
_MINUTE_US = 60 * _SECOND_US
_RESERVED_LABELS = {"sensor", "window", "state", "class", "unit", "le", "quantile", "job", "instance"}


class PlantSettings(Section):
    """The plant as a whole."""

    levels: list[str] = ["site", "area", "line", "machine", "quantity"]
    """Names of a path's segments; they become labels."""
    armed: bool = False
    """Whether alerts go out. A new plant only observes: what would have alerted is counted and can be listed."""
    armed_paths: list[str] = []
    """Parts of the plant whose alerts go out already: path patterns, `demo/assembly/line-01/**`."""
    expected_sensors: int = Field(1_000, ge=1, le=10_000_000)
    """For the estimates of `millstream check`."""
    max_sensors: int = Field(100_000, ge=1, le=10_000_000)
    """Sensors beyond this are refused and counted, so that a flood of names harms nobody else."""
    tags: str | None = None
    """What the plant knows about its tags: a CSV, its path relative to this file (`millstream sensors import`)."""

    @field_validator("levels")
    @classmethod
    def _label_names(cls, levels: list[str]) -> list[str]:
        for level in levels:
            if not re.fullmatch(r"[a-z][a-z0-9_]*", level):
                raise ValueError(f"{level!r} cannot be a label: lower case letters, digits and _ only")
            if level in _RESERVED_LABELS:
                raise ValueError(f"{level!r} is a label that Millstream or Prometheus sets")
        if len(set(levels)) != len(levels):
            raise ValueError("a level is named twice")
        return levels


class GatewaySettings(Section):
    """MQTT → Kafka."""

    http: Endpoint = "127.0.0.1:9101"
    linger: DurationUs = 200_000
    """How long a reading may wait for company: a record costs the same for one row as for hundreds."""
    max_batch: int = Field(5_000, ge=1, le=100_000)
    max_payload_bytes: int = Field(262_144, ge=64, le=16_777_216)
    max_record_bytes: int = Field(900_000, ge=131_072, le=16_777_216)
    """Below the broker's `message.max.bytes` (1 MiB by default)."""


class WorkerSettings(Section):
    """Kafka → state → metrics and alerts."""

    http: Endpoint = "127.0.0.1:9102"
    group: Annotated[str, Field(min_length=1, max_length=200)] = "millstream-worker"
    tick: Annotated[DurationUs, Field(ge=100_000)] = _SECOND_US
    """A partition quiet for so long gets a tick: time passes in the log."""
    future: DurationUs = 5 * _MINUTE_US
    """A reading whose time is further ahead of its arrival than this is gated."""
    rebuild: DurationUs = 3_600 * _SECOND_US
    """How far before the last commit a starting worker reads, to rebuild windows and models."""
    commit_every: DurationUs = 5 * _SECOND_US


class Settings(Section):
    """All of it."""

    plant: PlantSettings = PlantSettings()
    mqtt: MqttSettings = MqttSettings()
    route: Annotated[list[RouteSettings], Field(min_length=1)]
    classes: list[ClassSettings] = Field([EVERYTHING_ELSE], alias="class")
    kafka: KafkaSettings = KafkaSettings()
    gateway: GatewaySettings = GatewaySettings()
    worker: WorkerSettings = WorkerSettings()
    notifier: NotifierSettings = NotifierSettings()
    webhook: list[WebhookSettings] = []

    @field_validator("webhook")
    @classmethod
    def _webhooks_named_apart(cls, webhooks: list[WebhookSettings]) -> list[WebhookSettings]:
        check_names(webhooks)
        return webhooks

    @field_validator("classes")
    @classmethod
    def _end_with_everything(cls, classes: list[ClassSettings]) -> list[ClassSettings]:
        names = [one.name for one in classes]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"two classes are called {name!r}")
        pane_ring({window for one in classes for window in one.windows})
        if any("**" in one.match for one in classes):
            return classes
        if EVERYTHING_ELSE.name in names:
            raise ValueError('the class called "default" takes what no other class matches: its match is ["**"]')
        return [*classes, EVERYTHING_ELSE]
