"""What can be said about a broker, and what contradicts itself."""

from __future__ import annotations

import ssl
from typing import Any

import pytest
from pydantic import ValidationError

from ingest.contract.errors import StopError
from ingest.contract.mqtt_settings import MqttSettings
from ingest.contract.section import TlsSettings
from ingest.contract.tls import tls_context, tls_failure


def test_without_a_word_it_is_plain_mqtt_on_this_machine() -> None:
    mqtt = MqttSettings()
    assert (mqtt.name, mqtt.host, mqtt.port, mqtt.transport, mqtt.path) == ("mqtt", "127.0.0.1", 1883, "tcp", "/mqtt")
    assert not mqtt.tls.enabled
    assert mqtt.shared_group is None


@pytest.mark.parametrize(
    ("said", "complaint"),
    [
        ({"username": "u", "username_file": "f"}, "username and username_file are both set"),
        ({"username": "u", "password": "p", "password_file": "f"}, "password and password_file are both set"),
        ({"password": "p"}, "a password without a username"),
        ({"password_file": "f"}, "a password without a username"),
        ({"shared_group": "g"}, "their order is lost; divide the topics"),
        ({"shared_dispatch": "topic-hash"}, "there is no shared_group"),
        ({"shared_group": "a/b", "shared_dispatch": "topic-hash"}, "match pattern"),
        ({"shared_group": "g", "shared_dispatch": "random"}, "topic-hash"),
        ({"transport": "quic"}, "websockets"),
        ({"path": "mqtt"}, "match pattern"),
        ({"path": "/a b"}, "match pattern"),
        ({"path": "/a\r\nHost: b"}, "match pattern"),
        ({"name": "a broker"}, "match pattern"),
        ({"host": ""}, "at least 1 character"),
        ({"tls": {"alpn": [""]}}, "match pattern"),
        ({"tls": {"alpn": ["x" * 256]}}, "match pattern"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_contradiction_is_explained_and_no_secret_repeated(said: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValidationError, match=complaint) as caught:
        MqttSettings.model_validate(said)
    assert "input_value" not in str(caught.value)


@pytest.mark.parametrize(
    "said",
    [
        {"username_file": "u", "password_file": "p"},
        {"username": "u", "password_file": "p"},
        {"username_file": "u", "password": "p"},
        {"username_file": "u"},
        {"shared_group": "g", "shared_dispatch": "topic-hash"},
        {"tls": {"enabled": True, "alpn": ["x-amzn-mqtt-ca"]}},
        {"transport": "websockets", "path": "/"},
    ],
    ids=str,
)
def test_what_goes_together_is_taken(said: dict[str, Any]) -> None:
    MqttSettings.model_validate(said)


def test_names_of_protocols_are_offered_in_their_order() -> None:
    client = tls_context(TlsSettings(enabled=True, alpn=("first", "second")))
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    with pytest.raises(ssl.SSLWantReadError):
        client.wrap_bio(incoming, outgoing, server_hostname="broker").do_handshake()
    assert b"\x05first\x06second" in outgoing.read()


def test_a_file_that_is_none_is_named() -> None:
    with pytest.raises(StopError, match=r"TLS: cannot use nowhere\.pem"):
        tls_context(TlsSettings(enabled=True, ca_file="nowhere.pem"))


def test_what_openssl_says_is_put_into_words() -> None:
    meant = "TLS: the other side wants a client certificate: set tls.cert_file and tls.key_file (%s)"
    error = ssl.SSLError(1, "[SSL: TLSV13_ALERT_CERTIFICATE_REQUIRED] tlsv13 alert certificate required")
    assert tls_failure(error) == meant % error
    error.reason = "TLSV13_ALERT_CERTIFICATE_REQUIRED"
    assert tls_failure(error) == meant % error.reason
    error.reason = "SOMETHING_ELSE"
    assert tls_failure(error) == "TLS: SOMETHING_ELSE"
