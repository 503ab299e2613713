"""A missing real server skips a test on a laptop and fails it in CI."""

import os

import pytest

from tests.servers.binaries import ServerMissingError, find_binary


def require(*needs: str | ServerMissingError) -> None:
    """Return if all needs are met: names of programs to look for, or a reason that is known already.

    Otherwise the test is skipped with a reason that says how to get the server, or, with
    MILLSTREAM_REQUIRE_REAL=1 in the environment, fails with it.
    """
    for need in needs:
        if isinstance(need, ServerMissingError):
            _give_up(str(need))
        else:
            try:
                find_binary(need)
            except ServerMissingError as missing:
                _give_up(str(missing))


def _give_up(reason: str) -> None:
    if os.environ.get("MILLSTREAM_REQUIRE_REAL") == "1":
        pytest.fail(f"{reason} (required by MILLSTREAM_REQUIRE_REAL=1)", pytrace=False)
    pytest.skip(reason)
