"""How every client of ours reaches Kafka: addresses, encryption, credentials; and how long to back off."""

from __future__ import annotations

import random
from typing import Any

from ingest.contract.kafka_settings import KafkaSettings
from ingest.contract.tls import tls_context

_FIRST_BACKOFF_S = 0.5
_LONGEST_BACKOFF_S = 15.0


def client_options(kafka: KafkaSettings, client_id: str) -> dict[str, Any]:
    """Keyword arguments that all of aiokafka's clients take."""
    encrypted, known = kafka.tls.enabled, kafka.sasl_mechanism is not None
    options: dict[str, Any] = {
        "bootstrap_servers": kafka.bootstrap,
        "client_id": client_id,
        "security_protocol": ("SASL_" if known else "") + ("SSL" if encrypted else "PLAINTEXT"),
        "request_timeout_ms": 20_000,
        # A topic that was just created, or a leader that moved, is seen within this time.
        "metadata_max_age_ms": 60_000,
    }
    if encrypted:
        options["ssl_context"] = tls_context(kafka.tls)
    if known:
        options["sasl_mechanism"] = kafka.sasl_mechanism
        options["sasl_plain_username"] = kafka.username
        options["sasl_plain_password"] = kafka.password.get_secret_value() if kafka.password else None
    return options


class Backoff:
    """Waiting times that double, with jitter, so that a plant full of clients does not knock all at once."""

    def __init__(self) -> None:
        self._next_s = _FIRST_BACKOFF_S

    def next_s(self) -> float:
        """How long to wait before the next try."""
        wait_s, self._next_s = self._next_s, min(_LONGEST_BACKOFF_S, self._next_s * 2)
        return wait_s * random.uniform(0.5, 1.0)

    def reset(self) -> None:
        """It worked: start small again."""
        self._next_s = _FIRST_BACKOFF_S
