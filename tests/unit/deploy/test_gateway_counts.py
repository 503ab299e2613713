"""Where readings may be placed while Kafka is away."""

from __future__ import annotations

from pathlib import Path

from deploy.gateway_daemon import _KnownTopics
from ingest.contract.settings import Settings
from ingest.state_files import StateFiles


def known(directory: Path, partitions: int) -> _KnownTopics:
    topics = {"readings": {"partitions": partitions}, "quarantine": {"partitions": 7}}
    settings = Settings.model_validate({"route": [{"topic": "f/{m}/{q}"}], "kafka": {"topics": topics}})
    return _KnownTopics(settings, StateFiles(directory))


def test_readings_are_only_placed_by_a_count_that_kafka_confirmed_and_the_settings_say(tmp_path: Path) -> None:
    """By a count of the settings alone, a spool once poisoned a topic that had another."""
    assert not known(tmp_path, 8).confirmed
    known(tmp_path, 8).saw({"millstream.readings": 8, "millstream.quarantine": 5})
    assert known(tmp_path, 8).confirmed
    assert known(tmp_path, 8).counts() == (8, 5, 3)
    assert not known(tmp_path, 16).confirmed
    assert known(tmp_path, 16).counts()[0] == 16


def test_a_damaged_file_confirms_nothing(tmp_path: Path) -> None:
    (tmp_path / "topics.json").write_bytes(b"{")
    assert not known(tmp_path, 8).confirmed
