"""Encrypted connections, the same way for MQTT and Kafka."""

from __future__ import annotations

import ssl

from ingest.contract.errors import StopError
from ingest.contract.section import TlsSettings

# What the alerts of the other side, and OpenSSL's own complaints, come from in practice.
_MEANINGS = {
    "CERTIFICATE_REQUIRED": "the other side wants a client certificate: set tls.cert_file and tls.key_file",
    "ALERT_HANDSHAKE_FAILURE": "the other side found nothing in common, or wants a client certificate",
    "ALERT_UNKNOWN_CA": "the other side does not trust our client certificate",
    "ALERT_CERTIFICATE_EXPIRED": "our client certificate has expired",
    "ALERT_CERTIFICATE_REVOKED": "our client certificate is revoked",
    "ALERT_BAD_CERTIFICATE": "the other side refuses our client certificate",
    "UNSUPPORTED_PROTOCOL": "the other side speaks only versions older than TLS 1.2",
    "ALERT_PROTOCOL_VERSION": "there is no version of TLS that both sides speak; ours are 1.2 and later",
    "WRONG_VERSION_NUMBER": "what came back is not TLS; is this a port without encryption?",
    "NO_APPLICATION_PROTOCOL": "the other side knows none of the names in tls.alpn",
}


def tls_context(tls: TlsSettings) -> ssl.SSLContext:
    """A client's context: TLS 1.2 or later, the peer's certificate and host name verified.

    Raises StopError when a file cannot be used.
    """
    try:
        context = ssl.create_default_context(cafile=tls.ca_file)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if tls.cert_file:
            context.load_cert_chain(tls.cert_file, tls.key_file)
        if tls.alpn:
            context.set_alpn_protocols(list(tls.alpn))
    except OSError as error:  # ssl.SSLError is one
        named = ", ".join(name for name in (tls.ca_file, tls.cert_file, tls.key_file) if name)
        raise StopError(f"TLS: cannot use {named}: {error}") from error
    return context


def tls_failure(error: ssl.SSLError) -> str:
    """What went wrong with an encrypted connection, in a line: what OpenSSL calls it, and what it means."""
    # Only errors that OpenSSL itself raised have a reason.
    name = getattr(error, "reason", None) or str(error)
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"TLS: the certificate of the other side is refused: {error.verify_message} ({name})"
    meaning = next((text for part, text in _MEANINGS.items() if part in name), None)
    return f"TLS: {meaning} ({name})" if meaning else f"TLS: {name}"
