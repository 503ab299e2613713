"""Every query of the shipped dashboard and rules, asked of a real Prometheus with the shipped scrape configuration
that scrapes a running plant."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import paho.mqtt.publish
import pytest
import yaml

from deploy.embedded import MOCK_PARTITIONS, embedded_brokers
from deploy.grafana import queries
from deploy.grafana.overview import FILE
from tests.deployment.plant import PlantUnderTest
from tests.deployment.shipped import DEPLOY, read_yaml
from tests.servers.binaries import find_binary
from tests.servers.ports import free_port
from tests.servers.prometheus import Prometheus, Sample
from tests.servers.require import require

pytestmark = pytest.mark.real

# 100 sensors send as many in five minutes of event time, all of them at once.
HISTORY = ("--sensors", "100", "--history", "1h", "--messages", "20000", "--fault-every", "5s", "--seed", "3")
BOARD: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
QUERIES = {
    f"{panel['id']}{target['refId']} {panel['title']}": target["expr"]
    for panel in BOARD["panels"]
    for target in panel.get("targets", [])
}
RULES = {rule["alert"]: rule["expr"] for rule in read_yaml(DEPLOY / "prometheus/rules.yml")["groups"][0]["rules"]}


class ShippedPrometheus(Prometheus):
    """With deploy/prometheus/, but other addresses and a scrape a second."""

    def __init__(self, directory: Path, addresses: dict[str, str]) -> None:
        super().__init__(directory, [])
        self._addresses = addresses

    def start(self) -> None:
        shipped = DEPLOY / "prometheus"
        config = read_yaml(shipped / "prometheus.yml")
        config["global"] = {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}
        config["rule_files"] = [str(shipped / "rules.yml")]
        del config["alerting"]
        for job in config["scrape_configs"]:
            job["static_configs"] = [
                {"targets": [self._addresses[target] for target in static["targets"]]}
                for static in job["static_configs"]
            ]
        self._directory.mkdir(parents=True, exist_ok=True)
        self._config_file.write_text(yaml.safe_dump(config))
        self.server.start()

    def values_of(self, label: str) -> set[str]:
        """All values of a label, `__name__` for the metrics."""
        return set(self._get(f"/api/v1/label/{label}/values")["data"])

    def __enter__(self) -> Self:
        self.start()
        return self


class Watched:
    """A running plant and the Prometheus that watches it."""

    def __init__(self, plant: PlantUnderTest, prometheus: ShippedPrometheus, mqtt_port: int) -> None:
        self.plant = plant
        self.prometheus = prometheus
        self._mqtt_port = mqtt_port
        self.chosen = {variable["name"]: ".*" for variable in BOARD["templating"]["list"]}

    def publish(self, topic: str, payload: str) -> None:
        paho.mqtt.publish.single(topic, payload, qos=1, hostname="127.0.0.1", port=self._mqtt_port)

    def filled_in(self, expr: str) -> str:
        """With the variables as Grafana fills them in."""
        for name, value in {**self.chosen, "__rate_interval": "10s"}.items():
            expr = re.sub(rf"\${name}\b", value, expr)
        assert "$" not in expr
        return expr

    def ask(self, expr: str) -> list[Sample]:
        return self.prometheus.wait_for(self.filled_in(expr), 30)


@contextmanager
def _simulated(plant: PlantUnderTest) -> Iterator[None]:
    simulator = plant.simulating("--sensors", "100", "--fault-every", "2s", "--seed", "7", "--log-level", "error")
    try:
        yield
    finally:
        simulator.terminate()
        simulator.communicate(timeout=30)


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """With a past full of faults, and going on."""
    require("prometheus", "promtool")
    folder = tmp_path_factory.mktemp("dashboard")
    with embedded_brokers() as brokers:
        plant = PlantUnderTest(folder / "plant", brokers.mqtt_port, brokers.kafka, "dashboard", MOCK_PARTITIONS)
        with plant.gateway, plant.worker:
            gateway, worker = f"127.0.0.1:{plant.gateway_port}", f"127.0.0.1:{plant.worker_port}"
            addresses = {"gateway:9101": gateway, "worker:9102": worker, "notifier:9103": f"127.0.0.1:{free_port()}"}
            own = f"127.0.0.1:{free_port()}"
            prometheus = ShippedPrometheus(folder / "prometheus", {**addresses, "localhost:9090": own})
            plant.simulate(*HISTORY)
            with _simulated(plant), prometheus:
                found = Watched(plant, prometheus, brokers.mqtt_port)
                found.publish("factory/demo/assembly/line-01/press-02/temperature", "not JSON")
                sensor = found.ask('topk(1, millstream_sensor_score{quantity="temperature"} > 0)')[0].labels["sensor"]
                found.chosen |= {"sensor": sensor, "window": "1m"}
                yield found


@pytest.mark.parametrize("name", QUERIES)
def test_every_query_of_every_panel_has_an_answer(watched: Watched, name: str) -> None:
    answer = watched.ask(QUERIES[name])
    assert all(sample.value == sample.value for sample in answer), "not a number"


@pytest.mark.parametrize("variable", [one["name"] for one in BOARD["templating"]["list"]])
def test_every_variable_has_values(watched: Watched, variable: str) -> None:
    query = next(one["query"] for one in BOARD["templating"]["list"] if one["name"] == variable)
    match = re.fullmatch(r"label_values\((?P<series>.+), (?P<label>\w+)\)", query)
    assert match is not None
    assert match["label"] == variable
    values = {one.labels.get(variable, "") for one in watched.ask(f"group by ({variable}) ({match['series']})")}
    assert all(values)
    assert watched.chosen[variable] in {*values, ".*"}


def test_the_ledger_is_balanced_in_every_scrape_while_messages_come_in(watched: Watched) -> None:
    watched.ask(f"({queries.SET_ASIDE}) >= 0")
    assert watched.ask(queries.RECEIVED)[0].value > 0
    scraped = watched.prometheus.query("count_over_time(millstream_gateway_messages_in_flight[1m])")[0].value
    watched.ask(f"sum(count_over_time(millstream_gateway_messages_in_flight[1m])) >= {scraped + 5}")
    worst = watched.ask(f"max_over_time(abs({queries.LEDGER})[1m:1s])")
    assert [sample.value for sample in worst] == [0]


def test_the_numbers_are_those_of_the_plant(watched: Watched) -> None:
    assert watched.ask(f"{queries.SENSORS} == 100")
    up = {sample.labels["job"]: sample.value for sample in watched.ask(queries.UP)}
    assert up == {"gateway": 1, "worker": 1, "sensors": 1, "notifier": 0}
    phases = {sample.labels["phase"] for sample in watched.ask(queries.TRANSITIONS)}
    assert {"firing", "resolved"} <= phases
    reasons = {sample.labels["reason"] for sample in watched.ask(queries.SET_ASIDE)}
    assert reasons == {"syntax"}
    worst = watched.ask(queries.worst(queries.LEVELS, 12))
    assert len(worst) == 12


def test_a_sensor_lies_in_its_band(watched: Watched) -> None:
    inside = f"({queries.LOWER} < {queries.MEAN}) and ({queries.MEAN} < {queries.UPPER})"
    assert len(watched.ask(inside)) == 1


def test_a_choice_of_levels_leaves_their_sensors_only(watched: Watched) -> None:
    everything = watched.ask(queries.states(queries.LEVELS))
    chosen = watched.chosen.copy()
    watched.chosen["machine"] = f"({everything[0].labels['sensor'].split('/')[-2]}|none)"
    try:
        some = watched.ask(queries.states(queries.LEVELS))
    finally:
        watched.chosen = chosen
    assert 0 < len(some) < len(everything)


def test_series_of_sensors_name_no_worker_and_outlive_one(watched: Watched) -> None:
    sensor = watched.chosen["sensor"]
    before = watched.ask(f'millstream_sensor_value{{sensor="{sensor}"}}')
    assert len(before) == 1
    assert "instance" not in before[0].labels
    assert watched.prometheus.query('count({__name__=~"millstream_sensor_.+",instance!=""})') == []
    assert watched.ask('up{job="sensors",instance!=""}')
    assert watched.ask('millstream_worker_sensors{instance!=""}')


def test_metrics_that_rules_and_panels_name_exist(watched: Watched) -> None:
    watched.ask("millstream_worker_commits_total")
    named = {name for expr in (*QUERIES.values(), *RULES.values()) for name in re.findall(r"\bmillstream_\w+", expr)}
    assert named - watched.prometheus.values_of("__name__") == set()


def test_the_rules_find_a_running_plant_well_and_a_missing_daemon(watched: Watched) -> None:
    for name in sorted(RULES.keys() - {"MillstreamDown", "MillstreamQuarantine"}):
        assert watched.prometheus.query(RULES[name]) == [], name
    down = watched.ask(RULES["MillstreamDown"])
    assert [sample.labels["job"] for sample in down] == ["notifier"]


# --- opinions of the servers' own tools --------------------------------------------------------------------------


def test_promtool_accepts_the_configuration_and_its_rules() -> None:
    require("promtool")
    _accepted("promtool", "check", "config", str(DEPLOY / "prometheus/prometheus.yml"))


def test_amtool_accepts_the_configuration() -> None:
    require("amtool")
    _accepted("amtool", "check-config", str(DEPLOY / "alertmanager/alertmanager.yml"))


def test_rules_fire_when_they_should(tmp_path: Path) -> None:
    require("promtool")

    def series(name: str, values: str) -> dict[str, str]:
        return {"series": name, "values": values}

    gateway = 'instance="gateway:9101",job="gateway",route="r"'
    cases = {
        "evaluation_interval": "10s",
        "rule_files": [str(DEPLOY / "prometheus/rules.yml")],
        "tests": [
            {
                "interval": "10s",
                "input_series": [
                    # Half of the messages are set aside, and one in a while is lost from the books.
                    series(f"millstream_gateway_messages_received_total{{{gateway}}}", "0+100x100"),
                    series(f"millstream_gateway_messages_produced_total{{{gateway}}}", "0+49x100"),
                    series(f'millstream_gateway_messages_quarantined_total{{{gateway},reason="syntax"}}', "0+50x100"),
                    series(f"millstream_gateway_messages_spooled_total{{{gateway}}}", "0+0x100"),
                    series(f'millstream_gateway_messages_dropped_total{{{gateway},reason="control"}}', "0+0x100"),
                    series('millstream_gateway_backlog_seconds{instance="gateway:9101"}', "0+10x100"),
                    series('millstream_gateway_spool_failures_total{instance="gateway:9101",reason="full"}', "0+1x100"),
                    series('millstream_gateway_spool_damaged_bytes_total{instance="gateway:9101"}', "0+0x50 1000+0x50"),
                    series('millstream_gateway_messages_in_flight{instance="gateway:9101",job="gateway"}', "0+0x100"),
                    series('millstream_worker_lag_seconds{instance="worker:9102",partition="0"}', "90+0x100"),
                    series('millstream_worker_gap_records_total{instance="worker:9102"}', "_x60 7+0x40"),
                    series('millstream_worker_restores_total{how="rebuild",instance="worker:9102"}', "_x60 1+0x40"),
                    series('millstream_worker_snapshots_total{instance="worker:9102",outcome="failed"}', "0+1x100"),
                    series('millstream_worker_records_quarantined_total{instance="worker:9102"}', "_x60 2+0x40"),
                    series('up{job="worker",instance="worker:9102"}', "0+0x100"),
                ],
                "alert_rule_test": [
                    _fires("MillstreamDown", {"severity": "critical", "job": "worker", "instance": "worker:9102"}),
                    _fires("MillstreamBehind", {"severity": "warning", "instance": "worker:9102"}),
                    _fires("MillstreamLogGap", {"severity": "critical", "instance": "worker:9102"}),
                    _fires(
                        "MillstreamStateRebuilt",
                        {"severity": "warning", "instance": "worker:9102", "how": "rebuild"},
                    ),
                    _fires(
                        "MillstreamSnapshotsFail",
                        {"severity": "warning", "instance": "worker:9102", "outcome": "failed"},
                    ),
                    _fires("MillstreamRecordsSetAside", {"severity": "warning", "instance": "worker:9102"}),
                    _fires("MillstreamQuarantine", {"severity": "warning", "route": "r", "reason": "syntax"}),
                    _fires("MillstreamBacklog", {"severity": "warning", "instance": "gateway:9101"}),
                    _fires(
                        "MillstreamSpoolRefuses",
                        {"severity": "critical", "instance": "gateway:9101", "reason": "full"},
                    ),
                    _fires("MillstreamSpoolDamaged", {"severity": "critical", "instance": "gateway:9101"}),
                    _fires("MillstreamLedger", {"severity": "critical", "instance": "gateway:9101"}),
                    {"eval_time": "15m", "alertname": "MillstreamNoMqtt", "exp_alerts": []},
                ],
            }
        ],
    }
    file = tmp_path / "cases.yml"
    file.write_text(yaml.safe_dump(cases))
    _accepted("promtool", "test", "rules", str(file))


_SUMMARIES = {
    "MillstreamDown": "worker at worker:9102 does not answer",
    "MillstreamBehind": "worker:9102 is 1m 30s behind",
    "MillstreamLogGap": "worker:9102: 7 records were deleted before they were read",
    "MillstreamStateRebuilt": "worker:9102 found no snapshot and rebuilt its state from the log: longer windows and "
    "models begin anew",
    "MillstreamSnapshotsFail": "worker:9102 cannot write snapshots: a restart would read more and more of the log "
    "again",
    "MillstreamRecordsSetAside": "worker:9102 set 2 records of the log aside: millstream quarantine ls",
    "MillstreamQuarantine": "more than 1 % of the messages of r cannot be read: syntax",
    "MillstreamBacklog": "gateway:9101 has spooled for 15m 0s: does Kafka take records?",
    "MillstreamSpoolRefuses": "the spool of gateway:9101 takes no more (full); its MQTT broker keeps the messages",
    "MillstreamSpoolDamaged": "1kB of the spool of gateway:9101 cannot be read; the files are kept aside",
    "MillstreamLedger": "the ledger of gateway:9101 is off by 90 messages",
}


def _fires(alert: str, labels: dict[str, str]) -> dict[str, Any]:
    expected = {"exp_labels": labels, "exp_annotations": {"summary": _SUMMARIES[alert]}}
    return {"eval_time": "15m", "alertname": alert, "exp_alerts": [expected]}


def _accepted(*command: str) -> None:
    done = subprocess.run(
        [find_binary(command[0]), *command[1:]], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
