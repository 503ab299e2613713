"""The jars of an Apache Kafka broker, from Maven Central into a cache."""

import fcntl
import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from xml.etree import ElementTree

from tests.servers.binaries import ServerMissingError, find_binary

_POM = Path(__file__).with_name("pom.xml")
_DOWNLOAD_TIMEOUT_S = 900


def kafka_version() -> str:
    """The version that pom.xml names."""
    version = ElementTree.parse(_POM).findtext(".//{*}kafka.version")
    if version is None:
        raise ValueError(f"{_POM} names no kafka.version")
    return version


def kafka_libraries(say: Callable[[str], None]) -> Path:
    """Directory of the broker's jars, downloaded on first use; ServerMissingError if that cannot be done.

    `say` is told in one line about a download, which takes a while.
    """
    cache = Path(os.environ.get("MILLSTREAM_CACHE") or "~/.cache/millstream").expanduser()
    home = cache / f"kafka-{kafka_version()}"
    if not home.exists():
        cache.mkdir(parents=True, exist_ok=True)
        with locked(cache / ".kafka.lock"):
            if not home.exists():  # another process may have been faster
                say(f"Downloading Kafka {kafka_version()} from Maven Central into {home} (43 MB, once)…")
                _download(home)
    return home / "lib"


def _download(home: Path) -> None:
    # Beside its place and renamed when whole: an interrupted download is never taken for a cache.
    with tempfile.TemporaryDirectory(prefix=f".{home.name}-", dir=home.parent) as temporary:
        fresh = Path(temporary) / home.name
        command = [
            find_binary("mvn"),
            *("-B", "-q", "-f", str(_POM), "dependency:copy-dependencies"),
            *("-DincludeScope=runtime", f"-DoutputDirectory={fresh / 'lib'}"),
        ]
        find_binary("java")
        maven = subprocess.run(
            command, cwd=temporary, capture_output=True, text=True, timeout=_DOWNLOAD_TIMEOUT_S, check=False
        )
        if maven.returncode != 0 or not any(fresh.glob("lib/kafka_2.13-*.jar")):
            raise ServerMissingError(f"needs Kafka from Maven Central, but:\n{maven.stdout[-2000:]}")
        fresh.rename(home)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a file's lock; waits for whoever holds it."""
    # The kernel frees it when its holder dies, so there is no stale lock to clear.
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
