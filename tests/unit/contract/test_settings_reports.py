"""Every mistake in the settings is reported at once, at its line, with what was probably meant."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ingest.contract.errors import SettingsError
from ingest.contract.registry import Registry
from ingest.contract.settings import Settings
from ingest.contract.settings_file import load_settings
from tests.unit.contract.mistakes import BAD, DURATION

# Tables of their own, so that one more decoder or model changes no report here.
DECODERS = {"json": "ingest.decoders.json:Json", "plain": "ingest.decoders.plain:Plain"}
MODELS = {"ewma_z": "models.ewma_z:EwmaZ", "running_range": "models.running_range:RunningRange"}
REGISTRIES: dict[str, Registry[Any]] = {
    "decoder": Registry("decoder", DECODERS),
    "model": Registry("model", MODELS, names_only=True),
}
ROUTE = '[[route]]\ntopic = "f/{machine}"\n'


def load(path: Path, text: str, environ: dict[str, str] | None = None) -> Settings:
    file = path / "plant.toml"
    file.write_text(text, encoding="utf-8")
    return load_settings(file, environ or {}, REGISTRIES)


def report(path: Path, text: str, environ: dict[str, str] | None = None) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        load(path, text, environ)
    return [line.removeprefix(f"{path}/plant.toml:") for line in caught.value.problems]


@pytest.mark.parametrize(("text", "line"), BAD.values(), ids=BAD.keys())
def test_a_mistake_is_reported_at_its_line(tmp_path: Path, text: str, line: str) -> None:
    assert report(tmp_path, ROUTE + text) == [line]


def test_all_mistakes_are_reported_at_once(tmp_path: Path) -> None:
    text = ROUTE + (
        'decoder = "jsn"\n[mqtt]\nprot = 1\nkeepalive = 30\n[gatway]\n[[class]]\nname = "a"\nmatch = ["*"]\n'
        'models = ["ewma_z", "no"]\n[plant]\nmax_sensors = 0\n'
    )
    lines = report(tmp_path, text, {"MILLSTREAM__KAFKA__BOOTSTRAPP": "x", "MILLSTREAM__WORKR__TICK": "1s"})
    assert sorted(line.split(": ")[0] for line in lines) == [
        "11",
        "13",
        "3",
        "5",
        "6",
        "7",
        "MILLSTREAM__KAFKA__BOOTSTRAPP",
        "MILLSTREAM__WORKR__TICK",
    ]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", "1: route: is missing"),
        ("[mqtt]\nport = 1\n", "1: route: is missing"),
        ("route = []\n", "1: route: List should have at least 1 item after validation, not 0"),
        ('route = "f/{a}"\n', "1: route: should be a valid list"),
        ("route = [3]\n", "1: route.1: should be a valid dictionary or instance of RouteSettings"),
        ("\n\n[[route]]\nqos = 1\n", "3: route.1.topic: is missing"),
    ],
)
def test_without_a_route_there_is_nothing_to_do(tmp_path: Path, text: str, line: str) -> None:
    assert report(tmp_path, text) == [line]


def test_what_is_not_toml_says_where(tmp_path: Path) -> None:
    (line,) = report(tmp_path, ROUTE + "[mqtt\n")
    assert "not valid TOML" in line
    assert "line 3" in line


@pytest.mark.parametrize("content", [None, b"\xff\xfe"])
def test_a_file_that_cannot_be_read(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "plant.toml"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(SettingsError, match="cannot be read"):
        load_settings(file, {})


# --- the environment ------------------------------------------------------------------------------------------------


def test_the_environment_overrides_the_file(tmp_path: Path) -> None:
    environ = {
        "MILLSTREAM__MQTT__PORT": "1884",
        "millstream__mqtt__host": "broker",
        "MILLSTREAM__KAFKA__BOOTSTRAP": "a:1, b:2",
        "MILLSTREAM__KAFKA__TOPICS__READINGS__PARTITIONS": "3",
        "MILLSTREAM__GATEWAY__LINGER": "1s",
        "MILLSTREAM__PLANT__LEVELS": '["site", "quantity"]',
        "MILLSTREAM__MQTT__TLS__ENABLED": "yes",
        "MILLSTREAM__MQTT__USERNAME": "gateway",
        "MILLSTREAM__MQTT__PASSWORD": "12345",
        "OTHER__MQTT__PORT": "9",
        "MILLSTREAM_MQTT_PORT": "9",
    }
    settings = load(tmp_path, ROUTE + '[mqtt]\nport = 1\nclient_id = "kept"\n', environ)
    assert (settings.mqtt.port, settings.mqtt.host, settings.mqtt.client_id) == (1884, "broker", "kept")
    assert settings.mqtt.tls.enabled
    assert settings.kafka.bootstrap == ["a:1", "b:2"]
    assert settings.kafka.topics.readings.partitions == 3
    assert settings.gateway.linger == 1_000_000
    assert settings.plant.levels == ["site", "quantity"]
    assert settings.mqtt.password is not None
    assert settings.mqtt.password.get_secret_value() == "12345"


def test_a_whole_section_may_come_as_json(tmp_path: Path) -> None:
    classes = '[{"name": "all", "match": ["**"], "unit": "bar"}]'
    settings = load(tmp_path, ROUTE, {"MILLSTREAM__CLASS": classes, "MILLSTREAM__ROUTE": '[{"topic": "x/{y}"}]'})
    assert [one.unit for one in settings.classes] == ["bar"]
    assert [one.topic for one in settings.route] == ["x/{y}"]


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("MILLSTREAM__MQT__PORT", "1", "there is no section 'mqt' (did you mean \"mqtt\"?)"),
        ("MILLSTREAM__MQTT__PROT", "1", 'no such key (did you mean "port"?)'),
        ("millstream__mqtt__port", "x", "should be a valid integer, unable to parse string as an integer"),
        ("MILLSTREAM__MQTT__PORT__X", "1", "should be a valid integer"),
        ("MILLSTREAM__ROUTE__0__TOPIC", "x/{y}", "should be a valid list"),
        ("MILLSTREAM__ROUTE", '[{"topic": "x/+"}]', "write {name} or {name...} instead of the wildcard '+'"),
        ("MILLSTREAM__MQTT", "1884", "should be a valid dictionary or instance of MqttSettings"),
        ("MILLSTREAM__CLASSES", "[]", "there is no section 'classes' (did you mean \"class\"?)"),
        ("MILLSTREAM__", "1", "there is no section ''"),
        ("MILLSTREAM__GATEWAY__LINGER", "200", DURATION),
    ],
)
def test_a_mistake_in_the_environment_is_reported_by_its_name(
    tmp_path: Path, name: str, value: str, message: str
) -> None:
    assert report(tmp_path, ROUTE, {name: value}) == [f"{name}: {message}"]


def test_a_mistake_in_the_file_is_not_blamed_on_the_environment(tmp_path: Path) -> None:
    lines = report(tmp_path, ROUTE + "[mqtt]\nport = 0\n", {"MILLSTREAM__MQTT__HOST": "broker"})
    assert lines == ["4: mqtt.port: should be greater than or equal to 1"]


# --- secrets --------------------------------------------------------------------------------------------------------

SECRET = "correct horse battery staple"
SECRETS = (
    f'[mqtt]\nusername = "u"\npassword = "{SECRET}"\n'
    f'[kafka]\nsasl_mechanism = "PLAIN"\nusername = "u"\npassword = "{SECRET}"\n'
)


def test_a_secret_is_in_no_picture_of_the_settings(tmp_path: Path) -> None:
    settings = load(tmp_path, ROUTE + SECRETS)
    for shown in (repr(settings), str(settings), settings.model_dump_json(), repr(settings.model_dump())):
        assert SECRET not in shown


@pytest.mark.parametrize(
    "wrong",
    [
        f'[mqtt]\nport = "{SECRET}"\n',
        f'[mqtt]\npasword = "{SECRET}"\n',
        f'[mqtt]\npassword = ["{SECRET}"]\n',
        f'[mqtt]\npassword = "{SECRET}\n',
        f'[kafka]\nbootstrap = "{SECRET}"\n',
        f'mqtt = "{SECRET}"\n',
    ],
)
def test_a_secret_in_the_wrong_place_is_not_repeated(tmp_path: Path, wrong: str) -> None:
    text = wrong + ROUTE if wrong.startswith("mqtt") else ROUTE + wrong
    with pytest.raises(SettingsError) as caught:
        load(tmp_path, text)
    assert SECRET not in str(caught.value)
    cause = caught.value.__cause__
    assert SECRET not in str(cause)


@pytest.mark.parametrize("name", ["MILLSTREAM__MQTT__PORT", "MILLSTREAM__MQTT", "MILLSTREAM__MQTT__PASSWORT"])
def test_a_secret_in_the_environment_is_not_repeated(tmp_path: Path, name: str) -> None:
    assert SECRET not in "\n".join(report(tmp_path, ROUTE, {name: SECRET}))


@pytest.mark.parametrize("number", ["1" + "0" * 400, '"1' + "0" * 400 + '"', str(2**63)])
def test_a_number_that_a_model_cannot_hold_is_a_mistake_and_not_a_crash(tmp_path: Path, number: str) -> None:
    file = tmp_path / "plant.toml"
    text = f'[[class]]\nname = "a"\nmatch = ["**"]\n[[class.models]]\nname = "ewma_z"\noptions.warm_up = {number}\n'
    file.write_text(ROUTE + text, encoding="utf-8")
    with pytest.raises(SettingsError) as caught:
        load_settings(file, {}, {"model": Registry("model", MODELS)})

    assert caught.value.problems == [
        f"{file}:8: class.1.models.1.options: model ewma_z: warm_up: should fit into 64 bits"
    ]


def test_a_number_of_thousands_of_digits_is_a_mistake_and_not_a_crash(tmp_path: Path) -> None:
    (line,) = report(tmp_path, ROUTE + "[plant]\nmax_sensors = 1" + "0" * 5_000 + "\n")

    assert line.startswith(" not valid TOML: Exceeds the limit")
