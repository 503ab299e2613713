"""What all tests share."""

from hypothesis import settings

pytest_plugins = ["tests.servers.fixtures"]

# No test depends on the machine's speed.
settings.register_profile("any machine", deadline=None)
settings.load_profile("any machine")

# Run by another interpreter, with libraries that are not ours.
collect_ignore_glob = ["peers/[a-z]*.py"]
