"""What can be set, in one TOML file plus the environment (`MILLSTREAM__SECTION__KEY`).

Every field has a default that is safe. Reading, and reporting all mistakes at once, is in `settings_file.py`.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import (
    Field,
    SecretStr,
    ValidationInfo,
    field_validator,
    model_validator,
)

from ingest.contract.classes import Kind, Reporting
from ingest.contract.durations import DurationUs
from ingest.contract.notifier_settings import NotifierSettings, WebhookSettings, check_names
from ingest.contract.panes import pane_ring
from ingest.contract.section import Endpoint, Name, Section, TopicName
from ingest.contract.sensors import TopicPattern

_SECOND_US = 1_000_000
_MINUTE_US = 60 * _SECOND_US
_DAY_US = 86_400 * _SECOND_US
_RESERVED_LABELS = {"sensor", "window", "state", "class", "unit", "le", "quantile", "job", "instance"}


def _hold_against_registry(
    info: ValidationInfo, sort: str, name: str | None, options: dict[str, Any] | None = None
) -> None:
    """Hold a component's name, and then its options, against the registry of its sort, where one is given."""
    registry = (info.context or {}).get(sort)
    # A name that is wrong has been reported already when its options come.
    if registry is not None and name is not None and (problems := registry.problems(name, options)):
        raise ValueError("; ".join(problems))


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


class TlsSettings(Section):
    """Encryption; the peer's certificate and host name are always verified."""

    enabled: bool = False
    ca_file: str | None = None
    """Certificates to trust instead of the system's."""
    cert_file: str | None = None
    key_file: str | None = None


class MqttSettings(Section):
    """The broker that sensors publish to."""

    host: str = "127.0.0.1"
    port: int = Field(1883, ge=1, le=65_535)
    client_id: Annotated[str, Field(min_length=1, max_length=128)] = "millstream-gateway"
    """Fixed: the broker keeps messages for this id while the gateway is away. One gateway, one id."""
    username: str | None = None
    password: SecretStr | None = None
    tls: TlsSettings = TlsSettings()
    protocol: Literal["auto", "5", "3.1.1"] = "auto"
    """`auto` tries MQTT 5 and falls back to 3.1.1."""
    keepalive: Annotated[DurationUs, Field(ge=_SECOND_US, le=65_535 * _SECOND_US)] = 30 * _SECOND_US
    session_expiry: DurationUs = 7 * _DAY_US
    """How long the broker keeps messages for an absent gateway (MQTT 5)."""
    receive_maximum: int = Field(20_000, ge=1, le=65_535)
    """Unacknowledged messages the broker may have under way (MQTT 5). At most twice as many are held in memory."""

    @model_validator(mode="after")
    def _somebody(self) -> MqttSettings:
        if self.password is not None and self.username is None:
            raise ValueError("a password without a username is not sent: set mqtt.username")
        return self


class RouteSettings(Section):
    """Topics of one shape: how they become sensors, and how their payloads are read."""

    topic: str
    """`factory/{site}/{line}/{machine}/{quantity}`: names in braces take a level, `{rest...}` all others."""
    path: str | None = None
    """The sensor's path; default: all names in order. `{field}` and `{id}` come from the payload."""
    decoder: str = "json"
    options: dict[str, Any] = {}
    """The decoder's own options."""
    qos: Literal[0, 1] = 1

    @field_validator("topic")
    @classmethod
    def _a_pattern(cls, topic: str) -> str:
        TopicPattern.parse(topic, "any")
        return topic

    @field_validator("path")
    @classmethod
    def _a_path_of_it(cls, path: str | None, info: ValidationInfo) -> str | None:
        if "topic" in info.data:
            TopicPattern.parse(info.data["topic"], path)
        return path

    @field_validator("decoder")
    @classmethod
    def _known_decoder(cls, name: str, info: ValidationInfo) -> str:
        _hold_against_registry(info, "decoder", name)
        return name

    @field_validator("options")
    @classmethod
    def _known_options(cls, options: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        _hold_against_registry(info, "decoder", info.data.get("decoder"), options)
        return options

    @model_validator(mode="after")
    def _compiles(self, info: ValidationInfo) -> RouteSettings:
        pattern = TopicPattern.parse(self.topic, self.path)
        registry = (info.context or {}).get("decoder")
        if registry is not None:
            names_fields = registry.create(self.decoder, self.options).names_fields
            if names_fields and not pattern.per_field:
                raise ValueError("the payload has several values: set a `path` with {field} or {id} in it")
            if pattern.per_field and not names_fields:
                raise ValueError("path has {field} or {id}, but this decoder, with these options, names no fields")
        return self


class RuleSettings(Section):
    """When a sensor's signal becomes an alert."""

    name: Name
    signal: Literal["score", "value"] = "score"
    above: Annotated[float, Field(allow_inf_nan=False)] | None = None
    below: Annotated[float, Field(allow_inf_nan=False)] | None = None
    hysteresis: float = Field(0.0, ge=0, allow_inf_nan=False)
    """How far back inside the limit the signal must come before it counts as over."""
    hold: DurationUs = 0
    """How long the signal must stay outside before the alert fires."""
    resolve_after: DurationUs = 30 * _SECOND_US
    """How long it must stay inside before the alert is resolved."""
    severity: Literal["info", "warning", "critical"] = "warning"

    @model_validator(mode="after")
    def _one_limit(self) -> RuleSettings:
        if (self.above is None) == (self.below is None):
            raise ValueError("a rule has exactly one of `above` and `below`")
        return self


class ModelSettings(Section):
    """A model and its options."""

    name: str
    options: dict[str, Any] = {}

    @field_validator("name")
    @classmethod
    def _known_model(cls, name: str, info: ValidationInfo) -> str:
        _hold_against_registry(info, "model", name)
        return name

    @field_validator("options")
    @classmethod
    def _known_options(cls, options: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        _hold_against_registry(info, "model", info.data.get("name"), options)
        return options


def _as_model(value: object) -> object:
    return {"name": value} if isinstance(value, str) else value


ANOMALY = RuleSettings(name="anomaly", above=1.0, hysteresis=0.2)
DEFAULT_MODELS = [ModelSettings(name="ewma_z"), ModelSettings(name="running_range")]
Series = Literal["value", "mean", "stddev", "min", "max", "score", "samples", "timestamp"]
DEFAULT_SERIES: list[Series] = ["value", "mean", "stddev", "min", "max", "score"]


class ClassSettings(Section):
    """Sensors that share settings. The first class whose `match` fits a path is the sensor's."""

    name: Name
    match: Annotated[list[str], Field(min_length=1)]
    """Path patterns: `*` within a level, `**` over levels."""
    kind: Kind = Kind.GAUGE
    reporting: Reporting = Reporting.PERIODIC
    unit: str = ""
    """UCUM: Cel, bar, mm/s, 1/min."""
    armed: bool | None = None
    """Whether alerts of these sensors go out; default: as the plant."""
    range: tuple[float | None, float | None] = (None, None)
    """Physically possible values; what is outside is shown and counted, but neither folded nor learned."""
    windows: list[DurationUs] = [_MINUTE_US]
    staleness: DurationUs = 3_600 * _SECOND_US
    """How long the last value of an on-change sensor holds when nothing more is heard."""
    models: list[ModelSettings] | None = None
    """A model's name, or a table of name and options. Default: `ewma_z` and `running_range` for gauges; none
    for the other kinds, in which a rare value is no anomaly."""
    rules: list[RuleSettings] = [ANOMALY]
    series: list[Series] = DEFAULT_SERIES
    """What `/metrics/sensors` shows."""

    @field_validator("models", mode="before")
    @classmethod
    def _names_are_models(cls, value: object) -> object:
        return [_as_model(one) for one in value] if isinstance(value, list) else value

    @field_validator("rules")
    @classmethod
    def _named_apart(cls, rules: list[RuleSettings]) -> list[RuleSettings]:
        names = [rule.name for rule in rules]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"two rules are called {name!r}: their alerts could not be told apart")
        return rules

    @field_validator("windows")
    @classmethod
    def _sane_windows(cls, windows: list[int]) -> list[int]:
        for window_us in windows:
            if not _SECOND_US <= window_us <= 7 * _DAY_US:
                raise ValueError("a window is between 1s and 7d")
        return sorted(set(windows))

    @field_validator("range")
    @classmethod
    def _low_and_high(cls, limits: tuple[float | None, float | None]) -> tuple[float | None, float | None]:
        low, high = limits
        if low is not None and high is not None and not low < high:
            raise ValueError("the first number must be less than the second")
        return limits

    @model_validator(mode="after")
    def _fits_its_kind(self) -> ClassSettings:
        if self.models and not self.kind.numeric:
            raise ValueError(f"models need numbers, and this class is of kind {self.kind}")
        return self

    @property
    def model_list(self) -> list[ModelSettings]:
        """The models in force."""
        if self.models is None:
            return DEFAULT_MODELS if self.kind is Kind.GAUGE else []
        return self.models


EVERYTHING_ELSE = ClassSettings(name="default", match=["**"])


class TopicSettings(Section):
    """A Kafka topic."""

    name: TopicName
    partitions: int = Field(12, ge=1, le=10_000)
    replication: int = Field(1, ge=1, le=32)
    min_insync_replicas: int = Field(1, ge=1, le=32)
    retention: DurationUs = 7 * _DAY_US

    @model_validator(mode="after")
    def _can_be_written(self) -> TopicSettings:
        if self.min_insync_replicas > self.replication:
            raise ValueError("min_insync_replicas is larger than replication: nothing could ever be written")
        return self


class ReadingsTopic(TopicSettings):
    """The log. Its partition count is fixed once there is data in it."""

    name: TopicName = "millstream.readings"


class AlertsTopic(TopicSettings):
    """Alert transitions, compacted by alert id."""

    name: TopicName = "millstream.alerts"
    partitions: int = Field(3, ge=1, le=10_000)


class QuarantineTopic(TopicSettings):
    """What could not be read."""

    name: TopicName = "millstream.quarantine"
    partitions: int = Field(3, ge=1, le=10_000)


class TopicsSettings(Section):
    """The topics."""

    readings: ReadingsTopic = ReadingsTopic()
    alerts: AlertsTopic = AlertsTopic()
    quarantine: QuarantineTopic = QuarantineTopic()
    create: bool = True
    """Create what is missing; otherwise a missing topic is an error."""

    @model_validator(mode="after")
    def _three(self) -> TopicsSettings:
        if len({self.readings.name, self.alerts.name, self.quarantine.name}) < 3:
            raise ValueError("readings, alerts and quarantine are three different topics")
        return self


class KafkaSettings(Section):
    """The log."""

    bootstrap: Annotated[list[Endpoint], Field(min_length=1)] = ["127.0.0.1:9092"]
    tls: TlsSettings = TlsSettings()
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] | None = None
    username: str | None = None
    password: SecretStr | None = None
    topics: TopicsSettings = TopicsSettings()

    @model_validator(mode="after")
    def _somebody(self) -> KafkaSettings:
        if self.sasl_mechanism is None and (self.username is not None or self.password is not None):
            raise ValueError("username and password are not sent without kafka.sasl_mechanism: PLAIN or SCRAM-SHA-512")
        return self

    @field_validator("bootstrap", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return [part.strip() for part in value.split(",")] if isinstance(value, str) else value


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
