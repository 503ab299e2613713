"""Where the servers' programs are, and how to get those that are missing."""

import os
import re
import shutil
import subprocess

_HOW_TO_GET = {
    "java": "apt-get install openjdk-17-jre-headless",
    "mosquitto": "apt-get install mosquitto",
    "mvn": "apt-get install maven",
    "prometheus": "apt-get install prometheus",
    "promtool": "apt-get install prometheus",
    "amtool": "apt-get install prometheus-alertmanager",
}
_OLDEST_JAVA = 17  # Kafka 4 brokers refuse older ones


class ServerMissingError(RuntimeError):
    """A real server cannot be had on this machine; the message says how to get it."""


def find_binary(name: str) -> str:
    """Absolute path of a program; ServerMissingError with the command that installs it."""
    # Debian installs daemons where the PATH of an ordinary user does not look.
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin"])
    found = shutil.which(name, path=path)
    if found is None:
        raise ServerMissingError(f"needs {name}: {_HOW_TO_GET[name]}")
    if name == "java" and _java_version(found) < _OLDEST_JAVA:
        raise ServerMissingError(f"needs Java {_OLDEST_JAVA} or newer, {found} is older: {_HOW_TO_GET[name]}")
    return found


def _java_version(java: str) -> int:
    answer = subprocess.run([java, "-version"], capture_output=True, text=True, check=False)
    match = re.search(r'version "(\d+)', answer.stderr)
    return int(match.group(1)) if match else 0
