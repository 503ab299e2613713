"""The log of a daemon."""

from __future__ import annotations

import io
import json
import logging
import sys
from collections.abc import Iterator

import pytest
import structlog

from ingest.contract.observe import configure_log, log


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    before = structlog.get_config()
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    structlog.configure(**before)
    root.handlers[:] = handlers
    root.setLevel(level)


def test_a_line_is_a_json_object_where_nobody_looks() -> None:
    out = io.StringIO()
    configure_log(stream=out)
    log("worker").info("kernels ready", seconds=0.1)
    line = json.loads(out.getvalue())
    assert (line["part"], line["event"], line["level"], line["seconds"]) == ("worker", "kernels ready", "info", 0.1)


def test_a_stderr_that_was_closed_since_the_log_was_configured_is_not_written_to(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for_a_while = io.StringIO()
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", for_a_while)
        configure_log()
        made_then = log("worker")
    for_a_while.close()
    now = io.StringIO()
    monkeypatch.setattr(sys, "stderr", now)
    made_then.info("kernels ready")
    assert "kernels ready" in now.getvalue()
