"""A gateway runs on small machines: it never loads the compiler."""

from __future__ import annotations

import subprocess
import sys


def test_the_gateway_loads_neither_numba_nor_river() -> None:
    code = (
        "import sys, deploy.daemons, deploy.cli, deploy.registries; "
        "deploy.registries.model_registry(names_only=True).problems('ewma_z', {}); "
        "print({'numba', 'llvmlite', 'river'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
