"""`millstream alerts`: what is open now, or what would have alerted."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError

from deploy.console import fail, read, say
from ingest.contract.errors import ReconnectError
from ingest.contract.kafka_client import client_options
from ingest.contract.kafka_settings import KafkaSettings
from ingest.contract.observe import configure_log
from stream.notify.digest import DIGEST

_TIMEOUT_S = 30.0
_SHOWN = 20


@dataclass(frozen=True, slots=True)
class Alert:
    """The newest word on an alert; `fired`: whether it ever did; `why`: what it says for itself, "" for an old one."""

    sensor: str
    phase: str
    rule: str
    severity: str
    armed: bool
    fired: bool
    since_us: int
    value: float
    score: float
    why: str = ""

    @classmethod
    def of(cls, body: dict[str, Any], before: Alert | None) -> Alert:
        """From a record of the alerts topic; `before`: the last word on the same alert."""
        fired = body["phase"] == "firing" or (before is not None and before.fired)
        return cls(
            body["sensor"],
            body["phase"],
            body["rule"],
            body["severity"],
            bool(body.get("armed", True)),
            fired,
            body["since_us"],
            body["value"],
            body["score"],
            ", ".join(_why(body)),
        )


def _why(body: dict[str, Any]) -> Iterator[str]:
    """Who set the score, what was expected, and what to think of the data. Records of earlier versions say less."""
    if model := body.get("model"):
        yield f"by {model}"
    match body.get("band"):
        case [float() | int() as low, float() | int() as high]:
            yield f"expected {low:.4g} to {high:.4g}"
        case [float() | int() as low, None]:
            yield f"expected at least {low:.4g}"
        case [None, float() | int() as high]:
            yield f"expected at most {high:.4g}"
    if (quality := body.get("data_quality")) and quality != "good":
        yield f"data {quality}"
    if round(body.get("recent_alerts") or 0.0) > 0:
        yield f"{body.get('budget_share') or 0.0:.0%} of the budget"


def take(found: dict[str, Alert], body: dict[str, Any]) -> None:
    """Note what a record of the alerts topic says; what a digest tells of is over, and was told by it."""
    if body["phase"] != DIGEST:
        found[body["id"]] = Alert.of(body, found.get(body["id"]))


async def read_alerts(kafka: KafkaSettings) -> list[Alert]:
    """Every alert on the topic, as it stands. Raises ReconnectError when Kafka cannot be read in time."""
    topic = kafka.topics.alerts.name
    consumer = AIOKafkaConsumer(
        auto_offset_reset="earliest", enable_auto_commit=False, **client_options(kafka, "alerts")
    )
    found: dict[str, Alert] = {}
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            await consumer.start()
            if topic not in await consumer.topics():
                return []
            consumer.subscribe([topic])
            while not consumer.assignment():
                await consumer.getmany(timeout_ms=50)
            at = sorted(consumer.assignment())
            ends = await consumer.end_offsets(at)
            await consumer.seek_to_beginning(*at)
            while [one for one in at if await consumer.position(one) < ends[one]]:
                for records in (await consumer.getmany(timeout_ms=500)).values():
                    for record in records:
                        take(found, msgspec.json.decode(record.value))
    except (KafkaError, OSError, TimeoutError) as error:
        raise ReconnectError(f"{','.join(kafka.bootstrap)}: {error or 'no answer'}") from error
    finally:
        await consumer.stop()
    return list(found.values())


def lines_of_would(alerts: list[Alert]) -> list[str]:
    """What an observing plant would have said."""
    would = [one for one in alerts if one.fired and not one.armed]
    lines = [f"would have alerted {len(would)} times" + (":" if would else "")]
    by_sensor = Counter((one.sensor, one.rule) for one in would)
    for (sensor, rule), count in by_sensor.most_common(_SHOWN):
        newest = max((one for one in would if (one.sensor, one.rule) == (sensor, rule)), key=lambda one: one.since_us)
        lines.append(f"{count:>6} ×  {sensor}  {rule}, last {_when(newest.since_us)}, value {newest.value:.4g}")
    if len(by_sensor) > _SHOWN:
        lines.append(f"        and {len(by_sensor) - _SHOWN} more sensors")
    if would:
        lines.append('to let them out: armed = true in [plant] or in a [[class]], or armed_paths = ["…"] in [plant]')
    return lines


def lines_of_open(alerts: list[Alert]) -> list[str]:
    """What fires now."""
    fires = sorted((one for one in alerts if one.phase == "firing"), key=lambda one: -one.since_us)
    lines = [f"{len(fires)} alerts are open" + (":" if fires else "")]
    for one in fires[:_SHOWN]:
        quiet = "" if one.armed else "  (observe-only: nobody was told)"
        lines.append(
            f"{one.severity:<9} {one.sensor}  {one.rule} since {_when(one.since_us)}, value {one.value:.4g}, "
            f"score {one.score:.2f}{f', {one.why}' if one.why else ''}{quiet}"
        )
    if len(fires) > _SHOWN:
        lines.append(f"          and {len(fires) - _SHOWN} more")
    return lines


def _when(at_us: int) -> str:
    return datetime.fromtimestamp(at_us / 1e6, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def alerts(
    config: Annotated[Path, typer.Option("--config", "-c", help="Settings, a TOML file.", metavar="FILE")],
    would: Annotated[
        bool, typer.Option("--would", help="What would have alerted while the plant only observes.")
    ] = False,
) -> None:
    """List open alerts; with --would, what an unarmed plant would have said.

    Example: millstream alerts --config plant.toml --would
    """
    configure_log("error")
    settings = read(config, with_models=False)
    try:
        found = asyncio.run(read_alerts(settings.kafka))
    except ReconnectError as error:
        fail(1, str(error))
    for line in lines_of_would(found) if would else lines_of_open(found):
        say(line)
