"""Encrypted connections, the same way for MQTT and Kafka."""

from __future__ import annotations

import ssl

from ingest.contract.errors import StopError
from ingest.contract.section import TlsSettings


def tls_context(tls: TlsSettings) -> ssl.SSLContext:
    """A client's context: TLS 1.2 or later, the peer's certificate and host name verified.

    Raises StopError when a file cannot be used.
    """
    try:
        context = ssl.create_default_context(cafile=tls.ca_file)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if tls.cert_file:
            context.load_cert_chain(tls.cert_file, tls.key_file)
    except OSError as error:  # ssl.SSLError is one
        named = ", ".join(name for name in (tls.ca_file, tls.cert_file, tls.key_file) if name)
        raise StopError(f"TLS: cannot use {named}: {error}") from error
    return context
