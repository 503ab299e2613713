"""Signatures as Standard Webhooks has them, by its official library."""

from __future__ import annotations

import base64
import secrets
from datetime import UTC, datetime

from standardwebhooks import Webhook

from ingest.contract.notifier_settings import WebhookSettings

_SECRET_BYTES = 32


def new_secret() -> str:
    """A random secret for a webhook."""
    return "whsec_" + base64.b64encode(secrets.token_bytes(_SECRET_BYTES)).decode()


class Signer:
    """Signs with the secret and, while it is being changed, with the old one too: receivers accept either."""

    def __init__(self, webhook: WebhookSettings) -> None:
        keys = [webhook.secret, webhook.old_secret]
        self._keys = [Webhook(one.get_secret_value()) for one in keys if one is not None]

    def headers(self, message_id: str, body: bytes, now_us: int) -> dict[str, str]:
        """The three headers of one attempt; the time is the attempt's, since receivers refuse old ones."""
        now_s = now_us // 1_000_000
        at, text = datetime.fromtimestamp(now_s, UTC), body.decode()
        return {
            "webhook-id": message_id,
            "webhook-timestamp": str(now_s),
            "webhook-signature": " ".join(key.sign(message_id, at, text) for key in self._keys),
        }
