"""A gateway runs on small machines: it never loads the compiler."""

from __future__ import annotations

import subprocess
import sys


def test_the_gateway_loads_neither_numba_nor_river() -> None:
    code = (
        "import sys, deploy.daemons, deploy.cli, deploy.registries; "
        "names = deploy.registries.model_registry(names_only=True); names.problems('ewma_z', {}); "
        "assert not names.problems('river:anomaly.HalfSpaceTrees'); "
        "assert not names.problems('river:anomaly.HalfSpaceTrees', {'limits': [0, 1]}); "
        "print({'numba', 'llvmlite', 'river'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
