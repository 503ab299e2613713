"""What can be set about MQTT: `[mqtt]` and any number of `[[route]]`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, SecretStr, ValidationInfo, field_validator, model_validator

from ingest.contract.durations import DurationUs
from ingest.contract.section import Section, TlsSettings, hold_against_registry
from ingest.contract.sensors import TopicPattern

_SECOND_US = 1_000_000
_DAY_US = 86_400 * _SECOND_US


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
        hold_against_registry(info, "decoder", name)
        return name

    @field_validator("options")
    @classmethod
    def _known_options(cls, options: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        hold_against_registry(info, "decoder", info.data.get("decoder"), options)
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
