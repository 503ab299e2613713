import pytest

from ingest.contract.section import TlsSettings
from ingest.discover.address import parse_address


def test_everything_is_taken_from_the_address() -> None:
    mqtt = parse_address("mqtts://anna%40x:p%2Fw@broker.example:8884", TlsSettings(ca_file="ca.pem"))
    assert (mqtt.host, mqtt.port, mqtt.username) == ("broker.example", 8884, "anna@x")
    assert mqtt.password is not None
    assert mqtt.password.get_secret_value() == "p/w"
    assert mqtt.tls == TlsSettings(enabled=True, ca_file="ca.pem")


@pytest.mark.parametrize(("address", "port"), [("mqtt://h", 1883), ("mqtts://h/", 8883), ("MQTT://h", 1883)])
def test_ports_have_their_usual_numbers(address: str, port: int) -> None:
    assert parse_address(address).port == port


@pytest.mark.parametrize(
    "address",
    [
        "ws://h/a b", "ws://h/ä", "wss://h/mqtt?x=1", "ws://h/mqtt#x", "mqtts://h/mqtt", "ws://",
        "", "broker", "http://h", "mqtt://", "mqtt://h:x", "mqtt://h:0", "mqtt://h:70000", "mqtt://[::1", "mqtt://h/a",
        "mqtt://h?x=1", "mqtt://:pw@h", "mqtt://a b",
    ],
)  # fmt: skip
def test_what_is_no_address_is_refused_with_the_form_of_one(address: str) -> None:
    with pytest.raises(ValueError, match=r"mqtt://.user.:password.@.host"):
        parse_address(address)


@pytest.mark.parametrize(
    ("address", "port", "path", "encrypted"),
    [
        ("ws://h", 80, "/mqtt", False),
        ("ws://h:9001/", 9001, "/", False),
        ("wss://anna:pw@h/live/mqtt", 443, "/live/mqtt", True),
    ],
)
def test_websockets_have_a_path(address: str, port: int, path: str, encrypted: bool) -> None:
    mqtt = parse_address(address)
    assert (mqtt.transport, mqtt.port, mqtt.path, mqtt.tls.enabled) == ("websockets", port, path, encrypted)


def test_no_message_repeats_a_password() -> None:
    with pytest.raises(ValueError, match="no number") as caught:
        parse_address("mqtt://anna:sec/ret@host")
    assert "sec" not in str(caught.value)


def test_certificates_without_tls_are_a_mistake() -> None:
    with pytest.raises(ValueError, match="mqtts"):
        parse_address("mqtt://h", TlsSettings(ca_file="ca.pem"))
