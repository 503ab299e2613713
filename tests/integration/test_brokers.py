"""One gateway at several brokers, and several gateways at one."""

from __future__ import annotations

from pathlib import Path

import pytest

from ingest.contract.settings_file import load_settings
from tests.deployment.logs import read_readings
from tests.deployment.plant import PlantUnderTest
from tests.faults.stream import Sender
from tests.servers.mosquitto import Mosquitto
from tests.servers.waiting import wait_until


async def sensors_in_log(kafka: str, topic: str) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    for readings in await read_readings(kafka, topic):
        for sensor, value in zip(readings.sensor.decode(), readings.value.tolist(), strict=True):
            found.setdefault(sensor or "", []).append(value)
    return found


@pytest.mark.timeout(120)
async def test_a_gateway_takes_from_two_brokers_and_one_may_be_away(
    mosquitto: Mosquitto, kafka: str, tmp_path: Path, topic_prefix: str
) -> None:
    with Mosquitto(tmp_path / "south", persistence=True) as south:
        brokers = "".join(
            f'\n[[broker]]\nname = "{name}"\nport = {port}\nclient_id = "gw-{name}"\n'
            for name, port in (("north", mosquitto.port), ("south", south.port))
        )
        yard = '\n[[route]]\ntopic = "yard/{machine}/{quantity}"\nbrokers = ["south"]\n'
        plant = PlantUnderTest(tmp_path / "plant", 1, kafka, topic_prefix, extra=brokers + yard)
        del plant.environment["MILLSTREAM__MQTT__PORT"]
        with plant.gateway, Sender(mosquitto.port) as here, Sender(south.port) as there:
            for sender, name in ((here, b"1"), (there, b"2")):
                sender.send_raw([("factory/demo/a/l/m/" + name.decode(), b'{"value":%b}' % name)])
                sender.send_raw([("yard/crane/" + name.decode(), b'{"value":%b}' % name)])
            wait_until(
                lambda: plant.gateway_metric("messages_produced_total") == 3, timeout_s=30, what="three messages"
            )
            south.stop()
            wait_until(
                lambda: plant.gateway_metric("mqtt_connected", broker="south") == 0, timeout_s=30, what="one away"
            )
            here.send_raw([("factory/demo/a/l/m/3", b'{"value":3}')])
            wait_until(
                lambda: plant.gateway_metric("messages_produced_total") == 4, timeout_s=30, what="the other flows"
            )
            assert plant.gateway_metric("mqtt_connected", broker="north") == 1
            assert not plant.is_ready(plant.gateway_port)
            plant.check_ledger()
            plant.gateway.kill()
    found = await sensors_in_log(kafka, f"{topic_prefix}.readings")
    assert found == {"demo/a/l/m/1": [1.0], "demo/a/l/m/2": [2.0], "demo/a/l/m/3": [3.0], "crane/2": [2.0]}


@pytest.mark.timeout(120)
async def test_two_gateways_share_the_lines_and_take_every_message_once(
    mosquitto: Mosquitto, kafka: str, tmp_path: Path, topic_prefix: str
) -> None:
    lines = [f"line-{number:02d}" for number in range(10)]
    plants = []
    for number in (1, 2):
        plant = PlantUnderTest(tmp_path / f"plant-{number}", mosquitto.port, kafka, topic_prefix)
        config = plant.config.read_text().replace("[[route]]\n", f"[[route]]\nlevels = {{ line = {lines} }}\n", 1)
        plant.config.write_text(config)
        plant.environment |= {
            "MILLSTREAM__GATEWAY__INSTANCES": "2",
            "MILLSTREAM__GATEWAY__INSTANCE": str(number),
        }
        assert load_settings(plant.config, plant.environment).gateway_id == f"millstream-gateway-{number}"
        plants.append(plant)
    first, second = plants
    with first.gateway, second.gateway, Sender(mosquitto.port) as sender:
        sender.send_raw(
            [
                (f"factory/demo/a/{line}/m{machine}/t", b'{"value":%d,"ts":%d}' % (at, 1_700_000_000_000 + at))
                for machine in range(3)
                for line in lines
                for at in range(20)
            ]
        )
        wait_until(
            lambda: sum(plant.gateway_metric("messages_produced_total") for plant in plants) == 600,
            timeout_s=60,
            what="all messages",
        )
        shares = [plant.gateway_metric("messages_received_total") for plant in plants]
        assert min(shares) > 0
        assert sum(shares) == 600
        for plant in plants:
            plant.check_ledger()
    found = await sensors_in_log(kafka, f"{topic_prefix}.readings")
    assert len(found) == 30
    assert all(values == list(map(float, range(20))) for values in found.values())
    settings = load_settings(first.config, first.environment)
    assert settings.route[0].levels["line"] == lines
