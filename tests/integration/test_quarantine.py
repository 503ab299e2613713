"""`millstream quarantine` against a real Kafka: what is set aside is listed, looked at, and read again after a fix."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import pty
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from typer.testing import CliRunner, Result

from deploy.commands.quarantine import quarantine_app
from deploy.quarantine.log import QuarantineLog
from deploy.registries import read_settings
from deploy.topics import try_topics
from ingest.contract.clock import SystemClock
from ingest.contract.errors import QuarantineError, Reason
from ingest.contract.kafka_settings import KafkaSettings
from ingest.contract.quarantine import quarantine_record
from ingest.contract.readings import Flag
from ingest.contract.wire import envelope_of
from tests.deployment.logs import read_readings, read_topic
from tests.servers.ports import free_port

PLANT = """\
[[route]]
topic = "factory/{{machine}}/{{quantity}}"
{more}
[kafka]
bootstrap = "{kafka}"

[kafka.topics.readings]
name = "{prefix}.readings"
partitions = 4

[kafka.topics.alerts]
name = "{prefix}.alerts"

[kafka.topics.quarantine]
name = "{prefix}.quarantine"
"""
MENDED = '[[route]]\ntopic = "tunnel/{machine}/{quantity}"\n'
S_US = 1_000_000


@dataclass
class Plant:
    """Settings in a file, and the quarantine that a gateway would have filled."""

    kafka: str
    prefix: str
    config: Path
    now_us: int = field(default_factory=lambda: SystemClock().now_us())

    def write_settings(self, more: str = "") -> KafkaSettings:
        self.config.write_text(PLANT.format(kafka=self.kafka, prefix=self.prefix, more=more))
        return read_settings(self.config, with_models=False).kafka

    async def run(self, name: str, *arguments: str, code: int = 0) -> Result:
        # In a thread, as a command has an event loop of its own.
        done = await asyncio.to_thread(
            CliRunner().invoke, quarantine_app, [name, "--config", str(self.config), *arguments]
        )
        assert done.exit_code == code, f"{done.output} {done.exception!r}"
        return done

    async def listed(self, *arguments: str) -> list[dict[str, object]]:
        return [json.loads(line) for line in (await self.run("ls", "--json", *arguments)).stdout.splitlines()]

    async def set_aside(self, *messages: tuple[bytes, bytes, Reason, int]) -> None:
        """(topic, payload, reason, seconds ago)."""
        producer = AIOKafkaProducer(bootstrap_servers=self.kafka)
        await producer.start()
        try:
            for topic, payload, reason, ago_s in messages:
                worker = topic.startswith(self.prefix.encode())
                partition, record = quarantine_record(
                    topic,
                    payload,
                    QuarantineError(reason, "what is wrong"),
                    route=f"{self.prefix}.readings" if worker else "none",
                    source="gateway-1",
                    arrival_us=self.now_us - ago_s * S_US,
                    partitions=3,
                )
                await producer.send_and_wait(
                    f"{self.prefix}.quarantine", record.value, key=record.key, partition=partition,
                    headers=list(record.headers), timestamp_ms=record.timestamp_ms,
                )  # fmt: skip
        finally:
            await producer.stop()

    async def readings(self) -> list[tuple[str | None, float, int, int]]:
        """(sensor, value, µs before now, flags) of all that was produced."""
        return sorted(
            (sensor, value, self.now_us - ts_us, flags)
            for one in await read_readings(self.kafka, f"{self.prefix}.readings")
            for sensor, value, ts_us, flags in zip(
                one.sensor.decode(), one.value.tolist(), one.ts_us.tolist(), one.flags.tolist(), strict=True
            )
        )


@pytest.fixture(autouse=True)
def _log_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    # A command sets up its process's log, and here the process is the test's.
    monkeypatch.setattr("deploy.commands.quarantine.configure_log", lambda _: None)


@pytest.fixture
def plant(kafka: str, tmp_path: Path, topic_prefix: str) -> Plant:
    return Plant(kafka, topic_prefix, tmp_path / "plant.toml")


def lines(done: Result) -> list[str]:
    return done.stdout.splitlines()


def column(found: Iterable[dict[str, object]], name: str) -> list[object]:
    return [one[name] for one in found]


async def test_a_quarantine_without_a_topic_or_without_entries_is_empty(plant: Plant) -> None:
    kafka = plant.write_settings()
    assert lines(await plant.run("ls")) == ["nothing is in quarantine"]
    missing = await plant.run("replay", "--all", "--yes", code=1)
    assert "topics are missing" in missing.stderr
    await try_topics(kafka)
    assert lines(await plant.run("ls", "--since", "1h")) == ["nothing is in quarantine that came in this time"]
    assert "nothing of this kind" in (await plant.run("replay", "--all", "--yes")).stdout
    assert "0/7: no such entry" in (await plant.run("show", "0/7", code=1)).stderr
    assert "2/9: no such entry" in (await plant.run("replay", "2/9", "--yes", code=1)).stderr


async def test_what_is_in_quarantine_is_listed_counted_and_shown(plant: Plant) -> None:
    await try_topics(plant.write_settings())
    await plant.set_aside(
        (b"factory/old/t", b"hello", Reason.SYNTAX, 7_200),
        (b"factory/press/t", b'{"valu":1}', Reason.NO_VALUE, 60),
        (b"factory/press/\x1b[31mred", b"\x1b]0;owned\x07 :100: [b]" + bytes(range(256)), Reason.NAME, 50),
        (b"tunnel/fan/rpm", b'{"value":9}', Reason.NO_ROUTE, 40),
        (b"tunnel/fan/rpm", b"x" * 70_000, Reason.SYNTAX, 30),
    )
    found = await plant.listed()
    assert column(found, "reason") == ["syntax", "no_route", "name", "no_value", "syntax"]
    assert (found[0]["size"], found[0]["kept"]) == (70_000, 65_536)
    assert column(await plant.listed("--reason", "syntax", "--reason", "name"), "reason") == [
        "syntax",
        "name",
        "syntax",
    ]
    assert column(await plant.listed("--topic", "factory/*/t"), "topic") == ["factory/press/t", "factory/old/t"]
    assert len(await plant.listed("--since", "1h", "--route", "none")) == 4
    assert len(await plant.listed("--limit", "2")) == 2
    said = lines(await plant.run("ls", "--limit", "2"))
    assert said[0].split() == ["ID", "AGE", "REASON", "BYTES", "TOPIC", "ROUTE", "DETAIL"]
    assert len(said) == 4
    assert said[-1].startswith("2 of 5")
    counted = lines(await plant.run("ls", "--by", "reason"))
    assert len(counted) == 5
    assert counted[1].split()[::2] == ["2", "syntax"]
    assert lines(await plant.run("ls", "--reason", "unit")) == ["nothing of this kind; 5 others are there"]
    # A terminal obeys nothing of it, and --raw gives it back byte by byte.
    (binary,) = (one for one in found if one["reason"] == "name")
    shown = (await plant.run("show", str(binary["id"]))).stdout
    assert "\x1b" not in shown
    assert "\x07" not in shown
    assert "[31mred" in shown
    assert "1b 5d 30 3b" in shown
    raw = (await plant.run("show", str(binary["id"]), "--raw")).stdout_bytes
    assert raw == b"\x1b]0;owned\x07 :100: [b]" + bytes(range(256))
    long = lines(await plant.run("show", str(found[0]["id"])))
    assert "note      only the first 65,536 bytes were kept: it cannot be replayed" in long


async def test_after_a_fix_a_replay_makes_readings_of_what_it_can_and_marks_it(plant: Plant) -> None:
    await try_topics(plant.write_settings())
    await plant.set_aside(
        (b"tunnel/fan/rpm", b'{"value":1}', Reason.NO_ROUTE, 600),
        (b"tunnel/fan/rpm", b'{"value":2}', Reason.NO_ROUTE, 599),
        (b"tunnel/lamp/on", b'{"value":true}', Reason.NO_ROUTE, 300),
        (b"tunnel/fan/rpm", b"hello", Reason.NO_ROUTE, 200),
        (b"tunnel/fan/rpm", b" " * 70_000, Reason.NO_ROUTE, 100),
        (f"{plant.prefix}.readings/1/5".encode(), b"?", Reason.RECORD, 50),
    )
    # Before the fix nothing changes.
    assert "read       0 of 6: 0 readings" in (await plant.run("replay", "--all", "--yes")).stdout
    plant.write_settings(MENDED)
    told = (await plant.run("replay", "--all", "--dry-run")).stdout
    assert "read       3 of 6: 3 readings" in told
    assert "1 of them came by Kafka" in told
    assert "cut        1 " in told
    assert await plant.readings() == []
    assert len(await plant.listed()) == 6
    # Nobody to ask.
    assert "--yes writes" in (await plant.run("replay", "--all", code=2)).stderr
    done = (await plant.run("replay", "--topic", "tunnel/**", "--yes")).stdout
    assert "read       3 of 5: 3 readings" in done
    flags = int(Flag.REPLAYED | Flag.ARRIVAL_STAMPED)
    expected = [
        ("fan/rpm", 1.0, 600 * S_US, flags),
        ("fan/rpm", 2.0, 599 * S_US, flags),
        ("lamp/on", 1.0, 300 * S_US, flags),
    ]
    assert await plant.readings() == expected
    for record in await read_topic(plant.kafka, f"{plant.prefix}.readings"):
        envelope = envelope_of(record.headers.items())
        assert envelope.partitions == 4
        assert envelope.arrival_us <= plant.now_us - 300 * S_US
    # What was replayed is neither listed nor replayed again.
    assert sorted(map(str, column(await plant.listed(), "reason"))) == ["no_route", "no_route", "record"]
    assert sum(bool(one["replayed"]) for one in await plant.listed("--all")) == 3
    assert "read       0 of 3: 0 readings" in (await plant.run("replay", "--all", "--yes")).stdout
    assert await plant.readings() == expected
    # Unless it is asked for; the worker knows such readings by their time.
    (first,) = (one for one in await plant.listed("--all") if one["replayed"] and str(one["topic"]).endswith("/on"))
    place = str(first["id"])
    assert "replayed  yes" in (await plant.run("show", place)).stdout
    assert "--again" in (await plant.run("replay", place, "--yes")).stdout
    assert "read       1 of 1: 1 reading\n" in (await plant.run("replay", place, "--again", "--yes")).stdout
    assert await plant.readings() == sorted([*expected, expected[2]])


async def test_a_person_at_a_terminal_is_asked(plant: Plant) -> None:
    await try_topics(plant.write_settings(MENDED))
    await plant.set_aside((b"tunnel/fan/rpm", b'{"value":1}', Reason.NO_ROUTE, 60))
    for answer, written in ((b"n\n", 0), (b"y\n", 1)):
        said = await asyncio.to_thread(_at_a_terminal, plant.config, answer)
        assert b"Write these readings to Kafka?" in said
        assert (b"nothing was written" in said) == (not written)
        assert len(await plant.readings()) == written


def _at_a_terminal(config: Path, answer: bytes) -> bytes:
    """What `replay` says to somebody who answers so."""
    command = [sys.executable, "-m", "deploy", "quarantine", "replay", "--config", str(config), "--since", "1h"]
    ours, theirs = pty.openpty()
    said = b""
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs) as done:
        os.close(theirs)
        os.write(ours, answer)
        # When the other side is closed, Linux says EIO.
        with contextlib.suppress(OSError):
            while True:
                said += os.read(ours, 4_096)
        os.close(ours)
        assert done.wait(60) == 0, said.decode()
    return said


async def test_mistakes_and_a_kafka_that_is_away_are_told_from_each_other(tmp_path: Path) -> None:
    away = Plant(f"127.0.0.1:{free_port()}", "nowhere", tmp_path / "plant.toml")
    away.write_settings()
    for arguments in (("ls",), ("show", "0/0"), ("replay", "--all", "--yes")):
        assert (await away.run(*arguments, code=1)).stderr.startswith(f"{away.kafka}: ")
    mistakes: list[tuple[tuple[str, ...], str]] = [
        (("ls", "--reason", "sintax"), "is none of"),
        (("ls", "--since", "soon"), "--since: a duration"),
        (("ls", "--by", "reason", "--json"), "not both"),
        (("show", "7"), "partition/offset"),
        (("replay",), "say which entries"),
        (("replay", "--all", "--reason", "syntax"), "--all takes everything"),
        (("replay", "--all"), "nobody can be asked"),
    ]
    for mistake, said in mistakes:
        assert said in (await away.run(*mistake, code=2)).stderr


async def test_what_retention_takes_away_during_a_pass_is_passed_over_and_told(plant: Plant) -> None:
    kafka = plant.write_settings()
    await try_topics(kafka)
    await plant.set_aside(*((b"factory/fan/rpm", b"%d" % at, Reason.SYNTAX, 60 - at) for at in range(10)))
    async with QuarantineLog(kafka) as log:
        (at,) = {one.partition async for one in log.entries()}
        assert not log.lost
        admin = AIOKafkaAdminClient(bootstrap_servers=plant.kafka)
        await admin.start()
        await admin.delete_records({TopicPartition(kafka.topics.quarantine.name, at): RecordsToDelete(6)})
        await admin.close()
        assert [one.payload async for one in log.entries()] == [b"6", b"7", b"8", b"9"]
        assert log.lost


async def test_entries_come_in_the_order_of_their_arrival_over_all_partitions(plant: Plant) -> None:
    kafka = plant.write_settings()
    await try_topics(kafka)
    ago_s = [*range(900, 300, -1)]
    await plant.set_aside(*((b"factory/fan-%d/rpm" % (s % 7), b"%d" % s, Reason.SYNTAX, s) for s in ago_s))
    async with QuarantineLog(kafka) as log:
        found = [one async for one in log.entries()]
        assert len({one.partition for one in found}) > 1
        assert [int(one.payload) for one in found] == ago_s
        # What comes later is not in it.
        await plant.set_aside((b"factory/fan-1/rpm", b"0", Reason.SYNTAX, 0))
        assert len([one async for one in log.entries()]) == len(ago_s)
    async with QuarantineLog(kafka, plant.now_us - 400 * S_US) as log:
        assert len([one async for one in log.entries()]) == 101
        assert log.records == 101
