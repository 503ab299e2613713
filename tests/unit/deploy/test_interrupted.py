"""Ctrl-C before a command has begun its work."""

from __future__ import annotations

import subprocess
import sys

import pytest

_AT_IMPORT = """
import os, signal, sys
class Interrupt:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Interrupt())
sys.argv = ["millstream", *{arguments!r}]
from deploy.__main__ import main
main()
"""


def interrupted_at(module: str, *arguments: str, ignored: bool = False) -> tuple[int, str]:
    """Exit code and all output of the command, interrupted when it imports a module."""
    # Who starts the tests in the background has them ignore it.
    handler = "SIG_IGN" if ignored else "default_int_handler"
    code = f"import signal; signal.signal(signal.SIGINT, signal.{handler})"
    code += _AT_IMPORT.format(module=module, arguments=arguments)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("module", ["typer", "ingest.contract.settings"])
def test_while_the_program_loads_it_ends_it_without_a_traceback(module: str) -> None:
    assert interrupted_at(module, "--version") == (130, "")


def test_while_a_command_loads_it_ends_it_without_a_traceback() -> None:
    assert interrupted_at("deploy.backtest.recorded", "backtest", "nothing.csv") == (130, "")


def test_who_has_it_ignored_is_not_interrupted() -> None:
    code, said = interrupted_at("typer", "--version", ignored=True)
    assert code == 0
    assert said.startswith("millstream ")
