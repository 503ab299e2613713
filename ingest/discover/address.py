"""`mqtt://[user[:password]@]host[:port]`, or `ws://…/path` → settings of the connection."""

from __future__ import annotations

import re
from urllib.parse import unquote, urlsplit

from pydantic import SecretStr

from ingest.contract.mqtt_settings import MqttSettings
from ingest.contract.section import TlsSettings

_PORTS = {"mqtt": 1_883, "mqtts": 8_883, "ws": 80, "wss": 443}
_ENCRYPTED = ("mqtts", "wss")
_WEB = ("ws", "wss")
_PATH = re.compile(r"/[\x21-\x7e]{0,1023}").fullmatch
_FORM = (
    "an address is mqtt://[user[:password]@]host[:port], or mqtts:// for TLS; "
    "ws:// or wss:// and a path (/mqtt) for WebSocket"
)


def parse_address(address: str, tls: TlsSettings | None = None) -> MqttSettings:
    """Where to connect. Raises ValueError, whose message never repeats a password.

    tls: the files for `mqtts` and `wss`.

    >>> parse_address("mqtts://anna:x%40y@broker.example").port
    8883
    >>> parse_address("mqtt://[::1]:1884").host
    '::1'
    >>> parse_address("wss://broker.example/mqtt").transport
    'websockets'
    """
    try:
        parts = urlsplit(address)
        host, port = parts.hostname, parts.port
    except ValueError:
        # The library's message repeats what stands there, which may be a part of a password.
        raise ValueError(f"the port is no number up to 65535 (a / in a password is written %2F); {_FORM}") from None
    if parts.scheme not in _PORTS:
        said = f"there is no {parts.scheme}:// here" if "://" in address else "the scheme is missing"
        raise ValueError(f"{said}; {_FORM}")
    if not host or any(character.isspace() for character in host):
        raise ValueError(f"the host is missing; {_FORM}")
    if port == 0:
        raise ValueError(f"port 0 is none; {_FORM}")
    web = parts.scheme in _WEB
    if parts.query or parts.fragment or (not web and parts.path not in ("", "/")):
        raise ValueError(f"nothing can follow the port (topics are chosen with --topic); {_FORM}")
    if web and parts.path and not _PATH(parts.path):
        raise ValueError(f"the path has only printable ASCII characters, at most 1,024; {_FORM}")
    encrypted = parts.scheme in _ENCRYPTED
    if tls is not None and not encrypted and any((tls.ca_file, tls.cert_file, tls.key_file)):
        raise ValueError("certificates are for mqtts:// and wss://")
    if parts.password is not None and not parts.username:
        raise ValueError(f"a password needs a user; {_FORM}")
    return MqttSettings(
        host=host,
        port=port or _PORTS[parts.scheme],
        transport="websockets" if web else "tcp",
        path=(web and parts.path) or "/mqtt",
        username=unquote(parts.username) if parts.username else None,
        password=SecretStr(unquote(parts.password)) if parts.password else None,
        tls=(tls or TlsSettings()).model_copy(update={"enabled": encrypted}),
    )
