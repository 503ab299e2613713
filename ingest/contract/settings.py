"""What can be set, in one TOML file plus the environment (`MILLSTREAM__SECTION__KEY`).

Every field has a default that is safe. Reading, and reporting all mistakes at once, is in `settings_file.py`.
"""

from __future__ import annotations

import re
from typing import Annotated
from urllib.parse import quote

from pydantic import Field, field_validator, model_validator

from ingest.contract.class_settings import EVERYTHING_ELSE, ClassSettings
from ingest.contract.filters import filters_of, overlaps
from ingest.contract.gateway_settings import GatewaySettings, SourceSettings
from ingest.contract.kafka_settings import KafkaSettings
from ingest.contract.mqtt_settings import MqttSettings, RouteSettings
from ingest.contract.notifier_settings import NotifierSettings, WebhookSettings, check_names
from ingest.contract.panes import pane_levels
from ingest.contract.registry import did_you_mean
from ingest.contract.section import Section
from ingest.contract.sensors import TopicPattern
from ingest.contract.worker_settings import WorkerSettings

_SECOND_US = 1_000_000
_MINUTE_US = 60 * _SECOND_US
_RESERVED_LABELS = {
    *("sensor", "window", "state", "reason", "quality", "class", "unit"),
    *("le", "quantile", "job", "instance"),
}


class PlantSettings(Section):
    """The plant as a whole."""

    levels: list[str] = ["site", "area", "line", "machine", "quantity"]
    """Names of a path's segments; they become labels."""
    armed: bool = False
    """Whether alerts go out. A new plant only observes: what would have alerted is counted and can be listed."""
    armed_paths: list[str] = []
    """Parts of the plant whose alerts go out already: path patterns, `demo/assembly/line-01/**`."""
    alerts_per_day: int = Field(20, ge=1, le=1_000_000)
    """Alerts a day that people are asked to look at. Where a class's scores would bring more, its boundary rises."""
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


def route_filters(route: RouteSettings, instance: int = 1, instances: int = 1) -> list[str]:
    """What one gateway of several subscribes to for a route."""
    return filters_of(TopicPattern.parse(route.topic, route.path), route.levels, instance, instances)


class Settings(Section):
    """All of it."""

    plant: PlantSettings = PlantSettings()
    mqtt: MqttSettings = MqttSettings()
    broker: list[MqttSettings] = []
    """Several MQTT brokers, each with a name, instead of `[mqtt]`."""
    route: Annotated[list[RouteSettings], Field(min_length=1)]
    source: list[SourceSettings] = []
    classes: list[ClassSettings] = Field([EVERYTHING_ELSE], alias="class")
    kafka: KafkaSettings = KafkaSettings()
    gateway: GatewaySettings = GatewaySettings()
    worker: WorkerSettings = WorkerSettings()
    notifier: NotifierSettings = NotifierSettings()
    webhook: list[WebhookSettings] = []

    @property
    def brokers(self) -> list[MqttSettings]:
        """The MQTT brokers."""
        return self.broker or [self.mqtt]

    def client_id_at(self, broker: MqttSettings) -> str:
        """The gateway's client id at a broker: its own for each of several gateways."""
        return broker.client_id if self.gateway.instances == 1 else f"{broker.client_id}-{self.gateway.instance}"

    @property
    def gateway_id(self) -> str:
        """What the gateway calls itself in records and at Kafka."""
        return self.client_id_at(self.brokers[0])

    @property
    def gateway_folder(self) -> str:
        """Its folder in `gateway.state_dir`: the id, with nothing in it that a file system would take otherwise."""
        return "gateway-" + quote(self.gateway_id, safe="")

    @property
    def keeps_waveforms(self) -> bool:
        """Whether the topic of waveforms is needed."""
        return any(one.waveform is not None and one.waveform.keep_raw for one in self.classes)

    @model_validator(mode="after")
    def _brokers_apart(self) -> Settings:
        names = [one.name for one in self.broker]
        if self.broker and "mqtt" in self.model_fields_set:
            raise ValueError("one broker is set in [mqtt], several in [[broker]]: not both")
        if len(set(names)) < len(names):
            raise ValueError("two brokers have one name: give each [[broker]] its own")
        if len({(one.host, one.port, one.client_id) for one in self.broker}) < len(names):
            raise ValueError("two brokers have one address and client id: each would throw the other out")
        for at, route in enumerate(self.route, 1):
            for name in route.brokers:
                if name not in [one.name for one in self.brokers]:
                    raise ValueError(f"route {at}: there is no broker {name!r}{did_you_mean(name, names)}")
        return self

    @model_validator(mode="after")
    def _filters_apart(self) -> Settings:
        """Several gateways: no topic may reach two of them."""
        count = self.gateway.instances
        if count == 1:
            return self
        for at, route in enumerate(self.route, 1):
            if not route.levels:
                raise ValueError(
                    f"route {at}: gateway.instances = {count} gateways share the topics by the values of a level: list "
                    "them, levels = { line = [...] }"
                )
        shares = [
            [one for route in self.route for one in route_filters(route, instance, count)]
            for instance in range(1, count + 1)
        ]
        for at, filters in enumerate(shares):
            others = [one for share in shares[at + 1 :] for one in share]
            if found := next(overlaps(filters, others), None):
                raise ValueError(
                    f"{found[0]} and {found[1]} would belong to two gateways, and both match some topics: routes of "
                    "several gateways must not overlap"
                )
        return self

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
        pane_levels({window for one in classes for window in one.windows})
        if any("**" in one.match for one in classes):
            return classes
        if EVERYTHING_ELSE.name in names:
            raise ValueError('the class called "default" takes what no other class matches: its match is ["**"]')
        return [*classes, EVERYTHING_ELSE]
