"""What can be set about notifications: `[notifier]` and any number of `[[webhook]]`."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from datetime import UTC, tzinfo
from pathlib import Path
from typing import Annotated, Literal
from zoneinfo import ZoneInfo

from pydantic import Field, SecretStr, field_validator, model_validator

from ingest.contract.classes import glob
from ingest.contract.durations import DurationUs
from ingest.contract.section import Endpoint, Name, Section
from ingest.contract.url_guard import check_url

_SECOND_US = 1_000_000
_HOUR_US = 3_600 * _SECOND_US
_SECRET_PREFIX = "whsec_"  # noqa: S105  # what every secret begins with is none

NotifiedPhase = Literal["pending", "firing", "resolved", "unknown", "digest"]
Severity = Literal["info", "warning", "critical"]


def _zone(name: str) -> tzinfo:
    return UTC if name == "UTC" else ZoneInfo(name)


def _check_zone(name: str) -> str:
    try:
        _zone(name)
    except (KeyError, ValueError, OSError) as error:
        raise ValueError(f"{name!r} is no time zone: use a name like Europe/Berlin") from error
    return name


class NotifierSettings(Section):
    """Alerts topic → webhooks."""

    http: Endpoint = "127.0.0.1:9103"
    group: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,199}$")] = "millstream-notifier"
    """The consumer group, and the name of the outbox. One notifier, one group."""
    state_dir: Path = Field(Path("~/.local/state/millstream"), validate_default=True)
    """Where the outbox is: on a disk that survives a restart."""
    start: Literal["latest", "earliest"] = "latest"
    """Where a group that has never read begins. Old alerts should page nobody."""
    time_zone: str = "UTC"
    """Of the sites, for `local_time`."""
    time_zones: dict[str, str] = Field(default_factory=dict)
    """Of single sites, by the first segment of their sensors' paths."""
    links: dict[str, str] = Field(default_factory=dict)
    """Name → URL, sent along with every alert; `{sensor}` in it becomes the sensor's path."""
    retry_first: DurationUs = 5 * _SECOND_US
    """The pause after the first failure; it doubles with each, and varies by a quarter."""
    retry_longest: DurationUs = _HOUR_US
    """The longest pause, also where a receiver asks for a longer one."""
    give_up: DurationUs = 24 * _HOUR_US
    """A transition that is older is not sent any more."""
    concurrency: int = Field(4, ge=1, le=64)
    """Requests under way to one webhook; each is for another alert."""
    max_waiting: int = Field(100_000, ge=1, le=10_000_000)
    """Transitions that may wait for one webhook; further ones are dropped and counted."""

    @field_validator("state_dir")
    @classmethod
    def _home(cls, path: Path) -> Path:
        return path.expanduser()

    @field_validator("time_zone")
    @classmethod
    def _known_zone(cls, name: str) -> str:
        return _check_zone(name)

    @field_validator("time_zones")
    @classmethod
    def _known_zones(cls, zones: dict[str, str]) -> dict[str, str]:
        return {site: _check_zone(name) for site, name in zones.items()}

    @model_validator(mode="after")
    def _sane_schedule(self) -> NotifierSettings:
        if not 0 < self.retry_first <= self.retry_longest <= self.give_up:
            raise ValueError("0s < retry_first <= retry_longest <= give_up")
        return self

    def zone_of(self, sensor: str) -> tzinfo:
        """The time zone of a sensor's site."""
        return _zone(self.time_zones.get(sensor.partition("/")[0], self.time_zone))


def _check_secret(secret: SecretStr | None) -> SecretStr | None:
    """As Standard Webhooks has it: whsec_ and 24 to 64 bytes in base64."""
    if secret is None:
        return None
    prefix, text = secret.get_secret_value()[:6], secret.get_secret_value()[6:]
    try:
        key = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except binascii.Error:
        key = b""
    if prefix != _SECRET_PREFIX or not 24 <= len(key) <= 64:
        raise ValueError('a secret is "whsec_" and 24 to 64 random bytes in base64')
    return secret


class WebhookSettings(Section):
    """Who is told. Deliveries follow Standard Webhooks (https://www.standardwebhooks.com)."""

    name: Name
    allow_private: bool = False
    """The receiver is on this machine or in a private network; also permits http://."""
    url: SecretStr
    """Shown nowhere: many services put a token into it."""
    secret: SecretStr
    """Signs: "whsec_" and 24 to 64 random bytes in base64."""
    old_secret: SecretStr | None = None
    """Signs too, while receivers change over to `secret`."""
    severities: Annotated[tuple[Severity, ...], Field(min_length=1)] = ("info", "warning", "critical")
    phases: Annotated[tuple[NotifiedPhase, ...], Field(min_length=1)] = ("firing", "resolved", "digest")
    """`digest`: what came and went while data was late, in one message for a site."""
    match: Annotated[tuple[str, ...], Field(min_length=1)] = ("**",)
    """Path patterns of the sensors: `*` within a level, `**` over levels."""
    timeout: DurationUs = 15 * _SECOND_US
    """For everything: name, connection, encryption, answer."""
    ca_file: str | None = None
    """Certificates to trust instead of the system's."""

    @field_validator("secret", "old_secret")
    @classmethod
    def _strong_secret(cls, secret: SecretStr | None) -> SecretStr | None:
        return _check_secret(secret)

    @field_validator("timeout")
    @classmethod
    def _some_time(cls, timeout_us: int) -> int:
        if not 0 < timeout_us <= 300 * _SECOND_US:
            raise ValueError("a timeout is more than 0s and at most 5m")
        return timeout_us

    @model_validator(mode="after")
    def _safe_url(self) -> WebhookSettings:
        check_url(self.url.get_secret_value(), allow_private=self.allow_private)
        return self

    def wants(self, sensor: str, severity: str, phase: str) -> bool:
        """Whether this webhook is told of such a transition."""
        return (
            phase in self.phases
            and severity in self.severities
            and any(glob(pattern).fullmatch(sensor) for pattern in self.match)
        )


def check_names(webhooks: Sequence[WebhookSettings]) -> None:
    """Names are what the outbox knows webhooks by. Raises ValueError when two are the same."""
    names = [one.name for one in webhooks]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"two webhooks are called {name!r}")
