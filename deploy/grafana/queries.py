"""What the dashboard asks Prometheus. Nothing here knows Grafana but its variables, `$name` and `$__rate_interval`."""

from __future__ import annotations

from collections.abc import Sequence

LEVELS = ("site", "area", "line", "machine")
"""Levels of a sensor's path to choose from: `plant.levels` of the settings without the last."""

_RATE = "[$__rate_interval]"
_FOLDED = 'verdict=~"folded|out_of_order|state"'
_ONE = '{sensor="$sensor"}'
_WINDOW = '{sensor="$sensor",window="$window"}'

# --- Millstream itself ------------------------------------------------------------------------------------------------

UP = 'min by (job) (up{job=~"gateway|worker|sensors|notifier"})'
SENSORS = "sum(millstream_worker_sensors)"

RECEIVED = f"sum(rate(millstream_gateway_messages_received_total{_RATE}))"
PRODUCED = f"sum(rate(millstream_gateway_readings_produced_total{_RATE}))"
FOLDED = f"sum(rate(millstream_worker_readings_total{{{_FOLDED}}}{_RATE}))"
SET_ASIDE = f"sum by (reason) (rate(millstream_gateway_messages_quarantined_total{_RATE}))"
GATED = f"sum by (verdict) (rate(millstream_worker_readings_total{{{_FOLDED.replace('=~', '!~')}}}{_RATE}))"

LAG_SECONDS = "max(millstream_worker_lag_seconds)"
LAG_BY_PARTITION = "max by (partition) (millstream_worker_lag_seconds)"
BACKLOG_SECONDS = "max(millstream_gateway_backlog_seconds)"
LAG_RECORDS = "sum(millstream_worker_lag_records)"

IN_FLIGHT = "sum(millstream_gateway_messages_in_flight)"
# A route that has never set anything aside has no such series yet.
_QUARANTINED = "(sum(millstream_gateway_messages_quarantined_total) or vector(0))"
LEDGER = (
    "sum(millstream_gateway_messages_received_total) - sum(millstream_gateway_messages_produced_total)"
    " - sum(millstream_gateway_messages_spooled_total) - sum(millstream_gateway_messages_dropped_total)"
    f" - {_QUARANTINED} - {IN_FLIGHT}"
)

TRANSITIONS = f"sum by (phase) (increase(millstream_worker_alert_transitions_total{_RATE}))"
OPEN_ALERTS = (
    'clamp_min(sum(millstream_worker_alert_transitions_total{phase="firing"})'
    ' - (sum(millstream_worker_alert_transitions_total{phase="resolved"}) or vector(0)), 0) or vector(0)'
)

# --- the plant --------------------------------------------------------------------------------------------------------


def among(levels: Sequence[str], *, extra: str = "") -> str:
    """A selector of the sensors that the dashboard's variables leave.

    >>> among(["site", "line"])
    '{site=~"$site",line=~"$line"}'
    """
    return "{" + ",".join([*(f'{level}=~"${level}"' for level in levels), *([extra] if extra else [])]) + "}"


def beyond(levels: Sequence[str]) -> str:
    """How many sensors are beyond their boundary now."""
    return f"count(millstream_sensor_score{among(levels)} >= 1) or vector(0)"


def worst(levels: Sequence[str], count: int) -> str:
    """The sensors with the highest scores."""
    return f"topk({count}, max by (sensor) (millstream_sensor_score{among(levels)}))"


def states(levels: Sequence[str]) -> str:
    """The state of each enum or text sensor."""
    return f"max by (sensor, state) (millstream_sensor_state{among(levels)})"


def choices(level: str, above: Sequence[str]) -> str:
    """The values of a level's variable, among what the variables above it leave."""
    return f"label_values(millstream_sensor_value{among(above) if above else ''}, {level})"


def sensors(levels: Sequence[str]) -> str:
    """The sensors that have a band."""
    return f"label_values(millstream_sensor_mean{among(levels)}, sensor)"


WINDOWS = f"label_values(millstream_sensor_mean{_ONE}, window)"

VALUE = f"millstream_sensor_value{_ONE}"
MEAN = f"millstream_sensor_mean{_WINDOW}"
UPPER = f"millstream_sensor_mean{_WINDOW} + 3 * millstream_sensor_stddev{_WINDOW}"
LOWER = f"millstream_sensor_mean{_WINDOW} - 3 * millstream_sensor_stddev{_WINDOW}"
SCORE = f"millstream_sensor_score{_ONE}"
