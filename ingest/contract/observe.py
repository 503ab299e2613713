"""Self-observation: the log, and the registry of a daemon's own metrics.

Each daemon has one file of happenings (`gateway_events.py`, `worker_events.py`): one function per happening
emits the log line and moves the counter, so the two cannot disagree. Metric names are
`millstream_<part>_<what>_<unit>_total`; label values come from closed sets.
"""

from __future__ import annotations

import logging
import platform
import sys
from importlib.metadata import version
from typing import Any, TextIO

import structlog
from prometheus_client import CollectorRegistry, Gauge, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.exposition import generate_latest

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def configure_log(level: str = "info", stream: TextIO | None = None) -> None:
    """Lines for people on a terminal, one JSON object a line elsewhere; both go to stderr."""
    out = stream or sys.stderr
    renderer: Any = structlog.dev.ConsoleRenderer() if out.isatty() else structlog.processors.JSONRenderer()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        # The stderr of the moment: one that was put in its place for a while may be closed by now.
        logger_factory=lambda *_: structlog.PrintLogger(stream or sys.stderr),
        cache_logger_on_first_use=False,
    )
    # Client libraries repeat what our own happenings say, at the rate of their reconnects.
    logging.basicConfig(stream=out, level=logging.CRITICAL if level != "debug" else logging.DEBUG, force=True)


def log(part: str) -> Any:
    """The logger of a part; structlog's loggers are dynamically typed."""
    return structlog.get_logger(part=part)


def new_registry(part: str) -> CollectorRegistry:
    """A registry with the process's own metrics and `millstream_build_info`."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)
    build = Gauge(
        "millstream_build_info",
        "Version of this program; the value is always 1.",
        ["version", "part", "python"],
        registry=registry,
    )
    build.labels(version("millstream"), part, platform.python_version()).set(1)
    return registry


def expose(registry: CollectorRegistry) -> bytes:
    """The registry in Prometheus' text format."""
    return generate_latest(registry)
