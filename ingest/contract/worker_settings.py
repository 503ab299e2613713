"""What can be set about the worker: `[worker]` and its snapshots."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated
from urllib.parse import unquote, urlsplit

from pydantic import Field, field_validator, model_validator

from ingest.contract.durations import DurationUs
from ingest.contract.section import Endpoint, Section

_SECOND_US = 1_000_000
_MINUTE_US = 60 * _SECOND_US
_S3 = ("s3", "s3a")
_REMOTE = (*_S3, "gs", "az", "azure", "abfs", "abfss")
_MEMORY = "memory"


class SnapshotSettings(Section):
    """Where the state of each partition is kept, so that another worker can go on with it."""

    url: Annotated[str, Field(min_length=1, max_length=2_000)] | None = None
    """A folder (`/var/lib/millstream/snapshots`, `file:///…`) or a bucket and what names in it begin with
    (`s3://bucket/prefix`, `gs://…`, `az://…`); default: the folder `snapshots` in `worker.state_dir`. Several workers
    of one group need one that they share."""
    every: Annotated[DurationUs, Field(ge=_SECOND_US, le=86_400 * _SECOND_US)] = _MINUTE_US
    """How often each partition's is made. What came after the last one is read again at a restart."""
    keep: int = Field(3, ge=2, le=100)
    """How many of each partition. One may be damaged: then the one before counts."""
    timeout: Annotated[DurationUs, Field(ge=_SECOND_US, le=600 * _SECOND_US)] = 30 * _SECOND_US
    """Of one request, its repetitions included."""
    endpoint: Annotated[str, Field(pattern=r"^https?://[^\s@?#]{1,500}$")] | None = None
    """Of an S3 that is not Amazon's; default: what AWS_ENDPOINT_URL says."""
    region: Annotated[str, Field(pattern=r"^[a-z0-9-]{1,64}$")] | None = None
    """Default: what AWS_REGION says."""
    access_key_id_file: str | None = None
    """A file that holds it; default: the environment (AWS_ACCESS_KEY_ID and the like) and the machine's own role."""
    secret_access_key_file: str | None = None
    """A file that holds it, read at every connection: what is changed there counts from the next one."""
    ca_file: str | None = None
    """Certificates to trust besides the system's."""
    allow_http: bool = False
    """Without encryption: only on a network where nobody else is."""

    @field_validator("url")
    @classmethod
    def _a_place(cls, url: str | None) -> str | None:
        if url is None or "://" not in url:
            return url
        # What is wrong with it is never said with the URL: it may hold a secret.
        parts = urlsplit(url)
        if "@" in parts.netloc or parts.query or parts.fragment:
            raise ValueError("a url has no user, password or query: put secrets into files or into the environment")
        if parts.scheme == "file" and (parts.netloc or not parts.path):
            raise ValueError("a file's url has three slashes: file:///var/lib/millstream/snapshots")
        if parts.scheme in _REMOTE and not parts.netloc:
            raise ValueError(f"name a bucket: {parts.scheme}://bucket/prefix")
        if parts.scheme not in ("file", _MEMORY, *_REMOTE):
            raise ValueError("snapshots go to a folder, s3://, gs:// or az://")
        return url

    @model_validator(mode="after")
    def _only_where_it_counts(self) -> SnapshotSettings:
        if (self.access_key_id_file is None) != (self.secret_access_key_file is None):
            raise ValueError("access_key_id_file and secret_access_key_file go together")
        scheme = self.scheme
        for name in ("endpoint", "region", "access_key_id_file"):
            if getattr(self, name) is not None and scheme not in _S3:
                raise ValueError(f"{name} is for s3:// only")
        if (self.ca_file is not None or self.allow_http) and scheme not in _REMOTE:
            raise ValueError("ca_file and allow_http are for s3://, gs:// and az://")
        if self.endpoint is not None and self.endpoint.startswith("http:") and not self.allow_http:
            raise ValueError("the endpoint is not encrypted: use https, or set allow_http = true")
        return self

    @property
    def scheme(self) -> str:
        """Of the url: "file" for a folder."""
        return "file" if self.url is None or "://" not in self.url else urlsplit(self.url).scheme

    def folder(self, state_dir: Path) -> Path | None:
        """The folder; None where it is not one. state_dir: the worker's."""
        if self.url is None:
            return state_dir / "snapshots"
        if self.scheme != "file":
            return None
        path = unquote(urlsplit(self.url).path) if "://" in self.url else self.url
        return Path(path).expanduser()


class WorkerSettings(Section):
    """Kafka → state → metrics and alerts."""

    http: Endpoint = "127.0.0.1:9102"
    group: Annotated[str, Field(min_length=1, max_length=200)] = "millstream-worker"
    state_dir: Path = Field(Path("~/.local/state/millstream"), validate_default=True)
    """Where snapshots are, unless `snapshots.url` says otherwise: on a disk that survives a restart."""
    snapshots: SnapshotSettings = SnapshotSettings()
    tick: Annotated[DurationUs, Field(ge=100_000)] = _SECOND_US
    """A partition quiet for so long gets a tick: time passes in the log."""
    future: DurationUs = 5 * _MINUTE_US
    """A reading whose time is further ahead of its arrival than this is gated."""
    backlog: Annotated[DurationUs, Field(ge=_SECOND_US)] = _MINUTE_US
    """What a gateway sends so long after it arrived is backlog: alerts that came and went in it are told in one digest.
    A minute is longer than a broker takes to change its leader, and shorter than what people would call late."""
    rebuild: DurationUs = 3_600 * _SECOND_US
    """How far before the last commit a starting worker reads, to rebuild windows and models."""
    commit_every: DurationUs = 5 * _SECOND_US
    """At most so long, and 5 s: a commit is how a worker hears that its partitions are still its own."""
    forget: Annotated[DurationUs, Field(ge=3_600 * _SECOND_US)] = 30 * 86_400 * _SECOND_US
    """A sensor that nothing was heard of for so long loses its slot: time in which the log went on, so that a
    standstill of everything is none. Sensors with an open alert are kept."""

    @field_validator("state_dir")
    @classmethod
    def _home(cls, path: Path) -> Path:
        return path.expanduser()
