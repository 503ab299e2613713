"""Signatures, held against the official library and the example of the standard."""

from __future__ import annotations

import time

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from stream.notify.signing import Signer, new_secret
from tests.unit.notify.rig import OLD_SECRET, SECRET, webhook

BODY = b'{"test": 2432232314}'


def now_us() -> int:
    return time.time_ns() // 1000


def test_the_example_of_the_standard() -> None:
    headers = Signer(webhook()).headers("msg_p5jXN8AQM9LWM0D4loKWxJek", BODY, 1_614_265_330_999_999)
    assert headers == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


def test_receivers_accept_it() -> None:
    headers = Signer(webhook()).headers("a_firing", BODY, now_us())
    assert Webhook(SECRET).verify(BODY, headers) == {"test": 2432232314}


def test_while_the_secret_changes_receivers_with_either_accept_it() -> None:
    headers = Signer(webhook(old_secret=OLD_SECRET)).headers("a_firing", BODY, now_us())
    assert len(headers["webhook-signature"].split()) == 2
    Webhook(SECRET).verify(BODY, headers)
    Webhook(OLD_SECRET).verify(BODY, headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(new_secret()).verify(BODY, headers)


def test_receivers_refuse_a_changed_body_a_changed_id_and_a_replay() -> None:
    signer = Signer(webhook())
    headers = signer.headers("a_firing", BODY, now_us())
    with pytest.raises(WebhookVerificationError):
        Webhook(SECRET).verify(BODY + b" ", headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(SECRET).verify(BODY, {**headers, "webhook-id": "a_resolved"})
    with pytest.raises(WebhookVerificationError, match="too old"):
        Webhook(SECRET).verify(BODY, signer.headers("a_firing", BODY, now_us() - 301_000_000))


def test_new_secrets_are_accepted_by_the_settings() -> None:
    assert new_secret() != new_secret()
    webhook(secret=new_secret())
