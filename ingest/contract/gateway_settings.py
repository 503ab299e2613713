"""What can be set about the gateway: `[gateway]`, its spool, and any number of `[[source]]`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from ingest.contract.durations import DurationUs
from ingest.contract.section import Endpoint, Section
from ingest.contract.units import check_unit

_SECOND_US = 1_000_000
_MINUTE_US = 60 * _SECOND_US
_MIB = 2**20


class SpoolSettings(Section):
    """What Kafka does not confirm goes to disk, and from there to Kafka, in order."""

    enabled: bool = True
    after: Annotated[DurationUs, Field(ge=100_000)] = 5 * _SECOND_US
    """How long a partition may leave a batch unconfirmed before its batches go to disk."""
    max_bytes: int = Field(4 * 1024 * _MIB, ge=16 * _MIB)
    """Of all segments. When they are full, messages are not acknowledged any more: the MQTT broker keeps them."""
    segment_bytes: int = Field(64 * _MIB, ge=_MIB, le=1024 * _MIB)
    """Disk space comes free by the segment."""


class GatewaySettings(Section):
    """MQTT → Kafka."""

    http: Endpoint = "127.0.0.1:9101"
    linger: DurationUs = 200_000
    """How long a reading may wait for company: a record costs the same for one row as for hundreds."""
    max_batch: int = Field(5_000, ge=1, le=100_000)
    max_payload_bytes: int = Field(262_144, ge=64, le=16_777_216)
    max_record_bytes: int = Field(900_000, ge=131_072, le=16_777_216)
    """Below the broker's `message.max.bytes` (1 MiB by default)."""
    max_in_flight_bytes: int = Field(256 * _MIB, ge=_MIB)
    """Of messages received from each MQTT broker and not yet safe; beyond it, reading stops until some are."""
    state_dir: Path = Field(Path("~/.local/state/millstream"), validate_default=True)
    """Where the spool is, and what decoders remember: on a disk that survives a restart."""
    spool: SpoolSettings = SpoolSettings()
    instance: int = Field(1, ge=1, le=1_000)
    """Which of the `instances` this gateway is; part of its MQTT client id when there are several."""
    instances: int = Field(1, ge=1, le=1_000)
    """How many gateways share the topics: each takes its own, dealt by hash of the levels that routes list."""
    max_devices: int = Field(100_000, ge=1, le=10_000_000)
    """Devices whose clocks are watched."""

    @field_validator("state_dir")
    @classmethod
    def _home(cls, path: Path) -> Path:
        return path.expanduser()

    @model_validator(mode="after")
    def _one_of_them(self) -> GatewaySettings:
        if self.instance > self.instances:
            raise ValueError(f"instance {self.instance} of {self.instances}: it counts from 1 to `instances`")
        return self


class ClockSettings(Section):
    """How a device's clock is taken, by its offset to the times of arrival."""

    rule: Literal["trust", "correct", "quarantine"] = "trust"
    """`trust` only watches; `correct` adds the offset to the device's times; `quarantine` corrects nothing."""
    tolerance: Annotated[DurationUs, Field(ge=1_000)] = 2 * _SECOND_US
    """Offsets up to this are none; and what is in force stays until the offset has moved by more."""
    max_offset: DurationUs = 86_400 * _SECOND_US
    """A clock that is further off is not corrected: its readings are quarantined, unless it is trusted."""

    @model_validator(mode="after")
    def _room_between(self) -> ClockSettings:
        if self.max_offset <= self.tolerance:
            raise ValueError("max_offset must be more than tolerance")
        return self


class SourceSettings(Section):
    """What devices really send, where their payloads do not say it or say it wrongly. The first match counts."""

    match: Annotated[list[str], Field(min_length=1)]
    """Sensor path patterns: `*` within a level, `**` over levels."""
    unit: str = ""
    """The unit of the values as they come (UCUM), over what payloads say."""
    clock: ClockSettings = ClockSettings()

    @field_validator("unit")
    @classmethod
    def _known_unit(cls, unit: str) -> str:
        return check_unit(unit)
