"""What all tests share."""

pytest_plugins = ["tests.servers.fixtures"]

# Run by another interpreter, with libraries that are not ours.
collect_ignore_glob = ["peers/[a-z]*.py"]
