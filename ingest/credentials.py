"""User and password for a broker: from the settings, or from files that may change while we run."""

from __future__ import annotations

from pathlib import Path

from ingest.contract.errors import ReconnectError
from ingest.contract.mqtt_settings import MqttSettings

# What fits into a CONNECT packet (MQTT 5.0, 1.5.4).
_MAX_BYTES = 65_535


def credentials(settings: MqttSettings) -> tuple[str | None, str | None]:
    """(username, password), read now.

    Raises ReconnectError naming setting and file, never what is in it: a secret that is being exchanged is there again
    at the next try.
    """
    username, password = settings.username, settings.password
    return (
        username if settings.username_file is None else _read("username_file", settings.username_file),
        _read("password_file", settings.password_file)
        if settings.password_file is not None
        else (password.get_secret_value() if password is not None else None),
    )


def _read(setting: str, name: str) -> str:
    where = f"mqtt.{setting} = {name}"
    try:
        with Path(name).open("rb") as file:
            # One byte more shows that it is too long, and a device that never ends does no harm.
            content = file.read(_MAX_BYTES + 3)
    except OSError as error:
        raise ReconnectError(f"{where}: {error.strerror or type(error).__name__}") from None
    # Editors end a file with a line end; a password may end with a space.
    content = content.removesuffix(b"\n").removesuffix(b"\r")
    if not content:
        raise ReconnectError(f"{where}: the file is empty")
    if len(content) > _MAX_BYTES:
        raise ReconnectError(f"{where}: more than {_MAX_BYTES} bytes")
    try:
        return content.decode()
    except UnicodeDecodeError:
        # Its message would show a byte, and its traceback the rest.
        raise ReconnectError(f"{where}: not valid UTF-8") from None
