"""What all sections of the settings are made of."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$")]
TopicName = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,249}$")]


def _endpoint(text: str) -> str:
    match = re.fullmatch(r"(?:[^\s:/]+|\[[0-9a-fA-F:]+\]):(\d{1,5})", text)
    if match is None or not 0 <= int(match[1]) <= 65_535:
        raise ValueError('an address is "host:port", with a port up to 65535')
    return text


Endpoint = Annotated[str, AfterValidator(_endpoint)]


class Section(BaseModel):
    """A table of the file: unknown keys are mistakes, values are checked, nothing changes later."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class TlsSettings(Section):
    """Encryption; the peer's certificate and host name are always verified."""

    enabled: bool = False
    ca_file: str | None = None
    """Certificates to trust instead of the system's."""
    cert_file: str | None = None
    key_file: str | None = None
    alpn: tuple[Annotated[str, Field(pattern=r"^[\x21-\x7e]{1,255}$")], ...] = ()
    """Names of protocols to offer, best first, where a server tells by them what is spoken on a shared port."""


def hold_against_registry(
    info: ValidationInfo, sort: str, name: str | None, options: dict[str, Any] | None = None
) -> None:
    """Hold a component's name, and then its options, against the registry of its sort, where one is given."""
    registry = (info.context or {}).get(sort)
    # A name that is wrong has been reported already when its options come.
    if registry is not None and name is not None and (problems := registry.problems(name, options)):
        raise ValueError("; ".join(problems))
