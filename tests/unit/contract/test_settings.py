"""What holds for settings that are right: safe defaults, durations as people write them."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.contract.class_settings import ClassSettings
from ingest.contract.classes import Kind
from ingest.contract.durations import format_duration, parse_duration_us
from ingest.contract.settings import Settings


def test_a_route_is_all_that_must_be_said() -> None:
    plant = Settings.model_validate({"route": [{"topic": "f/{machine}/{quantity}"}]})
    assert [one.match for one in plant.classes] == [["**"]]
    assert plant.route[0].qos == 1
    # Only this machine, and only what a broker with default settings takes.
    for endpoint in (plant.gateway.http, plant.worker.http, *plant.kafka.bootstrap):
        assert endpoint.startswith("127.0.0.1:")
    assert plant.mqtt.host == "127.0.0.1"
    assert plant.gateway.max_record_bytes < 1_048_576
    assert plant.gateway.max_payload_bytes < plant.gateway.max_record_bytes


def test_the_last_class_takes_everything_else() -> None:
    plant = Settings.model_validate({"route": [{"topic": "f/{m}"}], "class": [{"name": "a", "match": ["x/*"]}]})
    assert [one.name for one in plant.classes] == ["a", "default"]


def test_settings_do_not_change_later() -> None:
    plant = Settings.model_validate({"route": [{"topic": "f/{m}"}]})
    with pytest.raises(ValueError, match="frozen"):
        plant.mqtt.port = 1  # type: ignore[misc]


@pytest.mark.parametrize("kind", Kind)
def test_only_gauges_have_models_unless_asked(kind: Kind) -> None:
    one = ClassSettings(name="a", match=["**"], kind=kind)
    assert bool(one.model_list) == (kind is Kind.GAUGE)


def test_windows_are_in_order_and_once() -> None:
    one = ClassSettings.model_validate({"name": "a", "match": ["**"], "windows": ["1h", "1m", "60s"]})
    assert one.windows == [60_000_000, 3_600_000_000]


@pytest.mark.parametrize("endpoint", ["localhost:9101", "[::1]:9101", "0.0.0.0:0"])
def test_an_endpoint_is_a_host_and_a_port(endpoint: str) -> None:
    Settings.model_validate({"route": [{"topic": "f/{m}"}], "gateway": {"http": endpoint}})


@pytest.mark.parametrize("endpoint", ["localhost", ":9101", "http://localhost:9101", "a b:1", "::1:9101", "h:x"])
def test_anything_else_is_no_endpoint(endpoint: str) -> None:
    with pytest.raises(ValueError, match="http"):
        Settings.model_validate({"route": [{"topic": "f/{m}"}], "gateway": {"http": endpoint}})


# --- durations ------------------------------------------------------------------------------------------------------


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 36_500 * 86_400_000_000))
def test_a_duration_is_read_as_it_is_shown(duration_us: int) -> None:
    assert parse_duration_us(format_duration(duration_us)) == duration_us


@pytest.mark.parametrize(
    ("text", "duration_us"),
    [
        ("200ms", 200_000),
        ("0s", 0),
        ("1.5s", 1_500_000),
        ("  5 m ", 300_000_000),
        ("5min", 300_000_000),
        ("1h 30m", 5_400_000_000),
        ("1h30m", 5_400_000_000),
        ("7d", 604_800_000_000),
        ("2w", 1_209_600_000_000),
        ("10us", 10),
        ("10µs", 10),
        ("36500d", 36_500 * 86_400_000_000),
    ],
)
def test_durations_as_people_write_them(text: str, duration_us: int) -> None:
    assert parse_duration_us(text) == duration_us


@pytest.mark.parametrize(
    "text",
    [
        200,
        1.5,
        None,
        True,
        "",
        " ",
        "200",
        "s",
        "-1s",
        "1 s 2",
        "1s,2m",
        "1e3s",
        ".5s",
        "1y",
        "1S",
        "9" * 400 + "d",
        "36501d",
    ],
)
def test_what_is_no_duration_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match="a duration is"):
        parse_duration_us(text)
