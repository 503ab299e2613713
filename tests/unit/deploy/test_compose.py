"""deploy/compose.yaml: what no container engine has to say."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from typing import Any

import pytest

from tests.deployment.shipped import (
    COMPOSE,
    DAEMONS,
    DEPLOY,
    ROOT,
    compose,
    environment,
    mounts,
    read_yaml,
    services,
    substituted,
)

SERVICES = services()
NAMES = sorted(SERVICES)


def test_it_follows_the_schema_of_compose() -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(COMPOSE)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_all_parts_are_there() -> None:
    brokers = {"mosquitto", "kafka"}
    assert {*DAEMONS, *brokers, "prometheus", "alertmanager", "grafana", "simulator"} == set(SERVICES)


@pytest.mark.parametrize("name", NAMES)
def test_every_port_is_published_on_loopback_only(name: str) -> None:
    assert "network_mode" not in SERVICES[name]
    for port in SERVICES[name].get("ports", []):
        assert re.fullmatch(r"127\.0\.0\.1:\d+:\d+", port)


@pytest.mark.parametrize("name", NAMES)
def test_every_service_is_restarted_bounded_and_without_privileges(name: str) -> None:
    service = SERVICES[name]
    assert service["restart"] == "unless-stopped"
    assert re.fullmatch(r"\d+[mg]", service["mem_limit"])
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["logging"]["options"] == {"max-size": "10m", "max-file": "3"}


@pytest.mark.parametrize("name", NAMES)
def test_every_image_is_pinned_by_a_full_version(name: str) -> None:
    assert re.fullmatch(r"[\w./-]+:v?\d+\.\d+\.\d+", SERVICES[name]["image"])


@pytest.mark.parametrize("name", NAMES)
def test_what_is_mounted_exists(name: str) -> None:
    volumes = compose()["volumes"]
    for source, target, mode in mounts(SERVICES[name]):
        assert target.startswith("/")
        if source.startswith("."):
            assert (DEPLOY / source).exists(), source
            assert mode == "ro"
        else:
            assert source in volumes


def test_every_named_volume_is_used() -> None:
    used = {source for service in SERVICES.values() for source, _, _ in mounts(service)}
    assert set(compose()["volumes"]) <= used


@pytest.mark.parametrize("name", NAMES)
def test_every_service_has_a_health_check(name: str) -> None:
    check = SERVICES[name].get("healthcheck")
    if name in DAEMONS:
        assert check is None  # the image's own, at this port
        assert environment(SERVICES[name])["HTTP_PORT"] == str(DAEMONS[name])
    elif name == "simulator":
        assert check == {"disable": True}  # it listens on nothing
    else:
        assert check is not None
        assert check["test"][0] == "CMD"


@pytest.mark.parametrize(("name", "port"), DAEMONS.items())
def test_a_daemon_listens_where_it_is_published_scraped_and_checked(name: str, port: int) -> None:
    service = SERVICES[name]
    assert environment(service)[f"MILLSTREAM__{name.upper()}__HTTP"] == f"0.0.0.0:{port}"
    assert service["ports"] == [f"127.0.0.1:{port}:{port}"]
    assert service["read_only"] is True
    jobs = {job["job_name"]: job for job in read_yaml(DEPLOY / "prometheus/prometheus.yml")["scrape_configs"]}
    assert jobs[name]["static_configs"] == [{"targets": [f"{name}:{port}"]}]


def test_the_plant_is_the_demo_or_the_one_given() -> None:
    for name in (*DAEMONS, "simulator"):
        plant = SERVICES[name]["volumes"][0]
        assert substituted(plant) == "./plants/demo.toml:/etc/millstream/plant.toml:ro"
        assert substituted(plant, {"PLANT": "/my.toml"}) == "/my.toml:/etc/millstream/plant.toml:ro"
        assert "/etc/millstream/plant.toml" in SERVICES[name]["command"]


def test_the_image_has_this_version_and_kafka_that_of_the_tests() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert SERVICES["gateway"]["image"] == f"millstream:{version}"
    pom = (ROOT / "tests/servers/kafka/pom.xml").read_text()
    kafka = re.search(r"<kafka\.version>(.+?)<", pom)
    assert kafka is not None
    assert SERVICES["kafka"]["image"] == f"apache/kafka:{kafka[1]}"


def test_there_is_no_password_in_the_file_and_grafana_refuses_to_start_without_one() -> None:
    lines = [line for line in COMPOSE.read_text().splitlines() if "PASSWORD" in line and not line.startswith("#")]
    assert len(lines) == 1
    with pytest.raises(KeyError, match="choose a password"):
        substituted(lines[0])


# --- what the services find in their configuration ---------------------------------------------------------------


def test_prometheus_drops_the_instance_of_sensors_and_of_nothing_else() -> None:
    jobs: dict[str, Any] = {
        job["job_name"]: job for job in read_yaml(DEPLOY / "prometheus/prometheus.yml")["scrape_configs"]
    }
    sensors = jobs.pop("sensors")
    assert sensors["metrics_path"] == "/metrics/sensors"
    assert sensors["honor_labels"] is True
    assert sensors["metric_relabel_configs"] == [{"action": "labeldrop", "regex": "instance"}]
    assert sensors["static_configs"] == jobs["worker"]["static_configs"]
    for job in jobs.values():
        assert not {"metric_relabel_configs", "relabel_configs", "honor_labels"} & set(job)


def test_hosts_in_configurations_are_services() -> None:
    prometheus = read_yaml(DEPLOY / "prometheus/prometheus.yml")
    targets = [
        target
        for scrape in (*prometheus["scrape_configs"], *prometheus["alerting"]["alertmanagers"])
        for static in scrape["static_configs"]
        for target in static["targets"]
    ]
    source = read_yaml(DEPLOY / "grafana/provisioning/datasources/prometheus.yaml")["datasources"][0]
    targets.append(source["url"].removeprefix("http://"))
    targets += [environment(SERVICES["gateway"])["MILLSTREAM__KAFKA__BOOTSTRAP"]]
    assert {target.partition(":")[0] for target in targets} <= {*SERVICES, "localhost"}
    assert environment(SERVICES["gateway"])["MILLSTREAM__MQTT__HOST"] in SERVICES


def test_grafana_finds_the_dashboard_and_knows_the_scrape_interval() -> None:
    grafana = SERVICES["grafana"]
    provider = read_yaml(DEPLOY / "grafana/provisioning/dashboards/millstream.yaml")["providers"][0]
    folder = {target: DEPLOY / source for source, target, _ in mounts(grafana)}[provider["options"]["path"]]
    home = environment(grafana)["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert (folder / home.rpartition("/")[2]).exists()
    source = read_yaml(DEPLOY / "grafana/provisioning/datasources/prometheus.yaml")["datasources"][0]
    interval = read_yaml(DEPLOY / "prometheus/prometheus.yml")["global"]["scrape_interval"]
    assert source["jsonData"]["timeInterval"] == interval


def test_mosquitto_keeps_what_the_readme_asks_for() -> None:
    lines = (DEPLOY / "mosquitto/mosquitto.conf").read_text().splitlines()
    recommended = ("max_queued_messages 0", "max_inflight_messages 0", "persistence true", "autosave_interval 10")
    assert set(recommended) <= set(lines)
    readme = (ROOT / "README.md").read_text()
    assert all(f"`{line}`" in readme for line in recommended)


# --- the image ------------------------------------------------------------------------------------------------------


def test_the_image_copies_what_the_context_has_and_runs_as_nobody_special() -> None:
    dockerfile = (DEPLOY / "Dockerfile").read_text()
    allowed = {line[1:].rstrip("/") for line in (ROOT / ".dockerignore").read_text().splitlines() if line[:1] == "!"}
    copies = re.findall(r"^COPY (?!--from)(.+) \S+$", dockerfile, re.MULTILINE)
    copied = {source for words in copies for source in words.split()}
    assert copied == allowed
    assert all((ROOT / source).exists() for source in copied)
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert set(packages["packages"]) <= copied
    final = dockerfile.rpartition("\nFROM ")[2]
    assert re.search(r"^USER 10001:10001$", final, re.MULTILINE)
    assert 'ENTRYPOINT ["millstream"]' in final


def test_secrets_beside_the_compose_file_do_not_get_into_the_image() -> None:
    for service in SERVICES.values():
        assert all(one["path"].endswith(".env") for one in service.get("env_file", []))
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    last_allowed = max(number for number, line in enumerate(ignored) if line[:1] == "!")
    assert "**/*.env" in ignored[last_allowed:]


def test_everything_in_the_image_is_held_against_the_lock() -> None:
    dockerfile = (DEPLOY / "Dockerfile").read_text().replace("\\\n", " ")
    installs = re.findall(r"pip (?:--python \S+ )?install [^&\n]*", dockerfile)
    assert len(installs) == 3
    for install in installs:
        assert "--require-hashes" in install
        assert "--constraint requirements.lock" in install or "--requirement pip.txt" in install
