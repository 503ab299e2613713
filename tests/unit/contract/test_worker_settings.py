"""Where a worker keeps its state, and what contradicts itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from ingest.contract.worker_settings import SnapshotSettings, WorkerSettings

STATE = Path("/state")


def test_without_a_word_snapshots_are_below_the_state_of_the_user() -> None:
    worker = WorkerSettings()
    assert worker.state_dir == Path("~/.local/state/millstream").expanduser()
    assert worker.snapshots.folder(worker.state_dir) == worker.state_dir / "snapshots"
    assert (worker.snapshots.keep, worker.snapshots.every) == (3, 60_000_000)


@pytest.mark.parametrize(
    ("url", "scheme", "folder"),
    [
        ("/var/lib/a b", "file", Path("/var/lib/a b")),
        ("snapshots", "file", Path("snapshots")),
        ("~/snapshots", "file", Path("~/snapshots").expanduser()),
        ("file:///var/lib/a%20b", "file", Path("/var/lib/a b")),
        ("s3://bucket", "s3", None),
        ("s3://bucket/a/b", "s3", None),
        ("gs://bucket/a", "gs", None),
        ("az://container/a", "az", None),
        ("memory://", "memory", None),
    ],
)
def test_a_place_is_a_folder_or_a_bucket(url: str, scheme: str, folder: Path | None) -> None:
    settings = SnapshotSettings(url=url)
    assert settings.scheme == scheme
    assert settings.folder(STATE) == folder


@pytest.mark.parametrize(
    ("said", "complaint"),
    [
        ({"url": ""}, "at least 1 character"),
        ({"url": "ftp://host/a"}, "a folder, s3://, gs:// or az://"),
        ({"url": "https://bucket.s3.amazonaws.com/a"}, "a folder, s3://"),
        ({"url": "file://var/lib/a"}, "three slashes"),
        ({"url": "file://"}, "three slashes"),
        ({"url": "s3:///a"}, "name a bucket"),
        ({"url": "s3://key:geheim@bucket/a"}, "has no user, password or query"),
        ({"url": "az://container/a?sig=geheim"}, "has no user, password or query"),
        ({"endpoint": "https://s3.example"}, "endpoint is for s3:// only"),
        ({"url": "gs://bucket", "region": "eu"}, "region is for s3:// only"),
        ({"url": "az://c", "access_key_id_file": "a", "secret_access_key_file": "b"}, "is for s3:// only"),
        ({"url": "s3://b", "access_key_id_file": "a"}, "go together"),
        ({"url": "s3://b", "secret_access_key_file": "a"}, "go together"),
        ({"url": "s3://b", "endpoint": "http://minio:9000"}, "not encrypted: use https, or set allow_http"),
        ({"url": "s3://b", "endpoint": "https://key:geheim@minio"}, "match pattern"),
        ({"url": "s3://b", "region": "eu west"}, "match pattern"),
        ({"url": "/a", "ca_file": "ca.pem"}, "ca_file and allow_http are for"),
        ({"allow_http": True}, "ca_file and allow_http are for"),
        ({"keep": 1}, "greater than or equal to 2"),
        ({"every": "10ms"}, "greater than or equal to"),
        ({"timeout": "1h"}, "less than or equal to"),
        ({"secret_access_key": "geheim"}, "not permitted"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_contradiction_is_explained_and_no_secret_repeated(said: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValidationError, match=complaint) as caught:
        SnapshotSettings.model_validate(said)
    assert "geheim" not in str(caught.value)


@pytest.mark.parametrize(
    "said",
    [
        {"url": "s3://b/p", "endpoint": "http://minio:9000", "allow_http": True, "region": "eu-west-1"},
        {"url": "s3://b/p", "endpoint": "https://minio:9000", "ca_file": "ca.pem"},
        {"url": "s3://b/p", "access_key_id_file": "a", "secret_access_key_file": "b"},
        {"url": "gs://b", "ca_file": "ca.pem"},
    ],
    ids=str,
)
def test_what_goes_together(said: dict[str, Any]) -> None:
    SnapshotSettings.model_validate(said)
