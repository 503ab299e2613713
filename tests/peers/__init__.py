"""Other people's implementations of formats, run in an environment of their own (`make test` builds it).

A peer is a script in this folder that imports nothing of ours: JSON on its standard input, JSON on its standard output.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from tests.servers.binaries import ServerMissingError
from tests.servers.require import require

_HERE = Path(__file__).parent
_PYTHON = _HERE.parents[1] / ".venv-peers" / "bin" / "python"


def ask_peer(script: str, question: Any) -> Any:
    """Run `tests/peers/<script>.py`; skips where the environment is missing, unless CI demands it."""
    if not _PYTHON.exists():
        require(ServerMissingError("the peers' environment is missing: make peers"))
    done = subprocess.run(
        [_PYTHON, _HERE / f"{script}.py"],
        input=json.dumps(question),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
