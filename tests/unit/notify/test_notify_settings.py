"""What the settings refuse."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from ingest.contract.notifier_settings import NotifierSettings, WebhookSettings, check_names
from tests.unit.notify.rig import SECRET, notifier, webhook


def test_defaults() -> None:
    settings = NotifierSettings()
    assert settings.start == "latest"
    assert settings.state_dir == Path("~/.local/state/millstream").expanduser()
    one = WebhookSettings.model_validate({"name": "a", "url": "https://example.com/x", "secret": SECRET})
    assert not one.allow_private
    assert one.wants("bremen/t", "critical", "firing")
    assert one.wants("bremen/t", "info", "resolved")
    assert not one.wants("bremen/t", "critical", "pending")


def test_which_transitions_a_webhook_wants() -> None:
    one = webhook(severities=["critical"], phases=["firing"], match=["bremen/**", "*/line-07/**"])
    assert one.wants("bremen/line-01/t", "critical", "firing")
    assert one.wants("ulm/line-07/t", "critical", "firing")
    assert not one.wants("ulm/line-01/t", "critical", "firing")
    assert not one.wants("bremen/line-01/t", "warning", "firing")
    assert not one.wants("bremen/line-01/t", "critical", "resolved")


@pytest.mark.parametrize(
    "wrong",
    [
        {"secret": "geheim"},
        {"secret": "whsec_"},
        {"secret": "whsec_geheim"},
        {"secret": "whsec_" + "g" * 31 + "!"},
        {"secret": "wrong_" + SECRET[6:]},
        {"old_secret": "geheim"},
        {"url": "https://u:geheim@example.com/"},
        {"url": "https://geheim.localhost/", "allow_private": False},
        {"timeout": "0s"},
        {"timeout": "1h"},
        {"severities": []},
        {"phases": ["fired"]},
        {"match": []},
        {"name": "a b"},
    ],
)
def test_a_mistake_is_refused_and_not_repeated(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as refused:
        webhook(**wrong)
    assert "geheim" not in str(refused.value)


def test_neither_secret_nor_url_is_shown() -> None:
    shown = repr(webhook(url="http://127.0.0.1/token")) + webhook(url="http://127.0.0.1/token").model_dump_json()
    assert "token" not in shown
    assert SECRET[6:] not in shown


@pytest.mark.parametrize(
    "wrong",
    [
        {"time_zone": "Europe/Nowhere"},
        {"time_zone": "../etc/passwd"},
        {"time_zones": {"bremen": ""}},
        {"retry_first": "2h"},
        {"retry_first": "0s"},
        {"give_up": "1s"},
        {"group": "../x"},
        {"start": "middle"},
    ],
)
def test_other_mistakes(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        notifier(**wrong)


def test_two_of_one_name() -> None:
    with pytest.raises(ValueError, match="two webhooks are called 'a'"):
        check_names([webhook("a"), webhook("b"), webhook("a")])
