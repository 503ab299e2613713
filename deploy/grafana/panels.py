"""The panels of *Plant overview*."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from grafana_foundation_sdk.builders import bargauge, common, dashboard, prometheus, stat, table, timeseries
from grafana_foundation_sdk.models import common as commons
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from deploy.grafana import queries

DATASOURCE_UID = "millstream-prometheus"
"""As in provisioning/datasources/prometheus.yaml."""
DASHBOARD_UID = "millstream-plant"

_SOURCE = models.DataSourceRef(type_val="prometheus", uid=DATASOURCE_UID)
_GREEN, _ORANGE, _RED, _BLUE = "green", "orange", "red", "blue"

Panel = TypeVar("Panel", bargauge.Panel, stat.Panel, table.Panel, timeseries.Panel)


def _query(expr: str, legend: str, *, instant: bool = False) -> prometheus.Dataquery:
    query = prometheus.Dataquery().expr(expr).legend_format(legend).datasource(_SOURCE)
    return query.instant() if instant else query.range()


def _fill(panel: Panel, title: str, text: str, width: int, height: int, *targets: prometheus.Dataquery) -> Panel:
    panel.title(title).description(text).span(width).height(height).datasource(_SOURCE)
    for letter, target in zip("ABCDEFGH", targets, strict=False):
        panel.with_target(target.ref_id(letter))
    return panel


def _thresholds(*steps: tuple[float | None, str]) -> dashboard.ThresholdsConfig:
    return (
        dashboard.ThresholdsConfig()
        .mode(models.ThresholdsMode.ABSOLUTE)
        .steps([models.Threshold(value=value, color=color) for value, color in steps])
    )


def _number(title: str, text: str, target: prometheus.Dataquery, *steps: tuple[float | None, str]) -> stat.Panel:
    return (
        _fill(stat.Panel(), title, text, 4, 4, target)
        .thresholds(_thresholds(*steps))
        .color_mode(commons.BigValueColorMode.VALUE)
        .graph_mode(commons.BigValueGraphMode.AREA)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
    )


def _curves(title: str, text: str, width: int, *targets: prometheus.Dataquery) -> timeseries.Panel:
    return (
        _fill(timeseries.Panel(), title, text, width, 8, *targets)
        .line_width(1)
        .fill_opacity(5)
        .show_points(commons.VisibilityMode.NEVER)
        .legend(common.VizLegendOptions().display_mode(commons.LegendDisplayMode.LIST).show_legend(True))
        .tooltip(common.VizTooltipOptions().mode(commons.TooltipDisplayMode.MULTI))
    )


def _to_sensor() -> list[models.DynamicConfigValue]:
    """A click on a sensor shows it below."""
    url = f"/d/{DASHBOARD_UID}?${{__url_time_range}}&var-sensor=${{__field.labels.sensor:percentencode}}"
    return [models.DynamicConfigValue("links", [{"title": "Show ${__field.labels.sensor}", "url": url}])]


# --- Millstream itself ------------------------------------------------------------------------------------------------


def numbers(levels: Sequence[str]) -> list[stat.Panel]:
    """The top row: is it well?"""
    up = models.ValueMap(
        options={
            "0": models.ValueMappingResult(text="down", color=_RED),
            "1": models.ValueMappingResult(text="up", color=_GREEN),
        }
    )
    daemons = _number("Daemons", "Whether Prometheus reaches them.", _query(queries.UP, "{{job}}"), (None, _RED))
    return [
        daemons.mappings([up]).graph_mode(commons.BigValueGraphMode.NONE),
        _number("Sensors", "Sensors in the workers' state.", _query(queries.SENSORS, "sensors"), (None, _BLUE)),
        _number(
            "Lag",
            "Age of the newest folded record of the partition that is furthest behind.",
            _query(queries.LAG_SECONDS, "lag"),
            *((None, _GREEN), (5, _ORANGE), (60, _RED)),
        ).unit("s"),
        _number(
            "Ledger",
            "Received − produced − spooled − quarantined − dropped − in flight, in messages since the gateway's start. "
            "It is 0.",
            _query(queries.LEDGER, "unaccounted"),
            *((None, _RED), (0, _GREEN), (1, _RED)),
        ).decimals(0),
        _number(
            "Beyond their boundary",
            "Sensors of the chosen part of the plant whose newest reading scores 1 or more.",
            _query(queries.beyond(levels), "sensors"),
            *((None, _GREEN), (1, _ORANGE)),
        ),
        _number(
            "Open alerts",
            "Alerts fired minus alerts resolved since the worker's start, in the whole plant. An alert that was "
            "pending and did not fire counts as resolved; after a worker's restart the count begins anew.",
            _query(queries.OPEN_ALERTS, "open"),
            *((None, _GREEN), (1, _RED)),
        ).decimals(0),
    ]


def flow() -> list[timeseries.Panel]:
    """What comes in, goes through, stays behind."""
    return [
        _curves(
            "Rates",
            "Messages received from MQTT, readings confirmed by Kafka, readings folded into windows and states.",
            8,
            _query(queries.RECEIVED, "received"),
            _query(queries.PRODUCED, "produced"),
            _query(queries.FOLDED, "folded"),
        ).unit("cps"),
        _curves(
            "Lag",
            "Age of the newest folded record, per partition, and of the oldest record in the gateways' spools.",
            8,
            _query(queries.LAG_BY_PARTITION, "partition {{partition}}"),
            _query(queries.BACKLOG_SECONDS, "spool"),
        ).unit("s"),
        _curves(
            "Under way",
            "Messages between MQTT and Kafka, records between Kafka and the fold.",
            8,
            _query(queries.IN_FLIGHT, "messages in the gateway"),
            _query(queries.LAG_RECORDS, "records before the worker"),
        ).unit("short"),
        _curves(
            "Set aside",
            "Messages in quarantine by reason, per second: they are kept on the quarantine topic.",
            8,
            _query(queries.SET_ASIDE, "{{reason}}"),
        ).unit("cps"),
        _curves(
            "Not folded",
            "Readings that the worker did not fold, by verdict: duplicates, late, out of range, of bad quality.",
            8,
            _query(queries.GATED, "{{verdict}}"),
        ).unit("cps"),
        _curves(
            "Alert transitions",
            "Alerts by the phase they came to.",
            8,
            _query(queries.TRANSITIONS, "{{phase}}"),
        )
        .draw_style(commons.GraphDrawStyle.BARS)
        .decimals(0),
    ]


# --- the plant --------------------------------------------------------------------------------------------------------


def worst_now(levels: Sequence[str]) -> bargauge.Panel:
    """The sensors to look at."""
    return (
        _fill(
            bargauge.Panel(),
            "Worst sensors",
            "Highest scores of the chosen part of the plant now; 1 is a sensor's boundary. A click shows the sensor.",
            *(12, 10),
            _query(queries.worst(levels, 12), "{{sensor}}", instant=True),
        )
        .orientation(commons.VizOrientation.HORIZONTAL)
        .display_mode(commons.BarGaugeDisplayMode.BASIC)
        .value_mode(commons.BarGaugeValueMode.COLOR)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        .thresholds(_thresholds((None, _GREEN), (0.8, _ORANGE), (1, _RED)))
        .min(0)
        .decimals(2)
        .override_by_query("A", _to_sensor())
    )


def worst_before(levels: Sequence[str]) -> timeseries.Panel:
    """The sensors one should have looked at."""
    return (
        _curves(
            "Highest scores",
            "The five highest scores at each time.",
            12,
            _query(queries.worst(levels, 5), "{{sensor}}"),
        )
        .height(10)
        .thresholds(_thresholds((None, "transparent"), (1, _RED)))
        .thresholds_style(common.GraphThresholdsStyleConfig().mode(commons.GraphThresholdsStyleMode.DASHED))
        .override_by_query("A", _to_sensor())
    )


def one_sensor() -> list[timeseries.Panel]:
    """A sensor's curve in its band, and its score."""
    thin = models.DynamicConfigValue("custom.lineWidth", 0)
    grey = models.DynamicConfigValue("color", {"mode": "fixed", "fixedColor": _BLUE})
    band = models.DynamicConfigValue("custom.fillBelowTo", "mean − 3 σ")
    clear, tinted = (models.DynamicConfigValue("custom.fillOpacity", percent) for percent in (0, 12))
    dashed = models.DynamicConfigValue("custom.lineStyle", {"fill": "dash", "dash": [6, 4]})
    value = (
        _curves(
            "$sensor",
            "Newest reading, and the mean of the window with three standard deviations to each side.",
            16,
            _query(queries.VALUE, "value"),
            _query(queries.MEAN, "mean"),
            _query(queries.UPPER, "mean + 3 σ"),
            _query(queries.LOWER, "mean − 3 σ"),
        )
        .height(10)
        .override_by_name("value", [clear, models.DynamicConfigValue("color", {"mode": "fixed", "fixedColor": _GREEN})])
        .override_by_name("mean", [clear, grey, dashed])
        .override_by_name("mean + 3 σ", [thin, grey, band, tinted])
        .override_by_name("mean − 3 σ", [thin, grey, clear])
    )
    score = (
        _curves("Score of $sensor", "1 is the boundary.", 8, _query(queries.SCORE, "score"))
        .height(10)
        .axis_soft_min(0)
        .axis_soft_max(1.2)
        .thresholds(_thresholds((None, "transparent"), (1, _RED)))
        .thresholds_style(common.GraphThresholdsStyleConfig().mode(commons.GraphThresholdsStyleMode.LINE_AND_AREA))
    )
    return [value, score]


def states(levels: Sequence[str]) -> table.Panel:
    """Enum and text sensors: they have a state, not a curve."""
    query = _query(queries.states(levels), "{{sensor}}", instant=True).format(PromQueryFormat.TABLE)
    hidden = [models.DynamicConfigValue("custom.hidden", True)]
    return (
        _fill(table.Panel(), "States", "Current state of the enum and text sensors.", 24, 8, query)
        .filterable(True)
        .override_by_name("Time", hidden)
        .override_by_name("Value", hidden)
    )
