"""What can be set about MQTT: `[mqtt]` and any number of `[[route]]`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, SecretStr, ValidationInfo, field_validator, model_validator

from ingest.contract.durations import DurationUs
from ingest.contract.section import Name, Section, TlsSettings, hold_against_registry
from ingest.contract.sensors import TopicPattern

_SECOND_US = 1_000_000
_DAY_US = 86_400 * _SECOND_US


class MqttSettings(Section):
    """The broker that sensors publish to."""

    name: Name = "mqtt"
    """What this broker is called in metrics and logs."""
    host: Annotated[str, Field(min_length=1, max_length=253)] = "127.0.0.1"
    port: int = Field(1883, ge=1, le=65_535)
    transport: Literal["tcp", "websockets"] = "tcp"
    path: Annotated[str, Field(pattern=r"^/[\x21-\x7e]{0,1023}$")] = "/mqtt"
    """Where the broker speaks WebSocket; only with `transport = "websockets"`."""
    client_id: Annotated[str, Field(min_length=1, max_length=128)] = "millstream-gateway"
    """Fixed: the broker keeps messages for this id while the gateway is away. One gateway, one id."""
    username: str | None = None
    username_file: str | None = None
    """A file that holds it, read at every connection."""
    password: SecretStr | None = None
    password_file: str | None = None
    """A file that holds it, read at every connection: what is changed there counts from the next one."""
    tls: TlsSettings = TlsSettings()
    protocol: Literal["auto", "5", "3.1.1"] = "auto"
    """`auto` tries MQTT 5 and falls back to 3.1.1."""
    keepalive: Annotated[DurationUs, Field(ge=_SECOND_US, le=65_535 * _SECOND_US)] = 30 * _SECOND_US
    session_expiry: DurationUs = 7 * _DAY_US
    """How long the broker keeps messages for an absent gateway (MQTT 5)."""
    receive_maximum: int = Field(20_000, ge=1, le=65_535)
    """Unacknowledged messages the broker may have under way (MQTT 5). At most twice as many are held in memory."""

    shared_group: Annotated[str, Field(pattern=r"^[^/+#\x00]{1,64}$")] | None = None
    """Share the topics with the other gateways of this group (`$share`); only with `shared_dispatch`."""
    shared_dispatch: Literal["topic-hash"] | None = None
    """How the broker deals messages out to a group. All of a topic must go to one gateway, or order is lost."""

    @model_validator(mode="after")
    def _somebody(self) -> MqttSettings:
        for plain in ("username", "password"):
            if getattr(self, plain) is not None and getattr(self, f"{plain}_file") is not None:
                raise ValueError(f"{plain} and {plain}_file are both set: which one counts?")
        nobody = self.username is None and self.username_file is None
        if nobody and (self.password is not None or self.password_file is not None):
            raise ValueError("a password without a username is not sent: set mqtt.username")
        return self

    @model_validator(mode="after")
    def _shared_in_order(self) -> MqttSettings:
        if self.shared_group is not None and self.shared_dispatch is None:
            raise ValueError(
                "shared_group: brokers deal the messages of one sensor out to the members of a group in turn, so "
                "their order is lost; divide the topics between the gateways instead, or, if your broker is set to "
                'dispatch by a hash of the topic, say so: shared_dispatch = "topic-hash"'
            )
        if self.shared_dispatch is not None and self.shared_group is None:
            raise ValueError("shared_dispatch: there is no shared_group to deal messages out to")
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
    brokers: list[str] = []
    """Names of the brokers it is subscribed at; default: all."""
    levels: dict[str, list[str]] = {}
    """Values of named levels: `{ line = ["line-01", "line-02"] }`. What several gateways are dealt."""

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
        hold_against_registry(info, "decoder", name)
        return name

    @field_validator("options")
    @classmethod
    def _known_options(cls, options: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        hold_against_registry(info, "decoder", info.data.get("decoder"), options)
        return options

    @field_validator("levels")
    @classmethod
    def _levels_of_it(cls, levels: dict[str, list[str]], info: ValidationInfo) -> dict[str, list[str]]:
        names = TopicPattern.parse(info.data["topic"], "any").names if "topic" in info.data else tuple(levels)
        for name, values in levels.items():
            if name not in names:
                raise ValueError(f"the topic has no level {{{name}}}")
            if not values or len(set(values)) < len(values):
                raise ValueError(f"{name}: list each of its values once")
            for value in values:
                if not value or any(character in value for character in "/+#\0"):
                    raise ValueError(f"{name}: {value!r} is no single level of a topic")
        return levels

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
