"""What can be set about Kafka: `[kafka]` and its topics."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, SecretStr, field_validator, model_validator

from ingest.contract.durations import DurationUs
from ingest.contract.section import Endpoint, Section, TlsSettings, TopicName

_DAY_US = 86_400 * 1_000_000


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


class WaveformsTopic(TopicSettings):
    """Waveforms as they came, of classes that ask for it; their features are readings."""

    name: TopicName = "millstream.waveforms"
    partitions: int = Field(3, ge=1, le=10_000)


class LateTopic(TopicSettings):
    """Readings that came too late for any window: as they came, for whoever wants to work them in elsewhere."""

    name: TopicName = "millstream.late"
    partitions: int = Field(3, ge=1, le=10_000)


class TopicsSettings(Section):
    """The topics."""

    readings: ReadingsTopic = ReadingsTopic()
    alerts: AlertsTopic = AlertsTopic()
    quarantine: QuarantineTopic = QuarantineTopic()
    late: LateTopic = LateTopic()
    waveforms: WaveformsTopic = WaveformsTopic()
    """Used, and created, only where a class keeps its waveforms."""
    create: bool = True
    """Create what is missing; otherwise a missing topic is an error."""

    @model_validator(mode="after")
    def _apart(self) -> TopicsSettings:
        every = (self.readings, self.alerts, self.quarantine, self.late, self.waveforms)
        if len({one.name for one in every}) < len(every):
            raise ValueError("readings, alerts, quarantine, late and waveforms are five different topics")
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
