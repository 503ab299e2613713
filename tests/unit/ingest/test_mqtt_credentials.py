"""Secrets from files: read when they are needed, and never repeated."""

from __future__ import annotations

import traceback
from pathlib import Path

import pytest

from ingest.contract.errors import ReconnectError
from ingest.contract.mqtt_settings import MqttSettings
from ingest.credentials import credentials


def test_nobody_is_nobody() -> None:
    assert credentials(MqttSettings()) == (None, None)
    assert credentials(MqttSettings.model_validate({"username": "u", "password": "p"})) == ("u", "p")
    assert credentials(MqttSettings(username="u")) == ("u", None)


@pytest.mark.parametrize(
    ("content", "meant"),
    [
        (b"secret", "secret"),
        (b"secret\n", "secret"),
        (b"secret\r\n", "secret"),
        (b" sec ret \n", " sec ret "),
        (b"two\nlines\n\n", "two\nlines\n"),
        ("pässwörd".encode(), "pässwörd"),
        (b"x" * 65_535 + b"\n", "x" * 65_535),
    ],
    ids=repr,
)
def test_a_file_holds_it_but_for_the_last_line_end(tmp_path: Path, content: bytes, meant: str) -> None:
    file = tmp_path / "secret"
    file.write_bytes(content)
    assert credentials(MqttSettings(username="u", password_file=str(file))) == ("u", meant)
    assert credentials(MqttSettings(username_file=str(file))) == (meant, None)


def test_it_is_read_anew_each_time(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    settings = MqttSettings(username="u", password_file=str(file))
    for secret in ("first", "second"):
        file.write_text(secret)
        assert credentials(settings) == ("u", secret)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "No such file or directory"),
        (b"", "the file is empty"),
        (b"\n", "the file is empty"),
        (b"sesame\xff", "not valid UTF-8"),
        (b"sesame" * 20_000, "more than 65535 bytes"),
    ],
    ids=["missing", "empty", "a line end", "binary", "long"],
)
def test_what_is_wrong_is_said_without_what_is_in_it(tmp_path: Path, content: bytes | None, said: str) -> None:
    file = tmp_path / "secret"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ReconnectError) as caught:
        credentials(MqttSettings(username="u", password_file=str(file)))
    assert str(caught.value) == f"mqtt.password_file = {file}: {said}"
    assert "sesame" not in "".join(traceback.format_exception(caught.value))


def test_a_device_that_never_ends_does_no_harm() -> None:
    with pytest.raises(ReconnectError, match="more than 65535 bytes"):
        credentials(MqttSettings(username="u", password_file="/dev/zero"))
