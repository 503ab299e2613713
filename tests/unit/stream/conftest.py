"""A running worker with everything around it faked."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from stream import worker
from tests.unit.stream.fakes import HOT, Rig


@pytest.fixture
async def rig(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Rig]:
    """It polls, and owns nothing yet."""
    monkeypatch.setattr(worker, "_FINISH_S", 0.05)
    made = Rig([HOT], commit_every="5s", tick="1s")
    await made.start()
    yield made
    await made.stop()
